//! What commands answer, in the form in which it is written: our own members in snake_case,
//! messages as proto3 JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use nri_adaptation::{PluginInfo, PluginKind, PluginState};
use nri_core::flow::{Outcome, PluginOutcome};
use nri_core::merge::{Eviction, MergedUpdate, Owners};
use nri_core::{Event, PluginId, api};
use serde::Serialize;

/// What a command answers beside `ok`, `id` and `cmd`.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant)] // short-lived
pub enum Reply {
    /// Nothing more.
    Done {},
    /// Plugins heard of it.
    Told {
        /// What every plugin did.
        outcomes: Vec<OutcomeReply>,
    },
    /// What runs here.
    Version(Version),
    /// The plugins that are connected, and those that the runtime launches.
    Plugins {
        /// In the order in which they are called.
        plugins: Vec<PluginReply>,
    },
    /// What plugins made of a creation.
    Created(Created),
    /// What plugins made of an update.
    Updated(UpdateReply),
    /// What plugins made of a stop.
    Stopped(Stopped),
    /// What there is.
    State(State),
}

impl Reply {
    /// The outcomes that the result says itself.
    pub(super) fn own_outcomes(&mut self) -> Option<&mut Vec<OutcomeReply>> {
        match self {
            Self::Created(Created { outcomes, .. })
            | Self::Updated(UpdateReply { outcomes, .. })
            | Self::Stopped(Stopped { outcomes, .. }) => Some(outcomes),
            _ => None,
        }
    }
}

/// What runs here.
#[derive(Debug, Clone, Serialize)]
pub struct Version {
    /// The program's name, which plugins get to know too.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The protocol level.
    pub nri_version: &'static str,
    /// Where plugins connect; absent if they cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// Whether NRI is on.
    pub enabled: bool,
}

/// A plugin that is connected, or that the runtime launches.
#[derive(Debug, Clone, Serialize)]
pub struct PluginReply {
    /// Its identity, `NN-name`.
    pub plugin: String,
    /// Its index.
    pub index: String,
    /// Its name.
    pub name: String,
    /// `external`, `launched` or `built-in`.
    pub kind: &'static str,
    /// `ready`, `synchronizing`, `late` or `closed`; of one that was launched `starting`,
    /// `restarting` or `failed` too.
    pub state: &'static str,
    /// Its process, if it has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The user that it runs as, if it is another process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The events that it gets.
    pub events: Vec<&'static str>,
    /// The protocol level that it registered with; empty if it did not say.
    pub nri_version: String,
    /// How often it was launched again; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    /// Why it last ended, if it was launched, or why its last call went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl From<PluginInfo> for PluginReply {
    fn from(info: PluginInfo) -> Self {
        Self {
            plugin: info.plugin.to_string(),
            index: info.plugin.id.index().to_string(),
            name: info.plugin.id.name().to_string(),
            kind: match info.kind {
                PluginKind::BuiltIn => "built-in",
                PluginKind::Launched => "launched",
                PluginKind::External => "external",
                _ => "other",
            },
            state: match info.state {
                PluginState::Synchronizing => "synchronizing",
                PluginState::Ready => "ready",
                PluginState::Late => "late",
                PluginState::Closed => "closed",
                PluginState::Starting => "starting",
                PluginState::Restarting => "restarting",
                PluginState::Failed => "failed",
                _ => "other",
            },
            pid: info.pid,
            uid: info.uid,
            events: info.events.iter().map(Event::name).collect(),
            nri_version: info.nri_version,
            restarts: (info.restarts > 0).then_some(info.restarts),
            last_error: info.last_error,
        }
    }
}

/// What plugins made of a creation.
#[derive(Debug, Clone, Serialize)]
pub struct Created {
    /// The combined adjustment; absent if no plugin asks for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjustment: Option<api::ContainerAdjustment>,
    /// Who asked for what.
    pub owners: OwnersReply,
    /// The updates of other containers.
    pub updates: Vec<Updated>,
    /// The evictions of other containers.
    pub evictions: Vec<Evicted>,
    /// What every plugin did.
    pub outcomes: Vec<OutcomeReply>,
}

