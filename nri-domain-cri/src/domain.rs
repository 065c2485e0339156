//! A CRI runtime as a domain of NRI.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use nri_core::api::{self, ContainerState};
use nri_core::model::{Container, ContainerSnapshot, PodSandbox, PodSnapshot};
use nri_core::{Ctx, Domain, DomainError, Outline};

use crate::cri::LinuxContainerResources;
use crate::{
    ActionError, CriActions, CriError, CriStore, DOMAIN, ResolvedUpdate, SpecHooks, StoreError,
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

    fn named_pod(&self, pod: Arc<dyn PodSandbox>) -> Arc<dyn PodSandbox> {
        if pod.domain() == self.name {
            return pod;
        }
        Arc::new(PodSnapshot::of(&*pod).with_domain(&*self.name))
    }

    fn named_container(&self, container: Arc<dyn Container>) -> Arc<dyn Container> {
        if container.domain() == self.name {
            return container;
        }
        Arc::new(ContainerSnapshot::of(&*container).with_domain(&*self.name))
    }
}

impl<R: CriStore> CriDomain<R> {
    async fn pods(&self) -> Result<impl Iterator<Item = Arc<dyn PodSandbox>>, DomainError> {
        let pods = self.runtime.pods().await.map_err(failed)?;
        Ok(pods.into_iter().filter(|pod| pod.ready().is_some()))
    }

    async fn pod(&self, id: &str) -> Result<Option<Arc<dyn PodSandbox>>, DomainError> {
        let pod = self.runtime.pod(id).await.map_err(failed)?;
        Ok(pod.filter(|pod| pod.id() == id))
    }

    async fn container(&self, id: &str) -> Result<Option<Arc<dyn Container>>, DomainError> {
        let container = self.runtime.container(id).await.map_err(failed)?;
        Ok(container.filter(|container| container.id() == id))
    }

    async fn find(&self, id: &str) -> Result<Arc<dyn Container>, DomainError> {
        let container = self.container(id).await?;
        container.ok_or_else(|| DomainError::NotFound(id.to_owned()))
    }
}

fn not_shown(container: &str, pod: &str) {
    tracing::warn!(
        container,
        pod,
        "a container is not shown to plugins: its pod is not known"
    );
}

/// What there is; that a store does not answer is told here, since the caller cannot be.
fn known<T>(found: Result<Option<T>, DomainError>, what: &str, id: &str) -> Option<T> {
    found.unwrap_or_else(|error| {
        tracing::warn!(id, %error, "a {what} that plugins are concerned with cannot be looked up");
        None
    })
}

#[async_trait]
impl<R: CriStore + CriActions + SpecHooks> Domain for CriDomain<R> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        Ok(self.pods().await?.map(|pod| self.named_pod(pod)).collect())
    }

    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let pods: BTreeSet<String> = self.pods().await?.map(|pod| pod.id()).collect();
        let mut containers: Vec<Arc<dyn Container>> = Vec::new();
        for container in self.runtime.containers().await.map_err(failed)? {
            let pod = container.pod_sandbox_id();
            if pods.contains(&pod) {
                containers.push(self.named_container(container));
            } else {
                not_shown(&container.id(), &pod);
            }
        }
        Ok(containers)
    }

    async fn outline(&self) -> Result<Option<Outline>, DomainError> {
        let Some(mut outline) = self.runtime.outline().await.map_err(failed)? else {
            return Ok(None);
        };
        let Outline {
            pods, containers, ..
        } = &mut outline;
        pods.retain(|pod| pod.ready.is_some());
        let known: BTreeSet<&str> = pods.iter().map(|pod| pod.id.as_str()).collect();
        containers.retain(|container| {
            let pod = container.pod_sandbox_id.as_str();
            let has_pod = known.contains(pod);
            if !has_pod {
                not_shown(&container.id, pod);
            }
            has_pod
        });
        Ok(Some(outline))
    }

    async fn get_pod_sandboxes(
        &self,
        ids: &[String],
    ) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        let mut pods = Vec::new();
        for id in ids {
            pods.extend(self.pod(id).await?.map(|pod| self.named_pod(pod)));
        }
        Ok(pods)
    }

    async fn get_containers(&self, ids: &[String]) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let mut containers = Vec::new();
        for id in ids {
            let container = self.container(id).await?;
            containers.extend(container.map(|container| self.named_container(container)));
        }
        Ok(containers)
    }

    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        let pod = known(self.pod(id).await, "pod", id)?;
        Some(self.named_pod(pod))
    }

    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        let container = known(self.container(id).await, "container", id)?;
        Some(self.named_container(container))
    }

    async fn has_container(&self, id: &str) -> bool {
        known(self.container(id).await, "container", id).is_some()
    }

    async fn update_container(
        &self,
        cx: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        let id = &update.container_id;
        let container = self.find(id).await?;
        let invalid = |reason: String| DomainError::Invalid {
            id: id.clone(),
            reason,
        };
        let resources = update
            .linux
            .as_ref()
            .and_then(|linux| linux.resources.clone())
            .ok_or_else(|| invalid("the update has no Linux resources".to_owned()))?;
        match container.status().state {
            ContainerState::ContainerCreated
            | ContainerState::ContainerRunning
            | ContainerState::ContainerPaused => {}
            ContainerState::ContainerStopped => return Err(wrong_state(id, "stopped")),
            ContainerState::ContainerUnknown => {
                return Err(wrong_state(id, "in an unknown state"));
            }
        }
        let options = match self.pod(&container.pod_sandbox_id()).await? {
            Some(pod) => self.runtime.apply_options(&*pod),
            None => crate::host::apply_options(),
        };
        let resolved =
            ResolvedUpdate::with_options(&LinuxContainerResources::default(), resources, &options)
                .map_err(|error| invalid(error.to_string()))?
                .checked(&options)
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
        if self.find(id).await?.status().state == ContainerState::ContainerStopped {
            return Ok(());
        }
        self.runtime
            .stop_container(cx, id, &eviction.reason)
            .await
            .map_err(|error| domain_error(id, error))
    }
}

fn failed(error: StoreError) -> DomainError {
    DomainError::Failed(CriError::Store(error).to_string())
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
