//! The pure core of NRI, the Node Resource Interface: what plugins and runtimes are to each other,
//! without a wire.
//!
//! What is here: events and masks ([`Event`], [`EventMask`]), plugin identity ([`PluginId`]), the
//! traits that plugins, runtimes and their domains implement ([`Plugin`], [`RuntimeApi`],
//! [`Domain`], [`model`]), merging of what plugins ask for with an owner per item ([`merge`]), keys
//! by their meaning ([`keys`]), what plugins may ask for ([`policy`]), and flows ([`flow`]): small
//! state machines that say which plugin to call next and what the outcome is.
//!
//! # For authors of plugins
//!
//! A plugin is a [`Plugin`]: it says which [events](Plugin::events) it wants, and handles them.
//! What it asks for is built with the extension traits of [`build`]. The crate `nri-plugin`
//! connects it to a runtime, and re-exports all that is needed here:
//!
//! ```
//! use nri_core::build::{Adjust as _, SetResources as _};
//! use nri_core::{Event, EventMask, HandlerError, Plugin, PluginCtx, api};
//!
//! struct Limits;
//!
//! #[async_trait::async_trait]
//! impl Plugin for Limits {
//!     fn events(&self) -> EventMask {
//!         Event::CreateContainer.into()
//!     }
//!
//!     async fn create_container(
//!         &self,
//!         _cx: &PluginCtx,
//!         _request: api::CreateContainerRequest,
//!     ) -> Result<api::CreateContainerResponse, HandlerError> {
//!         let mut adjust = api::ContainerAdjustment::default();
//!         adjust.add_env("MODE", "fast")?.set_memory_limit(1 << 30);
//!         Ok(api::CreateContainerResponse { adjust: Some(adjust), ..Default::default() })
//!     }
//! }
//! ```
//!
//! # For authors of runtimes
//!
//! A runtime implements [`Domain`] over its pods and containers ([`model`]), and calls a
//! [`RuntimeApi`], which the crate `nri-adaptation` provides. With the feature `oci`, the module
//! `oci` applies what plugins ask for to an OCI spec.
//!
//! What may not enter: an async runtime, sockets, files, the environment, a clock, log output. Time
//! is an argument, effects are return values; the crates above carry them out.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod brief;
pub mod build;
mod cgroup;
mod ctx;
mod dispatch;
mod domain;
mod embed;
mod encoded;
mod error;
mod event;
pub mod flow;
mod identity;
mod instance_error;
pub mod keys;
pub mod lifecycle;
pub mod merge;
pub mod model;
#[cfg(feature = "oci")]
#[cfg_attr(docsrs, doc(cfg(feature = "oci")))]
pub mod oci;
mod outline;
mod plugin;
pub mod policy;
mod relay;
mod relayed;
pub mod schedule;
#[cfg(any(test, feature = "strategies"))]
#[cfg_attr(docsrs, doc(cfg(feature = "strategies")))]
pub mod strategies;
pub mod validate;

pub use cgroup::{CgroupPath, InvalidCgroupPath};
pub use ctx::Ctx;
pub use dispatch::{dispatch, dispatch_undecoded};
pub use domain::{Domain, DomainError};
pub use embed::{Creation, PluginSyncBlock, RuntimeApi, Settlement, StopResult, UpdateResult};
pub use encoded::{ContainerView, EncodedRequest, EncodedTarget, PodView, ReceivedRequest};
pub use error::Error;
pub use event::{Event, EventMask, InvalidEventMask, Subject, UnknownEvent};
pub use identity::{InvalidIdentity, PluginId, PluginIndex, PluginName, RegisteredPlugin};
pub use instance_error::{InstanceError, StartFailure};
pub use nri_proto::api;
pub use outline::{ContainerOutline, Outline, PodOutline};
pub use plugin::{
    Configuration, HandlerError, Plugin, PluginCtx, RuntimeHandle, RuntimeInfo, SyncPart,
    UpdateFailure,
};
pub use relay::{Request, Response};
pub use relayed::{Behind, Relayed};

/// The protocol level that this implementation speaks and announces as `NRI_version`.
pub const NRI_VERSION: &str = "v0.12.5";

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
