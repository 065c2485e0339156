//! What the runtime above has, as it told: pods and containers, filled by a synchronisation and kept
//! by every event.
//!
//! Memory is bounded by what the runtime says exists, and by a limit beside it, for one that forgets
//! to tell of removals.
//!
//! What may not enter: plugins, and where the runtime is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nri_adaptation::api::{Container, ContainerState, PodSandbox};
use nri_adaptation::model::PodSnapshot;

/// The most pods and the most containers that are kept. A node has a few hundred.
const MOST: usize = 16_384;

/// What a synchronisation no longer has: its end is to be told.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Gone {
    pub(crate) pods: Vec<Arc<PodSnapshot>>,
    /// Each with its pod.
    pub(crate) containers: Vec<(PodSandbox, Arc<Container>)>,
}

/// What the runtime has.
#[derive(Debug, Default)]
pub(crate) struct Mirror(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    pods: BTreeMap<String, Arc<PodSnapshot>>,
    containers: BTreeMap<String, Arc<Container>>,
}

impl Mirror {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in all that the runtime has. What it has no more is returned.
    pub(crate) fn replace(&self, pods: Vec<PodSandbox>, containers: Vec<Container>) -> Gone {
        let mut kept = self.lock();
        let mut now = Kept::default();
        for pod in pods.into_iter().take(MOST) {
            now.pods
                .insert(pod.id.clone(), Arc::new(PodSnapshot::new(pod)));
        }
        for container in containers.into_iter().take(MOST) {
            now.containers
                .insert(container.id.clone(), Arc::new(container));
        }
        let before = std::mem::replace(&mut *kept, now);
        let mut gone = Gone::default();
        for (id, container) in &before.containers {
            if !kept.containers.contains_key(id) {
                let pod = before.pod_of(container).or_else(|| kept.pod_of(container));
                gone.containers.push((
                    pod.unwrap_or_else(|| nameless(container)),
                    Arc::clone(container),
                ));
            }
        }
        for (id, pod) in before.pods {
            if !kept.pods.contains_key(&id) {
                gone.pods.push(pod);
            }
        }
        gone
    }

    /// A pod is there, or has changed.
    pub(crate) fn put_pod(&self, pod: PodSandbox, ready: bool) {
        let mut kept = self.lock();
        let pods = &mut kept.pods;
        if pods.len() >= MOST && !pods.contains_key(&pod.id) {
            let victim = pods.iter().find(|(_, pod)| pod.ready == Some(false));
            let victim = victim.or_else(|| pods.first_key_value());
            if let Some(id) = victim.map(|(id, _)| id.clone()) {
                pods.remove(&id);
            }
        }
        let id = pod.id.clone();
        pods.insert(id, Arc::new(PodSnapshot::new(pod).with_ready(ready)));
    }

    /// A pod changed, and is as ready as it was.
    pub(crate) fn update_pod(&self, pod: PodSandbox) {
        let ready = self
            .lock()
            .pods
            .get(&pod.id)
            .map(|pod| pod.ready != Some(false));
        self.put_pod(pod, ready.unwrap_or(true));
    }

    /// A pod is gone. The containers that it still has, whose removal was never told.
    pub(crate) fn remove_pod(&self, id: &str) -> Vec<Arc<Container>> {
        let mut kept = self.lock();
        kept.pods.remove(id);
        let left = kept.containers.values();
        let left: BTreeSet<String> = left
            .filter(|container| container.pod_sandbox_id == id)
            .map(|container| container.id.clone())
            .collect();
        let left = left.iter().filter_map(|id| kept.containers.remove(id));
        left.collect()
    }

    /// A container is there, or has changed.
    pub(crate) fn put_container(&self, container: Container) {
        let mut kept = self.lock();
        let containers = &mut kept.containers;
        if containers.len() >= MOST && !containers.contains_key(&container.id) {
            let victim = containers
                .iter()
                .find(|(_, kept)| kept.state() == ContainerState::ContainerStopped);
            let victim = victim.or_else(|| containers.first_key_value());
            if let Some(id) = victim.map(|(id, _)| id.clone()) {
                containers.remove(&id);
            }
        }
        let id = container.id.clone();
        containers.insert(id, Arc::new(container));
    }

