//! What a runtime gives to NRI: its pods and containers, and the power to update and evict them on
//! behalf of plugins.

use std::sync::Arc;

use async_trait::async_trait;
use nri_proto::api;

use crate::Ctx;
use crate::brief::quoted;
use crate::model::{Container, PodSandbox};
use crate::outline::Outline;

/// Why a domain did not do what a plugin asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// The domain has no container of this full id.
    #[error("container {} is not known to the runtime", quoted(.0))]
    NotFound(String),
    /// The container is in a state in which this is not possible.
    #[error("container {} is {state}, so this is not possible", quoted(.id))]
    WrongState {
        /// The container's id.
        id: String,
        /// Its state, in words.
        state: String,
    },
    /// The request itself makes no sense, for example an update without resources.
    #[error("invalid request for container {}: {reason}", quoted(.id))]
    Invalid {
        /// The container's id.
        id: String,
        /// What is wrong with the request.
        reason: String,
    },
    /// The runtime tried and failed.
    #[error("{0}")]
    Failed(String),
}

/// One namespace of a runtime, such as CRI's `k8s.io`: what plugins see of it and do to it.
///
/// Rules for implementors: ids are full ids, never prefixes; listings return everything with its
/// state (NRI decides what plugins see of it); answers are snapshots, nothing of the runtime's own
/// is handed out. NRI holds no lock while it calls a domain, so a domain may call back into the
/// API.
#[async_trait]
pub trait Domain: Send + Sync + 'static {
    /// The domain's name; unique in an NRI instance.
    fn name(&self) -> &str;

    /// Whether pods and containers that were stopped may run again, as they do in Docker, podman
    /// and Nomad: the runtime then calls [`start_container`](crate::RuntimeApi::start_container)
    /// after [`stop_container`](crate::RuntimeApi::stop_container), and
    /// [`run_pod_sandbox`](crate::RuntimeApi::run_pod_sandbox) after
    /// [`stop_pod_sandbox`](crate::RuntimeApi::stop_pod_sandbox), without creating anything anew.
    /// Plugins hear of each start and each stop; those that join are shown stopped containers, too.
    /// Asked once, when the domain is registered. Default: false, as CRI has it; both calls are
    /// errors then.
    ///
    /// Which step leads where is written in [`lifecycle`](crate::lifecycle#which-step-leads-where).
    fn restartable(&self) -> bool {
        false
    }

    /// All pods, whatever their state.
    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError>;

    /// All containers, whatever their state, without infrastructure containers.
    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError>;

    /// All pods and containers as the two listings say, but only what they are called and in which
    /// state they are. Default: `None`, which means that NRI has to list.
    ///
    /// Override it where a pod or container that is listed is a copy, or is put together for that:
    /// on a node with ten thousand containers all of them at once are as much memory as ten
    /// thousand containers take. With an outline, NRI keeps ids, and reads each object when a
    /// plugin is about to be sent it, by [`get_pod_sandboxes`](Domain::get_pod_sandboxes) and
    /// [`get_containers`](Domain::get_containers). What is gone by then is not shown, and what has
    /// come since is told by its own event.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use nri_core::{ContainerOutline, Outline, PodOutline, api};
    ///
    /// struct Books { pods: BTreeMap<String, api::PodSandbox>, containers: BTreeMap<String, api::Container> }
    ///
    /// impl Books {
    ///     /// What `Domain::outline` returns, under the runtime's own lock.
    ///     fn outline(&self) -> Outline {
    ///         Outline::new(
    ///             self.pods.values().map(|pod| PodOutline::of(pod)).collect(),
    ///             self.containers.values().map(|one| ContainerOutline::of(one)).collect(),
    ///         )
    ///     }
    /// }
    /// # let books = Books { pods: BTreeMap::new(), containers: BTreeMap::new() };
    /// # assert_eq!(books.outline(), Outline::default());
    /// ```
    ///
    /// # Errors
    /// The runtime cannot say.
    async fn outline(&self) -> Result<Option<Outline>, DomainError> {
        Ok(None)
    }

    /// The pods of some full ids, without those that are not there; asked for where there is an
    /// [outline](Domain::outline), a few at a time. Default: each by
    /// [`get_pod_sandbox`](Domain::get_pod_sandbox). Override it where some together are cheaper,
    /// or where looking up can fail: what is missing here counts as gone.
    ///
    /// # Errors
    /// The runtime cannot say. The plugin that was to be shown them does not join then.
    async fn get_pod_sandboxes(
        &self,
        ids: &[String],
    ) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        let mut pods = Vec::new();
        for id in ids {
            pods.extend(self.get_pod_sandbox(id).await);
        }
        Ok(pods)
    }

    /// The containers of some full ids, as [`get_pod_sandboxes`](Domain::get_pod_sandboxes) has
    /// pods.
    ///
    /// # Errors
    /// As there.
    async fn get_containers(&self, ids: &[String]) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let mut containers = Vec::new();
        for id in ids {
            containers.extend(self.get_container(id).await);
        }
        Ok(containers)
    }

    /// The pod of a full id.
    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>>;

    /// The container of a full id.
    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>>;

    /// Whether the domain has a container of this full id. Override it where that is cheaper than a
    /// full snapshot.
    async fn has_container(&self, id: &str) -> bool {
        self.get_container(id).await.is_some()
    }

    /// Changes the resources of a container. Fields that the update does not set stay as they are.
    ///
    /// `ignore_failure` is not the domain's business: it reports what happened, NRI decides what
    /// that means.
    ///
    /// # Errors
    /// [`DomainError::NotFound`] for unknown ids; otherwise whatever kept the update from being
    /// applied.
    async fn update_container(
        &self,
        cx: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError>;

    /// Stops a container without grace and returns when its process is gone. One that is stopped
    /// already is a success.
    ///
    /// It is the runtime that tells of the end, as of any other: NRI does not do so after this
    /// call, so the process that ended here still needs its
    /// [`notify_container_exit`](crate::RuntimeApi::notify_container_exit) (or `stop_container`).
    /// Where the runtime's watch over exits tells of every process that ends, nothing more is
    /// to be done; telling of it twice has no effect. Do not wait for `stop_container` in here:
    /// it may have to wait for the request that asks for the eviction.
    ///
    /// # Errors
    /// [`DomainError::NotFound`] for unknown ids; otherwise whatever kept the container alive.
    async fn evict_container(
        &self,
        cx: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError>;
}
