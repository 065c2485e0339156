//! Devices: `linux.devices`, and the rules in `linux.resources.devices` that give and take access
//! to them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use nri_proto::api::{Field, LinuxDevice};
use serde_json::{Value, json};

use super::draft::Draft;
use super::error::ApplyError;
use super::options::DeviceAccess;
use crate::keys::KeyKind;
use crate::merge::removal_marker::marked;
use crate::oci::tree::{self, Object};

const KEYS: KeyKind = KeyKind::of(Field::Devices);
const DEVICES: [&str; 2] = ["linux", "devices"];
const RULES: [&str; 3] = ["linux", "resources", "devices"];

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let devices = &draft.linux.devices;
    if devices.is_empty() {
        return Ok(());
    }
    // For every path that is asked for, the place of the device that is to be there: the last one
    // counts.
    let mut wanted: BTreeMap<Cow<'_, str>, Option<usize>> = BTreeMap::new();
    for (at, device) in devices.iter().enumerate() {
        match marked(&device.path) {
            Some(path) => {
                wanted.entry(KEYS.normal(path)).or_default();
            }
            None => {
                wanted.insert(KEYS.normal(&device.path), Some(at));
            }
        }
    }
    take_away(&mut draft.spec, |path| {
        wanted.contains_key(&*KEYS.normal(path))
    });
    for (at, device) in devices.iter().enumerate() {
        if marked(&device.path).is_some() {
            continue;
        }
        if !device.path.starts_with('/') {
            return Err(draft.invalid(Field::Devices, &device.path, "the path must be absolute"));
        }
        let Some(rule) = rule_type(&device.r#type) else {
            return Err(draft.invalid(
                Field::Devices,
                &device.path,
                format!("the type must be b, c, u or p, not {:?}", device.r#type),
            ));
        };
        if wanted.get(&*KEYS.normal(&device.path)) != Some(&Some(at)) {
            continue;
        }
        tree::list_mut(&mut draft.spec, &DEVICES).push(oci(device));
        if let Some(rule) = rule {
            tree::list_mut(&mut draft.spec, &RULES).push(json!({
                "allow": true,
                "type": rule,
                "major": device.major,
                "minor": device.minor,
                "access": access(device, draft.options.device_access),
            }));
        }
    }
    Ok(())
}

/// The type of the cgroup rule for a device type: none for a FIFO, which no cgroup controls; no
/// answer for what is no type.
fn rule_type(device_type: &str) -> Option<Option<&'static str>> {
    match device_type {
        "c" | "u" => Some(Some("c")),
        "b" => Some(Some("b")),
        "p" => Some(None),
        _ => None,
    }
}

fn access(device: &LinuxDevice, how: DeviceAccess) -> String {
    let mode = match how {
        DeviceAccess::Derived => device.file_mode.map_or(0, |mode| mode.value & 0o666),
        DeviceAccess::Compat => 0,
    };
    let mut access = String::new();
    if mode == 0 || mode & 0o444 != 0 {
        access.push('r');
    }
    if mode == 0 || mode & 0o222 != 0 {
        access.push('w');
    }
    if device.r#type == "b" {
        access.push('m');
    }
    access
}

fn oci(device: &LinuxDevice) -> Value {
    let mut oci = Object::new();
    tree::insert_text(&mut oci, "path", &device.path);
    tree::insert_text(&mut oci, "type", &device.r#type);
    oci.insert("major".to_owned(), device.major.into());
    oci.insert("minor".to_owned(), device.minor.into());
    tree::insert_some(
        &mut oci,
        "fileMode",
        device.file_mode.map(|mode| mode.value),
    );
    tree::insert_some(&mut oci, "uid", device.uid.map(|uid| uid.value));
    tree::insert_some(&mut oci, "gid", device.gid.map(|gid| gid.value));
    Value::Object(oci)
}

/// Removes devices by their paths, and the rules that allow just these devices. Rules for several
/// devices stay.
fn take_away(spec: &mut Value, goes: impl Fn(&str) -> bool) {
    let Some(devices) = tree::existing_list_mut(spec, &DEVICES) else {
        return;
    };
    let mut gone = BTreeSet::new();
    devices.retain(|device| {
        let goes = goes(tree::text(device, &["path"]));
        if goes {
            gone.extend(identity(device));
        }
        !goes
    });
    if gone.is_empty() {
        return;
    }
    // A node that another path still stands for needs its rule.
    for kept in devices.iter().filter_map(identity) {
        gone.remove(&kept);
    }
    if let Some(rules) = tree::existing_list_mut(spec, &RULES) {
        rules.retain(|rule| {
            let allows = tree::boolean(rule, &["allow"]).unwrap_or_default();
            !(allows && identity(rule).is_some_and(|rule| gone.contains(&rule)))
        });
    }
}

type Identity = (&'static str, i64, i64);

/// Which device a device node or a rule is for; `None` for rules that are for several.
fn identity(entry: &Value) -> Option<Identity> {
    Some((
        rule_type(tree::text(entry, &["type"]))??,
        tree::int(entry, &["major"])?,
        tree::int(entry, &["minor"])?,
    ))
}
