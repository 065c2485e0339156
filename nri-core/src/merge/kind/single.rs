//! Fields with one value: scalars, and messages that are replaced as a unit. The first set claims
//! the field; nothing takes it back within a request, not even the same value.

use nri_proto::api::Field;

use crate::PluginId;
use crate::merge::error::Clash;
use crate::merge::owners::{ContainerOwners, Owner};
use crate::merge::rule::Rule;

/// A value that may be absent.
pub(in crate::merge) trait Settable: Default + Clone {
    /// Whether there is a value. In a wrapper or message, a zero value counts; for a plain text,
    /// the empty one does not.
    fn is_set(&self) -> bool;
}

impl<T: Clone> Settable for Option<T> {
    fn is_set(&self) -> bool {
        self.is_some()
    }
}

impl Settable for String {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

/// A field with one value.
#[derive(Debug, Clone, Default)]
pub(in crate::merge) struct Single<V> {
    owner: Option<PluginId>,
    value: V,
    original: V,
}

impl<V: Settable> Rule for Single<V> {
    type Asked = V;
    type Shown = V;

    fn asks(asked: &V) -> bool {
        asked.is_set()
    }

    fn check(&self, field: Field, asked: &V) -> Result<(), Clash> {
        match &self.owner {
            Some(other) if asked.is_set() => Err(Clash {
                field,
                key: None,
                other: Some(other.clone()),
            }),
            _ => Ok(()),
        }
    }

    fn take(&mut self, asked: V, plugin: &PluginId, view: Option<&mut V>) {
        if let Some(view) = view {
            self.original = std::mem::replace(view, asked.clone());
        }
        self.value = asked;
        self.owner = Some(plugin.clone());
    }

    fn restore(&mut self, view: &mut V) {
        if self.owner.is_some() {
            *view = std::mem::take(&mut self.original);
        }
    }

    fn finish(self, field: Field, owners: &mut ContainerOwners) -> V {
        if let Some(owner) = self.owner {
            owners.insert(field, Owner::Set(owner));
        }
        self.value
    }

    fn apply(asked: &V, shown: &mut V) {
        if asked.is_set() {
            shown.clone_from(asked);
        }
    }
}
