//! The metrics of an instance on the `metrics` facade, under the reference's names.

use std::time::Duration;

use metrics::{SharedString, counter, describe_counter, describe_gauge, describe_histogram};
use nri_core::{PluginId, api};

use super::{ErrorClass, Metrics};

/// Hands the metrics of an instance on to the recorder that the program has installed for the
/// `metrics` crate.
///
/// | name | kind | labels |
/// |---|---|---|
/// | `<prefix>_plugin_invocations_total` | counter | `plugin`, `operation`, `status` (`success`, `error`), `error` |
/// | `<prefix>_plugin_latency_seconds` | histogram | `plugin`, `operation` |
/// | `<prefix>_plugin_adjustments_total` | counter | `plugin`, `operation`, `type` (`update`, `evict`, and if asked for `adjust`) |
/// | `<prefix>_observer_missed_events_total` | counter | `plugin` |
/// | `<prefix>_active_plugins_total` | gauge | |
///
/// ```
/// use std::sync::Arc;
/// use nri_adaptation::{Config, MetricsFacade, Nri};
///
/// let metrics = MetricsFacade::new("myruntime_nri").counting_adjustments();
/// let nri = Nri::builder(Config::default()).metrics(Arc::new(metrics)).build()?;
/// # Ok::<(), nri_adaptation::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MetricsFacade {
    invocations: SharedString,
    latency: SharedString,
    adjustments: SharedString,
    missed: SharedString,
    plugins: SharedString,
    counts_adjustments: bool,
}

/// With the prefix [`MetricsFacade::DEFAULT_PREFIX`].
impl Default for MetricsFacade {
    fn default() -> Self {
        Self::new(Self::DEFAULT_PREFIX)
    }
}

impl MetricsFacade {
    /// The prefix with which containerd's dashboards and alerts work as they are.
    pub const DEFAULT_PREFIX: &'static str = "containerd_nri";

    /// Metrics whose names begin with `prefix`. Describes them to the recorder that is installed,
    /// if one is.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let name = |name: &str| SharedString::from(format!("{prefix}_{name}"));
        let metrics = Self {
            invocations: name("plugin_invocations_total"),
            latency: name("plugin_latency_seconds"),
            adjustments: name("plugin_adjustments_total"),
            missed: name("observer_missed_events_total"),
            plugins: name("active_plugins_total"),
            counts_adjustments: false,
        };
        describe_counter!(metrics.invocations.clone(), "Calls of NRI plugins.");
        describe_histogram!(
            metrics.latency.clone(),
            metrics::Unit::Seconds,
            "How long calls of NRI plugins took."
        );
        describe_counter!(
            metrics.adjustments.clone(),
            "What NRI plugins asked for in their answers."
        );
        describe_counter!(
            metrics.missed.clone(),
            "Events that observing NRI plugins did not get, since they were too far behind."
        );
        describe_gauge!(metrics.plugins.clone(), "NRI plugins that are ready.");
        metrics
    }

    /// Counts adjustments of the container concerned too, under the type `adjust`, which the
    /// reference does not.
    #[must_use]
    pub fn counting_adjustments(mut self) -> Self {
        self.counts_adjustments = true;
        self
    }
}

impl Metrics for MetricsFacade {
    fn record_invocation(
        &self,
        plugin: &PluginId,
        operation: &'static str,
        result: Result<(), ErrorClass>,
    ) {
        let (status, error) = match result {
            Ok(()) => ("success", ""),
            Err(class) => ("error", class.as_str()),
        };
        counter!(
            self.invocations.clone(),
            "plugin" => plugin.to_string(), "operation" => operation, "status" => status, "error" => error,
        )
        .increment(1);
    }

    fn record_latency(&self, plugin: &PluginId, operation: &'static str, latency: Duration) {
        let labels = [
            metrics::Label::new("plugin", plugin.to_string()),
            metrics::Label::new("operation", operation),
        ];
        metrics::histogram!(self.latency.clone(), labels.iter()).record(latency);
    }

    fn record_adjustments(
        &self,
        plugin: &PluginId,
        operation: &'static str,
        adjustment: Option<&api::ContainerAdjustment>,
        updates: usize,
        evictions: usize,
    ) {
        let adjusts =
            adjustment.is_some_and(|adjust| *adjust != api::ContainerAdjustment::default());
        let counts = [
            ("update", updates),
            ("evict", evictions),
            ("adjust", usize::from(self.counts_adjustments && adjusts)),
        ];
        for (kind, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            counter!(
                self.adjustments.clone(),
                "plugin" => plugin.to_string(), "operation" => operation, "type" => kind,
            )
            .increment(count as u64);
        }
    }

