#![doc = include_str!("../README.md")]

mod active;
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
mod nri;
mod observer;
mod prepared;
mod remote;
mod requests;
mod session;
mod side_effects;
mod socket;
mod subject;
mod tasks;
mod text;
mod unlisted;

pub use builder::Builder;
pub use config::Config;
pub use error::Error;
pub use nri::Nri;
pub use nri_core::{
    Api, Creation, Ctx, Domain, DomainError, PluginSyncBlock, StopResult, UpdateResult, model,
};
pub use observer::{CallOutcome, Observer, PluginCallReport, PluginInfo, PluginKind, PluginState};
