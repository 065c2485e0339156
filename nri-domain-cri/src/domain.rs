//! A CRI runtime as a domain of NRI.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nri_core::model::{Container, PodSandbox};
use nri_core::{Ctx, Domain, DomainError, api};

use crate::cri::LinuxContainerResources;
use crate::{
    ActionError, ContainerRecord, CriActions, CriState, CriStore, DOMAIN, PodRecord, PodState,
    ResolvedUpdate, SpecHooks,
};

/// A CRI runtime as a domain of NRI, named [`DOMAIN`] if not told otherwise.
///
/// Pods of unknown state are not listed, nor are containers whose pod is not.
pub struct CriDomain<R> {
    name: String,
    runtime: Arc<R>,
}

impl<R> CriDomain<R> {
    /// The domain of a runtime.
    pub fn new(runtime: Arc<R>) -> Self {
        Self {
            name: DOMAIN.to_owned(),
            runtime,
        }
    }

    /// The same domain by another name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    fn named_pod(&self, mut pod: PodRecord) -> PodRecord {
        pod.domain.clone_from(&self.name);
        pod
    }

    fn named_container(&self, mut container: ContainerRecord) -> ContainerRecord {
        container.domain.clone_from(&self.name);
        container
    }
}

impl<R: CriStore> CriDomain<R> {
    fn find(&self, id: &str) -> Result<ContainerRecord, DomainError> {
        self.runtime
            .container(id)
            .filter(|container| container.id == id)
            .ok_or_else(|| DomainError::NotFound(id.to_owned()))
    }

    fn pods(&self) -> impl Iterator<Item = PodRecord> {
        self.runtime
            .pods()
            .into_iter()
            .filter(|pod| pod.state != PodState::Unknown)
    }
}

#[async_trait]
impl<R: CriStore + CriActions + SpecHooks> Domain for CriDomain<R> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        Ok(self
            .pods()
            .map(|pod| Arc::new(self.named_pod(pod)) as Arc<dyn PodSandbox>)
            .collect())
    }

    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let pods: BTreeSet<String> = self.pods().map(|pod| pod.id).collect();
        let mut containers: Vec<Arc<dyn Container>> = Vec::new();
        for container in self.runtime.containers() {
            if pods.contains(&container.pod_id) {
                containers.push(Arc::new(self.named_container(container)));
            } else {
                tracing::warn!(
                    container = container.id,
                    pod = container.pod_id,
                    "a container is not shown to plugins: its pod is not known"
                );
            }
        }
        Ok(containers)
    }

    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        let pod = self.runtime.pod(id).filter(|pod| pod.id == id)?;
        Some(Arc::new(self.named_pod(pod)))
    }

    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        let container = self.find(id).ok()?;
        Some(Arc::new(self.named_container(container)))
    }

    async fn has_container(&self, id: &str) -> bool {
        self.find(id).is_ok()
    }

    async fn update_container(
        &self,
        cx: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        let id = &update.container_id;
        let container = self.find(id)?;
        let invalid = |reason: String| DomainError::Invalid {
            id: id.clone(),
            reason,
        };
        let resources = update
            .linux
            .as_ref()
            .and_then(|linux| linux.resources.clone())
            .ok_or_else(|| invalid("the update has no Linux resources".to_owned()))?;
        match container.state {
            CriState::Created | CriState::Running | CriState::Paused => {}
            CriState::Exited => return Err(wrong_state(id, "stopped")),
            CriState::Unknown => return Err(wrong_state(id, "in an unknown state")),
        }
        let options = match self.runtime.pod(&container.pod_id) {
            Some(pod) => self.runtime.apply_options(&pod),
            None => crate::host::apply_options(),
        };
        let resolved =
            ResolvedUpdate::with_options(&LinuxContainerResources::default(), resources, &options)
                .map_err(|error| invalid(error.to_string()))?;
        self.runtime
            .update_container(cx, id, &resolved)
            .await
            .map_err(|error| domain_error(id, error))
    }

    async fn evict_container(
        &self,
        cx: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        let id = &eviction.container_id;
        if self.find(id)?.state == CriState::Exited {
            return Ok(());
        }
        self.runtime
            .stop_container(cx, id, Duration::ZERO, &eviction.reason)
            .await
            .map_err(|error| domain_error(id, error))
    }
}

fn wrong_state(id: &str, state: &str) -> DomainError {
    DomainError::WrongState {
        id: id.to_owned(),
        state: state.to_owned(),
    }
}

fn domain_error(id: &str, error: ActionError) -> DomainError {
    match error {
        ActionError::NotFound => DomainError::NotFound(id.to_owned()),
        ActionError::WrongState(state) => wrong_state(id, &state),
        ActionError::Failed(error) => DomainError::Failed(format!("container {id:?}: {error}")),
    }
}
