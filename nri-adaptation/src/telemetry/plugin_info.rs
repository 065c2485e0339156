//! What is known of a plugin from outside: where it comes from, how far it is, what it has done.

use std::fmt;

use nri_core::{EventMask, PluginId, RegisteredPlugin, api};

use crate::telemetry::statistics::CallStatistics;

/// Where a plugin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PluginKind {
    /// Part of the runtime's own program.
    BuiltIn,
    /// Found in the plugin directory and launched by this instance.
    Launched,
    /// Started by someone else; it connected to the socket.
    External,
}

impl fmt::Display for PluginKind {
    /// In words, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "built-in",
            Self::Launched => "launched",
            Self::External => "external",
        })
    }
}

/// How far a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PluginState {
    /// It is admitted, and its requests wait until it knows what exists.
    Synchronizing,
    /// It is ready.
    Ready,
    /// It owes the answer to a request whose time is over.
    Late,
    /// It is disconnected.
    Closed,
    /// It was launched and is not ready yet.
    Starting,
    /// It was launched and has ended; it waits to be launched again.
    Restarting,
    /// It was launched and has ended, and is not launched again by itself.
    Failed,
}

/// A plugin as seen from outside; a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginInfo {
    /// Its identity and the number of its registration; 0 while it has none.
    pub plugin: RegisteredPlugin,
    /// Where it comes from.
    pub kind: PluginKind,
    /// Its process, where it has one of its own.
    pub pid: Option<i32>,
    /// The user that it runs as, where it is another process.
    pub uid: Option<u32>,
    /// The primary group that it runs as, where it is another process.
    pub gid: Option<u32>,
    /// The events that it gets.
    pub events: EventMask,
    /// The protocol level that it registered with; empty if it did not say.
    pub nri_version: String,
    /// What it says is to happen when it does not answer, if it says so. What an operator says of
    /// it goes before that.
    pub failure_policy: Option<api::FailurePolicy>,
    /// How far it is.
    pub state: PluginState,
    /// Whether it only hears of what happens.
    pub observes: bool,
    /// How many events it is to be told as an observer, when it has the time.
    pub queued: usize,
    /// What its calls came to, since it connected.
    pub calls: CallStatistics,
    /// How often it was launched again.
    pub restarts: u64,
    /// Why its last call that did not succeed went wrong; or else why it last ended, where it was
    /// launched.
    pub last_error: Option<String>,
}

impl PluginInfo {
    /// Who it is.
    #[must_use]
    pub fn id(&self) -> &PluginId {
        &self.plugin.id
    }

    /// What is known of every plugin.
    pub(crate) fn new(
        plugin: RegisteredPlugin,
        kind: PluginKind,
        events: EventMask,
        state: PluginState,
    ) -> Self {
        Self {
            plugin,
            kind,
            pid: None,
            uid: None,
            gid: None,
            events,
            nri_version: String::new(),
            failure_policy: None,
            state,
            observes: false,
            queued: 0,
            calls: CallStatistics::default(),
            restarts: 0,
            last_error: None,
        }
    }
}
