//! The pods that containers are shown in: who is in which, and what is due for a pod when that
//! changes.
//!
//! What may not enter: calls of NRI or of the runtime.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use nri_core::api::PodSandbox;
use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard};

use crate::lock::Lock;

/// What is due for a pod because of what happened to a container of it.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)] // short-lived
pub(super) enum Due {
    Nothing,
    /// No container of it is created or runs any more.
    Stop(PodSandbox),
    /// It has no container any more.
    Remove(PodSandbox),
}

/// A container in a pod.
#[derive(Debug, Clone, Copy)]
struct Member {
    ended: bool,
    /// Whether it was created here; otherwise only a list told of it.
    announced: bool,
}

/// A pod and its containers. There is at least one.
#[derive(Debug)]
struct Pod {
    shown: PodSandbox,
    runs: bool,
    members: BTreeMap<String, Member>,
}

/// The pods and their containers.
#[derive(Debug, Default)]
pub(super) struct Pods {
    table: Lock<Table>,
    /// Who is about to change what is in a pod.
    orders: Lock<BTreeMap<String, Arc<Mutex<()>>>>,
    /// Set when what was there before is known.
    pub(super) recovered: OnceCell<()>,
}

#[derive(Debug, Default)]
struct Table {
    pods: BTreeMap<String, Pod>,
    /// The id of each container's pod.
    containers: BTreeMap<String, String>,
}

impl Pods {
    /// Waits for whoever changes what is in a pod; nobody else does while the guard lives.
    pub(super) async fn order(&self, pod: &str) -> OwnedMutexGuard<()> {
        /// How many locks may lie about that nobody has or waits for.
        const IDLE: usize = 1024;
        let order = {
            let mut orders = self.orders.lock();
            if orders.len() >= IDLE && orders.len().is_power_of_two() {
                orders.retain(|_, order| Arc::strong_count(order) > 1);
            }
            Arc::clone(orders.entry(pod.to_owned()).or_default())
        };
        order.lock_owned().await
    }

    /// The pod of a container.
    pub(super) fn of(&self, container: &str) -> Option<PodSandbox> {
        let table = self.table.lock();
        let pod = table.containers.get(container)?;
        Some(table.pods.get(pod)?.shown.clone())
    }

    /// A pod as it is shown, and whether it runs.
    pub(super) fn get(&self, pod: &str) -> Option<(PodSandbox, bool)> {
        let table = self.table.lock();
        let pod = table.pods.get(pod)?;
        Some((pod.shown.clone(), pod.runs))
    }

    /// The containers of a pod.
    pub(super) fn members(&self, pod: &str) -> Vec<String> {
        let table = self.table.lock();
        let pod = table.pods.get(pod);
        pod.map_or_else(Vec::new, |pod| pod.members.keys().cloned().collect())
    }

    /// Takes in a container that a list tells of.
    pub(super) fn recover(&self, container: &str, pod: PodSandbox, ended: bool) {
        let mut table = self.table.lock();
        if !table.containers.contains_key(container) {
            let member = Member {
                ended,
                announced: false,
            };
            table.enter(container, pod, member).runs |= !ended;
        }
    }

    /// A container is to be created in a pod; whether the pod is to run first. `None` if it was
    /// created already.
    pub(super) fn create(&self, container: &str, pod: PodSandbox) -> Option<bool> {
        let mut table = self.table.lock();
        if table.member(container).is_some_and(|it| it.announced) {
            return None;
        }
        // The runtime may have listed it before, which begins no pod.
        let _ = table.leave(container);
        Some(table.begin(container, pod))
    }

    /// A container is to be started; whether its pod is to run first.
    pub(super) fn start(&self, container: &str, pod: PodSandbox) -> bool {
        self.table.lock().begin(container, pod)
    }

    /// A container has ended.
    pub(super) fn end(&self, container: &str) -> Due {
        let mut table = self.table.lock();
        let Some(member) = table.member(container) else {
            return Due::Nothing;
        };
        member.ended = true;
        let pod = table.containers.get(container).cloned();
        pod.map_or(Due::Nothing, |pod| table.stop_if_over(&pod))
    }

