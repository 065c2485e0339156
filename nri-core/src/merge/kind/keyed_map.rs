//! Maps: annotations, kernel parameters and network devices, whose keys can be removed, and the parameters of cgroup v2,
//! whose keys cannot.

use std::collections::BTreeMap;

use nri_proto::api::Field;

use super::slots::Slots;
use crate::PluginId;
use crate::merge::error::Clash;
use crate::merge::owners::ContainerOwners;
use crate::merge::removal_marker::{bare, mark, marked};
use crate::merge::rule::Rule;

type Map<V> = BTreeMap<String, V>;

/// What both kinds of map have: the touched keys, and what the original had there.
#[derive(Debug, Clone)]
struct Entries<V> {
    slots: Slots<V>,
    original: Map<V>,
}

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self {
            slots: Slots::default(),
            original: Map::new(),
        }
    }
}

impl<V: Default + Clone> Entries<V> {
    // A map has no order that an earlier touch could have changed, so the view need not be made anew by a later one.

    fn set(&mut self, key: String, plugin: &PluginId, value: V, view: &mut Map<V>) {
        let before = view.insert(key.clone(), value.clone());
        self.keep(&key, before);
        self.slots.set(key, plugin, value);
    }

    fn remove(&mut self, key: &str, plugin: &PluginId, view: &mut Map<V>) {
        let before = view.remove(key);
        self.keep(key, before);
        self.slots.remove(key.to_owned(), plugin, V::default());
    }

    fn keep(&mut self, key: &str, before: Option<V>) {
        if let Some(before) = before
            && !self.slots.touched(key)
        {
            self.original.insert(key.to_owned(), before);
        }
    }

    fn restore(&mut self, view: &mut Map<V>) {
        for key in self.slots.keys() {
            view.remove(key);
        }
        view.append(&mut self.original);
    }
}

/// A map in which the key `-k` removes `k`.
///
/// The combined map has `-k` for every key that any plugin removed, also beside a later value: whoever applies it does the
/// removals first.
#[derive(Debug, Clone, Default)]
pub(in crate::merge) struct KeyedMap<V>(Entries<V>);

impl<V: Default + Clone> Rule for KeyedMap<V> {
    type Asked = Map<V>;
    type Shown = Map<V>;

    fn asks(asked: &Map<V>) -> bool {
        !asked.is_empty()
    }

    fn keys(asked: &Map<V>) -> Vec<String> {
        let mut keys: Vec<String> = asked.keys().map(|key| bare(key).to_owned()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn check(&self, field: Field, asked: &Map<V>) -> Result<(), Clash> {
        for key in asked.keys().filter(|key| marked(key).is_none()) {
            if let Some(other) = self.0.slots.setter(key)
                && !asked.contains_key(&mark(key))
            {
                return Err(Clash {
                    field,
                    key: Some(key.clone()),
                    other: Some(other.clone()),
                });
            }
        }
        Ok(())
    }

    fn take(&mut self, asked: Map<V>, plugin: &PluginId, view: &mut Map<V>) {
        for key in asked.keys().filter_map(|key| marked(key)) {
            self.0.remove(key, plugin, view);
        }
        for (key, value) in asked {
            if marked(&key).is_none() {
                self.0.set(key, plugin, value, view);
            }
        }
    }

    fn restore(&mut self, view: &mut Map<V>) {
        self.0.restore(view);
    }

    fn finish(self, field: Field, owners: &mut ContainerOwners) -> Map<V> {
        let mut reply = Map::new();
        self.0.slots.drain(field, owners, |key, slot| {
            if slot.was_removed {
                reply.insert(mark(key), V::default());
            }
            if slot.is_set {
                reply.insert(key.to_owned(), slot.asked);
            }
        });
        reply
    }

    fn apply(asked: &Map<V>, shown: &mut Map<V>) {
        for key in asked.keys().filter_map(|key| marked(key)) {
            shown.remove(key);
        }
        let sets = asked.iter().filter(|(key, _)| marked(key).is_none());
        shown.extend(sets.map(|(key, value)| (key.clone(), value.clone())));
    }

    fn normalise(asked: &mut Map<V>) {
        let replaced: Vec<String> = asked
            .keys()
            .filter(|key| marked(key).is_some_and(|key| is_set(asked, key)))
            .cloned()
            .collect();
        for key in replaced {
            asked.remove(&key);
        }
        for (_, value) in asked.iter_mut().filter(|(key, _)| marked(key).is_some()) {
            *value = V::default();
        }
    }

    fn prune(asked: &mut Map<V>, shown: Option<&Map<V>>) {
        asked.retain(|key, _| {
            marked(key).is_none_or(|key| shown.is_some_and(|shown| shown.contains_key(key)))
        });
    }
}

/// Whether the map sets the key. A key that looks like a marker cannot be set.
fn is_set<V>(asked: &Map<V>, key: &str) -> bool {
    marked(key).is_none() && asked.contains_key(key)
}

/// A map whose keys are all literal: nothing removes.
#[derive(Debug, Clone, Default)]
pub(in crate::merge) struct LiteralMap<V>(Entries<V>);

impl<V: Default + Clone> Rule for LiteralMap<V> {
    type Asked = Map<V>;
    type Shown = Map<V>;

    fn asks(asked: &Map<V>) -> bool {
        !asked.is_empty()
    }

    fn keys(asked: &Map<V>) -> Vec<String> {
        asked.keys().cloned().collect()
    }

    fn check(&self, field: Field, asked: &Map<V>) -> Result<(), Clash> {
        match asked
            .keys()
            .find_map(|key| self.0.slots.setter(key).map(|other| (key, other)))
        {
            Some((key, other)) => Err(Clash {
                field,
                key: Some(key.clone()),
                other: Some(other.clone()),
            }),
            None => Ok(()),
        }
    }

    fn take(&mut self, asked: Map<V>, plugin: &PluginId, view: &mut Map<V>) {
        for (key, value) in asked {
            self.0.set(key, plugin, value, view);
        }
    }

    fn restore(&mut self, view: &mut Map<V>) {
        self.0.restore(view);
    }

    fn finish(self, field: Field, owners: &mut ContainerOwners) -> Map<V> {
        let mut reply = Map::new();
        self.0.slots.drain(field, owners, |key, slot| {
            reply.insert(key.to_owned(), slot.asked);
        });
        reply
    }

    fn apply(asked: &Map<V>, shown: &mut Map<V>) {
        shown.extend(
            asked
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
    }
}
