//! What becomes of a request that is not a creation: its place in its pod's line, its gate, its flow, its side effects.
//!
//! Events that may be refused run in the caller's future, and end with it. Notifications (what has already happened) run in a
//! task of their own: all plugins hear of them, whatever becomes of the caller.

use std::future::Future;
use std::sync::Arc;

use nri_core::flow::{Flow, NotifyFlow, Report, StopFlow, UpdateFlow};
use nri_core::lifecycle::Due;
use nri_core::merge::StopOutcome;
use nri_core::{Ctx, Error, Event, Request, StopResult, UpdateResult, api};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::drive::{OutOfTime, drive};
use crate::instance::Instance;
use crate::pods::{Place, Slot};
use crate::roster::View;
use crate::subject::Subject;

/// Resolves when the caller's time is over; never, if it has no limit.
async fn time_over(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

pub(crate) fn deadline(cx: &Ctx) -> Option<Instant> {
    cx.deadline().map(Instant::from_std)
}

/// Runs a future until the caller's time is over.
pub(crate) async fn in_time<T>(
    deadline: Option<Instant>,
    future: impl Future<Output = T>,
) -> Result<T, OutOfTime> {
    tokio::select! {
        biased;
        done = future => Ok(done),
        () = time_over(deadline) => Err(OutOfTime),
    }
}

impl Subject {
    pub(crate) fn out_of_time(&self, event: Event) -> Error {
        Error::OutOfTime {
            event,
            subject: self.in_words(),
        }
    }
}

impl Instance {
    /// Waits for the first place in a line, as long as the caller does.
    pub(crate) async fn first(
        &self,
        cx: &Ctx,
        event: Event,
        subject: &Subject,
        place: Place,
    ) -> Result<Slot, Error> {
        in_time(deadline(cx), place.first())
            .await
            .map_err(|OutOfTime| subject.out_of_time(event))
    }

    /// Relays an event that plugins may refuse and cannot change. It counts as happened from its beginning, so that what the
    /// runtime does to undo it reaches the plugins.
    pub(crate) async fn propose(
        &self,
        cx: &Ctx,
        subject: &Subject,
        request: Request,
    ) -> Result<(), Error> {
        let event = request.event();
        let about = subject.about(event);
        let work = async {
            let slot = self
                .first(cx, event, subject, self.line_up(subject))
                .await?;
            let (view, ticket) = self.rosters.begin(Some(subject.key()));
            // These are always due.
            let _ = self.lives().begin(subject.key(), event)?;
            let mut flow = NotifyFlow::new(&view.roster, request);
            drive(self, &mut flow, &view, &about, deadline(cx))
                .await
                .map_err(|OutOfTime| subject.out_of_time(event))?;
            drop((slot, ticket));
            flow.finish().result
        };
        work.instrument(about.span(cx)).await
    }

    /// Runs a notification to its end in a task of its own, and waits for it as long as the caller does.
    async fn see_through<F, T>(
        &self,
        cx: &Ctx,
        event: Event,
        subject: Arc<Subject>,
        work: F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        let span = subject.about(event).span(cx);
        let Some(task) = self.tasks.spawn(work.instrument(span)) else {
            return Err(Error::Instance(
                "there is no tokio runtime to notify plugins in".to_owned(),
            ));
        };
        match in_time(deadline(cx), task).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(Error::Instance(format!(
                "{event} ended unexpectedly: {error}"
            ))),
            Err(OutOfTime) => Err(subject.out_of_time(event)),
        }
    }

    /// Tells all plugins of something that has no gate and no consequences.
    pub(crate) async fn announce(
        self: &Arc<Self>,
        cx: &Ctx,
        subject: Arc<Subject>,
        event: Event,
    ) -> Result<(), Error> {
        let place = self.line_up(&subject);
        let (instance, about) = (Arc::clone(self), Arc::clone(&subject));
        self.see_through(cx, event, about, async move {
            let _slot = place.first().await;
            let (view, _ticket) = instance.rosters.begin(Some(subject.key()));
            instance.tell(&view, &subject, event).await
        })
        .await
    }

    /// Tells all plugins of a view of something.
    pub(crate) async fn tell(
        &self,
        view: &View,
        subject: &Subject,
        event: Event,
    ) -> Result<(), Error> {
        let Some(request) = subject.plain_request(event) else {
            return Err(Error::Invalid(format!("{event} is no plain notification")));
        };
        let mut flow = NotifyFlow::new(&view.roster, request);
        // Without a deadline, so the time cannot be over.
        let _ = drive(self, &mut flow, view, &subject.about(event), None).await;
        flow.finish().result
    }

    /// Tells all plugins of a view that a container was stopped.
    pub(crate) async fn tell_stop(&self, view: &View, subject: &Subject) -> Report<StopOutcome> {
        let request = api::StopContainerRequest {
            pod: Some(subject.pod.clone()),
            container: subject.container_message(),
        };
        let mut flow = StopFlow::new(&view.roster, request);
        // Without a deadline, so the time cannot be over.
        let _ = drive(
            self,
            &mut flow,
            view,
            &subject.about(Event::StopContainer),
            None,
        )
        .await;
        flow.finish()
    }

    /// Begins a step in the life of a subject.
    fn step(&self, subject: &Subject, event: Event) -> Result<Due, Error> {
        Ok(self.lives().begin(subject.key(), event)?)
    }

    /// Tells all plugins of a view what is due of a container's end.
    pub(crate) async fn tell_end(
        &self,
        view: &View,
        subject: &Subject,
        due: Due,
    ) -> (Option<Report<StopOutcome>>, Result<(), Error>) {
        let stopped = match due {
            Due::StopFirst => Some(self.tell_stop(view, subject).await),
            Due::Nothing | Due::Event => None,
        };
        let removed = match due {
            Due::Nothing => Ok(()),
            Due::Event | Due::StopFirst => self.tell(view, subject, Event::RemoveContainer).await,
        };
        (stopped, removed)
    }

    /// Carries out what the answers to a stop asked for.
    pub(crate) async fn after_stop(
        &self,
        cx: &Ctx,
        stopped: Option<Report<StopOutcome>>,
    ) -> Result<StopResult, Error> {
        let Some(Report {
            result, outcomes, ..
        }) = stopped
        else {
            return Ok(StopResult::default());
        };
        let asked = result?;
        self.side_effects(cx, &[], &asked.updates).await?;
        Ok(StopResult::new(asked, outcomes))
    }

    /// The stop of a container, from its place in the line to its side effects.
    pub(crate) async fn stop_work(
        self: Arc<Self>,
        cx: Ctx,
        subject: Arc<Subject>,
        place: Place,
    ) -> Result<StopResult, Error> {
        let slot = place.first().await;
        let (view, ticket) = self.rosters.begin(Some(subject.key()));
        let stopped = match self.step(&subject, Event::StopContainer)? {
            Due::Nothing => None,
            Due::Event | Due::StopFirst => Some(self.tell_stop(&view, &subject).await),
        };
        // A domain may call back into the API from here on.
        drop((slot, ticket));
        self.after_stop(&cx, stopped).await
    }

    pub(crate) async fn stop_container(
        self: &Arc<Self>,
        cx: &Ctx,
        subject: Arc<Subject>,
    ) -> Result<StopResult, Error> {
        let place = self.line_up(&subject);
        let work = Arc::clone(self).stop_work(cx.clone(), Arc::clone(&subject), place);
        self.see_through(cx, Event::StopContainer, subject, work)
            .await
    }

    pub(crate) async fn remove_container(
        self: &Arc<Self>,
        cx: &Ctx,
        subject: Arc<Subject>,
    ) -> Result<(), Error> {
        let place = self.line_up(&subject);
        let (instance, about, inner) = (Arc::clone(self), Arc::clone(&subject), cx.clone());
        self.see_through(cx, Event::RemoveContainer, about, async move {
            let slot = place.first().await;
            let (view, ticket) = instance.rosters.begin(Some(subject.key()));
            let due = instance.step(&subject, Event::RemoveContainer)?;
            let (stopped, removed) = instance.tell_end(&view, &subject, due).await;
            drop((slot, ticket));
            if let Err(error) = instance.after_stop(&inner, stopped).await {
                tracing::warn!(%error, "the stop that a removal implies went wrong");
            }
            removed
        })
        .await
    }

    pub(crate) async fn stop_pod(
        self: &Arc<Self>,
        cx: &Ctx,
        subject: Arc<Subject>,
    ) -> Result<(), Error> {
        let place = self.line_up(&subject);
        let (instance, about) = (Arc::clone(self), Arc::clone(&subject));
        self.see_through(cx, Event::StopPodSandbox, about, async move {
            let _slot = place.first().await;
            let (view, _ticket) = instance.rosters.begin(Some(subject.key()));
            match instance.step(&subject, Event::StopPodSandbox)? {
                Due::Nothing => Ok(()),
                _ => instance.tell(&view, &subject, Event::StopPodSandbox).await,
            }
        })
        .await
    }

    pub(crate) async fn remove_pod(
        self: &Arc<Self>,
        cx: &Ctx,
        subject: Arc<Subject>,
    ) -> Result<(), Error> {
        let place = self.line_up(&subject);
        let (instance, about) = (Arc::clone(self), Arc::clone(&subject));
        self.see_through(cx, Event::RemovePodSandbox, about, async move {
            let _slot = place.first().await;
            let (view, _ticket) = instance.rosters.begin(Some(subject.key()));
            let due = instance.step(&subject, Event::RemovePodSandbox)?;
            if due == Due::StopFirst
                && let Err(error) = instance.tell(&view, &subject, Event::StopPodSandbox).await
            {
                tracing::warn!(%error, "the stop that a removal implies went wrong");
            }
            match due {
                Due::Nothing => Ok(()),
                _ => {
                    instance
                        .tell(&view, &subject, Event::RemovePodSandbox)
                        .await
                }
            }
        })
        .await
    }

    pub(crate) async fn update_container(
        &self,
        cx: &Ctx,
        subject: &Subject,
        resources: Option<api::LinuxResources>,
    ) -> Result<UpdateResult, Error> {
        let event = Event::UpdateContainer;
        let about = subject.about(event);
        let late = |OutOfTime| subject.out_of_time(event);
        let work = async {
            let slot = self
                .first(cx, event, subject, self.line_up(subject))
                .await?;
            let (view, ticket) = self.rosters.begin(Some(subject.key()));
            let request = api::UpdateContainerRequest {
                pod: Some(subject.pod.clone()),
                container: subject.container_message(),
                linux_resources: resources,
            };
            let mut flow = UpdateFlow::new(&view.roster, request);
            drive(self, &mut flow, &view, &about, deadline(cx))
                .await
                .map_err(late)?;
            // A domain may call back into the API from here on.
            drop((slot, ticket));
            let Report {
                result, outcomes, ..
            } = flow.finish();
            let outcome = result?;
            let effects = self.side_effects(cx, &outcome.evictions, &outcome.updates);
            in_time(deadline(cx), effects).await.map_err(late)??;
            let mut result = UpdateResult::default();
            result.resources = outcome
                .requested
                .and_then(|merged| merged.update.linux)
                .and_then(|linux| linux.resources);
            result.updates = outcome.updates;
            result.evictions = outcome.evictions;
            result.outcomes = outcomes;
            Ok(result)
        };
        work.instrument(about.span(cx)).await
    }
}
