//! Who asked for what: an owner per field, or per entry of a field, of every container that a
//! request changes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use nri_proto::api::{self, Field};

use super::key_table::KeyTable;
use super::removal_marker::{MARKER, marked};
use crate::PluginId;
use crate::keys::KeyKind;

/// Who is behind a value, or behind its absence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Owner {
    /// The plugin set the value.
    Set(PluginId),
    /// The plugin removed the value and set no other.
    Removed(PluginId),
    /// These plugins added to it, in this order. Hooks only.
    Many(Vec<PluginId>),
    /// A text from the wire that names no plugin.
    Unrecognised(String),
}

impl Owner {
    /// The plugins that are named, in order.
    pub fn plugins(&self) -> &[PluginId] {
        match self {
            Owner::Set(plugin) | Owner::Removed(plugin) => std::slice::from_ref(plugin),
            Owner::Many(plugins) => plugins,
            Owner::Unrecognised(_) => &[],
        }
    }

    /// The owner once `outer` in it is replaced by the plugins behind it, which have `inner` as
    /// their owner; `None` if there is nothing to be replaced.
    fn expanded(&self, outer: &PluginId, inner: Option<&Self>) -> Option<Self> {
        let inner = inner?;
        match self {
            Owner::Set(plugin) | Owner::Removed(plugin) => (plugin == outer).then(|| inner.clone()),
            Owner::Many(plugins) => {
                let at = plugins.iter().position(|plugin| plugin == outer)?;
                let mut plugins = plugins.clone();
                plugins.splice(at..=at, inner.plugins().iter().cloned());
                Some(Owner::Many(plugins))
            }
            Owner::Unrecognised(_) => None,
        }
    }

    /// The plugin that set the value, if one did.
    pub(super) fn setter(&self) -> Option<&PluginId> {
        match self {
            Owner::Set(plugin) => Some(plugin),
            _ => None,
        }
    }

    /// The owner that a text on the wire stands for.
    fn from_wire(field: i32, text: &str) -> Self {
        let owner = if field == Field::OciHooks as i32 {
            let plugins = text.split(',').map(str::parse).collect::<Result<_, _>>();
            plugins.map(Owner::Many)
        } else {
            match marked(text) {
                Some(plugin) => plugin.parse().map(Owner::Removed),
                None => text.parse().map(Owner::Set),
            }
        };
        owner.unwrap_or_else(|_| Owner::Unrecognised(text.to_owned()))
    }

    /// The owner's text on the wire.
    fn to_wire(&self, field: i32) -> String {
        match self {
            // The reference names who removes a namespace as if it had set it, and validators rely
            // on it.
            Owner::Removed(plugin) if field == Field::Namespace as i32 => plugin.to_string(),
            owner => owner.to_string(),
        }
    }
}

/// As on the wire: `10-a`, `-10-a` for a removal, `10-a,20-b` for several.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Set(plugin) => write!(f, "{plugin}"),
            Owner::Removed(plugin) => write!(f, "{MARKER}{plugin}"),
            Owner::Many(plugins) => {
                for (at, plugin) in plugins.iter().enumerate() {
                    write!(f, "{}{plugin}", if at == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Owner::Unrecognised(text) => f.write_str(text),
        }
    }
}

/// Something with an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owned<'a> {
    /// Id of the container.
    pub container: &'a str,
    /// The field.
    pub field: Field,
    /// The entry, for fields that have entries.
    pub key: Option<&'a str>,
    /// Its owner.
    pub owner: &'a Owner,
}

/// The owners of everything that a request changes, by container.
///
/// ```
/// use nri_core::api::Field;
/// use nri_core::merge::{Owner, Owners};
///
/// let mut owners = Owners::default();
/// owners.insert("c1", Field::Env, Some("HOME"), Owner::Set("10-shell".parse()?));
///
/// let owner = owners.owner("c1", Field::Env, Some("HOME"));
/// assert_eq!(owner, Some(&Owner::Set("10-shell".parse()?)));
/// assert_eq!(owners.owner("c2", Field::Env, Some("HOME")), None);
/// assert_eq!(Owners::from_message(&owners.to_message()), owners);
/// # Ok::<(), nri_core::InvalidIdentity>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    containers: BTreeMap<String, ContainerOwners>,
}

impl Owners {
    /// The owner of a field, or of one of its entries, however its key is spelled
    /// ([`keys`](crate::keys)); `None` if no plugin touched it.
    pub fn owner(&self, container: &str, field: Field, key: Option<&str>) -> Option<&Owner> {
        self.containers.get(container)?.owner(field, key)
    }

