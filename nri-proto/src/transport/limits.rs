//! What a connection may use, and what it has used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::frame;

/// Longest ttrpc message, header not counted, in either direction: 4 MiB. Given by the protocol.
pub const MAX_MESSAGE: usize = 4 << 20;

/// Bounds of one connection.
///
/// ```
/// use nri_proto::transport::Limits;
/// let mut limits = Limits::default();
/// limits.byte_budget = Some(64 << 10);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest frame payload accepted, in bytes; a longer one closes the connection. Default 16
    /// MiB, which the oldest peers may send. It is not allocated.
    pub max_frame: u32,
    /// Requests of the peer in progress at a time, until their answers are written. One more is
    /// answered with code 8 at once. Default 256.
    pub max_handlers: usize,
    /// Bytes of requests in progress and of answers not yet written. A request that comes on top
    /// is answered with code 8, unless none is in progress. Default 32 MiB.
    pub max_handler_bytes: usize,
    /// Own calls that are queued or unanswered at a time; one more waits for its place within its
    /// deadline. Default 96: a Go peer closes the connection over the 257th frame it has not
    /// read yet, and a call may take two.
    pub max_calls: usize,
    /// Bytes of own requests queued at a time; further ones wait within their deadline. Default 8
    /// MiB.
    pub queue_bytes: usize,
    /// Refusals (eight bytes each) that wait to be written; one more closes the connection.
    /// Default 65,536.
    pub max_refusals: usize,
    /// How long the peer may take to read a message that is being written, before the connection
    /// is closed as stuck. A call with a later deadline extends it for its own request.
    /// Default 5 s.
    pub write_timeout: Duration,
    /// Bytes accepted in total before the budget is lifted. Default none.
    pub byte_budget: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: frame::MAX_PAYLOAD,
            max_handlers: 256,
            max_handler_bytes: 32 << 20,
            max_calls: 96,
            queue_bytes: 8 << 20,
            max_refusals: 1 << 16,
            write_timeout: Duration::from_secs(5),
            byte_budget: None,
        }
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What happened on a connection since it started.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Requests of the peer in progress now.
            pub handlers: usize,
            /// Own calls queued or unanswered now.
            pub calls: usize,
            /// Bytes queued for writing now.
            pub queued_bytes: usize,
        }

        /// The counters behind [`Stats`].
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)+
        }

        impl Counters {
            pub(super) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.0.load(Ordering::Relaxed),)+ ..Stats::default() }
            }
        }
    };
}

counters! {
    /// Frames read, those dropped included.
    frames_in,
    /// Bytes read, frame headers included.
    bytes_in,
    /// Frames written.
    frames_out,
    /// Bytes written, frame headers included.
    bytes_out,
    /// Messages read whole.
    messages_in,
    /// Messages written whole.
    messages_out,
    /// Frames for ids that are not in use; they are read and dropped.
    dropped_frames,
    /// Messages of a type that means nothing where it arrived.
    ignored_messages,
    /// Messages of the peer above the size limit; their bytes were discarded.
    oversized_in,
    /// Replies to calls that nobody waits for: late, or never asked.
    late_replies,
    /// Requests answered with code 8 because too many were in progress.
    refused_busy,
    /// Requests refused for their id or type.
    refused_invalid,
    /// Handlers that panicked.
    handler_panics,
    /// The most requests of the peer that were in progress at once.
    handlers_high,
    /// The most bytes that were queued for writing at once.
    queued_bytes_high,
    /// The most bytes of incomplete messages that were held at once.
    partial_bytes_high,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Raises a high-water mark.
    pub(super) fn reach(&self, n: usize) {
        self.0.fetch_max(n as u64, Ordering::Relaxed);
    }
}
