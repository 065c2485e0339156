//! What became of each key of a keyed field: who touched it last, with what, and where that puts it.

use std::collections::{BTreeMap, btree_map};

use nri_proto::api::Field;

use crate::PluginId;
use crate::merge::owners::{ContainerOwners, Owner};

/// The keys that were touched in a request.
#[derive(Debug, Clone)]
pub(super) struct Slots<V> {
    by_key: BTreeMap<String, Slot<V>>,
    touches: usize,
}

/// One touched key.
#[derive(Debug, Clone)]
pub(super) struct Slot<V> {
    /// Who touched it last.
    plugin: PluginId,
    /// What the plugin asked for: the value, or whatever stands for its removal.
    pub(super) asked: V,
    /// Whether that is a value.
    pub(super) is_set: bool,
    /// Whether any plugin removed it, whatever came after.
    pub(super) was_removed: bool,
    /// The number of the last touch.
    pub(super) place: usize,
}

impl<V> Default for Slots<V> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            touches: 0,
        }
    }
}

impl<V> Slots<V> {
    /// How many touches there were.
    pub(super) fn touches(&self) -> usize {
        self.touches
    }

    /// Whether any plugin touched the key.
    pub(super) fn touched(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// The plugin whose value the key has.
    pub(super) fn setter(&self, key: &str) -> Option<&PluginId> {
        self.by_key
            .get(key)
            .filter(|slot| slot.is_set)
            .map(|slot| &slot.plugin)
    }

    /// Whether the key was touched since there were `touches` touches.
    pub(super) fn touched_since(&self, touches: usize, key: &str) -> bool {
        self.by_key
            .get(key)
            .is_some_and(|slot| slot.place >= touches)
    }

    /// Sets the key.
    pub(super) fn set(&mut self, key: String, plugin: &PluginId, value: V) {
        self.touch(key, plugin, value, true);
    }

    /// Removes the key; `marker` is what the plugin asked for.
    pub(super) fn remove(&mut self, key: String, plugin: &PluginId, marker: V) {
        self.touch(key, plugin, marker, false);
    }

    fn touch(&mut self, key: String, plugin: &PluginId, asked: V, is_set: bool) {
        let touched = Slot {
            plugin: plugin.clone(),
            asked,
            is_set,
            was_removed: !is_set,
            place: self.touches,
        };
        self.touches += 1;
        match self.by_key.entry(key) {
            btree_map::Entry::Occupied(mut slot) => {
                let was_removed = slot.get().was_removed;
                slot.insert(touched);
                slot.get_mut().was_removed |= was_removed;
            }
            btree_map::Entry::Vacant(slot) => {
                slot.insert(touched);
            }
        }
    }

    /// The touched keys, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.by_key.keys().map(String::as_str)
    }

    /// What plugins asked for, with the number of the last touch, in order of the keys.
    pub(super) fn asked(&self) -> impl Iterator<Item = (usize, &V)> {
        self.by_key.values().map(|slot| (slot.place, &slot.asked))
    }

    /// Hands every slot, in order of the keys, to `each`, and its owner to `owners`.
    pub(super) fn drain(
        self,
        field: Field,
        owners: &mut ContainerOwners,
        mut each: impl FnMut(&str, Slot<V>),
    ) {
        let owners_of_keys = self
            .by_key
            .into_iter()
            .map(|(key, slot)| {
                let plugin = slot.plugin.clone();
                let owner = if slot.is_set {
                    Owner::Set(plugin)
                } else {
                    Owner::Removed(plugin)
                };
                each(&key, slot);
                (key, owner)
            })
            .collect();
        owners.insert_entries(field, owners_of_keys);
    }
}
