//! Entries with keys, in lists and maps: adding one, and asking for the removal of one.
//!
//! What may not enter: which fields there are; those are in the traits above.

use std::collections::BTreeMap;

use nri_proto::api::Field;

use super::BuildError;
use crate::keys::KeyKind;
use crate::merge::Entry;
use crate::merge::removal_marker::{mark, marked};

/// Adds an entry with a key that is neither a marker nor there yet.
pub(super) fn add_entry<E: Entry>(
    list: &mut Vec<E>,
    field: Field,
    entry: E,
) -> Result<(), BuildError> {
    let key = entry.key().to_owned();
    if entry.removes().is_some() {
        return Err(BuildError::Marker { field, key });
    }
    let mut sets = list.iter().filter(|other| other.removes().is_none());
    if sets.any(|other| E::KEYS.same(other.key(), &key)) {
        return Err(BuildError::Duplicate { field, key });
    }
    list.push(entry);
    Ok(())
}

/// Asks for the removal of the entries of a key, once.
pub(super) fn remove_entry<E: Entry>(list: &mut Vec<E>, key: &str) {
    let mut removals = list.iter().filter_map(E::removes);
    if !removals.any(|removed| E::KEYS.same(removed, key)) {
        list.push(E::with_key(mark(key)));
    }
}

/// The same for maps in which keys can be removed.
pub(super) fn add_to_map<V>(
    map: &mut BTreeMap<String, V>,
    field: Field,
    key: String,
    value: V,
) -> Result<(), BuildError> {
    if marked(&key).is_some() {
        return Err(BuildError::Marker { field, key });
    }
    let kind = KeyKind::of(field);
    let mut sets = map.keys().filter(|other| marked(other).is_none());
    if map.contains_key(&key) || !kind.has_one_spelling() && sets.any(|o| kind.same(o, &key)) {
        return Err(BuildError::Duplicate { field, key });
    }
    map.insert(key, value);
    Ok(())
}

pub(super) fn remove_from_map<V: Default>(map: &mut BTreeMap<String, V>, key: &str) {
    map.insert(mark(key), V::default());
}
