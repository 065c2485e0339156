//! What one plugin was shown and heard, checked: lives as they must be, each step once and none of
//! what it does not know.
//!
//! The form is the strict one: what was shown and what is heard fit without a gap, also in what
//! containers have.

use std::collections::BTreeMap;

use nri_core::api::{Container, ContainerState, LinuxResources};
use nri_core::{Event, Request};
use nri_testkit::ReceivedCall;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Created,
    Running,
    /// It was shown as stopped, so that its stop is still to come.
    ShownStopped,
    Stopped,
}

#[derive(Debug)]
struct Known {
    pod: String,
    stage: Stage,
    /// CPU shares, by which one state is told from the next.
    shares: u64,
}

/// What a plugin knows by what it was shown and heard.
#[derive(Debug, Default)]
pub(crate) struct Knowledge {
    /// Pods, and whether their stop was heard.
    pods: BTreeMap<String, bool>,
    containers: BTreeMap<String, Known>,
}

fn shares(resources: Option<&LinuxResources>) -> u64 {
    resources
        .and_then(|resources| resources.cpu.as_ref()?.shares)
        .map_or(0, |shares| shares.value)
}

fn shares_of(container: &Container) -> u64 {
    let linux = container.linux.as_ref();
    shares(linux.and_then(|linux| linux.resources.as_ref()))
}

impl Knowledge {
    /// Goes through a record.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub(crate) fn of(record: &[ReceivedCall]) -> Result<Self, String> {
        let mut knowledge = Self::default();
        for (number, seen) in record.iter().enumerate() {
            knowledge
                .take(seen)
                .map_err(|wrong| format!("{number}: {seen}: {wrong}"))?;
        }
        Ok(knowledge)
    }

    /// The pods and the containers that have not ended.
    pub(crate) fn living(&self) -> (Vec<String>, Vec<String>) {
        let containers = self.containers.iter();
        let living =
            containers.filter(|(_, known)| matches!(known.stage, Stage::Created | Stage::Running));
        (
            self.pods.keys().cloned().collect(),
            living.map(|(id, _)| id.clone()).collect(),
        )
    }

    fn take(&mut self, seen: &ReceivedCall) -> Result<(), String> {
        if let Some(shown) = seen.synchronization() {
            if !self.pods.is_empty() || !self.containers.is_empty() {
                return Err("it is synchronised in the middle of its life".to_owned());
            }
            for pod in shown.pods {
                if self.pods.insert(pod.id.clone(), false).is_some() {
                    return Err(format!("pod {} is shown twice", pod.id));
                }
            }
            for container in shown.containers {
                let known = Known {
                    pod: container.pod_sandbox_id.clone(),
                    shares: shares_of(&container),
                    stage: match container.state() {
                        ContainerState::ContainerCreated => Stage::Created,
                        ContainerState::ContainerStopped => Stage::ShownStopped,
                        _ => Stage::Running,
                    },
                };
                if !self.pods.contains_key(&known.pod) {
                    return Err(format!("{} is shown without its pod", container.id));
                }
                if self
                    .containers
                    .insert(container.id.clone(), known)
                    .is_some()
                {
                    return Err(format!("container {} is shown twice", container.id));
                }
            }
            return Ok(());
        }
        match seen.request() {
            Some(request) => self.hear(&request),
            None => Ok(()),
        }
    }

    fn hear(&mut self, request: &Request) -> Result<(), String> {
        let pod = request.pod().map(|pod| pod.id.clone()).unwrap_or_default();
        let Some(container) = request.container() else {
            return self.hear_of_pod(request.event(), &pod);
        };
        let id = &container.id;
        if request.event() == Event::CreateContainer {
            if self.pods.get(&pod) != Some(&false) {
                return Err("its pod does not run".to_owned());
            }
            let known = Known {
                pod,
                stage: Stage::Created,
                shares: shares_of(container),
            };
            return match self.containers.insert(id.clone(), known) {
                None => Ok(()),
                Some(before) => Err(format!("it exists: {before:?}")),
            };
        }
        let Some(known) = self.containers.get_mut(id) else {
            return Err("it is not known".to_owned());
        };
        let stage = match (request.event(), known.stage) {
            (Event::StartContainer, Stage::Created) => Stage::Running,
            (Event::StopContainer, Stage::Created | Stage::Running | Stage::ShownStopped) => {
                Stage::Stopped
            }
            (Event::RemoveContainer, Stage::Stopped) => {
                self.containers.remove(id);
                return Ok(());
            }
            (Event::PostStartContainer, Stage::Created) => {
                return Err("its start was not heard".to_owned());
            }
            (Event::UpdateContainer, stage) => {
                if let Request::UpdateContainer(update) = request {
                    known.shares = shares(update.linux_resources.as_ref());
                }
                stage
            }
            (
                Event::PostCreateContainer | Event::PostStartContainer | Event::PostUpdateContainer,
                stage,
            ) => {
                if shares_of(container) != known.shares {
                    return Err(format!(
                        "it has {} shares, and what was heard before is {}",
                        shares_of(container),
                        known.shares
                    ));
                }
                stage
            }
            (event, stage) => return Err(format!("no {event} of what is {stage:?}")),
        };
        known.stage = stage;
        Ok(())
    }

    fn hear_of_pod(&mut self, event: Event, id: &str) -> Result<(), String> {
        match (event, self.pods.get_mut(id)) {
            (Event::RunPodSandbox, None) => {
                self.pods.insert(id.to_owned(), false);
                Ok(())
            }
            (Event::UpdatePodSandbox | Event::PostUpdatePodSandbox, Some(_)) => Ok(()),
            (Event::StopPodSandbox, Some(stopped)) if !*stopped => {
                *stopped = true;
                Ok(())
            }
            (Event::RemovePodSandbox, Some(_)) => {
                self.pods.remove(id);
                match self.containers.values().find(|known| known.pod == id) {
                    None => Ok(()),
                    Some(left) => Err(format!("a container is left: {left:?}")),
                }
            }
            (event, None) => Err(format!("no {event} of what is not known")),
            (event, Some(stopped)) => {
                Err(format!("no {event} of what exists (stopped: {stopped})"))
            }
        }
    }
}
