//! Kernel parameters: `linux.sysctl`.
//!
//! Whatever a plugin writes, the filter sees, and the spec gets, the form with dots: it is the one
//! that every low-level runtime and every check by text understands.

use std::collections::BTreeSet;

use nri_proto::api::Field;

use super::annotations::changes;
use super::draft::Draft;
use super::error::ApplyError;
use crate::keys::KeyKind;
use crate::oci::callbacks::KeyedChanges;
use crate::oci::names::sysctl_namespace;
use crate::oci::{read, tree};

const KEYS: KeyKind = KeyKind::of(Field::Sysctl);
const MAP: [&str; 2] = ["linux", "sysctl"];

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    if draft.linux.sysctl.is_empty() {
        return Ok(());
    }
    let mut changes = normal(changes(&draft.linux.sysctl));
    if let Some(filter) = &draft.options.sysctl_filter {
        filter(&mut changes).map_err(|source| draft.callback_failed(Field::Sysctl, "", source))?;
        changes = normal(changes);
    }
    let namespaces = read::namespaces(&draft.spec).into_iter();
    let own: BTreeSet<String> = namespaces.map(|namespace| namespace.r#type).collect();
    for name in changes.set.keys() {
        if name.is_empty() {
            return Err(draft.invalid(Field::Sysctl, "", "the name is empty"));
        }
        let needed = sysctl_namespace(name).filter(|_| draft.options.check_sysctl_namespaces);
        if let Some(needed) = needed.filter(|needed| !own.contains(*needed)) {
            return Err(draft.invalid(
                Field::Sysctl,
                name,
                format!(
                    "it is a parameter of the {needed} namespace, and the container uses the host's"
                ),
            ));
        }
    }
    if let Some(map) = tree::existing_object_mut(&mut draft.spec, &MAP) {
        map.retain(|name, _| {
            let normal = KEYS.normal(name);
            let (is_set, is_removed) = (
                changes.set.contains_key(&*normal),
                changes.removed.contains(&*normal),
            );
            // What is written anew as it is spelled keeps its place.
            !is_removed && !is_set || is_set && *normal == *name
        });
    }
    for (name, value) in changes.set {
        tree::set(&mut draft.spec, &MAP, &name, value);
    }
    Ok(())
}

/// The changes with all names in normal form.
fn normal(changes: KeyedChanges) -> KeyedChanges {
    let all = changes.removed.iter().chain(changes.set.keys());
    if all.into_iter().all(|name| KEYS.is_normal(name)) {
        return changes;
    }
    let normal = |name: String| KEYS.normal(&name).into_owned();
    let set = changes.set.into_iter();
    KeyedChanges {
        removed: changes.removed.into_iter().map(normal).collect(),
        set: set.map(|(name, value)| (normal(name), value)).collect(),
    }
}
