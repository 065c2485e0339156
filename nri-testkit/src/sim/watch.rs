//! What the simulated runtime hears of its plugins: who is there, and what they had done to containers.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nri_adaptation::{CallOutcome, Observer, PluginCallReport, PluginInfo, PluginKind};
use nri_core::{DomainError, Event, PluginId, RegisteredPlugin, api};
use tokio::sync::watch;

use super::reply::{Evicted, Refused, Updated};

/// How many updates, evictions, refusals and calls are remembered, each. Of more, the oldest are forgotten.
const REMEMBERED: usize = 65_536;

/// Watches plugins.
#[derive(Debug)]
pub(super) struct Watch {
    /// Plugins that know what exists, without those that are part of this program.
    ready: watch::Sender<BTreeSet<RegisteredPlugin>>,
    /// How many have connected so far.
    connected: watch::Sender<u64>,
    done: Mutex<Done>,
    calls: Mutex<Calls>,
}

/// The calls of plugins, numbered.
#[derive(Debug, Default)]
struct Calls {
    list: VecDeque<Call>,
    /// The number of the next one.
    next: u64,
}

/// One call of a plugin.
#[derive(Debug, Clone)]
pub(super) struct Call {
    number: u64,
    pub(super) plugin: RegisteredPlugin,
    pub(super) event: Event,
    pub(super) pod: String,
    /// Empty for pod events.
    pub(super) container: String,
    pub(super) outcome: CallOutcome,
    pub(super) duration: Duration,
}

/// What plugins had done to containers.
#[derive(Debug, Clone, Default)]
pub(super) struct Done {
    pub(super) updates: VecDeque<Updated>,
    pub(super) evictions: VecDeque<Evicted>,
    pub(super) refused: VecDeque<Refused>,
    /// How many of them are forgotten.
    pub(super) forgotten: u64,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            ready: watch::Sender::new(BTreeSet::new()),
            connected: watch::Sender::new(0),
            done: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        // Nothing panics while it holds the lock, so a poisoned one is as good as any.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next call.
    pub(super) fn next_call(&self) -> u64 {
        self.calls().next
    }

    /// The calls from a number on, in the order in which they ended.
    pub(super) fn calls_since(&self, number: u64) -> Vec<Call> {
        let calls = self.calls();
        let from = calls.list.partition_point(|call| call.number < number);
        calls.list.range(from..).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Done> {
        // Nothing panics while it holds the lock, so a poisoned one is as good as any.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What plugins had done so far.
    pub(super) fn done(&self) -> Done {
        self.lock().clone()
    }

    /// The plugins that know what exists.
    pub(super) fn ready(&self) -> watch::Receiver<BTreeSet<RegisteredPlugin>> {
        self.ready.subscribe()
    }

    /// Changes whenever a plugin has connected.
    pub(super) fn connected(&self) -> watch::Receiver<u64> {
        self.connected.subscribe()
    }
}

impl Done {
    fn refuse(
        &mut self,
        what: &'static str,
        container: &str,
        plugins: Vec<String>,
        error: &DomainError,
    ) {
        let refused = Refused {
            what,
            container_id: container.to_owned(),
            plugin: plugins.first().cloned().unwrap_or_default(),
            plugins,
            error: error.to_string(),
        };
        self.forgotten += remember(&mut self.refused, refused);
    }
}

/// Adds an entry; returns how many had to go for it.
fn remember<T>(list: &mut VecDeque<T>, entry: T) -> u64 {
    let full = list.len() >= REMEMBERED;
    if full {
        list.pop_front();
    }
    list.push_back(entry);
    u64::from(full)
}

fn names<'a>(plugins: impl IntoIterator<Item = &'a PluginId>) -> Vec<String> {
    plugins.into_iter().map(ToString::to_string).collect()
}

impl Observer for Watch {
    fn plugin_call(&self, report: &PluginCallReport<'_>) {
        let mut calls = self.calls();
        let call = Call {
            number: calls.next,
            plugin: report.plugin.clone(),
            event: report.event,
            pod: report.pod.to_owned(),
            container: report.container.to_owned(),
            outcome: report.outcome.clone(),
            duration: report.duration,
        };
        calls.next += 1;
        remember(&mut calls.list, call);
    }

    fn plugin_connected(&self, _: &PluginInfo) {
        self.connected.send_modify(|count| *count += 1);
    }

    fn plugin_synchronized(&self, plugin: &PluginInfo) {
        if plugin.kind != PluginKind::BuiltIn {
            self.ready.send_modify(|ready| {
                ready.insert(plugin.plugin.clone());
            });
        }
    }

    fn plugin_gone(&self, plugin: &PluginInfo, _: &str) {
        self.ready.send_modify(|ready| {
            ready.remove(&plugin.plugin);
        });
    }

    fn container_updated(
        &self,
        plugins: &[PluginId],
        update: &api::ContainerUpdate,
        result: Result<(), &DomainError>,
    ) {
        let mut done = self.lock();
        match result {
            Ok(()) => {
                let update = Updated::new(plugins, update.clone());
                done.forgotten += remember(&mut done.updates, update);
            }
            Err(error) => done.refuse("update", &update.container_id, names(plugins), error),
        }
    }

    fn container_evicted(
        &self,
        container: &str,
        reasons: &[(PluginId, String)],
        result: Result<(), &DomainError>,
    ) {
        let mut done = self.lock();
        match result {
            Ok(()) => {
                let eviction = Evicted::new(container, reasons);
                done.forgotten += remember(&mut done.evictions, eviction);
            }
            Err(error) => {
                let plugins = names(reasons.iter().map(|(plugin, _)| plugin));
                done.refuse("evict", container, plugins, error);
            }
        }
    }
}
