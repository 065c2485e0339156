//! What came of a request: as values to assert on, and as a text to compare with. What may not
//! enter: how it came about.

use std::fmt;

use nri_core::merge::{
    self, CreateOutcome, Eviction, MergedUpdate, Owned, Owners, StopOutcome, UpdateOutcome,
};
use nri_core::{PluginId, api};
use serde::Serialize;
use serde_json::Value;

/// What plugins ask for together, in answer to one request.
///
/// Its text is a snapshot, for a test to compare with: one line for each thing that is asked for
/// and for each owner, always in the same order. Values are in proto3 JSON.
///
/// ```text
/// adjust env: {"key":"MODE","value":"fast"}
/// adjust linux.resources.memory.limit.value: "1073741824"
/// update c2 linux.resources.cpu.shares.value: "512"
/// evict  c3: in the way (10-plugin)
/// owner  Env MODE: 10-plugin
/// owner  MemLimit: 10-plugin
/// owner  c2 CPUShares: 10-plugin
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Changes {
    /// The container, with what was asked for applied where it is being created.
    pub container: api::Container,
    /// The combined adjustment; nothing but in answer to a creation, and then if there is one.
    pub adjustment: Option<api::ContainerAdjustment>,
    /// Updates of containers, by first mention; that of the container itself comes first.
    pub updates: Vec<MergedUpdate>,
    /// Evictions, by first mention.
    pub evictions: Vec<Eviction>,
    /// Who asked for what.
    pub owners: Owners,
}

impl Changes {
    pub(super) fn of_creation(container: api::Container, outcome: CreateOutcome) -> Self {
        let applied = outcome.adjustment.as_ref();
        Self {
            container: applied.map_or_else(
                || container.clone(),
                |adjustment| merge::apply(&container, adjustment),
            ),
            adjustment: outcome.adjustment,
            updates: outcome.updates,
            evictions: outcome.evictions,
            owners: outcome.owners,
        }
    }

    pub(super) fn of_update(container: api::Container, outcome: UpdateOutcome) -> Self {
        Self {
            container,
            adjustment: None,
            updates: outcome
                .requested
                .into_iter()
                .chain(outcome.updates)
                .collect(),
            evictions: outcome.evictions,
            owners: outcome.owners,
        }
    }

    pub(super) fn of_stop(container: api::Container, outcome: StopOutcome) -> Self {
        Self {
            container,
            adjustment: None,
            updates: outcome.updates,
            evictions: Vec::new(),
            owners: outcome.owners,
        }
    }

    /// The value of an environment variable of the container.
    pub fn env(&self, name: &str) -> Option<&str> {
        let variables = self.container.env.iter().rev();
        variables
            .filter_map(|variable| variable.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The mount of the container at a destination.
    pub fn mount(&self, destination: &str) -> Option<&api::Mount> {
        let mut mounts = self.container.mounts.iter();
        mounts.find(|mount| mount.destination == destination)
    }

    /// The update of a container.
    pub fn update(&self, container_id: &str) -> Option<&api::ContainerUpdate> {
        let mut updates = self.updates.iter().map(|merged| &merged.update);
        updates.find(|update| update.container_id == container_id)
    }

    /// The plugin that asked for a field of the container, or for one of its entries.
    pub fn owner(&self, field: api::Field, key: Option<&str>) -> Option<&PluginId> {
        let owner = self.owners.owner(&self.container.id, field, key)?;
        owner.plugins().last()
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.adjustment.is_none() && self.updates.is_empty() && self.evictions.is_empty()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.adjustment.iter().flat_map(lines) {
            writeln!(f, "adjust {line}")?;
        }
        for merged in &self.updates {
            let mut update = merged.update.clone();
            let id = std::mem::take(&mut update.container_id);
            for line in lines(&update) {
                writeln!(f, "update {id} {line}")?;
            }
        }
        for eviction in &self.evictions {
            for (plugin, reason) in &eviction.reasons {
                writeln!(f, "evict  {}: {reason} ({plugin})", eviction.container_id)?;
            }
        }
        let mut owners: Vec<Owned<'_>> = self.owners.iter().collect();
        owners.sort_by_key(|owned| owned.container != self.container.id);
        for owned in owners {
            f.write_str("owner  ")?;
            if owned.container != self.container.id {
                write!(f, "{} ", owned.container)?;
            }
            f.write_str(owned.field.as_str_name())?;
            if let Some(key) = owned.key {
                write!(f, " {key}")?;
            }
            writeln!(f, ": {}", owned.owner)?;
        }
        Ok(())
    }
}

/// The leaves of a message, each with its path; an entry of a list is one leaf.
fn lines(message: &impl Serialize) -> Vec<String> {
    let mut lines = Vec::new();
    match serde_json::to_value(message) {
        Ok(value) => leaves("", &value, &mut lines),
        // Something that is newer than the protocol known here.
        Err(error) => lines.push(format!("cannot be shown: {error}")),
    }
    lines
}

fn leaves(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(members) if !members.is_empty() || path.is_empty() => {
            for (name, value) in members {
                match path {
                    "" => leaves(name, value, lines),
                    _ => leaves(&format!("{path}.{name}"), value, lines),
                }
            }
        }
        Value::Array(list) => lines.extend(list.iter().map(|item| format!("{path}: {item}"))),
        leaf => lines.push(format!("{path}: {leaf}")),
    }
}
