#![doc = include_str!("../README.md")]
//!
//! What may not enter: merging, the protocol of plugins, and what plugins are shown beyond what
//! `record` says; these are the crates below.

mod cgroup;
mod check;
mod config;
mod conmon;
mod containers;
mod cri;
mod daemon;
mod descriptor;
mod engine;
mod error;
mod events;
mod files;
mod handed;
mod idmap;
mod images;
mod low_level;
mod metrics;
mod network;
mod nri;
mod pause;
mod pods;
mod program;
mod record;
mod rlimits;
mod server;
mod spec;
mod store;
mod streaming;
mod trial;
mod usage;
mod user_namespace;
mod views;

pub use check::{Finding, check};
pub use config::{CgroupDriver, Config, Images, LowLevel, Mirror, Network};
pub use error::{Error, Result};

/// Serves CRI until `end`; pods and containers stay. See the README for what it needs.
///
/// # Errors
/// What is missing, and how to install it; another instance runs on the same directory; the
/// operating system's.
///
/// ```no_run
/// # async fn f() -> nri_runtime::Result<()> {
/// let config = nri_runtime::Config::load(None)?;
/// nri_runtime::serve(config, async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await
/// # }
/// ```
pub async fn serve(config: Config, end: impl Future<Output = ()>) -> Result<()> {
    let daemon = daemon::Daemon::start(config).await?;
    let served = server::serve(daemon.clone(), end).await;
    daemon.stop().await;
    served
}
