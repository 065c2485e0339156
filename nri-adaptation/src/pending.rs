//! Creations that are held until it is known what becomes of them, for runtimes in which a
//! [`Creation`] cannot travel along.

use std::collections::BTreeMap;

use nri_core::Creation;

use crate::lock::Lock;

/// The creations that are held, by the container's id.
#[derive(Debug, Default)]
pub(crate) struct HeldCreations(Lock<BTreeMap<String, Creation>>);

impl HeldCreations {
    /// Holds a creation. What is held under the id before is returned.
    pub(crate) fn put(&self, container: String, creation: Creation) -> Option<Creation> {
        self.0.lock().insert(container, creation)
    }

    pub(crate) fn take(&self, container: &str) -> Option<Creation> {
        self.0.lock().remove(container)
    }

    /// Takes out all, to be dropped when nothing is locked.
    pub(crate) fn take_all(&self) -> BTreeMap<String, Creation> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// A creation that was [held](crate::Nri::hold), to be settled. Dropping it changes nothing.
#[derive(Debug)]
#[must_use = "nothing is settled before `commit` or `abandon`"]
pub struct Pending<'a> {
    pub(crate) held: &'a HeldCreations,
    pub(crate) container: &'a str,
}

impl Pending<'_> {
    /// Says that the container exists; see [`Creation::commit`]. False if no creation is held for
    /// it, since there was none or it is settled.
    pub fn commit(self) -> bool {
        let creation = self.held.take(self.container);
        let is_held = creation.is_some();
        if let Some(creation) = creation {
            creation.commit();
        }
        is_held
    }

    /// Tells the plugins that the container never came to be, as dropping the creation does. False
    /// if no creation is held for it.
    pub fn abandon(self) -> bool {
        self.held.take(self.container).is_some()
    }

    /// The creation itself, which is held no more.
    pub fn take(self) -> Option<Creation> {
        self.held.take(self.container)
    }
}
