//! A creation of which it is not known yet whether it comes to something.

use std::fmt;
use std::ops::Deref;

use nri_core::Creation;

use super::undo::Undo;

/// What plugins want of a container that is about to be created; see [`Creation`], which it
/// dereferences to.
///
/// Dropping it without [`commit`](SoloCreation::commit) undoes the creation and, if the pod began
/// with it, the pod.
#[must_use = "dropping a creation tells the plugins that the container never came to be"]
pub struct SoloCreation {
    // First, so that the container's end is told before the pod's.
    creation: Creation,
    undo: Undo,
}

impl SoloCreation {
    pub(super) fn new(creation: Creation, undo: Undo) -> Self {
        Self { creation, undo }
    }

    /// Says that the container exists.
    pub fn commit(self) {
        let Self { creation, mut undo } = self;
        undo.disarm();
        creation.commit();
    }
}

impl Deref for SoloCreation {
    type Target = Creation;

    fn deref(&self) -> &Creation {
        &self.creation
    }
}

impl fmt::Debug for SoloCreation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.creation.fmt(f)
    }
}
