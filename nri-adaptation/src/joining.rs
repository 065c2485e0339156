//! How a plugin comes to take part, and how it goes. In which order things happen is the scheduler's business; here the
//! runtime is asked what it has, and the plugin is shown it.

use std::collections::BTreeSet;
use std::sync::Arc;

use nri_core::api::{self, ContainerState};
use nri_core::lifecycle::{Lifecycles, Listing, ObjectKey, Observed};
use nri_core::schedule::SyncPlan;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::active::Active;
use crate::dispatch::{Seat, State};
use crate::domains::Listed;
use crate::error::Error;
use crate::instance::Instance;
use crate::observer::{PluginInfo, PluginState};
use crate::unlisted::Shown;

/// What exists, as plugins see it.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pods: Vec<api::PodSandbox>,
    containers: Vec<api::Container>,
}

impl Instance {
    /// Makes a configured plugin take part, and waits until it does.
    ///
    /// # Errors
    /// Why it does not; it is cut off then.
    pub(crate) async fn join(self: &Arc<Self>, active: &Arc<Active>) -> Result<(), String> {
        let reason = match self.admit(active) {
            Err(reason) => reason,
            Ok(joined) => tokio::select! {
                biased;
                joined = joined => match joined {
                    Ok(()) => return Ok(()),
                    // It was closed meanwhile, with a reason.
                    Err(_) => String::new(),
                },
                reason = active.endpoint.closed() => reason,
                () = self.stopping() => Error::Stopped.to_string(),
            },
        };
        active.close(reason);
        self.leave(active);
        Err(active.close_reason().unwrap_or_default())
    }

    /// Has the scheduler let a plugin in.
    fn admit(self: &Arc<Self>, active: &Arc<Active>) -> Result<oneshot::Receiver<()>, String> {
        let limits = active.limits();
        let most = self.config().max_plugins;
        // What is not let in is closed at once.
        active.endpoint.admitted();
        self.act(|state, now| {
            state.may_join(active, most)?;
            let (joined, told) = oneshot::channel();
            let seat = Seat {
                active: Arc::clone(active),
                joined: Some(joined),
            };
            state.seats.insert(active.plugin.clone(), seat);
            state
                .scheduler
                .handle_admitted(active.member(), limits, now);
            Ok(told)
        })
    }

    /// A plugin is gone: nobody waits for it any more. May be repeated.
    pub(crate) fn leave(self: &Arc<Self>, active: &Active) {
        self.act(|state, now| {
            state.seats.remove(&active.plugin);
            state.scheduler.handle_lost(&active.plugin, now);
        });
        self.plugins_changed();
    }

    /// Takes note that a plugin gets requests from now on.
    pub(crate) fn opened(&self, active: &Active) {
        active.set_synchronized();
        self.plugins_changed();
    }

    /// Shows a plugin what exists, when it joins or after it was late, and does what it asks for then.
    pub(crate) async fn synchronize(self: Arc<Self>, active: Arc<Active>) {
        match self.show(&active).await {
            Ok(Some(updates)) => {
                // Requests go on: a domain may call back into the API from what follows.
                let opened = self.act(|state, now| {
                    state.scheduler.handle_synchronized(&active.plugin, now);
                    state.seats.contains_key(&active.plugin)
                });
                if opened {
                    self.synchronized_updates(&active.plugin.id, updates).await;
                }
                let joined = self
                    .dispatch
                    .lock()
                    .seats
                    .get_mut(&active.plugin)
                    .and_then(|seat| seat.joined.take());
                if let Some(joined) = joined {
                    self.observer.plugin_synchronized(&active.info());
                    // Whoever waited for it may have stopped waiting.
                    let _ = joined.send(());
                }
            }
            Ok(None) => {}
            Err(reason) => {
                active.close(reason);
                self.leave(&active);
            }
        }
    }

    /// What a plugin that was shown what exists asks for; `None` if it is not waited for any more.
    async fn show(
        self: &Arc<Self>,
        active: &Active,
    ) -> Result<Option<Vec<api::ContainerUpdate>>, String> {
        let (listing, lists) = self.listed().await?;
        let inventory = self.act(|state, now| {
            state.take_in(listing, &lists);
            let showing = state.scheduler.handle_snapshot(&active.plugin, now)?;
            let (inventory, shown) = state.inventory(lists, &showing);
            state.scheduler.handle_shown(&active.plugin, &shown);
            Some(inventory)
        });
        let Some(Inventory { pods, containers }) = inventory else {
            return Ok(None);
        };
        let counts = (pods.len(), containers.len());
        let time = active.settings().request_timeout;
        let progress =
            || self.act(|state, now| state.scheduler.handle_progress(&active.plugin, now));
        let begun = Instant::now();
        let answer = active
            .endpoint
            .synchronize(pods, containers, time, &progress)
            .await;
        self.synchronize_called(&active.plugin.id, begun.elapsed(), &answer);
        let updates = answer.map_err(|failure| format!("it cannot be synchronised: {failure}"))?;
        if !updates.is_empty() && !active.is_built_in() {
            self.may_ask(&active.plugin.id, updates.len())
                .map_err(|reason| format!("it cannot be synchronised: {reason}"))?;
        }
        tracing::info!(
            plugin = %active.plugin, pods = counts.0, containers = counts.1, updates = updates.len(),
            "the plugin knows what exists"
        );
        Ok(Some(updates))
    }

