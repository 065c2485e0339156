//! What a runtime does with its containers around their events.

use nri_adaptation::{Api as _, Ctx};
use nri_core::api::{self, ContainerState};
use nri_core::{Event, merge};

use super::{Done, Inner, nevertheless};
use crate::sim::books::lives;
use crate::sim::command::{End, Start};
use crate::sim::error::SimError;
use crate::sim::reply::{Created, Reply, Stopped, UpdateReply, list};

/// A container's resources with what an update sets; what it does not set stays.
fn with_resources(container: &api::Container, resources: api::LinuxResources) -> api::Container {
    let linux = api::LinuxContainerAdjustment {
        resources: Some(resources),
        ..Default::default()
    };
    let adjustment = api::ContainerAdjustment {
        linux: Some(linux),
        ..Default::default()
    };
    merge::apply(container, &adjustment)
}

fn state_in_words(state: ContainerState) -> &'static str {
    match state {
        ContainerState::ContainerUnknown => "in an unknown state",
        ContainerState::ContainerCreated => "created",
        ContainerState::ContainerPaused => "paused",
        ContainerState::ContainerRunning => "running",
        ContainerState::ContainerStopped => "stopped",
    }
}

impl Inner {
    async fn new_container(&self, container: &api::Container) -> Result<api::PodSandbox, SimError> {
        let pod = self.pod(&container.pod_sandbox_id).await?;
        let id = &container.id;
        match self.books.container(id) {
            None => Ok(pod),
            Some(_) => Err(SimError::Exists {
                kind: "container",
                id: id.clone(),
                remove: "remove-container",
            }),
        }
    }

    pub(super) async fn add_container(&self, mut container: api::Container) -> Done {
        self.new_container(&container).await?;
        if container.state() == ContainerState::ContainerUnknown {
            container.set_state(ContainerState::ContainerRunning);
        }
        self.books.put_container(container);
        Ok(Reply::Done {})
    }

    pub(super) async fn create_container(&self, mut container: api::Container) -> Done {
        let pod = self.new_container(&container).await?;
        if !self.books.is_ready(&pod.id) {
            return Err(SimError::PodStopped { id: pod.id });
        }
        container.set_state(ContainerState::ContainerCreated);
        let since = self.watch.next_call();
        let creation = self
            .nri
            .create_container(&Ctx::new(), &pod, &container)
            .await?;
        let adjusted = match creation.adjustment() {
            Some(adjustment) => merge::apply(&container, adjustment),
            None => container,
        };
        let reply = Created {
            adjustment: creation.adjustment().cloned(),
            owners: creation.owners().into(),
            updates: list(creation.updates()),
            evictions: list(creation.evictions()),
            outcomes: self.timed(
                list(creation.outcomes()),
                since,
                Event::CreateContainer,
                &pod.id,
                &adjusted.id,
            ),
        };
        let id = adjusted.id.clone();
        // In the books first: whoever joins once it is committed is to see it.
        self.books.put_container(adjusted);
        self.pending().insert(id, creation);
        Ok(Reply::Created(reply))
    }

    pub(super) async fn abort_container(&self, id: &str) -> Done {
        let container = self.container(id).await?;
        let creation = self.pending().remove(id);
        let Some(creation) = creation else {
            return Err(SimError::Settled { id: id.to_owned() });
        };
        let pod = self.pod_of(&container);
        let since = self.watch.next_call();
        self.books.remove_container(id);
        drop(creation);
        // A stop that is not due: it stands in the pod's line behind the undoing, so that is done when it returns.
        self.nri
            .stop_container(&Ctx::new(), &pod, &container)
            .await?;
        Ok(self.told(since, Event::CreateContainer, &pod.id, id))
    }

