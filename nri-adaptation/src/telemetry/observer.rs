//! Someone who is told what happens to plugins: which are connected and ready, and what came of
//! every call.

use std::time::Duration;

use nri_core::merge::Omission;
use nri_core::policy::Verdict;
use nri_core::{DomainError, Event, PluginId, api};

use crate::telemetry::audit::AuditRecord;
use crate::telemetry::call_report::PluginCallReport;
use crate::telemetry::plugin_info::PluginInfo;

/// Someone who wants to know. The methods are called in the middle of things: they must return at
/// once and must not call back into the instance.
///
/// Calls of plugins are told one at a time, in the order in which they ended, and before whoever
/// called the API has the result of the request that they are part of.
pub trait Observer: Send + Sync + 'static {
    /// A plugin was called, or would have been.
    fn plugin_call(&self, report: &PluginCallReport<'_>) {
        let _ = report;
    }

    /// A plugin has registered and is configured.
    fn plugin_connected(&self, plugin: &PluginInfo) {
        let _ = plugin;
    }

    /// A plugin is synchronised and ready. The updates that it answered with are applied.
    fn plugin_synchronized(&self, plugin: &PluginInfo) {
        let _ = plugin;
    }

    /// A plugin is disconnected.
    fn plugin_disconnected(&self, plugin: &PluginInfo, reason: &str) {
        let _ = (plugin, reason);
    }

    /// Plugins asked for something: who, and for what.
    fn adjusted(&self, record: &AuditRecord<'_>) {
        let _ = record;
    }

    /// A plugin that only hears of what happens asked for something, in an answer or unsolicited:
    /// nothing of it is done.
    fn disregarded(&self, record: &AuditRecord<'_>) {
        let _ = record;
    }

    /// A plugin that only hears of what happens took longer than events can be kept for it: it does
    /// not get so many of them, and is synchronised again.
    fn plugin_fell_behind(&self, plugin: &PluginInfo, missed: usize) {
        let _ = (plugin, missed);
    }

    /// Something that a plugin asked for was left out, and nothing fails for it: the runtime cannot
    /// apply it, for example.
    fn omitted(&self, omission: &Omission) {
        let _ = omission;
    }

    /// The policy denied, dropped or audited something that a plugin asked for. Told before whoever
    /// called the API has the result.
    fn policy_applied(&self, verdict: &Verdict) {
        let _ = verdict;
    }

    /// A plugin got an event as `StateChange`, since it was built against an NRI older than v0.12.
    /// Told once per plugin and event, after it was served.
    fn plugin_deprecated(&self, plugin: &PluginId, event: Event) {
        let _ = (plugin, event);
    }

    /// A launched plugin has ended without being told to. It is launched again after `pause`;
    /// without one, it is not.
    fn plugin_exited(&self, plugin: &PluginInfo, reason: &str, pause: Option<Duration>) {
        let _ = (plugin, reason, pause);
    }

    /// A peer did not become a plugin.
    fn plugin_refused(&self, peer: &str, reason: &str) {
        let _ = (peer, reason);
    }

    /// A container was updated because plugins asked for it, in an answer, when they were
    /// synchronised, or unsolicited; or that did not work.
    fn container_updated(
        &self,
        plugins: &[PluginId],
        update: &api::ContainerUpdate,
        result: Result<(), &DomainError>,
    ) {
        let _ = (plugins, update, result);
    }

    /// A container was evicted because plugins asked for it, each for its reason; or that did not
    /// work.
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
