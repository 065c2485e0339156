//! Moving a device into a namespace, and back. What may not enter: who asks for it.

use std::os::fd::AsFd as _;

use crate::namespace::Namespace;
use crate::netlink::{Change, Link, Netlink};
use crate::requested::Device;

/// The kernel's IFALIASZ without the zero at the end.
const LONGEST_ALIAS: usize = 255;

/// How a device was on the host before it was moved.
pub(crate) struct Before {
    is_up: bool,
    alias: String,
}

impl Before {
    fn of(link: &Link) -> Self {
        Self {
            is_up: link.is_up,
            alias: link.alias.clone().unwrap_or_default(),
        }
    }
}

/// The name of a device between two others: no device that is there has it.
fn between(index: u32) -> String {
    format!("nri{index}")
}

/// The alias of a device while it is in a pod: its name on the host, which has no space in it, and
/// the alias that it had there, if any.
///
/// # Errors
/// That is longer than the kernel takes.
fn note(name: &str, alias: &str) -> Result<String, String> {
    let note = match alias {
        "" => name.to_owned(),
        alias => format!("{name} {alias}"),
    };
    match note.len() {
        0..=LONGEST_ALIAS => Ok(note),
        long => Err(format!(
            "its name and its alias have {long} bytes together, and {LONGEST_ALIAS} are kept while it is away: shorten the alias"
        )),
    }
}

/// The alias on the host of the device of this name, if the note is this device's.
fn noted<'a>(name: &str, note: Option<&'a str>) -> Option<&'a str> {
    match note?.strip_prefix(name)? {
        "" => Some(""),
        alias => alias.strip_prefix(' '),
    }
}

fn find(netlink: &mut Netlink, name: &str) -> Result<Option<Link>, String> {
    let found = netlink.find(name);
    found.map_err(|error| format!("{name}: {error}"))
}

/// Whether it has an address.
fn is_in_use(netlink: &mut Netlink, link: &Link) -> Result<bool, String> {
    let has_address = netlink.has_address(link.index);
    has_address.map_err(|error| format!("its addresses cannot be read: {error}"))
}