    /// A container is no more, or never came to be.
    pub(super) fn leave(&self, container: &str) -> Due {
        self.table.lock().leave(container)
    }
}

impl Table {
    fn member(&mut self, container: &str) -> Option<&mut Member> {
        let pod = self.containers.get(container)?;
        self.pods.get_mut(pod)?.members.get_mut(container)
    }

    fn enter(&mut self, container: &str, pod: PodSandbox, member: Member) -> &mut Pod {
        self.containers.insert(container.to_owned(), pod.id.clone());
        let id = pod.id.clone();
        let pod = self.pods.entry(id).or_insert_with(|| Pod {
            shown: pod,
            runs: false,
            members: BTreeMap::new(),
        });
        pod.members.insert(container.to_owned(), member);
        pod
    }

    /// A container is created or started; whether its pod begins to run with that.
    fn begin(&mut self, container: &str, shown: PodSandbox) -> bool {
        let member = Member {
            ended: false,
            announced: true,
        };
        let pod = self.enter(container, shown.clone(), member);
        let begins = !pod.runs;
        if begins {
            pod.runs = true;
            pod.shown = shown;
        }
        begins
    }

    fn stop_if_over(&mut self, pod: &str) -> Due {
        match self.pods.get_mut(pod) {
            Some(pod) if pod.runs && pod.members.values().all(|member| member.ended) => {
                pod.runs = false;
                Due::Stop(pod.shown.clone())
            }
            _ => Due::Nothing,
        }
    }

    fn leave(&mut self, container: &str) -> Due {
        let Some(id) = self.containers.remove(container) else {
            return Due::Nothing;
        };
        let Entry::Occupied(mut pod) = self.pods.entry(id.clone()) else {
            return Due::Nothing;
        };
        pod.get_mut().members.remove(container);
        if pod.get().members.is_empty() {
            return Due::Remove(pod.remove().shown);
        }
        self.stop_if_over(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(id: &str) -> PodSandbox {
        PodSandbox {
            id: id.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_pod_runs_while_a_container_of_it_does_and_goes_with_the_last_one() {
        let pods = Pods::default();
        assert_eq!(pods.create("a", pod("a")), Some(true));
        assert_eq!(pods.create("b", pod("a")), Some(false));
        assert_eq!(pods.create("b", pod("a")), None, "it is there");
        assert_eq!(pods.end("a"), Due::Nothing);
        assert_eq!(pods.end("b"), Due::Stop(pod("a")));
        assert_eq!(pods.end("b"), Due::Nothing);
        assert!(pods.start("b", pod("a")), "the pod is to run again");
        assert_eq!(pods.leave("a"), Due::Nothing);
        assert_eq!(pods.of("b"), Some(pod("a")));
        assert_eq!(pods.leave("b"), Due::Remove(pod("a")));
        assert_eq!(pods.leave("b"), Due::Nothing);
        assert_eq!(pods.get("a"), None);
    }

    #[test]
    fn what_a_list_told_of_is_known_and_may_be_created_all_the_same() {
        let pods = Pods::default();
        pods.recover("old", pod("old"), true);
        pods.recover("new", pod("new"), false);
        assert_eq!(pods.get("old"), Some((pod("old"), false)));
        assert_eq!(pods.create("new", pod("new")), Some(true));
        pods.recover("new", pod("other"), true);
        assert_eq!(pods.of("new"), Some(pod("new")), "a list changes nothing");
        assert_eq!(pods.leave("old"), Due::Remove(pod("old")));
    }

    #[test]
    fn the_removal_of_the_last_container_that_runs_stops_the_pod_of_those_that_ended() {
        let pods = Pods::default();
        for id in ["a", "b"] {
            let _ = pods.create(id, pod("a"));
        }
        assert_eq!(pods.end("a"), Due::Nothing);
        assert_eq!(pods.leave("b"), Due::Stop(pod("a")));
    }
}
