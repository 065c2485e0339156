//! How much may be asked for in a time: a bucket that fills by itself. Pure: it is told the time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::duration::nanoseconds;

const NANOS: i128 = 1_000_000_000;

/// What may be taken from a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// How many come in per second; 0 is without limit.
    pub(crate) per_second: u32,
    /// How many the bucket holds, which is how many may be taken at once.
    pub(crate) burst: u32,
}

/// A bucket. It is full at first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// What is missing to be full, in billionths.
    missing: i128,
    /// When that was so, since some beginning.
    at: Duration,
}

impl Bucket {
    /// Takes `count`. More than the bucket holds can be taken from a full one, and is paid for
    /// afterwards.
    ///
    /// # Errors
    /// There is not enough now; the error is how long it takes until there is.
    pub(crate) fn take(&mut self, rate: Rate, count: usize, now: Duration) -> Result<(), Duration> {
        if rate.per_second == 0 {
            return Ok(());
        }
        self.missing = self.missing(rate, now);
        self.at = self.at.max(now);
        let count = i128::try_from(count).unwrap_or(i128::MAX / NANOS) * NANOS;
        let burst = i128::from(rate.burst) * NANOS;
        let lacking = self.missing + count.min(burst) - burst;
        if lacking > 0 {
            let nanos = u128::try_from(lacking).unwrap_or_default();
            let wait = nanos.div_ceil(u128::from(rate.per_second));
            return Err(nanoseconds(wait));
        }
        self.missing += count;
        Ok(())
    }

    /// What is missing to be full now, in billionths.
    fn missing(&self, rate: Rate, now: Duration) -> i128 {
        let passed = now.saturating_sub(self.at).as_nanos();
        let come = i128::try_from(passed)
            .unwrap_or(i128::MAX)
            .saturating_mul(i128::from(rate.per_second));
        self.missing.saturating_sub(come).max(0)
    }
}

/// How many buckets that are not full are remembered.
const MOST_BUCKETS: usize = 1024;

/// A bucket for each of many, who may come and go: what they owe stays. So many are remembered that
/// owe something; beyond that, those are forgotten that owe least.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    owing: BTreeMap<K, Debt>,
}

#[derive(Debug, Default)]
struct Debt {
    bucket: Bucket,
    /// Whether it was refused something the last time.
    refused: bool,
}

/// There is not enough in somebody's bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotYet {
    /// How long it takes until there is.
    pub(crate) wait: Duration,
    /// Whether the request before this one was let through.
    pub(crate) first: bool,
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        let owing = BTreeMap::new();
        Self { owing }
    }
}

impl<K: Ord + Clone> Buckets<K> {
    /// Takes `count` from the bucket of `who`, as [`Bucket::take`] does.
    ///
    /// # Errors
    /// There is not enough now.
    pub(crate) fn take(
        &mut self,
        who: &K,
        rate: Rate,
        count: usize,
        now: Duration,
    ) -> Result<(), NotYet> {
        if rate.per_second == 0 {
            self.owing.clear();
            return Ok(());
        }
        if self.owing.len() >= MOST_BUCKETS && !self.owing.contains_key(who) {
            self.forget(rate, now);
        }
        let debt = self.owing.entry(who.clone()).or_default();
        let taken = debt.bucket.take(rate, count, now);
        let first = !debt.refused;
        debt.refused = taken.is_err();
        taken.map_err(|wait| NotYet { wait, first })
    }

    /// Makes room for one more.
    fn forget(&mut self, rate: Rate, now: Duration) {
        self.owing
            .retain(|_, debt| debt.bucket.missing(rate, now) > 0);
        if self.owing.len() < MOST_BUCKETS {
            return;
        }
        let least = self
            .owing
            .iter()
            .min_by_key(|(_, debt)| debt.bucket.missing(rate, now));
        if let Some(who) = least.map(|(who, _)| who.clone()) {
            self.owing.remove(&who);
        }
    }
}

/// How many lines about one kind of thing a log gets: a few at once, and so many per second.
const LINES: Rate = Rate {
    per_second: 5,
    burst: 20,
};

/// Lines of a log that others can cause, as many as they like. Those that are too many are counted.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bucket: Bucket,
    left_out: u64,
}

