//! Mounts: `mounts`, sorted so that parents precede children, and `linux.rootfsPropagation`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use nri_proto::api::{Field, Mount};
use serde_json::Value;

use super::draft::Draft;
use super::error::ApplyError;
use crate::keys::KeyKind;
use crate::merge::removal_marker::marked;
use crate::oci::mounts::{MountTable, Propagation};
use crate::oci::path::is_inside;
use crate::oci::tree::{self, Object};

const KEYS: KeyKind = KeyKind::of(Field::Mounts);

/// An option that is not mount(2)'s: it asks the runtime to relabel the source.
const RELABEL: &str = "relabel";

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let adjustment = draft.adjustment;
    if adjustment.mounts.is_empty() {
        return Ok(());
    }
    // What is to be at a destination: nothing if it is removed; the mount that was there, until the
    // new one takes its place.
    let mut replaced: BTreeMap<Cow<'_, str>, Replaced> = BTreeMap::new();
    for mount in &adjustment.mounts {
        let removal = marked(&mount.destination);
        let destination = KEYS.normal(removal.unwrap_or(&mount.destination));
        let replaced = replaced.entry(destination).or_default();
        replaced.is_removed |= removal.is_some();
    }
    if let Some(list) = tree::existing_list_mut(&mut draft.spec, &["mounts"]) {
        list.retain_mut(|mount| {
            let destination = KEYS.normal(tree::text(mount, &["destination"]));
            let Some(replaced) = replaced.get_mut(&*destination) else {
                return true;
            };
            if !replaced.is_removed {
                replaced.old = Some(mount.take());
            }
            false
        });
    }
    let mut host = None;
    let mut added: Vec<Option<Value>> = Vec::new();
    for mount in &adjustment.mounts {
        if marked(&mount.destination).is_some() {
            continue;
        }
        if !is_inside(&mount.destination) {
            return Err(draft.invalid(
                Field::Mounts,
                &mount.destination,
                "the destination must be an absolute path inside the container",
            ));
        }
        propagation(draft, mount, &mut host)?;
        let Some(replaced) = replaced.get_mut(&*KEYS.normal(&mount.destination)) else {
            continue;
        };
        // A merge never hands on two mounts at one destination; if there are, the last one counts.
        let earlier = replaced.added.and_then(|at| added.get_mut(at)?.take());
        let old = earlier.or_else(|| replaced.old.take());
        replaced.added = Some(added.len());
        added.push(Some(oci(draft, mount, old)?));
    }
    if !added.is_empty() {
        tree::list_mut(&mut draft.spec, &["mounts"]).extend(added.into_iter().flatten());
    }
    if let Some(list) = tree::existing_list_mut(&mut draft.spec, &["mounts"]) {
        list.sort_by_cached_key(|mount| {
            let destination = KEYS
                .normal(tree::text(mount, &["destination"]))
                .into_owned();
            (destination.matches('/').count(), destination)
        });
    }
    Ok(())
}

/// What becomes of the mounts at one destination.
#[derive(Default)]
struct Replaced {
    is_removed: bool,
    /// The last mount that was there, unless it is removed.
    old: Option<Value>,
    /// The place of the mount that is added.
    added: Option<usize>,
}

/// The mount as the spec has it. What the protocol cannot carry is kept if destination and source
/// stay the same.
fn oci(draft: &mut Draft<'_>, mount: &Mount, old: Option<Value>) -> Result<Value, ApplyError> {
    let mut oci = match old {
        Some(Value::Object(old)) if old.get("source") == Some(&mount.source.as_str().into()) => old
            .into_iter()
            .filter(|(name, _)| !["type", "options"].contains(&name.as_str()))
            .collect(),
        _ => Object::new(),
    };
    tree::insert_text(&mut oci, "destination", &mount.destination);
    tree::insert_text(&mut oci, "type", &mount.r#type);
    tree::insert_text(&mut oci, "source", &mount.source);
    let options: Vec<String> = mount
        .options
        .iter()
        .filter(|option| *option != RELABEL)
        .cloned()
        .collect();
    if options.len() != mount.options.len() {
        match &draft.options.relabel {
            Some(relabel) => relabel(mount).map_err(|source| {
                draft.callback_failed(Field::Mounts, &mount.destination, source)
            })?,
            None => draft.warn(
                Field::Mounts,
                &mount.destination,
                "the option relabel was dropped: the runtime cannot relabel",
            ),
        }
    }
    tree::insert_texts(&mut oci, "options", &options);
    Ok(Value::Object(oci))
}

/// A shared or slave bind mount needs a source that propagates, and a root file system that lets
/// it. `table` is the host's, once it was needed.
fn propagation(
    draft: &mut Draft<'_>,
    mount: &Mount,
    table: &mut Option<MountTable>,
) -> Result<(), ApplyError> {
    let asked = mount
        .options
        .iter()
        .rev()
        .find_map(|option| match option.as_str() {
            "rprivate" => Some(Propagation::Private),
            "rslave" => Some(Propagation::Slave),
            "rshared" => Some(Propagation::Shared),
            _ => None,
        });
    let (asked, name, needed) = match asked {
        None | Some(Propagation::Private) => return Ok(()),
        Some(Propagation::Slave) => (Propagation::Slave, "rslave", "shared or slave"),
        Some(Propagation::Shared) => (Propagation::Shared, "rshared", "shared"),
    };
    let is_bind = mount.r#type == "bind"
        || mount
            .options
            .iter()
            .any(|option| option == "bind" || option == "rbind");
    if let Some(host) = draft.options.host_mounts.as_ref().filter(|_| is_bind) {
        let failed = |source| draft.callback_failed(Field::Mounts, &mount.destination, source);
        let source = host.resolve(&mount.source).map_err(failed)?;
        let table = match table {
            Some(table) => table,
            None => table.insert(MountTable::new(&host.mounts().map_err(failed)?)),
        };
        let on_host = table.propagation_of(&source);
        let enough = match asked {
            Propagation::Shared => on_host == Propagation::Shared,
            _ => on_host != Propagation::Private,
        };
        if !enough {
            return Err(draft.invalid(
                Field::Mounts,
                &mount.destination,
                format!(
                    "it is to be {name}, and the mount that its source {:?} is on is not {needed}",
                    mount.source
                ),
            ));
        }
    }
    let root = tree::string(&draft.spec, &["linux", "rootfsPropagation"]);
    let keeps = asked == Propagation::Slave && ["rshared", "rslave"].contains(&root.as_str());
    if !keeps {
        tree::set(&mut draft.spec, &["linux"], "rootfsPropagation", name);
    }
    Ok(())
}
