//! What only an embedding runtime can do about an adjustment, and says in a callback.
//!
//! What may not enter: when a callback is called; that is for the steps of applying.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;

use nri_proto::api;
use serde_json::Value;

/// What a callback says when it refuses or fails.
pub type CallbackError = Box<dyn Error + Send + Sync>;

/// Changes of a map, removals apart from sets, keys without markers. Removals come before sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedChanges {
    /// Keys to remove.
    pub removed: BTreeSet<String>,
    /// Keys to set, with their values.
    pub set: BTreeMap<String, String>,
}

/// Sees changes before they are made; may drop and edit them, or refuse them all.
pub type KeyedFilter = Arc<dyn Fn(&mut KeyedChanges) -> Result<(), CallbackError> + Send + Sync>;

/// Makes the edits of CDI devices, given by their full names in plugin order, in a spec.
pub type CdiInjector =
    Arc<dyn Fn(&mut Value, &[String]) -> Result<(), CallbackError> + Send + Sync>;

/// Sees the complete `linux.resources` object, if there is one, after the resources were adjusted;
/// may edit or refuse them.
pub type ResourceChecker =
    Arc<dyn Fn(Option<&mut Value>) -> Result<(), CallbackError> + Send + Sync>;

/// Turns the name of a class into the object of the spec that it stands for; `None` if it stands
/// for nothing.
pub type ClassResolver = Arc<dyn Fn(&str) -> Result<Option<Value>, CallbackError> + Send + Sync>;

/// Gives the source of a mount an SELinux label that the container may use.
pub type Relabel = Arc<dyn Fn(&api::Mount) -> Result<(), CallbackError> + Send + Sync>;
