//! One thing that was seen on a connection. What may not enter: how it is decoded or kept.

use bytes::Bytes;

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The runtime.
    Runtime,
    /// The plugin.
    Plugin,
}

impl Side {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Plugin => "plugin",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Runtime => Self::Plugin,
            Self::Plugin => Self::Runtime,
        }
    }
}

/// Something that was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The connection, counted from 1.
    pub connection: u64,
    /// When, in microseconds since the tap began.
    pub at_us: u64,
    /// What.
    pub what: What,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// A plugin has connected.
    Opened,
    /// A request.
    Request {
        /// Who asks.
        from: Side,
        /// Its number among the requests of that side.
        stream: u32,
        /// The method, by its bare name.
        method: String,
        /// The message.
        payload: Bytes,
        /// The time that it gives, in nanoseconds; 0 is none.
        timeout_ns: i64,
    },
    /// The answer to a request.
    Answer {
        /// Who answers.
        from: Side,
        /// The number of the request.
        stream: u32,
        /// The method; empty where the request was not seen.
        method: String,
        /// The message; empty with an error.
        payload: Bytes,
        /// The error's code and text; `None` if all is well.
        error: Option<(i32, String)>,
    },
    /// Something that cannot be read or is not shown; why.
    Lost {
        /// In words.
        why: String,
    },
    /// The connection has ended.
    Closed,
}

impl Entry {
    /// About how many bytes of memory it holds.
    pub(super) fn size(&self) -> usize {
        let held = match &self.what {
            What::Request { payload, .. } | What::Answer { payload, .. } => payload.len(),
            What::Lost { why } => why.len(),
            What::Opened | What::Closed => 0,
        };
        held + size_of::<Self>()
    }
}