    fn record_missed(&self, plugin: &PluginId, events: usize) {
        counter!(self.missed.clone(), "plugin" => plugin.to_string()).increment(events as u64);
    }

    #[allow(clippy::cast_precision_loss, reason = "there are not so many plugins")]
    fn set_plugin_count(&self, count: usize) {
        metrics::gauge!(self.plugins.clone()).set(count as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata,
        Recorder, Unit,
    };

    use super::*;

    type Values = Arc<Mutex<BTreeMap<String, f64>>>;

    /// Keeps what it is told, by name and labels.
    #[derive(Default)]
    struct Kept(Values);

    struct Slot(String, Values);

    impl Slot {
        fn change(&self, change: impl FnOnce(&mut f64)) {
            change(self.1.lock().unwrap().entry(self.0.clone()).or_default());
        }
    }

    impl CounterFn for Slot {
        fn increment(&self, value: u64) {
            self.change(|sum| *sum += value as f64);
        }
        fn absolute(&self, value: u64) {
            self.change(|sum| *sum = value as f64);
        }
    }

    impl GaugeFn for Slot {
        fn increment(&self, value: f64) {
            self.change(|sum| *sum += value);
        }
        fn decrement(&self, value: f64) {
            self.change(|sum| *sum -= value);
        }
        fn set(&self, value: f64) {
            self.change(|sum| *sum = value);
        }
    }

    impl HistogramFn for Slot {
        fn record(&self, value: f64) {
            self.change(|sum| *sum += value);
        }
    }

    impl Kept {
        fn slot(&self, key: &Key) -> Arc<Slot> {
            let labels: Vec<String> = key
                .labels()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            let text = format!("{} {}", key.name(), labels.join(" "));
            Arc::new(Slot(text.trim_end().to_owned(), Arc::clone(&self.0)))
        }
    }

    impl Recorder for Kept {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.slot(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.slot(key))
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.slot(key))
        }
    }

    fn kept(record: impl FnOnce()) -> Vec<(String, f64)> {
        let recorder = Kept::default();
        metrics::with_local_recorder(&recorder, record);
        let values = recorder.0.lock().unwrap();
        values
            .iter()
            .map(|(key, value)| (key.clone(), *value))
            .collect()
    }

    #[test]
    fn names_and_labels_are_the_references() {
        let plugin = "10-a".parse().unwrap();
        let adjustment = api::ContainerAdjustment {
            args: vec!["sh".into()],
            ..Default::default()
        };
        let record = |metrics: &MetricsFacade| {
            metrics.record_latency(&plugin, "CreateContainer", Duration::from_millis(500));
            metrics.record_invocation(&plugin, "CreateContainer", Ok(()));
            metrics.record_invocation(&plugin, "StartContainer", Err(ErrorClass::CLOSED));
            metrics.record_adjustments(&plugin, "CreateContainer", Some(&adjustment), 2, 1);
            metrics.set_plugin_count(3);
        };
        let told = kept(|| record(&MetricsFacade::default()));
        let expected = [
            ("containerd_nri_active_plugins_total", 3.0),
            (
                "containerd_nri_plugin_adjustments_total plugin=10-a operation=CreateContainer type=evict",
                1.0,
            ),
            (
                "containerd_nri_plugin_adjustments_total plugin=10-a operation=CreateContainer type=update",
                2.0,
            ),
            (
                "containerd_nri_plugin_invocations_total plugin=10-a operation=CreateContainer status=success error=",
                1.0,
            ),
            (
                "containerd_nri_plugin_invocations_total plugin=10-a operation=StartContainer status=error error=closed",
                1.0,
            ),
            (
                "containerd_nri_plugin_latency_seconds plugin=10-a operation=CreateContainer",
                0.5,
            ),
        ];
        assert_eq!(told, expected.map(|(key, value)| (key.to_owned(), value)));

        let told = kept(|| record(&MetricsFacade::new("x").counting_adjustments()));
        let adjust = "x_plugin_adjustments_total plugin=10-a operation=CreateContainer type=adjust";
        assert!(told.contains(&(adjust.to_owned(), 1.0)), "{told:?}");
    }
}
