//! Calls of this side: stream ids, the queue of requests, and who waits for which reply.
//!
//! Plain state under the connection's lock; no I/O and no waiting may enter.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::error::CallError;
use super::message::PreparedRequest;

pub(super) type Reply = Result<Bytes, CallError>;

/// What came of a call that [`Client::start`](super::Client::start) has begun.
#[derive(Debug)]
#[non_exhaustive]
pub struct CallEnd {
    /// The encoded reply, or why there is none.
    pub reply: Result<Bytes, CallError>,
    /// Whether the request was handed to the transport whole, so that the peer may know of it.
    pub written: bool,
}

/// A request that waits to be written.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) request: PreparedRequest,
    pub(super) deadline: Option<Instant>,
    /// What it counts for in the queue.
    pub(super) bytes: usize,
    /// Its share of the queue, given back once it is written.
    pub(super) room: OwnedSemaphorePermit,
}

/// What happens when a reply has come, or never will.
pub(super) enum Done {
    /// The task that waits is woken.
    Wake(oneshot::Sender<Reply>),
    /// This is run, by whoever brings the reply.
    Run {
        then: Box<dyn FnOnce(CallEnd) + Send>,
        /// The time that the call was given, if it was given any.
        after: Duration,
    },
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wake(_) => "Wake",
            Self::Run { .. } => "Run",
        })
    }
}

/// Someone who waits for a reply. It may hold foreign code: it is finished and dropped without any
/// lock.
#[derive(Debug)]
pub(super) struct Waiter {
    done: Done,
    /// Told when the request has been written, or answered, whichever is first.
    written: Option<oneshot::Sender<()>>,
    /// Whether the write has begun: nothing can be a reply before that.
    sent: bool,
    /// Whether the request has been written whole.
    whole: bool,
    /// Its place among the calls in flight, given back with it.
    _place: OwnedSemaphorePermit,
}

impl Waiter {
    pub(super) fn new(
        done: Done,
        written: Option<oneshot::Sender<()>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            done,
            written,
            sent: false,
            whole: false,
            _place: place,
        }
    }

    /// Whether code that is not ours runs with the reply.
    pub(super) fn runs_code(&self) -> bool {
        matches!(self.done, Done::Run { .. })
    }

    /// Hands the reply over.
    pub(super) fn finish(self, reply: Reply) {
        let Self {
            done,
            whole: written,
            _place,
            ..
        } = self;
        // Free for whatever is called next.
        drop(_place);
        match done {
            // Whoever waited may have gone.
            Done::Wake(sender) => drop(sender.send(reply)),
            Done::Run { then, .. } => then(CallEnd { reply, written }),
        }
    }

    /// Its time was over before it was written.
    pub(super) fn expire(self) {
        match self.done {
            // Whoever waits finds that nobody will answer, and looks why.
            Done::Wake(_) => {}
            Done::Run { after, .. } => self.finish(Err(CallError::DeadlineExceeded { after })),
        }
    }
}

/// The calls of one connection.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// How many ids were given out.
    used: u32,
    queued: BTreeMap<u32, Queued>,
    waiting: HashMap<u32, Waiter>,
    /// Those whose deadline passed in the queue, and who are not told yet.
    expired: Vec<Waiter>,
}

impl Calls {
    /// The next stream id: odd, increasing; `None` when all are used up.
    ///
    /// Under the lock in which the request is queued, and the queue goes out by id: so ids increase
    /// on the wire.
    pub(super) fn take_id(&mut self) -> Option<u32> {
        let id = self.used.checked_mul(2)?.checked_add(1)?;
        self.used += 1;
        Some(id)
    }

    /// How many ids were given out.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Goes on behind ids that were given out elsewhere.
    pub(super) fn go_on(&mut self, used: u32) {
        self.used = used;
    }

    pub(super) fn push(&mut self, stream: u32, queued: Queued, waiter: Waiter) {
        self.queued.insert(stream, queued);
        self.waiting.insert(stream, waiter);
    }

