//! CRI messages as far as NRI needs to know them: as bytes of protobuf, as crictl and kubelets
//! write them in JSON, and with the feature `yaml` in YAML.
//!
//! **Bytes** (`decode`, `encode`) are for runtimes that have types of their own, whatever version
//! of whatever generator they come from: `ContainerConfig::decode(&theirs.encode_to_vec())`, and
//! `Theirs::decode(&*ours.encode())` back. Fields that are not listed here are kept in `wire_rest`
//! and written back. What is required of a message is not looked at: a server's request is what it
//! is.
//!
//! **JSON:** both spellings of a field are read, `log_directory` and `logDirectory`, each without
//! regard to case, as crictl reads them; of a field that is there twice the last counts. 64-bit
//! numbers may be texts; enums may be names or numbers; `null` stands for absent. Fields that are
//! not listed here are kept in `rest` and written back.
//!
//! What may not enter: any meaning; what CRI says means to NRI is told elsewhere in this crate.

mod container;
mod field;
#[cfg(feature = "yaml")]
mod from_yaml;
mod pod;
mod resources;
mod security;
mod wire;

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
    /// It is neither JSON nor YAML that can be read.
    #[error("this is no {what} in YAML: {reason}")]
    Yaml {
        /// The message expected, for example `PodSandboxConfig`.
        what: &'static str,
        /// What is wrong, with line and column where that is known.
        reason: String,
    },
    /// Its bytes are no such message of protobuf.
    #[error("this is no {what}: {reason}")]
    Wire {
        /// The message expected, for example `PodSandboxConfig`.
        what: &'static str,
        /// What is wrong, with the fields that lead there.
        reason: String,
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

fn from_json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, InvalidConfig> {
    serde_json::from_str(text).map_err(|source| InvalidConfig::Json { what, source })
}