    /// The owners of a field and of its entries, in order of the keys.
    pub fn owners_of<'a>(
        &'a self,
        container: &'a str,
        field: Field,
    ) -> impl Iterator<Item = Owned<'a>> {
        self.of_container(container)
            .filter(move |owned| owned.field == field)
    }

    /// All owners of a container, in order of fields and keys.
    pub fn of_container<'a>(&'a self, container: &'a str) -> impl Iterator<Item = Owned<'a>> {
        self.containers
            .get_key_value(container)
            .into_iter()
            .flat_map(|(container, owners)| owners.iter(container))
    }

    /// All owners, in order of containers, fields and keys. Fields that this version of the
    /// protocol does not know are left out.
    pub fn iter(&self) -> impl Iterator<Item = Owned<'_>> {
        self.containers
            .iter()
            .flat_map(|(container, owners)| owners.iter(container))
    }

    /// Whether nothing has an owner.
    pub fn is_empty(&self) -> bool {
        self.containers.values().all(ContainerOwners::is_empty)
    }

    /// Names an owner, in place of the one before.
    pub fn insert(&mut self, container: &str, field: Field, key: Option<&str>, owner: Owner) {
        let owners = self.containers.entry(container.to_owned()).or_default();
        match key {
            Some(key) => {
                let entries = owners.entries.entry(field as i32);
                let entries = entries.or_insert_with(|| KeyTable::of(KeyKind::of(field)));
                entries.insert(key, owner);
            }
            None => owners.insert(field, owner),
        }
    }

    /// The same owners, with `outer` replaced by the plugins behind it, whose owners are `inner`:
    /// what a plugin set, removed or, of hooks, added, is its own, not that of the plugin that
    /// answered for it. Items of which `inner` does not know the owner stay with `outer`.
    ///
    /// Both are owners in the same containers: those of one request, the container that it is about
    /// and others that it updates.
    ///
    /// ```
    /// use nri_core::PluginId;
    /// use nri_core::api::Field;
    /// use nri_core::merge::{Owner, Owners};
    ///
    /// let id = |text: &str| text.parse::<PluginId>();
    /// let (mut outer, mut inner) = (Owners::default(), Owners::default());
    /// outer.insert("c1", Field::OciHooks, None, Owner::Many(vec![id("05-a")?, id("50-hub")?]));
    /// inner.insert("c1", Field::OciHooks, None, Owner::Many(vec![id("10-x")?, id("20-y")?]));
    /// outer.insert("c1", Field::Env, Some("HOME"), Owner::Removed(id("50-hub")?));
    /// inner.insert("c1", Field::Env, Some("HOME"), Owner::Removed(id("20-y")?));
    ///
    /// let owners = outer.expand(&id("50-hub")?, &inner);
    /// let hooks = owners.owner("c1", Field::OciHooks, None).unwrap();
    /// assert_eq!(hooks.to_string(), "05-a,10-x,20-y");
    /// let home = owners.owner("c1", Field::Env, Some("HOME")).unwrap();
    /// assert_eq!(home.to_string(), "-20-y");
    /// # Ok::<(), nri_core::InvalidIdentity>(())
    /// ```
    #[must_use]
    pub fn expand(mut self, outer: &PluginId, inner: &Self) -> Self {
        for (container, owners) in &mut self.containers {
            if let Some(inner) = inner.containers.get(container) {
                owners.expand(outer, inner);
            }
        }
        self
    }

    /// The message on the wire. There, who removed a namespace looks like who set one.
    pub fn to_message(&self) -> api::OwningPlugins {
        let owners = self.containers.iter().map(|(container, owners)| {
            let simple = owners.single.iter();
            let compound = owners.entries.iter().map(|(field, entries)| {
                let owners = entries
                    .iter()
                    .map(|(key, owner)| (key.to_owned(), owner.to_wire(*field)));
                let owners = owners.collect();
                (*field, api::CompoundFieldOwners { owners })
            });
            let owners = api::FieldOwners {
                simple: simple
                    .map(|(field, owner)| (*field, owner.to_wire(*field)))
                    .collect(),
                compound: compound.collect(),
            };
            (container.clone(), owners)
        });
        api::OwningPlugins {
            owners: owners.collect(),
        }
    }

    /// The owners from the wire. Nothing is lost: fields of a newer protocol are kept, and so are
    /// texts that name no plugin.
    pub fn from_message(message: &api::OwningPlugins) -> Self {
        let containers = message.owners.iter();
        Self {
            containers: containers
                .map(|(container, owners)| {
                    (container.clone(), ContainerOwners::from_message(owners))
                })
                .collect(),
        }
    }

    /// Takes in the owners of one container, unless there are none.
    pub(super) fn insert_container(&mut self, container: String, owners: ContainerOwners) {
        if !owners.is_empty() {
            self.containers.insert(container, owners);
        }
    }
}