    pub(super) async fn start_container(&self, id: &str, start: Start) -> Done {
        let (pod, container) = self.used(id).await?;
        let since = self.watch.next_call();
        if container.state() != ContainerState::ContainerCreated {
            return Err(SimError::WrongState {
                id: id.to_owned(),
                state: state_in_words(container.state()),
                needed: "created",
                action: "started",
            });
        }
        self.nri
            .start_container(&Ctx::new(), &pod, &container)
            .await?;
        let run = |container: &mut api::Container| {
            container.set_state(ContainerState::ContainerRunning);
            container.pid = start.pid.unwrap_or(container.pid);
            container.started_at = start.started_at.unwrap_or(container.started_at);
        };
        self.books.change_container(id, run).await;
        Ok(self.told(since, Event::StartContainer, &pod.id, id))
    }

    pub(super) async fn update_container(
        &self,
        id: &str,
        resources: Option<api::LinuxResources>,
    ) -> Done {
        let (pod, container) = self.used(id).await?;
        let since = self.watch.next_call();
        let result = self
            .nri
            .update_container(&Ctx::new(), &pod, &container, resources.clone())
            .await?;
        if let Some(resources) = result.resources.clone().or(resources) {
            let apply =
                |container: &mut api::Container| *container = with_resources(container, resources);
            self.books.change_container(id, apply).await;
        }
        Ok(Reply::Updated(UpdateReply {
            resources: result.resources,
            updates: list(&result.updates),
            evictions: list(&result.evictions),
            outcomes: self.timed(
                list(&result.outcomes),
                since,
                Event::UpdateContainer,
                &pod.id,
                id,
            ),
        }))
    }

    /// Ends a container in the books, unless it has ended before.
    async fn end(&self, id: &str, end: End) -> Result<(api::PodSandbox, api::Container), SimError> {
        let (pod, container) = self.used(id).await?;
        let finish = |container: &mut api::Container| {
            if !lives(container) {
                return;
            }
            container.set_state(ContainerState::ContainerStopped);
            container.pid = 0;
            container.exit_code = end.exit_code.unwrap_or(0);
            container.finished_at = end.finished_at.unwrap_or(container.finished_at);
            container.status_reason = end.reason.unwrap_or_default();
        };
        let ended = self.books.change_container(id, finish).await;
        Ok((pod, ended.unwrap_or(container)))
    }

    pub(super) async fn stop_container(&self, id: &str, end: End) -> Done {
        let (pod, container) = self.end(id, end).await?;
        let since = self.watch.next_call();
        match self.nri.stop_container(&Ctx::new(), &pod, &container).await {
            Ok(result) => Ok(Reply::Stopped(Stopped {
                updates: list(&result.updates),
                outcomes: self.timed(
                    list(&result.outcomes),
                    since,
                    Event::StopContainer,
                    &pod.id,
                    id,
                ),
            })),
            Err(error) => Err(SimError::Nevertheless {
                error: error.into(),
                kind: "container",
                done: "stopped",
            }),
        }
    }

    pub(super) async fn container_exit(&self, id: &str, end: End) -> Done {
        let before = self.container(id).await?;
        if !lives(&before) {
            return Err(SimError::WrongState {
                id: id.to_owned(),
                state: state_in_words(before.state()),
                needed: "created or running",
                action: "ended",
            });
        }
        let (pod, container) = self.end(id, end).await?;
        let since = self.watch.next_call();
        self.nri.notify_container_exit(&pod, &container);
        // A stop that is not due any more: it stands in the pod's line behind the exit, so plugins have heard of that.
        self.nri
            .stop_container(&Ctx::new(), &pod, &container)
            .await?;
        Ok(self.told(since, Event::StopContainer, &pod.id, id))
    }

    pub(super) async fn remove_container(&self, id: &str) -> Done {
        let (pod, container) = self.end(id, End::default()).await?;
        let since = self.watch.next_call();
        let told = self
            .nri
            .remove_container(&Ctx::new(), &pod, &container)
            .await;
        self.books.remove_container(id);
        nevertheless(told, "container", "removed")?;
        Ok(self.told(since, Event::RemoveContainer, &pod.id, id))
    }
}
