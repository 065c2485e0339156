//! What exists, as a plugin is shown it: what the domains list, and what requests made known
//! before.

use std::collections::BTreeSet;
use std::sync::Arc;

use nri_core::api::{self, ContainerState};
use nri_core::lifecycle::{Lifecycles, Listing, ObjectKey, Observed};
use nri_core::schedule::SyncPlan;

use crate::engine::domains::Listed;
use crate::engine::state::State;
use crate::engine::unlisted::Shown;

/// What exists, as plugins see it.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) pods: Vec<api::PodSandbox>,
    pub(crate) containers: Vec<api::Container>,
}

impl State {
    /// Learns from lists what exists.
    pub(crate) fn absorb_listing(&mut self, listing: Listing, lists: &[Listed]) {
        let lifecycles = self.scheduler.lifecycles_mut();
        for list in lists {
            let pods = list.pods.iter().map(|(pod, ready)| {
                let observed = ready.map_or(Observed::Unknown, Observed::pod);
                (list.pod_key(pod), observed)
            });
            let containers = list
                .containers
                .iter()
                .map(|c| (list.container_key(c), Observed::from(c.state())));
            let gone = lifecycles.seed(listing, &list.domain, pods.chain(containers));
            if !gone.is_empty() {
                tracing::debug!(
                    count = gone.len(),
                    "forgetting what the runtime no longer has"
                );
            }
        }
        self.unlisted.retain(self.scheduler.lifecycles());
    }

    /// What a plugin is shown, and what that is called: what the lists have, as far as it lives and
    /// will not reach the plugin as an event, and what lives and the lists do not have yet.
    pub(crate) fn inventory(
        &self,
        lists: Vec<Listed>,
        plan: &SyncPlan,
    ) -> (Inventory, BTreeSet<ObjectKey>) {
        let lifecycles = self.scheduler.lifecycles();
        let mut shown = BTreeSet::new();
        let mut shows = |lives: &Lifecycles, key: ObjectKey| {
            lives.shows(&key) && !plan.exclude.contains(&key) && shown.insert(key)
        };
        let mut inventory = Inventory::default();
        for (key, object) in self.unlisted.shown(lifecycles) {
            match object {
                _ if !shows(lifecycles, key) => {}
                Shown::Pod(pod) => inventory.pods.push(pod),
                Shown::Container(container) => inventory.containers.push(container),
            }
        }
        for list in lists {
            let (domain, pods, containers) = (list.domain, list.pods, list.containers);
            let pods = pods.into_iter().filter(|(pod, ready)| {
                ready.is_some() && shows(lifecycles, ObjectKey::pod(Arc::clone(&domain), &*pod.id))
            });
            inventory.pods.extend(pods.map(|(pod, _)| pod));
            for mut container in containers {
                let (key, listed) = (
                    ObjectKey::container(Arc::clone(&domain), &*container.id),
                    container.state(),
                );
                if listed != ContainerState::ContainerUnknown && shows(lifecycles, key.clone()) {
                    container.set_state(lifecycles.shown_state(&key, listed));
                    inventory.containers.push(container);
                }
            }
        }
        (inventory, shown)
    }
}

impl Listed {
    fn pod_key(&self, pod: &api::PodSandbox) -> ObjectKey {
        ObjectKey::pod(Arc::clone(&self.domain), &*pod.id)
    }

    fn container_key(&self, container: &api::Container) -> ObjectKey {
        ObjectKey::container(Arc::clone(&self.domain), &*container.id)
    }
}
