//! Lists whose entries have keys: mounts, environment, devices and namespaces, which can be
//! removed, and limits and CDI devices, which cannot.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use nri_proto::api::{
    CdiDevice, Field, HugepageLimit, KeyValue, LinuxDevice, LinuxNamespace, Mount, PosixRlimit,
};

use crate::PluginId;
use crate::keys::KeyKind;
use crate::merge::error::Clash;
use crate::merge::key_table::KeyTable;
use crate::merge::owners::{ContainerOwners, Owner};
use crate::merge::removal_marker::{mark, marked};
use crate::merge::rule::Rule;
use crate::merge::sieve::Sieve;

/// An entry of a keyed list, as it is asked for.
pub(crate) trait Entry: Clone {
    /// The entry as a container has it.
    type Shown: Clone;
    /// Whether a leading `-` of the key asks for a removal.
    const REMOVABLE: bool;
    /// How keys are spelled.
    const KEYS: KeyKind;

    /// The key, with a marker if there is one.
    fn key(&self) -> &str;
    /// Gives the entry another key, with a marker if there is to be one.
    fn set_key(&mut self, key: String);
    /// An entry with nothing but a key.
    fn with_key(key: String) -> Self;
    /// The entry as a container has it.
    fn to_shown(&self) -> Self::Shown;
    /// The key of an entry in a container.
    fn shown_key(shown: &Self::Shown) -> &str;
    /// Whether that key is `key`.
    fn has_key(shown: &Self::Shown, key: &str) -> bool {
        Self::shown_key(shown) == key
    }

    /// Whether an entry with this key, once in a container, looks as if it had another.
    fn is_ambiguous(&self) -> bool {
        false
    }

    /// The key whose removal is asked for.
    fn removes(&self) -> Option<&str> {
        marked(self.key()).filter(|_| Self::REMOVABLE)
    }

    /// The key that is set or removed.
    fn bare_key(&self) -> &str {
        self.removes().unwrap_or(self.key())
    }

    /// The normal form of that key.
    fn normal_key(&self) -> Cow<'_, str> {
        Self::KEYS.normal(self.bare_key())
    }

    /// The normal form of the key of an entry in a container.
    fn normal_shown_key(shown: &Self::Shown) -> Cow<'_, str> {
        Self::KEYS.normal(Self::shown_key(shown))
    }
}

macro_rules! entries {
    ($( $message:ty: $key:ident = $field:ident $(, $removable:ident)?; )+) => { $(
        impl Entry for $message {
            type Shown = Self;
            const REMOVABLE: bool = entries!(@ $($removable)?);
            const KEYS: KeyKind = KeyKind::of(Field::$field);
            fn key(&self) -> &str { &self.$key }
            fn set_key(&mut self, key: String) { self.$key = key; }
            #[allow(clippy::needless_update)] // one of the types has nothing but its key
            fn with_key(key: String) -> Self { Self { $key: key, ..Self::default() } }
            fn to_shown(&self) -> Self { self.clone() }
            fn shown_key(shown: &Self) -> &str { &shown.$key }
        }
    )+ };
    (@ removable) => { true };
    (@) => { false };
}

entries! {
    Mount: destination = Mounts, removable;
    LinuxDevice: path = Devices, removable;
    LinuxNamespace: r#type = Namespace, removable;
    HugepageLimit: page_size = HugepageLimits;
    PosixRlimit: r#type = Rlimits;
    CdiDevice: name = CdiDevices;
}

/// A variable is a pair where it is asked for and one text, `NAME=value`, in a container. A text
/// without `=` is a name.
impl Entry for KeyValue {
    type Shown = String;
    const REMOVABLE: bool = true;
    const KEYS: KeyKind = KeyKind::of(Field::Env);

    fn key(&self) -> &str {
        &self.key
    }

    fn set_key(&mut self, key: String) {
        self.key = key;
    }

    fn with_key(key: String) -> Self {
        Self {
            key,
            ..Self::default()
        }
    }

    fn to_shown(&self) -> String {
        let mut shown = String::with_capacity(self.key.len() + 1 + self.value.len());
        shown.push_str(&self.key);
        shown.push('=');
        shown.push_str(&self.value);
        shown
    }

    fn shown_key(shown: &String) -> &str {
        shown.split_once('=').map_or(shown, |(key, _)| key)
    }

