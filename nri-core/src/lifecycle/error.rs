//! Steps that do not exist.

use super::ObjectKey;
use crate::model::State;
use crate::{Error, Event};

/// Why a step in the life of a pod or container cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleError {
    /// It is to appear although it lives.
    #[error(
        "{event} of {key}, which is {state:?} already: remove it first, or give the new one another id"
    )]
    Alive {
        /// What lives.
        key: ObjectKey,
        /// The step.
        event: Event,
        /// The state it is in.
        state: State,
    },
    /// It is to be started again although its stop was announced. Lives only lead forward.
    #[error(
        "{event} of {key} after its stop was announced: remove it and create another one instead"
    )]
    Stopped {
        /// What was stopped.
        key: ObjectKey,
        /// The step.
        event: Event,
    },
    /// Its removal was announced.
    #[error("{event} of {key} after its removal was announced: create it first")]
    Removed {
        /// What was removed.
        key: ObjectKey,
        /// The step.
        event: Event,
    },
    /// Plugins are still being asked about its creation.
    #[error("{event} of {key} while it is being created: wait for the creation or drop it")]
    StillCreating {
        /// What is being created.
        key: ObjectKey,
        /// The step.
        event: Event,
    },
    /// Pods and containers have different steps, and some events are none.
    #[error("{event} is no step of {key}")]
    NoSuchStep {
        /// The pod or container.
        key: ObjectKey,
        /// The event.
        event: Event,
    },
}

impl From<LifecycleError> for Error {
    fn from(error: LifecycleError) -> Self {
        Error::Lifecycle(error.to_string())
    }
}
