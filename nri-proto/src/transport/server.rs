//! Answering the peer's requests.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::assembler::Incoming;
use super::error::CloseReason;
use super::inbound::{Refusal, RefusalReason, Verdict};
use super::message;
use super::service::{CallContext, Service};
use super::shared::Shared;
use super::status::{Code, Status};
use super::writer;

/// A request that is to be served.
pub(super) struct Arrived {
    stream: u32,
    data: Bytes,
    at: Instant,
}

/// The services of one connection.
#[derive(Clone)]
pub(super) struct Server(pub(super) Arc<[Box<dyn Service>]>);

impl Server {
    /// Takes a message that arrived on the logical connection of the peer's calls: the request that
    /// is to be served, if it is one.
    pub(super) fn on_message(
        &self,
        shared: &Shared,
        message: Incoming,
    ) -> Result<Option<Arrived>, CloseReason> {
        let Incoming { head, data } = message;
        let counters = &shared.counters;
        let mut queues = shared.queues();
        match queues.answers.admit(head, data.is_none(), &shared.limits) {
            Verdict::Serve => {
                counters.handlers_high.reach(queues.answers.running());
                return Ok(Some(Arrived {
                    stream: head.stream,
                    data: data.unwrap_or_default(),
                    at: Instant::now(),
                }));
            }
            Verdict::Ignore => counters.ignored_messages.add(1),
            Verdict::Refuse(refusal) => {
                count(shared, refusal);
                let waiting = queues.answers.refuse(refusal);
                shared.queued(&queues);
                let limit = shared.limits.max_refusals;
                if waiting > limit {
                    return Err(CloseReason::Overflow { waiting, limit });
                }
            }
        }
        Ok(None)
    }

    /// Serves a request in a task of its own.
    pub(super) fn serve_apart(&self, shared: &Arc<Shared>, request: Arrived) {
        spawn(shared, self.serve(shared, request));
    }

    /// Serves a request here, up to where its handler waits; from there on in a task of its own.
    pub(super) fn serve_here(&self, shared: &Arc<Shared>, request: Arrived) {
        let mut work = Box::pin(self.serve(shared, request));
        // Whatever wakes it meanwhile: the task begins by polling it again.
        let polled = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            spawn(shared, work);
        }
    }

    /// One request, from its bytes to its answer, queued or written.
    fn serve(
        &self,
        shared: &Arc<Shared>,
        request: Arrived,
    ) -> impl Future<Output = ()> + Send + 'static {
        let server = self.clone();
        let shared = Arc::clone(shared);
        async move {
            let Arrived { stream, data, at } = request;
            let handled = unwound(server.handle(data, at)).await;
            let result = handled.unwrap_or_else(|panic| {
                shared.counters.handler_panics.add(1);
                tracing::warn!(stream, "the handler of an NRI call panicked");
                Err(Status::new(
                    Code::Internal,
                    format!("the handler panicked: {panic}"),
                ))
            });
            let message = message::response(stream, result);
            writer::answer(&shared, stream, message).await;
        }
    }

    async fn handle(&self, data: Bytes, arrived: Instant) -> Result<Vec<u8>, Status> {
        let call = message::decode_request(data).map_err(|error| {
            Status::new(
                Code::InvalidArgument,
                format!("unmarshal request error: {error}"),
            )
        })?;
        let service = self
            .0
            .iter()
            .find(|service| service.name() == call.service)
            .ok_or_else(|| Status::unknown_service(&call.service))?;
        let context = CallContext::new(deadline(arrived, call.timeout_nano), call.metadata);
        service.call(context, &call.method, call.payload).await
    }
}

/// Runs what serves a request to its end, or until the connection closes.
fn spawn(shared: &Arc<Shared>, work: impl Future<Output = ()> + Send + 'static) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = shared.closing() => {}
            () = work => {}
        }
    });
}

fn count(shared: &Shared, refusal: Refusal) {
    let counters = &shared.counters;
    let counter = match refusal.reason {
        RefusalReason::Busy => &counters.refused_busy,
        RefusalReason::TooLarge { .. } => &counters.oversized_in,
        RefusalReason::EvenId | RefusalReason::ReusedId | RefusalReason::NotActive => {
            &counters.refused_invalid
        }
    };
    counter.add(1);
}

/// When a request that arrived now and then must be answered: 0 is without limit, negative is
/// already too late.
pub(super) fn deadline(arrived: Instant, timeout_nano: i64) -> Option<Instant> {
    match u64::try_from(timeout_nano) {
        Ok(0) => None,
        Ok(nanos) => arrived.checked_add(Duration::from_nanos(nanos)),
        Err(_) => Some(arrived),
    }
}

/// Runs a future to its end or to its panic, whose text is returned.
async fn unwound<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        // After a panic the future is not touched again, so nothing sees what it left half done.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(text_of(&*panic))),
        }
    })
    .await
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a text").to_owned()
}