    /// Cheaper than to look for the `=`: most entries fail the first test.
    fn has_key(shown: &String, key: &str) -> bool {
        matches!(shown.as_bytes().get(key.len()), None | Some(b'='))
            && shown.starts_with(key)
            && !key.contains('=')
    }

    fn is_ambiguous(&self) -> bool {
        self.key.contains('=')
    }
}

/// A list of entries with keys.
///
/// An entry's place in the combined list is that of its last touch: plugins in order, for each its
/// sets, then its removals. The combined list has one entry per touched key: the value, or the
/// marker if the last touch removed it. It is spelled as the last touch spelled it. Where the
/// original spells a touched key in another way, a marker for that spelling stands at the end:
/// whoever compares keys as texts gets rid of the original's entry then.
#[derive(Debug, Clone)]
pub(in crate::merge) struct KeyedList<E: Entry> {
    /// The combined list so far.
    reply: Vec<E>,
    /// Who touched which key last.
    owners: KeyTable<Owner>,
    original: Original<E::Shown>,
    /// How many entries at the beginning of the view come from the original. The others were
    /// added, and only a second touch of their keys addresses them.
    head: usize,
    /// Whether all entries of the head spell their keys in normal form, once that is known.
    plain: Option<bool>,
    /// How the original spells touched keys, where that may be another way than plugins do.
    spellings: BTreeSet<String>,
    /// A key was set that the container's entries cannot tell from another, such as the variable
    /// `A=B`. Then only the whole list, applied to the original, gives the right view.
    ambiguous: bool,
}

/// How to get the original list from the view.
#[derive(Debug, Clone)]
enum Original<S> {
    /// It is the view.
    View,
    /// It is as many entries of the view, from the beginning: nothing in it was touched so far.
    Beginning(usize),
    /// It is this.
    Kept(Vec<S>),
}

impl<E: Entry> Default for KeyedList<E> {
    fn default() -> Self {
        Self {
            reply: Vec::new(),
            owners: KeyTable::of(E::KEYS),
            original: Original::View,
            head: 0,
            plain: E::KEYS.has_one_spelling().then_some(true),
            spellings: BTreeSet::new(),
            ambiguous: false,
        }
    }
}

impl<E: Entry> KeyedList<E> {
    /// The plugin whose value the key has.
    fn setter(&self, key: &str) -> Option<&PluginId> {
        self.owners.get(key).and_then(Owner::setter)
    }

    /// Takes the entries of these keys out of the combined list.
    fn forget(&mut self, asked: &[E]) {
        let keys: BTreeSet<Cow<'_, str>> = asked.iter().map(E::normal_key).collect();
        self.reply
            .retain(|entry| !keys.contains(&entry.normal_key()));
    }

    /// Whether all entries of the view's head, as it is now, spell their keys in normal form.
    fn is_plain(&mut self, head: &[E::Shown]) -> bool {
        *self
            .plain
            .get_or_insert_with(|| head.iter().all(|s| E::KEYS.is_normal(E::shown_key(s))))
    }

    /// Applies what is asked for to the view, and keeps what it was where it changes.
    fn show(&mut self, asked: &[E], view: &mut Vec<E::Shown>) {
        if let Original::View = self.original {
            self.original = Original::Beginning(view.len());
            self.head = view.len();
        }
        let plain = self.is_plain(&view[..self.head]);
        if !addressed(asked, &view[..self.head], plain) {
            let sets = asked.iter().filter(|entry| entry.removes().is_none());
            view.extend(sets.map(E::to_shown));
            return;
        }
        if let Original::Beginning(length) = self.original {
            self.original = Original::Kept(view[..length].to_vec());
        }
        self.head = apply_to_head(asked, view, self.head);
        if !are_normal(asked) {
            self.plain = Some(false);
        }
    }
}

impl<S> Original<S> {
    /// The original list.
    fn of<'v>(&'v self, view: &'v [S]) -> &'v [S] {
        match self {
            Original::View => view,
            Original::Beginning(length) => &view[..*length],
            Original::Kept(kept) => kept,
        }
    }
}

/// Whether all keys asked for are spelled in normal form.
fn are_normal<E: Entry>(asked: &[E]) -> bool {
    asked
        .iter()
        .all(|entry| E::KEYS.is_normal(entry.bare_key()))
}

/// Up to how many entries it is cheaper to compare than to look up.
const FEW: usize = 8;

