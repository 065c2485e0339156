//! Judging the updates that no event asked for: what plugins ask for on their own account, or when they are shown what
//! exists. Validators that judge updates are asked before anything is applied; those that an event asked for are judged by
//! the event's own flow.
//!
//! This goes beside the scheduler: a plugin may ask for an update from inside a handler and wait for it, so the update must
//! not wait for a slot or a turn that this very request holds. Nor is a plugin asked to judge what it asks for itself.

use std::sync::Arc;

use nri_core::flow::{Call, Flow, Member, Reply, Report, Roster, Step, ValidateFlow};
use nri_core::merge::{StopMerge, StopOutcome};
use nri_core::schedule::Came;
use nri_core::{Error, Event, PluginId, RegisteredPlugin, api};
use prost::Message as _;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::active::Active;
use crate::call::outcome;
use crate::dispatch::now;
use crate::endpoint::Failure;
use crate::instance::Instance;
use crate::observer::PluginCallReport;
use crate::prepared::{Preparation, Prepared};

impl Instance {
    /// Has an update judged that a plugin asks for.
    ///
    /// Dropping the future drops the question; validators that were asked may still answer.
    ///
    /// # Errors
    /// A validator does not accept it, or does not answer.
    pub(crate) async fn judge(
        &self,
        plugin: &PluginId,
        update: &api::ContainerUpdate,
    ) -> Result<(), Error> {
        let (roster, validators) = self.judges(plugin);
        if validators.is_empty() {
            return Ok(());
        }
        let (pod, container) = self.domains.container_and_pod(&update.container_id).await;
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
        let Some(mut flow) = ValidateFlow::of_updates(&roster, request) else {
            return Ok(());
        };
        flow.fits(plugin, update.encoded_len())?;
        let mut preparation = Preparation::default();
        let mut calls = JoinSet::new();
        loop {
            match flow.next() {
                Step::Call(Call { plugin, request }) => {
                    let active = validators.iter().find(|active| active.plugin == plugin);
                    match active {
                        Some(active) => {
                            calls.spawn(ask(Arc::clone(active), preparation.of(request)));
                        }
                        None => flow.answer(&plugin, Reply::Gone { delivered: false }),
                    }
                }
                Step::Wait => match calls.join_next().await {
                    Some(Ok((plugin, reply, began))) => {
                        let active = validators.iter().find(|active| active.plugin == plugin);
                        let active = active.map(|active| &**active);
                        self.report_judging(&plugin, active, update, &reply, began);
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

    /// Those who judge what a plugin asks for, now.
    fn judges(&self, plugin: &PluginId) -> (Roster, Vec<Arc<Active>>) {
        let state = self.dispatch.lock();
        let judges = |member: &&Member| {
            member.validates_updates
                && member.events.contains(Event::ValidateContainerAdjustment)
                && member.plugin.id != *plugin
        };
        let mut members = Vec::new();
        let mut validators = Vec::new();
        for member in state.scheduler.roster().members().iter().filter(judges) {
            // One that is not synchronised knows of nothing that it could judge.
            let seat = state.seats.get(&member.plugin);
            if let Some(seat) = seat.filter(|seat| seat.active.is_synchronized()) {
                members.push(member.clone());
                validators.push(Arc::clone(&seat.active));
            }
        }
        (Roster::new(members), validators)
    }

    fn report_judging(
        &self,
        plugin: &RegisteredPlugin,
        active: Option<&Active>,
        update: &api::ContainerUpdate,
        reply: &Reply,
        began: std::time::Instant,
    ) {
        let report = PluginCallReport {
            plugin,
            event: Event::ValidateContainerAdjustment,
            pod: "",
            container: &update.container_id,
            started: began,
            duration: now().saturating_duration_since(began),
            outcome: &outcome(&Came::from(reply)),
            tag: None,
        };
        self.plugin_called(active, &report);
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
async fn ask(
    active: Arc<Active>,
    request: Arc<Prepared>,
) -> (RegisteredPlugin, Reply, std::time::Instant) {
    let began = now();
    let time = active.settings().request_timeout;
    let relaying = active.endpoint.relay(request, time);
    let reply = match timeout(time, relaying.answer).await {
        Ok(Ok(response)) => Reply::Answer(response),
        Ok(Err(Failure::Status { code, message })) => Reply::Error { code, message },
        Ok(Err(Failure::Closed(_))) => Reply::Gone {
            delivered: relaying.delivered.get(),
        },
        Ok(Err(Failure::Late)) | Err(_) => Reply::Late { after: time },
    };
    (active.plugin.clone(), reply, began)
}
