//! How long things took, for percentiles: counts in buckets, four to each doubling, so a percentile
//! is right to a fifth, in a fixed amount of memory.

use std::time::Duration;

/// Four to each doubling of microseconds, up to more than an hour.
const BUCKETS: usize = 128;

/// Counts of durations.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Box<[u64]>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS].into(),
            count: 0,
        }
    }
}

/// The bucket of a number of microseconds: its doubling, and the two bits after its first.
fn bucket(micros: u64) -> usize {
    if micros < 4 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let doubling = u64::from(micros.ilog2());
    let quarter = (micros >> (doubling - 2)) & 3;
    let bucket = (doubling - 1) * 4 + quarter;
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// The first number of microseconds that is beyond a bucket.
fn end(bucket: usize) -> u64 {
    let bucket = bucket as u64 + 1;
    match bucket {
        0..4 => bucket,
        _ => (4 + bucket % 4) << (bucket / 4 - 1),
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count += 1;
            self.count += 1;
        }
    }

    /// What this part of all, between 0 and 1, did not exceed; `None` of nothing.
    pub(crate) fn percentile(&self, part: f64) -> Option<Duration> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a rank among counts"
        )]
        let rank = ((self.count as f64 * part).ceil() as u64).max(1);
        let mut below = 0;
        for (at, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return Some(Duration::from_micros(end(at)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Histogram::default().percentile(0.5), None);
    }

    proptest! {
        /// Law: a percentile is at least the value, and by no more than a quarter (and one
        /// microsecond) above it.
        #[test]
        fn a_percentile_is_right_to_a_quarter(mut times in prop::collection::vec(0u64..3_000_000_000, 1..60), part in 0.01f64..1.0) {
            let mut histogram = Histogram::default();
            for time in &times {
                histogram.add(Duration::from_micros(*time));
            }
            times.sort_unstable();
            let rank = ((times.len() as f64 * part).ceil() as usize).max(1);
            let exact = times[rank - 1];
            let said = histogram.percentile(part).unwrap().as_micros() as u64;
            prop_assert!(said >= exact && said <= exact + exact / 4 + 1, "{said} for {exact}");
        }
    }
}
