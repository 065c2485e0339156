//! One call of one plugin: what it is made of, what came of it however long that took, and its
//! record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nri_core::flow::{Flow as _, Member, Reply, Roster};
use nri_core::lifecycle::ObjectKey;
use nri_core::schedule::{CallId, CallOutcome, Job as _, RequestOutcome};
use nri_core::{EncodedRequest, Event, RegisteredPlugin, Response, Subject};
use tracing::{Span, field};

use crate::clock::now;
use crate::lock::Lock;
use crate::plugin::busy_poll::BusyPoll;
use crate::plugin::connected::{ConnectedPlugin, InFlight};
use crate::plugin::endpoint::{Answered, UnderWay};
use crate::plugin::failure::Failure;
use crate::telemetry::call_report::PluginCallReport;
use crate::telemetry::reporter::{Reporter, asks};

/// A call that is to be made, or is under way.
pub(crate) struct Outgoing {
    pub(crate) call: CallId,
    pub(crate) connected: Arc<ConnectedPlugin>,
    pub(crate) event: Event,
    /// Until it is made.
    pub(crate) request: Lock<Option<Arc<EncodedRequest>>>,
    pub(crate) deadline: Instant,
    /// From when on nobody wants an answer any more.
    pub(crate) patience: Instant,
    /// Of the request that it is part of.
    pub(crate) span: Span,
    /// What an observer is told, if it tells one.
    pub(crate) observed: Option<Arc<EncodedRequest>>,
    /// Once it is made; dropped when it is given up.
    pub(crate) under_way: Lock<Option<UnderWay>>,
}

impl Outgoing {
    /// It is made now, with this request; once.
    pub(crate) fn begin(&self, busy_poll: &Arc<BusyPoll>) -> Option<(Began, Arc<EncodedRequest>)> {
        let request = self.request.lock().take()?;
        let at = now();
        let in_flight = InFlight::new(Arc::clone(&self.connected));
        let in_flight = match self.observed {
            None => in_flight.look(busy_poll),
            // Nobody waits for what an observer answers.
            Some(_) => in_flight,
        };
        let began = Began {
            at,
            time: self.deadline.saturating_duration_since(at),
            in_flight: Lock::new(Some(in_flight)),
            span: tracing::debug_span!(
                parent: &self.span, "nri_plugin_call",
                event = %self.event, pod = request.pod_id(), container = request.container_id(),
                plugin = %self.connected.plugin, outcome = field::Empty, duration = field::Empty,
            ),
        };
        Some((began, request))
    }

    /// Nobody waits any more for what comes of it.
    pub(crate) fn give_up(&self) {
        let under_way = self.under_way.lock().take();
        drop(under_way);
    }

    /// What came of it, at whatever time: the scheduler knows when it is late.
    pub(crate) fn end(&self, began: &Began, answered: Answered, reporter: &Reporter) -> Reply {
        drop(began.in_flight.lock().take());
        let now = now();
        // What comes later is dropped, and was asked for in vain.
        match (&answered.answer, &self.observed) {
            (Ok(response), Some(request)) if asks(response) => {
                disregard(&self.connected.plugin, request, response, reporter);
            }
            (Ok(response), None) if now <= self.deadline => {
                reporter.answered(&self.connected.plugin.id, self.event, response);
            }
            _ => {}
        }
        let reply = reply(answered.answer, began.time, answered.delivered);
        if !began.span.is_disabled() {
            began
                .span
                .record("outcome", CallOutcome::from(&reply).name())
                .record("duration", field::debug(now - began.at));
        }
        reply
    }
}

/// Records what an observer asks for, as far as it can be.
fn disregard(
    plugin: &RegisteredPlugin,
    request: &Arc<EncodedRequest>,
    response: &Response,
    reporter: &Reporter,
) {
    let member = Member::new(plugin.clone(), request.event().into());
    // As if it were asked, and nobody else.
    let mut flow = Arc::clone(request).begin(&Roster::new([member]));
    flow.next();
    flow.answer(plugin, Reply::Answer(response.clone()));
    let (owners, evictions) = match flow.finish().result {
        Ok(RequestOutcome::Create(asked)) => (asked.owners, asked.evictions),
        Ok(RequestOutcome::Update(asked)) => (asked.owners, asked.evictions),
        Ok(RequestOutcome::Stop(asked)) => (asked.owners, Vec::new()),
        Ok(_) => return,
        Err(error) => {
            tracing::warn!(%plugin, %error, "what a plugin that observes asks for could not be done");
            return;
        }
    };
    reporter.disregarded(request, &owners, &evictions);
}

/// A call that is made: since when, and how much time it has.
pub(crate) struct Began {
    at: Instant,
    pub(crate) time: Duration,
    in_flight: Lock<Option<InFlight>>,
    pub(crate) span: Span,
}

/// What came of a call that had `time`; `delivered` is whether its request was handed to the
/// transport whole.
pub(crate) fn reply(answer: Result<Response, Failure>, time: Duration, delivered: bool) -> Reply {
    match answer {
        Ok(response) => Reply::Answer(response),
        Err(Failure::Status { code, message }) => Reply::Error { code, message },
        // It did not get out in time.
        Err(Failure::Late) => Reply::Late { after: time },
        Err(Failure::Closed(_)) => Reply::Gone { delivered },
    }
}

/// What came of a call, for the record.
pub(crate) struct CallRecord {
    pub(crate) plugin: RegisteredPlugin,
    /// The plugin, if it is still connected.
    pub(crate) connected: Option<Arc<ConnectedPlugin>>,
    pub(crate) event: Event,
    pub(crate) pod: ObjectKey,
    pub(crate) object: ObjectKey,
    pub(crate) outcome: CallOutcome,
    pub(crate) since: Instant,
    pub(crate) took: Option<Duration>,
    pub(crate) span: Span,
    /// The caller's, see [`Ctx::tag`](nri_core::Ctx::tag).
    pub(crate) tag: Option<u64>,
}

impl CallRecord {
    /// Reports what came of the call.
    pub(crate) fn report(&self, reporter: &Reporter) {
        let Self {
            plugin,
            connected,
            event,
            pod,
            object,
            outcome,
            since,
            took,
            span,
            tag,
        } = self;
        let container = match object.subject() {
            Subject::Container => object.id(),
            Subject::Pod => "",
        };
        let unknown = match outcome {
            CallOutcome::Failed { code, .. } => connected
                .as_ref()
                .and_then(|connected| connected.note_unimplemented(*event, *code)),
            _ => None,
        };
        span.in_scope(|| match (outcome, unknown) {
            (CallOutcome::Answered, _) | (_, Some(false)) => {
                tracing::debug!(%plugin, %event, container, ?took, "the plugin answered");
            }
            (_, Some(true)) => tracing::warn!(
                %plugin, %event,
                "the plugin named no event, which means all, and does not know this one: it counts as not subscribed to it"
            ),
            (CallOutcome::Failed { code, message }, _) => {
                tracing::warn!(%plugin, %event, container, code, %message, "the plugin answered with an error");
            }
            (other, _) => {
                let outcome = other.name();
                tracing::warn!(%plugin, %event, container, outcome, ?took, "the plugin did not answer");
            }
        });
        let report = PluginCallReport {
            plugin,
            event: *event,
            pod: pod.id(),
            container,
            started: *since,
            duration: now().saturating_duration_since(*since),
            outcome,
            tag: *tag,
        };
        if let Some(connected) = connected {
            connected.statistics.record(&report);
        }
        reporter.plugin_called(&report);
    }
}
