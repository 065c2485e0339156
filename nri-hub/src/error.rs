//! Why a hub cannot be built or does not run.

use std::io;
use std::path::PathBuf;

use crate::config::HubConfigError;

/// Why a hub cannot be built or does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] HubConfigError),
    /// The plugins' runtime cannot be built or started: a socket in use, a bad value.
    #[error(transparent)]
    Nri(#[from] nri_adaptation::Error),
    /// The plugins' runtime cannot be started.
    #[error("the socket and plugins of the hub: {0}")]
    Start(#[source] nri_adaptation::EventError),
    /// The hub's own end as a plugin cannot be built, or its connection cannot be made again.
    #[error(transparent)]
    Plugin(#[from] nri_plugin::Error),
    /// A control socket or an address for status cannot be opened.
    #[error("{place}: {reason}")]
    Listen {
        /// Which.
        place: String,
        /// Why.
        reason: String,
    },
    /// A hub cannot be asked for its status.
    #[error("{}: {source}; is nri-hub running, with this as its `control_socket`?", .socket.display())]
    Ask {
        /// Its control socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The hub has let go of its runtime, and the hub that was to take its place is gone.
    #[error("the hub that was to take this one's place: {0}")]
    HandOver(#[source] io::Error),
    /// The place of a running hub cannot be taken. It goes on.
    #[error("the place of the hub at {} cannot be taken: {reason}", .socket.display())]
    TakeOver {
        /// Its control socket.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
    /// A hub answers something else than its status.
    #[error("{}: {reason}", .socket.display())]
    Answer {
        /// Its control socket.
        socket: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
