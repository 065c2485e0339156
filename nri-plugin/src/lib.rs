#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]
//!
//! # The manual
//!
//! It is in the module [`manual`]: [a plugin in ten minutes](manual::ten_minutes),
//! [handlers and answers](manual::handlers_and_answers), [connecting](manual::connecting),
//! [unsolicited updates](manual::unsolicited_updates), [configuring](manual::configuring),
//! [migrating from Go](manual::migrating_from_go).
//!
//! # Modules
//!
//! What is here: where the connection comes from, who the plugin is, registration and the bounded
//! waits around it, the service that turns the runtime's requests into handler calls, reconnection,
//! and [`handlers`], which makes a plugin of closures. What a plugin is ([`Plugin`]) and what
//! events mean is `nri-core`'s; bytes and frames are `nri-proto`'s.
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
pub mod manual;
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

// All that our own signatures name, and what handlers are written with: a plugin depends on this
// crate alone.
pub use async_trait::async_trait;
pub use nri_core::build;
pub use nri_core::model::effective_annotation;
pub use nri_core::{
    Configuration, Event, EventMask, HandlerError, InvalidEventMask, InvalidIdentity, NRI_VERSION,
    Plugin, PluginCtx, PluginId, PluginIndex, PluginName, RuntimeHandle, RuntimeInfo, UnknownEvent,
    UpdateFailure, api,
};
pub use nri_proto::transport::{CloseReason, Code, Limits};
pub use nri_proto::{InvalidSocketPath, SocketPath};
