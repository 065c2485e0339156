//! Why something could not be done, as a CRI client is told.

use std::fmt::Display;
use std::path::Path;

use nri_domain_cri::CriError;
use tonic::{Code, Status};

/// What went wrong, with the code of gRPC that a CRI client gets.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    code: Code,
    message: String,
}

/// The result of most of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:ident;)*) => {
        impl Error {
            $($(#[$doc])*
            pub fn $name(message: impl Into<String>) -> Self {
                Self { code: Code::$code, message: message.into() }
            })*
        }
    };
}

kinds! {
    /// There is no such thing.
    not_found = NotFound;
    /// The request makes no sense.
    invalid = InvalidArgument;
    /// It is there already.
    exists = AlreadyExists;
    /// Not in the state that it is in.
    precondition = FailedPrecondition;
    /// Not in time.
    deadline = DeadlineExceeded;
    /// There is no more of something.
    exhausted = ResourceExhausted;
    /// Not at this time.
    unavailable = Unavailable;
    /// Something that this runtime cannot do.
    unimplemented = Unimplemented;
    /// Something of the system's is not there or failed.
    internal = Internal;
}

impl Error {
    /// An error of the operating system with a file or directory.
    pub fn file(doing: &str, path: &Path, error: impl Display) -> Self {
        Self::internal(format!("cannot {doing} {}: {error}", path.display()))
    }

    /// The same error, with what it happened to in front.
    #[must_use]
    pub fn of(mut self, what: impl Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The code of gRPC.
    pub fn code(&self) -> Code {
        self.code
    }
}

impl From<CriError> for Error {
    fn from(error: CriError) -> Self {
        Self {
            code: Code::from_i32(error.code()),
            message: error.to_string(),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Status::new(error.code, error.message)
    }
}
