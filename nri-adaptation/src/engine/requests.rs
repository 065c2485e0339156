//! The events of the API: what each hands in, and what it makes of the outcome.
//!
//! Events that may be refused end with their caller's future. Notifications (what has already
//! happened) go on without it: all plugins hear of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nri_core::flow::Report;
use nri_core::lifecycle::ObjectKey;
use nri_core::schedule::{RequestId, RequestOutcome};
use nri_core::validate::{DefaultValidator, ValidatorOptions, required};
use nri_core::{
    Ctx, EncodedRequest, Error, Event, InstanceError, PluginId, Settlement, StopResult,
    UpdateResult, api,
};
use tracing::Span;

use crate::config::Config;
use crate::engine::driver::Engine;
use crate::engine::side_effects::CarriedOut;
use crate::engine::state::{Ended, Stopped, Submitted};
use crate::engine::target::{Keys, RequestTarget};

/// How many exits may be under way at a time. Of one more, plugins hear when its container is
/// removed.
const MOST_EXITS: usize = 16_384;

/// A request that somebody waits for. If that ends early, the scheduler is told.
pub(crate) struct PendingRequest {
    engine: Arc<Engine>,
    object: ObjectKey,
    submitted: Submitted,
    carried_out: CarriedOut,
    over: bool,
}

impl PendingRequest {
    /// The request's number.
    pub(crate) fn request(&self) -> RequestId {
        self.submitted.request
    }

    /// What is asked.
    pub(crate) fn message(&self) -> &Arc<EncodedRequest> {
        &self.submitted.message
    }

    /// Waits for the end. The scheduler minds the caller's deadline.
    pub(crate) async fn end(mut self) -> Ended {
        let ended = (&mut self.submitted.ended).await;
        self.over = true;
        ended.unwrap_or_else(|_| Err(InstanceError::GivenUp.into()))
    }
}

impl PendingRequest {
    /// Does what the answers to a stop ask for, where the caller was to do that and has left.
    fn carry_out_what_is_left(&mut self) {
        if self.carried_out == CarriedOut::ByDomain {
            return;
        }
        // What is not there by now is not handed over any more.
        self.submitted.ended.close();
        if let Ok(Ok(report)) = self.submitted.ended.try_recv() {
            self.engine.carry_out_unheard(report);
        }
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.carry_out_what_is_left();
        let request = self.submitted.request;
        self.engine.update(|state, now| {
            state.scheduler.handle_abandoned(request, now);
            // Its success may have been on its way here.
            state.settle(request, &self.object, Settlement::Abandoned, now);
        });
    }
}

impl Engine {
    /// Submits requests about one target, with nothing between them.
    pub(crate) fn submit<const N: usize>(
        self: &Arc<Self>,
        cx: &Ctx,
        keys: &Keys,
        requests: [EncodedRequest; N],
    ) -> [PendingRequest; N] {
        self.submit_for(cx, keys, requests, CarriedOut::ByDomain)
    }

    /// The same, where the caller may be the one who carries out what plugins ask for.
    fn submit_for<const N: usize>(
        self: &Arc<Self>,
        cx: &Ctx,
        keys: &Keys,
        requests: [EncodedRequest; N],
        carried_out: CarriedOut,
    ) -> [PendingRequest; N] {
        let submitted = self.update(|state, now| {
            requests.map(|request| state.submit(cx, keys, request, carried_out, now))
        });
        submitted.map(|submitted| PendingRequest {
            engine: Arc::clone(self),
            object: keys.object().clone(),
            submitted,
            carried_out,
            over: false,
        })
    }

    /// Does what plugins asked for when a container was stopped, though nobody waits for it.
    fn carry_out_unheard(self: &Arc<Self>, report: Report<RequestOutcome>) {
        let updates = match &report.result {
            Ok(RequestOutcome::Stop(stop)) => stop.updates.len(),
            _ => 0,
        };
        if updates > 0 {
            self.carry_out(Stopped {
                completion: None,
                report,
                message: None,
                cx: Ctx::new(),
                span: Span::current(),
                carried_out: CarriedOut::ByDomain,
            });
        }
    }

    /// Whether an event need not be looked at: no plugin wants to hear of it, and it is no step in
    /// the life of what it is about. Allocates nothing and takes no lock.
    pub(crate) fn is_unheard(&self, event: Event) -> bool {
        let is_no_step = matches!(
            event,
            Event::PostCreateContainer
                | Event::PostStartContainer
                | Event::PostUpdateContainer
                | Event::UpdatePodSandbox
                | Event::PostUpdatePodSandbox
        );
        // That something is told of a container shows that its creation came to something.
        is_no_step && !self.dispatch.is_heard(event) && self.unsettled.load(Ordering::Acquire) == 0
    }

    /// Relays an event whose answers say nothing.
    pub(crate) async fn notify_plugins(
        self: &Arc<Self>,
        cx: &Ctx,
        keys: &Keys,
        request: EncodedRequest,
    ) -> Result<(), Error> {
        let [pending] = self.submit(cx, keys, [request]);
        pending.end().await?.result.map(drop)
    }

