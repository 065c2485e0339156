//! Reviewing the updates that no event asked for: unsolicited ones, and those of plugins that are
//! synchronised. Validators that judge updates are asked before anything is applied; updates in
//! answers to an event are judged by the event's own flow.
//!
//! This goes beside the scheduler: a plugin may ask for an update from inside a handler and wait
//! for it, so the update must not wait for a slot or a turn that this very request holds. Nor is a
//! plugin asked to judge what it asks for itself.

use std::sync::Arc;
use std::time::Instant;

use nri_core::flow::{Call, Flow, Member, Reply, Report, Roster, Step, ValidateFlow};
use nri_core::merge::{StopMerge, StopOutcome};
use nri_core::schedule::CallOutcome;
use nri_core::{EncodedRequest, Error, Event, PluginId, RegisteredPlugin, api};
use prost::Message as _;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::now;
use crate::engine::call::reply;
use crate::engine::domains::Domains;
use crate::engine::state::State;
use crate::plugin::connected::ConnectedPlugin;
use crate::plugin::endpoint::ask;
use crate::plugin::failure::Failure;
use crate::telemetry::call_report::PluginCallReport;
use crate::telemetry::reporter::Reporter;

/// Those who review what a plugin asks for.
pub(crate) struct Reviewers {
    roster: Roster,
    validators: Vec<Arc<ConnectedPlugin>>,
}

impl Reviewers {
    /// Those of what this plugin asks for now.
    pub(crate) fn of(state: &State, plugin: &PluginId) -> Self {
        let reviews = |member: &&Member| {
            member.validates_updates
                && member.events.contains(Event::ValidateContainerAdjustment)
                && member.plugin.id != *plugin
        };
        let mut members = Vec::new();
        let mut validators = Vec::new();
        for member in state.scheduler.roster().members().iter().filter(reviews) {
            // One that is not synchronised knows of nothing that it could judge.
            let entry = state.plugins.get(&member.plugin);
            if let Some(entry) = entry.filter(|entry| entry.connected.is_synchronized()) {
                members.push(member.clone());
                validators.push(Arc::clone(&entry.connected));
            }
        }
        Self {
            roster: Roster::new(members),
            validators,
        }
    }

    /// Has them review an update that a plugin asks for.
    ///
    /// Dropping the future drops the question; validators that were asked may still answer.
    ///
    /// # Errors
    /// A validator does not accept it, or does not answer.
    pub(crate) async fn review(
        &self,
        domains: &Domains,
        reporter: &Reporter,
        plugin: &PluginId,
        update: &api::ContainerUpdate,
    ) -> Result<(), Error> {
        if self.validators.is_empty() {
            return Ok(());
        }
        let (pod, container) = domains.container_and_pod(&update.container_id).await;
        let asked = merged(plugin, update);
        let request = || api::ValidateContainerAdjustmentRequest {
            pod,
            // Its id is known even if the container is not.
            container: container.or_else(|| {
                Some(api::Container {
                    id: update.container_id.clone(),
                    ..Default::default()
                })
            }),
            adjust: None,
            update: vec![update.clone()],
            owners: Some(asked.owners.to_message()),
            plugins: vec![api::PluginInstance {
                name: plugin.name().to_string(),
                index: plugin.index().to_string(),
            }],
        };
        let Some(mut flow) = ValidateFlow::of_updates(&self.roster, request) else {
            return Ok(());
        };
        flow.fits(plugin, update.encoded_len())?;
        let mut calls = JoinSet::new();
        loop {
            match flow.next() {
                Step::Call(Call { plugin, request }) => match self.validator(&plugin) {
                    Some(validator) => {
                        calls.spawn(judged(Arc::clone(validator), request));
                    }
                    None => flow.answer(&plugin, Reply::Gone { delivered: false }),
                },
                Step::Wait => match calls.join_next().await {
                    Some(Ok((plugin, reply, began))) => {
                        self.report(reporter, &plugin, update, &reply, began);
                        flow.answer(&plugin, reply);
                    }
                    // Whoever was not heard does not accept.
                    Some(Err(_)) => {}
                    None => break,
                },
                Step::Done => break,
            }
        }
        let Report { result, .. } = flow.finish();
        result
    }

    fn validator(&self, plugin: &RegisteredPlugin) -> Option<&Arc<ConnectedPlugin>> {
        let mut validators = self.validators.iter();
        validators.find(|validator| validator.plugin == *plugin)
    }

    fn report(
        &self,
        reporter: &Reporter,
        plugin: &RegisteredPlugin,
        update: &api::ContainerUpdate,
        reply: &Reply,
        began: Instant,
    ) {
        let report = PluginCallReport {
            plugin,
            event: Event::ValidateContainerAdjustment,
            pod: "",
            container: &update.container_id,
            started: began,
            duration: now().saturating_duration_since(began),
            outcome: &CallOutcome::from(reply),
            tag: None,
        };
        if let Some(validator) = self.validator(plugin) {
            validator.statistics.record(&report);
        }
        reporter.plugin_called(&report);
    }
}

/// What a single plugin's update comes to, with its owner.
fn merged(plugin: &PluginId, update: &api::ContainerUpdate) -> StopOutcome {
    let plugin = RegisteredPlugin {
        id: plugin.clone(),
        registration: 0,
    };
    let mut merge = StopMerge::new();
    let response = api::StopContainerResponse {
        update: vec![update.clone()],
    };
    // Nothing can clash with the only one.
    let _ = merge.apply(&plugin, response);
    merge.finish()
}

/// Asks a validator, within its time.
async fn judged(
    validator: Arc<ConnectedPlugin>,
    request: Arc<EncodedRequest>,
) -> (RegisteredPlugin, Reply, Instant) {
    let began = now();
    let time = validator.settings().request_timeout;
    let answer = timeout(time, ask(&*validator.endpoint, request, time)).await;
    let reply = reply(answer.unwrap_or(Err(Failure::Late)), time, true);
    (validator.plugin.clone(), reply, began)
}