    /// The next request to write, those whose deadline has passed left out. Its bytes leave the
    /// queue with it.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(u32, Queued)> {
        while let Some((stream, queued)) = self.queued.pop_first() {
            if queued.deadline.is_some_and(|deadline| deadline <= now) {
                self.expired.extend(self.waiting.remove(&stream));
                continue;
            }
            if let Some(waiter) = self.waiting.get_mut(&stream) {
                waiter.sent = true;
                return Some((stream, queued));
            }
        }
        None
    }

    /// The request on `stream` has been written.
    pub(super) fn written(&mut self, stream: u32) {
        let Some(waiter) = self.waiting.get_mut(&stream) else {
            return;
        };
        waiter.whole = true;
        if let Some(written) = waiter.written.take() {
            // Whoever waited may have gone.
            let _ = written.send(());
        }
    }

    /// Whether a reply on `stream` has a waiter.
    pub(super) fn expects(&self, stream: u32) -> bool {
        self.waiting.get(&stream).is_some_and(|waiter| waiter.sent)
    }

    /// Takes out who waits for the reply that has come on `stream`; `None` if nobody does.
    pub(super) fn replied(&mut self, stream: u32) -> Option<Waiter> {
        if !self.expects(stream) {
            return None;
        }
        self.written(stream);
        self.waiting.remove(&stream)
    }

    /// Takes out those whose deadline passed in the queue.
    pub(super) fn expired(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.expired)
    }

    /// The caller no longer waits. A request that has not begun to be written is taken back.
    pub(super) fn forget(&mut self, stream: u32) -> Option<Waiter> {
        self.queued.remove(&stream);
        self.waiting.remove(&stream)
    }

    /// Whether no request waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    /// Bytes of queued requests.
    pub(super) fn bytes(&self) -> usize {
        self.queued.values().map(|queued| queued.bytes).sum()
    }

    /// Calls queued or unanswered.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Drops all queued requests and takes out all who wait.
    pub(super) fn end(&mut self) -> Vec<Waiter> {
        self.queued.clear();
        self.waiting.drain().map(|(_, waiter)| waiter).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::transport::error::CloseReason;

    struct Caller {
        reply: oneshot::Receiver<Reply>,
        written: oneshot::Receiver<()>,
    }

    fn permit() -> OwnedSemaphorePermit {
        Arc::new(Semaphore::new(1))
            .try_acquire_owned()
            .expect("free")
    }

    fn push(calls: &mut Calls, deadline: Option<Instant>) -> (u32, Caller) {
        let (reply_to, reply) = oneshot::channel();
        let (written_to, written) = oneshot::channel();
        let request = PreparedRequest::new("s", "m", Bytes::new(), &[]);
        let stream = calls.take_id().expect("ids are left");
        let queued = Queued {
            request,
            deadline,
            bytes: 10,
            room: permit(),
        };
        let waiter = Waiter::new(Done::Wake(reply_to), Some(written_to), permit());
        calls.push(stream, queued, waiter);
        (stream, Caller { reply, written })
    }

    #[test]
    fn ids_are_odd_increasing_and_end() {
        let mut calls = Calls::default();
        assert_eq!(
            [calls.take_id(), calls.take_id(), calls.take_id()],
            [Some(1), Some(3), Some(5)]
        );
        calls.used = u32::MAX / 2;
        assert_eq!(calls.take_id(), Some(u32::MAX));
        assert_eq!(calls.take_id(), None);
        assert_eq!(calls.take_id(), None);
    }

    #[test]
    fn a_call_goes_from_queue_to_reply() {
        let mut calls = Calls::default();
        let (stream, mut caller) = push(&mut calls, None);
        assert!(calls.replied(stream).is_none(), "nothing was sent yet");
        assert_eq!(calls.pop(Instant::now()).map(|(stream, _)| stream), Some(1));
        assert_eq!(calls.bytes(), 0);
        assert!(caller.written.try_recv().is_err());
        calls.written(stream);
        assert_eq!(caller.written.try_recv(), Ok(()));
        let waiter = calls.replied(stream).expect("it waits");
        waiter.finish(Ok(Bytes::from_static(b"x")));
        assert_eq!(caller.reply.try_recv(), Ok(Ok(Bytes::from_static(b"x"))));
        assert!(calls.replied(stream).is_none(), "late");
        assert_eq!(calls.len(), 0);
    }

    /// Law: an answer proves that the request was written.
    #[test]
    fn a_reply_counts_as_written() {
        let mut calls = Calls::default();
        let (stream, mut caller) = push(&mut calls, None);
        calls.pop(Instant::now());
        assert!(calls.replied(stream).is_some());
        assert_eq!(caller.written.try_recv(), Ok(()));
    }

    #[test]
    fn forgotten_and_expired_requests_are_not_sent() {
        let mut calls = Calls::default();
        let now = Instant::now();
        let (first, _caller) = push(&mut calls, None);
        let (_, mut expired) = push(&mut calls, Some(now));
        let (third, _) = push(&mut calls, Some(now + Duration::from_secs(1)));
        calls.forget(first);
        assert_eq!(calls.pop(now).map(|(stream, _)| stream), Some(third));
        assert!(calls.pop(now).is_none());
        calls.expired().into_iter().for_each(Waiter::expire);
        assert_eq!(
            expired.written.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        );
        assert_eq!(calls.len(), 1);
    }

    #[test]
    fn closing_fails_all() {
        let mut calls = Calls::default();
        let (_, mut queued) = push(&mut calls, None);
        let error = CallError::Closed(CloseReason::PeerClosed);
        for waiter in calls.end() {
            waiter.finish(Err(error.clone()));
        }
        assert_eq!(queued.reply.try_recv(), Ok(Err(error)));
        assert!(queued.written.try_recv().is_err());
        assert!(calls.pop(Instant::now()).is_none());
    }
}
