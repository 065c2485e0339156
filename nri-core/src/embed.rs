//! What NRI is to a runtime that embeds it: one method per lifecycle event. The implementation that
//! talks to plugins lives a layer above; this trait lets other layers (a CRI binding, for example)
//! be written against it.

use std::any::Any;
use std::fmt;

use async_trait::async_trait;
use nri_proto::api;

use crate::flow::PluginOutcome;
use crate::merge::{
    CreateOutcome, Eviction, MergedUpdate, Omission, Owners, StopOutcome, UpdateOutcome, asked_part,
};
use crate::model::{Container, PodSandbox};
use crate::{Ctx, Error, PluginId};

/// The embedding API. Every method is a cheap no-op while NRI is disabled or after
/// [`stop`](RuntimeApi::stop).
///
/// The pod and container arguments are read once, before anything is awaited.
///
/// # Cancel safety
/// Every future may be dropped at any time, and what it was about stays consistent:
/// * What plugins may refuse (running, creating, starting, updating) is not brought to further
///   plugins. Those that were asked keep what they know; of a creation they hear that it is undone.
///   Of other events the runtime announces the end as ever.
/// * Notifications (stops, removals, post events) go on, and so does what plugins ask for in answer
///   to a stop. Dropping only stops waiting.
/// * Updates and evictions that plugins asked for in answer to a creation or an update are no
///   longer begun; one under way is dropped with the domain's future.
/// * A dropped start is a stop. A dropped stop goes on.
#[async_trait]
pub trait RuntimeApi: Send + Sync {
    /// Whether plugins can be there at all.
    fn is_enabled(&self) -> bool;

    /// Launches the installed plugins, synchronises them, and opens the socket for others.
    async fn start(&self) -> Result<(), Error>;

    /// Closes the socket and sends `Shutdown` to all plugins. May be repeated.
    async fn stop(&self);

    /// A pod sandbox is up (its pid and addresses known) and not yet marked ready. An error refuses
    /// the pod.
    async fn run_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error>;

    /// The resources of a pod are about to change. An error refuses the change.
    async fn update_pod_sandbox(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        overhead: Option<api::LinuxResources>,
        resources: Option<api::LinuxResources>,
    ) -> Result<(), Error>;

    /// The resources of a pod have changed.
    async fn post_update_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error>;

    /// A pod's containers are stopped and the sandbox is about to be torn down. Repeating it has no
    /// effect.
    async fn stop_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error>;

    /// A pod is removed; implies [`stop_pod_sandbox`](RuntimeApi::stop_pod_sandbox) if that is
    /// still due.
    async fn remove_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error>;

    /// A container's spec is complete and nothing is created yet. Apply the adjustment of the
    /// outcome, create the container, then [`commit`](Creation::commit); dropping the outcome
    /// tells the plugins that the container never came to be.
    async fn create_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<Creation, Error>;

    /// A container was created; `container` shows it as adjusted.
    async fn post_create_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error>;

    /// A container is about to be started. An error refuses the start.
    async fn start_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error>;

    /// A container was started.
    async fn post_start_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error>;

    /// A container's resources are about to change. The result says what to apply instead of
    /// `request`, if anything.
    async fn update_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
        request: Option<api::LinuxResources>,
    ) -> Result<UpdateResult, Error>;

    /// A container's resources have changed.
    async fn post_update_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error>;

    /// A container was stopped. Repeating it, or calling it after an exit was notified, has no
    /// effect.
    async fn stop_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<StopResult, Error>;

    /// A container's process ended by itself. Queued, in order with the container's other events;
    /// never blocks.
    fn notify_container_exit(&self, pod: &dyn PodSandbox, container: &dyn Container);

    /// A container is removed; implies [`stop_container`](RuntimeApi::stop_container) if that is
    /// still due.
    async fn remove_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error>;

    /// Keeps new plugins from being synchronised while the guard lives.
    ///
    /// For parity only: synchronisation needs no help of the runtime here.
    async fn block_plugin_sync(&self) -> PluginSyncBlock;
}

/// How a creation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The container exists.
    Committed,
    /// It never came to be: plugins that saw the request hear of its stop and removal.
    Abandoned,
}

type Settle = Box<dyn FnOnce(Settlement) + Send>;

/// What plugins want of a container that is about to be created.
///
/// Dropping it without [`commit`](Creation::commit) undoes the creation towards the plugins that
/// saw it.
#[must_use = "dropping a creation tells the plugins that the container never came to be"]
pub struct Creation {
    asked: Box<CreateOutcome>,
    outcomes: Vec<PluginOutcome>,
    settle: Option<Settle>,
}

impl Creation {
    /// The outcome of a creation whose evictions and updates are carried out, or left to the
    /// caller; `settle` is called exactly once.
    pub fn new(
        asked: impl Into<Box<CreateOutcome>>,
        outcomes: Vec<PluginOutcome>,
        settle: impl FnOnce(Settlement) + Send + 'static,
    ) -> Self {
        Self {
            asked: asked.into(),
            outcomes,
            settle: Some(Box::new(settle)),
        }
    }

