//! One call of one plugin: made, waited for however long its answer takes, and put on record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nri_core::flow::Reply;
use nri_core::lifecycle::ObjectKey;
use nri_core::schedule::{CallId, Came};
use nri_core::{Event, RegisteredPlugin, Subject};
use tokio::time::timeout_at;
use tracing::{Instrument as _, Span, field};

use crate::active::Active;
use crate::dispatch::now;
use crate::endpoint::Failure;
use crate::instance::Instance;
use crate::observer::{CallOutcome, PluginCallReport};
use crate::prepared::Prepared;

/// A call that is to be made.
pub(crate) struct Outgoing {
    pub(crate) call: CallId,
    pub(crate) active: Arc<Active>,
    pub(crate) request: Arc<Prepared>,
    pub(crate) deadline: Instant,
    /// From when on nobody wants an answer any more.
    pub(crate) patience: Instant,
    /// Of the request that it is part of.
    pub(crate) span: Span,
}

/// Makes a call, waits for what comes of it, and goes on with the call that follows from that.
pub(crate) async fn carry(instance: Arc<Instance>, first: Box<Outgoing>) {
    let mut next = Some(first);
    while let Some(outgoing) = next {
        let (call, span) = (outgoing.call, outgoing.span());
        let reply = outgoing.reply(&instance).instrument(span).await;
        if let Reply::Late { .. } = reply {
            // The request is told, and the plugin's turn is over: nothing will come.
            instance.act(|state, now| state.scheduler.handle_reply(call, reply, now));
            let gone = Reply::Gone { delivered: false };
            next =
                instance.act_and_go_on(|state, now| state.scheduler.handle_reply(call, gone, now));
            continue;
        }
        next = instance.act_and_go_on(|state, now| state.scheduler.handle_reply(call, reply, now));
    }
}

impl Outgoing {
    fn span(&self) -> Span {
        let request = self.request.request();
        let pod = request.pod().map_or("", |pod| &pod.id);
        let container = request.container().map_or("", |container| &container.id);
        tracing::debug_span!(
            parent: &self.span, "nri_plugin_call",
            event = %request.event(), pod, container, plugin = %self.active.plugin,
            outcome = field::Empty, duration = field::Empty,
        )
    }

    /// What comes of it, at whatever time: the scheduler knows when it is late.
    async fn reply(self: Box<Self>, instance: &Instance) -> Reply {
        let began = now();
        let event = self.request.request().event();
        let _in_flight = self.active.statistics.begin();
        let time = self.deadline.saturating_duration_since(began);
        let relaying = self.active.endpoint.relay(self.request, time);
        let delivered = relaying.delivered;
        let answer = timeout_at(self.patience.into(), relaying.answer).await;
        let reply = match answer.unwrap_or_else(|_| Err(Failure::Closed("given up".to_owned()))) {
            Ok(response) => {
                // What comes later is dropped, and was asked for in vain.
                if now() <= self.deadline {
                    instance.answered(&self.active.plugin.id, event, &response);
                }
                Reply::Answer(response)
            }
            Err(Failure::Status { code, message }) => Reply::Error { code, message },
            // It did not get out in time.
            Err(Failure::Late) => Reply::Late { after: time },
            Err(Failure::Closed(_)) => Reply::Gone {
                delivered: delivered.get(),
            },
        };
        Span::current()
            .record("outcome", outcome(&Came::from(&reply)).name())
            .record("duration", field::debug(now() - began));
        reply
    }
}

/// What came of a call, for the record.
pub(crate) struct Told {
    pub(crate) plugin: RegisteredPlugin,
    /// The plugin, if it is still there.
    pub(crate) active: Option<Arc<Active>>,
    pub(crate) event: Event,
    pub(crate) pod: ObjectKey,
    pub(crate) object: ObjectKey,
    pub(crate) came: Came,
    pub(crate) since: Instant,
    pub(crate) took: Option<Duration>,
    pub(crate) span: Span,
    /// The caller's, see [`Ctx::tag`](nri_core::Ctx::tag).
    pub(crate) tag: Option<u64>,
}

impl Instance {
    /// Puts what came of a call on record.
    pub(crate) fn report(&self, told: &Told) {
        let Told {
            plugin,
            active,
            event,
            pod,
            object,
            came,
            since,
            took,
            span,
            tag,
        } = told;
        let container = match object.subject() {
            Subject::Container => object.id(),
            Subject::Pod => "",
        };
        let outcome = outcome(came);
        let unknown = match came {
            Came::Error { code, .. } => active
                .as_ref()
                .and_then(|active| active.does_not_know(*event, *code)),
            _ => None,
        };
        span.in_scope(|| match (&outcome, unknown) {
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
            outcome: &outcome,
            tag: *tag,
        };
        self.plugin_called(active.as_deref(), &report);
    }
}

pub(crate) fn outcome(came: &Came) -> CallOutcome {
    match came {
        Came::Answer => CallOutcome::Answered,
        Came::Error { code, message } => CallOutcome::Failed {
            code: *code,
            message: message.clone(),
        },
        Came::Late => CallOutcome::Late,
        Came::Busy => CallOutcome::Busy,
        // Whatever a newer core adds means that there was no answer.
        _ => CallOutcome::Gone,
    }
}
