//! An observer that can be waited for.

use nri_adaptation::{
    AuditRecord, CallOutcome, DomainError, Observer, PluginCallReport, PluginInfo,
};
use nri_core::merge::Omission;
use nri_core::policy::Verdict;
use nri_core::{Event, PluginId, api};

use crate::support::Log;

/// Notices as words, with the calls in a list of their own.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) notices: Log<String>,
    pub(crate) calls: Log<(String, Event, CallOutcome)>,
}

impl Recorder {
    pub(crate) async fn wait_for(&self, notice: &str) -> Vec<String> {
        self.notices
            .wait(notice, |all| all.iter().any(|n| n.starts_with(notice)))
            .await
    }

    pub(crate) async fn wait_for_count(&self, notice: &str, count: usize) {
        let enough =
            |all: &Vec<String>| all.iter().filter(|n| n.starts_with(notice)).count() >= count;
        self.notices.wait(notice, enough).await;
    }
}

impl Observer for Recorder {
    fn plugin_call(&self, report: &PluginCallReport<'_>) {
        self.calls.push((
            report.plugin.to_string(),
            report.event,
            report.outcome.clone(),
        ));
    }
    fn plugin_connected(&self, plugin: &PluginInfo) {
        self.notices.push(format!("connected {}", plugin.plugin));
    }
    fn plugin_synchronized(&self, plugin: &PluginInfo) {
        self.notices.push(format!("synchronized {}", plugin.plugin));
    }
    fn plugin_disconnected(&self, plugin: &PluginInfo, reason: &str) {
        self.notices
            .push(format!("gone {}: {reason}", plugin.plugin));
    }
    fn adjusted(&self, record: &AuditRecord<'_>) {
        self.notices.push(format!("adjusted {}", record.to_line()));
    }
    fn omitted(&self, omission: &Omission) {
        self.notices.push(omission.to_string());
    }
    fn policy_applied(&self, verdict: &Verdict) {
        self.notices.push(verdict.to_string());
    }
    fn plugin_deprecated(&self, plugin: &PluginId, event: Event) {
        self.notices.push(format!("deprecated {plugin} {event}"));
    }
    fn plugin_refused(&self, peer: &str, reason: &str) {
        self.notices.push(format!("refused {peer}: {reason}"));
    }
    fn container_updated(
        &self,
        plugins: &[PluginId],
        update: &api::ContainerUpdate,
        result: Result<(), &DomainError>,
    ) {
        let id = &update.container_id;
        self.notices
            .push(format!("updated {id} for {plugins:?}: {result:?}"));
    }
    fn container_evicted(
        &self,
        container: &str,
        reasons: &[(PluginId, String)],
        result: Result<(), &DomainError>,
    ) {
        self.notices
            .push(format!("evicted {container} for {reasons:?}: {result:?}"));
    }
}
