#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]
//!
//! What may not enter: merging, ordering, plugins, sockets. CRI types live here and nowhere else.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod annotations;
#[cfg(feature = "blockio")]
#[cfg_attr(docsrs, doc(cfg(feature = "blockio")))]
pub mod blockio;
#[cfg(feature = "cdi")]
#[cfg_attr(docsrs, doc(cfg(feature = "cdi")))]
pub mod cdi;
mod container_record;
mod create_token;
pub mod cri;
mod domain;
mod error;
pub mod host;
mod nri;
mod pod_record;
#[cfg(feature = "rdt")]
#[cfg_attr(docsrs, doc(cfg(feature = "rdt")))]
pub mod rdt;
pub mod resources;
mod runtime;
#[cfg(feature = "yaml")]
#[cfg_attr(docsrs, doc(cfg(feature = "yaml")))]
pub mod yaml;

pub use annotations::IDENTITY_ANNOTATIONS;
pub use container_record::{ContainerRecord, CriState, ImageIdentity};
pub use create_token::CreateToken;
pub use domain::CriDomain;
pub use error::{CriError, StoreError};
pub use nri::CriNri;
pub use pod_record::{PodRecord, PodState};
pub use runtime::{ActionError, CriActions, CriStore, ResolvedUpdate, SpecHooks};

/// The domain of Kubernetes' containers, as every CRI runtime calls it.
pub const DOMAIN: &str = "k8s.io";

/// An OCI runtime spec, as [`nri_core::oci`] reads and adjusts it.
pub type OciSpec = serde_json::Value;
