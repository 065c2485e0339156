//! What the calls of one plugin came to so far.

use std::sync::MutexGuard;
use std::time::Duration;

use nri_core::schedule::CallOutcome;

use crate::duration::nanoseconds;
use crate::lock::Lock;
use crate::telemetry::call_report::PluginCallReport;

/// What the calls of one plugin came to so far, since it connected; a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallStatistics {
    /// Calls that are under way, those that wait for their turn included.
    pub in_flight: u32,
    /// Calls that are over, but for those whose caller gave up.
    pub calls: u64,
    /// Calls that the plugin answered with an error.
    pub failures: u64,
    /// Calls that it did not answer in time.
    pub timeouts: u64,
    /// How many of its last calls in a row it did not answer in time.
    pub timeouts_in_a_row: u32,
    /// Calls that it did not get, since it still owed an earlier answer.
    pub skipped: u64,
    /// Events that it did not get as an observer, since it was too far behind; it was synchronised
    /// again instead.
    pub missed: u64,
    /// How long it took where it answered, with an error or without.
    pub latency: Latency,
}

/// How long the answers of a plugin took, from asking for its turn on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How many answers there were.
    pub count: u64,
    /// How long all of them took together.
    pub total: Duration,
    /// The longest.
    pub max: Duration,
    /// The last one.
    pub last: Duration,
}

impl Latency {
    /// The mean; zero if there was no answer.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let nanos = self.total.as_nanos().checked_div(u128::from(self.count));
        // No more than the longest, which is a duration.
        nanoseconds(nanos.unwrap_or_default())
    }

    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.total = self.total.saturating_add(time);
        self.max = self.max.max(time);
        self.last = time;
    }
}

/// The counters of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Statistics(Lock<Counters>);

#[derive(Debug, Default)]
struct Counters {
    calls: CallStatistics,
    last_error: Option<String>,
}

impl Statistics {
    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.0.lock()
    }

    /// A call begins. It has to [end](Self::end).
    pub(crate) fn begin(&self) {
        self.lock().calls.in_flight += 1;
    }

    /// A call is not under way any more.
    pub(crate) fn end(&self) {
        let mut counters = self.lock();
        counters.calls.in_flight = counters.calls.in_flight.saturating_sub(1);
    }

    /// A call is over.
    pub(crate) fn record(&self, report: &PluginCallReport<'_>) {
        let mut counters = self.lock();
        let Counters { calls, last_error } = &mut *counters;
        calls.calls += 1;
        if matches!(
            report.outcome,
            CallOutcome::Answered | CallOutcome::Failed { .. }
        ) {
            calls.latency.add(report.duration);
            calls.timeouts_in_a_row = 0;
        }
        match report.outcome {
            CallOutcome::Answered => {}
            CallOutcome::Failed { code, message } => {
                calls.failures += 1;
                *last_error = Some(format!("{}: {message} (code {code})", report.event));
            }
            CallOutcome::Late => {
                calls.timeouts += 1;
                calls.timeouts_in_a_row += 1;
                *last_error = Some(format!("{}: it did not answer in time", report.event));
            }
            CallOutcome::Busy => calls.skipped += 1,
            _ => {
                *last_error = Some(format!("{}: its connection was lost", report.event));
            }
        }
    }

    /// It did not get events as an observer.
    pub(crate) fn missed(&self, events: usize) {
        let mut counters = self.lock();
        let missed = u64::try_from(events).unwrap_or(u64::MAX);
        counters.calls.missed = counters.calls.missed.saturating_add(missed);
    }

    /// What came of the calls so far, and of the last one that went wrong.
    pub(crate) fn snapshot(&self) -> (CallStatistics, Option<String>) {
        let counters = self.lock();
        (counters.calls, counters.last_error.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nri_core::{Event, RegisteredPlugin};
    use std::time::Instant;

    #[test]
    fn every_outcome_is_counted() {
        let plugin = RegisteredPlugin {
            id: "10-a".parse().unwrap(),
            registration: 1,
        };
        let statistics = Statistics::default();
        let record = |outcome: CallOutcome, millis| {
            statistics.record(&PluginCallReport {
                plugin: &plugin,
                event: Event::StartContainer,
                pod: "p",
                container: "c",
                started: Instant::now(),
                duration: Duration::from_millis(millis),
                outcome: &outcome,
                tag: None,
            });
        };
        let failed = CallOutcome::Failed {
            code: 2,
            message: "no".into(),
        };
        record(CallOutcome::Answered, 10);
        record(failed, 30);
        record(CallOutcome::Late, 2000);
        record(CallOutcome::Late, 2000);
        record(CallOutcome::Busy, 0);
        statistics.begin();
        let (calls, error) = statistics.snapshot();
        assert_eq!((calls.in_flight, calls.calls, calls.failures), (1, 5, 1));
        assert_eq!(
            (calls.timeouts, calls.timeouts_in_a_row, calls.skipped),
            (2, 2, 1)
        );
        let latency = calls.latency;
        assert_eq!(latency.mean(), Duration::from_millis(20));
        assert_eq!(
            (latency.count, latency.max, latency.last),
            (2, latency.last, Duration::from_millis(30))
        );
        assert_eq!(
            error.as_deref(),
            Some("StartContainer: it did not answer in time")
        );
        statistics.end();
        record(CallOutcome::Answered, 1);
        let (calls, _) = statistics.snapshot();
        assert_eq!((calls.in_flight, calls.timeouts_in_a_row), (0, 0));
        assert_eq!(Latency::default().mean(), Duration::ZERO);
    }
}
