//! The writer task: takes whole messages from the queues and writes them, frame by frame.
//!
//! It alone writes. What it has begun it completes, whatever becomes of the caller; a write that the peer does not let
//! it complete in time ends the connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::error::CloseReason;
use super::outgoing::Frames;
use super::shared::{Alive, Outgoing, Shared};

/// How long a closing connection tries to write the answers that are ready, and how long a connection whose peer reads no
/// more is read to its end.
const LINGER: Duration = Duration::from_secs(1);

/// One write takes up to this many messages. A Go peer must find the time to take them from its queue of 256 frames.
const BATCH_MESSAGES: usize = 32;

/// One write takes no further message beyond this many bytes.
const BATCH_BYTES: usize = 64 << 10;

/// Messages that are written together.
#[derive(Debug, Default)]
struct Batch {
    frames: Frames,
    bytes: usize,
    messages: usize,
    /// Streams of the requests in it.
    calls: Vec<u32>,
    /// Streams of the handlers' answers in it.
    answers: Vec<u32>,
    /// The latest deadline of its requests.
    deadline: Option<Instant>,
    /// The requests' shares of the queue.
    room: Vec<OwnedSemaphorePermit>,
}

enum Outcome {
    Written,
    Failed(io::Error),
    Stuck(Duration),
    Closing,
}

pub(super) async fn run<W: AsyncWrite + Unpin>(mut stream: W, alive: Arc<Alive>) {
    let shared = &alive.0;
    // Once this side closes: when to give up on the answers that are ready.
    let mut linger = None;
    loop {
        let Some(batch) = next_batch(shared) else {
            if linger.is_some() {
                break;
            }
            tokio::select! {
                reason = shared.closing() => {
                    if reason != CloseReason::Local {
                        return;
                    }
                    linger = Some(Instant::now() + LINGER);
                }
                () = shared.work.notified() => {}
            }
            continue;
        };
        match write(&mut stream, batch, shared, &mut linger).await {
            Outcome::Written => {}
            Outcome::Closing => return,
            Outcome::Stuck(after) => return shared.close(CloseReason::StuckWrite { after }),
            Outcome::Failed(error) => {
                // The peer may have answered before it went: the reader finds the end behind what arrived.
                let reason = reason(&error);
                if reason == CloseReason::PeerClosed {
                    let _ = tokio::time::timeout(LINGER, shared.closing()).await;
                }
                return shared.close(reason);
            }
        }
    }
    // The connection is over whether or not the peer hears of it.
    let _ = tokio::time::timeout(LINGER, stream.shutdown()).await;
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
            Outgoing::Answer(leaving) => {
                batch.answers.extend(leaving.frees);
                (shared.server_id, leaving.message)
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

async fn write<W: AsyncWrite + Unpin>(
    stream: &mut W,
    mut batch: Batch,
    shared: &Shared,
    linger: &mut Option<Instant>,
) -> Outcome {
    let count = batch.frames.count;
    let bytes = batch.bytes + count * crate::frame::HEADER_LEN;
    let start = Instant::now();
    let limit = start + shared.limits.write_timeout;
    let limit = batch.deadline.map_or(limit, |deadline| deadline.max(limit));
    let written = {
        let write = async {
            stream.write_all_buf(&mut batch.frames).await?;
            stream.flush().await
        };
        tokio::pin!(write);
        loop {
            tokio::select! {
                biased;
                written = &mut write => break written,
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
    };
    if let Err(error) = written {
        return Outcome::Failed(error);
    }
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
    Outcome::Written
}