    /// Has the resources of a pod changed, which plugins may refuse.
    pub(crate) async fn update_pod(
        self: &Arc<Self>,
        cx: &Ctx,
        target: RequestTarget,
        overhead: Option<api::LinuxResources>,
        resources: Option<api::LinuxResources>,
    ) -> Result<(), Error> {
        let request = target.encoded.update_pod_sandbox(overhead, resources);
        self.notify_plugins(cx, &target.keys, request).await
    }

    /// Runs a pod, which plugins may refuse; so may the lack of a plugin that it requires.
    pub(crate) async fn run_pod(
        self: &Arc<Self>,
        cx: &Ctx,
        target: RequestTarget,
    ) -> Result<(), Error> {
        let keys = target.keys.clone();
        let [pending] = self.submit(cx, &keys, [target.request(Event::RunPodSandbox)?]);
        let message = Arc::clone(pending.message());
        let Report {
            result, outcomes, ..
        } = pending.end().await?;
        result?;
        let requirements = requirements(&self.shared.config());
        let (Some((validator, options)), Some(pod)) = (requirements, message.pod()) else {
            return Ok(());
        };
        required::check_pod(&options, pod, &outcomes).map_err(|rejection| Error::Refused {
            pod: message.subject(),
            validator,
            reason: rejection.to_string(),
        })
    }

    /// Tells of a removal. It implies the stop, which goes before it if it is still due.
    pub(crate) async fn relay_removal(
        self: &Arc<Self>,
        cx: &Ctx,
        target: RequestTarget,
        [stop, remove]: [Event; 2],
        carried_out: CarriedOut,
    ) -> Result<(), Error> {
        let keys = target.keys.clone();
        let both = [target.request(stop)?, target.request(remove)?];
        let [stopped, removed] = self.submit_for(cx, &keys, both, carried_out);
        match stopped.end().await {
            Ok(report) if report.result.is_ok() => {
                // The caller has no place for it, and does not wait for the domain either.
                if carried_out == CarriedOut::ByCaller {
                    self.carry_out_unheard(report);
                }
            }
            Err(error @ Error::OutOfTime { .. })
            | Ok(Report {
                result: Err(error @ Error::OutOfTime { .. }),
                ..
            }) => return Err(error),
            Err(error)
            | Ok(Report {
                result: Err(error), ..
            }) => {
                tracing::warn!(%error, "the stop that a removal implies went wrong");
            }
            Ok(_) => {}
        }
        removed.end().await?.result.map(drop)
    }

    pub(crate) async fn stop_container(
        self: &Arc<Self>,
        cx: &Ctx,
        target: RequestTarget,
        carried_out: CarriedOut,
    ) -> Result<StopResult, Error> {
        let keys = target.keys.clone();
        let stop = target.request(Event::StopContainer)?;
        let [pending] = self.submit_for(cx, &keys, [stop], carried_out);
        let Report {
            result, outcomes, ..
        } = pending.end().await?;
        Ok(match result? {
            RequestOutcome::Stop(asked) => StopResult::new(asked, outcomes),
            _ => StopResult::default(),
        })
    }

    /// Queues the exit of a container. It has its place in the pod's order when this returns.
    ///
    /// # Errors
    /// Too many wait already.
    pub(crate) fn notify_exit(self: &Arc<Self>, target: RequestTarget) -> Result<(), Error> {
        let keys = target.keys.clone();
        let request = target.request(Event::StopContainer)?;
        let taken = self.update(|state, now| state.submit_exit(&keys, request, MOST_EXITS, now));
        match taken {
            true => Ok(()),
            false => Err(Error::from(InstanceError::TooManyExits {
                limit: MOST_EXITS,
                container: keys.object().to_string(),
            })),
        }
    }

    pub(crate) async fn update_container(
        self: &Arc<Self>,
        cx: &Ctx,
        target: RequestTarget,
        resources: Option<api::LinuxResources>,
        carried_out: CarriedOut,
    ) -> Result<UpdateResult, Error> {
        // Plugins look into it without asking, as runtimes in Go always send one.
        let resources = resources.unwrap_or_default();
        let request = target.encoded.update_container(resources);
        let keys = target.keys;
        let [pending] = self.submit(cx, &keys, [request]);
        let message = Arc::clone(pending.message());
        let Report {
            result, outcomes, ..
        } = pending.end().await?;
        let RequestOutcome::Update(asked) = result? else {
            return Ok(UpdateResult::default());
        };
        let reporter = &self.shared.reporter;
        reporter.record_requested_changes(&message, &asked.owners, &asked.evictions);
        reporter.omitted(&asked.omissions);
        if carried_out == CarriedOut::ByDomain {
            self.side_effects
                .apply_in_time(cx, &keys, &message, &asked.evictions, &asked.updates)
                .await?;
        }
        Ok(UpdateResult::new(*asked, outcomes))
    }
}

/// What the default validator, where it is enabled, requires of pods.
fn requirements(config: &Config) -> Option<(PluginId, ValidatorOptions)> {
    let validator = &config.default_validator;
    let id = DefaultValidator::IDENTITY.parse().ok()?;
    validator.enable.then(|| (id, validator.into()))
}
