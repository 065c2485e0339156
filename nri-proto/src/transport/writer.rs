//! Writing: whole messages from the queues, frame by frame, by whoever has queued one while the pen
//! is free; the writer task is for what the socket does not take at once.
//!
//! What was begun is completed, whatever becomes of the caller; a write that the peer does not let
//! us complete in time ends the connection.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, TryLockError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf as _;
use tokio::io::AsyncWrite as _;
use tokio::time::{Instant, sleep_until};

use super::error::CloseReason;
use super::message::Message;
use super::pen::{Batch, Begun, Pen};
use super::shared::{Alive, Outgoing, Shared};

/// How long a closing connection tries to write the answers that are ready, and how long a
/// connection whose peer reads no more is read to its end.
const LINGER: Duration = Duration::from_secs(1);

/// One write takes up to this many messages. A Go peer must find the time to take them from its
/// queue of 256 frames.
const BATCH_MESSAGES: usize = 32;

/// One write takes no further message beyond this many bytes.
const BATCH_BYTES: usize = 64 << 10;

/// One write takes up to this many runs of bytes.
const MOST_SLICES: usize = 64;

/// Completes what was begun, or begins and completes what is next; `false` if there is nothing to
/// write.
fn poll(pen: &mut Pen, shared: &Shared, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
    if let Some(error) = pen.failed.take() {
        return Poll::Ready(Err(error));
    }
    if pen.begun.is_none() {
        pen.begun = next_batch(shared).map(|batch| Begun::new(batch, shared.limits.write_timeout));
    }
    let Some(begun) = &mut pen.begun else {
        return Poll::Ready(Ok(false));
    };
    while begun.batch.frames.has_remaining() {
        let mut slices = [IoSlice::new(&[]); MOST_SLICES];
        let filled = begun.batch.frames.chunks_vectored(&mut slices);
        let stream = Pin::new(&mut pen.stream);
        let count = ready!(stream.poll_write_vectored(cx, &slices[..filled]))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        begun.batch.frames.advance(count);
    }
    ready!(Pin::new(&mut pen.stream).poll_flush(cx))?;
    if let Some(begun) = pen.begun.take() {
        written(shared, &begun.batch);
    }
    Poll::Ready(Ok(true))
}

/// Writes what is queued, if nobody else is writing and the socket takes it: all in the poll of
/// whoever has queued it. What is left is the writer task's.
pub(super) fn write_now(shared: &Shared, cx: &mut Context<'_>) {
    let all_written = match shared.pen.try_lock() {
        // Whoever has it may have looked at the queue before it was filled.
        Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => false,
        Ok(mut pen) => match pen.as_mut() {
            // The connection is over.
            None => true,
            // The writer task completes it, and looks again.
            Some(Pen { begun: Some(_), .. }) => true,
            Some(pen) => match poll(pen, shared, cx) {
                Poll::Ready(Ok(false)) => true,
                Poll::Ready(Ok(true)) => shared.queues().is_empty(),
                Poll::Ready(Err(error)) => {
                    pen.failed = Some(error);
                    false
                }
                Poll::Pending => false,
            },
        },
    };
    if !all_written {
        shared.work.notify_one();
    }
    shared.tell_expired();
}

/// [`write_now`] in an async function.
pub(super) async fn write_in_this_poll(shared: &Shared) {
    poll_fn(|cx| {
        write_now(shared, cx);
        Poll::Ready(())
    })
    .await;
}

/// Queues the answer of a handler, and writes it if that is possible at once.
pub(super) async fn answer(shared: &Shared, stream: u32, message: Message) {
    if shared.queue_answer(stream, message) {
        write_in_this_poll(shared).await;
    }
}

enum Outcome {
    Written,
    /// There is nothing to write.
    Idle,
    Failed(io::Error),
    Stuck(Duration),
    Closing,
}

/// Takes the pen away when the writer task ends, however it ends: what is written after that is
/// lost.
struct Last<'a>(&'a Shared);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.0.pen().take();
    }
}

