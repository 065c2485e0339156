//! The reader task: keeps reading, whatever the handlers do, and hands each message to where it belongs.
//!
//! In a current-thread runtime a request that comes alone is handled where it was read, up to where its handler waits for the first
//! time: most never do, and are answered without a task. A handler that blocks blocks such a runtime wherever it runs. In other
//! runtimes it would block the reader alone, and in tokio all input and output with it while no other thread is awake, so there
//! every request has a task.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::assembler::Assembler;
use super::calls::{Reply, Waiter};
use super::client;
use super::error::CloseReason;
use super::server::{Arrived, Server};
use super::shared::{Alive, Shared};
use super::writer::reason;
use crate::frame::Decoder;

/// The most that is read at once.
const BUFFER: usize = 64 << 10;

/// The reading half of the stream, and what was read and is not a whole message yet.
struct Reading<R> {
    stream: R,
    incoming: Incoming,
    buffer: Vec<u8>,
    total: u64,
}

struct Incoming {
    frames: Decoder,
    replies: Assembler,
    requests: Assembler,
}

/// A message that was read, for whom it is for.
enum Taken {
    Reply(Waiter, Reply),
    Request(Arrived),
}

/// What came of one read.
#[derive(Default)]
struct Step {
    taken: Vec<Taken>,
    /// The connection has ended behind these.
    end: Option<CloseReason>,
}

impl Step {
    /// How many requests are in it.
    fn requests(&self) -> usize {
        let requests = self.taken.iter();
        requests
            .filter(|taken| matches!(taken, Taken::Request(_)))
            .count()
    }
}

pub(super) async fn run<R: AsyncRead + Unpin>(stream: R, server: Server, alive: Arc<Alive>) {
    let shared = &alive.0;
    let mut reading = Reading {
        stream,
        incoming: Incoming {
            frames: Decoder::new(shared.limits.max_frame),
            replies: Assembler::default(),
            requests: Assembler::default(),
        },
        buffer: vec![0; BUFFER],
        total: 0,
    };
    let alone_in_its_thread = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
    let mut closing = pin!(shared.closing());
    let reason = loop {
        let step = poll_fn(|cx| match closing.as_mut().poll(cx) {
            Poll::Ready(reason) => Poll::Ready(Step {
                taken: Vec::new(),
                end: Some(reason),
            }),
            Poll::Pending => reading.poll(shared, &server, cx),
        });
        let step = step.await;
        let here = alone_in_its_thread && step.requests() == 1;
        for taken in step.taken {
            match taken {
                Taken::Reply(waiter, reply) => waiter.finish(reply),
                Taken::Request(request) if here => server.serve_here(shared, request),
                Taken::Request(request) => server.serve_apart(shared, request),
            }
        }
        if let Some(reason) = step.end {
            break reason;
        }
    };
    shared.close(reason);
}

impl<R: AsyncRead + Unpin> Reading<R> {
    /// Reads once and takes what was read apart. What to do with it is the caller's.
    fn poll(&mut self, shared: &Shared, server: &Server, cx: &mut Context<'_>) -> Poll<Step> {
        let Self {
            stream,
            incoming,
            buffer,
            total,
        } = self;
        // With a budget: no byte more than it allows is accepted, and one byte tells that it is exceeded.
        let left = shared
            .budget()
            .map_or(u64::MAX, |limit| limit.saturating_sub(*total));
        let portion = usize::try_from(left).unwrap_or(BUFFER).clamp(1, BUFFER);
        let mut read = ReadBuf::new(&mut buffer[..portion]);
        let mut step = Step::default();
        let end = match ready!(Pin::new(stream).poll_read(cx, &mut read)) {
            Ok(()) if read.filled().is_empty() => Some(incoming.end()),
            Ok(()) => None,
            Err(error) => Some(reason(&error)),
        };
        let count = read.filled().len();
        if end.is_some() {
            step.end = end;
            return Poll::Ready(step);
        }
        *total += count as u64;
        shared.counters.bytes_in.add(count);
        step.end = match shared.budget() {
            Some(limit) if *total > limit => Some(CloseReason::Budget { limit }),
            _ => incoming
                .take(&buffer[..count], shared, server, &mut step.taken)
                .err(),
        };
        Poll::Ready(step)
    }
}

impl Incoming {
    /// Takes what was read apart; messages that are complete, and somebody's, are added to `taken`.
    fn take(
        &mut self,
        mut input: &[u8],
        shared: &Shared,
        server: &Server,
        taken: &mut Vec<Taken>,
    ) -> Result<(), CloseReason> {
        let counters = &shared.counters;
        let broken = |error: crate::frame::FrameError| CloseReason::Protocol(error.to_string());
        while let Some(mut piece) = self.frames.next(&mut input).map_err(broken)? {
            counters.frames_in.add(usize::from(piece.first));
            if piece.id == shared.client_id {
                while let Some(message) = self.replies.next(&mut piece.data) {
                    counters.messages_in.add(1);
                    let reply = client::take(shared, message)?;
                    taken.extend(reply.map(|(waiter, reply)| Taken::Reply(waiter, reply)));
                }
            } else if piece.id == shared.server_id {
                while let Some(message) = self.requests.next(&mut piece.data) {
                    counters.messages_in.add(1);
                    taken.extend(server.take(shared, message)?.map(Taken::Request));
                }
            } else {
                counters.dropped_frames.add(usize::from(piece.first));
            }
        }
        counters
            .partial_bytes_high
            .reach(self.replies.held() + self.requests.held());
        Ok(())
    }

    /// The peer has closed: between messages, or not.
    fn end(&self) -> CloseReason {
        if let Err(error) = self.frames.finish() {
            return CloseReason::Protocol(error.to_string());
        }
        match self.replies.cut_off().or_else(|| self.requests.cut_off()) {
            Some(what) => CloseReason::Protocol(format!("the stream ended inside {what}")),
            None => CloseReason::PeerClosed,
        }
    }
}
