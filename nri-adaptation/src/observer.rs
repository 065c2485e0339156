//! What an instance tells about its plugins: who is there, and what came of every call.

use std::fmt;
use std::time::{Duration, Instant};

use nri_core::merge::Omission;
use nri_core::{DomainError, Event, EventMask, PluginId, RegisteredPlugin, api};

use crate::audit::AuditRecord;
use crate::statistics::CallStatistics;

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
    /// It takes part, and its requests wait until it knows what exists.
    Synchronizing,
    /// It takes part.
    Ready,
    /// It owes the answer to a request whose time is over.
    Late,
    /// It takes part no more.
    Closed,
    /// It was launched and does not take part yet.
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
    /// What it says is to happen when it does not answer, if it says so. What an operator says of it goes before that.
    pub failure_policy: Option<api::FailurePolicy>,
    /// How far it is.
    pub state: PluginState,
    /// What its calls came to, since it connected.
    pub calls: CallStatistics,
    /// How often it was launched again.
    pub restarts: u64,
    /// Why its last call that did not succeed went wrong; or else why it last ended, where it was launched.
    pub last_error: Option<String>,
}

impl PluginInfo {
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
            calls: CallStatistics::default(),
            restarts: 0,
            last_error: None,
        }
    }
}

/// What came of one call of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallOutcome {
    /// It answered.
    Answered,
    /// It answered with an error.
    Failed {
        /// The status code.
        code: i32,
        /// The text.
        message: String,
    },
    /// It did not answer in time.
    Late,
    /// It was not asked: it still owes an earlier answer.
    Busy,
    /// Its connection is lost.
    Gone,
}

impl CallOutcome {
    /// One word for logs and labels.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed { .. } => "failed",
            Self::Late => "late",
            Self::Busy => "busy",
            Self::Gone => "gone",
        }
    }
}

/// One call of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginCallReport<'a> {
    /// The plugin.
    pub plugin: &'a RegisteredPlugin,
    /// What it was asked.
    pub event: Event,
    /// The pod's id; empty if there is none.
    pub pod: &'a str,
    /// The container's id; empty for pod events.
    pub container: &'a str,
    /// When its turn was asked for.
    pub started: Instant,
    /// How long it took from then on, waiting for the turn included.
    pub duration: Duration,
    /// What came of it.
    pub outcome: &'a CallOutcome,
    /// The [tag](nri_core::Ctx::with_tag) of the call into the API that it is part of; `None` where the caller gave none, for
    /// exits, and for the undoing of a creation.
    pub tag: Option<u64>,
}

/// Someone who wants to know. The methods are called in the middle of things: they must return at once and must not call back
/// into the instance.
///
/// Calls of plugins are told one at a time, in the order in which they ended, and before whoever called the API has the result
/// of the request that they are part of.
pub trait Observer: Send + Sync + 'static {
    /// A plugin was called, or would have been.
    fn plugin_call(&self, report: &PluginCallReport<'_>) {
        let _ = report;
    }

    /// A plugin has registered and is configured.
    fn plugin_connected(&self, plugin: &PluginInfo) {
        let _ = plugin;
    }

    /// A plugin knows what exists and takes part. The updates that it asked for when it was shown that are applied.
    fn plugin_synchronized(&self, plugin: &PluginInfo) {
        let _ = plugin;
    }

    /// A plugin that had connected is gone.
    fn plugin_disconnected(&self, plugin: &PluginInfo, reason: &str) {
        let _ = (plugin, reason);
    }

    /// Plugins asked for something: who, and for what.
    fn adjusted(&self, record: &AuditRecord<'_>) {
        let _ = record;
    }

    /// Something that a plugin asked for was left out, and nothing fails for it: the runtime cannot apply it, for example.
    fn omitted(&self, omission: &Omission) {
        let _ = omission;
    }

    /// A plugin got an event as `StateChange`, since it was built against an NRI older than v0.12. Told once per plugin and
    /// event, after it was served.
    fn plugin_deprecated(&self, plugin: &PluginId, event: Event) {
        let _ = (plugin, event);
    }

    /// A launched plugin has ended without being told to. It is launched again after `pause`; without one, it is not.
    fn plugin_exited(&self, plugin: &PluginInfo, reason: &str, pause: Option<Duration>) {
        let _ = (plugin, reason, pause);
    }

    /// A peer did not become a plugin.
    fn plugin_refused(&self, peer: &str, reason: &str) {
        let _ = (peer, reason);
    }

    /// A container was updated because plugins asked for it, in an answer, when they were synchronised, or on their own
    /// account; or that did not work.
    fn container_updated(
        &self,
        plugins: &[PluginId],
        update: &api::ContainerUpdate,
        result: Result<(), &DomainError>,
    ) {
        let _ = (plugins, update, result);
    }

    /// A container was evicted because plugins asked for it, each for its reason; or that did not work.
    fn container_evicted(
        &self,
        container: &str,
        reasons: &[(PluginId, String)],
        result: Result<(), &DomainError>,
    ) {
        let _ = (container, reasons, result);
    }
}

/// Does not want to know.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NoObserver;

impl Observer for NoObserver {}
