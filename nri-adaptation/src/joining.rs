//! How a plugin comes to take part, so that each pod and container reaches it exactly once: in what it is shown, or as an
//! event.
//!
//! It takes all of its turns, then it is admitted: every later request includes it and waits for a turn. Requests from before
//! do not know it; once they are settled, a creation's outcome included, it is shown what exists, and gives its turns free.

use std::sync::Arc;
use std::time::Duration;

use nri_core::api::{self, ContainerState};
use nri_core::lifecycle::{ObjectKey, Observed};
use tokio::time::timeout;

use crate::active::Active;
use crate::error::Error;
use crate::instance::{Instance, good_bye};

/// How many request deadlines a joining plugin waits for requests from before.
const SETTLE_DEADLINES: u32 = 2;

/// What exists, as plugins see it.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) pods: Vec<api::PodSandbox>,
    pub(crate) containers: Vec<api::Container>,
}

/// What came of showing a plugin what exists.
struct Shown {
    updates: Vec<api::ContainerUpdate>,
    /// The plugin whose place it has taken.
    replaced: Option<Arc<Active>>,
}

impl Instance {
    /// Makes a configured plugin take part.
    ///
    /// # Errors
    /// Why it does not; it is cut off then.
    pub(crate) async fn join(self: &Arc<Self>, active: &Arc<Active>) -> Result<(), String> {
        let turns = active.turns.take_all().await;
        let shown = tokio::select! {
            shown = self.admit_and_show(active) => shown,
            () = self.stopping() => Err(Error::Stopped.to_string()),
        };
        match shown {
            Ok(shown) => {
                active.set_synchronized();
                drop(turns);
                self.joined(active, shown).await;
                Ok(())
            }
            Err(reason) => {
                self.rosters.leave(active);
                // Before the turns are given back: nobody is to get one.
                active.close(reason.clone());
                Err(reason)
            }
        }
    }

    async fn admit_and_show(&self, active: &Arc<Active>) -> Result<Shown, String> {
        let admitted = self
            .rosters
            .admit(active, self.config().max_plugins)
            .await?;
        let limit: Duration = self.config().plugin_request_timeout * SETTLE_DEADLINES;
        if timeout(limit, self.rosters.settled(&admitted))
            .await
            .is_err()
        {
            tracing::warn!(
                plugin = %active.plugin, ?limit,
                "requests from before the plugin came are still under way: it may miss what comes of them"
            );
        }
        let inventory = self.inventory().await?;
        let (pods, containers) = (inventory.pods.len(), inventory.containers.len());
        let time = active.settings().request_timeout;
        let updates = active
            .endpoint
            .synchronize(inventory.pods, inventory.containers, time)
            .await
            .map_err(|failure| format!("it cannot be synchronised: {failure}"))?;
        tracing::info!(plugin = %active.plugin, pods, containers, updates = updates.len(), "the plugin takes part");
        Ok(Shown {
            updates,
            replaced: admitted.replaced,
        })
    }

    /// What follows when a plugin takes part. Its turns are free by now, so a domain may call back into the API from here.
    async fn joined(&self, active: &Arc<Active>, shown: Shown) {
        active.set_predecessor(None);
        if let Some(replaced) = shown.replaced {
            tracing::info!(plugin = %active.plugin, "it takes over from another instance of it");
            self.tasks.spawn(good_bye(
                replaced,
                "another instance of the plugin has taken over",
            ));
        }
        self.synchronized_updates(&active.plugin.id, shown.updates)
            .await;
        self.observer.plugin_synchronized(&active.info());
    }

    /// Asks the domains what exists, and takes it into account. Returned is what a plugin that joins has to be shown: what is
    /// not about to reach it as an event.
    ///
    /// # Errors
    /// A domain cannot say.
    pub(crate) async fn inventory(&self) -> Result<Inventory, String> {
        let listing = self.lives().begin_listing();
        let lists = self.domains.list().await.map_err(|(domain, error)| {
            format!("domain {domain:?} cannot list its pods and containers: {error}")
        })?;
        let mut inventory = Inventory::default();
        let mut lives = self.lives();
        for list in lists {
            let pod_key = |pod: &api::PodSandbox| ObjectKey::pod(list.domain.clone(), &*pod.id);
            let key = |container: &api::Container| {
                ObjectKey::container(list.domain.clone(), &*container.id)
            };
            let pods = list.pods.iter().map(|(pod, ready)| {
                let observed = ready.map_or(Observed::Unknown, Observed::pod);
                (pod_key(pod), observed)
            });
            let containers = list
                .containers
                .iter()
                .map(|c| (key(c), Observed::from(c.state())));
            let gone = lives.seed(listing, &list.domain, pods.chain(containers));
            if !gone.is_empty() {
                tracing::debug!(
                    count = gone.len(),
                    "forgetting what the runtime no longer has"
                );
            }
            let shown = list
                .pods
                .iter()
                .filter(|(pod, ready)| ready.is_some() && lives.shows(&pod_key(pod)));
            inventory.pods.extend(shown.map(|(pod, _)| pod.clone()));
            let shown = list.containers.iter().filter(|container| {
                container.state() != ContainerState::ContainerUnknown
                    && lives.shows(&key(container))
            });
            inventory.containers.extend(shown.cloned());
        }
        Ok(inventory)
    }
}
