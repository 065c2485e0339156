//! Reading: keeps reading, whatever the handlers do, and hands each message to where it belongs.
//!
//! A request that comes alone is handled where it was read, up to where its handler waits for the
//! first time: most never do, and are answered without a task. As a handler may block, two tasks
//! take turns at reading: before the one runs a handler, the other is made the one that is woken
//! when more arrives. It is woken only if that happens before the handler returns.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::assembler::Assembler;
use super::client;
use super::error::CloseReason;
use super::incomplete::{Blamed, Part};
use super::outbound::{Reply, Waiter};
use super::server::{Arrived, Server};
use super::shared::{Alive, Shared};
use super::writer::reason;
use crate::frame::{self, Decoder};

/// The most that is read at once.
const BUFFER: usize = 64 << 10;

/// What the two reading tasks share.
pub(super) struct Turns {
    reading: Mutex<Reading>,
    wakers: Mutex<[Option<Waker>; 2]>,
}

/// The reading half of the stream, and what was read and is not a whole message yet.
struct Reading {
    /// Gone when the connection is over, whatever a handler still does.
    stream: Option<(Box<dyn AsyncRead + Send + Unpin>, Arc<Alive>)>,
    incoming: Incoming,
    buffer: Vec<u8>,
    total: u64,
    /// Nothing is read for now.
    paused: bool,
}

struct Incoming {
    frames: Decoder,
    replies: Assembler,
    requests: Assembler,
    /// What is held of messages that are not whole, where that is bounded for several connections.
    part: Option<Part>,
}

/// Which of the two tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Reads from the beginning.
    First,
    /// Reads once it is woken.
    Second,
}

impl Turns {
    pub(super) fn new(
        stream: Box<dyn AsyncRead + Send + Unpin>,
        alive: Arc<Alive>,
        part: Option<Part>,
    ) -> Self {
        let max_frame = alive.0.limits.max_frame;
        Self {
            reading: Mutex::new(Reading {
                stream: Some((stream, alive)),
                incoming: Incoming {
                    frames: Decoder::new(max_frame),
                    replies: Assembler::default(),
                    requests: Assembler::default(),
                    part,
                },
                buffer: vec![0; BUFFER],
                total: 0,
                paused: false,
            }),
            wakers: Mutex::default(),
        }
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wakers(&self) -> MutexGuard<'_, [Option<Waker>; 2]> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for the next request, if nobody is reading it already.
    fn make_room(&self) {
        if let Ok(mut reading) = self.reading.try_lock() {
            reading.incoming.requests.make_room();
        }
    }

    /// Reads nothing more, until what is returned is dropped.
    pub(super) fn pause(&self) -> Paused<'_> {
        self.reading().paused = true;
        Paused(self)
    }

    /// Lets go of the stream. What was read of it and is not a whole message, as it would have to
    /// be read again; `None` if the stream is gone, or that is not kept.
    pub(super) fn let_go(&self, shared: &Shared) -> Option<Vec<u8>> {
        let mut reading = self.reading();
        let mut unread = Vec::new();
        let Incoming {
            frames,
            replies,
            requests,
            ..
        } = &reading.incoming;
        for (id, of) in [(shared.client_id, replies), (shared.server_id, requests)] {
            let begun = of.unfinished()?;
            if !begun.is_empty() {
                frame::append_message(id, &begun, &mut unread).ok()?;
            }
        }
        unread.extend(frames.unfinished());
        reading.incoming.forget();
        reading.stream.take().map(|_| unread)
    }

    /// Keeps what wakes a task, for the other one.
    fn remember(&self, turn: Turn, waker: &Waker) {
        let kept = &mut self.wakers()[turn as usize];
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Lets the other task be woken by what arrives from now on; what has arrived already is
    /// returned.
    fn hand_over(&self, from: Turn, shared: &Shared, server: &Server) -> Step {
        let other = self.wakers()[1 - from as usize].clone();
        let polled = other.map(|other| {
            let cx = &mut Context::from_waker(&other);
            self.reading().poll(shared, server, cx)
        });
        match polled {
            Some(Poll::Ready(step)) => step,
            Some(Poll::Pending) => Step {
                delivered: true,
                ..Step::default()
            },
            None => Step::default(),
        }
    }
}

/// While it is there, nothing is read.
pub(super) struct Paused<'a>(&'a Turns);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.reading().paused = false;
        let wakers = self.0.wakers().clone();
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
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
    /// Nothing was read: the other task is woken when there is something.
    delivered: bool,
    /// Some connection, this or another, is to be closed because of what was read.
    blamed: Option<Blamed>,
}

