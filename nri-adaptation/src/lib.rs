#![doc = include_str!("../README.md")]

mod active;
mod builder;
mod builtin;
pub mod config;
mod creation;
mod discovery;
mod domains;
mod drive;
pub mod duration;
mod endpoint;
mod error;
mod exits;
mod handshake;
mod instance;
mod joining;
mod launch;
mod listener;
mod nri;
mod observer;
mod pods;
mod prepared;
mod relay;
mod remote;
mod requests;
mod restarts;
mod roster;
mod session;
mod side_effects;
mod socket;
mod subject;
mod supervision;
mod tasks;
mod text;
mod turns;

pub use builder::Builder;
pub use config::Config;
pub use error::Error;
pub use nri::Nri;
pub use nri_core::{
    Api, Creation, Ctx, Domain, DomainError, PluginSyncBlock, StopResult, UpdateResult, model,
};
pub use observer::{CallOutcome, Observer, PluginCallReport, PluginInfo, PluginKind, PluginState};