/// Whether any entry in a container has a key that is asked about. `plain` says that all keys there
/// are in normal form.
fn addressed<E: Entry>(asked: &[E], shown: &[E::Shown], plain: bool) -> bool {
    if plain && asked.len() <= FEW {
        asked.iter().any(|entry| {
            let key = entry.normal_key();
            shown.iter().any(|shown| E::has_key(shown, &key))
        })
    } else {
        let keys: BTreeSet<Cow<'_, str>> = asked.iter().map(E::normal_key).collect();
        let mut shown = shown.iter();
        shown.any(|shown| keys.contains(&E::normal_shown_key(shown)))
    }
}

/// Sets as given, then removals as given: without those of keys that are set, and each once.
fn settle<E: Entry>(asked: &mut Vec<E>) {
    if asked.iter().all(|entry| entry.removes().is_none()) {
        return;
    }
    let (removals, mut sets): (Vec<E>, Vec<E>) = std::mem::take(asked)
        .into_iter()
        .partition(|entry| entry.removes().is_some());
    let mut settled: BTreeSet<Cow<'_, str>> = sets.iter().map(E::normal_key).collect();
    let needed: Vec<bool> = removals
        .iter()
        .map(|entry| settled.insert(entry.normal_key()))
        .collect();
    drop(settled);
    let removals = removals.into_iter().zip(needed);
    sets.extend(removals.filter_map(|(entry, needed)| needed.then_some(entry)));
    *asked = sets;
}

impl<E: Entry> Rule for KeyedList<E> {
    type Asked = Vec<E>;
    type Shown = Vec<E::Shown>;

    const HAS_KEYS: bool = true;

    fn asks(asked: &Vec<E>) -> bool {
        !asked.is_empty()
    }

    fn check(&self, field: Field, asked: &Vec<E>) -> Result<(), Clash> {
        // Most lists are empty, and most others have one entry, which cannot be there twice.
        if let [] | [_] = asked[..] {
            let set = asked.iter().find(|entry| entry.removes().is_none());
            return match set.and_then(|entry| Some((entry, self.setter(entry.key())?))) {
                None => Ok(()),
                Some((entry, other)) => Err(Clash {
                    field,
                    key: Some(entry.key().to_owned()),
                    other: Some(other.clone()),
                }),
            };
        }
        let removals = asked.iter().filter(|entry| entry.removes().is_some());
        let removed: BTreeSet<Cow<'_, str>> = removals.map(E::normal_key).collect();
        let mut seen = BTreeSet::new();
        for entry in asked.iter().filter(|entry| entry.removes().is_none()) {
            let key = entry.normal_key();
            let setter = match removed.contains(&key) {
                true => None,
                false => self.setter(&key),
            };
            let is_first = seen.insert(key);
            if is_first && setter.is_none() {
                continue;
            }
            return Err(Clash {
                field,
                key: Some(entry.key().to_owned()),
                other: setter.filter(|_| is_first).cloned(),
            });
        }
        Ok(())
    }

    fn looks(asked: &Vec<E>) -> bool {
        E::REMOVABLE && !E::KEYS.has_one_spelling() && !asked.is_empty()
    }

    fn note(&mut self, asked: &Vec<E>, view: &Vec<E::Shown>) {
        if !Self::looks(asked) {
            return;
        }
        // What was put in the place of the original's entries counts too, which only makes us look
        // more closely.
        let head = match self.original {
            Original::View => view.len(),
            _ => self.head,
        };
        if self.is_plain(&view[..head]) && are_normal(asked) {
            return;
        }
        let keys: BTreeSet<Cow<'_, str>> = asked.iter().map(E::normal_key).collect();
        for shown in self.original.of(view) {
            if keys.contains(&E::normal_shown_key(shown)) {
                self.spellings.insert(E::shown_key(shown).to_owned());
            }
        }
    }

    fn take(&mut self, mut asked: Vec<E>, plugin: &PluginId, mut view: Option<&mut Vec<E::Shown>>) {
        settle(&mut asked);
        self.ambiguous |= asked.iter().any(E::is_ambiguous);
        let again = asked
            .iter()
            .any(|entry| self.owners.contains(entry.bare_key()));
        // What nobody has touched yet is applied on top of the view. A second touch moves an entry,
        // so then the view is made anew from the original.
        let anew = self.ambiguous || again;
        if let Some(view) = view.as_deref_mut().filter(|_| !anew) {
            self.show(&asked, view);
        }
        if again {
            self.forget(&asked);
        }
        self.owners.insert_all(asked.iter().map(|entry| {
            let owner = match entry.removes() {
                Some(_) => Owner::Removed(plugin.clone()),
                None => Owner::Set(plugin.clone()),
            };
            (entry.bare_key(), owner)
        }));
        if self.reply.is_empty() {
            self.reply = asked;
        } else {
            self.reply.extend(asked);
        }
        if let Some(view) = view.filter(|_| anew) {
            match &self.original {
                Original::View => {}
                Original::Beginning(length) => view.truncate(*length),
                Original::Kept(original) => view.clone_from(original),
            }
            self.head = view.len();
            let reply = std::mem::take(&mut self.reply);
            self.show(&reply, view);
            self.reply = reply;
        }
    }

