//! What exists, as a plugin is shown it: the runtime's own objects, of which messages are made one
//! at a time.
//!
//! What may not enter: which objects a plugin is shown, and how they are sent.

use std::sync::Arc;

use nri_core::api::{self, ContainerState};
use nri_core::model::{Container, PodSandbox};

/// What exists.
#[derive(Default)]
pub(crate) struct Inventory {
    pub(crate) pods: Vec<Arc<dyn PodSandbox>>,
    /// With the state in which each is shown.
    pub(crate) containers: Vec<(Arc<dyn Container>, ContainerState)>,
}

impl Inventory {
    /// The messages, made as they are asked for.
    pub(crate) fn into_messages(
        self,
    ) -> (
        impl Iterator<Item = api::PodSandbox> + Send + 'static,
        impl Iterator<Item = api::Container> + Send + 'static,
    ) {
        let pods = self.pods.into_iter().map(|pod| pod_message(&*pod));
        let containers = self.containers.into_iter().map(|(container, state)| {
            let mut message = container_message(&*container);
            message.set_state(state);
            message
        });
        (pods, containers)
    }
}

/// A pod as plugins see it. It always has a Linux part, if only an empty one: so it is with
/// runtimes in Go, and plugins look into it without asking.
pub(crate) fn pod_message(pod: &dyn PodSandbox) -> api::PodSandbox {
    let mut message = pod.to_message();
    message.linux.get_or_insert_default();
    message
}

/// A container as plugins see it, with a Linux part like a pod.
pub(crate) fn container_message(container: &dyn Container) -> api::Container {
    let mut message = container.to_message();
    message.linux.get_or_insert_default();
    message
}
