//! Why an instance cannot be started, or does not take a call.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::DomainError;

/// Why an instance cannot be started, or does not take a call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// It was started before.
    #[error("the NRI instance is started already")]
    AlreadyStarted,
    /// It was stopped; build a new one.
    #[error("the NRI instance is stopped; build a new one to start again")]
    Stopped,
    /// It was given up with all that was under way, since it was stopped or dropped.
    #[error("the request was given up")]
    GivenUp,
    /// So many exits of containers wait to be relayed that one more is not taken. Plugins hear of
    /// it when the container is removed.
    #[error(
        "{limit} exits wait to be relayed; plugins hear of that of {container} when it is removed"
    )]
    TooManyExits {
        /// How many may wait.
        limit: usize,
        /// The container, with its domain.
        container: String,
    },
    /// It does not know what exists, since a domain cannot say.
    #[error("the source of domain {domain:?} cannot list its containers: {source}")]
    NotListed {
        /// The domain's name.
        domain: String,
        /// Why it cannot.
        source: DomainError,
    },
    /// It cannot be started.
    #[error(transparent)]
    Start(StartFailure),
}

/// Why an instance cannot be started, as its implementation says it. Two are equal if they say the
/// same.
///
/// ```
/// use nri_core::{Error, InstanceError, StartFailure};
///
/// let source = std::io::Error::other("the socket is taken");
/// let error = Error::from(InstanceError::Start(StartFailure::new(source)));
/// assert_eq!(error.to_string(), "the socket is taken");
/// let Error::Instance(InstanceError::Start(failure)) = error else { panic!() };
/// assert!(failure.downcast_ref::<std::io::Error>().is_some());
/// ```
#[derive(Clone)]
pub struct StartFailure(Arc<dyn StdError + Send + Sync>);

impl StartFailure {
    /// That this error is why.
    pub fn new(error: impl StdError + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    /// The error, if it is of this type; for `nri-adaptation`, that is its `Error`.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl PartialEq for StartFailure {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl fmt::Debug for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for StartFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
