//! How much may be asked for in a time: a bucket that fills by itself. Pure: it is told the time.

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
    /// Takes `count`. More than the bucket holds can be taken from a full one, and is paid for afterwards.
    ///
    /// # Errors
    /// There is not enough now; the error is how long it takes until there is.
    pub(crate) fn take(&mut self, rate: Rate, count: usize, now: Duration) -> Result<(), Duration> {
        let per_second = i128::from(rate.per_second);
        if per_second == 0 {
            return Ok(());
        }
        let passed = now.saturating_sub(self.at).as_nanos();
        let come = i128::try_from(passed)
            .unwrap_or(i128::MAX)
            .saturating_mul(per_second);
        self.missing = self.missing.saturating_sub(come).max(0);
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
}
