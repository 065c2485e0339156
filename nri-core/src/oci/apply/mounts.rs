//! Mounts: `mounts`, sorted so that parents precede children, and `linux.rootfsPropagation`.

use nri_proto::api::{Field, Mount};
use serde_json::Value;

use super::{ApplyError, Draft, removed};
use crate::oci::mounts::{Propagation, propagation_of};
use crate::oci::path::{clean, clean_or_same};
use crate::oci::tree::{self, Object};

/// An option that is not mount(2)'s: it asks the runtime to relabel the source.
const RELABEL: &str = "relabel";

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let mounts = &draft.adjustment.mounts;
    if mounts.is_empty() {
        return Ok(());
    }
    for destination in mounts
        .iter()
        .filter_map(|mount| removed(&mount.destination))
    {
        take_away(&mut draft.spec, &clean_or_same(destination));
    }
    for mount in mounts.iter().filter(|m| removed(&m.destination).is_none()) {
        let Some(destination) = clean(&mount.destination) else {
            return Err(draft.invalid(
                Field::Mounts,
                &mount.destination,
                "the destination must be an absolute path inside the container",
            ));
        };
        let old = take_away(&mut draft.spec, &destination);
        propagation(draft, mount)?;
        let value = oci(draft, mount, old)?;
        tree::list_mut(&mut draft.spec, &["mounts"]).push(value);
    }
    if let Some(list) = tree::existing_list_mut(&mut draft.spec, &["mounts"]) {
        list.sort_by_cached_key(|mount| {
            let destination = clean_or_same(&tree::string(mount, &["destination"]));
            (destination.matches('/').count(), destination)
        });
    }
    Ok(())
}

/// Removes all mounts of a destination; the last of them.
fn take_away(spec: &mut Value, destination: &str) -> Option<Value> {
    let list = tree::existing_list_mut(spec, &["mounts"])?;
    let mut last = None;
    list.retain(|mount| {
        let same = clean_or_same(&tree::string(mount, &["destination"])) == destination;
        if same {
            last = Some(mount.clone());
        }
        !same
    });
    last
}

/// The mount as the spec has it. What the protocol cannot carry is kept if destination and source stay the same.
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

/// A shared or slave bind mount needs a source that propagates, and a root file system that lets it.
fn propagation(draft: &mut Draft<'_>, mount: &Mount) -> Result<(), ApplyError> {
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
        let on_host = propagation_of(&host.mounts().map_err(failed)?, &source);
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
