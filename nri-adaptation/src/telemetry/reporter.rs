//! To whom an instance tells what happens: its observer, its metrics, its log. The one place to
//! which whoever makes a call reports it. What it tells is handed in as data.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nri_core::merge::{Eviction, Omission, Owners};
use nri_core::policy::Verdict;
use nri_core::{EncodedRequest, Event, PluginId, Response, api};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::lock::Lock;
use crate::rate::Lines;
use crate::telemetry::audit::{AuditRecord, owners_of};
use crate::telemetry::call_report::PluginCallReport;
use crate::telemetry::metrics::{ErrorClass, Metrics};
use crate::telemetry::observer::Observer;
use crate::telemetry::plugin_info::PluginInfo;
use crate::telemetry::readiness::Readiness;
use crate::text::sanitized;

/// How many lines of a kind one request gets in the log. What is more is counted.
pub(crate) const LINES_EACH: usize = 8;

/// The name under which synchronising is measured.
const SYNCHRONIZE: &str = "Synchronize";

/// Tells what happens.
pub(crate) struct Reporter {
    pub(crate) observer: Arc<dyn Observer>,
    metrics: Arc<dyn Metrics>,
    readiness: watch::Sender<Readiness>,
    /// How many plugins the metrics know of.
    plugin_count: AtomicUsize,
    /// Told when the plugins or their states may have changed.
    plugin_states: watch::Sender<()>,
    /// What the log gets of peers that do not become plugins.
    lines_of_peers: Lock<Lines>,
    /// From when on times are counted.
    since: Instant,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

impl Reporter {
    pub(crate) fn new(observer: Arc<dyn Observer>, metrics: Arc<dyn Metrics>) -> Self {
        Self {
            observer,
            metrics,
            readiness: watch::Sender::new(Readiness::default()),
            plugin_count: AtomicUsize::new(0),
            plugin_states: watch::Sender::new(()),
            lines_of_peers: Lock::default(),
            since: Instant::now(),
        }
    }

    /// Whether the required plugins are ready, now and from now on.
    pub(crate) fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    /// Told whenever the plugins or their states may have changed.
    pub(crate) fn plugin_states(&self) -> watch::Receiver<()> {
        self.plugin_states.subscribe()
    }

    /// The plugins or their states may have changed. To be called once they have.
    pub(crate) fn plugin_states_changed(&self) {
        self.plugin_states.send_replace(());
    }

    /// A call is over.
    pub(crate) fn plugin_called(&self, report: &PluginCallReport<'_>) {
        let (plugin, operation) = (&report.plugin.id, report.event.name());
        self.metrics
            .record_latency(plugin, operation, report.duration);
        let result = ErrorClass::of(report.outcome);
        self.metrics.record_invocation(plugin, operation, result);
        self.observer.plugin_call(report);
    }

    /// A plugin has answered in time.
    pub(crate) fn answered(&self, plugin: &PluginId, event: Event, response: &Response) {
        let (adjustment, updates, evictions) = asked_for(response);
        self.metrics
            .record_adjustments(plugin, event.name(), adjustment, updates, evictions);
    }

    /// A plugin was sent what exists, which took so long: how many updates it asks for, or why it
    /// could not be.
    pub(crate) fn synchronized(
        &self,
        plugin: &PluginId,
        took: Duration,
        result: Result<usize, ErrorClass>,
    ) {
        self.metrics.record_latency(plugin, SYNCHRONIZE, took);
        self.metrics
            .record_invocation(plugin, SYNCHRONIZE, result.map(drop));
        if let Ok(updates) = result {
            self.metrics
                .record_adjustments(plugin, SYNCHRONIZE, None, updates, 0);
        }
    }

    /// Plugins have connected or disconnected, or what is required has changed. `now` says how many
    /// plugins requests include, and which are ready.
    pub(crate) fn plugins_changed(
        &self,
        required: &[String],
        now: impl FnOnce() -> (usize, Vec<PluginId>),
    ) {
        // Whoever comes later looks later, so the last one to tell is right.
        self.readiness.send_if_modified(|readiness| {
            let (count, ready) = now();
            if self.plugin_count.swap(count, Ordering::Relaxed) != count {
                self.metrics.set_plugin_count(count);
            }
            let now = Readiness::of(required, ready.iter());
            let changed = *readiness != now;
            *readiness = now;
            changed
        });
        self.plugin_states_changed();
    }

    /// Plugins asked for something in a request.
    pub(crate) fn record_requested_changes(
        &self,
        request: &EncodedRequest,
        owners: &Owners,
        evictions: &[Eviction],
    ) {
        if owners.is_empty() && evictions.is_empty() {
            return;
        }
        let evictions = by_plugins(evictions);
        self.audit(&AuditRecord {
            event: Some(request.event()),
            pod: &request.pod_id(),
            container: &request.container_id(),
            owners,
            evictions: &evictions,
        });
    }

    /// An observer asked for something in an answer.
    pub(crate) fn disregarded(
        &self,
        request: &EncodedRequest,
        owners: &Owners,
        evictions: &[Eviction],
    ) {
        self.in_vain(&AuditRecord {
            event: Some(request.event()),
            pod: &request.pod_id(),
            container: &request.container_id(),
            owners,
            evictions: &by_plugins(evictions),
        });
    }

