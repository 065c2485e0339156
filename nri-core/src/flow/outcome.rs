//! What came of a call, of a plugin's part in a request, and of a whole request.

use std::time::Duration;

use crate::policy::Verdict;
use crate::{Error, Event, RegisteredPlugin, Response};

/// What came of one call.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant)] // short-lived, and nearly always the large one
pub enum Reply {
    /// The plugin answered.
    Answer(Response),
    /// The plugin answered with an error status.
    Error {
        /// The status code.
        code: i32,
        /// The text.
        message: String,
    },
    /// The request was handed to the transport, and the plugin did not answer in time.
    Late {
        /// How long it had.
        after: Duration,
    },
    /// The request was not sent: the plugin still owes the answer to an earlier one.
    Busy,
    /// The connection was lost.
    Gone {
        /// Whether the request had been handed to the transport.
        delivered: bool,
    },
}

/// The code with which a peer says that it does not know a method.
pub(super) const UNIMPLEMENTED: i32 = 12;

/// What a plugin did with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It answered.
    Answered,
    /// It did not ask for the event.
    Unsubscribed,
    /// It was not asked, because it does not know the pod or container: that had ended before the
    /// plugin was synchronised.
    Unaware,
    /// It was not asked, because the request had failed before its turn.
    NotReached,
    /// It answered with an error.
    Failed {
        /// The text of the error.
        message: String,
    },
    /// It did not answer in time.
    Late {
        /// How long it had; `None` if it was not asked since it still owes an earlier answer.
        after: Option<Duration>,
    },
    /// Its connection was lost.
    Gone,
    /// The caller stopped waiting while it was asked.
    Abandoned,
}

impl Outcome {
    /// Whether a requirement that the plugin be consulted is met: it did its part, or has none in
    /// this event.
    pub fn counts_as_consulted(&self) -> bool {
        match self {
            Self::Answered | Self::Unsubscribed | Self::Unaware | Self::NotReached => true,
            Self::Failed { .. } | Self::Late { .. } | Self::Gone | Self::Abandoned => false,
        }
    }
}

/// A plugin's part in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginOutcome {
    /// The plugin.
    pub plugin: RegisteredPlugin,
    /// What it was asked (or would have been).
    pub event: Event,
    /// What it did.
    pub outcome: Outcome,
    /// Whether the request was handed to its transport, so that it may know of it.
    pub was_delivered: bool,
    /// How long it had its turn, up to its answer or to the end of its time. `None` if it was not
    /// asked, and from whoever drives the flow without a clock.
    pub took: Option<Duration>,
}

impl PluginOutcome {
    /// What a plugin that was not called did.
    pub(super) fn not_called(plugin: &RegisteredPlugin, event: Event, outcome: Outcome) -> Self {
        Self {
            plugin: plugin.clone(),
            event,
            outcome,
            was_delivered: false,
            took: None,
        }
    }
}

/// What came of a whole request.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Report<T> {
    /// The outcome as a whole.
    pub result: Result<T, Error>,
    /// What every plugin did, in plugin order; validators appear once more, after them, with their
    /// own event.
    pub outcomes: Vec<PluginOutcome>,
    /// What of the answers was denied, dropped and audited by the policy, in plugin order,
    /// whatever came of the request.
    pub verdicts: Vec<Verdict>,
}

impl<T> Report<T> {
    /// What came of a request of which nothing else is known.
    pub fn new(result: Result<T, Error>) -> Self {
        Self {
            result,
            outcomes: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    /// The plugins that may know of the request, in plugin order.
    pub fn seen_by(&self) -> impl Iterator<Item = &RegisteredPlugin> {
        self.outcomes
            .iter()
            .filter(|outcome| {
                outcome.was_delivered && outcome.event != Event::ValidateContainerAdjustment
            })
            .map(|outcome| &outcome.plugin)
    }
}
