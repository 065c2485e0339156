//! Logs, metrics, and the states of plugins.
//!
//! # Logs
//!
//! With [`tracing`], under the targets of this crate's modules:
//!
//! * a span `nri_event` for each request (`event`, `pod`, `container`), a child of the span of the
//!   [`Ctx`](crate::Ctx) if it has one, and in it a span `nri_plugin_call` for each call (`event`,
//!   `pod`, `container`, `plugin`, `outcome`, `duration`);
//! * what launched plugins print, under the target `nri_plugin_output`, line by line;
//! * a record for each request in which plugins asked for something, under the target `nri::audit`:
//!   who changed which field, and which entry of it
//!   ([`AuditRecord::to_line`](crate::AuditRecord::to_line) has the form);
//! * under the same target, what the [policy](super::configuration#what-plugins-may-ask-for)
//!   denied, dropped and audited, with plugin, rule and field.
//!
//! ```text
//! c1: Env "HOME" by 10-a, Args removed by 20-b; c2: evicted by 20-b
//! ```
//!
//! Values are never logged. `outcome` is one of the names of [`CallOutcome`](crate::CallOutcome).
//!
//! # In the runtime's program
//!
//! [`Observer`](crate::Observer): the same as calls, for a runtime to act on.
//!
//! ```
//! use std::sync::Arc;
//! use nri_adaptation::{Config, Nri, Observer, PluginInfo};
//!
//! struct Events;
//!
//! impl Observer for Events {
//!     fn plugin_disconnected(&self, plugin: &PluginInfo, reason: &str) {
//!         println!("plugin {} is disconnected: {reason}", plugin.id());
//!     }
//! }
//!
//! let nri = Nri::builder(Config::default()).observer(Arc::new(Events)).build()?;
//! # Ok::<(), nri_adaptation::Error>(())
//! ```
//!
//! [`Nri::plugins`](crate::Nri::plugins): which plugins there are and how they are doing: process
//! and user, events, version, [state](crate::PluginState), calls, latency, time-outs, restarts, the
//! last error. [`Nri::watch_plugins`](crate::Nri::watch_plugins) waits
//! for that to change. [`Nri::readiness`](crate::Nri::readiness) and
//! [`Nri::watch_readiness`](crate::Nri::watch_readiness): which required plugins are missing; a
//! runtime maps that to a condition of the node.
//!
//! | a plugin that | state |
//! |---|---|
//! | was launched and has not registered | [`Starting`](crate::PluginState::Starting) |
//! | is admitted and is being synchronised | [`Synchronizing`](crate::PluginState::Synchronizing) |
//! | is called | [`Ready`](crate::PluginState::Ready) |
//! | owes an answer whose time is over | [`Late`](crate::PluginState::Late) |
//! | was launched, has ended and is launched again | [`Restarting`](crate::PluginState::Restarting) |
//! | was launched and is given up, until the next `reconfigure` | [`Failed`](crate::PluginState::Failed) |
//! | is disconnected | [`Closed`](crate::PluginState::Closed) |
//!
//! # Metrics
//!
//! [`Metrics`](crate::Metrics): none by default. With the feature `metrics`, `MetricsFacade` hands
//! them on to the recorder of the crate `metrics`, under the names that containerd has (the prefix
//! can be another one):
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `containerd_nri_plugin_invocations_total` | counter | `plugin`, `operation`, `status` (`success`, `error`), `error` |
//! | `containerd_nri_plugin_latency_seconds` | histogram | `plugin`, `operation` |
//! | `containerd_nri_plugin_adjustments_total` | counter | `plugin`, `operation`, `type` (`update`, `evict`; on request `adjust`) |
//! | `containerd_nri_observer_missed_events_total` | counter | `plugin` |
//! | `containerd_nri_active_plugins_total` | gauge | |
//!
//! `error` is empty, `deadline_exceeded`, the name of a status code in snake case, `unknown_code`,
//! or one of ours: `closed` (the connection is lost) and `busy` (not called, since it still owes an
//! earlier answer). See [`ErrorClass`](crate::ErrorClass).
