//! After a gap in what a runtime above has told: what is gone is announced, and who may have missed
//! something is synchronised again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nri_core::api::ContainerState;
use nri_core::model::{Container, PodSandbox};
use nri_core::{Ctx, Error, RegisteredPlugin, api};

use crate::engine::domains::Whole;
use crate::engine::driver::Engine;
use crate::engine::side_effects::CarriedOut;
use crate::engine::target::RequestTarget;
use crate::plugin::inventory::{container_message, pod_message};

/// What came of a [reconciliation](crate::Nri::reconcile).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconciled {
    /// Full ids of the containers that were gone: plugins have heard of their end.
    pub gone_containers: Vec<String>,
    /// The same of pods.
    pub gone_pods: Vec<String>,
    /// The plugins that are synchronised again, since something is new or other than before.
    pub resynchronized: Vec<RegisteredPlugin>,
}

/// A pod with those of its containers that are gone, and whether it is gone itself.
struct Parting {
    pod: api::PodSandbox,
    containers: Vec<api::Container>,
    is_gone: bool,
}

/// What the domain had, by id.
struct Had {
    pods: BTreeMap<String, Arc<dyn PodSandbox>>,
    containers: BTreeMap<String, Arc<dyn Container>>,
}

impl Had {
    fn new((pods, containers): Whole) -> Self {
        Self {
            pods: pods.into_iter().map(|pod| (pod.id(), pod)).collect(),
            containers: containers.into_iter().map(|it| (it.id(), it)).collect(),
        }
    }
}

impl Engine {
    /// See [`Nri::reconcile`](crate::Nri::reconcile).
    pub(crate) async fn reconcile(
        self: &Arc<Self>,
        cx: &Ctx,
        pods: &[api::PodSandbox],
        containers: &[api::Container],
        put: impl FnOnce() + Send,
    ) -> Result<Reconciled, Error> {
        let domains = self.domains.all();
        let domain = match &domains[..] {
            [only] => only,
            _ => {
                let count = domains.len();
                let reason = format!("only what one domain has can be reconciled, not {count}");
                return Err(Error::Invalid(reason));
            }
        };
        let whole =
            self.domains.whole(&**domain).await.map_err(|error| {
                Error::Invalid(format!("it cannot be said what is gone: {error}"))
            })?;
        let listed = Had::new(whole);
        let partings = partings(&listed, pods, containers);
        let mut reconciled = Reconciled::default();
        let mut announced = Vec::new();
        for parting in partings {
            let ids = parting
                .containers
                .iter()
                .map(|container| container.id.clone());
            reconciled.gone_containers.extend(ids);
            if parting.is_gone {
                reconciled.gone_pods.push(parting.pod.id.clone());
            }
            // Those of one pod one after the other; pods do not wait for each other.
            let (engine, cx) = (Arc::clone(self), cx.clone());
            let announcing = async move { engine.announce(&cx, parting).await };
            announced.extend(self.shared.tasks.spawn(announcing));
        }
        for announced in announced {
            // One that panicked has said so.
            let _ = announced.await;
        }
        let ended = ended(&listed, containers);
        let differs = differs(&listed, pods, containers);
        drop(listed);
        put();
        let by_id: BTreeMap<&str, &api::PodSandbox> =
            pods.iter().map(|pod| (pod.id.as_str(), pod)).collect();
        for container in ended {
            let pod = by_id.get(container.pod_sandbox_id.as_str());
            let pod = pod.map_or_else(|| nothing_but(container), |pod| pod_message(*pod));
            let message = container_message(container);
            let stopped = Some((&message, ContainerState::ContainerStopped));
            let target = RequestTarget::of_messages(&self.domains, (String::new(), &pod), stopped)?;
            self.notify_exit(target)?;
        }
        if differs {
            reconciled.resynchronized =
                self.update(|state, now| state.scheduler.handle_missed(now));
        }
        Ok(reconciled)
    }

    /// Tells of the end of a pod's containers, and of its own.
    async fn announce(self: &Arc<Self>, cx: &Ctx, parting: Parting) {
        let Parting {
            pod,
            containers,
            is_gone,
        } = parting;
        let target = |container: Option<&api::Container>| {
            let container = container.map(|container| (container, container.state()));
            RequestTarget::of_messages(&self.domains, (String::new(), &pod), container)
        };
        for container in containers {
            let removed = match target(Some(&container)) {
                Ok(target) => {
                    self.remove_container(cx, target, CarriedOut::ByCaller)
                        .await
                }
                Err(error) => Err(error),
            };
            log(removed);
        }
        if is_gone {
            log(match target(None) {
                Ok(target) => self.remove_pod(cx, target, CarriedOut::ByCaller).await,
                Err(error) => Err(error),
            });
        }
    }
}

fn log(removed: Result<(), Error>) {
    if let Err(error) = removed {
        tracing::warn!(%error, "the end of what is gone went wrong");
    }
}

/// What is known of a container's pod that nobody knows.
fn nothing_but(container: &api::Container) -> api::PodSandbox {
    pod_message(&api::PodSandbox {
        id: container.pod_sandbox_id.clone(),
        ..Default::default()
    })
}

fn ids<'a>(ids: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
    ids.map(String::as_str).collect()
}

/// What it had and is not there any more, by pod.
fn partings(had: &Had, pods: &[api::PodSandbox], containers: &[api::Container]) -> Vec<Parting> {
    let there = ids(pods.iter().map(|pod| &pod.id));
    let mut partings: BTreeMap<String, Parting> = BTreeMap::new();
    for (id, pod) in &had.pods {
        let parting = Parting {
            pod: pod_message(&**pod),
            containers: Vec::new(),
            is_gone: !there.contains(id.as_str()),
        };
        partings.insert(id.clone(), parting);
    }
    let there = ids(containers.iter().map(|container| &container.id));
    for (id, container) in &had.containers {
        if there.contains(id.as_str()) {
            continue;
        }
        let message = container_message(&**container);
        let pod = message.pod_sandbox_id.clone();
        let parting = partings.entry(pod).or_insert_with(|| Parting {
            pod: nothing_but(&message),
            containers: Vec::new(),
            is_gone: false,
        });
        parting.containers.push(message);
    }
    let partings = partings.into_values();
    partings
        .filter(|parting| parting.is_gone || !parting.containers.is_empty())
        .collect()
}

/// The containers that have ended since and are still there.
fn ended<'a>(had: &Had, containers: &'a [api::Container]) -> Vec<&'a api::Container> {
    let lived = |id: &str| {
        let container = had.containers.get(id);
        container.is_some_and(|it| it.status().state != ContainerState::ContainerStopped)
    };
    let stopped = containers.iter().filter(|container| {
        container.state() == ContainerState::ContainerStopped && lived(&container.id)
    });
    stopped.collect()
}

/// Whether anything is there that it did not have, or had in another way.
fn differs(had: &Had, pods: &[api::PodSandbox], containers: &[api::Container]) -> bool {
    let same_pod = |pod: &api::PodSandbox| {
        let known = had.pods.get(&pod.id);
        known.is_some_and(|known| pod_message(&**known) == pod_message(pod))
    };
    let same = |container: &api::Container| {
        let known = had.containers.get(&container.id);
        known.is_some_and(|known| container_message(&**known) == container_message(container))
    };
    !pods.iter().all(same_pod) || !containers.iter().all(same)
}
