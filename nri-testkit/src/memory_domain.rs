//! A domain in memory: what a test puts in is what plugins see, and what plugins do to it is written down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use nri_core::api::{self, ContainerState};
use nri_core::model::{Container, PodSandbox};
use nri_core::{Ctx, Domain, DomainError};

/// What a domain can be made to refuse once; see [`MemoryDomain::fail_next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// An update of the container.
    Update,
    /// An eviction of the container.
    Evict,
}

/// Pods and containers in memory, and a record of what plugins did to them.
///
/// ```
/// use nri_core::{api, Domain};
/// use nri_testkit::MemoryDomain;
///
/// let domain = MemoryDomain::new("test");
/// domain.put_pod(api::PodSandbox { id: "p1".into(), ..Default::default() });
/// domain.put_container(api::Container { id: "c1".into(), pod_sandbox_id: "p1".into(), ..Default::default() });
/// assert_eq!(domain.name(), "test");
/// assert_eq!(domain.container("c1").unwrap().pod_sandbox_id, "p1");
/// ```
#[derive(Debug)]
pub struct MemoryDomain {
    name: String,
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    pods: BTreeMap<String, api::PodSandbox>,
    containers: BTreeMap<String, api::Container>,
    updates: Vec<api::ContainerUpdate>,
    evictions: Vec<api::ContainerEviction>,
    refusals: BTreeMap<(String, Refusal), String>,
}

impl MemoryDomain {
    /// An empty domain.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            contents: Mutex::default(),
        }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Nothing panics while it holds the lock, so a poisoned one is as good as any.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a pod, or replaces the one with its id.
    pub fn put_pod(&self, pod: api::PodSandbox) {
        self.contents().pods.insert(pod.id.clone(), pod);
    }

    /// Adds a container, or replaces the one with its id.
    pub fn put_container(&self, container: api::Container) {
        self.contents()
            .containers
            .insert(container.id.clone(), container);
    }

    /// Takes a pod out.
    pub fn remove_pod(&self, id: &str) -> Option<api::PodSandbox> {
        self.contents().pods.remove(id)
    }

    /// Takes a container out.
    pub fn remove_container(&self, id: &str) -> Option<api::Container> {
        self.contents().containers.remove(id)
    }

    /// A pod as it is now.
    pub fn pod(&self, id: &str) -> Option<api::PodSandbox> {
        self.contents().pods.get(id).cloned()
    }

    /// A container as it is now.
    pub fn container(&self, id: &str) -> Option<api::Container> {
        self.contents().containers.get(id).cloned()
    }

    /// The updates that were applied, in order.
    pub fn updates(&self) -> Vec<api::ContainerUpdate> {
        self.contents().updates.clone()
    }

    /// The evictions that were carried out, in order.
    pub fn evictions(&self) -> Vec<api::ContainerEviction> {
        self.contents().evictions.clone()
    }

    /// Makes the next update or eviction of a container fail with `reason`.
    pub fn fail_next(&self, container_id: &str, what: Refusal, reason: impl Into<String>) {
        self.contents()
            .refusals
            .insert((container_id.to_owned(), what), reason.into());
    }
}

impl Contents {
    /// The container that is to be changed, unless the change is to be refused.
    fn change(&mut self, id: &str, what: Refusal) -> Result<&mut api::Container, DomainError> {
        if let Some(reason) = self.refusals.remove(&(id.to_owned(), what)) {
            return Err(DomainError::Failed(reason));
        }
        self.containers
            .get_mut(id)
            .ok_or_else(|| DomainError::NotFound(id.to_owned()))
    }
}

#[async_trait]
impl Domain for MemoryDomain {
    fn name(&self) -> &str {
        &self.name
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        Ok(self
            .contents()
            .pods
            .values()
            .map(|pod| Arc::new(pod.clone()) as Arc<dyn PodSandbox>)
            .collect())
    }

    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let contents = self.contents();
        Ok(contents
            .containers
            .values()
            .map(|c| Arc::new(c.clone()) as Arc<dyn Container>)
            .collect())
    }

    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        self.pod(id).map(|pod| Arc::new(pod) as Arc<dyn PodSandbox>)
    }

    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        self.container(id)
            .map(|container| Arc::new(container) as Arc<dyn Container>)
    }

    async fn has_container(&self, id: &str) -> bool {
        self.contents().containers.contains_key(id)
    }

    /// Writes the update down. The container shows the resources of its last update.
    async fn update_container(
        &self,
        _: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        let id = &update.container_id;
        let mut contents = self.contents();
        let container = contents.change(id, Refusal::Update)?;
        let Some(resources) = update
            .linux
            .as_ref()
            .and_then(|linux| linux.resources.clone())
        else {
            return Err(DomainError::Invalid {
                id: id.clone(),
                reason: "the update has no resources".to_owned(),
            });
        };
        container.linux.get_or_insert_default().resources = Some(resources);
        contents.updates.push(update.clone());
        Ok(())
    }

    /// Writes the eviction down. The container is stopped from then on.
    async fn evict_container(
        &self,
        _: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        let mut contents = self.contents();
        let container = contents.change(&eviction.container_id, Refusal::Evict)?;
        container.state = ContainerState::ContainerStopped.into();
        container.status_reason.clone_from(&eviction.reason);
        contents.evictions.push(eviction.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(id: &str) -> api::ContainerUpdate {
        let resources = api::LinuxResources {
            pids: Some(api::LinuxPids { limit: 7 }),
            ..Default::default()
        };
        api::ContainerUpdate {
            container_id: id.into(),
            linux: Some(api::LinuxContainerUpdate {
                resources: Some(resources),
            }),
            ignore_failure: false,
        }
    }

    #[tokio::test]
    async fn what_plugins_do_is_written_down() {
        let domain = MemoryDomain::new("test");
        domain.put_container(api::Container {
            id: "c1".into(),
            ..Default::default()
        });
        let cx = Ctx::new();
        domain.update_container(&cx, &update("c1")).await.unwrap();
        let eviction = api::ContainerEviction {
            container_id: "c1".into(),
            reason: "pressure".into(),
        };
        domain.evict_container(&cx, &eviction).await.unwrap();
        assert_eq!(domain.updates(), [update("c1")]);
        assert_eq!(domain.evictions(), [eviction]);
        let container = domain.container("c1").unwrap();
        assert_eq!(container.state(), ContainerState::ContainerStopped);
        assert_eq!(
            container.linux.unwrap().resources.unwrap().pids,
            Some(api::LinuxPids { limit: 7 })
        );
    }

    #[tokio::test]
    async fn unknown_ids_and_refusals_are_errors_and_a_refusal_holds_once() {
        let domain = MemoryDomain::new("test");
        let cx = Ctx::new();
        assert_eq!(
            domain.update_container(&cx, &update("c1")).await,
            Err(DomainError::NotFound("c1".into()))
        );
        domain.put_container(api::Container {
            id: "c1".into(),
            ..Default::default()
        });
        domain.fail_next("c1", Refusal::Update, "no memory");
        let failed = DomainError::Failed("no memory".into());
        assert_eq!(
            domain.update_container(&cx, &update("c1")).await,
            Err(failed)
        );
        assert_eq!(domain.update_container(&cx, &update("c1")).await, Ok(()));
    }
}
