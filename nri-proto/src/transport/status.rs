//! What a handler may answer instead of a message: a code and a text.

use std::fmt;

use thiserror::Error;

/// The status codes of ttrpc, which are those of gRPC.
///
/// ```
/// use nri_proto::transport::Code;
/// assert_eq!(Code::from(12), Code::Unimplemented);
/// assert_eq!(Code::Unimplemented.value(), 12);
/// assert_eq!(Code::from(99), Code::Other(99));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// 0: success.
    Ok,
    /// 1: the caller or the connection cancelled the call.
    Cancelled,
    /// 2: an error without a better code; what plain errors of Go handlers become.
    Unknown,
    /// 3: the request is wrong whatever the state.
    InvalidArgument,
    /// 4: the deadline passed.
    DeadlineExceeded,
    /// 5: something named in the request does not exist.
    NotFound,
    /// 6: something to be created exists.
    AlreadyExists,
    /// 7: the caller may not do this.
    PermissionDenied,
    /// 8: too large, or too many.
    ResourceExhausted,
    /// 9: the state does not allow this.
    FailedPrecondition,
    /// 10: lost a race.
    Aborted,
    /// 11: past a valid range.
    OutOfRange,
    /// 12: the service or method does not exist. Part of the contract: runtimes fall back to older
    /// methods on it.
    Unimplemented,
    /// 13: a defect on the answering side.
    Internal,
    /// 14: the peer cannot be reached now.
    Unavailable,
    /// 15: data was lost.
    DataLoss,
    /// 16: the caller is not known.
    Unauthenticated,
    /// A number that has no name here.
    Other(i32),
}

/// The named codes in the order of their numbers, from 0.
const NAMED: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

impl Code {
    /// The number on the wire.
    #[must_use]
    pub fn value(self) -> i32 {
        match self {
            Self::Other(value) => value,
            // Seventeen entries.
            named => NAMED
                .iter()
                .position(|code| *code == named)
                .unwrap_or_default() as i32,
        }
    }
}

impl From<i32> for Code {
    fn from(value: i32) -> Self {
        usize::try_from(value)
            .ok()
            .and_then(|index| NAMED.get(index).copied())
            .unwrap_or(Self::Other(value))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(value) => write!(f, "code {value}"),
            named => write!(f, "{named:?} (code {})", named.value()),
        }
    }
}

/// An error answer: what a handler returns instead of a message, and what its caller gets.
///
/// ```
/// use nri_proto::transport::{Code, Status};
/// let status = Status::new(Code::NotFound, "container c0 does not exist");
/// assert_eq!(status.to_string(), "container c0 does not exist [NotFound (code 5)]");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message} [{code}]")]
pub struct Status {
    /// The kind of error; peers act on this alone.
    pub code: Code,
    /// The error in words.
    pub message: String,
}

impl Status {
    /// A status of `code` with a text.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Code 2, UNKNOWN: an ordinary error of a handler, in words.
    #[must_use]
    pub fn unknown(message: impl fmt::Display) -> Self {
        Self::new(Code::Unknown, message.to_string())
    }

    /// Code 12, UNIMPLEMENTED: this service has no such method.
    #[must_use]
    pub fn unknown_method(name: &str) -> Self {
        Self::new(Code::Unimplemented, format!("method {}", shortened(name)))
    }

    /// Code 12, UNIMPLEMENTED: no such service is served here.
    pub(super) fn unknown_service(name: &str) -> Self {
        Self::new(Code::Unimplemented, format!("service {}", shortened(name)))
    }

    /// Code 8 for a message of `len` bytes, in the words Go peers use.
    pub(super) fn too_large(len: usize, limit: usize) -> Self {
        let message = format!("message length {len} exceed maximum message size of {limit}");
        Self::new(Code::ResourceExhausted, message)
    }
}

/// The beginning of a text that a peer chose, short enough to repeat.
fn shortened(text: &str) -> &str {
    const LIMIT: usize = 128;
    let end = (0..=LIMIT.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law: numbers and codes correspond, named or not.
    #[test]
    fn codes_round_trip() {
        for value in [-1, 0, 1, 2, 8, 12, 13, 16, 17, i32::MAX, i32::MIN] {
            assert_eq!(Code::from(value).value(), value);
        }
        for code in NAMED {
            assert_eq!(Code::from(code.value()), code);
        }
    }

    /// Law: a name that a peer sends is not echoed whole when it is long.
    #[test]
    fn long_names_are_cut_between_characters() {
        let status = Status::unknown_method(&"ä".repeat(1000));
        assert_eq!(status.message, format!("method {}", "ä".repeat(64)));
        let status = Status::unknown_method(&format!("x{}", "ä".repeat(1000)));
        assert_eq!(status.message, format!("method x{}", "ä".repeat(63)));
        assert_eq!(Status::unknown_service("").message, "service ");
    }
}
