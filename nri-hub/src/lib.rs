#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! What is here: the way [down](HubConfig) of each request, the mirror of what the runtime above
//! has, what is remembered of requests, and status, metrics and probes. How plugins are called,
//! merged and judged is `nri-adaptation`'s and `nri-core`'s; the connection to the runtime above is
//! `nri-plugin`'s.
//!
//! What may not enter: merging, policy, deadlines of plugins, anything of the wire.

mod ask;
mod behind;
mod config;
mod config_file;
mod domain;
mod down;
mod error;
mod histogram;
mod http;
mod hub;
mod listen;
mod metrics;
mod mirror;
mod narrow;
mod place;
mod records;
mod reload;
mod shared;
mod status;
mod up;
mod upgrade;

pub use ask::status as ask_status;
pub use config::{
    DEFAULT_CONFIG_FILE, DEFAULT_CONTROL_SOCKET, DEFAULT_PLUGIN_CONFIG_PATH, DEFAULT_PLUGIN_PATH,
    DEFAULT_RUNTIME_SOCKET, DEFAULT_SOCKET_PATH, HubConfig, HubConfigError, HubSettings,
};
pub use error::Error;
pub use hub::{Builder, Hub, HubHandle};
pub use records::{AuditEntry, CallRecord, Percentiles, RequestRecord};
pub use status::{ConfigStatus, PluginStatus, RuntimeStatus, Status};
pub use upgrade::TakenOver;
