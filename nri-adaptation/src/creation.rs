//! The creation of a container, and its undoing: towards exactly the plugins that saw it, whether it failed, was given up
//! half-way, or never led to a container.

use std::collections::HashSet;
use std::sync::Arc;

use nri_core::api::{self, ContainerState};
use nri_core::flow::{CreateFlow, Flow, Report};
use nri_core::lifecycle::{Birth, Due};
use nri_core::merge::CreateOutcome;
use nri_core::{Creation, Ctx, Error, Event, RegisteredPlugin, Settlement};
use tracing::Instrument as _;

use crate::drive::{OutOfTime, drive};
use crate::instance::Instance;
use crate::pods::Slot;
use crate::requests::{deadline, in_time};
use crate::roster::Ticket;
use crate::subject::Subject;

/// A creation whose end is not known. Dropping it undoes it.
struct Unsettled {
    instance: Arc<Instance>,
    /// What is needed to undo it; gone once it is settled.
    parts: Option<Parts>,
}

struct Parts {
    subject: Subject,
    birth: Birth,
    ticket: Ticket,
    /// While the pod's line is ours.
    slot: Option<Slot>,
    /// While plugins are asked.
    flow: Option<CreateFlow>,
    /// The plugins that may know of it, once they were asked.
    seen: HashSet<RegisteredPlugin>,
}

impl Unsettled {
    fn settle(mut self, settlement: Settlement) {
        if settlement == Settlement::Committed
            && let Some(parts) = self.parts.take()
        {
            // Nothing is due of what exists.
            let _ = self.instance.lives().settle(parts.birth, settlement);
        }
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            self.instance.undo(parts);
        }
    }
}

impl Instance {
    pub(crate) async fn create_container(
        self: &Arc<Self>,
        cx: &Ctx,
        mut subject: Subject,
    ) -> Result<Creation, Error> {
        // It is about to be created, whatever the runtime's books say yet.
        if let Some(container) = subject.container_mut()
            && container.state() == ContainerState::ContainerUnknown
        {
            container.set_state(ContainerState::ContainerCreated);
        }
        let span = subject.about(Event::CreateContainer).span(cx);
        self.try_create(cx, subject).instrument(span).await
    }

    async fn try_create(self: &Arc<Self>, cx: &Ctx, subject: Subject) -> Result<Creation, Error> {
        let event = Event::CreateContainer;
        let slot = self
            .first(cx, event, &subject, self.line_up(&subject))
            .await?;
        let birth = self.lives().create(subject.key())?;
        let (view, ticket) = self.rosters.begin_creation(subject.key());
        let request = api::CreateContainerRequest {
            pod: Some(subject.pod.clone()),
            container: subject.container_message(),
        };
        let about = subject.about(event);
        let late = Error::OutOfTime {
            event,
            subject: subject.in_words(),
        };
        let mut unsettled = Unsettled {
            instance: Arc::clone(self),
            parts: Some(Parts {
                subject,
                birth,
                ticket,
                slot: Some(slot),
                flow: Some(CreateFlow::new(&view.roster, request)),
                seen: HashSet::new(),
            }),
        };
        let asked = unsettled.ask(&view, &about, cx).await;
        asked.map_err(|OutOfTime| late.clone())?;
        let Some(Report {
            result, outcomes, ..
        }) = unsettled.finish()
        else {
            return Err(late);
        };
        let asked = result?;
        // A domain may call back into the API from here on.
        unsettled.leave_line();
        let effects = self.side_effects(cx, &asked.evictions, &asked.updates);
        in_time(deadline(cx), effects)
            .await
            .map_err(|OutOfTime| late)??;
        Ok(Creation::new(asked, outcomes, |settlement| {
            unsettled.settle(settlement)
        }))
    }

    /// Tells the plugins that may know of a creation that it came to nothing, in a task of its own.
    fn undo(self: &Arc<Self>, parts: Parts) {
        let Parts {
            subject,
            birth,
            ticket,
            slot,
            flow,
            mut seen,
        } = parts;
        // The runtime may have undone it by itself.
        let due = self.lives().settle(birth, Settlement::Abandoned);
        if let Some(flow) = flow {
            seen.extend(flow.finish().seen_by().cloned());
        }
        if due == Due::Nothing || seen.is_empty() || !self.is_enabled() {
            return;
        }
        let place = match slot {
            Some(slot) => Ok(slot),
            None => Err(self.line_up(&subject)),
        };
        let instance = Arc::clone(self);
        let span = tracing::info_span!(
            "nri_undo",
            pod = subject.pod.id,
            container = subject.key().id()
        );
        let task = async move {
            let slot = match place {
                Ok(slot) => slot,
                Err(place) => place.first().await,
            };
            let view = instance.rosters.view().only(&seen);
            tracing::info!(
                plugins = seen.len(),
                "undoing a creation towards the plugins that saw it"
            );
            let (stopped, removed) = instance.tell_end(&view, &subject, due).await;
            drop((slot, ticket));
            let after = instance.after_stop(&Ctx::new(), stopped).await;
            for error in [removed, after.map(drop)]
                .into_iter()
                .filter_map(Result::err)
            {
                tracing::warn!(%error, "undoing a creation went wrong");
            }
        };
        if self.tasks.spawn(task.instrument(span)).is_none() {
            tracing::error!("there is no tokio runtime in which a creation can be undone");
        }
    }
}

impl Unsettled {
    /// Has the plugins asked.
    async fn ask(
        &mut self,
        view: &crate::roster::View,
        about: &crate::drive::About,
        cx: &Ctx,
    ) -> Result<(), OutOfTime> {
        match self.parts.as_mut().and_then(|parts| parts.flow.as_mut()) {
            Some(flow) => drive(&self.instance, flow, view, about, deadline(cx)).await,
            None => Ok(()),
        }
    }

    /// What came of asking them.
    fn finish(&mut self) -> Option<Report<CreateOutcome>> {
        let parts = self.parts.as_mut()?;
        let report = parts.flow.take()?.finish();
        parts.seen = report.seen_by().cloned().collect();
        if report.result.is_ok() {
            self.instance.lives().asked(&mut parts.birth);
        }
        Some(report)
    }

    fn leave_line(&mut self) {
        if let Some(parts) = &mut self.parts {
            parts.slot = None;
        }
    }
}
