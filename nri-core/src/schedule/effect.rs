//! What a scheduler wants to be done, and what identifies things in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::flow::{Reply, Report};
use crate::lifecycle::ObjectKey;
use crate::{EncodedRequest, Event, RegisteredPlugin};

/// A request that was handed to a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// A call to a plugin. Its answer is handed back under this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(super) u64);

/// Why a plugin is to be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// It was late too often in a row.
    #[error("it was late {0} times in a row")]
    Strikes(u32),
    /// It owes an answer for too long.
    #[error("it has owed an answer for too long")]
    Hanging,
    /// It was late, and it is configured to be closed then.
    #[error("it was late")]
    Late,
    /// It did not answer its synchronisation in time.
    #[error("it was not synchronised in time")]
    SynchronizeLate,
    /// The runtime did not list what it has in time. Not the plugin's fault.
    #[error("the runtime did not list its pods and containers in time")]
    SnapshotLate,
    /// A newer instance of the same plugin has taken over. It gets a `Shutdown` first.
    #[error("a newer instance of it has taken over")]
    Replaced {
        /// The newer instance.
        by: RegisteredPlugin,
    },
}

/// What came of one call of a plugin, as its request hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallOutcome {
    /// It answered.
    Answered,
    /// It answered with an error.
    Failed {
        /// The status code.
        code: i32,
        /// The text.
        message: String,
    },
    /// It did not answer in time.
    Late,
    /// It was not asked: it still owes the answer to an earlier call.
    Busy,
    /// Its connection is lost.
    Gone,
}

impl CallOutcome {
    /// One word for logs and labels.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed { .. } => "failed",
            Self::Late => "late",
            Self::Busy => "busy",
            Self::Gone => "gone",
        }
    }
}

impl From<&Reply> for CallOutcome {
    fn from(reply: &Reply) -> Self {
        match reply {
            Reply::Answer(_) => Self::Answered,
            Reply::Error { code, message } => Self::Failed {
                code: *code,
                message: message.clone(),
            },
            Reply::Late { .. } => Self::Late,
            Reply::Busy => Self::Busy,
            Reply::Gone { .. } => Self::Gone,
        }
    }
}

/// Something that is to be done. `T` is what comes out of a request that succeeds.
#[derive(Debug)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant)] // short-lived
pub enum Effect<T> {
    /// Send a request to a plugin. Whatever comes of it goes to
    /// [`handle_reply`](super::Scheduler::handle_reply): so do not stop waiting when the
    /// deadline passes, but when the patience does.
    Call {
        /// The number of the call.
        call: CallId,
        /// The plugin.
        plugin: RegisteredPlugin,
        /// The request that it is part of.
        request: RequestId,
        /// What to send.
        message: Arc<EncodedRequest>,
        /// By when the plugin is to answer; this is what it is told.
        deadline: Instant,
        /// From when on nothing is done with an answer any more, so that the call may be
        /// forgotten.
        patience: Instant,
        /// Whether it tells an [observer](crate::flow::Member::observes): what it answers changes
        /// nothing.
        observed: bool,
    },
    /// For the record: a request has heard what came of one of its calls, made or not. There is
    /// nothing to be done.
    CallResolved {
        /// The request.
        request: RequestId,
        /// The plugin.
        plugin: RegisteredPlugin,
        /// What it was asked, or would have been.
        event: Event,
        /// The pod that it is about.
        pod: ObjectKey,
        /// The pod or container that it is about.
        object: ObjectKey,
        /// What came of it.
        outcome: CallOutcome,
        /// When the call was to be made.
        since: Instant,
        /// How long the plugin had its turn; `None` if it had none.
        took: Option<Duration>,
    },
    /// List what the runtime has, call [`handle_snapshot`](super::Scheduler::handle_snapshot), show
    /// the plugin the list without what that hides, and call
    /// [`handle_synchronized`](super::Scheduler::handle_synchronized) with its answer.
    Synchronize {
        /// The plugin that joins, or is synchronised again.
        plugin: RegisteredPlugin,
    },
    /// A plugin has joined: it gets requests from now on.
    PluginReady {
        /// The plugin.
        plugin: RegisteredPlugin,
    },
    /// For the record: an [observer](crate::flow::Member::observes) has missed events, since it
    /// took longer for those before than they can be kept. It is synchronised again, which
    /// follows.
    FellBehind {
        /// The plugin.
        plugin: RegisteredPlugin,
        /// How many events it does not get.
        missed: usize,
    },
    /// Close a plugin's connection. The scheduler has forgotten it already.
    Close {
        /// The plugin.
        plugin: RegisteredPlugin,
        /// Why.
        reason: CloseReason,
    },
    /// The caller's time for a notification is over: tell it so. The plugins that have not heard of
    /// it still will, and [`Effect::Finished`] follows.
    OutOfTime {
        /// The request.
        request: RequestId,
    },
    /// The caller's [budget](super::Submission::with_budget) for a notification is over: tell it
    /// that all is well. The plugins that have not heard of it still will, and
    /// [`Effect::Finished`] follows.
    Released {
        /// The request.
        request: RequestId,
    },
    /// A request is through the plugins.
    Finished {
        /// The request.
        request: RequestId,
        /// What came of it.
        report: Report<T>,
        /// Whether this is a creation that succeeded, which
        /// [`handle_settled`](super::Scheduler::handle_settled) has to follow.
        unsettled: bool,
        /// The failed creation that this undoes, if it does. Nobody handed such a request in.
        undoes: Option<RequestId>,
    },
}

/// How a plugin is to be synchronised.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncPlan {
    /// By when it is to have answered; for each part that it answers, see
    /// [`handle_progress`](super::Scheduler::handle_progress), it gets as much time again.
    pub deadline: Instant,
    /// What it must not be shown, whether the runtime lists it or not: it will hear of it through
    /// events.
    pub exclude: BTreeSet<ObjectKey>,
}
