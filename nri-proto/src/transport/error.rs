//! Why a call failed, and why a connection ended.

use std::time::Duration;

use thiserror::Error;

use super::status::{Code, Status};

/// Why a call has no reply.
///
/// Nothing but [`CallError::Closed`] says anything about the connection: after every other error it
/// works on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The peer answered with an error.
    #[error(transparent)]
    Status(#[from] Status),
    /// The encoded request is longer than the protocol allows. Nothing was sent; send less at a
    /// time.
    #[error("the request has {size} bytes encoded, above the limit of {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The most that may be sent.
        limit: usize,
    },
    /// The peer's reply was longer than the protocol allows, and was discarded.
    #[error("the reply has {size} bytes, above the limit of {limit}")]
    ReplyTooLarge {
        /// Its size in bytes, as announced.
        size: usize,
        /// The most that may be received.
        limit: usize,
    },
    /// The caller's own deadline passed while the request was queued, written or unanswered.
    #[error("no reply within {after:?}")]
    DeadlineExceeded {
        /// The timeout of the call.
        after: Duration,
    },
    /// The connection is closed, or closed while the call was under way.
    #[error("the connection is closed: {0}")]
    Closed(CloseReason),
    /// A reply came, but it is not the message that was expected.
    #[error("the reply cannot be decoded: {0}")]
    Decode(String),
}

impl CallError {
    /// The status code that stands for this error.
    ///
    /// ```
    /// use nri_proto::transport::{CallError, Code};
    /// let error = CallError::TooLarge { size: 5_000_000, limit: 4_194_304 };
    /// assert_eq!(error.code(), Code::ResourceExhausted);
    /// ```
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Status(status) => status.code,
            Self::TooLarge { .. } | Self::ReplyTooLarge { .. } => Code::ResourceExhausted,
            Self::DeadlineExceeded { .. } => Code::DeadlineExceeded,
            Self::Closed(_) => Code::Unavailable,
            Self::Decode(_) => Code::Internal,
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it: by `close`, or by dropping the last handle.
    #[error("closed by this side")]
    Local,
    /// The peer closed it, between two messages.
    #[error("closed by the peer")]
    PeerClosed,
    /// The operating system reported an error.
    #[error("input/output error: {0}")]
    Io(String),
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The peer sends requests and does not read the answers.
    #[error("{waiting} refused requests wait to be answered, above the limit of {limit}")]
    Overflow {
        /// How many answers the peer has not read.
        waiting: usize,
        /// The limit in force.
        limit: usize,
    },
    /// The peer took too long to read what was being written to it.
    #[error("the peer did not read a message within {after:?}")]
    StuckWrite {
        /// How long the write was given.
        after: Duration,
    },
    /// The peer sent more than it may before it has registered.
    #[error("more than {limit} bytes before registration")]
    Budget {
        /// The budget in bytes.
        limit: u64,
    },
    /// The peer sent parts of messages and not the rest, and more of them than any other, when all
    /// connections together held more than they may.
    #[error(
        "it has sent {held} bytes of messages that are not whole, the most of all connections, which hold {total} bytes together, above the limit of {limit}"
    )]
    Incomplete {
        /// What this connection held, in bytes.
        held: usize,
        /// What all of them held, in bytes.
        total: usize,
        /// The most that they may hold, in bytes.
        limit: usize,
    },
    /// All 2^31 ids for calls of this side are used up; a new connection has new ones.
    #[error("all stream ids are used up")]
    IdsExhausted,
}