/// Whether none is there twice.
fn is_unique<'k>(mut keys: impl Iterator<Item = Cow<'k, str>>) -> bool {
    let mut seen = BTreeSet::new();
    keys.all(|key| seen.insert(key))
}

/// The owners in one container, by number of the field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContainerOwners {
    single: BTreeMap<i32, Owner>,
    entries: BTreeMap<i32, KeyTable<Owner>>,
}

impl ContainerOwners {
    /// See [`Owners::from_message`].
    pub(crate) fn from_message(message: &api::FieldOwners) -> Self {
        let entries = message.compound.iter().map(|(number, entries)| {
            let kind = Field::try_from(*number).map_or(KeyKind::Text, KeyKind::of);
            let spelled_alike = entries.owners.keys().all(|key| kind.is_normal(key));
            let keys = entries.owners.keys().map(|key| kind.normal(key));
            // A runtime that compares texts can have two owners of one key. None of them may be
            // lost.
            let kind = match spelled_alike || is_unique(keys) {
                true => kind,
                false => KeyKind::Text,
            };
            let owners = entries.owners.iter();
            let mut table = KeyTable::of(kind);
            table.insert_all(
                owners.map(|(key, text)| (key.as_str(), Owner::from_wire(*number, text))),
            );
            (*number, table)
        });
        let single = message.simple.iter();
        Self {
            single: single
                .map(|(field, text)| (*field, Owner::from_wire(*field, text)))
                .collect(),
            entries: entries.collect(),
        }
    }

    /// The owner of a field, or of one of its entries.
    pub(crate) fn owner(&self, field: Field, key: Option<&str>) -> Option<&Owner> {
        match key {
            Some(key) => self.entries.get(&(field as i32))?.get(key),
            None => self.single.get(&(field as i32)),
        }
    }

    /// Whether a field has owners by entries.
    #[cfg(feature = "oci")]
    pub(crate) fn has_entries(&self, field: Field) -> bool {
        self.entries.contains_key(&(field as i32))
    }

    pub(super) fn insert(&mut self, field: Field, owner: Owner) {
        self.single.insert(field as i32, owner);
    }

    /// Takes in the owners of a field's entries, unless there are none.
    pub(super) fn insert_entries(&mut self, field: Field, owners: KeyTable<Owner>) {
        if !owners.is_empty() {
            self.entries.insert(field as i32, owners);
        }
    }

