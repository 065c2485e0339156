//! Which pods containers are in, as far as requests and lists have told. A plugin asks for updates
//! and evictions by a container's id alone, and rules have conditions on its pod.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nri_proto::{Wire as _, api};

use crate::lifecycle::{Lifecycles, ObjectKey};
use crate::model::State;

/// How many containers are known at least before those that live no more are looked for.
const FEW: usize = 1024;

/// The pods of containers that live: namespace, labels and runtime handler. A clone knows the same.
#[derive(Debug, Clone, Default)]
pub struct KnownPods(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    pods: BTreeMap<ObjectKey, KnownPod>,
    /// By id: the container's key, and its pod's.
    containers: BTreeMap<String, (ObjectKey, ObjectKey)>,
}

/// A pod, decoded when a rule first looks at it.
#[derive(Debug)]
struct KnownPod {
    pod: OnceLock<Arc<api::PodSandbox>>,
    encoded: Box<[u8]>,
}

impl KnownPod {
    fn pod(&self) -> &Arc<api::PodSandbox> {
        self.pod.get_or_init(|| {
            let pod = api::PodSandbox::from_wire(&self.encoded).unwrap_or_default();
            Arc::new(trimmed(&pod))
        })
    }
}

/// What rules look at of a pod.
pub(crate) fn trimmed(pod: &api::PodSandbox) -> api::PodSandbox {
    api::PodSandbox {
        namespace: pod.namespace.clone(),
        labels: pod.labels.clone(),
        runtime_handler: pod.runtime_handler.clone(),
        ..Default::default()
    }
}

impl Known {
    fn note_container(&mut self, container: &ObjectKey, of: &ObjectKey) {
        let known = self.containers.get(container.id());
        if known.is_none_or(|known| (&known.0, &known.1) != (container, of)) {
            let entry = (container.clone(), of.clone());
            self.containers.insert(container.id().to_owned(), entry);
        }
    }
}

impl KnownPods {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // No foreign code runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a container is in the pod `of`, and what is known of that. What was noted of
    /// either before counts no more.
    pub fn note(&self, container: &ObjectKey, of: &ObjectKey, pod: &api::PodSandbox) {
        self.note_encoded(container, of, &trimmed(pod).to_wire());
    }

    /// The same with the pod on the wire, as far as it is to be known: it is decoded when a rule
    /// first looks at it. Of bytes that are none nothing is known.
    pub fn note_encoded(&self, container: &ObjectKey, of: &ObjectKey, encoded: &[u8]) {
        let mut known = self.lock();
        let before = known.pods.get(of);
        if before.is_none_or(|before| *before.encoded != *encoded) {
            let pod = KnownPod {
                pod: OnceLock::new(),
                encoded: encoded.into(),
            };
            known.pods.insert(of.clone(), pod);
        }
        known.note_container(container, of);
    }

    /// The pod of the container with this id, if it is known.
    pub fn pod_of(&self, container: &str) -> Option<Arc<api::PodSandbox>> {
        let known = self.lock();
        let (_, pod) = known.containers.get(container)?;
        known.pods.get(pod).map(|known| Arc::clone(known.pod()))
    }

    /// Forgets containers that live no more, once they may be the greater part.
    pub fn prune(&self, lives: &Lifecycles) {
        let mut known = self.lock();
        if known.containers.len() < 2 * lives.len() + FEW {
            return;
        }
        let Known { pods, containers } = &mut *known;
        containers.retain(|_, (key, _)| lives.state(key) != State::Removed);
        let mut used: BTreeMap<ObjectKey, KnownPod> = BTreeMap::new();
        for (_, pod) in containers.values() {
            if let Some((key, pod)) = pods.remove_entry(pod) {
                used.insert(key, pod);
            }
        }
        *pods = used;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    fn pod(namespace: &str) -> api::PodSandbox {
        api::PodSandbox {
            namespace: namespace.into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_was_told_last_counts() {
        let known = KnownPods::default();
        assert_eq!(known.pod_of("c"), None);
        let container = ObjectKey::container("d", "c");
        let (p, q) = (ObjectKey::pod("d", "p"), ObjectKey::pod("d", "q"));
        known.note(&container, &p, &pod("a"));
        known.note(&container, &p, &pod("b"));
        assert_eq!(known.pod_of("c").unwrap().namespace, "b");
        known.clone().note(&container, &q, &pod("c"));
        assert_eq!(known.pod_of("c").unwrap().namespace, "c");
    }

    #[test]
    fn memory_is_bounded_by_what_lives() {
        let known = KnownPods::default();
        let mut lives = Lifecycles::new();
        let living = ObjectKey::container("", "living");
        assert!(lives.begin(&living, Event::StartContainer).is_ok());
        known.note(&living, &ObjectKey::pod("", "kept"), &pod("a"));
        for n in 0..3 * FEW {
            let key = ObjectKey::container("", format!("c{n}"));
            known.note(&key, &ObjectKey::pod("", format!("p{n}")), &pod("a"));
            known.prune(&lives);
            let known = known.lock();
            assert!(known.containers.len() <= 2 + FEW && known.pods.len() <= 2 + FEW);
        }
        assert!(known.pod_of("living").is_some());
    }
}
