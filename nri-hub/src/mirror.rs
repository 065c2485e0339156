//! What the runtime above has, as it told: pods and containers, filled by a synchronisation and
//! kept by every event.
//!
//! A container is kept in the bytes in which the runtime told of it, with what plugins asked for
//! beside it: it is made of both when somebody looks, so that no request waits for that.
//!
//! Memory is bounded by what the runtime says exists, and by a limit beside it, for one that
//! forgets to tell of removals.
//!
//! What may not enter: plugins, and where the runtime is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nri_adaptation::api::{Container, ContainerAdjustment, ContainerState, PodSandbox};
use nri_adaptation::model::PodSnapshot;
use nri_adaptation::{Event, ReceivedRequest, merge};

/// The most pods and the most containers that are kept. A node has a few hundred.
const MOST: usize = 16_384;

/// What the runtime has.
#[derive(Debug, Default)]
pub(crate) struct Mirror(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    pods: BTreeMap<String, Arc<PodSnapshot>>,
    containers: BTreeMap<String, Arc<Told>>,
}

/// A container as the runtime told of it.
#[derive(Debug)]
pub(crate) struct Told {
    /// Whether it has stopped, as far as that was told.
    has_stopped: bool,
    telling: Mutex<Telling>,
}

#[derive(Debug)]
enum Telling {
    /// In a request, and what plugins asked for then.
    Of(ReceivedRequest, Option<Box<ContainerAdjustment>>),
    As(Arc<Container>),
}

impl Told {
    /// A container of which a request told, as plugins want it.
    pub(crate) fn of(request: ReceivedRequest, asked: Option<&ContainerAdjustment>) -> Self {
        Self {
            has_stopped: request.event() == Event::StopContainer,
            telling: Mutex::new(Telling::Of(request, asked.cloned().map(Box::new))),
        }
    }

    /// A container as it is.
    pub(crate) fn whole(container: Container) -> Self {
        Self {
            has_stopped: container.state() == ContainerState::ContainerStopped,
            telling: Mutex::new(Telling::As(Arc::new(container))),
        }
    }

    /// The container. Of bytes that are none there is as much as can be read.
    pub(crate) fn container(&self) -> Arc<Container> {
        let mut telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let container = match &*telling {
            Telling::As(container) => return Arc::clone(container),
            Telling::Of(request, asked) => {
                let view = request.container();
                let mut container = view.decode().unwrap_or_else(|error| {
                    let id = view.id();
                    tracing::warn!(%error, id, "the runtime tells of a container that cannot be read");
                    Container {
                        id: id.to_owned(),
                        pod_sandbox_id: view.pod_sandbox_id().to_owned(),
                        name: view.name().to_owned(),
                        ..Container::default()
                    }
                });
                if self.has_stopped {
                    container.set_state(ContainerState::ContainerStopped);
                }
                match asked {
                    Some(asked) => merge::apply(&container, asked),
                    None => container,
                }
            }
        };
        let container = Arc::new(container);
        *telling = Telling::As(Arc::clone(&container));
        container
    }

