#![doc = include_str!("../README.md")]

mod builder;
mod clock;
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
mod shared;
mod tasks;
mod telemetry;
mod text;

pub use builder::Builder;
pub use config::Config;
pub use error::Error;
pub use instance::reconfigure::Reconfigured;
pub use nri::Nri;
pub use nri_core::schedule::CallOutcome;
pub use nri_core::{
    Creation, Ctx, Domain, DomainError, PluginSyncBlock, RuntimeApi, StopResult, UpdateResult,
    model,
};
pub use telemetry::audit::AuditRecord;
pub use telemetry::call_report::PluginCallReport;
#[cfg(feature = "metrics")]
pub use telemetry::metrics::MetricsFacade;
pub use telemetry::metrics::{ErrorClass, Metrics};
pub use telemetry::observer::Observer;
pub use telemetry::plugin_info::{PluginInfo, PluginKind, PluginState};
pub use telemetry::readiness::Readiness;
pub use telemetry::statistics::{CallStatistics, Latency};