    /// A container is gone.
    pub(crate) fn remove_container(&self, id: &str) {
        self.lock().containers.remove(id);
    }

    pub(crate) fn pods(&self) -> Vec<Arc<PodSnapshot>> {
        self.lock().pods.values().cloned().collect()
    }

    pub(crate) fn containers(&self) -> Vec<Arc<Container>> {
        self.lock().containers.values().cloned().collect()
    }

    pub(crate) fn pod(&self, id: &str) -> Option<Arc<PodSnapshot>> {
        self.lock().pods.get(id).cloned()
    }

    pub(crate) fn container(&self, id: &str) -> Option<Arc<Container>> {
        self.lock().containers.get(id).cloned()
    }

    /// How many pods and containers there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let kept = self.lock();
        (kept.pods.len(), kept.containers.len())
    }
}

impl Kept {
    fn pod_of(&self, container: &Container) -> Option<PodSandbox> {
        let pod = self.pods.get(&container.pod_sandbox_id);
        pod.map(|pod| pod.message.clone())
    }
}

/// The pod of a container, as far as that says.
fn nameless(container: &Container) -> PodSandbox {
    PodSandbox {
        id: container.pod_sandbox_id.clone(),
        ..PodSandbox::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(id: &str) -> PodSandbox {
        PodSandbox {
            id: id.into(),
            ..PodSandbox::default()
        }
    }

    fn container(id: &str, pod: &str) -> Container {
        Container {
            id: id.into(),
            pod_sandbox_id: pod.into(),
            ..Container::default()
        }
    }

    #[test]
    fn what_a_synchronisation_no_longer_has_is_gone_with_its_pod() {
        let mirror = Mirror::default();
        let first = mirror.replace(
            vec![pod("p1"), pod("p2")],
            vec![container("c1", "p1"), container("c2", "p2")],
        );
        assert_eq!(first, Gone::default());
        mirror.put_container(container("c3", "p2"));
        let gone = mirror.replace(vec![pod("p2")], vec![container("c2", "p2")]);
        let pods: Vec<_> = gone.pods.iter().map(|pod| &*pod.message.id).collect();
        let containers = gone.containers.iter();
        let containers: Vec<_> = containers.map(|(p, c)| (&*p.id, &*c.id)).collect();
        assert_eq!(
            (pods, containers),
            (vec!["p1"], vec![("p1", "c1"), ("p2", "c3")])
        );
        assert_eq!(mirror.counts(), (1, 1));
    }

    #[test]
    fn a_removed_pod_takes_its_containers_along() {
        let mirror = Mirror::default();
        mirror.put_pod(pod("p1"), true);
        mirror.put_container(container("c1", "p1"));
        mirror.put_container(container("c2", "p2"));
        let left = mirror.remove_pod("p1");
        assert_eq!(left.iter().map(|c| &*c.id).collect::<Vec<_>>(), ["c1"]);
        assert_eq!(mirror.counts(), (0, 1));
    }

    #[test]
    fn a_pod_stays_as_ready_as_it_was() {
        let mirror = Mirror::default();
        mirror.put_pod(pod("p1"), false);
        mirror.update_pod(pod("p1"));
        assert_eq!(mirror.pod("p1").unwrap().ready, Some(false));
        mirror.update_pod(pod("p2"));
        assert_eq!(mirror.pod("p2").unwrap().ready, Some(true));
    }

    #[test]
    fn a_runtime_that_tells_of_no_removal_costs_no_more_than_the_limit() {
        let mirror = Mirror::default();
        let mut stopped = container("zz", "p");
        stopped.set_state(ContainerState::ContainerStopped);
        mirror.put_container(stopped);
        for n in 0..MOST + 3 {
            mirror.put_container(container(&format!("c{n:06}"), "p"));
            mirror.put_pod(pod(&format!("p{n:06}")), true);
        }
        assert_eq!(mirror.counts(), (MOST, MOST));
        assert!(
            mirror.container("zz").is_none(),
            "what is stopped goes first"
        );
    }
}
