//! Why the simulated runtime did not do something. Each message says what would be right.

use std::path::PathBuf;
use std::time::Duration;

use super::reply::OutcomeReply;

/// Why the simulated runtime did not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The id of what does not exist.
    #[error("there is no {kind} {id:?}; {there}. Make one with {make}")]
    NotFound {
        /// `pod` or `container`.
        kind: &'static str,
        /// The id.
        id: String,
        /// What there is, in words.
        there: String,
        /// The commands that make one.
        make: &'static str,
    },
    /// Something of this id exists.
    #[error("{kind} {id:?} exists already: remove it with {remove}, or take another id")]
    Exists {
        /// `pod` or `container`.
        kind: &'static str,
        /// The id.
        id: String,
        /// The command that removes it.
        remove: &'static str,
    },
    /// The pod is stopped.
    #[error(
        "pod {id:?} is stopped, so no container can be created or run in it: remove-pod and run-pod make a new one (where it is restartable, run-pod runs it again)"
    )]
    PodStopped {
        /// The pod's id.
        id: String,
    },
    /// The container is not in a state in which this makes sense.
    #[error("container {id:?} is {state}, and only one that is {needed} can be {action}")]
    WrongState {
        /// The container's id.
        id: String,
        /// Its state, in words.
        state: &'static str,
        /// The state it should be in, in words.
        needed: &'static str,
        /// What was to be done with it, as a participle.
        action: &'static str,
    },
    /// The creation of the container cannot be undone any more.
    #[error(
        "the creation of container {id:?} cannot be undone any more, since the container has been used or a plugin has come; stop-container and remove-container end it"
    )]
    Settled {
        /// The container's id.
        id: String,
    },
    /// Not as many plugins came as were waited for.
    #[error(
        "{there} of {wanted} plugins are there after {after:?}{list}. A plugin connects to {socket}; {hint}"
    )]
    TooFewPlugins {
        /// How many came.
        there: usize,
        /// How many were waited for.
        wanted: usize,
        /// How long.
        after: Duration,
        /// Those that came, in words.
        list: String,
        /// Where they connect.
        socket: String,
        /// Where to look for what went wrong.
        hint: &'static str,
    },
    /// A plugin of a scenario did not come.
    #[error("plugin {plugin} is not there after {after:?}: {details}")]
    NoPlugin {
        /// The plugin.
        plugin: String,
        /// How long it was waited for.
        after: Duration,
        /// What it printed, and what to do.
        details: String,
    },
    /// A plugin refused something, or the runtime's core did.
    #[error("{error}")]
    Refused {
        /// Who refused it and why.
        error: Box<nri_core::Error>,
        /// What every plugin that was asked did.
        outcomes: Vec<OutcomeReply>,
    },
    /// Plugins failed an event of something that has happened all the same.
    #[error("{error}. The {kind} is {done} all the same")]
    Nevertheless {
        /// What went wrong.
        error: Box<nri_core::Error>,
        /// `pod` or `container`.
        kind: &'static str,
        /// What has happened, as a participle.
        done: &'static str,
        /// What every plugin that was told did.
        outcomes: Vec<OutcomeReply>,
    },
    /// The runtime cannot be set up.
    #[error("{}: {reason}", path.display())]
    Setup {
        /// The file or directory that is the trouble.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration describes no runtime.
    #[error("{0}")]
    Configuration(String),
    /// Results cannot be written.
    #[error("the results cannot be written: {0}")]
    Output(std::io::Error),
    /// It was told to stop before its end.
    #[error("ended by a signal")]
    Stopped,
    /// The command is for whoever reads commands.
    #[error("{0} is no command for the runtime itself")]
    NotHere(&'static str),
}

impl From<nri_core::Error> for SimError {
    fn from(error: nri_core::Error) -> Self {
        Self::Refused {
            error: Box::new(error),
            outcomes: Vec::new(),
        }
    }
}

impl SimError {
    /// What every plugin did that was asked or told before it went wrong.
    #[must_use]
    pub fn outcomes(&self) -> &[OutcomeReply] {
        match self {
            Self::Refused { outcomes, .. } | Self::Nevertheless { outcomes, .. } => outcomes,
            _ => &[],
        }
    }

    /// The same with what plugins did, if any was asked at all.
    pub(super) fn with_outcomes(mut self, those: Vec<OutcomeReply>) -> Self {
        let asked = those
            .iter()
            .any(|outcome| outcome.outcome != "unsubscribed");
        match &mut self {
            Self::Refused { outcomes, .. } | Self::Nevertheless { outcomes, .. } if asked => {
                *outcomes = those;
            }
            _ => {}
        }
        self
    }
}
