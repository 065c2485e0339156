//! What the simulated runtime knows of its pods and containers: the domain that plugins see.
//!
//! The contents are a [`MemoryDomain`]'s. What is added: pods that are stopped, a lock that makes
//! changes whole, and word of every eviction, so that the runtime can do what a real one does when
//! a container ends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use nri_core::api::{self, ContainerState};
use nri_core::model::{Container, PodSandbox, PodSnapshot};
use nri_core::{Ctx, Domain, DomainError, Outline};
use tokio::sync::mpsc::UnboundedSender;

use crate::{DomainOperation, MemoryDomain};

/// The exit code of a container that was killed.
pub(super) const KILLED: i32 = 137;

/// The pods and containers of a simulated runtime.
#[derive(Debug)]
pub(super) struct SimDomain {
    memory: MemoryDomain,
    stopped_pods: Mutex<BTreeSet<String>>,
    /// Held while something is read, changed and written back.
    changing: tokio::sync::Mutex<()>,
    /// Gets every container that was evicted while it had not ended yet. Not bounded, but no more
    /// than there are containers.
    evicted: UnboundedSender<api::Container>,
}

/// Whether a container has not ended yet.
pub(super) fn lives(container: &api::Container) -> bool {
    container.state() != ContainerState::ContainerStopped
}

impl SimDomain {
    /// Without pods and containers; `restartable` if they may run again after a stop.
    pub(super) fn new(evicted: UnboundedSender<api::Container>, restartable: bool) -> Self {
        let memory = MemoryDomain::new("nri-sim");
        memory.set_restartable(restartable);
        Self {
            memory,
            stopped_pods: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            evicted,
        }
    }

    fn stopped_pods(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // Nothing panics while it holds the lock, so a poisoned one is as good as any.
        self.stopped_pods
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pod(&self, id: &str) -> Option<api::PodSandbox> {
        self.memory.pod(id)
    }

    pub(super) fn container(&self, id: &str) -> Option<api::Container> {
        self.memory.container(id)
    }

    /// Adds a pod that is ready.
    pub(super) fn put_pod(&self, pod: api::PodSandbox) {
        self.stopped_pods().remove(&pod.id);
        self.memory.put_pod(pod);
    }

    pub(super) fn stop_pod(&self, id: &str) {
        self.stopped_pods().insert(id.to_owned());
    }

    pub(super) fn is_ready(&self, pod: &str) -> bool {
        !self.stopped_pods().contains(pod)
    }

    pub(super) fn remove_pod(&self, id: &str) {
        self.memory.remove_pod(id);
        self.stopped_pods().remove(id);
    }

    pub(super) fn put_container(&self, container: api::Container) {
        self.memory.put_container(container);
    }

    pub(super) fn remove_container(&self, id: &str) {
        self.memory.remove_container(id);
    }

    /// Changes a pod and returns it as it is then; `None` if there is none.
    pub(super) async fn change_pod(
        &self,
        id: &str,
        change: impl FnOnce(&mut api::PodSandbox) + Send,
    ) -> Option<api::PodSandbox> {
        let _changing = self.changing.lock().await;
        let mut pod = self.memory.pod(id)?;
        change(&mut pod);
        self.memory.put_pod(pod.clone());
        Some(pod)
    }

    /// Changes a container and returns it as it is then; `None` if there is none.
    pub(super) async fn change_container(
        &self,
        id: &str,
        change: impl FnOnce(&mut api::Container) + Send,
    ) -> Option<api::Container> {
        let _changing = self.changing.lock().await;
        let mut container = self.memory.container(id)?;
        change(&mut container);
        self.memory.put_container(container.clone());
        Some(container)
    }

    /// Sets of a container what `resources` sets.
    pub(super) async fn overlay(&self, id: &str, resources: api::LinuxResources) {
        let _changing = self.changing.lock().await;
        self.memory.overlay(id, resources);
    }

    /// All pods with whether they are ready, by id.
    pub(super) async fn pods(&self) -> Vec<(api::PodSandbox, bool)> {
        // A domain in memory can always list.
        let pods = self.memory.list_pod_sandboxes().await.unwrap_or_default();
        pods.iter()
            .map(|pod| {
                let pod = pod.to_message();
                let ready = self.is_ready(&pod.id);
                (pod, ready)
            })
            .collect()
    }

    /// All containers, by id.
    pub(super) async fn containers(&self) -> Vec<api::Container> {
        // A domain in memory can always list.
        let containers = self.memory.list_containers().await.unwrap_or_default();
        containers.iter().map(|c| c.to_message()).collect()
    }

    pub(super) fn fail_next(&self, container: &str, what: DomainOperation, reason: String) {
        self.memory.fail_next(container, what, reason);
    }
}

#[async_trait]
impl Domain for SimDomain {
    fn name(&self) -> &str {
        self.memory.name()
    }

    fn restartable(&self) -> bool {
        self.memory.restartable()
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        let pods = self.pods().await.into_iter();
        Ok(pods
            .map(|(pod, ready)| {
                Arc::new(PodSnapshot::new(pod).with_ready(ready)) as Arc<dyn PodSandbox>
            })
            .collect())
    }

    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        self.memory.list_containers().await
    }

    async fn outline(&self) -> Result<Option<Outline>, DomainError> {
        let mut outline = self.memory.outline().await?;
        for pod in outline.iter_mut().flat_map(|outline| &mut outline.pods) {
            pod.ready = Some(self.is_ready(&pod.id));
        }
        Ok(outline)
    }

    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        let pod = self.pod(id)?;
        let ready = self.is_ready(id);
        Some(Arc::new(PodSnapshot::new(pod).with_ready(ready)))
    }

    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        self.memory.get_container(id).await
    }

    async fn has_container(&self, id: &str) -> bool {
        self.memory.has_container(id).await
    }

    async fn update_container(
        &self,
        cx: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        let _changing = self.changing.lock().await;
        self.memory.update_container(cx, update).await
    }

    async fn evict_container(
        &self,
        cx: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        let _changing = self.changing.lock().await;
        let before = self.memory.container(&eviction.container_id);
        self.memory.evict_container(cx, eviction).await?;
        if !before.as_ref().is_some_and(lives) {
            return Ok(());
        }
        if let Some(mut container) = self.memory.container(&eviction.container_id) {
            container.exit_code = KILLED;
            container.pid = 0;
            self.memory.put_container(container.clone());
            // Nobody listens any more when the runtime ends.
            let _ = self.evicted.send(container);
        }
        Ok(())
    }
}
