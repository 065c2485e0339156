//! What a domain lists: its pods and containers, and what is to be known of each at once, so that
//! none of their code runs under a lock.
//!
//! What may not enter: asking a domain.

use std::sync::Arc;

use nri_core::api::{self, ContainerState};
use nri_core::lifecycle::ObjectKey;
use nri_core::model::{Container, PodSandbox};
use nri_core::{ContainerOutline, PodOutline};
use nri_proto::Wire as _;

use crate::engine::recent::Recent;

/// What all domains list, for all plugins that are shown it.
pub(crate) struct Catalogue {
    pub(crate) lists: Vec<Listed>,
    /// What of it was encoded last.
    pub(crate) recent: Arc<Recent>,
}

/// What a domain lists.
pub(crate) struct Listed {
    pub(crate) name: Arc<str>,
    pub(crate) pods: Vec<ListedPod>,
    pub(crate) containers: Vec<ListedContainer>,
}

/// A pod that a domain lists.
pub(crate) struct ListedPod {
    pub(crate) key: ObjectKey,
    /// Whether it is ready, if the domain knows.
    pub(crate) ready: Option<bool>,
    /// What rules look at of it, encoded: namespace, labels and runtime handler.
    pub(crate) rules_see: Box<[u8]>,
    /// The pod, if it need not be looked up.
    pub(crate) pod: Option<Arc<dyn PodSandbox>>,
}

/// A container that a domain lists.
pub(crate) struct ListedContainer {
    pub(crate) key: ObjectKey,
    pub(crate) state: ContainerState,
    pub(crate) pod: ObjectKey,
    /// The container, if it need not be looked up.
    pub(crate) container: Option<Arc<dyn Container>>,
}

impl ListedPod {
    pub(crate) fn new(
        domain: &Arc<str>,
        outline: PodOutline,
        pod: Option<Arc<dyn PodSandbox>>,
    ) -> Self {
        let rules_see = api::PodSandbox {
            namespace: outline.namespace,
            labels: outline.labels,
            runtime_handler: outline.runtime_handler,
            ..Default::default()
        };
        Self {
            key: ObjectKey::pod(Arc::clone(domain), outline.id),
            ready: outline.ready,
            rules_see: rules_see.to_wire().into(),
            pod,
        }
    }
}

impl ListedContainer {
    pub(crate) fn new(
        domain: &Arc<str>,
        outline: ContainerOutline,
        container: Option<Arc<dyn Container>>,
    ) -> Self {
        Self {
            key: ObjectKey::container(Arc::clone(domain), outline.id),
            state: outline.state,
            pod: ObjectKey::pod(Arc::clone(domain), outline.pod_sandbox_id),
            container,
        }
    }
}