    fn restore(&mut self, view: &mut Vec<E::Shown>) {
        match std::mem::replace(&mut self.original, Original::View) {
            Original::View => {}
            Original::Beginning(length) => view.truncate(length),
            Original::Kept(original) => *view = original,
        }
    }

    fn finish(mut self, field: Field, owners: &mut ContainerOwners) -> Vec<E> {
        owners.insert_entries(field, self.owners);
        if !self.spellings.is_empty() {
            let named: BTreeSet<&str> = self.reply.iter().map(E::bare_key).collect();
            let mut others = self.spellings;
            others.retain(|spelling| !named.contains(spelling.as_str()));
            self.reply
                .extend(others.iter().map(|spelling| E::with_key(mark(spelling))));
        }
        self.reply
    }

    /// Removes all entries of a marked key. A set replaces the first entry of its key where it is
    /// (a mount that others are below of stays before them) and drops further ones; what is new
    /// goes to the end. A key that is marked and set too is replaced. What is not addressed
    /// stays as it is.
    fn apply(asked: &Vec<E>, shown: &mut Vec<E::Shown>) {
        apply_to_head(asked, shown, shown.len());
    }

    fn normalise(asked: &mut Vec<E>) {
        settle(asked);
        for entry in asked {
            if entry.removes().is_some() {
                *entry = E::with_key(mark(&entry.normal_key()));
            } else if let Cow::Owned(key) = entry.normal_key() {
                entry.set_key(key);
            }
        }
    }

    fn sort(asked: &mut Vec<E>) {
        asked.sort_by(|a, b| a.key().cmp(b.key()));
    }

    fn prune(asked: &mut Vec<E>, shown: Option<&Vec<E::Shown>>) {
        let shown = shown.into_iter().flatten();
        let there: BTreeSet<Cow<'_, str>> = shown.map(E::normal_shown_key).collect();
        asked.retain(|entry| entry.removes().is_none() || there.contains(&entry.normal_key()));
    }

    fn sift<S: Sieve>(field: Field, asked: &mut Vec<E>, sieve: &mut S) {
        asked.retain(|entry| sieve.keeps(field, Some(entry.bare_key())));
    }
}

/// [`KeyedList::apply`] where only the first `head` entries can be addressed. Returns how many of
/// them are left.
fn apply_to_head<E: Entry>(asked: &[E], shown: &mut Vec<E::Shown>, head: usize) -> usize {
    let mut wanted: BTreeMap<Cow<'_, str>, Wanted<'_, E>> = BTreeMap::new();
    for entry in asked {
        match entry.removes() {
            Some(_) => {
                wanted.entry(entry.normal_key()).or_insert(Wanted::Gone);
            }
            None => {
                wanted.insert(entry.normal_key(), Wanted::Value(entry));
            }
        }
    }
    let (mut at, mut new_head) = (0, head);
    shown.retain_mut(|shown| {
        at += 1;
        if at > head {
            return true;
        }
        let Some(wanted) = wanted.get_mut(&*E::normal_shown_key(shown)) else {
            return true;
        };
        match *wanted {
            Wanted::Value(entry) => {
                *shown = entry.to_shown();
                *wanted = Wanted::Gone;
                true
            }
            Wanted::Gone => {
                new_head -= 1;
                false
            }
        }
    });
    for entry in asked.iter().filter(|entry| entry.removes().is_none()) {
        let Some(wanted) = wanted.get_mut(&*entry.normal_key()) else {
            continue;
        };
        if let Wanted::Value(entry) = *wanted {
            shown.push(entry.to_shown());
            *wanted = Wanted::Gone;
        }
    }
    new_head
}

/// What is to become of the entries of one key.
enum Wanted<'a, E> {
    /// The first one becomes this.
    Value(&'a E),
    /// They go.
    Gone,
}
