//! NRI and OCI runtime specs: reading a container from a spec, and applying an adjustment to one.
//!
//! - [`read`]: what plugins see of a container that has an OCI spec.
//! - [`apply()`](fn@apply): a spec and the merged adjustment of all plugins to a new spec.
//! - [`apply_typed`]: the same for a spec that has a type.
//! - [`resources`] and [`apply_resources`]: Linux resources both ways, for creation and for
//!   updates.
//! - [`shape`]: whether a document can be an OCI spec at all.
//! - [`values`]: which values can work, and which are refused.
//!
//! Specs are [`serde_json::Value`]s on purpose: a runtime's spec may hold members that no typed
//! crate knows yet, and none of them may be lost. A runtime that has a type for its specs goes
//! through JSON and back, and is told what its type lost. `null` counts as absent everywhere. What
//! may not enter: files, the host's state, a low-level runtime. What an adjustment needs to know of
//! the host (mounts, swap, classes, CDI) comes in through [`ApplyOptions`].

mod apply;
mod callbacks;
mod invalid;
pub mod mounts;
pub mod names;
mod path;
pub mod read;
pub mod resources;
#[cfg(test)]
mod samples;
pub mod shape;
mod tree;
mod typed;
pub mod values;
mod version;

pub use apply::{
    Applied, ApplyError, ApplyOptions, DeviceAccess, Item, OnUnsupported, Requesters, Warning,
    apply,
};
pub use callbacks::{
    CallbackError, CdiInjector, ClassResolver, KeyedChanges, KeyedFilter, Relabel, ResourceChecker,
};
pub use resources::{apply_resources, apply_resources_with};
pub use typed::apply_typed;
pub use version::OciVersion;
