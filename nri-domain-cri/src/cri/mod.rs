//! CRI messages as crictl and kubelets write them in JSON, as far as NRI needs to know them.
//!
//! Both spellings of a field are read, `log_directory` and `logDirectory`; 64-bit numbers may be texts; enums may be names or
//! numbers; `null` stands for absent. Fields that are not listed here are kept in `rest` and written back. What may not enter:
//! any meaning; what CRI says means to NRI is told elsewhere in this crate.

mod container;
mod field;
mod pod;
mod resources;
mod security;

pub use container::{
    CdiDevice, ContainerConfig, ContainerMetadata, Device, ImageSpec, KeyValue,
    LinuxContainerConfig, Mount, MountPropagation,
};
pub use pod::{LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata};
pub use resources::{HugepageLimit, LinuxContainerResources};
pub use security::{
    Capability, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext,
    NamespaceMode, NamespaceOption, ProfileType, SecurityProfile,
};

/// Why a text is no CRI configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidConfig {
    /// It is not JSON, or a field has a value of another type.
    #[error("this is no {what} in JSON: {source}")]
    Json {
        /// The message expected, for example `PodSandboxConfig`.
        what: &'static str,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// A field that every runtime needs is not there.
    #[error("this {what} has no {field}")]
    Missing {
        /// The message.
        what: &'static str,
        /// The field, for example `metadata.name`.
        field: &'static str,
    },
}
