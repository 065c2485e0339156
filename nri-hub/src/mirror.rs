//! What the runtime above has, as it told: pods and containers, filled by a synchronisation and
//! kept by every event.
//!
//! Memory is bounded by what the runtime says exists, and by a limit beside it, for one that
//! forgets to tell of removals.
//!
//! What may not enter: plugins, and where the runtime is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nri_adaptation::api::{Container, ContainerState, PodSandbox};
use nri_adaptation::model::PodSnapshot;

/// The most pods and the most containers that are kept. A node has a few hundred.
const MOST: usize = 16_384;

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

    /// Takes in all that the runtime has, in place of what it had.
    pub(crate) fn replace(&self, pods: &[PodSandbox], containers: &[Container]) {
        let pods = pods.iter().take(MOST).map(|pod| {
            let snapshot = PodSnapshot::new(pod.clone());
            (pod.id.clone(), Arc::new(snapshot))
        });
        let containers = containers.iter().take(MOST);
        let containers =
            containers.map(|container| (container.id.clone(), Arc::new(container.clone())));
        let now = Kept {
            pods: pods.collect(),
            containers: containers.collect(),
        };
        *self.lock() = now;
    }

    /// Takes in what another hub knew.
    pub(crate) fn restore(&self, pods: &[PodSnapshot], containers: &[Container]) {
        self.replace(&[], containers);
        for pod in pods {
            self.put_pod(pod.message.clone(), pod.ready != Some(false));
        }
    }

    /// A pod is there, or has changed.
    pub(crate) fn put_pod(&self, pod: PodSandbox, ready: bool) {
        let pods = &mut self.lock().pods;
        make_room(pods, &pod.id, |pod| pod.ready == Some(false));
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
        let containers = &mut self.lock().containers;
        make_room(containers, &container.id, |container| {
            container.state() == ContainerState::ContainerStopped
        });
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

/// Makes room for one more if there is none: what is over goes first.
fn make_room<T>(kept: &mut BTreeMap<String, T>, id: &str, is_over: impl Fn(&T) -> bool) {
    if kept.len() < MOST || kept.contains_key(id) {
        return;
    }
    let victim = kept.iter().find(|(_, object)| is_over(object));
    let victim = victim.or_else(|| kept.first_key_value());
    if let Some(id) = victim.map(|(id, _)| id.clone()) {
        kept.remove(&id);
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
    fn a_synchronisation_replaces_all() {
        let mirror = Mirror::default();
        mirror.put_pod(pod("p1"), true);
        mirror.put_container(container("c1", "p1"));
        mirror.replace(
            &[pod("p2")],
            &[container("c2", "p2"), container("c3", "p2")],
        );
        assert_eq!(mirror.counts(), (1, 2));
        assert!(mirror.pod("p1").is_none() && mirror.container("c2").is_some());
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
