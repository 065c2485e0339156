//! The pure core of NRI, the Node Resource Interface: what plugins and runtimes are to each other, without a wire.
//!
//! What is here: events and masks ([`Event`], [`EventMask`]), plugin identity ([`PluginId`]), the traits that plugins,
//! runtimes and their domains implement ([`Plugin`], [`RuntimeApi`], [`Domain`], [`model`]), merging of what plugins ask for with
//! an owner per item ([`merge`]), keys by their meaning ([`keys`]), and flows ([`flow`]): small state machines that say which plugin to call next and what
//! the outcome is.
//!
//! What may not enter: an async runtime, sockets, files, the environment, a clock, log output. Time is an argument,
//! effects are return values; the crates above carry them out.

mod brief;
pub mod build;
mod cgroup;
mod ctx;
mod domain;
mod embed;
mod error;
mod event;
pub mod flow;
mod identity;
pub mod keys;
pub mod lifecycle;
pub mod merge;
pub mod model;
#[cfg(feature = "oci")]
pub mod oci;
mod plugin;
mod relay;
pub mod schedule;
#[cfg(any(test, feature = "strategies"))]
pub mod strategies;
pub mod validate;

pub use cgroup::{CgroupPath, InvalidCgroupPath};
pub use ctx::Ctx;
pub use domain::{Domain, DomainError};
pub use embed::{Creation, PluginSyncBlock, RuntimeApi, Settlement, StopResult, UpdateResult};
pub use error::Error;
pub use event::{Event, EventMask, InvalidEventMask, Subject, UnknownEvent};
pub use identity::{InvalidIdentity, PluginId, PluginIndex, PluginName, RegisteredPlugin};
pub use nri_proto::api;
pub use plugin::{
    Configuration, HandlerError, Plugin, PluginCtx, RuntimeHandle, RuntimeInfo, UpdateFailure,
    dispatch,
};
pub use relay::{Request, Response};

/// The protocol level that this implementation speaks and announces as `NRI_version`.
pub const NRI_VERSION: &str = "v0.12.5";

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