    /// Asks the domains what exists.
    ///
    /// # Errors
    /// A domain cannot say.
    async fn listed(&self) -> Result<(Listing, Vec<Listed>), String> {
        let listing = self.dispatch.lock().scheduler.lifecycles().begin_listing();
        let lists = self.domains.list().await.map_err(|(domain, error)| {
            format!("domain {domain:?} cannot list its pods and containers: {error}")
        })?;
        Ok((listing, lists))
    }

    /// Takes into account what exists already when the instance starts.
    ///
    /// # Errors
    /// A domain cannot say.
    pub(crate) async fn recover(&self) -> Result<(), String> {
        let (listing, lists) = self.listed().await?;
        self.dispatch.lock().take_in(listing, &lists);
        Ok(())
    }

    /// The plugins that a request that begins now includes, in order.
    pub(crate) fn taking_part(&self) -> Vec<Arc<Active>> {
        let state = self.dispatch.lock();
        let seats = state.scheduler.roster().members().iter();
        seats
            .filter_map(|member| state.seats.get(&member.plugin))
            .map(|seat| Arc::clone(&seat.active))
            .collect()
    }

    /// All plugins that the scheduler knows, those among them that join or give way to another instance.
    pub(crate) fn seats(&self) -> Vec<Arc<Active>> {
        let state = self.dispatch.lock();
        let seats = state.seats.values();
        seats.map(|seat| Arc::clone(&seat.active)).collect()
    }

    /// What is known of those that requests include.
    pub(crate) fn infos(&self) -> Vec<PluginInfo> {
        let state = self.dispatch.lock();
        let seats = state.scheduler.roster().members().iter();
        seats
            .filter_map(|member| state.seats.get(&member.plugin))
            .map(|seat| {
                let mut info = seat.active.info();
                if info.state == PluginState::Ready && state.scheduler.is_late(&info.plugin) {
                    info.state = PluginState::Late;
                }
                info
            })
            .collect()
    }

    /// Keeps plugins from joining as long as the guard lives.
    pub(crate) fn block_joining(self: &Arc<Self>) -> Block {
        self.act(|state, _| state.scheduler.block_joining());
        Block(Arc::clone(self))
    }
}

/// While it lives, no plugin joins.
pub(crate) struct Block(Arc<Instance>);

impl Drop for Block {
    fn drop(&mut self) {
        self.0
            .act(|state, now| state.scheduler.unblock_joining(now));
    }
}

impl State {
    fn may_join(&self, active: &Active, most: usize) -> Result<(), String> {
        if self.closed {
            return Err(Error::Stopped.to_string());
        }
        let mut others = 0;
        for seat in self.seats.values() {
            if seat.active.plugin.id != active.plugin.id {
                others += 1;
            } else if seat.active.is_built_in() {
                return Err(format!("plugin {} is part of the runtime", active.plugin));
            }
        }
        if others >= most {
            return Err(format!(
                "there are {most} plugins already; raise `max_plugins`"
            ));
        }
        Ok(())
    }

    /// Learns from lists what exists.
    fn take_in(&mut self, listing: Listing, lists: &[Listed]) {
        let lives = self.scheduler.lifecycles_mut();
        for list in lists {
            let pods = list.pods.iter().map(|(pod, ready)| {
                let observed = ready.map_or(Observed::Unknown, Observed::pod);
                (list.pod_key(pod), observed)
            });
            let containers = list
                .containers
                .iter()
                .map(|c| (list.container_key(c), Observed::from(c.state())));
            let gone = lives.seed(listing, &list.domain, pods.chain(containers));
            if !gone.is_empty() {
                tracing::debug!(
                    count = gone.len(),
                    "forgetting what the runtime no longer has"
                );
            }
        }
        self.unlisted.retain(self.scheduler.lifecycles());
    }

    /// What a plugin is shown, and what that is called: what the lists have, as far as it lives and will not reach the plugin
    /// as an event, and what lives and the lists do not have yet.
    fn inventory(
        &self,
        lists: Vec<Listed>,
        showing: &SyncPlan,
    ) -> (Inventory, BTreeSet<ObjectKey>) {
        let lives = self.scheduler.lifecycles();
        let mut shown = BTreeSet::new();
        let mut shows = |lives: &Lifecycles, key: ObjectKey| {
            lives.shows(&key) && !showing.exclude.contains(&key) && shown.insert(key)
        };
        let mut inventory = Inventory::default();
        for (key, object) in self.unlisted.shown(lives) {
            match object {
                _ if !shows(lives, key) => {}
                Shown::Pod(pod) => inventory.pods.push(pod),
                Shown::Container(container) => inventory.containers.push(container),
            }
        }
        for list in lists {
            let (domain, pods, containers) = (list.domain, list.pods, list.containers);
            let pods = pods.into_iter().filter(|(pod, ready)| {
                ready.is_some() && shows(lives, ObjectKey::pod(Arc::clone(&domain), &*pod.id))
            });
            inventory.pods.extend(pods.map(|(pod, _)| pod));
            let containers = containers.into_iter().filter(|container| {
                container.state() != ContainerState::ContainerUnknown
                    && shows(
                        lives,
                        ObjectKey::container(Arc::clone(&domain), &*container.id),
                    )
            });
            inventory.containers.extend(containers);
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
