//! The one way in which any flow is driven: ask it for the next calls, make them, tell it what came of them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use nri_core::flow::{Call, Flow, Reply, Step};
use nri_core::{Ctx, Event, RegisteredPlugin};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument as _, Span, field};

use crate::instance::Instance;
use crate::observer::{CallOutcome, PluginCallReport};
use crate::prepared::{Preparation, Prepared};
use crate::relay::relay;
use crate::roster::View;

/// The caller's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfTime;

/// What a request is about, for spans and reports.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) event: Event,
    pub(crate) pod: String,
    /// Empty for pod events.
    pub(crate) container: String,
}

impl About {
    /// The span of the whole request: a child of the caller's if there is one, else of the current one. Ids only, no values.
    pub(crate) fn span(&self, cx: &Ctx) -> Span {
        let Self {
            event,
            pod,
            container,
        } = self;
        if cx.span().is_none() {
            tracing::info_span!("nri_event", %event, pod, container)
        } else {
            tracing::info_span!(parent: cx.span(), "nri_event", %event, pod, container)
        }
    }
}

type CallFuture<'a> = Pin<Box<dyn Future<Output = (RegisteredPlugin, Reply)> + Send + 'a>>;

/// Drives a flow to its end, or until the caller's time is over. Calls that the flow wants at the same time overlap.
///
/// Dropping the future withdraws the calls that have not begun; the flow then knows which ones had.
pub(crate) async fn drive(
    instance: &Instance,
    flow: &mut (impl Flow + Send),
    view: &View,
    about: &About,
    deadline: Option<Instant>,
) -> Result<(), OutOfTime> {
    let mut preparation = Preparation::default();
    let mut calls: Vec<CallFuture<'_>> = Vec::new();
    loop {
        match flow.next() {
            Step::Call(Call { plugin, request }) => {
                let request = preparation.of(request);
                calls.push(Box::pin(one_call(instance, view, about, plugin, request)));
            }
            // Nothing to wait for: the flow would wait for ever.
            Step::Wait if calls.is_empty() => return Ok(()),
            Step::Wait => {
                let next = next_answer(&mut calls);
                let (plugin, reply) = match deadline {
                    Some(deadline) => timeout_at(deadline, next).await.map_err(|_| OutOfTime)?,
                    None => next.await,
                };
                flow.answer(&plugin, reply);
            }
            Step::Done => return Ok(()),
        }
    }
}

/// The first call that is answered.
async fn next_answer(calls: &mut Vec<CallFuture<'_>>) -> (RegisteredPlugin, Reply) {
    poll_fn(|cx| {
        for at in 0..calls.len() {
            if let Poll::Ready(answer) = calls[at].as_mut().poll(cx) {
                drop(calls.swap_remove(at));
                return Poll::Ready(answer);
            }
        }
        Poll::Pending
    })
    .await
}

/// Calls one plugin, and reports what came of it.
async fn one_call(
    instance: &Instance,
    view: &View,
    about: &About,
    plugin: RegisteredPlugin,
    request: Arc<Prepared>,
) -> (RegisteredPlugin, Reply) {
    // Validation is part of a creation, but an event of its own.
    let event = request.request().event();
    let span = tracing::debug_span!(
        "nri_plugin_call", %event, pod = about.pod, container = about.container, plugin = %plugin,
        outcome = field::Empty, duration = field::Empty,
    );
    let started = std::time::Instant::now();
    let reply = match view.get(&plugin) {
        Some(active) => {
            let strikes = instance.config().plugin_strikes;
            relay(active, &request, strikes)
                .instrument(span.clone())
                .await
        }
        None => Reply::Gone { handed_over: false },
    };
    let (outcome, duration) = (outcome(&reply), started.elapsed());
    span.record("outcome", outcome.name())
        .record("duration", field::debug(duration));
    let unknown = view
        .get(&plugin)
        .and_then(|active| active.does_not_know(event, &reply));
    span.in_scope(|| match (&outcome, unknown) {
        (CallOutcome::Answered, _) | (_, Some(false)) => tracing::debug!("the plugin answered"),
        (_, Some(true)) => tracing::warn!(
            "the plugin named no event, which means all, and does not know this one: it counts as not subscribed to it"
        ),
        (CallOutcome::Failed { code, message }, _) => {
            tracing::warn!(code, message, "the plugin answered with an error");
        }
        (other, _) => tracing::warn!(outcome = other.name(), "the plugin did not answer"),
    });
    instance.observer.plugin_call(&PluginCallReport {
        plugin: &plugin,
        event,
        pod: &about.pod,
        container: &about.container,
        started,
        duration,
        outcome: &outcome,
    });
    (plugin, reply)
}

fn outcome(reply: &Reply) -> CallOutcome {
    match reply {
        Reply::Answer(_) => CallOutcome::Answered,
        Reply::Error { code, message } => CallOutcome::Failed {
            code: *code,
            message: message.clone(),
        },
        Reply::Late { .. } => CallOutcome::Late,
        Reply::Busy => CallOutcome::Busy,
        // Whatever a newer core adds means that there was no answer.
        _ => CallOutcome::Gone,
    }
}
