//! How long to wait between two attempts to connect. Pure, but for the randomness.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// When to connect again after a connection was lost or could not be made.
///
/// The waits double from `initial` to `max`. Each is shortened at random by up to half, so that the
/// plugins of a node do not come back to a restarted runtime all at once. After a connection that
/// was [`Ready`](crate::State::Ready) for `stable_after`, or that the
/// runtime ended with `Shutdown`, they begin anew.
///
/// ```
/// use std::time::Duration;
/// use nri_plugin::Backoff;
/// let mut policy = Backoff::default();
/// policy.max = Duration::from_secs(5);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The first wait. Default 500 ms.
    pub initial: Duration,
    /// The longest wait. Default 30 s.
    pub max: Duration,
    /// How long a connection must be ready for the waits to begin anew. Default 10 s.
    pub stable_after: Duration,
    /// What to do after the runtime sent `Shutdown`. Default
    /// [`AfterShutdown::FollowRuntime`].
    pub after_shutdown: AfterShutdown,
}

/// What to do after the runtime sent `Shutdown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AfterShutdown {
    /// The run ends.
    End,
    /// Connect again if the runtime itself ended, to wait for the next one: its socket is gone, or
    /// another is in its place. Otherwise the runtime lives on and has no further use for the
    /// plugin, so the run ends: a newer instance may have taken over.
    #[default]
    FollowRuntime,
    /// Connect again. Two instances that do so replace each other for ever.
    Reconnect,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            stable_after: Duration::from_secs(10),
            after_shutdown: AfterShutdown::default(),
        }
    }
}

impl Backoff {
    /// The wait after `failures` attempts in a row that came to nothing, with `random` between 0
    /// and 1.
    fn wait(&self, failures: u32, random: f64) -> Duration {
        let doubled = 2u32.checked_pow(failures.saturating_sub(1));
        let full = doubled
            .and_then(|factor| self.initial.checked_mul(factor))
            .map_or(self.max, |wait| wait.min(self.max));
        full.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
    }
}

/// The waits of one run.
#[derive(Debug)]
pub(crate) struct Waits {
    policy: Backoff,
    failures: u32,
}

impl Waits {
    pub(crate) fn new(policy: Backoff) -> Self {
        Self {
            policy,
            failures: 0,
        }
    }

    /// How long to wait now, after a connection that was ready for `ready` (zero if it never was).
    pub(crate) fn next(&mut self, ready: Duration) -> Duration {
        if !ready.is_zero() && ready >= self.policy.stable_after {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.policy.wait(self.failures, random())
    }
}

/// Between 0 and 1. The standard library seeds its hashers at random, which is random enough here.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(0) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = Backoff::default();
        let waits: Vec<u64> = (1..=9)
            .map(|n| policy.wait(n, 0.0).as_millis() as u64)
            .collect();
        assert_eq!(
            waits,
            [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]
        );
        for failures in [30, 33, u32::MAX] {
            assert_eq!(policy.wait(failures, 0.0), policy.max);
        }
    }

    /// Law: chance shortens a wait by no more than half, and never lengthens it.
    #[test]
    fn jitter_is_bounded() {
        let policy = Backoff::default();
        for failures in 1..10 {
            let full = policy.wait(failures, 0.0);
            for _ in 0..100 {
                let random = random();
                assert!((0.0..=1.0).contains(&random));
                let wait = policy.wait(failures, random);
                assert!(wait <= full && wait >= full / 2);
            }
        }
    }

    #[test]
    fn a_stable_connection_starts_the_waits_anew() {
        let mut waits = Waits::new(Backoff::default());
        for _ in 0..5 {
            waits.next(Duration::ZERO);
        }
        assert!(waits.next(Duration::from_secs(9)) > Duration::from_secs(7));
        assert!(waits.next(Duration::from_secs(10)) <= Duration::from_millis(500));
    }

    #[test]
    fn a_connection_that_was_never_ready_is_not_stable() {
        let policy = Backoff {
            stable_after: Duration::ZERO,
            ..Backoff::default()
        };
        let mut waits = Waits::new(policy);
        waits.next(Duration::ZERO);
        assert!(waits.next(Duration::ZERO) >= Duration::from_millis(500));
    }
}
