//! What exists, as a plugin is shown it: what the domains list, and what requests made known
//! before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nri_core::api::{self, ContainerState};
use nri_core::lifecycle::{Lifecycles, Listing, ObjectKey, Observed};
use nri_core::schedule::SyncPlan;

use crate::engine::domains::{Listed, ListedPod};
use crate::engine::state::State;
use crate::engine::unlisted::Shown;
use crate::plugin::inventory::Inventory;

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
            let gone = lifecycles.seed(listing, &list.domain, pods.chain(containers));
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
        let pods = list.pods.iter().map(|pod| (&pod.key, &pod.message));
        let pods: BTreeMap<&ObjectKey, &api::PodSandbox> = pods.collect();
        for container in &list.containers {
            if let Some(pod) = pods.get(&container.pod) {
                let known = self.scheduler.known_pods();
                known.note(&container.key, &container.pod, pod);
            }
        }
    }

    /// What a plugin is shown, and what that is called: what the lists have, as far as it lives and
    /// will not reach the plugin as an event, and what lives and the lists do not have yet.
    pub(crate) fn inventory(
        &self,
        lists: &[Listed],
        plan: &SyncPlan,
    ) -> (Inventory, BTreeSet<ObjectKey>) {
        let lifecycles = self.scheduler.lifecycles();
        let mut shown = BTreeSet::new();
        let mut shows = |lives: &Lifecycles, key: &ObjectKey| {
            lives.shows(key) && !plan.exclude.contains(key) && shown.insert(key.clone())
        };
        let mut inventory = Inventory::default();
        for (key, object) in self.unlisted.shown(lifecycles) {
            match object {
                _ if !shows(lifecycles, &key) => {}
                Shown::Pod(pod) => inventory.pods.push(Arc::new(pod)),
                Shown::Container(container) => {
                    let state = container.state();
                    inventory.containers.push((Arc::new(container), state));
                }
            }
        }
        for list in lists {
            for ListedPod {
                key, ready, pod, ..
            } in &list.pods
            {
                if ready.is_some() && shows(lifecycles, key) {
                    inventory.pods.push(Arc::clone(pod));
                }
            }
            for listed in &list.containers {
                let state = lifecycles.shown_state(&listed.key, listed.state);
                if listed.state != ContainerState::ContainerUnknown
                    && shows(lifecycles, &listed.key)
                {
                    let container = Arc::clone(&listed.container);
                    inventory.containers.push((container, state));
                }
            }
        }
        (inventory, shown)
    }
}
