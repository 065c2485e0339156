//! What an adjustment and the rest of the spec make together.

use std::collections::BTreeMap;

use nri_proto::api::Field;
use serde_json::{Map, Value};

use super::super::names::sysctl_namespace;
use super::super::tree;
use super::rule::{Broken, Outcome, shortened};
use crate::keys::KeyKind;

/// The entries of the object at the end of `path` that are new or have another value.
fn changed<'a>(
    outcome: &Outcome<'a>,
    path: &'a [&'a str],
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let object = |spec: &'a Value| tree::get(spec, path).and_then(Value::as_object);
    let before: Option<&Map<String, Value>> = object(outcome.before);
    object(outcome.after)
        .into_iter()
        .flatten()
        .filter(move |(key, value)| before.and_then(|before| before.get(*key)) != Some(*value))
}

fn has_namespace(spec: &Value, kind: &str) -> bool {
    tree::list(spec, &["linux", "namespaces"])
        .iter()
        .any(|namespace| tree::get(namespace, &["type"]).and_then(Value::as_str) == Some(kind))
}

fn is_there(spec: &Value, path: &[&str]) -> bool {
    match tree::get(spec, path) {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(object)) => !object.is_empty(),
        _ => false,
    }
}

/// The members of a spec that need a namespace of the container's own.
const NEEDS: &[(&str, &[&str])] = &[
    ("network", &["linux", "netDevices"]),
    ("uts", &["hostname"]),
    ("uts", &["domainname"]),
    ("mount", &["linux", "maskedPaths"]),
    ("mount", &["linux", "readonlyPaths"]),
    ("user", &["linux", "uidMappings"]),
    ("user", &["linux", "gidMappings"]),
    ("time", &["linux", "timeOffsets"]),
];

/// Judged for namespaces that the container had before: what a spec never had is not the plugin's
/// doing.
pub(super) fn namespace_needed(outcome: &Outcome<'_>) -> Option<Broken> {
    let spec = outcome.after;
    let lost =
        |kind: &str| has_namespace(outcome.before, kind) && !has_namespace(outcome.after, kind);
    let needed = |kind: &str, by: String| {
        Broken::by(kind).because(format!(
            "it cannot be removed: {by} needs a {kind} namespace of the container's own"
        ))
    };
    let member = NEEDS
        .iter()
        .find(|(kind, path)| lost(kind) && is_there(spec, path));
    if let Some((kind, path)) = member {
        return Some(needed(kind, path.join(".")));
    }
    let mut parameters = tree::get(spec, &["linux", "sysctl"])?.as_object()?.keys();
    parameters.find_map(|name| {
        let kind = sysctl_namespace(name).filter(|kind| lost(kind))?;
        Some(needed(kind, format!("the parameter {name}")))
    })
}

/// A user namespace that is joined has its mappings already.
pub(super) fn user_mappings(outcome: &Outcome<'_>) -> Option<Broken> {
    let new = |spec: &Value| {
        tree::list(spec, &["linux", "namespaces"])
            .iter()
            .any(|namespace| {
                tree::string(namespace, &["type"]) == "user" && !is_there(namespace, &["path"])
            })
    };
    let unmapped = ["uidMappings", "gidMappings"]
        .iter()
        .any(|name| !is_there(outcome.after, &["linux", name]));
    (unmapped && new(outcome.after) && !new(outcome.before)).then(|| Broken::by("user"))
}

const SYSCTL: &[&str] = &["linux", "sysctl"];

/// Kernel parameters that are new or have another value; names with values.
fn parameters<'a>(outcome: &Outcome<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    changed(outcome, SYSCTL).map(|(name, value)| (name.as_str(), value.as_str().unwrap_or("")))
}

/// The name is a path below `/proc/sys`, in which dots are slashes.
pub(super) fn sysctl_name(outcome: &Outcome<'_>) -> Option<Broken> {
    parameters(outcome)
        .find(|(name, _)| {
            let empty = name.split(['.', '/']).any(str::is_empty);
            empty || name.contains(|c: char| c.is_ascii_control() || c == ' ')
        })
        .map(|(name, _)| Broken::by(name))
}

/// A line break at the end is what files have; the kernel passes over it.
pub(super) fn sysctl_value(outcome: &Outcome<'_>) -> Option<Broken> {
    parameters(outcome)
        .find(|(_, value)| {
            let line = value.strip_suffix('\n').unwrap_or(value);
            line.contains(['\n', '\0'])
        })
        .map(|(name, _)| Broken::by(name))
}

/// Where a namespace is needed and missing, applying says so.
pub(super) fn sysctl_of_host(outcome: &Outcome<'_>) -> Option<Broken> {
    /// Names that look like those of the IPC namespace, and are the host's.
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    parameters(outcome)
        .find(|(name, _)| match sysctl_namespace(name) {
            None => true,
            Some("ipc") => {
                let name = KeyKind::KernelParameter.normal(name);
                !IPC.contains(&&*name) && !name.starts_with("fs.mqueue.")
            }
            Some(_) => false,
        })
        .map(|(name, _)| Broken::by(name))
}