pub(super) async fn run(alive: Arc<Alive>) {
    let shared = &alive.0;
    let _last = Last(shared);
    // Once this side closes: when to give up on the answers that are ready.
    let mut linger = None;
    loop {
        match write(shared, &mut linger).await {
            Outcome::Written => {}
            Outcome::Idle if linger.is_some() => break,
            Outcome::Idle => tokio::select! {
                reason = shared.closing() => {
                    if reason != CloseReason::Local {
                        return;
                    }
                    linger = Some(Instant::now() + LINGER);
                }
                () = shared.work.notified() => {}
            },
            Outcome::Closing => return,
            Outcome::Stuck(after) => return shared.close(CloseReason::StuckWrite { after }),
            Outcome::Failed(error) => {
                // The peer may have answered before it went: the reader finds the end behind what
                // arrived.
                let reason = reason(&error);
                if reason == CloseReason::PeerClosed {
                    let _ = tokio::time::timeout(LINGER, shared.closing()).await;
                }
                return shared.close(reason);
            }
        }
    }
    if shared.is_detached() {
        return;
    }
    // The connection is over whether or not the peer hears of it.
    let shutdown = poll_fn(|cx| match shared.pen().as_mut() {
        Some(pen) => Pin::new(&mut pen.stream).poll_shutdown(cx),
        None => Poll::Ready(Ok(())),
    });
    let _ = tokio::time::timeout(LINGER, shutdown).await;
}

/// What an error of the socket says about the connection.
pub(super) fn reason(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => CloseReason::PeerClosed,
        _ => CloseReason::Io(error.to_string()),
    }
}

/// Takes what is to be written next, as frames.
fn next_batch(shared: &Shared) -> Option<Batch> {
    let mut batch = Batch::default();
    let now = Instant::now();
    while batch.messages < BATCH_MESSAGES && batch.bytes < BATCH_BYTES {
        let Some(outgoing) = shared.queues().pop(now) else {
            break;
        };
        let (id, message) = match outgoing {
            Outgoing::Call(stream, queued) => {
                batch.calls.push(stream);
                batch.deadline = batch.deadline.max(queued.deadline);
                batch.room.push(queued.room);
                let left = queued.deadline.map(|deadline| timeout_nano(deadline - now));
                let message = queued.request.into_message(stream, left.unwrap_or(0));
                (shared.client_id, message)
            }
            Outgoing::Answer(answer) => {
                batch.answers.extend(answer.frees);
                (shared.server_id, answer.message)
            }
        };
        batch.bytes += message.len();
        batch.messages += 1;
        batch.frames.append(id, message);
    }
    batch.frames.seal();
    (batch.messages > 0).then_some(batch)
}

/// Time left as it goes on the wire, where 0 would mean no limit.
pub(super) fn timeout_nano(left: Duration) -> i64 {
    i64::try_from(left.as_nanos()).unwrap_or(i64::MAX).max(1)
}

/// Writes one batch, or the rest of one, within its time.
async fn write(shared: &Shared, linger: &mut Option<Instant>) -> Outcome {
    let poll_pen = |cx: &mut Context<'_>| {
        let polled = match shared.pen().as_mut() {
            Some(pen) => poll(pen, shared, cx),
            None => Poll::Ready(Ok(false)),
        };
        shared.tell_expired();
        polled
    };
    let outcome = |result| match result {
        Ok(true) => Outcome::Written,
        Ok(false) => Outcome::Idle,
        Err(error) => Outcome::Failed(error),
    };
    // Most writes take no time, and no timer.
    if let Poll::Ready(result) = poll_fn(|cx| Poll::Ready(poll_pen(cx))).await {
        return outcome(result);
    }
    let begun = shared
        .pen()
        .as_ref()
        .and_then(|pen| pen.begun.as_ref().map(|begun| (begun.start, begun.limit)));
    let Some((start, limit)) = begun else {
        return Outcome::Idle;
    };
    if let Some(linger) = linger {
        *linger = limit.min(*linger);
    }
    loop {
        tokio::select! {
            biased;
            result = poll_fn(poll_pen) => return outcome(result),
            () = sleep_until(linger.unwrap_or(limit)) => {
                return if linger.is_some() { Outcome::Closing } else { Outcome::Stuck(start.elapsed()) };
            }
            reason = shared.closing(), if linger.is_none() => {
                if reason != CloseReason::Local {
                    return Outcome::Closing;
                }
                *linger = Some(limit.min(Instant::now() + LINGER));
            }
        }
    }
}

/// Tells everyone whose message was in it.
fn written(shared: &Shared, batch: &Batch) {
    let count = batch.frames.count;
    let bytes = batch.bytes + count * crate::frame::HEADER_LEN;
    shared.counters.frames_out.add(count);
    shared.counters.bytes_out.add(bytes);
    shared.counters.messages_out.add(batch.messages);
    let mut queues = shared.queues();
    batch
        .calls
        .iter()
        .for_each(|stream| queues.calls.written(*stream));
    batch
        .answers
        .iter()
        .for_each(|stream| queues.answers.free(*stream));
    shared.written(&queues);
}
