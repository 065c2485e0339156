//! Maps: annotations, kernel parameters and network devices, whose keys can be removed, and the
//! parameters of cgroup v2, whose keys cannot.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use nri_proto::api::Field;

use crate::PluginId;
use crate::keys::KeyKind;
use crate::merge::error::Clash;
use crate::merge::key_table::KeyTable;
use crate::merge::owners::{ContainerOwners, Owner};
use crate::merge::removal_marker::{bare, mark, marked};
use crate::merge::rule::Rule;
use crate::merge::sieve::Sieve;

type Map<V> = BTreeMap<String, V>;

/// How the keys of a map are spelled.
pub(in crate::merge) trait Spelled: std::fmt::Debug + Clone + Default {
    const KEYS: KeyKind;
}

/// In one way only.
#[derive(Debug, Clone, Default)]
pub(in crate::merge) struct AsText;

impl Spelled for AsText {
    const KEYS: KeyKind = KeyKind::Text;
}

/// As kernel parameters.
#[derive(Debug, Clone, Default)]
pub(in crate::merge) struct AsKernelParameter;

impl Spelled for AsKernelParameter {
    const KEYS: KeyKind = KeyKind::of(Field::Sysctl);
}

/// Whether a map spells all its keys, removed ones included, in normal form. Then texts can be
/// compared.
fn is_plain<V, K: Spelled>(map: &Map<V>) -> bool {
    K::KEYS.has_one_spelling() || map.keys().all(|key| K::KEYS.is_normal(bare(key)))
}

/// The normal forms of all keys, removed ones included.
fn normal_keys<V, K: Spelled>(map: &Map<V>) -> BTreeSet<Cow<'_, str>> {
    map.keys().map(|key| K::KEYS.normal(bare(key))).collect()
}

/// What both kinds of map have.
#[derive(Debug, Clone)]
struct Entries<V, K> {
    /// The combined map so far.
    reply: Map<V>,
    /// Who touched which key last.
    owners: KeyTable<Owner>,
    /// What the original had where the view was changed.
    original: Map<V>,
    spelled: PhantomData<K>,
}

impl<V, K: Spelled> Default for Entries<V, K> {
    fn default() -> Self {
        Self {
            reply: Map::new(),
            owners: KeyTable::of(K::KEYS),
            original: Map::new(),
            spelled: PhantomData,
        }
    }
}

impl<V: Default + Clone, K: Spelled> Entries<V, K> {
    /// The plugin whose value the key has.
    fn setter(&self, key: &str) -> Option<&PluginId> {
        self.owners.get(key).and_then(Owner::setter)
    }

