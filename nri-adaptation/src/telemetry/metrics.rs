//! What an instance counts and measures, for whoever keeps metrics. With the feature `metrics`,
//! [`MetricsFacade`] hands it on to the recorder of the `metrics` crate.

#[cfg(feature = "metrics")]
mod facade;

use std::fmt;
use std::time::Duration;

use nri_core::schedule::CallOutcome;
use nri_core::{PluginId, api};

#[cfg(feature = "metrics")]
pub use self::facade::MetricsFacade;

/// Someone who keeps metrics. The methods are called in the middle of things: they must return at
/// once and must not call back into the instance. `operation` is the name of the request:
/// `Synchronize`, `RunPodSandbox`, ... and `ValidateContainerAdjustment`. Plugins that are not
/// subscribed are not called, and not counted.
pub trait Metrics: Send + Sync + 'static {
    /// A plugin was called, or would have been; told after
    /// [`record_latency`](Metrics::record_latency).
    ///
    /// # Errors
    /// The result's error is why the plugin did not answer, or what it answered instead.
    fn record_invocation(
        &self,
        plugin: &PluginId,
        operation: &'static str,
        result: Result<(), ErrorClass>,
    ) {
        let _ = (plugin, operation, result);
    }

    /// How long a call took, however it ended, waiting for the plugin's turn included.
    fn record_latency(&self, plugin: &PluginId, operation: &'static str, latency: Duration) {
        let _ = (plugin, operation, latency);
    }

    /// What a plugin asked for in an answer: of the container concerned, and how many updates and
    /// evictions of containers.
    fn record_adjustments(
        &self,
        plugin: &PluginId,
        operation: &'static str,
        adjustment: Option<&api::ContainerAdjustment>,
        updates: usize,
        evictions: usize,
    ) {
        let _ = (plugin, operation, adjustment, updates, evictions);
    }

    /// A plugin that only hears of what happens took too long: it does not get so many events, and is
    /// synchronised again.
    fn record_missed(&self, plugin: &PluginId, events: usize) {
        let _ = (plugin, events);
    }

    /// How many plugins are ready, built-in ones included.
    fn set_plugin_count(&self, count: usize) {
        let _ = count;
    }
}

/// Keeps none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NoMetrics;

impl Metrics for NoMetrics {}

/// Why a call came to nothing, in one word for a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorClass(&'static str);

/// The names of the status codes, as labels.
const CODES: [&str; 17] = [
    "ok",
    "canceled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

impl ErrorClass {
    /// The plugin did not answer in time.
    pub const DEADLINE_EXCEEDED: Self = Self("deadline_exceeded");
    /// The plugin's connection is lost. Ours; the reference says `other`.
    pub const CLOSED: Self = Self("closed");
    /// The plugin was not asked, since it still owes an earlier answer. Ours.
    pub const BUSY: Self = Self("busy");

    /// The plugin answered with this status code.
    ///
    /// ```
    /// use nri_adaptation::ErrorClass;
    /// assert_eq!(ErrorClass::of_code(12).as_str(), "unimplemented");
    /// assert_eq!(ErrorClass::of_code(99).as_str(), "unknown_code");
    /// ```
    #[must_use]
    pub fn of_code(code: i32) -> Self {
        let at = usize::try_from(code).ok();
        Self(
            at.and_then(|at| CODES.get(at))
                .copied()
                .unwrap_or("unknown_code"),
        )
    }

    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// What an outcome counts as.
    pub(crate) fn of(outcome: &CallOutcome) -> Result<(), Self> {
        match outcome {
            CallOutcome::Answered => Ok(()),
            CallOutcome::Failed { code, .. } => Err(Self::of_code(*code)),
            CallOutcome::Late => Err(Self::DEADLINE_EXCEEDED),
            CallOutcome::Busy => Err(Self::BUSY),
            // Whatever the core adds means that there was no answer.
            _ => Err(Self::CLOSED),
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nri_proto::transport::Code;

    /// Law: a code's label is its name in snake case.
    #[test]
    fn labels_are_the_names_of_the_codes() {
        for (value, label) in (0..).zip(CODES) {
            let name = format!("{:?}", Code::from(value));
            let mut snake = String::new();
            for c in name.chars() {
                if c.is_uppercase() && !snake.is_empty() {
                    snake.push('_');
                }
                snake.extend(c.to_lowercase());
            }
            // The reference spells this one in the American way.
            assert_eq!(snake.replace("cancelled", "canceled"), label);
        }
        assert_eq!(ErrorClass::of_code(-1).as_str(), "unknown_code");
        assert_eq!(ErrorClass::of_code(17).as_str(), "unknown_code");
    }
}
