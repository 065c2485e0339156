//! An observer that a test can wait for.

use std::fmt;

use nri_adaptation::{AuditRecord, CallOutcome, Observer, PluginCallReport, PluginInfo};
use nri_core::merge::Omission;
use nri_core::policy::Verdict;
use nri_core::{DomainError, Event, PluginId, api};

use crate::Journal;

/// What an instance told about its plugins, and what they did. It displays as one line:
/// `synchronized 10-a`, `gone 10-a: closed by the peer`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PluginEvent {
    /// A plugin is registered and configured.
    Connected(PluginInfo),
    /// A plugin is ready.
    Synchronized(PluginInfo),
    /// A plugin is disconnected.
    Gone {
        /// The plugin.
        plugin: PluginInfo,
        /// Why.
        reason: String,
    },
    /// A peer did not become a plugin.
    Refused {
        /// Who that was.
        peer: String,
        /// Why.
        reason: String,
    },
    /// Plugins asked for something: the line that records it.
    Adjusted(String),
    /// A plugin that observes asked for something: the line that records it.
    Disregarded(String),
    /// A plugin that observes has missed events.
    FellBehind {
        /// The plugin.
        plugin: PluginInfo,
        /// How many.
        missed: usize,
    },
    /// Something that a plugin asked for was left out.
    Omitted(Omission),
    /// The policy denied, dropped or audited something that a plugin asked for.
    Judged(Verdict),
    /// A plugin got an event in its old form, for the first time.
    Deprecated {
        /// The plugin.
        plugin: PluginId,
        /// The event.
        event: Event,
    },
    /// A container was updated because plugins asked for it, or could not be.
    Updated {
        /// The container's id.
        container: String,
        /// Who asked.
        plugins: Vec<PluginId>,
        /// What the domain said.
        result: Result<(), DomainError>,
    },
    /// A container was evicted because plugins asked for it, or could not be.
    Evicted {
        /// The container's id.
        container: String,
        /// Who asked, and why.
        reasons: Vec<(PluginId, String)>,
        /// What the domain said.
        result: Result<(), DomainError>,
    },
}

impl fmt::Display for PluginEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(info) => write!(f, "connected {}", info.plugin),
            Self::Synchronized(info) => write!(f, "synchronized {}", info.plugin),
            Self::Gone { plugin, reason } => write!(f, "gone {}: {reason}", plugin.plugin),
            Self::Refused { peer, reason } => write!(f, "refused {peer}: {reason}"),
            Self::Adjusted(line) => write!(f, "adjusted {line}"),
            Self::Disregarded(line) => write!(f, "disregarded {line}"),
            Self::FellBehind { plugin, missed } => {
                write!(f, "behind {} by {missed}", plugin.plugin)
            }
            Self::Omitted(omission) => omission.fmt(f),
            Self::Judged(verdict) => verdict.fmt(f),
            Self::Deprecated { plugin, event } => write!(f, "deprecated {plugin} {event}"),
            Self::Updated {
                container,
                plugins,
                result,
            } => write!(f, "updated {container} for {plugins:?}: {result:?}"),
            Self::Evicted {
                container,
                reasons,
                result,
            } => write!(f, "evicted {container} for {reasons:?}: {result:?}"),
        }
    }
}

/// One call of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The plugin's identity.
    pub plugin: String,
    /// What it was asked.
    pub event: Event,
    /// The id of the container, else of the pod, that it was asked about.
    pub id: String,
    /// What came of it.
    pub outcome: CallOutcome,
}

/// An observer that writes down what it is told.
///
/// ```
/// use std::sync::Arc;
/// use nri_testkit::{FakePlugin, TestRuntime};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let runtime = TestRuntime::start().await;
/// let connected = runtime.join(&FakePlugin::new("10-short-lived")).await;
/// connected.exit();
/// let reason = runtime.watcher().wait_for("gone 10-short-lived").await.to_string();
/// assert!(reason.contains("closed by the peer"), "{reason}");
/// # });
/// ```
#[derive(Debug, Default)]
pub struct Watcher {
    notices: Journal<PluginEvent>,
    calls: Journal<Call>,
}

impl Watcher {
    /// Who came and went.
    pub fn notices(&self) -> &Journal<PluginEvent> {
        &self.notices
    }

    /// What plugins were asked, and what came of it.
    pub fn calls(&self) -> &Journal<Call> {
        &self.calls
    }

