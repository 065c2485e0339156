//! What the tasks and handles of one connection share: its two queues, its counters, and how it
//! ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::error::{CallError, CloseReason};
use super::inbound::{Answers, OutboundAnswer};
use super::limits::{Counters, Limits, Stats};
use super::message::Message;
use super::outbound::{Calls, Queued, Waiter};
use super::pen::Pen;

#[derive(Debug)]
pub(super) struct Shared {
    /// Logical connection on which this side calls.
    pub(super) client_id: u32,
    /// Logical connection on which this side answers.
    pub(super) server_id: u32,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
    /// Places for calls in flight.
    pub(super) places: Arc<Semaphore>,
    /// Bytes that calls may still queue.
    pub(super) room: Arc<Semaphore>,
    /// Wakes the writer.
    pub(super) work: Notify,
    /// Wakes whoever waits until no request of the peer is in progress.
    settled: Notify,
    queues: Mutex<Queues>,
    /// Taken before the queues, never after; gone when the writer is.
    pub(super) pen: Mutex<Option<Pen>>,
    budget_lifted: AtomicBool,
    /// Somebody else goes on with the stream: it is not shut down.
    detached: AtomicBool,
    closing: watch::Sender<Option<CloseReason>>,
    down: watch::Sender<bool>,
}

/// The two outgoing queues, one per logical connection.
#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) calls: Calls,
    pub(super) answers: Answers,
    answer_is_next: bool,
    /// Set once, under the lock, before anyone is told.
    closed: Option<CloseReason>,
}

/// A call's place among those in flight, and its room in the queue.
pub(super) type Admission = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// A message taken from a queue, and what to do once it is written.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A request that becomes a message now, so that it says how much time is left now.
    Call(u32, Queued),
    Answer(OutboundAnswer),
}

impl Queues {
    /// The next message to write: the two logical connections in turn, so that neither starves the
    /// other.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Outgoing> {
        self.answer_is_next = !self.answer_is_next;
        let Self {
            calls,
            answers,
            answer_is_next,
            ..
        } = self;
        let mut call = || {
            calls
                .pop(now)
                .map(|(stream, queued)| Outgoing::Call(stream, queued))
        };
        let mut answer = || answers.pop().map(Outgoing::Answer);
        if *answer_is_next {
            answer().or_else(call)
        } else {
            call().or_else(answer)
        }
    }

    /// Why the connection is closed, if it is.
    pub(super) fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.answers.is_empty()
    }

    fn bytes(&self) -> usize {
        self.calls.bytes() + self.answers.bytes()
    }
}

/// A semaphore of `count` permits, at least one.
fn semaphore(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)))
}

impl Shared {
    pub(super) fn new(client_id: u32, server_id: u32, limits: Limits, pen: Pen) -> Self {
        Self {
            client_id,
            server_id,
            counters: Counters::default(),
            places: semaphore(limits.max_calls),
            room: semaphore(limits.queue_bytes.min(u32::MAX as usize)),
            work: Notify::new(),
            settled: Notify::new(),
            queues: Mutex::default(),
            pen: Mutex::new(Some(pen)),
            budget_lifted: AtomicBool::new(limits.byte_budget.is_none()),
            detached: AtomicBool::new(false),
            closing: watch::Sender::new(None),
            down: watch::Sender::new(false),
            limits,
        }
    }

    /// The queues. Nothing is awaited and no foreign code runs under this lock, so a poisoned one
    /// is whole.
    pub(super) fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pen, for the writer task. Others do not wait for it.
    pub(super) fn pen(&self) -> MutexGuard<'_, Option<Pen>> {
        self.pen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called when something was queued, with the lock still held, by who will not write it.
    pub(super) fn queued(&self, queues: &Queues) {
        self.count_queued(queues);
        self.work.notify_one();
    }

    /// To be called when something was queued, with the lock still held, by who will write it.
    pub(super) fn count_queued(&self, queues: &Queues) {
        self.counters.queued_bytes_high.reach(queues.bytes());
    }

    /// Tells those whose deadline passed in the queue. No lock may be held.
    pub(super) fn tell_expired(&self) {
        let expired = self.queues().calls.expired();
        expired.into_iter().for_each(Waiter::expire);
    }

    /// A place for one call, and room in the queue for its bytes; waits for both in turn.
    pub(super) async fn admit(&self, bytes: usize) -> Result<Admission, CallError> {
        let closed = |_| self.closed_error();
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(closed)?;
        let room = Arc::clone(&self.room)
            .acquire_many_owned(self.share(bytes))
            .await
            .map_err(closed)?;
        Ok((place, room))
    }

