//! Builders: what plugin authors write instead of messages with markers, wrappers and nested
//! options.
//!
//! They are extension traits on the protocol's messages: [`Adjust`] for [`ContainerAdjustment`],
//! [`SetResources`] for whatever carries resources (adjustments, updates, and resources
//! themselves), [`Update`] and [`Evict`] for the rest. What would be refused by a runtime, or taken
//! for something else, is refused here.
//!
//! ```
//! use nri_core::api::{ContainerAdjustment, ContainerEviction, ContainerUpdate};
//! use nri_core::build::{Adjust, Evict, SetResources, Update};
//!
//! let mut adjustment = ContainerAdjustment::default();
//! adjustment
//!     .add_env("MODE", "fast")?
//!     .remove_mount("/tmp")
//!     .update_args(["/bin/wrapper", "/bin/app"])?
//!     .set_cpu_shares(512);
//!
//! let mut update = ContainerUpdate::of_container("c2")?;
//! update.set_memory_limit(1 << 30).set_ignore_failure(true);
//! let eviction = ContainerEviction::of_container("c3", "it is in the way")?;
//! # Ok::<(), nri_core::build::BuildError>(())
//! ```
//!
//! What may not enter: rules about several plugins; those are in [`merge`](crate::merge).

mod adjust;
mod entries;
mod requests;
mod resources;
mod rlimit;
#[cfg(test)]
mod tests;
mod wrapper;

pub use adjust::Adjust;
pub use requests::{Evict, Update};
pub use resources::SetResources;
pub use rlimit::{RLIMITS, posix_rlimit};
pub use wrapper::Wrapper;

#[cfg(doc)]
use nri_proto::api::ContainerAdjustment;
use nri_proto::api::Field;

/// Why something cannot be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The key would be taken for a removal.
    #[error("{} cannot have the key {key:?}: a leading \"-\" asks for a removal; use the method that removes", .field.as_str_name())]
    Marker {
        /// The field.
        field: Field,
        /// The key.
        key: String,
    },
    /// The key would not come out as it is.
    #[error("{} cannot have the key {key:?}: it contains \"=\"", .field.as_str_name())]
    InvalidKey {
        /// The field.
        field: Field,
        /// The key.
        key: String,
    },
    /// The key is set already. A runtime refuses an adjustment or update that sets a key twice.
    #[error("{} {key:?} is set already; a runtime takes one value only", .field.as_str_name())]
    Duplicate {
        /// The field.
        field: Field,
        /// The key.
        key: String,
    },
    /// Linux has no such resource limit.
    #[error("Rlimits: there is no limit {0:?}; there is {names}", names = rlimit::short_names())]
    UnknownRlimit(String),
    /// The value in force of a resource limit is above its ceiling, which the kernel refuses.
    #[error("Rlimits {resource:?}: the soft limit {soft} is above the hard limit {hard}")]
    SoftAboveHard {
        /// The resource.
        resource: String,
        /// The ceiling.
        hard: u64,
        /// The value in force.
        soft: u64,
    },
    /// The command line is empty, or its first element is, which has another meaning.
    #[error("a command line needs a program: its first element must not be empty")]
    NoProgram,
    /// The id of a container is empty.
    #[error("an update or eviction needs the id of a container")]
    NoContainer,
}