    /// See [`Owners::expand`].
    fn expand(&mut self, outer: &PluginId, inner: &Self) {
        for (field, owner) in &mut self.single {
            if let Some(expanded) = owner.expanded(outer, inner.single.get(field)) {
                *owner = expanded;
            }
        }
        for (field, entries) in &mut self.entries {
            let Some(inner) = inner.entries.get(field) else {
                continue;
            };
            let expanded = entries.iter().filter_map(|(key, owner)| {
                let expanded = owner.expanded(outer, inner.get(key))?;
                Some((key.to_owned(), expanded))
            });
            let expanded: Vec<(String, Owner)> = expanded.collect();
            for (key, owner) in expanded {
                entries.insert(&key, owner);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.single.is_empty() && self.entries.values().all(KeyTable::is_empty)
    }

    fn iter<'a>(&'a self, container: &'a str) -> impl Iterator<Item = Owned<'a>> {
        let single = self
            .single
            .iter()
            .map(|(field, owner)| (*field, None, owner));
        let entries = self.entries.iter().flat_map(|(field, entries)| {
            entries
                .iter()
                .map(|(key, owner)| (*field, Some(key), owner))
        });
        let mut all: Vec<_> = single.chain(entries).collect();
        all.sort_by_key(|(field, key, _)| (*field, *key));
        all.into_iter().filter_map(move |(field, key, owner)| {
            let field = Field::try_from(field).ok()?;
            Some(Owned {
                container,
                field,
                key,
                owner,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> PluginId {
        text.parse().unwrap()
    }

    #[test]
    fn owners_have_a_text_each_and_come_back_from_it() {
        let mut owners = Owners::default();
        owners.insert("c", Field::Args, None, Owner::Removed(id("10-a")));
        owners.insert(
            "c",
            Field::OciHooks,
            None,
            Owner::Many(vec![id("10-a"), id("20-b")]),
        );
        owners.insert("c", Field::Env, Some("-K"), Owner::Set(id("30-c")));
        owners.insert("c", Field::Mounts, Some(""), Owner::Removed(id("30-c")));

        let message = owners.to_message();
        let fields = &message.owners["c"];
        assert_eq!(fields.simple[&7], "-10-a");
        assert_eq!(fields.simple[&3], "10-a,20-b");
        assert_eq!(fields.compound[&6].owners["-K"], "30-c");
        assert_eq!(fields.compound[&2].owners[""], "-30-c");
        assert_eq!(Owners::from_message(&message), owners);
    }

    #[test]
    fn who_removed_a_namespace_is_named_without_a_marker() {
        let mut owners = Owners::default();
        let removed = Owner::Removed(id("10-a"));
        owners.insert("c", Field::Namespace, Some("ipc"), removed.clone());
        assert_eq!(
            owners.owner("c", Field::Namespace, Some("ipc")),
            Some(&removed)
        );
        let message = owners.to_message();
        assert_eq!(message.owners["c"].compound[&33].owners["ipc"], "10-a");
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        let mut message = api::OwningPlugins::default();
        let fields = message.owners.entry("c".into()).or_default();
        fields.simple.insert(999, "10-a".into());
        fields.simple.insert(8, "plugin0".into());
        fields.simple.insert(3, "plugin0,10-a".into());
        fields.compound.insert(1000, Default::default());
        let owners = Owners::from_message(&message);
        assert_eq!(owners.to_message(), message);
        assert_eq!(
            owners.owner("c", Field::MemLimit, None),
            Some(&Owner::Unrecognised("plugin0".into()))
        );
        assert_eq!(
            owners.iter().count(),
            2,
            "numbers of no field are not shown"
        );
    }

    #[test]
    fn an_owner_is_found_by_any_spelling_and_goes_out_by_its_own() {
        let mut owners = Owners::default();
        for (field, key) in [
            (Field::Mounts, "/data/"),
            (Field::Devices, "/dev//fuse"),
            (Field::Sysctl, "net/ipv4/ip_forward"),
            (Field::HugepageLimits, "2048KB"),
        ] {
            owners.insert("c", field, Some(key), Owner::Set(id("10-a")));
        }
        let message = owners.to_message();
        for owners in [&owners, &Owners::from_message(&message)] {
            for (field, key) in [
                (Field::Mounts, "data"),
                (Field::Devices, "/dev/fuse"),
                (Field::Sysctl, "net.ipv4.ip_forward"),
                (Field::HugepageLimits, "2M"),
            ] {
                assert_eq!(
                    owners.owner("c", field, Some(key)),
                    Some(&Owner::Set(id("10-a")))
                );
            }
        }
        assert_eq!(message.owners["c"].compound[&2].owners["/data/"], "10-a");
        // Another plugin takes the mount over, under another name.
        owners.insert("c", Field::Mounts, Some("/data"), Owner::Set(id("20-b")));
        let keys: Vec<_> = owners
            .owners_of("c", Field::Mounts)
            .filter_map(|o| o.key)
            .collect();
        assert_eq!(keys, ["/data"]);
    }

    #[test]
    fn two_owners_of_one_key_by_a_runtime_that_compares_texts_are_both_kept() {
        let mut message = api::OwningPlugins::default();
        let fields = message.owners.entry("c".into()).or_default();
        let mounts = fields.compound.entry(Field::Mounts as i32).or_default();
        mounts.owners.insert("/data".into(), "10-a".into());
        mounts.owners.insert("/data/".into(), "20-b".into());
        let owners = Owners::from_message(&message);
        assert_eq!(owners.to_message(), message);
        assert_eq!(
            owners.owner("c", Field::Mounts, Some("/data/")),
            Some(&Owner::Set(id("20-b")))
        );
    }

    #[test]
    fn look_ups_go_by_container_field_and_key() {
        let mut owners = Owners::default();
        owners.insert("a", Field::Env, Some("X"), Owner::Set(id("10-a")));
        owners.insert("a", Field::Env, Some("Y"), Owner::Removed(id("20-b")));
        owners.insert("a", Field::MemLimit, None, Owner::Set(id("20-b")));
        owners.insert("b", Field::Env, Some("X"), Owner::Set(id("30-c")));
        let keys: Vec<_> = owners
            .owners_of("a", Field::Env)
            .filter_map(|owned| owned.key)
            .collect();
        assert_eq!(keys, ["X", "Y"]);
        assert_eq!(owners.of_container("a").count(), 3);
        assert_eq!(owners.iter().count(), 4);
        assert_eq!(owners.owner("a", Field::Env, None), None);
        assert_eq!(owners.owner("a", Field::MemLimit, Some("X")), None);
    }
}
