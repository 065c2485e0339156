#![doc = include_str!("../README.md")]

mod active;
mod admission;
mod audit;
mod builder;
mod builtin;
mod call;
pub mod config;
mod creation;
mod discovery;
mod dispatch;
mod domains;
pub mod duration;
mod endpoint;
mod error;
mod handshake;
mod instance;
mod joining;
mod judging;
mod launch;
mod listener;
mod listening;
mod live_validator;
mod metrics;
mod nri;
mod observation;
mod observer;
mod output;
mod overlooked;
mod places;
mod prepared;
mod program;
mod rate;
mod readiness;
mod reconfigure;
mod remote;
mod requests;
mod restarts;
mod session;
mod side_effects;
mod socket;
mod statistics;
mod subject;
mod supervision;
mod tasks;
mod text;
mod unlisted;
mod way;

pub use audit::AuditRecord;
pub use builder::Builder;
pub use config::Config;
pub use error::Error;
#[cfg(feature = "metrics")]
pub use metrics::MetricsFacade;
pub use metrics::{ErrorClass, Metrics};
pub use nri::Nri;
pub use nri_core::{
    Creation, Ctx, Domain, DomainError, PluginSyncBlock, RuntimeApi, StopResult, UpdateResult,
    model,
};
pub use observer::{CallOutcome, Observer, PluginCallReport, PluginInfo, PluginKind, PluginState};
pub use readiness::Readiness;
pub use reconfigure::Reconfigured;
pub use statistics::{CallStatistics, Latency};
