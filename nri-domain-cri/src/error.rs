//! Why a call of a CRI server's handler failed, and what becomes of errors that change nothing.

use std::error::Error;

use nri_core::oci::{ApplyError, CallbackError, resources::InvalidResource};

use crate::resources::InvalidResources;

/// Why a runtime's store did not answer.
pub type StoreError = Box<dyn Error + Send + Sync>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CriError {
    /// NRI or a plugin says no.
    #[error(transparent)]
    Nri(#[from] nri_core::Error),
    /// The adjustment cannot be applied to the container's spec. Drop the token of the creation,
    /// and the plugins know.
    #[error("container {container:?}: {source}")]
    Apply {
        /// The container.
        container: String,
        /// Why it cannot be applied.
        source: ApplyError,
    },
    /// The orchestrator's resources make no sense.
    #[error(transparent)]
    Resources(#[from] InvalidResources),
    /// The orchestrator's resources break a rule of those that containers can have.
    #[error("the resources that are asked for cannot be applied: {0}")]
    RequestedResources(#[source] InvalidResource),
    /// What plugins made of the resources cannot be applied.
    #[error(
        "container {container:?}: the resources that plugins ask for cannot be applied: {source}"
    )]
    PluginResources {
        /// The container.
        container: String,
        /// The value, and the rule that it breaks.
        source: InvalidResource,
    },
    /// The runtime's [resource checker](nri_core::oci::ApplyOptions::resource_checker) does not
    /// accept what plugins made of the resources.
    #[error(
        "container {container:?}: the runtime refuses the resources that plugins ask for: {source}"
    )]
    ResourcesRefused {
        /// The container.
        container: String,
        /// What the checker says.
        source: CallbackError,
    },
    /// The runtime's store does not answer. What could be done without it has been done.
    #[error("the runtime's store does not answer: {0}")]
    Store(#[source] StoreError),
}

impl CriError {
    /// The status code of gRPC for a CRI server's answer, never 0: for NRI's errors
    /// [theirs](nri_core::Error::code), 3 (invalid argument) for resources that make no sense, 9
    /// (failed precondition) for what cannot be applied, 13 (internal) for the store.
    pub fn code(&self) -> i32 {
        match self {
            Self::Nri(error) => error.code(),
            Self::Resources(_) | Self::RequestedResources(_) => 3,
            Self::Apply { .. } | Self::PluginResources { .. } | Self::ResourcesRefused { .. } => 9,
            Self::Store(_) => 13,
        }
    }
}

/// What plugins say of what has happened changes nothing, so it goes to the log.
pub(crate) fn noted<T>(event: &str, id: String, told: Result<T, nri_core::Error>) {
    if let Err(error) = told {
        tracing::warn!(event, id, %error, "plugins were told of an event, and it did not go well");
    }
}
