//! What an instance tells about itself as it goes: to its observer, its metrics, its books and its log. The one place to which
//! whoever makes a call reports it.

use std::sync::PoisonError;
use std::time::Duration;

use nri_core::merge::{Eviction, Omission, Owners};
use nri_core::{Event, PluginId, Request, Response, api};

use crate::active::Active;
use crate::audit::{AuditRecord, owners_of};
use crate::endpoint::Failure;
use crate::instance::Instance;
use crate::metrics::ErrorClass;
use crate::observer::PluginCallReport;
use crate::rate::{NotYet, Rate};
use crate::readiness::Readiness;
use crate::text::sanitized;

/// How many lines of a kind one request gets in the log. What is more is counted.
pub(crate) const LINES_EACH: usize = 8;

/// The name under which joining is measured.
const SYNCHRONIZE: &str = "Synchronize";

impl Instance {
    /// A call is over. `active` is the plugin, if it was there at all.
    pub(crate) fn plugin_called(&self, active: Option<&Active>, report: &PluginCallReport<'_>) {
        if let Some(active) = active {
            active.statistics.record(report);
        }
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

    /// A plugin was shown what exists, or could not be.
    pub(crate) fn synchronize_called(
        &self,
        plugin: &PluginId,
        duration: Duration,
        result: &Result<Vec<api::ContainerUpdate>, Failure>,
    ) {
        self.metrics.record_latency(plugin, SYNCHRONIZE, duration);
        let outcome = match result {
            Ok(_) => Ok(()),
            Err(Failure::Status { code, .. }) => Err(ErrorClass::of_code(*code)),
            Err(Failure::Late) => Err(ErrorClass::DEADLINE_EXCEEDED),
            Err(Failure::Closed(_)) => Err(ErrorClass::CLOSED),
        };
        self.metrics.record_invocation(plugin, SYNCHRONIZE, outcome);
        if let Ok(updates) = result {
            self.metrics
                .record_adjustments(plugin, SYNCHRONIZE, None, updates.len(), 0);
        }
    }

    /// A plugin takes part from now on, or no more; or what is required has changed.
    pub(crate) fn plugins_changed(&self) {
        let required = &self.config().default_validator.required_plugins;
        // Whoever comes later looks later, so the last one to tell is right.
        self.readiness.send_if_modified(|readiness| {
            self.metrics.set_plugin_count(self.taking_part().len());
            // While a plugin takes over, the one before it is there too.
            let seats = self.seats();
            let there = seats.iter().filter(|active| active.is_there());
            let now = Readiness::of(required, there.map(|active| &active.plugin.id));
            let changed = *readiness != now;
            *readiness = now;
            changed
        });
    }

    /// Plugins asked for something in a request.
    pub(crate) fn asked(&self, request: &Request, owners: &Owners, evictions: &[Eviction]) {
        let evictions: Vec<_> = evictions
            .iter()
            .map(|eviction| {
                let plugins = eviction.reasons.iter().map(|(plugin, _)| plugin.clone());
                (eviction.container_id.clone(), plugins.collect())
            })
            .collect();
        self.audit(&AuditRecord {
            event: Some(request.event()),
            pod: request.pod().map_or("", |pod| &pod.id),
            container: request.container().map_or("", |container| &container.id),
            owners,
            evictions: &evictions,
        });
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

    /// A peer did not become a plugin.
    pub(crate) fn refused(&self, peer: &str, reason: &str, what: &'static str) {
        self.log_refusal(peer, reason, what);
        self.observer.plugin_refused(peer, reason);
    }

    /// Logs that a peer did not become a plugin. Peers come as often as they like, so not every one gets a line.
    pub(crate) fn log_refusal(&self, peer: &str, reason: &str, what: &'static str) {
        let lines = self.lines_of_peers.lock();
        let mut lines = lines.unwrap_or_else(PoisonError::into_inner);
        let next = lines.next(self.since.elapsed());
        drop(lines);
        if let Some(more) = next {
            let not_logged = (more > 0).then_some(more);
            tracing::warn!(peer, reason, not_logged, "{what}");
        }
    }

    /// Lets a plugin ask for so many updates and evictions on its own account, or when it is shown what exists.
    ///
    /// # Errors
    /// Why it may not now.
    pub(crate) fn may_ask(&self, plugin: &PluginId, count: usize) -> Result<(), String> {
        let config = self.config();
        let rate = Rate {
            per_second: config.update_rate_limit,
            burst: config.update_burst,
        };
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        // Asking for nothing costs something as well.
        let taken = asking.take(plugin, rate, count.max(1), self.since.elapsed());
        drop(asking);
        taken.map_err(|NotYet { wait, first }| {
            let (per_second, burst) = (rate.per_second, rate.burst);
            if first {
                tracing::warn!(
                    %plugin, per_second, burst,
                    "the plugin asks for more updates than it may, and is refused for now"
                );
            }
            format!(
                "plugin {plugin} asks for too many updates: {per_second} per second and {burst} at once are allowed \
                 (`update_rate_limit`, `update_burst`); try again in {wait:?}"
            )
        })
    }

    /// A plugin asks for something on its own account.
    pub(crate) fn asks(
        &self,
        plugin: &PluginId,
        updates: &[api::ContainerUpdate],
        evictions: &[api::ContainerEviction],
    ) {
        let owners = owners_of(plugin, updates);
        let evictions: Vec<_> = evictions
            .iter()
            .map(|eviction| (eviction.container_id.clone(), vec![plugin.clone()]))
            .collect();
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
