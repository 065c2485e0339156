//! Why a plugin is not ready, or not there any more.
//!
//! What may not enter: what is done about it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use nri_core::{DomainError, PluginId, RegisteredPlugin, schedule};
use nri_proto::transport;

use crate::error::Error;
use crate::plugin::failure::Failure;
use crate::text::printable_path;

/// Why a plugin is not ready, or not there any more. It displays as what observers and logs are
/// told of it, a sentence about `it`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndReason {
    /// The instance is stopped, or about to be.
    #[error("{}", Error::Stopped)]
    Stopped,
    /// The same of a plugin that was connected.
    #[error("the runtime stops NRI")]
    Stopping,
    /// The last handle of the instance is gone.
    #[error("the runtime has dropped NRI")]
    Dropped,
    /// Its connection has ended.
    #[error(transparent)]
    Connection(#[from] transport::CloseReason),
    /// It is built in, and was closed.
    #[error("closed by the runtime")]
    Closed,
    /// Nothing more is known.
    #[error("it has gone")]
    Gone,

    /// Its time to register was over.
    #[error("it did not register within {0:?}")]
    RegistrationLate(Duration),
    /// Its connection ended before it had registered.
    #[error("it did not register: {0}")]
    Unregistered(transport::CloseReason),
    /// Its connection could not be read.
    #[error("it did not register: {0}")]
    Unreadable(String),
    /// It was told this when it registered.
    #[error("{0}")]
    RegistrationRefused(String),
    /// Another connection had its place.
    #[error(
        "it gave way to another one: all {0} places of connections that are no plugins yet were taken"
    )]
    GaveWay(usize),
    /// It could not be launched.
    #[error("{0}")]
    NotLaunched(String),
    /// It did not take its configuration.
    #[error("it cannot be configured: {failure}{}", from_file(.file.as_ref()))]
    NotConfigured {
        failure: Box<Failure>,
        file: Option<PathBuf>,
    },
    /// The instance stopped while it was configured.
    #[error("it cannot be configured: {}{}", Error::Stopped, from_file(.0.as_ref()))]
    StoppedConfiguring(Option<PathBuf>),

    /// A built-in plugin has its identity.
    #[error("plugin {0} is part of the runtime")]
    PartOfRuntime(RegisteredPlugin),
    /// There are so many as there may be.
    #[error("there are {most} plugins already; raise `max_plugins`", most = .0)]
    TooManyPlugins(usize),
    /// A domain could not say what exists.
    #[error(transparent)]
    NotListed(#[from] ListingError),
    /// It did not take what exists.
    #[error("it cannot be synchronised: {0}")]
    NotSynchronized(Box<Failure>),
    /// It asked for too much when it was synchronised.
    #[error("it cannot be synchronised: {0}")]
    TooManyUpdates(RateExceeded),

    /// The scheduler has given it up.
    #[error(transparent)]
    Scheduler(schedule::CloseReason),
    /// A newer instance of it is ready.
    #[error("another instance of the plugin has taken over")]
    Replaced,
    /// It was launched, and its file is gone or is another one.
    #[error("it is no longer installed like that")]
    NotInstalled,
    /// It is the default validator, and that is off now.
    #[error("it is disabled")]
    Disabled,
    /// Who may be which plugin has changed.
    #[error("its user may not be this plugin any more")]
    NotAllowed,
}

fn from_file(path: Option<&PathBuf>) -> String {
    path.map(|path| format!(" (its configuration is {})", printable_path(path)))
        .unwrap_or_default()
}

/// A domain cannot say what exists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("domain {domain:?} cannot list its pods and containers: {source}")]
pub(crate) struct ListingError {
    pub(crate) domain: String,
    pub(crate) source: DomainError,
}

/// A plugin asks for more updates than it may for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RateExceeded {
    pub(crate) plugin: PluginId,
    /// How many it may ask for per second.
    pub(crate) per_second: u32,
    /// How many it may ask for at once.
    pub(crate) burst: u32,
    /// When it may ask again.
    pub(crate) wait: Duration,
}

impl fmt::Display for RateExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plugin,
            per_second,
            burst,
            wait,
        } = self;
        write!(
            f,
            "plugin {plugin} asks for too many updates: {per_second} per second and {burst} at once are allowed \
             (`update_rate_limit`, `update_burst`); try again in {wait:?}"
        )
    }
}
