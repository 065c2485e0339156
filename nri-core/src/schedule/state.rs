//! The scheduler's state, and what in it has to be looked at again.
//!
//! What may not enter: what is done about it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::active::Active;
use super::instance::Instance;
use super::slots::Slots;
use super::timers::{Timer, Timers};
use super::{CallId, Config, Effect, Job, RequestId};
use crate::flow::{Flow, Roster};
use crate::lifecycle::{Lifecycles, ObjectKey};
use crate::policy::KnownPods;
use crate::{EncodedRequest, RegisteredPlugin};

pub(super) type OutputOf<J> = <<J as Job>::Flow as Flow>::Output;

/// Something in the state has changed that something else may depend on.
#[derive(Debug)]
pub(super) enum Work {
    /// A request's flow can go on.
    Advance(RequestId),
    /// A plugin may have a place for a call that waits.
    Turns(RegisteredPlugin),
    /// A pod's slot may be free for a request that waits.
    Slot(ObjectKey),
    /// What plugins wait for that join or retire may have come.
    Phases,
    /// An observer has missed something.
    Behind(RegisteredPlugin),
}

/// When a call was to be made, and how long it had its turn, if it had one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) since: Instant,
    pub(super) took: Option<Duration>,
}

/// Requests and plugins, and who waits for what. See [the module](super).
pub struct Scheduler<J: Job = Arc<EncodedRequest>> {
    pub(super) config: Config,
    pub(super) lives: Lifecycles,
    pub(super) plugins: BTreeMap<RegisteredPlugin, Instance>,
    /// Those of them that wait for requests to end, before they are shown what exists or closed.
    pub(super) awaiting: BTreeSet<RegisteredPlugin>,
    /// The plugins that a request that begins now includes.
    pub(super) roster: Roster,
    pub(super) requests: BTreeMap<RequestId, Box<Active<J>>>,
    /// The creations that succeeded and are not settled, by container.
    pub(super) unsettled: BTreeMap<ObjectKey, RequestId>,
    /// Who has which call.
    pub(super) calls: BTreeMap<CallId, RegisteredPlugin>,
    pub(super) slots: Slots,
    pub(super) timers: Timers,
    pub(super) effects: VecDeque<Effect<OutputOf<J>>>,
    pub(super) work: VecDeque<Work>,
    pub(super) last_number: u64,
    /// How many ask that no plugin joins.
    pub(super) blocks: usize,
    /// Which pods containers are in, for the policy.
    pub(super) known_pods: KnownPods,
    /// When lists were last looked through for what no event had told of, in the count of the
    /// lives.
    pub(super) looked_through: u64,
    /// Changes with the roster, and with who is late.
    pub(super) revision: u64,
}

impl<J: Job> Scheduler<J> {
    /// An object appears, or is gone for good: to no plugin it is strange any more.
    pub(super) fn no_longer_strange(&mut self, object: &ObjectKey) {
        for instance in self.plugins.values_mut() {
            instance.strange.remove(object);
        }
    }

    /// No time ends a request any more.
    pub(super) fn forget_deadline(&mut self, id: RequestId) {
        let Some(active) = self.requests.get_mut(&id) else {
            return;
        };
        if let Some(deadline) = active.deadline.take() {
            self.timers.cancel(deadline, Timer::Request(id));
        }
        if let Some(budget) = active.budget.take() {
            self.timers.cancel(budget, Timer::Budget(id));
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

impl<J: Job> fmt::Debug for Scheduler<J> {
    /// Numbers only: what is in requests is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("plugins", &self.plugins.keys())
            .field("requests", &self.requests.len())
            .field("calls", &self.calls.len())
            .finish_non_exhaustive()
    }
}