pub(super) fn sysctl_hostname(outcome: &Outcome<'_>) -> Option<Broken> {
    parameters(outcome)
        .find(|(name, _)| KeyKind::KernelParameter.normal(name) == "kernel.hostname")
        .map(|(name, _)| Broken::by(name))
}

const NET_DEVICES: &[&str] = &["linux", "netDevices"];

pub(super) fn net_device_namespace(outcome: &Outcome<'_>) -> Option<Broken> {
    if has_namespace(outcome.after, "network") {
        return None;
    }
    let (host, _) = changed(outcome, NET_DEVICES).next()?;
    Some(Broken::by(host))
}

/// The kernel numbers names with `%d` itself.
pub(super) fn net_device_clash(outcome: &Outcome<'_>) -> Option<Broken> {
    changed(outcome, NET_DEVICES).next()?;
    let mut hosts = BTreeMap::new();
    let devices = tree::get(outcome.after, NET_DEVICES)?.as_object()?;
    devices.iter().find_map(|(host, device)| {
        let name = match tree::get(device, &["name"]).and_then(Value::as_str) {
            None | Some("") => host.as_str(),
            Some(name) => name,
        };
        let other = hosts.insert(name, host).filter(|_| !name.contains("%d"))?;
        Some(Broken::by(host).because(format!(
            "the container would have two devices named {:?}: this one and {:?} of the host",
            shortened(name),
            shortened(other)
        )))
    })
}

const RDT: &[&str] = &["linux", "intelRdt"];

/// The class of service, if it is new, and the field that brought it.
fn clos<'a>(outcome: &Outcome<'a>) -> Option<(&'a str, Field)> {
    let (_, clos) = changed(outcome, RDT).find(|(name, _)| *name == "closID")?;
    let rdt = outcome.linux.rdt.as_ref();
    let field = match rdt.and_then(|rdt| rdt.clos_id.as_ref()) {
        Some(_) => Field::RdtClosId,
        None => Field::RdtClass,
    };
    Some((clos.as_str()?, field))
}

pub(super) fn clos_name(outcome: &Outcome<'_>) -> Option<Broken> {
    let (name, field) = clos(outcome)?;
    let is_directory =
        name.len() <= 255 && name != "." && name != ".." && !name.contains(['/', '\n', '\0']);
    (name != "/" && !is_directory).then(|| Broken::by(name).of(field))
}

pub(super) fn clos_reserved(outcome: &Outcome<'_>) -> Option<Broken> {
    let (name, field) = clos(outcome)?;
    ["info", "mon_groups", "mon_data"]
        .contains(&name)
        .then(|| Broken::by(name).of(field))
}

pub(super) fn rdt_schemata(outcome: &Outcome<'_>) -> Option<Broken> {
    let (_, schemata) = changed(outcome, RDT).find(|(name, _)| *name == "schemata")?;
    let lines = schemata.as_array()?.iter().filter_map(Value::as_str);
    let is_schema = |line: &str| {
        let (resource, domains) = line.split_once(':')?;
        let one_line = !line.contains(['\n', '\0']) && !resource.trim().is_empty();
        let mut domains = domains.split(';');
        (one_line && domains.all(|domain| domain.contains('='))).then_some(())
    };
    let line = { lines }.find(|line| is_schema(line).is_none())?;
    Some(Broken::by(line))
}

/// Judged on a whole spec only: an update may leave the limit of memory as it is.
pub(super) fn swap_without_limit(outcome: &Outcome<'_>) -> Option<Broken> {
    let of =
        |spec, name| tree::int(spec, &["linux", "resources", "memory", name]).unwrap_or_default();
    let sizes = |spec| (of(spec, "limit"), of(spec, "swap"));
    let (limit, swap) = sizes(outcome.after);
    (swap > 0 && limit == 0 && sizes(outcome.before) != (limit, swap)).then(|| Broken::by(swap))
}

pub(super) fn blockio_weight(outcome: &Outcome<'_>) -> Option<Broken> {
    let weight = |object: &Value| {
        ["weight", "leafWeight"].into_iter().find_map(|name| {
            let weight = tree::uint(object, &[name])?;
            (weight != 0 && !(10..=1000).contains(&weight)).then_some(weight)
        })
    };
    let path = &["linux", "resources", "blockIO"];
    let blockio = tree::get(outcome.after, path)?;
    if tree::get(outcome.before, path) == Some(blockio) {
        return None;
    }
    let devices = tree::list(blockio, &["weightDevice"]);
    let weight = weight(blockio).or_else(|| devices.iter().find_map(weight))?;
    let class = outcome.linux.resources.as_ref()?.blockio_class.as_ref()?;
    Some(Broken::by(&class.value).because(format!(
        "a weight of block I/O must be between 10 and 1000, and that of this class is {weight}"
    )))
}