/// What plugins made of an update.
#[derive(Debug, Clone, Serialize)]
pub struct UpdateReply {
    /// What is applied instead of what was asked for; absent if no plugin changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<api::LinuxResources>,
    /// The updates of other containers.
    pub updates: Vec<Updated>,
    /// The evictions.
    pub evictions: Vec<Evicted>,
    /// What every plugin did.
    pub outcomes: Vec<OutcomeReply>,
}

/// What plugins made of a stop.
#[derive(Debug, Clone, Serialize)]
pub struct Stopped {
    /// The updates of containers.
    pub updates: Vec<Updated>,
    /// What every plugin did; empty if plugins knew of the stop already.
    pub outcomes: Vec<OutcomeReply>,
}

/// An update that plugins asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Updated {
    /// The first plugin that asked for a part of it.
    pub plugin: String,
    /// All of them.
    pub plugins: Vec<String>,
    /// The update.
    #[serde(flatten)]
    pub update: api::ContainerUpdate,
}

impl Updated {
    pub(super) fn new(plugins: &[PluginId], update: api::ContainerUpdate) -> Self {
        let plugins: Vec<String> = plugins.iter().map(ToString::to_string).collect();
        Self {
            plugin: plugins.first().cloned().unwrap_or_default(),
            plugins,
            update,
        }
    }
}

impl From<&MergedUpdate> for Updated {
    fn from(merged: &MergedUpdate) -> Self {
        Self::new(&merged.plugins, merged.update.clone())
    }
}

/// An eviction that plugins asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Evicted {
    /// The first plugin that asked for it.
    pub plugin: String,
    /// All of them.
    pub plugins: Vec<String>,
    /// The container.
    #[serde(rename = "containerId")]
    pub container_id: String,
    /// The reason of the first plugin.
    pub reason: String,
    /// The reasons of all of them, in the same order.
    pub reasons: Vec<String>,
}

impl Evicted {
    pub(super) fn new(container: &str, asked: &[(PluginId, String)]) -> Self {
        let (plugins, reasons): (Vec<_>, Vec<_>) = asked
            .iter()
            .map(|(plugin, reason)| (plugin.to_string(), reason.clone()))
            .unzip();
        Self {
            plugin: plugins.first().cloned().unwrap_or_default(),
            plugins,
            container_id: container.to_owned(),
            reason: reasons.first().cloned().unwrap_or_default(),
            reasons,
        }
    }
}

impl From<&Eviction> for Evicted {
    fn from(eviction: &Eviction) -> Self {
        Self::new(&eviction.container_id, &eviction.reasons)
    }
}

/// An update or eviction that plugins asked for and that could not be done.
#[derive(Debug, Clone, Serialize)]
pub struct Refused {
    /// `update` or `evict`.
    pub what: &'static str,
    /// The first plugin that asked for it.
    pub plugin: String,
    /// All of them.
    pub plugins: Vec<String>,
    /// The container.
    #[serde(rename = "containerId")]
    pub container_id: String,
    /// Why it could not be done.
    pub error: String,
}

/// Who asked for what: by container, by name of the field in the protocol's `Field`, and by entry
/// where a field has entries.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct OwnersReply(pub BTreeMap<String, BTreeMap<&'static str, FieldOwners>>);

/// The names of all fields that can have an owner, as [`OwnersReply`] has them.
#[must_use]
pub fn field_names() -> Vec<&'static str> {
    // They are numbered without a gap.
    let fields = (1..).map_while(|number| api::Field::try_from(number).ok());
    fields.map(|field| field.as_str_name()).collect()
}

/// The owner of a field, or those of its entries. A leading `-` says that the plugin removed it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum FieldOwners {
    /// Of the whole field.
    One(String),
    /// Of each entry.
    Entries(BTreeMap<String, String>),
}

