//! What a scheduler has to know of a request.

use std::sync::Arc;
use std::time::Instant;

use crate::flow::{
    CreateFlow, Flow, NotifyFlow, Reply, Report, Roster, Step, StopFlow, UpdateFlow, ValidateFlow,
    judges_adjustment,
};
use crate::lifecycle::ObjectKey;
use crate::merge::{CreateOutcome, StopOutcome, UpdateOutcome};
use crate::{EncodedRequest, Event, RegisteredPlugin};

/// A request that becomes a flow when its time has come. Requests of the protocol are the only ones
/// there are; tests of the scheduler bring others.
#[doc(hidden)]
pub trait Job: Sized {
    /// The flow.
    type Flow: Flow;

    /// The event.
    fn event(&self) -> Event;

    /// The pod or container that it is about, in words for messages.
    fn subject(&self) -> String;

    /// What plugins are asked, where it is a request of the protocol.
    fn message(&self) -> Option<&EncodedRequest> {
        None
    }

    /// Whether all validators are asked, not those alone that judge updates.
    fn is_validated_by_all(&self) -> bool {
        self.event() == Event::CreateContainer
    }

    /// The flow through the plugins of a roster. Called once; a creation must keep what
    /// [`undo`](Job::undo) needs.
    fn begin(&mut self, roster: &Roster) -> Self::Flow;

    /// What takes a creation back: a stop, then a removal. Empty for everything else.
    fn undo(&self) -> Vec<Self>;
}

/// A job with what its scheduling depends on.
#[derive(Debug)]
pub struct Submission<J> {
    pub(super) job: J,
    pub(super) pod: ObjectKey,
    pub(super) object: ObjectKey,
    pub(super) deadline: Option<Instant>,
    pub(super) budget: Option<Instant>,
    pub(super) validated_elsewhere: bool,
}

impl<J: Job> Submission<J> {
    /// A job about a pod, without a deadline.
    pub fn new(job: J, pod: ObjectKey) -> Self {
        Self {
            job,
            object: pod.clone(),
            pod,
            deadline: None,
            budget: None,
            validated_elsewhere: false,
        }
    }

    /// The same about a container of the pod.
    #[must_use]
    pub fn with_container(mut self, container: ObjectKey) -> Self {
        self.object = container;
        self
    }

    /// The same with a time at which the caller stops waiting.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same with a time at which it goes on without whom it waits for, see
    /// [`Ctx::with_budget`](crate::Ctx::with_budget).
    #[must_use]
    pub fn with_budget(mut self, budget: Option<Instant>) -> Self {
        self.budget = budget;
        self
    }

    /// The same, where a creation is not validated before it is answered, see
    /// [`Roster::without_validation`].
    #[must_use]
    pub fn without_validation(mut self) -> Self {
        self.validated_elsewhere = true;
        self
    }
}

/// The flow of any request.
#[derive(Debug)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant)] // one per request under way
pub enum RequestFlow {
    /// Of a creation.
    Create(CreateFlow),
    /// Of an update.
    Update(UpdateFlow),
    /// Of a stopped container.
    Stop(StopFlow),
    /// Of a validation that somebody else asks for.
    Validate(ValidateFlow),
    /// Of anything else.
    Notify(NotifyFlow),
}

/// What comes out of any request. On its way to whoever asked it is moved some ten times, so what
/// is large lies elsewhere.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RequestOutcome {
    /// Of a creation.
    Create(Box<CreateOutcome>),
    /// Of an update.
    Update(Box<UpdateOutcome>),
    /// Of a stopped container.
    Stop(StopOutcome),
    /// Of anything else: nothing.
    Nothing,
}

impl Flow for RequestFlow {
    type Output = RequestOutcome;

    fn next(&mut self) -> Step {
        match self {
            Self::Create(flow) => flow.next(),
            Self::Update(flow) => flow.next(),
            Self::Stop(flow) => flow.next(),
            Self::Validate(flow) => flow.next(),
            Self::Notify(flow) => flow.next(),
        }
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        match self {
            Self::Create(flow) => flow.answer(plugin, reply),
            Self::Update(flow) => flow.answer(plugin, reply),
            Self::Stop(flow) => flow.answer(plugin, reply),
            Self::Validate(flow) => flow.answer(plugin, reply),
            Self::Notify(flow) => flow.answer(plugin, reply),
        }
    }

    fn observed(&self) -> Option<Arc<EncodedRequest>> {
        match self {
            Self::Create(flow) => flow.observed(),
            Self::Update(flow) => flow.observed(),
            Self::Stop(flow) => flow.observed(),
            Self::Notify(flow) => flow.observed(),
            Self::Validate(_) => None,
        }
    }

    fn finish(self) -> Report<RequestOutcome> {
        match self {
            Self::Create(flow) => map(flow.finish(), |asked| RequestOutcome::Create(asked.into())),
            Self::Update(flow) => map(flow.finish(), |asked| RequestOutcome::Update(asked.into())),
            Self::Stop(flow) => map(flow.finish(), RequestOutcome::Stop),
            Self::Validate(flow) => map(flow.finish(), |()| RequestOutcome::Nothing),
            Self::Notify(flow) => map(flow.finish(), |()| RequestOutcome::Nothing),
        }
    }
}

fn map<T>(report: Report<T>, wrap: impl FnOnce(T) -> RequestOutcome) -> Report<RequestOutcome> {
    Report {
        result: report.result.map(wrap),
        outcomes: report.outcomes,
        verdicts: report.verdicts,
    }
}

impl Job for Arc<EncodedRequest> {
    type Flow = RequestFlow;

    fn event(&self) -> Event {
        (**self).event()
    }

    fn subject(&self) -> String {
        (**self).subject()
    }

    fn message(&self) -> Option<&EncodedRequest> {
        Some(self)
    }

    fn is_validated_by_all(&self) -> bool {
        self.event() == Event::CreateContainer || judges_adjustment(self)
    }

    fn begin(&mut self, roster: &Roster) -> RequestFlow {
        let request = Arc::clone(self);
        match self.event() {
            Event::CreateContainer => RequestFlow::Create(CreateFlow::shared(roster, request)),
            Event::UpdateContainer => RequestFlow::Update(UpdateFlow::shared(roster, request)),
            Event::StopContainer => RequestFlow::Stop(StopFlow::shared(roster, request)),
            Event::ValidateContainerAdjustment => {
                RequestFlow::Validate(ValidateFlow::of_request(roster, request))
            }
            _ => RequestFlow::Notify(NotifyFlow::shared(roster, request)),
        }
    }

    fn undo(&self) -> Vec<Self> {
        if self.event() != Event::CreateContainer {
            return Vec::new();
        }
        let undoing = [Event::StopContainer, Event::RemoveContainer];
        undoing.map(|event| Arc::new(self.as_event(event))).into()
    }
}
