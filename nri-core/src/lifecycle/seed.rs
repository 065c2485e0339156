//! Learning from a runtime what it has: after a restart of the runtime, and to forget what it lost.

use std::collections::{BTreeMap, BTreeSet};

use nri_proto::api::ContainerState;

use super::{Creation, Entry, Lifecycles, ObjectKey};
use crate::Subject;
use crate::model::State;

/// The most pods and containers that are remembered although no list of the runtime ever had them.
/// A healthy runtime has a few, for the time between an event and its own book-keeping.
const NEVER_LISTED: usize = 4096;

/// In which state a runtime lists a pod or container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Created, not started.
    Created,
    /// Running; a pod that is ready.
    Running,
    /// Stopped; a pod that is not ready.
    Stopped,
    /// The runtime does not know. Changes nothing; counts as running if there is nothing to be
    /// changed.
    Unknown,
}

impl Observed {
    /// The state of a pod that is ready or not.
    pub fn pod(ready: bool) -> Self {
        match ready {
            true => Self::Running,
            false => Self::Stopped,
        }
    }
}

impl From<ContainerState> for Observed {
    fn from(state: ContainerState) -> Self {
        match state {
            ContainerState::ContainerCreated => Self::Created,
            ContainerState::ContainerRunning | ContainerState::ContainerPaused => Self::Running,
            ContainerState::ContainerStopped => Self::Stopped,
            ContainerState::ContainerUnknown => Self::Unknown,
        }
    }
}

/// That a list is being asked for: what appears afterwards cannot be missing in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the list has to be handed in"]
pub struct Listing(u64);

impl Lifecycles {
    /// Call it right before a runtime is asked for its pods and containers.
    pub fn begin_listing(&self) -> Listing {
        Listing(self.tick)
    }

    /// Takes in all that a domain of the runtime has: what is not known becomes known in the state
    /// observed, so that its stop and removal are due; what is known keeps its state, since an
    /// event for it may be under way; what the domain had once and has no more is forgotten.
    ///
    /// Returns what was forgotten. Lists of different domains may be handed in for one listing.
    pub fn seed(
        &mut self,
        listing: Listing,
        domain: &str,
        objects: impl IntoIterator<Item = (ObjectKey, Observed)>,
    ) -> Vec<ObjectKey> {
        let mut present = BTreeSet::new();
        for (key, observed) in objects {
            if key.domain() != domain {
                continue;
            }
            self.observe(&key, observed);
            present.insert(key);
        }
        let missing: Vec<ObjectKey> = self
            .entries
            .iter()
            .filter(|(key, entry)| {
                key.domain() == domain
                    && entry.listed
                    && entry.creation == Creation::Settled
                    && entry.since <= listing.0
                    && !present.contains(*key)
            })
            .map(|(key, _)| key.clone())
            .chain(self.never_listed_too_many())
            .collect();
        for key in &missing {
            self.entries.remove(key);
        }
        missing
    }

    /// Whether a plugin that is synchronised is to be shown an object that a list has: pods and
    /// containers that live, but no stopped containers unless they may run again, and nothing
    /// whose creation is not settled or whose removal was announced.
    pub fn shows(&self, key: &ObjectKey) -> bool {
        self.entries.get(key).is_some_and(|entry| {
            entry.creation == Creation::Settled
                && (key.subject() == Subject::Pod || self.may_run_again(key, entry))
        })
    }

    /// The state in which a plugin that is synchronised is shown a container of which a list says
    /// another one. Where containers run again after a stop, what was announced counts: the list
    /// may lag behind, and the plugin hears from here on what leads on from there.
    pub fn shown_state(&self, key: &ObjectKey, listed: ContainerState) -> ContainerState {
        let announced = self.entries.get(key).filter(|entry| entry.announced);
        let stopped = listed == ContainerState::ContainerStopped;
        match announced.map(|entry| entry.state) {
            _ if !self.is_restartable(key.domain()) => listed,
            Some(State::Stopped) => ContainerState::ContainerStopped,
            Some(State::Running) if stopped => ContainerState::ContainerRunning,
            _ => listed,
        }
    }

    fn may_run_again(&self, key: &ObjectKey, entry: &Entry) -> bool {
        entry.state != State::Stopped || self.is_restartable(key.domain())
    }

    /// What was announced and lives, and no list of the runtime has ever had: a list may lag behind
    /// the events. A plugin that is synchronised has to be shown it as well. No stopped pods
    /// and containers unless they may run again, and nothing that is not settled.
    pub fn unlisted(&self) -> impl Iterator<Item = (&ObjectKey, State)> {
        self.entries
            .iter()
            .filter(|(key, entry)| {
                !entry.listed
                    && entry.creation == Creation::Settled
                    && self.may_run_again(key, entry)
            })
            .map(|(key, entry)| (key, entry.state))
    }

    /// What lists told of after a moment and no event has announced.
    pub(crate) fn learnt_since(&self, moment: u64) -> Vec<ObjectKey> {
        let learnt = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.announced && entry.since > moment);
        learnt.map(|(key, _)| key.clone()).collect()
    }

    /// Whether something lives that no list of the runtime has ever had.
    pub fn is_unlisted(&self, key: &ObjectKey) -> bool {
        self.entries.get(key).is_some_and(|entry| !entry.listed)
    }

    fn observe(&mut self, key: &ObjectKey, observed: Observed) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.listed = true;
            return;
        }
        if self.removed.contains(key) {
            return;
        }
        let state = match observed {
            Observed::Created => State::Created,
            Observed::Running | Observed::Unknown => State::Running,
            Observed::Stopped => State::Stopped,
        };
        let since = self.next_tick();
        let entry = Entry {
            state,
            creation: Creation::Settled,
            announced: false,
            listed: true,
            since,
        };
        self.entries.insert(key.clone(), entry);
    }

    /// The oldest of what was never listed, as far as it is too much.
    fn never_listed_too_many(&self) -> Vec<ObjectKey> {
        let by_age: BTreeMap<u64, &ObjectKey> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.listed && entry.creation == Creation::Settled)
            .map(|(key, entry)| (entry.since, key))
            .collect();
        let excess = by_age.len().saturating_sub(NEVER_LISTED);
        by_age.into_values().take(excess).cloned().collect()
    }
}