impl From<&Owners> for OwnersReply {
    fn from(owners: &Owners) -> Self {
        let mut reply = Self::default();
        for owned in owners.iter() {
            let fields = reply.0.entry(owned.container.to_owned()).or_default();
            let (name, owner) = (owned.field.as_str_name(), owned.owner.to_string());
            let Some(key) = owned.key else {
                fields.insert(name, FieldOwners::One(owner));
                continue;
            };
            let entries = fields
                .entry(name)
                .or_insert_with(|| FieldOwners::Entries(BTreeMap::new()));
            if let FieldOwners::Entries(entries) = entries {
                entries.insert(key.to_owned(), owner);
            }
        }
        reply
    }
}

/// What a plugin did with a request.
#[derive(Debug, Clone, Serialize)]
pub struct OutcomeReply {
    /// Its identity.
    pub plugin: String,
    /// What it was asked, where that is not the command's own event: validators are asked about
    /// the combined adjustment, a removal may imply a stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'static str>,
    /// The container that it was asked about, where that is not what the command is about: a pod
    /// ends with its containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// What it did, in one word.
    pub outcome: &'static str,
    /// The text of its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took, in milliseconds; absent if it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<f64>,
}

impl From<&PluginOutcome> for OutcomeReply {
    fn from(outcome: &PluginOutcome) -> Self {
        let (word, error) = match &outcome.outcome {
            Outcome::Answered => ("answered", None),
            Outcome::Unsubscribed => ("unsubscribed", None),
            Outcome::Unaware => ("unaware", None),
            Outcome::NotReached => ("not-reached", None),
            Outcome::Failed { message } => ("failed", Some(message.clone())),
            Outcome::Late { .. } => ("late", None),
            Outcome::Gone => ("gone", None),
            Outcome::Abandoned => ("abandoned", None),
            _ => ("other", None),
        };
        Self {
            plugin: outcome.plugin.to_string(),
            event: (outcome.event == Event::ValidateContainerAdjustment)
                .then(|| outcome.event.name()),
            container_id: None,
            outcome: word,
            error,
            ms: outcome.took.map(milliseconds),
        }
    }
}

impl OutcomeReply {
    /// A plugin that was not asked, if it is known why: it did not subscribe to the event, or it
    /// was launched and is not there.
    pub(super) fn not_asked(info: &PluginInfo, event: Event) -> Option<Self> {
        let outcome = match info.state {
            PluginState::Starting | PluginState::Restarting | PluginState::Failed => "down",
            // It is just going: it was not there any more.
            PluginState::Closed => return None,
            _ if !info.events.contains(event) => "unsubscribed",
            _ => return None,
        };
        Some(Self {
            plugin: info.plugin.to_string(),
            event: None,
            container_id: None,
            outcome,
            error: None,
            ms: None,
        })
    }
}

/// To the microsecond, which is what is measured with some sense.
pub(super) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// What there is.
#[derive(Debug, Clone, Serialize)]
pub struct State {
    /// The pods, by id.
    pub pods: Vec<PodState>,
    /// The containers as they are now, by id.
    pub containers: Vec<api::Container>,
    /// The updates that were applied because plugins asked for them.
    pub updates: Vec<Updated>,
    /// The evictions that were carried out because plugins asked for them.
    pub evictions: Vec<Evicted>,
    /// What plugins asked for and could not be done.
    pub refused: Vec<Refused>,
    /// How many of those three are left out, because there were too many. Absent if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<u64>,
}

/// A pod as it is now.
#[derive(Debug, Clone, Serialize)]
pub struct PodState {
    /// Whether it is up; false once it is stopped.
    pub ready: bool,
    /// The pod.
    #[serde(flatten)]
    pub pod: api::PodSandbox,
}

/// Lists in the form in which they are written.
pub(super) fn list<'a, T: 'a, U: From<&'a T>>(items: &'a [T]) -> Vec<U> {
    items.iter().map(U::from).collect()
}
