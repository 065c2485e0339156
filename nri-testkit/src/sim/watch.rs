//! What the simulated runtime hears of its plugins: who is there, and what they had done to
//! containers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nri_adaptation::{CallOutcome, Observer, PluginCallReport, PluginInfo, PluginKind};
use nri_core::{Ctx, DomainError, Event, PluginId, RegisteredPlugin, Subject, api};
use tokio::sync::watch;

use super::reply::{Evicted, OutcomeReply, Refused, Updated, milliseconds};

/// How many updates, evictions and refusals are remembered, each. Of more, the oldest are
/// forgotten.
const REMEMBERED: usize = 65_536;

/// Watches plugins.
#[derive(Debug)]
pub(super) struct Watch {
    /// Plugins that know what exists, without those that are part of this program.
    ready: watch::Sender<BTreeSet<RegisteredPlugin>>,
    /// How many have connected so far.
    connected: watch::Sender<u64>,
    /// Those that have connected and do not know yet what exists.
    joining: watch::Sender<BTreeSet<RegisteredPlugin>>,
    done: Mutex<Done>,
    calls: Mutex<Calls>,
}

/// The calls of plugins that belong to the commands that are under way, by the tag of the command.
#[derive(Debug, Default)]
struct Calls {
    of: BTreeMap<u64, Vec<Call>>,
    /// The commands to which the undoing of a creation belongs, by the container.
    undoing: BTreeMap<String, u64>,
    /// The tag of the last command.
    last: u64,
}

/// The calls that belong to a command, as long as it is under way.
#[derive(Debug)]
pub(super) struct Recording<'a> {
    watch: &'a Watch,
    tag: u64,
}

impl Recording<'_> {
    /// By which the command's calls are known.
    pub(super) fn tag(&self) -> u64 {
        self.tag
    }

    /// The calls that are over, in the order in which they ended.
    pub(super) fn calls(&self) -> Vec<Call> {
        let calls = self.watch.calls();
        calls.of.get(&self.tag).cloned().unwrap_or_default()
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        let mut calls = self.watch.calls();
        calls.of.remove(&self.tag);
        calls.undoing.retain(|_, tag| *tag != self.tag);
    }
}

/// One call of a plugin.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) plugin: RegisteredPlugin,
    pub(super) event: Event,
    /// Empty for pod events.
    pub(super) container: String,
    pub(super) outcome: CallOutcome,
    pub(super) duration: Duration,
}

impl Call {
    /// What a plugin did in a self. `event` is the command's own, `about` the id of what that is
    /// about.
    pub(super) fn reply(&self, event: Event, about: &str) -> OutcomeReply {
        let implied = !self.container.is_empty()
            && (event.subject() == Subject::Pod || self.container != about);
        let (word, error) = match &self.outcome {
            CallOutcome::Answered => ("answered", None),
            CallOutcome::Failed { message, .. } => ("failed", Some(message.clone())),
            // One that still owes an answer is as late as one that does not give the present one.
            CallOutcome::Late | CallOutcome::Busy => ("late", None),
            CallOutcome::Gone => ("gone", None),
            _ => ("other", None),
        };
        OutcomeReply {
            plugin: self.plugin.to_string(),
            event: (self.event != event).then(|| self.event.name()),
            container_id: implied.then(|| self.container.clone()),
            outcome: word,
            error,
            ms: (self.outcome != CallOutcome::Busy).then(|| milliseconds(self.duration)),
        }
    }
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
            joining: watch::Sender::new(BTreeSet::new()),
            done: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        // Nothing panics while it holds the lock, so a poisoned one is as good as any.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to record what belongs to a command: the calls with its tag.
    pub(super) fn record(&self) -> Recording<'_> {
        let mut calls = self.calls();
        calls.last += 1;
        let tag = calls.last;
        calls.of.insert(tag, Vec::new());
        Recording { watch: self, tag }
    }

    /// The undoing of the creation of a container, which has no tag, belongs to a command as well.
    pub(super) fn record_undoing(&self, container: &str, cx: &Ctx) {
        if let Some(tag) = cx.tag() {
            self.calls().undoing.insert(container.to_owned(), tag);
        }
    }

    /// Whether a plugin is about to be synchronised.
    pub(super) fn somebody_joins(&self) -> bool {
        !self.joining.borrow().is_empty()
    }

    /// Waits until no plugin is about to be synchronised. That is never for ever: one that does not
    /// answer in time is disconnected.
    pub(super) async fn nobody_joins(&self) {
        let mut joining = self.joining.subscribe();
        // The sender is here, so it cannot be gone.
        let _ = joining.wait_for(BTreeSet::is_empty).await;
    }

    /// A plugin knows what exists, or never will.
    fn joined(&self, plugin: &PluginInfo) {
        self.joining.send_modify(|joining| {
            joining.remove(&plugin.plugin);
        });
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
        let tag = report
            .tag
            .or_else(|| calls.undoing.get(report.container).copied());
        if let Some(own) = tag.and_then(|tag| calls.of.get_mut(&tag)) {
            own.push(Call {
                plugin: report.plugin.clone(),
                event: report.event,
                container: report.container.to_owned(),
                outcome: report.outcome.clone(),
                duration: report.duration,
            });
        }
    }

    fn plugin_connected(&self, plugin: &PluginInfo) {
        self.joining.send_modify(|joining| {
            joining.insert(plugin.plugin.clone());
        });
        self.connected.send_modify(|count| *count += 1);
    }

    fn plugin_synchronized(&self, plugin: &PluginInfo) {
        self.joined(plugin);
        if plugin.kind != PluginKind::BuiltIn {
            self.ready.send_modify(|ready| {
                ready.insert(plugin.plugin.clone());
            });
        }
    }

    fn plugin_disconnected(&self, plugin: &PluginInfo, _: &str) {
        self.joined(plugin);
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
