//! What a runtime has whose containers have no pods.

use std::sync::Arc;

use async_trait::async_trait;
use nri_core::model::{Container, LinuxContainer};
use nri_core::{Ctx, DomainError, api};

/// The containers of a runtime, and the power to update and evict them on behalf of plugins.
///
/// The rules are those of [`Domain`](nri_core::Domain): full ids, everything in the lists with its
/// state, snapshots. The pod that a container names itself does not count: see
/// [`pod_of`](Source::pod_of).
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// All containers, whatever their state.
    ///
    /// # Errors
    /// The runtime cannot say.
    async fn all(&self) -> Result<Vec<Arc<dyn Container>>, DomainError>;

    /// The container of a full id.
    async fn get(&self, id: &str) -> Option<Arc<dyn Container>>;

    /// The pod that a container is shown in. By default one of its own, [`own_pod`].
    ///
    /// For a container that shares the network of another one it is the pod of that one:
    /// `own_pod` of the other container, or just its id where that container is gone by now. Ids of
    /// pods decide which containers are together. It is asked when the container is created or
    /// started, and when the runtime lists it for the first time; until then the answer before
    /// counts.
    async fn pod_of(&self, container: &dyn Container) -> api::PodSandbox {
        own_pod(container)
    }

    /// Whether containers may be started again after they were stopped. Default: true.
    fn restartable(&self) -> bool {
        true
    }

    /// Changes the resources of a container, see
    /// [`Domain::update_container`](nri_core::Domain::update_container).
    ///
    /// # Errors
    /// As there.
    async fn update(&self, cx: &Ctx, update: &api::ContainerUpdate) -> Result<(), DomainError>;

    /// Stops a container without grace, see
    /// [`Domain::evict_container`](nri_core::Domain::evict_container). That it ended is told by
    /// [`SoloNri::exited`](super::SoloNri::exited), as of any other; not from in here.
    ///
    /// # Errors
    /// As there.
    async fn evict(&self, cx: &Ctx, eviction: &api::ContainerEviction) -> Result<(), DomainError>;
}

/// A pod for one container, with the container's id (which is its uid as well), name, labels,
/// annotations and namespaces. Plugins look for what users tell them in the annotations of pods.
///
/// ```
/// use nri_adaptation::{api, solo::own_pod};
/// let container = api::Container { id: "c1".into(), name: "web".into(), ..Default::default() };
/// let pod = own_pod(&container);
/// assert_eq!((&*pod.id, &*pod.name), ("c1", "web"));
/// ```
#[must_use]
pub fn own_pod(container: &dyn Container) -> api::PodSandbox {
    let namespaces = container.linux().map(LinuxContainer::namespaces);
    api::PodSandbox {
        id: container.id(),
        uid: container.id(),
        name: container.name(),
        labels: container.labels(),
        annotations: container.annotations(),
        linux: Some(api::LinuxPodSandbox {
            namespaces: namespaces.unwrap_or_default(),
            ..Default::default()
        }),
        ..Default::default()
    }
}
