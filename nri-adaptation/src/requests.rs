//! The events of the API: what each hands in, and what it makes of the outcome.
//!
//! Events that may be refused end with their caller's future. Notifications (what has already happened) go on without it:
//! all plugins hear of them.

use std::sync::Arc;

use nri_core::flow::Report;
use nri_core::lifecycle::ObjectKey;
use nri_core::merge::{Eviction, MergedUpdate};
use nri_core::schedule::{RequestId, RequestOutcome};
use nri_core::validate::required;
use nri_core::{Ctx, Error, Event, Request, Settlement, StopResult, UpdateResult, api};
use tokio::time::timeout_at;
use tracing::Instrument as _;

use crate::dispatch::{Ended, Ticket};
use crate::instance::Instance;
use crate::subject::{Keys, Subject};

/// How many exits may be under way at a time. Of one more, plugins hear when its container is removed.
const MOST_EXITS: usize = 16_384;

/// A request that somebody waits for. If that ends early, the scheduler is told.
pub(crate) struct Waiting {
    instance: Arc<Instance>,
    object: ObjectKey,
    ticket: Ticket,
    over: bool,
}

impl Waiting {
    /// The request's number.
    pub(crate) fn request(&self) -> RequestId {
        self.ticket.request
    }

    /// What is asked.
    pub(crate) fn message(&self) -> &Arc<Request> {
        &self.ticket.message
    }

    /// Waits for the end. The scheduler minds the caller's deadline.
    pub(crate) async fn end(mut self) -> Ended {
        let ended = (&mut self.ticket.ended).await;
        self.over = true;
        ended.unwrap_or_else(|_| Err(Error::Instance("the request was given up".to_owned())))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let request = self.ticket.request;
        self.instance.act(|state, now| {
            state.scheduler.handle_abandoned(request, now);
            // Its success may have been on its way here.
            state.settle(request, &self.object, Settlement::Abandoned, now);
        });
    }
}

/// That the caller's time for a request is over.
pub(crate) fn out_of_time(request: &Request) -> Error {
    Error::OutOfTime {
        event: request.event(),
        subject: request.subject(),
    }
}

impl Instance {
    /// Hands in requests about one subject, with nothing between them.
    pub(crate) fn hand_in<const N: usize>(
        self: &Arc<Self>,
        cx: &Ctx,
        keys: &Keys,
        requests: [Request; N],
    ) -> [Waiting; N] {
        let tickets =
            self.act(|state, now| requests.map(|request| state.hand_in(cx, keys, request, now)));
        tickets.map(|ticket| Waiting {
            instance: Arc::clone(self),
            object: keys.object().clone(),
            ticket,
            over: false,
        })
    }

    /// Relays an event whose answers say nothing.
    pub(crate) async fn tell(
        self: &Arc<Self>,
        cx: &Ctx,
        keys: &Keys,
        request: Request,
    ) -> Result<(), Error> {
        let [waiting] = self.hand_in(cx, keys, [request]);
        waiting.end().await?.result.map(drop)
    }

    /// Runs a pod, which plugins may refuse; so may the lack of a plugin that it requires.
    pub(crate) async fn run_pod(self: &Arc<Self>, cx: &Ctx, subject: Subject) -> Result<(), Error> {
        let keys = subject.keys.clone();
        let [waiting] = self.hand_in(cx, &keys, [subject.into_request(Event::RunPodSandbox)?]);
        let message = Arc::clone(waiting.message());
        let Report {
            result, outcomes, ..
        } = waiting.end().await?;
        result?;
        let (Some((validator, options)), Some(pod)) = (self.requirements(), message.pod()) else {
            return Ok(());
        };
        required::check_pod(&options, pod, &outcomes).map_err(|rejection| Error::Refused {
            pod: message.subject(),
            validator,
            reason: rejection.to_string(),
        })
    }