    /// An observer asked for something by itself.
    pub(crate) fn unsolicited_disregarded(
        &self,
        plugin: &PluginId,
        updates: &[api::ContainerUpdate],
        evictions: &[api::ContainerEviction],
    ) {
        self.in_vain(&AuditRecord {
            event: None,
            pod: "",
            container: "",
            owners: &owners_of(plugin, updates),
            evictions: &evicted_by(plugin, evictions),
        });
    }

    fn in_vain(&self, record: &AuditRecord<'_>) {
        if !record.is_empty() {
            record.log_disregarded();
            self.observer.disregarded(record);
        }
    }

    /// An observer has missed events.
    pub(crate) fn fell_behind(&self, info: &PluginInfo, missed: usize) {
        let plugin = &info.plugin;
        tracing::warn!(
            %plugin, missed,
            "the plugin observes and took too long: it is synchronised again instead of being told what was kept for it"
        );
        self.metrics.record_missed(info.id(), missed);
        self.observer.plugin_fell_behind(info, missed);
    }

    /// Something that plugins asked for is not going to happen, and nothing fails for it.
    pub(crate) fn omitted(&self, omissions: &[Omission]) {
        for omission in omissions {
            self.observer.omitted(omission);
        }
        let (said, unsaid) = omissions.split_at(omissions.len().min(LINES_EACH));
        for omission in said {
            tracing::warn!(
                reason = sanitized(&omission.to_string()),
                "left out of what plugins ask for"
            );
        }
        if !unsaid.is_empty() {
            tracing::warn!(
                more = unsaid.len(),
                "left out of what plugins ask for, beside what was said"
            );
        }
    }

    /// The policy had something to say of what plugins asked for.
    pub(crate) fn judged(&self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            self.observer.policy_applied(verdict);
        }
        let (said, unsaid) = verdicts.split_at(verdicts.len().min(LINES_EACH));
        for verdict in said {
            let Verdict {
                plugin,
                rule,
                action,
                target,
                ..
            } = verdict;
            let field = target.name();
            let (rule, verdict) = (sanitized(rule), sanitized(&verdict.to_string()));
            if action.is_against() {
                tracing::warn!(target: "nri::audit", %plugin, rule, %action, field, "{verdict}");
            } else {
                tracing::info!(target: "nri::audit", %plugin, rule, %action, field, "{verdict}");
            }
        }
        if !unsaid.is_empty() {
            let more = unsaid.len();
            tracing::warn!(target: "nri::audit", more, "the policy had more to say than this");
        }
    }

    /// A peer did not become a plugin.
    pub(crate) fn refused(&self, peer: &str, reason: &str, what: &'static str) {
        self.log_refusal(peer, reason, what);
        self.observer.plugin_refused(peer, reason);
    }

    /// Logs that a peer did not become a plugin. Peers come as often as they like, so not every one
    /// gets a line.
    pub(crate) fn log_refusal(&self, peer: &str, reason: &str, what: &'static str) {
        let mut lines = self.lines_of_peers.lock();
        let next = lines.next(self.since.elapsed());
        drop(lines);
        if let Some(more) = next {
            let not_logged = (more > 0).then_some(more);
            tracing::warn!(peer, reason, not_logged, "{what}");
        }
    }

    /// A plugin asks for unsolicited updates.
    pub(crate) fn record_unsolicited(
        &self,
        plugin: &PluginId,
        updates: &[api::ContainerUpdate],
        evictions: &[api::ContainerEviction],
    ) {
        let owners = owners_of(plugin, updates);
        let evictions = evicted_by(plugin, evictions);
        self.audit(&AuditRecord {
            event: None,
            pod: "",
            container: "",
            owners: &owners,
            evictions: &evictions,
        });
    }

    fn audit(&self, record: &AuditRecord<'_>) {
        if !record.is_empty() {
            record.log();
            self.observer.adjusted(record);
        }
    }
}

/// Who asked for each eviction.
fn by_plugins(evictions: &[Eviction]) -> Vec<(String, Vec<PluginId>)> {
    let evictions = evictions.iter().map(|eviction| {
        let plugins = eviction.reasons.iter().map(|(plugin, _)| plugin.clone());
        (eviction.container_id.clone(), plugins.collect())
    });
    evictions.collect()
}

/// The same where one plugin asks for all.
fn evicted_by(
    plugin: &PluginId,
    evictions: &[api::ContainerEviction],
) -> Vec<(String, Vec<PluginId>)> {
    let evictions = evictions.iter();
    evictions
        .map(|eviction| (eviction.container_id.clone(), vec![plugin.clone()]))
        .collect()
}

/// Whether an answer asks for anything.
pub(crate) fn asks(response: &Response) -> bool {
    let (adjustment, updates, evictions) = asked_for(response);
    let adjusts = adjustment.is_some_and(|adjust| *adjust != api::ContainerAdjustment::default());
    adjusts || updates + evictions > 0
}

/// What an answer asks for: of the container concerned, and how many updates and evictions.
fn asked_for(response: &Response) -> (Option<&api::ContainerAdjustment>, usize, usize) {
    match response {
        Response::CreateContainer(response) => (
            response.adjust.as_ref(),
            response.update.len(),
            response.evict.len(),
        ),
        Response::UpdateContainer(response) => (None, response.update.len(), response.evict.len()),
        Response::StopContainer(response) => (None, response.update.len(), 0),
        _ => (None, 0, 0),
    }
}
