//! Why a plugin did not answer.

use std::fmt;

use crate::telemetry::metrics::ErrorClass;

/// Why a plugin did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It answered with an error, or the request or its answer was impossible.
    Status { code: i32, message: String },
    /// It is disconnected.
    Closed(String),
    /// The request could not be handed over in time.
    Late,
}

impl Failure {
    /// What it counts as.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Status { code, .. } => ErrorClass::of_code(*code),
            Self::Late => ErrorClass::DEADLINE_EXCEEDED,
            Self::Closed(_) => ErrorClass::CLOSED,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { code, message } => write!(f, "{message} (code {code})"),
            Self::Closed(reason) => f.write_str(reason),
            Self::Late => f.write_str("it did not answer in time"),
        }
    }
}
