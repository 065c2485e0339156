//! How a plugin is checked. What may not enter: the checks themselves.

use std::path::PathBuf;
use std::time::Duration;

use nri_core::PluginId;

use super::check::Check;
use crate::tested_plugin::Subject;

/// How a plugin is checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How the plugin is started, for a shell. With `{socket}` in it, it is started beside the
    /// runtime, and that stands for the socket's path; with a [`socket`](Self::socket) and without
    /// that, it connects there by itself; without either it is launched as an installed one.
    /// Absent: someone else starts it, and again whenever it ends.
    pub command: Option<String>,
    /// How it is launched as an installed one, if that is another command: plugins on the Go
    /// library that are told their index or name by an option refuse to be launched. Default:
    /// as `command`.
    pub launch: Option<String>,
    /// Where it connects. Default: `nri.sock` in a fresh temporary directory.
    pub socket: Option<PathBuf>,
    /// Who it is told to be when it is launched. Default `10-checked`.
    pub identity: Option<PluginId>,
    /// The configuration that the runtime sends. Default: none.
    pub config: String,
    /// How long the plugin may take to come, to come back, or to end. Default 10 s.
    pub patience: Duration,
    /// How long it may take to answer a request. Default 2 s, as runtimes have it.
    pub request_timeout: Duration,
    /// The checks to make. Default: all.
    pub only: Vec<Check>,
}

impl Options {
    /// To check a plugin that is started by a command.
    pub fn of(command: impl Into<String>) -> Self {
        Self {
            command: Some(command.into()),
            ..Self::of_any()
        }
    }

    /// To check the plugins that connect to a socket, and do so again after each check.
    pub fn of_whom_connects_to(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: Some(socket.into()),
            ..Self::of_any()
        }
    }

    fn of_any() -> Self {
        Self {
            command: None,
            launch: None,
            socket: None,
            identity: None,
            config: String::new(),
            patience: Duration::from_secs(10),
            request_timeout: Duration::from_secs(2),
            only: Check::ALL.to_vec(),
        }
    }
}

/// The subject of these options.
pub(super) fn subject(options: &Options) -> Subject {
    Subject {
        command: options.command.clone(),
        launch: options.launch.clone(),
        identity: options.identity.clone(),
        socket: options.socket.clone(),
        patience: options.patience,
    }
}