impl Lines {
    /// Whether a line may be written now, and how many were not since the last one that was.
    pub(crate) fn next(&mut self, now: Duration) -> Option<u64> {
        if self.bucket.take(LINES, 1, now).is_err() {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10,
        burst: 20,
    };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(RATE, 15, at(0)), Ok(()));
        assert_eq!(bucket.take(RATE, 5, at(0)), Ok(()));
        assert_eq!(bucket.take(RATE, 1, at(0)), Err(at(100)));
        assert_eq!(bucket.take(RATE, 1, at(99)), Err(at(1)));
        assert_eq!(bucket.take(RATE, 1, at(100)), Ok(()));
        assert_eq!(bucket.take(RATE, 1, at(100)), Err(at(100)));
        // It never holds more than the burst.
        assert_eq!(bucket.take(RATE, 20, at(3_600_000)), Ok(()));
        assert_eq!(bucket.take(RATE, 1, at(3_600_000)), Err(at(100)));
    }

    #[test]
    fn one_large_request_is_served_and_paid_for() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(RATE, 100, at(0)), Ok(()));
        assert_eq!(bucket.take(RATE, 1, at(0)), Err(at(8100)));
        assert_eq!(bucket.take(RATE, 100, at(9999)), Err(at(1)));
        assert_eq!(bucket.take(RATE, 100, at(10_000)), Ok(()));
    }

    #[test]
    fn a_rate_of_zero_is_no_limit_and_extremes_do_no_harm() {
        let none = Rate {
            per_second: 0,
            burst: 0,
        };
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(none, usize::MAX, at(0)), Ok(()));
        let most = Rate {
            per_second: u32::MAX,
            burst: u32::MAX,
        };
        assert_eq!(bucket.take(most, usize::MAX, Duration::MAX), Ok(()));
        assert!(bucket.take(most, usize::MAX, Duration::ZERO).is_err());
        // A clock that goes back brings nothing.
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(RATE, 20, at(1000)), Ok(()));
        assert_eq!(bucket.take(RATE, 1, at(0)), Err(at(100)));
    }

    #[test]
    fn what_somebody_owes_stays_when_he_comes_again() {
        let mut buckets = Buckets::default();
        assert_eq!(buckets.take(&"a", RATE, 20, at(0)), Ok(()));
        let not_yet = |wait, first| Err(NotYet { wait, first });
        assert_eq!(buckets.take(&"a", RATE, 1, at(0)), not_yet(at(100), true));
        assert_eq!(buckets.take(&"a", RATE, 1, at(0)), not_yet(at(100), false));
        assert_eq!(buckets.take(&"b", RATE, 20, at(0)), Ok(()));
        assert_eq!(buckets.take(&"a", RATE, 1, at(100)), Ok(()));
        assert_eq!(buckets.take(&"a", RATE, 1, at(100)), not_yet(at(100), true));
    }

    #[test]
    fn so_many_are_remembered_and_those_who_owe_most_for_longest() {
        let mut buckets = Buckets::default();
        assert_eq!(buckets.take(&u32::MAX, RATE, 20, at(0)), Ok(()));
        for who in 0..10_000 {
            assert_eq!(buckets.take(&who, RATE, 1, at(0)), Ok(()));
            assert!(buckets.owing.len() <= MOST_BUCKETS);
        }
        assert!(buckets.take(&u32::MAX, RATE, 1, at(0)).is_err());
        // Who owes nothing any more is forgotten first.
        buckets.take(&1, RATE, 1, at(3_600_000)).unwrap();
        for who in 20_000..20_000 + u32::try_from(MOST_BUCKETS).unwrap() {
            buckets.take(&who, RATE, 1, at(3_600_000)).unwrap();
        }
        assert!(buckets.owing.len() <= MOST_BUCKETS);
    }

    #[test]
    fn a_log_gets_a_few_lines_and_how_many_were_left_out() {
        let mut lines = Lines::default();
        let written = (0..1_000_000).filter(|_| lines.next(at(0)).is_some());
        assert_eq!(written.count(), LINES.burst as usize);
        assert_eq!(
            lines.next(at(1000)),
            Some(1_000_000 - u64::from(LINES.burst))
        );
        assert_eq!(lines.next(at(1000)), Some(0));
    }
}
