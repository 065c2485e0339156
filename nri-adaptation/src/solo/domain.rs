//! Containers without pods as a domain of NRI.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use nri_core::model::{Container, PodSandbox, PodSnapshot, State};
use nri_core::{Ctx, Domain, DomainError, api};

use super::pods::Pods;
use super::source::Source;
use super::undo::named;

/// A [`Source`] as a domain: each container in a pod.
pub struct SoloDomain<S> {
    pub(super) name: Arc<str>,
    pub(super) source: Arc<S>,
    pub(super) pods: Arc<Pods>,
}

impl<S> fmt::Debug for SoloDomain<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoloDomain")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<S: Source> SoloDomain<S> {
    /// The domain of a source; `name` is unique in an NRI instance, for example `moby`.
    pub fn new(name: impl Into<Arc<str>>, source: Arc<S>) -> Self {
        Self {
            name: name.into(),
            source,
            pods: Arc::default(),
        }
    }

    /// What the runtime has.
    pub fn source(&self) -> &Arc<S> {
        &self.source
    }

    /// A pod as it is handed to NRI.
    pub(super) fn named(&self, pod: api::PodSandbox) -> PodSnapshot {
        named(&self.name, pod)
    }

    /// A container as plugins see it: it names the pod that it is shown in.
    pub(super) async fn shown(&self, container: &dyn Container) -> api::Container {
        let mut shown = container.to_message();
        shown.pod_sandbox_id = match self.pods.of(&shown.id) {
            Some(pod) => pod.id,
            None => self.source.pod_of(container).await.id,
        };
        shown
    }

    /// Makes known what the runtime had before anything was told of it.
    ///
    /// # Errors
    /// The runtime cannot say.
    pub(super) async fn recover(&self) -> Result<(), DomainError> {
        let recovered = self.pods.recovered.get_or_try_init(|| async {
            for container in self.source.all().await? {
                let pod = self.source.pod_of(&*container).await;
                let ended = container.state() == State::Stopped;
                self.pods.recover(&container.id(), pod, ended);
            }
            Ok(())
        });
        recovered.await.copied()
    }
}

#[async_trait]
impl<S: Source> Domain for SoloDomain<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn restartable(&self) -> bool {
        self.source.restartable()
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        self.recover().await?;
        let mut pods = BTreeMap::new();
        for container in self.source.all().await? {
            let pod = match self.pods.of(&container.id()) {
                Some(pod) => pod,
                None => self.source.pod_of(&*container).await,
            };
            let runs = container.state() != State::Stopped;
            let (_, ready) = pods.entry(pod.id.clone()).or_insert((pod, false));
            *ready |= runs;
        }
        let shown = pods.into_values().map(|(pod, runs)| {
            let (pod, ready) = self.pods.get(&pod.id).unwrap_or((pod, runs));
            Arc::new(self.named(pod).with_ready(ready)) as Arc<dyn PodSandbox>
        });
        Ok(shown.collect())
    }

    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        self.recover().await?;
        let mut shown = Vec::new();
        for container in self.source.all().await? {
            shown.push(Arc::new(self.shown(&*container).await) as Arc<dyn Container>);
        }
        Ok(shown)
    }

    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        // It is there as long as a container of it is.
        for container in self.pods.members(id) {
            if self.source.get(&container).await.is_none() {
                continue;
            }
            if let Some((pod, ready)) = self.pods.get(id) {
                return Some(Arc::new(self.named(pod).with_ready(ready)));
            }
        }
        let pods = self.list_pod_sandboxes().await.ok()?;
        pods.into_iter().find(|pod| pod.id() == id)
    }

    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        let container = self.source.get(id).await?;
        Some(Arc::new(self.shown(&*container).await))
    }

    async fn has_container(&self, id: &str) -> bool {
        self.source.get(id).await.is_some()
    }

    async fn update_container(
        &self,
        cx: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        self.source.update(cx, update).await
    }

    async fn evict_container(
        &self,
        cx: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        self.source.evict(cx, eviction).await
    }
}
