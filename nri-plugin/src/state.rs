//! What a runner tells about itself.

use std::fmt;
use std::time::Duration;

use nri_core::{EventMask, PluginId, RuntimeInfo, api};

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registration {
    /// The plugin as it registered. A runtime that launched it goes by the file's name instead.
    pub plugin: PluginId,
    /// The runtime.
    pub runtime: RuntimeInfo,
    /// How long a request may take; zero if the runtime does not say.
    pub request_timeout: Duration,
    /// The events that the plugin gets.
    pub events: EventMask,
    /// The events that the plugin wanted and this runtime does not have.
    pub missing: EventMask,
    /// Whether the runtime heeds [`Plugin::failure_policy`](nri_core::Plugin::failure_policy), as
    /// those of protocol v0.12.4 and later do.
    pub heeds_failure_policy: bool,
    /// The parts of an adjustment or update that this runtime ignores, since it is older than they
    /// are. An answer that has one of them is warned about in the log, once.
    pub ignored_fields: Vec<api::Field>,
}

/// Where a runner is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum State {
    /// Not started.
    #[default]
    Idle,
    /// Connecting and registering.
    Connecting,
    /// Registered and configured; the runtime synchronises the plugin next.
    Configured(Registration),
    /// Synchronised: events come.
    Ready(Registration),
    /// Between two attempts.
    Waiting {
        /// Until the next attempt.
        wait: Duration,
        /// Why there must be one.
        reason: String,
    },
    /// Over.
    Ended,
}

/// Why a plugin's run ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The runtime sent `Shutdown`.
    Shutdown,
    /// The runtime closed the connection. No released runtime in Go sends `Shutdown` before.
    Disconnected,
    /// [`Handle::stop`](crate::Handle::stop) was called.
    Stopped,
    /// [`Handle::hand_over`](crate::Handle::hand_over) was called: another process goes on with the
    /// connection.
    HandedOver,
    /// [`Handle::reconnect`](crate::Handle::reconnect) was called, and the run is one of one
    /// connection.
    LetGo,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shutdown => "the runtime shut the plugin down",
            Self::Disconnected => "the runtime closed the connection",
            Self::Stopped => "the plugin was stopped",
            Self::HandedOver => "the connection to the runtime was handed over",
            Self::LetGo => "the connection to the runtime was let go of",
        })
    }
}
