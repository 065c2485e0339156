#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]
//!
//! What may not enter: merging, ordering, plugins, sockets. CRI types live here and nowhere else.

mod annotations;
mod container_record;
mod create_token;
pub mod cri;
mod domain;
pub mod host;
mod nri;
mod pod_record;
pub mod resources;
mod runtime;

pub use annotations::IDENTITY_ANNOTATIONS;
pub use container_record::{ContainerRecord, CriState, ImageIdentity};
pub use create_token::CreateToken;
pub use domain::CriDomain;
pub use nri::{CriError, CriNri};
pub use pod_record::{PodRecord, PodState};
pub use runtime::{ActionError, CriActions, CriStore, ResolvedUpdate, SpecHooks, StoreError};

/// The domain of Kubernetes' containers, as every CRI runtime calls it.
pub const DOMAIN: &str = "k8s.io";

/// An OCI runtime spec, as [`nri_core::oci`] reads and adjusts it.
pub type OciSpec = serde_json::Value;
