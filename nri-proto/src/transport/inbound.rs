//! Requests of the peer: which ids are valid, which are in progress, and the answers that wait to
//! be written.
//!
//! Plain state under the connection's lock; no I/O and no waiting may enter.

use std::collections::{HashMap, VecDeque};

use super::limits::{Limits, MAX_MESSAGE};
use super::message::{self, DATA, Head, Message, REQUEST};
use super::status::{Code, Status};

/// An answer that needs no handler. It is kept as these few bytes until it is written, so a flood
/// of bad requests costs little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) stream: u32,
    pub(super) reason: RefusalReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusalReason {
    EvenId,
    ReusedId,
    NotActive,
    TooLarge { len: u32 },
    Busy,
}

impl Refusal {
    /// The texts are those of Go peers; only the codes matter.
    fn status(self) -> Status {
        let invalid = |text: &str| Status::new(Code::InvalidArgument, text);
        match self.reason {
            RefusalReason::EvenId => invalid("StreamID must be odd for client initiated streams"),
            RefusalReason::ReusedId => invalid("StreamID cannot be re-used and must increment"),
            RefusalReason::NotActive => invalid("StreamID is no longer active"),
            RefusalReason::TooLarge { len } => Status::too_large(len as usize, MAX_MESSAGE),
            RefusalReason::Busy => {
                Status::new(Code::ResourceExhausted, "too many requests in progress")
            }
        }
    }
}

/// What to do with a message of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Hand it to a handler, and answer.
    Serve,
    /// Answer with this.
    Refuse(Refusal),
    /// Nothing.
    Ignore,
}

/// An answer that leaves for the wire.
#[derive(Debug)]
pub(super) struct OutboundAnswer {
    pub(super) message: Message,
    /// Whether a handler's place becomes free once it is written.
    pub(super) frees: Option<u32>,
}

/// The peer's requests on one connection.
#[derive(Debug, Default)]
pub(super) struct Answers {
    highest: u32,
    /// Requests in progress until their answer is written, with the bytes they count for.
    running: HashMap<u32, usize>,
    running_bytes: usize,
    ready: VecDeque<(u32, Message)>,
    ready_bytes: usize,
    refusals: VecDeque<Refusal>,
    refusal_is_next: bool,
}

impl Answers {
    /// Admits or refuses a message that arrived whole; `too_long` if its data was discarded.
    pub(super) fn admit(&mut self, head: Head, too_long: bool, limits: &Limits) -> Verdict {
        let Head { stream, kind, len } = head;
        let refuse = |reason| Verdict::Refuse(Refusal { stream, reason });
        if kind != REQUEST && kind != DATA {
            return Verdict::Ignore;
        }
        if too_long {
            // Announced in 32 bits.
            return refuse(RefusalReason::TooLarge { len: len as u32 });
        }
        if stream % 2 == 0 {
            return refuse(RefusalReason::EvenId);
        }
        if kind == DATA {
            // An answer now would be taken for that of the request in progress.
            let active = self.running.contains_key(&stream);
            return if active {
                Verdict::Ignore
            } else {
                refuse(RefusalReason::NotActive)
            };
        }
        if stream <= self.highest {
            return refuse(RefusalReason::ReusedId);
        }
        self.highest = stream;
        let crowded = !self.running.is_empty()
            && self.running_bytes.saturating_add(len) > limits.max_handler_bytes;
        if crowded || self.running.len() >= limits.max_handlers {
            return refuse(RefusalReason::Busy);
        }
        self.running.insert(stream, len);
        self.running_bytes += len;
        Verdict::Serve
    }

    /// The highest id of a request so far.
    pub(super) fn highest(&self) -> u32 {
        self.highest
    }

    /// Goes on behind requests that came elsewhere.
    pub(super) fn go_on(&mut self, highest: u32) {
        self.highest = highest;
    }

    /// Queues the answer of a handler.
    pub(super) fn answer(&mut self, stream: u32, message: Message) {
        if let Some(bytes) = self.running.get_mut(&stream) {
            self.running_bytes = self.running_bytes - *bytes + message.len();
            *bytes = message.len();
        }
        self.ready_bytes += message.len();
        self.ready.push_back((stream, message));
    }

    /// Queues a refusal; returns how many wait now.
    pub(super) fn refuse(&mut self, refusal: Refusal) -> usize {
        self.refusals.push_back(refusal);
        self.refusals.len()
    }

    /// The next answer to write: handlers' answers and refusals in turn.
    pub(super) fn pop(&mut self) -> Option<OutboundAnswer> {
        self.refusal_is_next = !self.refusal_is_next;
        if self.refusal_is_next {
            self.pop_answer().or_else(|| self.pop_refusal())
        } else {
            self.pop_refusal().or_else(|| self.pop_answer())
        }
    }

    fn pop_answer(&mut self) -> Option<OutboundAnswer> {
        let (stream, message) = self.ready.pop_front()?;
        self.ready_bytes -= message.len();
        Some(OutboundAnswer {
            message,
            frees: Some(stream),
        })
    }

    fn pop_refusal(&mut self) -> Option<OutboundAnswer> {
        let refusal = self.refusals.pop_front()?;
        let message = message::response(refusal.stream, Err(refusal.status()));
        Some(OutboundAnswer {
            message,
            frees: None,
        })
    }

    /// The answer on `stream` has been written; its handler's place is free.
    pub(super) fn free(&mut self, stream: u32) {
        if let Some(bytes) = self.running.remove(&stream) {
            self.running_bytes -= bytes;
        }
    }

