#![cfg_attr(docsrs, feature(doc_cfg))]
// Its plugin needs both.
#![cfg_attr(all(feature = "cli", feature = "config"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "cli", feature = "config")),
    doc = "The plugin end of NRI, the Node Resource Interface."
)]
//!
//! # The manual
//!
//! It is in the module [`manual`]: [a plugin in ten minutes](manual::ten_minutes),
//! [handlers and answers](manual::handlers_and_answers), [connecting](manual::connecting),
//! [unsolicited updates](manual::unsolicited_updates), [configuring](manual::configuring),
//! [migrating from Go](manual::migrating_from_go),
//! [moving a Go plugin](manual::moving_a_go_plugin), [shipping](manual::shipping).
//!
//! # Modules
//!
//! What is here: where the connection comes from, who the plugin is, registration and the bounded
//! waits around it, the service that turns the runtime's requests into handler calls, reconnection,
//! and [`handlers`] and [`stateful`], which make plugins of functions. What a plugin is
//! ([`Plugin`]) and what events mean is `nri-core`'s; bytes and frames are `nri-proto`'s.
//!
//! What may not enter: merging, policy, anything of the runtime's end, and process-wide state.

mod alarm;
#[cfg(feature = "config")]
mod annotation;
mod answer;
mod backoff;
#[cfg(test)]
mod captured;
#[cfg(feature = "config")]
mod configuration;
mod configuration_file;
mod error;
mod event_table;
mod fields;
mod hand_over;
mod handlers;
#[cfg(feature = "cli")]
mod health;
mod identity;
#[cfg(feature = "json")]
mod json;
mod level;
mod link;
pub mod manual;
mod observer;
mod parts;
mod plugin_service;
pub mod prelude;
#[cfg(feature = "cli")]
mod program;
mod runner;
mod session;
mod source;
mod state;
mod stateful;
mod sync_assembler;
#[cfg(feature = "config")]
mod text;
mod timed;
mod unsolicited;
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub mod values;

#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub use annotation::{AnnotationKey, InvalidAnnotation, effective_annotation_as};
pub use answer::{Adjustment, IntoAnswer, NoRoom, Updates};
pub use backoff::{AfterShutdown, Backoff};
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub use configuration::{InvalidConfiguration, Settings, configuration, read_configuration};
pub use error::Error;
pub use event_table::{Proposal, Viewed};
pub use hand_over::HandOver;
pub use handlers::{Handlers, HandlersBuilder, handlers};
#[cfg(feature = "json")]
#[cfg_attr(docsrs, doc(cfg(feature = "json")))]
pub use json::request_to_json;
pub use level::RuntimeLevel;
pub use link::RuntimeLink;
pub use observer::{Observed, Observer, observe};
#[cfg(feature = "cli")]
#[cfg_attr(docsrs, doc(cfg(feature = "cli")))]
pub use program::{Program, Stop};
pub use runner::{Builder, Handle, Runner};
pub use session::Connected;
pub use source::DEFAULT_SOCKET;
pub use state::{Ended, Registration, State};
pub use stateful::{SharedState, StatefulBuilder, stateful};
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub use text::Format;

pub use unsolicited::{NotUpdated, Unsolicited, UpdateResults};

// All that our own signatures name, and what handlers are written with: a plugin depends on this
// crate alone.
pub use async_trait::async_trait;
pub use nri_core::build;
pub use nri_core::model::effective_annotation;
/// What plugins may ask for, as rules: for plugins that validate.
#[cfg(feature = "policy")]
#[cfg_attr(docsrs, doc(cfg(feature = "policy")))]
pub use nri_core::policy;
pub use nri_core::{
    Configuration, ContainerView, Event, EventMask, HandlerError, InvalidEventMask,
    InvalidIdentity, NRI_VERSION, Plugin, PluginCtx, PluginId, PluginIndex, PluginName, PodView,
    ReceivedRequest, Request, Response, RuntimeHandle, RuntimeInfo, SyncPart, UnknownEvent,
    UpdateFailure, api,
};
pub use nri_proto::transport::{CloseReason, Code, Limits};
pub use nri_proto::{InvalidSocketPath, SocketPath, rpc};
