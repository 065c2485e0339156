//! One call of a plugin, and what came of it.

use std::time::{Duration, Instant};

use nri_core::schedule::CallOutcome;
use nri_core::{Event, RegisteredPlugin};

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
    /// The [tag](nri_core::Ctx::with_tag) of the call into the API that it is part of; `None`
    /// where the caller gave none, for exits, and for the undoing of a creation.
    pub tag: Option<u64>,
}