    /// Tells of a removal. It implies the stop, which goes before it if it is still due.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        cx: &Ctx,
        subject: Subject,
        [stop, remove]: [Event; 2],
    ) -> Result<(), Error> {
        let keys = subject.keys.clone();
        let both = [
            subject.clone().into_request(stop)?,
            subject.into_request(remove)?,
        ];
        let [stopped, removed] = self.hand_in(cx, &keys, both);
        match stopped.end().await.and_then(|report| report.result) {
            Err(error @ Error::OutOfTime { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the stop that a removal implies went wrong");
            }
            Ok(_) => {}
        }
        removed.end().await?.result.map(drop)
    }

    pub(crate) async fn stop_container(
        self: &Arc<Self>,
        cx: &Ctx,
        subject: Subject,
    ) -> Result<StopResult, Error> {
        let keys = subject.keys.clone();
        let [waiting] = self.hand_in(cx, &keys, [subject.into_request(Event::StopContainer)?]);
        let Report {
            result, outcomes, ..
        } = waiting.end().await?;
        Ok(match result? {
            RequestOutcome::Stop(asked) => StopResult::new(asked, outcomes),
            _ => StopResult::default(),
        })
    }

    /// Queues the exit of a container. It has its place in the pod's order when this returns.
    ///
    /// # Errors
    /// Too many wait already.
    pub(crate) fn notify_exit(self: &Arc<Self>, mut subject: Subject) -> Result<(), Error> {
        if let Some(container) = &mut subject.container {
            container.set_state(api::ContainerState::ContainerStopped);
        }
        let keys = subject.keys.clone();
        let request = subject.into_request(Event::StopContainer)?;
        let taken = self.act(|state, now| state.hand_in_exit(&keys, request, MOST_EXITS, now));
        match taken {
            true => Ok(()),
            false => Err(Error::Instance(format!(
                "{MOST_EXITS} exits wait to be relayed; plugins hear of that of {} when it is removed",
                keys.object()
            ))),
        }
    }

    pub(crate) async fn update_container(
        self: &Arc<Self>,
        cx: &Ctx,
        subject: Subject,
        resources: Option<api::LinuxResources>,
    ) -> Result<UpdateResult, Error> {
        let keys = subject.keys;
        let request = Request::UpdateContainer(api::UpdateContainerRequest {
            pod: Some(subject.pod),
            container: subject.container,
            // Plugins look into it without asking, as runtimes in Go always send one.
            linux_resources: Some(resources.unwrap_or_default()),
        });
        let [waiting] = self.hand_in(cx, &keys, [request]);
        let message = Arc::clone(waiting.message());
        let Report {
            result, outcomes, ..
        } = waiting.end().await?;
        let RequestOutcome::Update(asked) = result? else {
            return Ok(UpdateResult::default());
        };
        self.asked(&message, &asked.owners, &asked.evictions);
        self.omitted(&asked.omissions);
        self.side_effects_in_time(cx, &keys, &message, &asked.evictions, &asked.updates)
            .await?;
        let mut result = UpdateResult::default();
        result.resources = asked
            .requested
            .and_then(|merged| merged.update.linux)
            .and_then(|linux| linux.resources);
        result.updates = asked.updates;
        result.evictions = asked.evictions;
        result.outcomes = outcomes;
        Ok(result)
    }

    /// Carries out what plugins asked for by the way, as long as the caller has time.
    pub(crate) async fn side_effects_in_time(
        &self,
        cx: &Ctx,
        keys: &Keys,
        request: &Request,
        evictions: &[Eviction],
        updates: &[MergedUpdate],
    ) -> Result<(), Error> {
        if evictions.is_empty() && updates.is_empty() {
            return Ok(());
        }
        let effects = self
            .side_effects(cx, evictions, updates)
            .instrument(keys.span(request.event(), cx));
        match cx.deadline() {
            None => effects.await,
            Some(deadline) => match timeout_at(deadline.into(), effects).await {
                Ok(done) => done,
                Err(_) => Err(out_of_time(request)),
            },
        }
    }
}
