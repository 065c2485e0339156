//! Namespaces: `linux.namespaces`. Removing one makes the container share the host's, not the
//! pod's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::draft::Draft;
use super::error::ApplyError;
use crate::merge::removal_marker::marked;
use crate::oci::tree;

const LIST: [&str; 2] = ["linux", "namespaces"];

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let namespaces = &draft.linux.namespaces;
    let gone: BTreeSet<&str> = namespaces
        .iter()
        .filter_map(|n| marked(&n.r#type))
        .collect();
    // By type, the paths that are not written yet; of two for one type, the last one counts.
    let sets = namespaces.iter().filter(|n| marked(&n.r#type).is_none());
    let mut wanted: BTreeMap<&str, Option<&str>> = sets
        .clone()
        .map(|namespace| (namespace.r#type.as_str(), Some(namespace.path.as_str())))
        .collect();
    if let Some(list) = tree::existing_list_mut(&mut draft.spec, &LIST) {
        list.retain_mut(|entry| {
            let name = tree::text(entry, &["type"]);
            if gone.contains(name) {
                return false;
            }
            if let Some(path) = wanted.get_mut(name).and_then(Option::take) {
                set_path(entry, path);
            }
            true
        });
    }
    for namespace in sets {
        if let Some(path) = wanted
            .get_mut(namespace.r#type.as_str())
            .and_then(Option::take)
        {
            let mut entry = json!({"type": namespace.r#type});
            set_path(&mut entry, path);
            tree::list_mut(&mut draft.spec, &LIST).push(entry);
        }
    }
    Ok(())
}

/// An empty path stands for a new namespace.
fn set_path(entry: &mut Value, path: &str) {
    if path.is_empty() {
        tree::remove(entry, &[], "path");
    } else {
        tree::set(entry, &[], "path", path);
    }
}
