//! What happened, in the order in which it happened: every call of a plugin, and plugins that come
//! and go.

use std::fmt::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nri_adaptation::{Observer, PluginCallReport, PluginInfo, PluginKind};

/// Writes down what an instance tells of its plugins.
pub(crate) struct Timeline {
    begun: Instant,
    entries: Mutex<Vec<Entry>>,
    changed: Condvar,
}

struct Entry {
    at: Duration,
    event: &'static str,
    plugin: String,
    took: Option<Duration>,
    outcome: String,
}

impl Timeline {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            entries: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, entry: Entry) {
        self.entries().push(entry);
        self.changed.notify_all();
    }

    fn plugin(&self, event: &'static str, plugin: &PluginInfo, what: &str) {
        let kind = match plugin.kind {
            PluginKind::BuiltIn => "built in",
            PluginKind::Launched => "launched",
            PluginKind::External => "external",
            _ => "",
        };
        let pid = plugin
            .pid
            .map(|pid| format!(", pid {pid}"))
            .unwrap_or_default();
        self.note(Entry {
            at: self.begun.elapsed(),
            event,
            plugin: plugin.plugin.to_string(),
            took: None,
            outcome: format!("{what} ({kind}{pid})"),
        });
    }

    /// Waits until `plugin` knows what exists.
    pub(crate) fn wait_for(&self, plugin: &str, limit: Duration) -> Result<(), String> {
        let there = |entries: &Vec<Entry>| {
            entries
                .iter()
                .any(|e| e.event == SYNCHRONIZED && e.plugin == plugin)
        };
        let waited = self
            .changed
            .wait_timeout_while(self.entries(), limit, |entries| !there(entries));
        let (_entries, result) = waited.unwrap_or_else(PoisonError::into_inner);
        match result.timed_out() {
            true => Err(format!("plugin {plugin} was not there within {limit:?}")),
            false => Ok(()),
        }
    }

    /// Whether `plugin`, which was launched with the runtime, is there.
    pub(super) fn is_there(&self, plugin: &str) -> Result<(), String> {
        let entries = self.entries();
        if entries
            .iter()
            .any(|entry| entry.event == SYNCHRONIZED && entry.plugin == plugin)
        {
            return Ok(());
        }
        let reason = entries
            .iter()
            .rev()
            .find(|entry| entry.took.is_none() && entry.plugin.contains(plugin));
        let reason = reason.map_or("it said nothing", |entry| entry.outcome.as_str());
        Err(format!(
            "plugin {plugin} did not start: {}",
            reason
                .replace("\\n", " ")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        ))
    }

    /// The timeline as a table. An event's name stands once for all plugins that got it in a row.
    pub(super) fn render(&self) -> String {
        let entries = self.entries();
        let width = entries
            .iter()
            .map(|entry| entry.plugin.len())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        let mut previous = "";
        for entry in entries.iter() {
            let event = if entry.event == previous {
                ""
            } else {
                entry.event
            };
            previous = entry.event;
            let took = entry
                .took
                .map(|took| format!("{:.2} ms", took.as_secs_f64() * 1e3))
                .unwrap_or_default();
            let at = entry.at.as_secs_f64() * 1e3;
            let _ = writeln!(
                text,
                "  {at:>9.1} ms  {event:<27}  {:<width$}  {took:>9}  {}",
                entry.plugin, entry.outcome
            );
        }
        text
    }
}

const SYNCHRONIZED: &str = "Synchronize";

impl Observer for Timeline {
    fn plugin_call(&self, report: &PluginCallReport<'_>) {
        self.note(Entry {
            at: report.started.saturating_duration_since(self.begun),
            event: report.event.name(),
            plugin: report.plugin.to_string(),
            took: Some(report.duration),
            outcome: report.outcome.name().to_owned(),
        });
    }

    fn plugin_connected(&self, plugin: &PluginInfo) {
        self.plugin("Configure", plugin, "connected");
    }

    fn plugin_synchronized(&self, plugin: &PluginInfo) {
        self.plugin(SYNCHRONIZED, plugin, "knows what exists");
    }

    fn plugin_disconnected(&self, plugin: &PluginInfo, reason: &str) {
        self.plugin("(gone)", plugin, reason);
    }

    fn plugin_refused(&self, peer: &str, reason: &str) {
        self.note(Entry {
            at: self.begun.elapsed(),
            event: "(refused)",
            plugin: peer.to_owned(),
            took: None,
            outcome: reason.to_owned(),
        });
    }
}
