//! Namespaces: `linux.namespaces`. Removing one makes the container share the host's, not the pod's.

use nri_proto::api::LinuxNamespace;
use serde_json::{Value, json};

use super::{ApplyError, Draft, removed};
use crate::oci::tree;

const LIST: [&str; 2] = ["linux", "namespaces"];

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let namespaces = &draft.linux.namespaces;
    for name in namespaces.iter().filter_map(|n| removed(&n.r#type)) {
        if let Some(list) = tree::existing_list_mut(&mut draft.spec, &LIST) {
            list.retain(|entry| tree::string(entry, &["type"]) != name);
        }
    }
    for namespace in namespaces.iter().filter(|n| removed(&n.r#type).is_none()) {
        set(tree::list_mut(&mut draft.spec, &LIST), namespace);
    }
    Ok(())
}

fn set(list: &mut Vec<Value>, namespace: &LinuxNamespace) {
    let existing = list
        .iter_mut()
        .find(|entry| tree::string(entry, &["type"]) == namespace.r#type);
    let entry = match existing {
        Some(entry) => entry,
        None => {
            list.push(json!({"type": namespace.r#type}));
            match list.last_mut() {
                Some(entry) => entry,
                None => return,
            }
        }
    };
    if namespace.path.is_empty() {
        tree::remove(entry, &[], "path");
    } else {
        tree::set(entry, &[], "path", namespace.path.as_str());
    }
}