    // A map has no order that an earlier touch could have changed, so the view need not be made
    // anew by a later one.

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
        // Two spellings of a key may be removed at once.
        let plain = keys.clone().all(|key| K::KEYS.is_normal(key));
        let mut seen = BTreeSet::new();
        let keys = keys.filter(|key| plain || seen.insert(K::KEYS.normal(key)));
        self.owners
            .insert_all(keys.map(|key| (key, Owner::Removed(plugin.clone()))));
    }

    /// Takes what is set under another spelling of the asked keys out of the combined map and out
    /// of the view.
    fn forget_other_spellings(&mut self, asked: &Map<V>, view: Option<&mut Map<V>>) {
        let is_plain = is_plain::<V, K>;
        if is_plain(asked) && is_plain(&self.reply) && view.as_deref().is_none_or(is_plain) {
            return;
        }
        let keys = normal_keys::<V, K>(asked);
        self.reply
            .retain(|key, _| marked(key).is_some() || !keys.contains(&K::KEYS.normal(key)));
        if let Some(view) = view {
            let gone = view
                .keys()
                .filter(|key| keys.contains(&K::KEYS.normal(key)));
            let gone: Vec<String> = gone.cloned().collect();
            for key in gone {
                let before = view.remove(&key);
                self.keep(&key, before);
            }
        }
    }

    fn keep(&mut self, key: &str, before: Option<V>) {
        match before {
            Some(before) if !self.owners.contains(key) => {
                self.original.insert(key.to_owned(), before);
            }
            _ => {}
        }
    }

    fn restore(&mut self, view: &mut Map<V>) {
        // What was set stands in the view as its owner spells it.
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
/// The combined map has `-k` for every key that any plugin removed, also beside a later value:
/// whoever applies it does the removals first. Where the original spells a touched key in another
/// way, there is a marker for that spelling too: whoever compares keys as texts gets rid of the
/// original's entry then.
#[derive(Debug, Clone)]
pub(in crate::merge) struct KeyedMap<V, K = AsText> {
    entries: Entries<V, K>,
    /// How the original spells touched keys, where that may be another way than plugins do.
    spellings: BTreeSet<String>,
}

impl<V, K: Spelled> Default for KeyedMap<V, K> {
    fn default() -> Self {
        Self {
            entries: Entries::default(),
            spellings: BTreeSet::new(),
        }
    }
}

impl<V: Default + Clone, K: Spelled> Rule for KeyedMap<V, K> {
    type Asked = Map<V>;
    type Shown = Map<V>;

    const HAS_KEYS: bool = true;

    fn asks(asked: &Map<V>) -> bool {
        !asked.is_empty()
    }

    fn check(&self, field: Field, asked: &Map<V>) -> Result<(), Clash> {
        let plain = is_plain::<V, K>(asked);
        let removals = asked.keys().filter_map(|key| marked(key));
        // A plain map can be asked itself.
        let removals = removals.filter(|_| !plain).map(|key| K::KEYS.normal(key));
        let removed: BTreeSet<Cow<'_, str>> = removals.collect();
        let mut seen = BTreeSet::new();
        for key in asked.keys().filter(|key| marked(key).is_none()) {
            let clash = |other| Clash {
                field,
                key: Some(key.clone()),
                other,
            };
            let is_removed = || match plain {
                true => asked.contains_key(&mark(key)),
                false => removed.contains(&K::KEYS.normal(key)),
            };
            if !plain && !seen.insert(K::KEYS.normal(key)) {
                return Err(clash(None));
            }
            match self.entries.setter(key) {
                Some(other) if !is_removed() => return Err(clash(Some(other.clone()))),
                _ => {}
            }
        }
        Ok(())
    }

    fn looks(asked: &Map<V>) -> bool {
        !K::KEYS.has_one_spelling() && !asked.is_empty()
    }

    fn note(&mut self, asked: &Map<V>, view: &Map<V>) {
        if !Self::looks(asked) {
            return;
        }
        let is_plain = is_plain::<V, K>;
        if is_plain(asked) && is_plain(view) && is_plain(&self.entries.original) {
            return;
        }
        let keys = normal_keys::<V, K>(asked);
        let untouched = view
            .keys()
            .filter(|key| !self.entries.owners.contains(key.as_str()));
        let originals = untouched.chain(self.entries.original.keys());
        let spellings = originals.filter(|key| keys.contains(&K::KEYS.normal(key)));
        self.spellings.extend(spellings.cloned());
    }

    fn take(&mut self, asked: Map<V>, plugin: &PluginId, mut view: Option<&mut Map<V>>) {
        let entries = &mut self.entries;
        entries.forget_other_spellings(&asked, view.as_deref_mut());
        let removals = asked.keys().filter_map(|key| marked(key));
        if removals.clone().next().is_none() {
            return entries.set_all(asked, plugin, view);
        }
        entries.remove_all(removals, plugin, view.as_deref_mut());
        let sets = asked.into_iter().filter(|(key, _)| marked(key).is_none());
        entries.set_all(sets.collect(), plugin, view);
    }

    fn restore(&mut self, view: &mut Map<V>) {
        self.entries.restore(view);
    }

    fn finish(self, field: Field, owners: &mut ContainerOwners) -> Map<V> {
        let mut reply = self.entries.finish(field, owners);
        for spelling in self.spellings {
            if !reply.contains_key(&spelling) {
                reply.insert(mark(&spelling), V::default());
            }
        }
        reply
    }

    fn apply(asked: &Map<V>, shown: &mut Map<V>) {
        if is_plain::<V, K>(asked) && is_plain::<V, K>(shown) {
            for key in asked.keys().filter_map(|key| marked(key)) {
                shown.remove(key);
            }
        } else {
            let keys = normal_keys::<V, K>(asked);
            shown.retain(|key, _| !keys.contains(&K::KEYS.normal(key)));
        }
        // Of two spellings that a contradictory request sets, the last one in order counts.
        let sets = asked.iter().filter(|(key, _)| marked(key).is_none());
        if is_plain::<V, K>(asked) {
            shown.extend(sets.map(|(key, value)| (key.clone(), value.clone())));
        } else {
            let sets = sets.map(|(key, value)| (K::KEYS.normal(key), (key, value)));
            let sets: BTreeMap<_, _> = sets.collect();
            shown.extend(sets.into_values().map(|(k, v)| (k.clone(), v.clone())));
        }
    }

    fn normalise(asked: &mut Map<V>) {
        if !is_plain::<V, K>(asked) {
            *asked = std::mem::take(asked)
                .into_iter()
                .map(|(key, value)| match marked(&key) {
                    Some(removed) => (mark(&K::KEYS.normal(removed)), value),
                    None => (K::KEYS.normal(&key).into_owned(), value),
                })
                .collect();
        }
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
        let shown = shown.into_iter().flat_map(BTreeMap::keys);
        let there: BTreeSet<Cow<'_, str>> = shown.map(|key| K::KEYS.normal(key)).collect();
        asked.retain(|key, _| marked(key).is_none_or(|key| there.contains(&K::KEYS.normal(key))));
    }

    fn sift<S: Sieve>(field: Field, asked: &mut Map<V>, sieve: &mut S) {
        asked.retain(|key, _| sieve.keeps(field, Some(bare(key))));
    }
}

/// Whether the map sets the key. A key that looks like a marker cannot be set.
fn is_set<V>(asked: &Map<V>, key: &str) -> bool {
    marked(key).is_none() && asked.contains_key(key)
}

/// A map whose keys are all literal: nothing removes.
#[derive(Debug, Clone)]
pub(in crate::merge) struct LiteralMap<V>(Entries<V, AsText>);

impl<V> Default for LiteralMap<V> {
    fn default() -> Self {
        Self(Entries::default())
    }
}

impl<V: Default + Clone> Rule for LiteralMap<V> {
    type Asked = Map<V>;
    type Shown = Map<V>;

    const HAS_KEYS: bool = true;

    fn asks(asked: &Map<V>) -> bool {
        !asked.is_empty()
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

    fn sift<S: Sieve>(field: Field, asked: &mut Map<V>, sieve: &mut S) {
        asked.retain(|key, _| sieve.keeps(field, Some(key)));
    }

    fn apply(asked: &Map<V>, shown: &mut Map<V>) {
        shown.extend(
            asked
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
    }
}
