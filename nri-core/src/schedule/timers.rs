//! The points in time at which something is to happen, in order.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{CallId, RequestId};
use crate::RegisteredPlugin;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A caller's budget is over; before calls at the same time, which it ends.
    Budget(RequestId),
    /// A plugin's time for a call is over.
    Call(CallId),
    /// A plugin has owed the answer to a call for too long.
    Owed(CallId),
    /// A caller's time is over.
    Request(RequestId),
    /// What a plugin's phase waits for does not come in time.
    Phase(RegisteredPlugin),
}

#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(super) fn cancel(&mut self, at: Instant, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// The next one that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Timer> {
        if self.first()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }
}
