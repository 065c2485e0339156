//! The pen: the writing half of a connection's stream, and what is being written to it.
//!
//! What may not enter: the writing itself.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::outgoing::Frames;

/// Messages that are written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) frames: Frames,
    pub(super) bytes: usize,
    pub(super) messages: usize,
    /// Streams of the requests in it.
    pub(super) calls: Vec<u32>,
    /// Streams of the handlers' answers in it.
    pub(super) answers: Vec<u32>,
    /// The latest deadline of its requests.
    pub(super) deadline: Option<Instant>,
    /// The requests' shares of the queue.
    pub(super) room: Vec<OwnedSemaphorePermit>,
}

/// The writing half of the stream, and what is being written to it. Whoever holds it writes; nobody
/// waits for it.
pub(super) struct Pen {
    pub(super) stream: Box<dyn AsyncWrite + Send + Unpin>,
    pub(super) begun: Option<Begun>,
    /// What a caller found that is for the writer task to act on.
    pub(super) failed: Option<io::Error>,
}

/// A batch that the peer has not taken whole.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) batch: Batch,
    pub(super) start: Instant,
    /// When the peer has had its time.
    pub(super) limit: Instant,
}

impl fmt::Debug for Pen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pen")
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}

impl Pen {
    pub(super) fn new(stream: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        Self {
            stream,
            begun: None,
            failed: None,
        }
    }
}

impl Begun {
    /// `patience` is how long the peer may take at least.
    pub(super) fn new(batch: Batch, patience: Duration) -> Self {
        let start = Instant::now();
        let limit = start + patience;
        let limit = batch.deadline.map_or(limit, |deadline| deadline.max(limit));
        Self {
            batch,
            start,
            limit,
        }
    }
}