    /// Whether it is in this pod.
    fn is_of_pod(&self, pod: &str) -> bool {
        let telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        match &*telling {
            Telling::Of(request, _) => request.container().pod_sandbox_id() == pod,
            Telling::As(container) => container.pod_sandbox_id == pod,
        }
    }
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
        let containers = containers.map(|container| {
            let told = Told::whole(container.clone());
            (container.id.clone(), Arc::new(told))
        });
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
        let left = kept.containers.iter();
        let left: BTreeSet<String> = left
            .filter(|(_, told)| told.is_of_pod(id))
            .map(|(container, _)| container.clone())
            .collect();
        let left = left.iter().filter_map(|id| kept.containers.remove(id));
        left.map(|told| told.container()).collect()
    }

    /// A container is there, or has changed.
    pub(crate) fn put_container(&self, id: &str, told: Told) {
        let containers = &mut self.lock().containers;
        make_room(containers, id, |told| told.has_stopped);
        containers.insert(id.to_owned(), Arc::new(told));
    }

    /// A container is gone.
    pub(crate) fn remove_container(&self, id: &str) {
        self.lock().containers.remove(id);
    }

    pub(crate) fn pods(&self) -> Vec<Arc<PodSnapshot>> {
        self.lock().pods.values().cloned().collect()
    }

    pub(crate) fn containers(&self) -> Vec<Arc<Told>> {
        self.lock().containers.values().cloned().collect()
    }

    pub(crate) fn pod(&self, id: &str) -> Option<Arc<PodSnapshot>> {
        self.lock().pods.get(id).cloned()
    }

    pub(crate) fn container(&self, id: &str) -> Option<Arc<Container>> {
        let told = self.lock().containers.get(id).cloned();
        told.map(|told| told.container())
    }

    pub(crate) fn has_container(&self, id: &str) -> bool {
        self.lock().containers.contains_key(id)
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
    use nri_adaptation::api::{CreateContainerRequest, KeyValue};
    use nri_proto::Wire as _;

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

    fn put(mirror: &Mirror, container: Container) {
        let id = container.id.clone();
        mirror.put_container(&id, Told::whole(container));
    }

    fn request(event: Event, container: &Container) -> ReceivedRequest {
        let message = CreateContainerRequest {
            pod: Some(pod(&container.pod_sandbox_id)),
            container: Some(container.clone()),
        };
        // Those that say no more have the same bytes.
        ReceivedRequest::new(event, message.to_wire().into()).unwrap()
    }

    /// Law: what was told in bytes is what the runtime told, with what plugins asked for then.
    #[test]
    fn a_container_is_what_was_told_as_plugins_want_it() {
        let told = Container {
            env: vec!["A=1".into()],
            ..container("c1", "p1")
        };
        let asked = ContainerAdjustment {
            env: vec![KeyValue {
                key: "B".into(),
                value: "2".into(),
            }],
            ..ContainerAdjustment::default()
        };
        let mirror = Mirror::default();
        let creation = request(Event::CreateContainer, &told);
        mirror.put_container("c1", Told::of(creation, Some(&asked)));
        let kept = mirror.container("c1").unwrap();
        assert_eq!(*kept, merge::apply(&told, &asked));
        assert!(
            Arc::ptr_eq(&kept, &mirror.container("c1").unwrap()),
            "it is made once"
        );
        assert!(mirror.has_container("c1") && !mirror.has_container("c2"));
        // Later on the runtime tells what it made of it, and in the end that it is over.
        mirror.put_container("c1", Told::of(request(Event::StopContainer, &told), None));
        let kept = mirror.container("c1").unwrap();
        assert_eq!(kept.state(), ContainerState::ContainerStopped);
        assert_eq!(kept.env, told.env);
        assert_eq!(mirror.remove_pod("p1").len(), 1);
    }

    #[test]
    fn of_a_container_that_cannot_be_read_there_is_what_can() {
        let mut bytes = container("c1", "p1").to_wire();
        // A label that is no text.
        bytes.extend([0x2a, 3, 0x0a, 1, 0xff]);
        let mut message = vec![0x12, bytes.len() as u8];
        message.extend(bytes);
        let request = ReceivedRequest::new(Event::CreateContainer, message.into()).unwrap();
        assert!(request.decode().is_err());
        let told = Told::of(request, None).container();
        assert_eq!((&*told.id, &*told.pod_sandbox_id), ("c1", "p1"));
    }

    #[test]
    fn a_synchronisation_replaces_all() {
        let mirror = Mirror::default();
        mirror.put_pod(pod("p1"), true);
        put(&mirror, container("c1", "p1"));
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
        put(&mirror, container("c1", "p1"));
        put(&mirror, container("c2", "p2"));
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
        put(&mirror, stopped);
        for n in 0..MOST + 3 {
            put(&mirror, container(&format!("c{n:06}"), "p"));
            mirror.put_pod(pod(&format!("p{n:06}")), true);
        }
        assert_eq!(mirror.counts(), (MOST, MOST));
        assert!(
            mirror.container("zz").is_none(),
            "what is stopped goes first"
        );
    }
}