    /// The outcomes of a plugin's calls for an event.
    pub fn outcomes(&self, plugin: &str, event: Event) -> Vec<CallOutcome> {
        self.calls.look(|calls| {
            let of_it = |call: &&Call| call.plugin == plugin && call.event == event;
            let calls = calls.iter().filter(of_it);
            calls.map(|call| call.outcome.clone()).collect()
        })
    }

    /// Waits for a notice that begins so, as it displays, and returns the latest such one.
    ///
    /// # Panics
    /// It did not come within [`TEST_TIMEOUT`](crate::TEST_TIMEOUT); the message says what came
    /// instead.
    pub async fn wait_for(&self, beginning: &str) -> PluginEvent {
        self.wait_for_nth(beginning, 1).await
    }

    /// As [`wait_for`](Self::wait_for), until there are `count` such notices.
    ///
    /// # Panics
    /// As there.
    pub async fn wait_for_nth(&self, beginning: &str, count: usize) -> PluginEvent {
        let fits = |notice: &PluginEvent| notice.to_string().starts_with(beginning);
        let what = format!("the notice {beginning:?} ({count} times)");
        let enough =
            |all: &[PluginEvent]| all.iter().filter(|notice| fits(notice)).count() >= count;
        let all = self.notices.wait_for(&what, enough).await;
        match all.into_iter().rfind(fits) {
            Some(notice) => notice,
            None => panic!("{what}: a count of 0 is no wait"),
        }
    }

    /// How many notices begin so.
    pub fn count(&self, beginning: &str) -> usize {
        self.notices.look(|all| {
            let fits = |notice: &&PluginEvent| notice.to_string().starts_with(beginning);
            all.iter().filter(fits).count()
        })
    }
}

impl Observer for Watcher {
    fn plugin_call(&self, report: &PluginCallReport<'_>) {
        let id = match report.container {
            "" => report.pod,
            container => container,
        };
        self.calls.push(Call {
            plugin: report.plugin.to_string(),
            event: report.event,
            id: id.to_owned(),
            outcome: report.outcome.clone(),
        });
    }

    fn plugin_connected(&self, plugin: &PluginInfo) {
        self.notices.push(PluginEvent::Connected(plugin.clone()));
    }

    fn plugin_synchronized(&self, plugin: &PluginInfo) {
        self.notices.push(PluginEvent::Synchronized(plugin.clone()));
    }

    fn plugin_disconnected(&self, plugin: &PluginInfo, reason: &str) {
        self.notices.push(PluginEvent::Gone {
            plugin: plugin.clone(),
            reason: reason.to_owned(),
        });
    }

    fn plugin_refused(&self, peer: &str, reason: &str) {
        self.notices.push(PluginEvent::Refused {
            peer: peer.to_owned(),
            reason: reason.to_owned(),
        });
    }

    fn adjusted(&self, record: &AuditRecord<'_>) {
        self.notices.push(PluginEvent::Adjusted(record.to_line()));
    }

    fn policy_applied(&self, verdict: &Verdict) {
        self.notices.push(PluginEvent::Judged(verdict.clone()));
    }

    fn disregarded(&self, record: &AuditRecord<'_>) {
        self.notices
            .push(PluginEvent::Disregarded(record.to_line()));
    }

    fn plugin_fell_behind(&self, plugin: &PluginInfo, missed: usize) {
        let plugin = plugin.clone();
        self.notices
            .push(PluginEvent::FellBehind { plugin, missed });
    }

    fn omitted(&self, omission: &Omission) {
        self.notices.push(PluginEvent::Omitted(omission.clone()));
    }

    fn plugin_deprecated(&self, plugin: &PluginId, event: Event) {
        let plugin = plugin.clone();
        self.notices.push(PluginEvent::Deprecated { plugin, event });
    }

    fn container_updated(
        &self,
        plugins: &[PluginId],
        update: &api::ContainerUpdate,
        result: Result<(), &DomainError>,
    ) {
        self.notices.push(PluginEvent::Updated {
            container: update.container_id.clone(),
            plugins: plugins.to_vec(),
            result: result.map_err(Clone::clone),
        });
    }

    fn container_evicted(
        &self,
        container: &str,
        reasons: &[(PluginId, String)],
        result: Result<(), &DomainError>,
    ) {
        self.notices.push(PluginEvent::Evicted {
            container: container.to_owned(),
            reasons: reasons.to_vec(),
            result: result.map_err(Clone::clone),
        });
    }
}