    /// A place and room, if there are both now.
    pub(super) fn admit_now(&self, bytes: usize) -> Option<Admission> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(self.share(bytes))
            .ok()?;
        Some((place, room))
    }

    /// What a request counts for. One may be larger than the queue; it then waits for all of it.
    fn share(&self, bytes: usize) -> u32 {
        bytes
            .min(self.limits.queue_bytes)
            .clamp(1, u32::MAX as usize) as u32
    }

    /// Ends the connection, once: later reasons do not count.
    pub(super) fn close(&self, reason: CloseReason) {
        let waiters = {
            let mut queues = self.queues();
            if queues.closed.is_some() {
                return;
            }
            queues.closed = Some(reason.clone());
            if reason != CloseReason::Local {
                queues.answers.clear();
            }
            queues.calls.end()
        };
        tracing::debug!(%reason, "closing an NRI connection");
        self.places.close();
        self.room.close();
        self.closing.send_replace(Some(reason.clone()));
        self.work.notify_one();
        self.settled.notify_waiters();
        for waiter in waiters {
            waiter.finish(Err(CallError::Closed(reason.clone())));
        }
    }

    /// Resolves when the connection begins to close.
    pub(super) async fn closing(&self) -> CloseReason {
        let mut watch = self.closing.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        let reason = watch
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| reason.clone());
        reason.unwrap_or(CloseReason::Local)
    }

    /// Resolves when both directions are down.
    pub(super) async fn closed(&self) -> CloseReason {
        let _ = self.down.subscribe().wait_for(|down| *down).await;
        self.closing().await
    }

    /// Resolves when no request of the peer is in progress, or the connection closes.
    pub(super) async fn answered(&self) {
        self.settled(|| self.queues().answers.running() == 0).await;
    }

    /// Resolves when besides all that was to be written is, or the connection closes.
    pub(super) async fn all_written(&self) {
        self.settled(|| {
            // What is taken out of a queue is taken by whoever has the pen.
            let pen = self.pen();
            let begun = pen.as_ref().is_some_and(|pen| pen.begun.is_some());
            let queues = self.queues();
            !begun && queues.is_empty() && queues.answers.running() == 0
        })
        .await;
    }

    /// Resolves when something holds that may begin to hold whenever something is written, or the
    /// connection closes.
    async fn settled(&self, holds: impl Fn() -> bool) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // From here on no change is missed.
            settled.as_mut().enable();
            if self.close_reason().is_some() || holds() {
                return;
            }
            settled.await;
        }
    }

    /// Waits until no call is in flight. None begins while what is returned is there; `None` if the
    /// connection closes.
    pub(super) async fn no_calls(&self) -> Option<OwnedSemaphorePermit> {
        let all = u32::try_from(self.limits.max_calls.max(1)).unwrap_or(u32::MAX);
        let places = Arc::clone(&self.places).acquire_many_owned(all);
        places.await.ok()
    }

    /// Ends the connection, and leaves the stream as it is.
    pub(super) fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
        self.close(CloseReason::Local);
    }

    pub(super) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    /// To be called when an answer was written, with the lock still held.
    pub(super) fn written(&self, queues: &Queues) {
        if queues.answers.running() == 0 {
            self.settled.notify_waiters();
        }
    }

    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        self.queues().closed.clone()
    }

    pub(super) fn closed_error(&self) -> CallError {
        CallError::Closed(self.close_reason().unwrap_or(CloseReason::Local))
    }

    pub(super) fn lift_budget(&self) {
        self.budget_lifted.store(true, Ordering::Relaxed);
    }

    /// The byte budget, while it is in force.
    pub(super) fn budget(&self) -> Option<u64> {
        self.limits
            .byte_budget
            .filter(|_| !self.budget_lifted.load(Ordering::Relaxed))
    }

    /// Queues the answer of a handler; `false` if the connection is closed, so that it is nobody's
    /// any more.
    pub(super) fn queue_answer(&self, stream: u32, message: Message) -> bool {
        let mut queues = self.queues();
        if queues.closed.is_some() {
            return false;
        }
        queues.answers.answer(stream, message);
        self.count_queued(&queues);
        true
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.counters.snapshot();
        let queues = self.queues();
        stats.handlers = queues.answers.running();
        stats.calls = queues.calls.len();
        stats.queued_bytes = queues.bytes();
        stats
    }
}

/// Held by what reads and by what writes: the connection is down when both have let go.
#[derive(Debug)]
pub(super) struct Alive(pub(super) Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0
            .close(CloseReason::Io("its tasks were stopped".into()));
        self.0.pen().take();
        self.0.down.send_replace(true);
    }
}
