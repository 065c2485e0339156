//! Moving a device into a namespace, and back. What may not enter: who asks for it.

use std::os::fd::AsRawFd as _;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};

use crate::namespace::Namespace;
use crate::requested::Device;

/// A device as it is in a namespace.
struct Link {
    index: u32,
    is_up: bool,
    alias: Option<String>,
}

/// The name of a device between two others: no device that is there has it.
fn between(index: u32) -> String {
    format!("nri{index}")
}

async fn find(handle: &Handle, name: &str) -> Result<Option<Link>, String> {
    let mut links = handle.link().get().match_name(name).execute();
    match links.try_next().await {
        Ok(Some(message)) => Ok(Some(Link::of(message))),
        Ok(None) => Ok(None),
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -19 => Ok(None), /* ENODEV */
        Err(error) => Err(format!("{name}: {error}")),
    }
}

impl Link {
    fn of(message: LinkMessage) -> Self {
        let alias = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::IfAlias(alias) => Some(alias.clone()),
                _ => None,
            });
        Self {
            index: message.header.index,
            is_up: message.header.flags.contains(LinkFlags::Up),
            alias,
        }
    }

    /// Changes it. What is done is said in an error.
    async fn change(
        &self,
        handle: &Handle,
        what: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), String> {
        let message = change(LinkUnspec::new_with_index(self.index)).build();
        let changed = handle.link().change(message).execute().await;
        changed.map_err(|error| format!("cannot {what}: {error}"))
    }

    /// Whether it has an address that somebody gave it.
    async fn has_address(&self, handle: &Handle) -> Result<bool, String> {
        let mut addresses = handle
            .address()
            .get()
            .set_link_index_filter(self.index)
            .execute();
        loop {
            match addresses.try_next().await {
                Ok(None) => return Ok(false),
                // The kernel makes one for each link by itself.
                Ok(Some(message)) if message.header.scope == AddressScope::Link => {}
                Ok(Some(message)) => {
                    let is_one = |attribute: &AddressAttribute| {
                        matches!(attribute, AddressAttribute::Address(_))
                    };
                    if message.attributes.iter().any(is_one) {
                        return Ok(true);
                    }
                }
                Err(error) => return Err(format!("its addresses cannot be read: {error}")),
            }
        }
    }
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
) -> Result<(), String> {
    let name = &device.name;
    let to_pod = pod.file().as_raw_fd();
    let (temporary, was_up) = host.within(async |handle| {
        let link = find(&handle, name).await?.ok_or("there is no such device on the host")?;
        if !takes_what_is_in_use && link.has_address(&handle).await? {
            return Err("it is in use on the host, for it has an address: name it in `allow` of the configuration".to_owned());
        }
        let temporary = between(link.index);
        // A device can be renamed only while it is down; and the pod may have one of its name.
        let moved = async {
            link.change(&handle, "set it down", LinkMessageBuilder::down).await?;
            link.change(&handle, "rename it", |it| it.name(&temporary)).await?;
            link.change(&handle, "note its name", |it| it.alias(name)).await?;
            link.change(&handle, "move it into the pod", |it| it.setns_by_fd(to_pod)).await
        };
        match moved.await {
            Ok(()) => Ok((temporary, link.is_up)),
            Err(error) => {
                restore(&handle, &link, name, link.is_up).await;
                Err(error)
            }
        }
    })?;
    let to_host = host.file().as_raw_fd();
    let set_up = pod.within(async |handle| {
        let link = find(&handle, &temporary)
            .await?
            .ok_or("it is gone from the pod")?;
        let set_up = async {
            let new_name = &device.new_name;
            link.change(&handle, &format!("name it {new_name} in the pod"), |it| {
                it.name(new_name)
            })
            .await?;
            if let Some(mtu) = device.mtu {
                link.change(&handle, &format!("set its MTU to {mtu}"), |it| it.mtu(mtu))
                    .await?;
            }
            if let Some((address, prefix)) = device.address {
                let added = handle
                    .address()
                    .add(link.index, address, prefix)
                    .execute()
                    .await;
                added.map_err(|error| {
                    format!("cannot give it the address {address}/{prefix}: {error}")
                })?;
            }
            link.change(&handle, "set it up", LinkMessageBuilder::up)
                .await
        };
        let done = set_up.await;
        if done.is_err() {
            let back = async {
                link.change(&handle, "set it down", LinkMessageBuilder::down)
                    .await?;
                link.change(&handle, "rename it", |it| it.name(&temporary))
                    .await?;
                link.change(&handle, "move it back", |it| it.setns_by_fd(to_host))
                    .await
            };
            log(name, back.await);
        }
        done
    });
    if set_up.is_err() {
        let restored = host.within(async |handle| {
            let link = find(&handle, &temporary)
                .await?
                .ok_or("it did not come back from the pod")?;
            restore(&handle, &link, name, was_up).await;
            Ok(())
        });
        log(name, restored);
    }
    set_up
}

/// Moves a device back from `pod` to `host`, where it stays down. `false` if the pod has it no
/// more.
///
/// # Errors
/// The kernel refuses something.
pub(crate) fn release(device: &Device, host: &Namespace, pod: &Namespace) -> Result<bool, String> {
    let name = &device.name;
    let to_host = host.file().as_raw_fd();
    let temporary = pod.within(async |handle| {
        let Some(link) = find(&handle, &device.new_name).await? else {
            return Ok(None);
        };
        // The pod may have renamed devices: only that which was moved goes back.
        if link.alias.as_deref() != Some(name) {
            return Ok(None);
        }
        let temporary = between(link.index);
        link.change(&handle, "set it down", LinkMessageBuilder::down)
            .await?;
        link.change(&handle, "rename it", |it| it.name(&temporary))
            .await?;
        link.change(&handle, "move it back", |it| it.setns_by_fd(to_host))
            .await?;
        Ok(Some(temporary))
    })?;
    let Some(temporary) = temporary else {
        return Ok(false);
    };
    host.within(async |handle| {
        let link = find(&handle, &temporary)
            .await?
            .ok_or("it did not come back from the pod")?;
        let named = format!("name it {name} again; it is {temporary} now");
        link.change(&handle, &named, |it| it.name(name)).await?;
        link.change(&handle, "forget its note", |it| it.alias(""))
            .await
    })?;
    Ok(true)
}

/// Gives a device of the host its name and its state again, as far as that goes.
async fn restore(handle: &Handle, link: &Link, name: &str, was_up: bool) {
    let alias = link.alias.clone().unwrap_or_default();
    log(
        name,
        link.change(handle, "name it again", |it| it.name(name).alias(alias))
            .await,
    );
    if was_up {
        log(
            name,
            link.change(handle, "set it up again", LinkMessageBuilder::up)
                .await,
        );
    }
}

fn log(name: &str, done: Result<(), String>) {
    if let Err(error) = done {
        tracing::error!(device = name, "the device could not be put back: {error}");
    }
}