    /// Requests in progress.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Bytes that wait to be written.
    pub(super) fn bytes(&self) -> usize {
        self.ready_bytes + self.refusals.len() * size_of::<Refusal>()
    }

    /// Whether no answer waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.refusals.is_empty()
    }

    /// Drops all that waits to be written.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::message::RESPONSE;

    fn head(stream: u32, kind: u8, len: usize) -> Head {
        Head { stream, kind, len }
    }

    fn limits(max_handlers: usize, max_handler_bytes: usize) -> Limits {
        Limits {
            max_handlers,
            max_handler_bytes,
            ..Limits::default()
        }
    }

    #[test]
    fn places_are_taken_until_the_answer_is_written() {
        let mut answers = Answers::default();
        let limits = limits(2, 1000);
        assert_eq!(
            answers.admit(head(1, REQUEST, 10), false, &limits),
            Verdict::Serve
        );
        assert_eq!(
            answers.admit(head(3, REQUEST, 10), false, &limits),
            Verdict::Serve
        );
        let busy = Verdict::Refuse(Refusal {
            stream: 5,
            reason: RefusalReason::Busy,
        });
        assert_eq!(answers.admit(head(5, REQUEST, 10), false, &limits), busy);
        answers.answer(1, message::response(1, Ok(Vec::new())));
        let busy = Verdict::Refuse(Refusal {
            stream: 7,
            reason: RefusalReason::Busy,
        });
        assert_eq!(answers.admit(head(7, REQUEST, 10), false, &limits), busy);
        assert_eq!(answers.pop().and_then(|answer| answer.frees), Some(1));
        answers.free(1);
        assert_eq!(
            answers.admit(head(9, REQUEST, 10), false, &limits),
            Verdict::Serve
        );
        assert_eq!(answers.running(), 2);
    }

    #[test]
    fn bytes_in_progress_count_unless_there_are_none() {
        let mut answers = Answers::default();
        let limits = limits(100, 1000);
        assert_eq!(
            answers.admit(head(1, REQUEST, 5000), false, &limits),
            Verdict::Serve
        );
        let busy = Verdict::Refuse(Refusal {
            stream: 3,
            reason: RefusalReason::Busy,
        });
        assert_eq!(answers.admit(head(3, REQUEST, 0), false, &limits), busy);
        // The answer replaces the request in the account.
        answers.answer(1, message::response(1, Ok(Vec::new())));
        assert_eq!(
            answers.admit(head(5, REQUEST, 900), false, &limits),
            Verdict::Serve
        );
        let busy = Verdict::Refuse(Refusal {
            stream: 7,
            reason: RefusalReason::Busy,
        });
        assert_eq!(answers.admit(head(7, REQUEST, 100), false, &limits), busy);
        answers.free(1);
        assert_eq!(
            answers.admit(head(9, REQUEST, 100), false, &limits),
            Verdict::Serve
        );
    }

    #[test]
    fn what_is_refused_has_no_state() {
        let mut answers = Answers::default();
        let limits = Limits::default();
        for (head, too_long, reason) in [
            (head(0, REQUEST, 0), false, RefusalReason::EvenId),
            (head(2, REQUEST, 0), false, RefusalReason::EvenId),
            (head(2, DATA, 0), false, RefusalReason::EvenId),
            (head(1, DATA, 0), false, RefusalReason::NotActive),
            (
                head(1, REQUEST, 5_000_000),
                true,
                RefusalReason::TooLarge { len: 5_000_000 },
            ),
        ] {
            let refusal = Refusal {
                stream: head.stream,
                reason,
            };
            assert_eq!(
                answers.admit(head, too_long, &limits),
                Verdict::Refuse(refusal)
            );
        }
        for head in [head(1, RESPONSE, 0), head(2, 0, 0), head(1, 99, 7)] {
            assert_eq!(answers.admit(head, false, &limits), Verdict::Ignore);
            assert_eq!(answers.admit(head, true, &limits), Verdict::Ignore);
        }
        assert_eq!(answers.running(), 0);
        assert_eq!(
            answers.admit(head(5, REQUEST, 0), false, &limits),
            Verdict::Serve
        );
        assert_eq!(
            answers.admit(head(5, DATA, 0), false, &limits),
            Verdict::Ignore
        );
        for stream in [1, 3, 5] {
            let refusal = Refusal {
                stream,
                reason: RefusalReason::ReusedId,
            };
            let verdict = answers.admit(head(stream, REQUEST, 0), false, &limits);
            assert_eq!(verdict, Verdict::Refuse(refusal));
        }
    }

    /// Law: refusals do not hold up answers, nor answers refusals.
    #[test]
    fn answers_and_refusals_leave_in_turn() {
        let mut answers = Answers::default();
        for stream in [2, 4, 6] {
            answers.refuse(Refusal {
                stream,
                reason: RefusalReason::EvenId,
            });
        }
        for stream in [1, 3] {
            answers.admit(head(stream, REQUEST, 0), false, &Limits::default());
            answers.answer(stream, message::response(stream, Ok(Vec::new())));
        }
        let order: Vec<_> = std::iter::from_fn(|| answers.pop())
            .map(|answer| answer.frees)
            .collect();
        assert_eq!(order, [Some(1), None, Some(3), None, None]);
        assert_eq!(answers.bytes(), 0);
    }
}
