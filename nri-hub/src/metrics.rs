//! What is counted and measured, for Prometheus: of plugins under the names that containerd's
//! dashboards know, with another prefix, and of the hub itself.
//!
//! Plugins choose their names, so there are no more of them than a limit: memory, and what
//! Prometheus keeps, would grow with each that calls itself another way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nri_adaptation::policy::Verdict;
use nri_adaptation::{ErrorClass, PluginId, api};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What the names of all begin with.
const PREFIX: &str = "nri_hub";

/// How many plugins are told apart; those that come later are [`OTHERS`] together.
const MOST_NAMED: usize = 256;
/// No plugin is called so: the names of all begin with two digits.
const OTHERS: &str = "other";

/// Names and values.
type Labels = Vec<(&'static str, String)>;
type Count = Gauge<i64, AtomicI64>;

/// The metrics of plugins.
pub(crate) struct Metrics {
    invocations: Family<Labels, Counter>,
    latency: Family<Labels, Histogram, fn() -> Histogram>,
    adjustments: Family<Labels, Counter>,
    verdicts: Family<Labels, Counter>,
    missed: Family<Labels, Counter>,
    plugins: Count,
    registry: Registry,
    named: Mutex<Named>,
}

/// The plugins that are told apart.
struct Named {
    of: BTreeMap<PluginId, Series>,
    others: Series,
}

/// What is counted of a plugin.
struct Series {
    /// Its label.
    plugin: Arc<str>,
    usual: BTreeMap<&'static str, Usual>,
}

impl Series {
    fn of(plugin: &str) -> Self {
        Self {
            plugin: plugin.into(),
            usual: BTreeMap::new(),
        }
    }
}

impl Default for Named {
    fn default() -> Self {
        Self {
            of: BTreeMap::new(),
            others: Series::of(OTHERS),
        }
    }
}

impl Named {
    fn series(&mut self, plugin: &PluginId) -> &mut Series {
        let is_full = self.of.len() >= MOST_NAMED;
        if self.of.contains_key(plugin) || !is_full {
            let series = self.of.entry(plugin.clone());
            return series.or_insert_with(|| Series::of(&plugin.to_string()));
        }
        &mut self.others
    }
}

/// What is counted of a plugin's calls that go well, which need not be looked up by names then.
#[derive(Default)]
struct Usual {
    answered: Option<Counter>,
    latency: Option<Histogram>,
    asked: [Option<Counter>; 3],
}

/// What plugins may ask for.
const KINDS: [&str; 3] = ["adjust", "update", "evict"];

/// What is counted of the hub itself.
pub(crate) struct Hubs {
    pub(crate) is_ready: bool,
    pub(crate) is_connected: bool,
    pub(crate) connections: u64,
    pub(crate) is_config_valid: bool,
    pub(crate) pods: usize,
    pub(crate) containers: usize,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
}

/// From 50 microseconds to 6.5 seconds.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 18))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let (invocations, adjustments) = (Family::default(), Family::default());
        let latency = Family::new_with_constructor(histogram as fn() -> Histogram);
        let plugins = Count::default();
        registry.register(
            "plugin_invocations",
            "Calls of NRI plugins",
            invocations.clone(),
        );
        let help = "How long calls of NRI plugins took";
        registry.register_with_unit("plugin_latency", help, Unit::Seconds, latency.clone());
        let help = "What NRI plugins asked for in their answers";
        registry.register("plugin_adjustments", help, adjustments.clone());
        let verdicts = Family::default();
        let help = "What the policy said of what NRI plugins asked for";
        registry.register("policy_verdicts", help, verdicts.clone());
        let missed = Family::default();
        let help = "Events that observing NRI plugins did not get, since they were too far behind";
        registry.register("observer_missed_events", help, missed.clone());
        registry.register(
            "active_plugins",
            "NRI plugins that are ready",
            plugins.clone(),
        );
        Self {
            invocations,
            latency,
            adjustments,
            verdicts,
            missed,
            plugins,
            registry,
            named: Mutex::default(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The names of a plugin's operation, with room for more.
fn names(plugin: &str, operation: &'static str) -> Labels {
    vec![
        ("plugin", plugin.to_owned()),
        ("operation", operation.to_owned()),
    ]
}

impl Metrics {
    fn named<R>(&self, plugin: &PluginId, then: impl FnOnce(&mut Series) -> R) -> R {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        then(named.series(plugin))
    }

    fn usual<R>(
        &self,
        plugin: &PluginId,
        operation: &'static str,
        then: impl FnOnce(&mut Usual, &str) -> R,
    ) -> R {
        self.named(plugin, |series| {
            let usual = series.usual.entry(operation).or_default();
            then(usual, &series.plugin)
        })
    }

    /// What a plugin is called in labels.
    fn label(&self, plugin: &PluginId) -> String {
        self.named(plugin, |series| series.plugin.to_string())
    }

    /// All of it as a text.
    pub(crate) fn text(&self, hub: &Hubs) -> String {
        let mut own = Registry::with_prefix(PREFIX);
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let gauges = [
            ("ready", "Whether the hub is ready", i64::from(hub.is_ready)),
            (
                "runtime_connected",
                "Whether the runtime above is connected",
                i64::from(hub.is_connected),
            ),
            (
                "config_valid",
                "Whether the newest configuration is in force",
                i64::from(hub.is_config_valid),
            ),
            ("pods", "Pods that there are", count(hub.pods)),
            (
                "containers",
                "Containers that there are",
                count(hub.containers),
            ),
        ];
        for (name, help, value) in gauges {
            own.register(name, help, ConstGauge::new(value));
        }
        let counters = [
            (
                "runtime_connections",
                "How often the runtime above was connected",
                hub.connections,
            ),
            ("requests", "Requests of the runtime above", hub.requests),
            (
                "requests_failed",
                "Requests of the runtime above that failed",
                hub.failed,
            ),
        ];
        for (name, help, value) in counters {
            own.register(name, help, ConstCounter::new(value));
        }
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = text::encode_registry(&mut text, &self.registry);
        let _ = text::encode(&mut text, &own);
        text
    }
}

impl nri_adaptation::Metrics for Metrics {
    fn record_invocation(
        &self,
        plugin: &PluginId,
        operation: &'static str,
        result: Result<(), ErrorClass>,
    ) {
        let count = |plugin: &str, status: &str, error: &str| {
            let mut labels = names(plugin, operation);
            labels.push(("status", status.to_owned()));
            labels.push(("error", error.to_owned()));
            self.invocations.get_or_create(&labels).clone()
        };
        match result {
            Ok(()) => self.usual(plugin, operation, |usual, plugin| {
                let answered = &mut usual.answered;
                answered
                    .get_or_insert_with(|| count(plugin, "success", ""))
                    .inc();
            }),
            Err(class) => {
                count(&self.label(plugin), "error", class.as_str()).inc();
            }
        }
    }

    fn record_latency(&self, plugin: &PluginId, operation: &'static str, latency: Duration) {
        self.usual(plugin, operation, |usual, plugin| {
            let measured = usual.latency.get_or_insert_with(|| {
                let labels = names(plugin, operation);
                self.latency.get_or_create(&labels).clone()
            });
            measured.observe(latency.as_secs_f64());
        });
    }

    fn record_adjustments(
        &self,
        plugin: &PluginId,
        operation: &'static str,
        adjustment: Option<&api::ContainerAdjustment>,
        updates: usize,
        evictions: usize,
    ) {
        let adjusts = adjustment.is_some_and(|asked| *asked != api::ContainerAdjustment::default());
        let counts = [usize::from(adjusts), updates, evictions];
        if counts == [0; 3] {
            return;
        }
        self.usual(plugin, operation, |usual, plugin| {
            for (number, count) in counts
                .into_iter()
                .enumerate()
                .filter(|(_, count)| *count > 0)
            {
                let counted = usual.asked[number].get_or_insert_with(|| {
                    let mut labels = names(plugin, operation);
                    labels.push(("type", KINDS[number].to_owned()));
                    self.adjustments.get_or_create(&labels).clone()
                });
                counted.inc_by(count as u64);
            }
        });
    }

    fn record_verdict(&self, verdict: &Verdict) {
        let labels = vec![
            ("plugin", self.label(&verdict.plugin)),
            ("rule", verdict.rule.to_string()),
            ("action", verdict.action.to_string()),
        ];
        self.verdicts.get_or_create(&labels).inc();
    }

    fn record_missed(&self, plugin: &PluginId, events: usize) {
        let labels = vec![("plugin", self.label(plugin))];
        self.missed.get_or_create(&labels).inc_by(events as u64);
    }

    fn set_plugin_count(&self, count: usize) {
        self.plugins.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use nri_adaptation::Metrics as _;

    use super::*;
    use nri_adaptation::policy::explain;
    use nri_adaptation::{Config, api};

    /// A hub that has done nothing yet.
    const HUB: Hubs = Hubs {
        is_ready: true,
        is_connected: true,
        connections: 1,
        is_config_valid: true,
        pods: 0,
        containers: 0,
        requests: 0,
        failed: 0,
    };

    /// What a policy says of an answer with a hook, a variable and a command line.
    fn verdicts(plugin: &PluginId) -> Vec<Verdict> {
        let policy = "default = 'audit'\n[[rules]]\nname = 'no-hooks'\nfields = ['oci-hooks']\naction = 'deny'";
        let asked = api::ContainerAdjustment {
            hooks: Some(api::Hooks {
                poststop: vec![api::Hook::default()],
                ..Default::default()
            }),
            env: vec![api::KeyValue::default()],
            args: vec!["sh".to_owned()],
            ..Default::default()
        };
        let policy = Config::policy_from_toml(policy).unwrap();
        explain(&policy, plugin, &api::PodSandbox::default(), &asked)
    }

    /// Law: what the dashboard draws and what alerts are raised by is there.
    #[test]
    fn every_name_in_the_dashboard_and_in_the_alert_rules_is_one_of_the_text() {
        let metrics = Metrics::default();
        let plugin = "10-a".parse().unwrap();
        metrics.record_invocation(&plugin, "CreateContainer", Ok(()));
        metrics.record_latency(&plugin, "CreateContainer", Duration::from_millis(3));
        metrics.record_adjustments(&plugin, "CreateContainer", None, 2, 0);
        metrics.record_missed(&plugin, 7);
        for verdict in verdicts(&plugin) {
            metrics.record_verdict(&verdict);
        }
        let text = metrics.text(&HUB);
        let there = |name: &str| {
            let mut lines = text.lines();
            lines.any(|line| line.split(['{', ' ']).next() == Some(name))
        };
        let used = concat!(
            include_str!("../deploy/grafana-dashboard.json"),
            include_str!("../deploy/prometheus-rules.yaml")
        );
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let words = used.split(|letter| !is_of_name(letter));
        let mut names = 0;
        for name in words.filter(|word| word.starts_with("nri_hub_")) {
            assert!(there(name), "{name} is not in {text}");
            names += 1;
        }
        assert!(names > 15, "{names}");
    }

    /// Law: however many names plugins give themselves, there are no more series than a bound, and
    /// nothing goes uncounted.
    #[test]
    fn names_that_plugins_choose_are_bounded() {
        let metrics = Metrics::default();
        let name = |n: usize| format!("10-p{n}").parse().unwrap();
        let many = 4 * MOST_NAMED;
        for n in 0..many {
            let plugin = name(n);
            metrics.record_latency(&plugin, "StopContainer", Duration::from_millis(1));
            metrics.record_invocation(&plugin, "StopContainer", Ok(()));
            metrics.record_invocation(&plugin, "StopContainer", Err(ErrorClass::BUSY));
            metrics.record_adjustments(&plugin, "StopContainer", None, 1, 1);
            metrics.record_missed(&plugin, 1);
            verdicts(&plugin)
                .iter()
                .for_each(|v| metrics.record_verdict(v));
        }
        // Those that have a name keep it.
        metrics.record_missed(&name(0), 1);
        let text = metrics.text(&HUB);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let named = |of: &str| lines.iter().filter(|line| line.starts_with(of)).count();
        assert_eq!(
            named("nri_hub_observer_missed_events_total"),
            MOST_NAMED + 1
        );
        assert_eq!(
            named("nri_hub_plugin_latency_seconds_count"),
            MOST_NAMED + 1
        );
        assert_eq!(
            named("nri_hub_plugin_adjustments_total"),
            2 * (MOST_NAMED + 1)
        );
        assert_eq!(
            named("nri_hub_plugin_invocations_total"),
            2 * (MOST_NAMED + 1)
        );
        let others = many - MOST_NAMED;
        for line in [
            r#"nri_hub_observer_missed_events_total{plugin="10-p0"} 2"#,
            &format!(r#"nri_hub_observer_missed_events_total{{plugin="other"}} {others}"#),
        ] {
            assert!(lines.contains(&line), "{line}");
        }
    }

    #[test]
    fn the_text_has_plugins_and_the_hub_and_one_end() {
        let metrics = Metrics::default();
        let plugin = "10-a\"b".replace('"', "");
        let plugin = plugin.parse().unwrap();
        metrics.record_invocation(&plugin, "CreateContainer", Err(ErrorClass::CLOSED));
        metrics.record_latency(&plugin, "CreateContainer", Duration::from_millis(3));
        metrics.record_adjustments(&plugin, "CreateContainer", None, 2, 0);
        metrics.record_missed(&plugin, 7);
        for verdict in verdicts(&plugin) {
            metrics.record_verdict(&verdict);
        }
        metrics.set_plugin_count(1);
        let hub = Hubs {
            is_ready: true,
            is_connected: false,
            connections: 2,
            is_config_valid: true,
            pods: 3,
            containers: 4,
            requests: 5,
            failed: 1,
        };
        let text = metrics.text(&hub);
        for line in [
            r#"nri_hub_plugin_invocations_total{plugin="10-ab",operation="CreateContainer",status="error",error="closed"} 1"#,
            r#"nri_hub_plugin_latency_seconds_count{plugin="10-ab",operation="CreateContainer"} 1"#,
            r#"nri_hub_plugin_adjustments_total{plugin="10-ab",operation="CreateContainer",type="update"} 2"#,
            r#"nri_hub_observer_missed_events_total{plugin="10-ab"} 7"#,
            r#"nri_hub_policy_verdicts_total{plugin="10-ab",rule="no-hooks",action="deny"} 1"#,
            r#"nri_hub_policy_verdicts_total{plugin="10-ab",rule="default",action="audit"} 2"#,
            "nri_hub_active_plugins 1",
            "nri_hub_ready 1",
            "nri_hub_runtime_connected 0",
            "nri_hub_runtime_connections_total 2",
            "nri_hub_containers 4",
            "nri_hub_requests_failed_total 1",
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line} is missing in {text}"
            );
        }
        assert_eq!(text.matches("# EOF").count(), 1);
        assert!(text.ends_with("# EOF\n"));
    }
}
