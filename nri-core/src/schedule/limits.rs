//! The choices there are: how long plugins have, and what is done with those that take longer.

use std::time::Duration;

use nri_proto::api;

use crate::flow::{Member, Roster};
use crate::merge::Support;
use crate::policy::{KnownPods, Policy};

/// Choices for an instance as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// One request at a time, as the reference has it, instead of one per pod. Default: false.
    pub serial: bool,
    /// How long a plugin that joins waits at most for requests that began before it did. Creations
    /// that are not settled by then reach it through their later events. Default: 2 s.
    pub settle_timeout: Duration,
    /// How long it may take to list what the runtime has, for a plugin that joins. After that the
    /// plugin is closed, since requests wait for it. Default: 10 s.
    pub snapshot_timeout: Duration,
    /// How long at most a plugin is kept from joining by a runtime that blocks this. Default: 10
    /// s.
    pub block_limit: Duration,
    /// What the runtime can apply of what plugins ask for, and what becomes of the rest. Default:
    /// everything.
    pub support: Support,
    /// What plugins may ask for. Default: everything.
    pub policy: Policy,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            serial: false,
            settle_timeout: Duration::from_secs(2),
            snapshot_timeout: Duration::from_secs(10),
            block_limit: Duration::from_secs(10),
            support: Support::default(),
            policy: Policy::default(),
        }
    }
}

impl Config {
    /// A roster of these members, for what the runtime can apply and plugins may ask for.
    pub(super) fn roster(
        &self,
        members: impl Iterator<Item = Member>,
        known_pods: &KnownPods,
    ) -> Roster {
        Roster::new(members)
            .with_support(self.support)
            .with_policy(self.policy.clone(), known_pods.clone())
    }
}

/// What happens to a plugin that was late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "policy-serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "policy-serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum AfterLate {
    /// It goes on once its answer has come; the answer is dropped. What it missed it learns from
    /// later events. The default.
    #[default]
    Keep,
    /// It is synchronised again once its answer has come, so that it learns what was done without
    /// it.
    Resync,
    /// It is closed right when it becomes late, as the reference does.
    Close,
}

/// Choices for one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginLimits {
    /// How long it has for a request, and for each part of a synchronisation. Default: 2 s.
    pub request_timeout: Duration,
    /// How many requests (of different pods) it gets at a time; 0 counts as 1. Default: 1.
    pub max_in_flight: usize,
    /// After how many late answers in a row it is closed; judgements are a row of their own. It is
    /// closed as well when it owes one answer for this many times `request_timeout`, since a
    /// plugin that hangs gets no further request that it could be late with. 0 is never: then
    /// an answer that is owed for [`LATE_ANSWER_TIMEOUTS`] times `request_timeout` is given
    /// up, and the plugin gets requests again. Default: 3.
    pub strikes: u32,
    /// What is done once a late answer has come. Default: keep.
    pub after_late: AfterLate,
    /// How many events are kept for it while it [observes](Member::observes). One more, and it is
    /// synchronised again instead. Default: 4096.
    pub observed_events: usize,
    /// The same for the bytes of these events. Default: 16 MiB.
    pub observed_bytes: usize,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(2),
            max_in_flight: 1,
            strikes: 3,
            after_late: AfterLate::Keep,
            observed_events: 4096,
            observed_bytes: 16 << 20,
        }
    }
}

/// For how many times its request timeout an answer is waited for, where owing it does not close
/// the plugin.
pub const LATE_ANSWER_TIMEOUTS: u32 = 3;

impl PluginLimits {
    /// The same limits for a plugin with a wish of its own (protocol v0.12.4): with
    /// `keep_connected` it is never closed for being late, without it it is closed the first
    /// time.
    ///
    /// What becomes of the request is the other half, see
    /// [`Policy::wished`](crate::flow::Policy::wished).
    #[must_use]
    pub fn wished(mut self, wish: &api::FailurePolicy) -> Self {
        match (wish.keep_connected, self.after_late) {
            (false, _) => self.after_late = AfterLate::Close,
            (true, AfterLate::Resync) => self.strikes = 0,
            (true, AfterLate::Keep | AfterLate::Close) => {
                self.after_late = AfterLate::Keep;
                self.strikes = 0;
            }
        }
        self
    }

    /// How long after its deadline the answer to a call is waited for at most.
    pub(super) fn owed(&self) -> Duration {
        let times = match self.strikes {
            0 => LATE_ANSWER_TIMEOUTS,
            strikes => strikes,
        };
        // A clock must be able to say when that is.
        let longest = Duration::from_secs(u32::MAX.into());
        self.request_timeout.saturating_mul(times - 1).min(longest)
    }

    /// How many requests the plugin gets at a time.
    pub(super) fn places(&self) -> usize {
        self.max_in_flight.max(1)
    }
}