    /// A creation that no plugin had anything to do with.
    pub fn untouched() -> Self {
        Self {
            asked: Box::default(),
            outcomes: Vec::new(),
            settle: None,
        }
    }

    /// What to change in the container; `None` when no plugin asks for anything.
    pub fn adjustment(&self) -> Option<&api::ContainerAdjustment> {
        self.asked.adjustment.as_ref()
    }

    /// Which plugin asked for which part.
    pub fn owners(&self) -> &Owners {
        &self.asked.owners
    }

    /// The updates of other containers that plugins asked for, each with its plugins. They are
    /// applied already, as far as that was possible, unless the instance leaves them to its caller.
    pub fn updates(&self) -> &[MergedUpdate] {
        &self.asked.updates
    }

    /// The evictions of other containers that plugins asked for, each with its plugins. They are
    /// carried out already, as far as that was possible, unless the instance leaves them to its
    /// caller, who evicts before it updates.
    pub fn evictions(&self) -> &[Eviction] {
        &self.asked.evictions
    }

    /// What plugins asked for and was left out without failing the request.
    pub fn omissions(&self) -> &[Omission] {
        &self.asked.omissions
    }

    /// What every plugin did with the request, in plugin order.
    pub fn outcomes(&self) -> &[PluginOutcome] {
        &self.outcomes
    }

    /// All of it as the protocol's message, as one plugin could have answered it, with updates and
    /// evictions, whoever carries them out.
    pub fn to_response(&self) -> api::CreateContainerResponse {
        self.asked.to_response()
    }

    /// Says that the container exists.
    pub fn commit(mut self) {
        self.settle(Settlement::Committed);
    }

    /// The same, and takes apart what was asked for.
    pub(crate) fn into_committed(mut self) -> (CreateOutcome, Vec<PluginOutcome>) {
        self.settle(Settlement::Committed);
        let Self {
            asked, outcomes, ..
        } = &mut self;
        (std::mem::take(asked), std::mem::take(outcomes))
    }

    fn settle(&mut self, settlement: Settlement) {
        if let Some(settle) = self.settle.take() {
            settle(settlement);
        }
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        self.settle(Settlement::Abandoned);
    }
}

impl fmt::Debug for Creation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Creation")
            .field("adjusts", &self.asked.adjustment.is_some())
            .field("outcomes", &self.outcomes)
            .finish_non_exhaustive()
    }
}

/// What plugins want of a container whose resources are about to change.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct UpdateResult {
    /// The full resources to apply instead of the requested ones; `None` when no plugin changed
    /// any.
    pub resources: Option<api::LinuxResources>,
    /// The updates of other containers that plugins asked for, each with its plugins; applied as
    /// far as possible, unless the instance leaves them to its caller.
    pub updates: Vec<MergedUpdate>,
    /// The evictions that plugins asked for, each with its plugins; carried out as far as
    /// possible, unless the instance leaves them to its caller, who evicts before it updates.
    pub evictions: Vec<Eviction>,
    /// What every plugin did with the request, in plugin order.
    pub outcomes: Vec<PluginOutcome>,
    owners: Owners,
    omissions: Vec<Omission>,
    requested: Option<Requested>,
}

/// What is to be known of a changed update of the requested container, beside its resources.
#[derive(Debug, Clone, PartialEq)]
struct Requested {
    container: String,
    ignore_failure: bool,
    plugins: Vec<PluginId>,
}

impl UpdateResult {
    /// The result of an update whose side effects are applied, or left to the caller.
    pub fn new(asked: UpdateOutcome, outcomes: Vec<PluginOutcome>) -> Self {
        let mut resources = None;
        let requested = asked.requested.map(|merged| {
            let MergedUpdate { update, plugins } = merged;
            resources = update.linux.and_then(|linux| linux.resources);
            Requested {
                container: update.container_id,
                ignore_failure: update.ignore_failure,
                plugins,
            }
        });
        Self {
            resources,
            updates: asked.updates,
            evictions: asked.evictions,
            outcomes,
            owners: asked.owners,
            omissions: asked.omissions,
            requested,
        }
    }

    /// What plugins asked for the container itself whose resources are about to change, with its
    /// plugins: of [`resources`](Self::resources) that part which plugins own. `None` when no
    /// plugin changed any.
    pub fn requested(&self) -> Option<MergedUpdate> {
        let requested = self.requested.as_ref()?;
        let resources = self.resources.clone().unwrap_or_default();
        let container = &requested.container;
        Some(MergedUpdate {
            update: api::ContainerUpdate {
                container_id: container.clone(),
                linux: Some(api::LinuxContainerUpdate {
                    resources: Some(asked_part(&self.owners, container, resources)),
                }),
                ignore_failure: requested.ignore_failure,
            },
            plugins: requested.plugins.clone(),
        })
    }

    /// What plugins asked for and was left out without failing the request.
    pub fn omissions(&self) -> &[Omission] {
        &self.omissions
    }

