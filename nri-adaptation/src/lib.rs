#![doc = include_str!("../README.md")]

mod builder;
pub mod config;
pub mod duration;
mod engine;
mod error;
mod instance;
mod launch;
mod listen;
mod nri;
mod plugin;
mod rate;
mod session;
mod tasks;
mod telemetry;
mod text;

pub use builder::Builder;
pub use config::Config;
pub use error::Error;
pub use instance::reconfigure::Reconfigured;
pub use nri::Nri;
pub use nri_core::{
    Creation, Ctx, Domain, DomainError, PluginSyncBlock, RuntimeApi, StopResult, UpdateResult,
    model,
};
pub use telemetry::audit::AuditRecord;
#[cfg(feature = "metrics")]
pub use telemetry::metrics::MetricsFacade;
pub use telemetry::metrics::{ErrorClass, Metrics};
pub use telemetry::observer::{
    CallOutcome, Observer, PluginCallReport, PluginInfo, PluginKind, PluginState,
};
pub use telemetry::readiness::Readiness;
pub use telemetry::statistics::{CallStatistics, Latency};
