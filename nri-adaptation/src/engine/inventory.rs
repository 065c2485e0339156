//! What exists, as a plugin is shown it: what the domains list, and what requests made known
//! before.
//!
//! What may not enter: reading it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nri_core::api::ContainerState;
use nri_core::lifecycle::{Listing, ObjectKey, Observed};
use nri_core::schedule::SyncPlan;

use crate::engine::listed::Listed;
use crate::engine::showing::{Due, Object};
use crate::engine::state::State;
use crate::engine::unlisted::Shown;

impl State {
    /// Learns from lists what exists.
    pub(crate) fn absorb_listing(&mut self, listing: Listing, lists: &[Listed]) {
        for list in lists {
            self.note_pods(list);
        }
        let lifecycles = self.scheduler.lifecycles_mut();
        for list in lists {
            let pods = list.pods.iter().map(|pod| {
                let observed = pod.ready.map_or(Observed::Unknown, Observed::pod);
                (pod.key.clone(), observed)
            });
            let containers = list
                .containers
                .iter()
                .map(|container| (container.key.clone(), Observed::from(container.state)));
            let gone = lifecycles.seed(listing, &list.name, pods.chain(containers));
            if !gone.is_empty() {
                tracing::debug!(
                    count = gone.len(),
                    "forgetting what the runtime no longer has"
                );
            }
        }
        self.unlisted.retain(self.scheduler.lifecycles());
        self.scheduler
            .known_pods()
            .prune(self.scheduler.lifecycles());
    }

    /// Notes which pods containers are in, for the policy.
    fn note_pods(&self, list: &Listed) {
        let pods = list.pods.iter().map(|pod| (&pod.key, &pod.rules_see));
        let pods: BTreeMap<&ObjectKey, &Box<[u8]>> = pods.collect();
        let known = self.scheduler.known_pods();
        for container in &list.containers {
            if let Some(pod) = pods.get(&container.pod) {
                known.note_encoded(&container.key, &container.pod, pod);
            }
        }
    }

    /// What a plugin is shown, and what that is called: what the lists have, as far as it lives and
    /// will not reach the plugin as an event, and what lives and the lists do not have yet.
    pub(crate) fn inventory(
        &self,
        lists: &[Listed],
        plan: &SyncPlan,
    ) -> (Vec<Due>, BTreeSet<ObjectKey>) {
        let lives = self.scheduler.lifecycles();
        let mut keys = BTreeSet::new();
        let mut shows = |key: &ObjectKey| {
            let shows = lives.shows(key) && !plan.exclude.contains(key);
            let (key, life) = (lives.remembered(key)?, lives.life(key)?);
            (shows && keys.insert(key.clone())).then(|| (key.clone(), life))
        };
        let (mut pods, mut containers) = (Vec::new(), Vec::new());
        for (key, shown) in self.unlisted.shown(lives) {
            let Some((key, life)) = shows(&key) else {
                continue;
            };
            match shown {
                Shown::Pod(pod) => {
                    let pod = Some(Object::pod(Arc::new(pod)));
                    pods.push(Due::new(key, (life, None), pod));
                }
                Shown::Container(container) => {
                    let state = Some(container.state());
                    let container = Some(Object::container(Arc::new(container)));
                    containers.push(Due::new(key, (life, state), container));
                }
            }
        }
        for list in lists {
            for listed in &list.pods {
                let shown = listed.ready.and_then(|_| shows(&listed.key));
                let pod = listed.pod.clone().map(Object::pod);
                pods.extend(shown.map(|(key, life)| Due::new(key, (life, None), pod)));
            }
            for listed in &list.containers {
                if listed.state == ContainerState::ContainerUnknown {
                    continue;
                }
                let Some((key, life)) = shows(&listed.key) else {
                    continue;
                };
                // What is read later is shown as it is then, except where it may run again: there
                // the events to come lead on from what was announced until now.
                let now = listed.container.is_some() || lives.is_restartable(key.domain());
                let state = now.then(|| lives.shown_state(&key, listed.state));
                let container = listed.container.clone().map(Object::container);
                containers.push(Due::new(key, (life, state), container));
            }
        }
        pods.append(&mut containers);
        pods.shrink_to_fit();
        (pods, keys)
    }
}
