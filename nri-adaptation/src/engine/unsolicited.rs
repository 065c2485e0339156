//! The one door for unsolicited updates of plugins, and for what they ask for when they are
//! synchronised: plugins of this process and those over a connection come through it. It counts,
//! has updates reviewed, and applies them.

use std::fmt;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use nri_core::merge::{StopMerge, StopOutcome, Support};
use nri_core::policy::Policy;
use nri_core::{Ctx, Error, PluginId, RegisteredPlugin, RuntimeHandle, UpdateFailure, api};
use tokio::time::Instant;

use crate::engine::review::Reviewers;
use crate::engine::side_effects::{SideEffects, Tally, others_have_their_turn, says_nothing};
use crate::engine::state::Dispatch;
use crate::lock::Lock;
use crate::plugin::end_reason::RateExceeded;
use crate::rate::{Buckets, NotYet, Rate};
use crate::shared::Shared;
use crate::telemetry::reporter::LINES_EACH;
use crate::text::sanitized;

/// Takes unsolicited updates of plugins.
pub(crate) struct UnsolicitedUpdates {
    dispatch: Arc<Dispatch>,
    side_effects: Arc<SideEffects>,
    support: Support,
    /// What plugins have asked for, whatever connection it came over.
    asked: Lock<Buckets<PluginId>>,
    /// From when on times are counted.
    since: Instant,
}

impl fmt::Debug for UnsolicitedUpdates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnsolicitedUpdates").finish_non_exhaustive()
    }
}

/// The door for one plugin. It keeps nothing alive: a plugin and its connection hold it.
#[derive(Debug, Clone)]
pub(crate) struct PluginDoor {
    plugin: PluginId,
    unsolicited: Weak<UnsolicitedUpdates>,
}

#[async_trait]
impl RuntimeHandle for PluginDoor {
    async fn update_containers(
        &self,
        updates: Vec<api::ContainerUpdate>,
        evictions: Vec<api::ContainerEviction>,
    ) -> Result<Vec<api::ContainerUpdate>, UpdateFailure> {
        let open = self.unsolicited.upgrade();
        match open.filter(|unsolicited| unsolicited.shared().is_enabled()) {
            Some(unsolicited) => {
                unsolicited.refuse_observer(&self.plugin, &updates, &evictions)?;
                Ok(unsolicited.apply(&self.plugin, updates, evictions).await)
            }
            None => Err(UpdateFailure::Disconnected(
                "the runtime has stopped NRI".to_owned(),
            )),
        }
    }
}

/// What is left of what a plugin asks for on its own account, and what is not.
#[derive(Debug, Default)]
struct Asked {
    updates: Vec<api::ContainerUpdate>,
    evictions: Vec<api::ContainerEviction>,
    failed: Vec<api::ContainerUpdate>,
    tally: Tally,
}

