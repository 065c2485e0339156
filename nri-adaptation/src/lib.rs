#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]
//!
//! # The manual
//!
//! It is in the module [`manual`]: [concepts](manual::concepts),
//! [NRI in your runtime](manual::in_your_runtime),
//! [the life of a request](manual::life_of_a_request), [configuration](manual::configuration),
//! [security](manual::security), [observing](manual::observing), [costs](manual::costs),
//! [migrating from Go](manual::migrating_from_go).

#[cfg(feature = "blocking")]
#[cfg_attr(docsrs, doc(cfg(feature = "blocking")))]
pub mod blocking;
mod builder;
mod clock;
pub mod config;
pub mod duration;
mod engine;
mod error;
mod instance;
mod launch;
mod listen;
mod lock;
pub mod manual;
mod nri;
mod pending;
mod plugin;
mod rate;
mod relaying;
mod session;
mod shared;
pub mod solo;
mod tasks;
mod telemetry;
mod text;
mod way;

pub use builder::Builder;
pub use config::Config;
pub use engine::reconciling::Reconciled;
pub use engine::side_effects::CarriedOut;
pub use error::Error;
pub use instance::plugin_watch::PluginWatch;
pub use instance::reconfigure::Reconfigured;
pub use listen::socket::SocketFile;
pub use nri::Nri;
/// What the methods of [`RuntimeApi`] return when they fail; [`Error`] is that of building and
/// starting.
pub use nri_core::Error as EventError;
#[cfg(feature = "oci")]
#[cfg_attr(docsrs, doc(cfg(feature = "oci")))]
pub use nri_core::oci;
pub use nri_core::schedule::CallOutcome;
pub use pending::Pending;
// All that the signatures of this crate need, so that a runtime depends on this crate alone.
pub use async_trait::async_trait;
pub use nri_core::{
    Behind, Configuration, ContainerOutline, Creation, Ctx, Domain, DomainError, Event, EventMask,
    HandlerError, InstanceError, InvalidIdentity, NRI_VERSION, Outline, Plugin, PluginCtx,
    PluginId, PluginSyncBlock, PodOutline, ReceivedRequest, RegisteredPlugin, Relayed, Request,
    Response, RuntimeApi, RuntimeHandle, RuntimeInfo, Settlement, StartFailure, StopResult,
    UpdateFailure, UpdateResult, api, build, merge, model, policy, validate,
};
pub use telemetry::audit::AuditRecord;
pub use telemetry::call_report::PluginCallReport;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use telemetry::metrics::MetricsFacade;
pub use telemetry::metrics::{ErrorClass, Metrics};
pub use telemetry::observer::Observer;
pub use telemetry::plugin_info::{PluginInfo, PluginKind, PluginState};
pub use telemetry::readiness::Readiness;
pub use telemetry::statistics::{CallStatistics, Latency};
