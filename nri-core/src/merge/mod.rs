//! Merging: what several plugins ask for, combined into what one could have asked for, with an
//! owner for every part.
//!
//! Plugins are asked one after the other. [`CreateMerge`], [`UpdateMerge`] and [`StopMerge`] take
//! their responses in, say what the next plugin is to see, and give the outcome. How a field
//! combines depends on its kind:
//!
//! | kind | fields | a second set of the same |
//! |---|---|---|
//! | single value | scalars; messages that are replaced as a unit | conflicts, even with an equal value |
//! | keyed map | annotations, kernel parameters, network devices | conflicts, unless the key is removed first |
//! | keyed list | mounts, environment, devices, namespaces | conflicts, unless the key is removed first |
//! | keyed, no removal | rlimits, hugepage limits, CDI devices, cgroup v2 parameters | conflicts |
//! | command line | args | conflicts, unless it says "take over" |
//! | RDT | class, schemata, monitoring | conflicts, unless RDT is removed first |
//! | appended | hooks, device cgroup rules | is added |
//!
//! A removal is a key with a leading `-` ([`removal_marker`]). It frees the key: any plugin may set
//! it afterwards. A removal and a set of one key in one response are a replacement, whatever their
//! order. What only the original container has belongs to nobody.
//!
//! Which field is of which kind, and where it is found, is one table in the source; the next field
//! of the protocol is a row there. What is different from the Go implementation is listed in
//! [`differences`].
//!
//! What may not enter: who is called when, and what a runtime does with the outcome.

#[macro_use]
mod rule;
mod apply;
mod create;
#[cfg(test)]
mod defects;
#[doc = include_str!("differences.md")]
pub mod differences {}
mod error;
mod evictions;
mod key_table;
mod kind;
#[cfg(test)]
mod laws;
mod normal_form;
mod owners;
pub mod removal_marker;
mod sieve;
mod support;
mod supported;
mod table;
mod touched;
mod update;
mod updates;

pub use apply::apply;
pub(crate) use create::Combined;
pub use create::{CreateMerge, CreateOutcome};
pub use error::{MergeError, Omission};
pub use evictions::Eviction;
pub(crate) use kind::Entry;
pub use normal_form::{normal_form, prune, strip, strip_update};
#[cfg(feature = "oci")]
pub(crate) use owners::ContainerOwners;
pub use owners::{Owned, Owner, Owners};
pub(crate) use sieve::{Sieve, fields, resource_fields, sift_adjustment, sift_resources};
pub use support::{OnUnsupported, Support};
pub use supported::{SupportedFields, Unsupported};
pub(crate) use update::asked_part;
pub use update::{StopMerge, StopOutcome, UpdateMerge, UpdateOutcome};
pub use updates::MergedUpdate;

/// Forms for comparing what was merged here with what was merged elsewhere. For tests and tools of
/// this workspace: nothing that a runtime or a plugin does needs them.
#[doc(hidden)]
pub mod compare {
    pub use super::normal_form::{canonical, strip_go, strip_update_go};
}
