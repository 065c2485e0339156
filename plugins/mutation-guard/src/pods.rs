//! The pods of containers that exist: updates of another container are judged by its pod. What may
//! not enter: judging.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nri_plugin::api;

type Map = BTreeMap<String, Arc<api::PodSandbox>>;

/// By the container's id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pods(Arc<Mutex<Map>>);

/// What rules look at.
fn trimmed(pod: api::PodSandbox) -> Arc<api::PodSandbox> {
    Arc::new(api::PodSandbox {
        namespace: pod.namespace,
        labels: pod.labels,
        runtime_handler: pod.runtime_handler,
        ..Default::default()
    })
}

impl Pods {
    fn lock(&self) -> MutexGuard<'_, Map> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that exist, in place of what was known.
    pub(crate) fn set(&self, pods: Vec<api::PodSandbox>, containers: Vec<api::Container>) {
        let pods: Map = pods
            .into_iter()
            .map(|pod| (pod.id.clone(), trimmed(pod)))
            .collect();
        let known = containers.into_iter().filter_map(|container| {
            let pod = pods.get(&container.pod_sandbox_id)?;
            Some((container.id, Arc::clone(pod)))
        });
        *self.lock() = known.collect();
    }

    pub(crate) fn add(&self, container: &str, pod: api::PodSandbox) {
        self.lock().insert(container.to_owned(), trimmed(pod));
    }

    pub(crate) fn remove(&self, container: &str) {
        self.lock().remove(container);
    }

    pub(crate) fn of(&self, container: &str) -> Option<Arc<api::PodSandbox>> {
        self.lock().get(container).cloned()
    }
}
