//! Maps: annotations, kernel parameters and network devices, whose keys can be removed, and the parameters of cgroup v2,
//! whose keys cannot.

use std::collections::BTreeMap;

use nri_proto::api::Field;

use crate::PluginId;
use crate::merge::error::Clash;
use crate::merge::key_table::KeyTable;
use crate::merge::owners::{ContainerOwners, Owner};
use crate::merge::removal_marker::{bare, mark, marked};
use crate::merge::rule::Rule;

type Map<V> = BTreeMap<String, V>;

/// What both kinds of map have.
#[derive(Debug, Clone)]
struct Entries<V> {
    /// The combined map so far.
    reply: Map<V>,
    /// Who touched which key last.
    owners: KeyTable<Owner>,
    /// What the original had where the view was changed.
    original: Map<V>,
}

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self {
            reply: Map::new(),
            owners: KeyTable::default(),
            original: Map::new(),
        }
    }
}

impl<V: Default + Clone> Entries<V> {
    /// The plugin whose value the key has.
    fn setter(&self, key: &str) -> Option<&PluginId> {
        self.owners.get(key).and_then(Owner::setter)
    }

    // A map has no order that an earlier touch could have changed, so the view need not be made anew by a later one.

    fn set_all(&mut self, asked: Map<V>, plugin: &PluginId, view: Option<&mut Map<V>>) {
        if let Some(view) = view {
            for (key, value) in &asked {
                let before = view.insert(key.clone(), value.clone());
                self.keep(key, before);
            }
        }
        let keys = asked.keys();
        self.owners
            .insert_all(keys.map(|key| (key.as_str(), Owner::Set(plugin.clone()))));
        if self.reply.is_empty() {
            self.reply = asked;
        } else {
            self.reply.extend(asked);
        }
    }

    fn remove_all<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k str> + Clone,
        plugin: &PluginId,
        view: Option<&mut Map<V>>,
    ) {
        if let Some(view) = view {
            for key in keys.clone() {
                let before = view.remove(key);
                self.keep(key, before);
            }
        }
        for key in keys.clone() {
            // A key that looks like a marker cannot be set; in the reply it is one.
            if marked(key).is_none() {
                self.reply.remove(key);
            }
            self.reply.insert(mark(key), V::default());
        }
        self.owners
            .insert_all(keys.map(|key| (key, Owner::Removed(plugin.clone()))));
    }

    fn keep(&mut self, key: &str, before: Option<V>) {
        if let Some(before) = before
            && !self.owners.contains(key)
        {
            self.original.insert(key.to_owned(), before);
        }
    }

    fn restore(&mut self, view: &mut Map<V>) {
        for key in self.owners.keys() {
            view.remove(key);
        }
        view.append(&mut self.original);
    }

    fn finish(self, field: Field, owners: &mut ContainerOwners) -> Map<V> {
        owners.insert_entries(field, self.owners);
        self.reply
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
            if let Some(other) = self.0.setter(key)
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

    fn take(&mut self, asked: Map<V>, plugin: &PluginId, mut view: Option<&mut Map<V>>) {
        let removals = asked.keys().filter_map(|key| marked(key));
        if removals.clone().next().is_none() {
            return self.0.set_all(asked, plugin, view);
        }
        self.0.remove_all(removals, plugin, view.as_deref_mut());
        let sets = asked.into_iter().filter(|(key, _)| marked(key).is_none());
        self.0.set_all(sets.collect(), plugin, view);
    }

    fn restore(&mut self, view: &mut Map<V>) {
        self.0.restore(view);
    }

    fn finish(self, field: Field, owners: &mut ContainerOwners) -> Map<V> {
        self.0.finish(field, owners)
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
            .find_map(|key| self.0.setter(key).map(|other| (key, other)))
        {
            Some((key, other)) => Err(Clash {
                field,
                key: Some(key.clone()),
                other: Some(other.clone()),
            }),
            None => Ok(()),
        }
    }

    fn take(&mut self, asked: Map<V>, plugin: &PluginId, view: Option<&mut Map<V>>) {
        self.0.set_all(asked, plugin, view);
    }

    fn restore(&mut self, view: &mut Map<V>) {
        self.0.restore(view);
    }

    fn finish(self, field: Field, owners: &mut ContainerOwners) -> Map<V> {
        self.0.finish(field, owners)
    }

    fn apply(asked: &Map<V>, shown: &mut Map<V>) {
        shown.extend(
            asked
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
    }
}