impl UnsolicitedUpdates {
    pub(crate) fn new(
        dispatch: Arc<Dispatch>,
        side_effects: Arc<SideEffects>,
        support: Support,
    ) -> Self {
        Self {
            dispatch,
            side_effects,
            support,
            asked: Lock::default(),
            since: Instant::now(),
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.side_effects.shared
    }

    /// The door for one plugin.
    pub(crate) fn door(self: &Arc<Self>, plugin: PluginId) -> PluginDoor {
        PluginDoor {
            plugin,
            unsolicited: Arc::downgrade(self),
        }
    }

    /// Whether the scheduler has let a plugin in, and it is not disconnected.
    pub(crate) fn is_admitted(&self, plugin: &RegisteredPlugin) -> bool {
        self.dispatch.lock().plugins.contains_key(plugin)
    }

    /// Lets a plugin ask for so many updates and evictions, unsolicited or when it is
    /// synchronised.
    ///
    /// # Errors
    /// Why it may not now.
    pub(crate) fn check_rate(&self, plugin: &PluginId, count: usize) -> Result<(), RateExceeded> {
        let config = self.shared().config();
        let rate = Rate {
            per_second: config.update_rate_limit,
            burst: config.update_burst,
        };
        let mut asked = self.asked.lock();
        // Asking for nothing costs something as well.
        let taken = asked.take(plugin, rate, count.max(1), self.since.elapsed());
        drop(asked);
        taken.map_err(|NotYet { wait, first }| {
            let (per_second, burst) = (rate.per_second, rate.burst);
            if first {
                tracing::warn!(
                    %plugin, per_second, burst,
                    "the plugin asks for more updates than it may, and is refused for now"
                );
            }
            RateExceeded {
                plugin: plugin.clone(),
                per_second,
                burst,
                wait,
            }
        })
    }

    /// Does nothing for a plugin that only hears of what happens.
    ///
    /// # Errors
    /// It is one.
    fn refuse_observer(
        &self,
        plugin: &PluginId,
        updates: &[api::ContainerUpdate],
        evictions: &[api::ContainerEviction],
    ) -> Result<(), UpdateFailure> {
        if !self.shared().config().plugin(plugin).observe {
            return Ok(());
        }
        let reporter = &self.shared().reporter;
        reporter.unsolicited_disregarded(plugin, updates, evictions);
        Err(UpdateFailure::Refused(format!(
            "plugin {plugin} observes (`observe = true`), so nothing that it asks for is done"
        )))
    }

    /// Carries out a plugin's unsolicited updates, as far as validators that judge
    /// updates accept it; returns the updates that could not be applied. It waits for nothing
    /// that the plugin may hold up, so the plugin may wait for it inside a handler.
    ///
    /// Dropping the future leaves the rest undone.
    pub(crate) async fn apply(
        &self,
        plugin: &PluginId,
        updates: Vec<api::ContainerUpdate>,
        evictions: Vec<api::ContainerEviction>,
    ) -> Vec<api::ContainerUpdate> {
        let mut asked = Asked::default();
        self.judge(plugin, updates, evictions, &mut asked).await;
        let Asked {
            updates,
            evictions,
            mut failed,
            mut tally,
        } = asked;
        self.shared()
            .reporter
            .record_unsolicited(plugin, &updates, &evictions);
        let cx = Ctx::new();
        let count = evictions.len();
        for (at, mut eviction) in evictions.into_iter().enumerate() {
            others_have_their_turn(at).await;
            eviction.reason = sanitized(&eviction.reason);
            let (container, reason) = (&eviction.container_id, &eviction.reason);
            if at < LINES_EACH {
                let container = sanitized(container);
                tracing::info!(%plugin, container, reason, "evicting a container for a plugin");
            } else if at == LINES_EACH {
                tracing::info!(%plugin, more = count - at, "evicting more containers for a plugin");
            }
            let reasons = [(plugin.clone(), reason.clone())];
            if let Err(error) = self.side_effects.evict(&cx, &eviction, &reasons).await {
                tally.add(Some(plugin), "evict", container, &error);
            }
        }
        for (at, update) in updates.into_iter().enumerate() {
            others_have_their_turn(at).await;
            if says_nothing(&update) {
                continue;
            }
            if let Err(error) = self.update_for(&cx, plugin, &update).await {
                tally.add(Some(plugin), "update", &update.container_id, &error);
                if !update.ignore_failure {
                    failed.push(update);
                }
            }
        }
        tally.log();
        failed
    }

    /// Has the policy judge what a plugin asks for, each update and eviction by itself: one that is
    /// denied has failed.
    async fn judge(
        &self,
        plugin: &PluginId,
        updates: Vec<api::ContainerUpdate>,
        evictions: Vec<api::ContainerEviction>,
        asked: &mut Asked,
    ) {
        let policy = self.shared().config().policy.clone();
        if policy.allows_everything() {
            (asked.updates, asked.evictions) = (updates, evictions);
            return;
        }
        let mut judge = policy.judge(plugin);
        for (at, eviction) in evictions.into_iter().enumerate() {
            others_have_their_turn(at).await;
            let id = &eviction.container_id;
            let pod = self.pod_of(&policy, id).await;
            match judge.eviction(pod.as_deref(), &eviction) {
                Ok(true) => asked.evictions.push(eviction),
                Ok(false) => {}
                Err(denial) => asked.tally.add(Some(plugin), "evict", id, &denial),
            }
        }
        for (at, update) in updates.into_iter().enumerate() {
            others_have_their_turn(at).await;
            let pod = self.pod_of(&policy, &update.container_id).await;
            match judge.update(pod.as_deref(), update.clone()) {
                Ok(left) => asked.updates.extend(left),
                Err(denial) => {
                    let id = &update.container_id;
                    asked.tally.add(Some(plugin), "update", id, &denial);
                    asked.failed.push(update);
                }
            }
        }
        self.shared().reporter.judged(&judge.into_verdicts());
    }

    /// The pod of a container that a plugin names, where the policy has conditions on pods.
    async fn pod_of(&self, policy: &Policy, container: &str) -> Option<Arc<api::PodSandbox>> {
        if !policy.has_pod_conditions() {
            return None;
        }
        let known = self.dispatch.lock().scheduler.known_pods().clone();
        match known.pod_of(container) {
            Some(pod) => Some(pod),
            None => {
                let (pod, _) = self.side_effects.domains.container_and_pod(container).await;
                pod.map(Arc::new)
            }
        }
    }

    /// What the runtime can apply of an update that no event asked for; `None` if nothing is left
    /// of it.
    ///
    /// # Errors
    /// There is more, and that is to be refused.
    fn supported(
        &self,
        plugin: &PluginId,
        update: &api::ContainerUpdate,
    ) -> Result<Option<api::ContainerUpdate>, Error> {
        if self.support == Support::default() {
            return Ok(Some(update.clone()));
        }
        let mut merge = StopMerge::new().with_support(self.support);
        let update = vec![update.clone()];
        merge.apply(
            &RegisteredPlugin {
                id: plugin.clone(),
                registration: 0,
            },
            api::StopContainerResponse { update },
        )?;
        let StopOutcome {
            updates, omissions, ..
        } = merge.finish();
        self.shared().reporter.omitted(&omissions);
        Ok(updates.into_iter().next().map(|merged| merged.update))
    }

    /// Has an update reviewed, and carries it out.
    async fn update_for(
        &self,
        cx: &Ctx,
        plugin: &PluginId,
        update: &api::ContainerUpdate,
    ) -> Result<(), Error> {
        let Some(update) = &self.supported(plugin, update)? else {
            return Ok(());
        };
        let reviewers = Reviewers::of(&self.dispatch.lock(), plugin);
        let (domains, reporter) = (&self.side_effects.domains, &self.shared().reporter);
        reviewers.review(domains, reporter, plugin, update).await?;
        let failed = |source| Error::SideEffect {
            plugins: vec![plugin.clone()],
            action: "update",
            container: update.container_id.clone(),
            source,
        };
        let plugins = std::slice::from_ref(plugin);
        self.side_effects
            .update(cx, update, plugins)
            .await
            .map_err(failed)
    }
}