impl Step {
    /// How many requests are in it.
    fn requests(&self) -> usize {
        let requests = self.taken.iter();
        requests
            .filter(|taken| matches!(taken, Taken::Request(_)))
            .count()
    }

    /// Whether a reply in it runs code that is not ours.
    fn runs_code(&self) -> bool {
        let mut taken = self.taken.iter();
        taken.any(|taken| matches!(taken, Taken::Reply(waiter, _) if waiter.runs_code()))
    }
}

pub(super) async fn run(turns: Arc<Turns>, turn: Turn, shared: Arc<Shared>, server: Server) {
    let mut closing = pin!(shared.closing());
    let mut rests = turn == Turn::Second;
    let reason = 'reading: loop {
        let step = poll_fn(|cx| {
            if let Poll::Ready(reason) = closing.as_mut().poll(cx) {
                let end = Some(reason);
                return Poll::Ready(Step {
                    end,
                    ..Step::default()
                });
            }
            turns.remember(turn, cx.waker());
            if std::mem::take(&mut rests) {
                return Poll::Pending;
            }
            turns.reading().poll(&shared, &server, cx)
        });
        let step = step.await;
        let alone = step.requests() == 1;
        let behind = if step.end.is_none() && (alone || step.runs_code()) {
            turns.hand_over(turn, &shared, &server)
        } else {
            Step::default()
        };
        let here = alone && behind.delivered;
        for step in [step, behind] {
            if let Some((connection, reason)) = step.blamed {
                connection.close(reason);
            }
            for taken in step.taken {
                match taken {
                    Taken::Reply(waiter, reply) => waiter.finish(reply),
                    Taken::Request(request) if here => server.serve_here(&shared, request),
                    Taken::Request(request) => server.serve_apart(&shared, request),
                }
            }
            if let Some(reason) = step.end {
                break 'reading reason;
            }
        }
        if here {
            turns.make_room();
        }
    };
    shared.close(reason);
    let mut reading = turns.reading();
    reading.stream = None;
    reading.incoming.forget();
}

impl Reading {
    /// Reads once and takes what was read apart. What to do with it is the caller's, which lets go
    /// of this first.
    fn poll(&mut self, shared: &Shared, server: &Server, cx: &mut Context<'_>) -> Poll<Step> {
        let Self {
            stream,
            incoming,
            buffer,
            total,
            paused,
        } = self;
        // Over: what comes now is the closing.
        let Some((stream, _)) = stream else {
            return Poll::Pending;
        };
        if *paused {
            return Poll::Pending;
        }
        // With a budget: no byte more than it allows is accepted, and one byte tells that it is
        // exceeded.
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
                .on_bytes(&buffer[..count], shared, server, &mut step.taken)
                .err(),
        };
        step.blamed = incoming.note_held(shared);
        Poll::Ready(step)
    }
}

impl Incoming {
    /// Takes what was read apart; messages that are complete, and somebody's, are added to `taken`.
    fn on_bytes(
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
                    let reply = client::on_message(shared, message)?;
                    taken.extend(reply.map(|(waiter, reply)| Taken::Reply(waiter, reply)));
                }
            } else if piece.id == shared.server_id {
                while let Some(message) = self.requests.next(&mut piece.data) {
                    counters.messages_in.add(1);
                    taken.extend(server.on_message(shared, message)?.map(Taken::Request));
                }
            } else {
                counters.dropped_frames.add(usize::from(piece.first));
            }
        }
        Ok(())
    }

    /// Takes note of what is held of messages that are not whole; names who is to be closed if that
    /// is too much.
    fn note_held(&mut self, shared: &Shared) -> Option<Blamed> {
        let held = self.replies.held() + self.requests.held();
        shared.counters.partial_bytes_high.reach(held);
        self.part.as_mut()?.holds(held)
    }

    /// Lets go of what is not whole: the rest will not come.
    fn forget(&mut self) {
        (self.replies, self.requests) = Default::default();
        self.part = None;
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
