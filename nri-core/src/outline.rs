//! What a domain has, without what it consists of: enough to know what exists, so that each pod and
//! container need be read only when it is its turn to be shown to a plugin.
//!
//! What may not enter: anything that takes much memory where there are ten thousand of it.

use std::collections::BTreeMap;

use nri_proto::api::ContainerState;

use crate::model::{Container, PodSandbox};

/// All that a [`Domain`](crate::Domain) has, as of one moment.
///
/// ```
/// use nri_core::{ContainerOutline, Outline, PodOutline, api};
///
/// let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
/// let outline = Outline::new(
///     vec![PodOutline::of(&pod)],
///     vec![ContainerOutline::new("c1", "p1", api::ContainerState::ContainerRunning)],
/// );
/// assert_eq!(outline.pods, [PodOutline::new("p1")]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outline {
    /// All pods, whatever their state.
    pub pods: Vec<PodOutline>,
    /// All containers, whatever their state, without infrastructure containers.
    pub containers: Vec<ContainerOutline>,
}

impl Outline {
    /// Of these.
    pub fn new(pods: Vec<PodOutline>, containers: Vec<ContainerOutline>) -> Self {
        Self { pods, containers }
    }
}

/// A pod, as far as it has to be known before a plugin is shown it: by what it is called, whether
/// it is ready, and what the runtime's policy looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodOutline {
    /// Full id.
    pub id: String,
    /// As [`PodSandbox::ready`]. Default: ready.
    pub ready: Option<bool>,
    /// Kubernetes namespace. Default: empty.
    pub namespace: String,
    /// Labels. Default: none.
    pub labels: BTreeMap<String, String>,
    /// Runtime handler. Default: empty, the default one.
    pub runtime_handler: String,
}

impl PodOutline {
    /// A pod that is ready.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            ready: Some(true),
            namespace: String::new(),
            labels: BTreeMap::new(),
            runtime_handler: String::new(),
        }
    }

    /// The outline of a pod.
    pub fn of(pod: &dyn PodSandbox) -> Self {
        Self {
            id: pod.id(),
            ready: pod.ready(),
            namespace: pod.namespace(),
            labels: pod.labels(),
            runtime_handler: pod.runtime_handler(),
        }
    }
}

/// A container, as far as it has to be known before a plugin is shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerOutline {
    /// Full id.
    pub id: String,
    /// Full id of its pod.
    pub pod_sandbox_id: String,
    /// Its state.
    pub state: ContainerState,
}

impl ContainerOutline {
    /// A container.
    pub fn new(
        id: impl Into<String>,
        pod_sandbox_id: impl Into<String>,
        state: ContainerState,
    ) -> Self {
        Self {
            id: id.into(),
            pod_sandbox_id: pod_sandbox_id.into(),
            state,
        }
    }

    /// The outline of a container.
    pub fn of(container: &dyn Container) -> Self {
        Self::new(
            container.id(),
            container.pod_sandbox_id(),
            container.status().state,
        )
    }
}
