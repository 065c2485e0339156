#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! What is here: where the connection comes from, who the plugin is, registration and the bounded waits around it, the
//! service that turns the runtime's requests into handler calls, reconnection, and [`handlers`], which makes a plugin of
//! closures. What a plugin is ([`Plugin`]) and what events mean is `nri-core`'s; bytes and frames are `nri-proto`'s.
//!
//! What may not enter: merging, policy, anything of the runtime's end, and process-wide state.

mod backoff;
#[cfg(test)]
mod captured;
mod error;
mod handlers;
mod identity;
mod level;
mod link;
mod plugin_service;
mod runner;
mod session;
mod source;
mod state;
mod sync_assembler;

pub use backoff::{AfterShutdown, Backoff};
pub use error::Error;
pub use handlers::{Handlers, HandlersBuilder, handlers};
pub use level::RuntimeLevel;
pub use link::RuntimeLink;
pub use runner::{Builder, Handle, Runner};
pub use session::Connected;
pub use source::DEFAULT_SOCKET;
pub use state::{Ended, Registration, State};

pub use nri_core::{
    Configuration, Event, EventMask, HandlerError, Plugin, PluginCtx, PluginId, RuntimeHandle,
    RuntimeInfo, UpdateFailure, api,
};
pub use nri_proto::transport::CloseReason;
