//! Why an instance cannot be built or started. What goes wrong with a request is
//! [`nri_core::Error`].

use std::path::PathBuf;

use nri_core::{InstanceError, InvalidIdentity, PluginId, StartFailure};

use crate::config::ConfigError;
use crate::text::printable_path;

/// Why an instance cannot be built or started. Every message is one line that says what to do about
/// it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration has a value that cannot be.
    #[error("invalid NRI configuration: {0}")]
    Config(#[from] ConfigError),
    /// Two domains have one name.
    #[error("the domain {0:?} is registered already; a name stands for one domain of an instance")]
    DuplicateDomain(String),
    /// A domain came too late: plugins may have been synchronised without it.
    #[error("the domain {0:?} must be registered before the instance is started")]
    LateDomain(String),
    /// The instance was started before.
    #[error("{}", InstanceError::AlreadyStarted)]
    AlreadyStarted,
    /// The instance was stopped; build a new one.
    #[error("{}", InstanceError::Stopped)]
    Stopped,
    /// The socket cannot be opened.
    #[error("cannot open the socket {}: {reason}", path.display())]
    Socket {
        /// The socket's path.
        path: PathBuf,
        /// What is in the way.
        reason: String,
    },
    /// A file or directory of pre-installed plugins cannot be used (with `strict_discovery`).
    #[error("cannot use {}: {reason}", printable_path(path))]
    Discovery {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration names a plugin that is not there, and may not be meant (with
    /// `strict_discovery`).
    #[error("invalid NRI configuration: {reason}; correct it, or turn `strict_discovery` off")]
    Overlooked {
        /// The key, the name, and what may be meant.
        reason: String,
    },
    /// A key of the configuration has another value now, and cannot change while the instance
    /// lives.
    #[error(
        "the key `{key}` cannot change while the NRI instance lives: stop it, and build another one"
    )]
    Fixed {
        /// The key.
        key: &'static str,
    },
    /// A built-in plugin has a name that no plugin can have.
    #[error(transparent)]
    Identity(#[from] InvalidIdentity),
    /// Two built-in plugins have one identity.
    #[error("two built-in plugins are called {0}")]
    DuplicatePlugin(PluginId),
    /// A built-in plugin cannot be ready.
    #[error("built-in plugin {plugin} cannot be started: {reason}")]
    BuiltIn {
        /// The plugin.
        plugin: PluginId,
        /// Why.
        reason: String,
    },
}

impl From<Error> for nri_core::Error {
    fn from(error: Error) -> Self {
        Self::Instance(match error {
            Error::AlreadyStarted => InstanceError::AlreadyStarted,
            Error::Stopped => InstanceError::Stopped,
            other => InstanceError::Start(StartFailure::new(other)),
        })
    }
}
