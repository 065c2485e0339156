//! Annotations: `annotations`.

use nri_proto::api::Field;

use super::draft::Draft;
use super::error::ApplyError;
use crate::merge::removal_marker::marked;
use crate::oci::callbacks::KeyedChanges;
use crate::oci::tree;

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let mut changes = changes(&draft.adjustment.annotations);
    for key in changes.removed.iter().chain(changes.set.keys()) {
        if draft.options.protected_annotations.contains(key) {
            return Err(ApplyError::Protected {
                item: draft.item(Field::Annotations, key),
            });
        }
    }
    if let Some(filter) = &draft.options.annotation_filter {
        filter(&mut changes)
            .map_err(|source| draft.callback_failed(Field::Annotations, "", source))?;
    }
    if changes.set.contains_key("") {
        return Err(draft.invalid(Field::Annotations, "", "the key is empty"));
    }
    for key in &changes.removed {
        tree::remove(&mut draft.spec, &["annotations"], key);
    }
    for (key, value) in changes.set {
        tree::set(&mut draft.spec, &["annotations"], &key, value);
    }
    Ok(())
}

/// A map whose removals are marked keys, as a filter gets it.
pub(super) fn changes(map: &std::collections::BTreeMap<String, String>) -> KeyedChanges {
    let mut changes = KeyedChanges::default();
    for (key, value) in map {
        match marked(key) {
            Some(key) => {
                changes.removed.insert(key.to_owned());
            }
            None => {
                changes.set.insert(key.clone(), value.clone());
            }
        }
    }
    changes
}
