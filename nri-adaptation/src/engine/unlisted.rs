//! What requests made known and no list of a domain has had yet: a plugin that joins is shown it
//! all the same.
//!
//! A runtime relays an event before its own books have the pod or container. What was relayed to
//! all plugins of that moment exists, so it is known until a list has it, or its removal is
//! announced, or its creation turns out to be abandoned.

use std::collections::BTreeMap;
use std::sync::Arc;

use nri_core::api::{self, ContainerState};
use nri_core::lifecycle::{Lifecycles, ObjectKey};
use nri_core::model::State;
use nri_core::{EncodedRequest, Subject};

/// The last message about each.
#[derive(Default)]
pub(crate) struct Unlisted(BTreeMap<ObjectKey, Arc<EncodedRequest>>);

impl Unlisted {
    /// Takes in what a request says of a pod or container that lives; forgets one that does not,
    /// and one that is listed.
    pub(crate) fn note(
        &mut self,
        lives: &Lifecycles,
        key: &ObjectKey,
        message: &Arc<EncodedRequest>,
    ) {
        match lives.is_unlisted(key) {
            true => self.0.insert(key.clone(), Arc::clone(message)),
            false => self.0.remove(key),
        };
    }

    /// Forgets something if it does not live.
    pub(crate) fn forget_dead(&mut self, lives: &Lifecycles, key: &ObjectKey) {
        if !lives.is_unlisted(key) {
            self.0.remove(key);
        }
    }

    /// Forgets what does not live, or is listed by now.
    pub(crate) fn retain(&mut self, lives: &Lifecycles) {
        self.0.retain(|key, _| lives.is_unlisted(key));
    }

    /// The last message about a container, by its id alone: that of the first domain that has one.
    pub(crate) fn container(&self, id: &str) -> Option<(ObjectKey, Arc<EncodedRequest>)> {
        let mut all = self.0.iter();
        let found = all.find(|(key, _)| key.subject() == Subject::Container && key.id() == id)?;
        Some((found.0.clone(), Arc::clone(found.1)))
    }

    /// What a plugin is to be shown beside the lists.
    pub(crate) fn shown(&self, lives: &Lifecycles) -> Vec<(ObjectKey, Shown)> {
        let shown = lives.unlisted().filter_map(|(key, state)| {
            let message = self.0.get(key)?;
            let object = match key.subject() {
                Subject::Pod => Shown::Pod(message.pod()?.clone()),
                Subject::Container => {
                    let mut container = message.container()?.clone();
                    container.set_state(match state {
                        State::Running => ContainerState::ContainerRunning,
                        State::Stopped => ContainerState::ContainerStopped,
                        _ => ContainerState::ContainerCreated,
                    });
                    Shown::Container(container)
                }
            };
            Some((key.clone(), object))
        });
        shown.collect()
    }
}

/// A pod or container as a plugin sees it.
#[allow(clippy::large_enum_variant)] // short-lived
pub(crate) enum Shown {
    Pod(api::PodSandbox),
    Container(api::Container),
}