    /// All of it as the protocol's message, as one plugin could have answered it: of the resources
    /// just what plugins asked for, so that it can be merged with what others ask for; with updates
    /// and evictions, whoever carries them out.
    ///
    /// ```
    /// use nri_core::api::{ContainerUpdate, LinuxContainerUpdate, LinuxMemory, LinuxPids};
    /// use nri_core::api::{LinuxResources, OptionalInt64, UpdateContainerResponse};
    /// use nri_core::merge::UpdateMerge;
    /// use nri_core::{RegisteredPlugin, UpdateResult};
    ///
    /// let memory = LinuxMemory { limit: Some(OptionalInt64 { value: 1 }), ..Default::default() };
    /// let requested = LinuxResources { memory: Some(memory), ..Default::default() };
    /// let resources = LinuxResources { pids: Some(LinuxPids { limit: 7 }), ..Default::default() };
    /// let answer = UpdateContainerResponse {
    ///     update: vec![ContainerUpdate {
    ///         container_id: "c1".into(),
    ///         linux: Some(LinuxContainerUpdate { resources: Some(resources.clone()) }),
    ///         ignore_failure: false,
    ///     }],
    ///     evict: vec![],
    /// };
    /// let mut merge = UpdateMerge::new("c1".into(), Some(requested));
    /// let plugin = RegisteredPlugin { id: "10-first".parse()?, registration: 1 };
    /// merge.apply(&plugin, answer.clone())?;
    ///
    /// let result = UpdateResult::new(merge.finish(), vec![]);
    /// assert!(result.resources.as_ref().unwrap().memory.is_some(), "what is to be applied");
    /// assert_eq!(result.to_response(), answer, "what the plugin asked for");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_response(&self) -> api::UpdateContainerResponse {
        let others = self.updates.iter().map(|merged| merged.update.clone());
        let requested = self.requested().map(|merged| merged.update);
        api::UpdateContainerResponse {
            update: others.chain(requested).collect(),
            evict: self.evictions.iter().map(Eviction::to_message).collect(),
        }
    }

    /// Which plugin asked for which part, of the resources and of the updates of other containers;
    /// with that, errors name plugins (`InvalidResource::asked_in` in `oci::resources`). What the
    /// runtime itself requested has no owner.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }
}

/// What plugins made of the stop of a container.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct StopResult {
    /// The updates of containers that plugins asked for, each with its plugins; applied as far as
    /// possible, unless the instance leaves them to its caller.
    pub updates: Vec<MergedUpdate>,
    /// What every plugin did with the request, in plugin order. Empty if the stop had been relayed
    /// before.
    pub outcomes: Vec<PluginOutcome>,
    owners: Owners,
    omissions: Vec<Omission>,
}

impl StopResult {
    /// The result of a stop whose updates are applied, or left to the caller.
    pub fn new(asked: StopOutcome, outcomes: Vec<PluginOutcome>) -> Self {
        Self {
            updates: asked.updates,
            outcomes,
            owners: asked.owners,
            omissions: asked.omissions,
        }
    }

    /// What plugins asked for and was left out without failing the request.
    pub fn omissions(&self) -> &[Omission] {
        &self.omissions
    }

    /// The updates as the protocol's message, as one plugin could have answered it, whoever carries
    /// them out.
    pub fn to_response(&self) -> api::StopContainerResponse {
        api::StopContainerResponse {
            update: self
                .updates
                .iter()
                .map(|merged| merged.update.clone())
                .collect(),
        }
    }

    /// Which plugin asked for which part of the updates.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }
}

/// While it lives, no new plugin is synchronised.
#[must_use = "the block ends when the guard is dropped"]
#[derive(Default)]
pub struct PluginSyncBlock(Option<Box<dyn Any + Send + Sync>>);

impl PluginSyncBlock {
    /// A block that lasts as long as `guard`.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(guard)))
    }

    /// A guard that blocks nothing, for a disabled instance.
    pub fn inert() -> Self {
        Self(None)
    }
}

impl fmt::Debug for PluginSyncBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PluginSyncBlock({})",
            if self.0.is_some() {
                "blocking"
            } else {
                "inert"
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn creation(settled: &Arc<Mutex<Vec<Settlement>>>) -> Creation {
        let settled = Arc::clone(settled);
        Creation::new(CreateOutcome::default(), Vec::new(), move |how| {
            settled.lock().unwrap().push(how);
        })
    }

    #[test]
    fn a_creation_is_settled_exactly_once() {
        let settled = Arc::new(Mutex::new(Vec::new()));
        creation(&settled).commit();
        assert_eq!(*settled.lock().unwrap(), [Settlement::Committed]);
        drop(creation(&settled));
        assert_eq!(
            *settled.lock().unwrap(),
            [Settlement::Committed, Settlement::Abandoned]
        );
    }

    #[test]
    fn a_block_lasts_as_long_as_its_guard() {
        let guard = Arc::new(());
        let block = PluginSyncBlock::new(Arc::clone(&guard));
        assert_eq!(Arc::strong_count(&guard), 2);
        drop(block);
        assert_eq!(Arc::strong_count(&guard), 1);
    }
}