/// Changes a device. What is done is said in an error.
fn change(netlink: &mut Netlink, link: &Link, what: &str, to: &[Change<'_>]) -> Result<(), String> {
    let changed = netlink.change(link.index, to);
    changed.map_err(|error| format!("cannot {what}: {error}"))
}

/// Moves a device from `host` to `pod`, and sets it up there. If that fails, it is as it was.
///
/// # Errors
/// It is not there or in use, or the kernel refuses something.
pub(crate) fn inject(
    device: &Device,
    host: &Namespace,
    pod: &Namespace,
    takes_what_is_in_use: bool,
) -> Result<Before, String> {
    let name = &device.name;
    let to_pod = Change::Namespace(pod.file().as_fd());
    let (temporary, before) = host.within(|netlink| {
        let link = find(netlink, name)?.ok_or("there is no such device on the host")?;
        if !takes_what_is_in_use && is_in_use(netlink, &link)? {
            return Err("it is in use on the host, for it has an address: name it in `allow` of the configuration".to_owned());
        }
        let (temporary, before) = (between(link.index), Before::of(&link));
        let note = note(name, &before.alias)?;
        // A device can be renamed only while it is down; and the pod may have one of its name.
        let steps = [
            ("set it down", Change::Down),
            ("rename it", Change::Name(&temporary)),
            ("note its name", Change::Alias(&note)),
            ("move it into the pod", to_pod),
        ];
        let mut steps = steps.into_iter();
        let moved = steps.try_for_each(|(what, to)| change(netlink, &link, what, &[to]));
        drop(steps);
        match moved {
            Ok(()) => Ok((temporary, before)),
            Err(error) => {
                restore(netlink, &link, name, &before);
                Err(error)
            }
        }
    })?;
    let set_up = pod.within(|netlink| {
        let link = find(netlink, &temporary)?.ok_or("it is gone from the pod")?;
        let done = set_up(netlink, &link, device);
        if done.is_err() {
            log(name, give_back(netlink, &link, &temporary, host));
        }
        done
    });
    if set_up.is_err() {
        let restored = host.within(|netlink| {
            let link = find(netlink, &temporary)?.ok_or("it did not come back from the pod")?;
            restore(netlink, &link, name, &before);
            Ok(())
        });
        log(name, restored);
    }
    set_up.map(|()| before)
}

/// Moves a device back, and makes it what it was before.
///
/// # Errors
/// The kernel refuses something.
pub(crate) fn put_back(
    device: &Device,
    before: &Before,
    host: &Namespace,
    pod: &Namespace,
) -> Result<(), String> {
    release(device, host, pod)?;
    host.within(|netlink| {
        let link = find(netlink, &device.name)?.ok_or("it did not come back from the pod")?;
        restore(netlink, &link, &device.name, before);
        Ok(())
    })
}

/// Makes a device of the pod what was asked for.
fn set_up(netlink: &mut Netlink, link: &Link, device: &Device) -> Result<(), String> {
    let new_name = &device.new_name;
    let what = format!("name it {new_name} in the pod");
    change(netlink, link, &what, &[Change::Name(new_name)])?;
    if let Some(mtu) = device.mtu {
        let what = format!("set its MTU to {mtu}");
        change(netlink, link, &what, &[Change::Mtu(mtu)])?;
    }
    if let Some((address, prefix)) = device.address {
        let added = netlink.add_address(link.index, address, prefix);
        added.map_err(|error| format!("cannot give it the address {address}/{prefix}: {error}"))?;
    }
    change(netlink, link, "set it up", &[Change::Up])
}

/// Moves a device of the pod to the host, under its name between two others.
fn give_back(
    netlink: &mut Netlink,
    link: &Link,
    temporary: &str,
    host: &Namespace,
) -> Result<(), String> {
    let to_host = Change::Namespace(host.file().as_fd());
    change(netlink, link, "set it down", &[Change::Down])?;
    change(netlink, link, "rename it", &[Change::Name(temporary)])?;
    change(netlink, link, "move it back", &[to_host])
}

/// Moves a device back from `pod` to `host`, where it stays down. `false` if the pod has it no
/// more.
///
/// # Errors
/// The kernel refuses something.
pub(crate) fn release(device: &Device, host: &Namespace, pod: &Namespace) -> Result<bool, String> {
    let name = &device.name;
    let released = pod.within(|netlink| {
        let Some(link) = find(netlink, &device.new_name)? else {
            return Ok(None);
        };
        // The pod may have renamed devices: only that which was moved goes back.
        let Some(alias) = noted(name, link.alias.as_deref()) else {
            return Ok(None);
        };
        let temporary = between(link.index);
        give_back(netlink, &link, &temporary, host)?;
        Ok(Some((temporary, alias.to_owned())))
    })?;
    let Some((temporary, alias)) = released else {
        return Ok(false);
    };
    host.within(|netlink| {
        let link = find(netlink, &temporary)?.ok_or("it did not come back from the pod")?;
        let named = format!("name it {name} again; it is {temporary} now");
        change(netlink, &link, &named, &[Change::Name(name)])?;
        change(
            netlink,
            &link,
            "give it its alias",
            &[Change::Alias(&alias)],
        )
    })?;
    Ok(true)
}

/// Gives a device of the host its name, its alias and its state again, as far as that goes.
fn restore(netlink: &mut Netlink, link: &Link, name: &str, before: &Before) {
    let as_it_was = [Change::Name(name), Change::Alias(&before.alias)];
    log(name, change(netlink, link, "name it again", &as_it_was));
    if before.is_up {
        log(
            name,
            change(netlink, link, "set it up again", &[Change::Up]),
        );
    }
}

fn log(name: &str, done: Result<(), String>) {
    if let Err(error) = done {
        tracing::error!(device = name, "the device could not be put back: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_keeps_the_alias_of_the_host() {
        for alias in ["", "uplink", "of rack 7, eth0"] {
            let kept = note("eth0", alias).unwrap();
            assert_eq!(noted("eth0", Some(&kept)), Some(alias));
            assert_eq!(noted("eth", Some(&kept)), None);
            assert_eq!(noted("eth01", Some(&kept)), None);
        }
        assert_eq!(noted("eth0", None), None);
        let error = note("eth0", &"x".repeat(251)).unwrap_err();
        assert!(error.contains("256 bytes"), "{error}");
        note("eth0", &"x".repeat(250)).unwrap();
    }
}
