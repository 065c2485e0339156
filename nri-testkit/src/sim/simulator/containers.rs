//! What a runtime does with its containers around their events.

use nri_adaptation::{Api as _, Ctx};
use nri_core::api::{self, ContainerState};
use nri_core::merge;

use super::{Done, Inner, all_the_same, nevertheless};
use crate::sim::books::lives;
use crate::sim::command::{End, Start};
use crate::sim::error::SimError;
use crate::sim::reply::{Created, Reply, Stopped, UpdateReply, list};

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
        if self.books.container(id).is_none() && !self.pending().contains_key(id) {
            return Ok(pod);
        }
        Err(SimError::Exists {
            kind: "container",
            id: id.clone(),
            remove: "remove-container",
        })
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
        let connected = self.watch.connected();
        // Nobody else is to create it meanwhile.
        self.pending().insert(container.id.clone(), None);
        let asked = self
            .nri
            .create_container(&Ctx::new(), &pod, &container)
            .await;
        let creation = match asked {
            Ok(creation) => creation,
            Err(error) => {
                self.after_undoing(&pod, &container).await;
                self.pending().remove(&container.id);
                return Err(error.into());
            }
        };
        let adjusted = match creation.adjustment() {
            Some(adjustment) => merge::apply(&container, adjustment),
            None => container,
        };
        let reply = Created {
            adjustment: creation.adjustment().cloned(),
            owners: creation.owners().into(),
            updates: list(creation.updates()),
            evictions: list(creation.evictions()),
            outcomes: list(creation.outcomes()),
        };
        let id = adjusted.id.clone();
        // In the books first: whoever joins once it is committed is to see it.
        self.books.put_container(adjusted);
        self.pending().insert(id.clone(), Some(creation));
        // One that has connected meanwhile waits for the outcome.
        if connected.has_changed().unwrap_or(true) {
            self.commit(&id);
        }
        Ok(Reply::Created(reply))
    }

    pub(super) async fn abort_container(&self, id: &str) -> Done {
        let container = self.container(id).await?;
        let Some(creation) = self.settle(id) else {
            return Err(SimError::Settled { id: id.to_owned() });
        };
        let pod = self.pod_of(&container);
        self.books.remove_container(id);
        drop(creation);
        self.after_undoing(&pod, &container).await;
        Ok(Reply::Done {})
    }

    /// Returns when plugins have heard that a creation came to nothing.
    async fn after_undoing(&self, pod: &api::PodSandbox, container: &api::Container) {
        // A stop that is not due: it stands in the pod's line behind the undoing, so that is done when it returns.
        if let Err(error) = self.nri.stop_container(&Ctx::new(), pod, container).await {
            tracing::warn!(container = container.id, %error, "undoing a creation went wrong");
        }
    }

    pub(super) async fn start_container(&self, id: &str, start: Start) -> Done {
        let (pod, mut container) = self.used(id).await?;
        if container.state() != ContainerState::ContainerCreated {
            return Err(SimError::WrongState {
                id: id.to_owned(),
                state: state_in_words(container.state()),
                needed: "created",
                action: "started",
            });
        }
        // A runtime has made the process by now; it waits for leave to run.
        container.pid = start.pid.unwrap_or(container.pid);
        self.nri
            .start_container(&Ctx::new(), &pod, &container)
            .await?;
        let run = |container: &mut api::Container| {
            container.set_state(ContainerState::ContainerRunning);
            container.pid = start.pid.unwrap_or(container.pid);
            container.started_at = start.started_at.unwrap_or(container.started_at);
        };
        self.books.change_container(id, run).await;
        Ok(Reply::Done {})
    }

    pub(super) async fn update_container(
        &self,
        id: &str,
        resources: Option<api::LinuxResources>,
    ) -> Done {
        let (pod, container) = self.used(id).await?;
        let result = self
            .nri
            .update_container(&Ctx::new(), &pod, &container, resources.clone())
            .await?;
        if let Some(resources) = result.resources.clone().or(resources) {
            self.books.overlay(id, resources).await;
        }
        Ok(Reply::Updated(UpdateReply {
            resources: result.resources,
            updates: list(&result.updates),
            evictions: list(&result.evictions),
            outcomes: list(&result.outcomes),
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
        let told = self.nri.stop_container(&Ctx::new(), &pod, &container).await;
        let result = told.map_err(|error| all_the_same(error, "container", "stopped"))?;
        Ok(Reply::Stopped(Stopped {
            updates: list(&result.updates),
            outcomes: list(&result.outcomes),
        }))
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
        self.nri.notify_container_exit(&pod, &container);
        // A stop that is not due any more: it stands in the pod's line behind the exit, so plugins have heard of that.
        self.nri
            .stop_container(&Ctx::new(), &pod, &container)
            .await?;
        Ok(Reply::Done {})
    }

    pub(super) async fn remove_container(&self, id: &str) -> Done {
        let (pod, container) = self.end(id, End::default()).await?;
        let told = self
            .nri
            .remove_container(&Ctx::new(), &pod, &container)
            .await;
        self.books.remove_container(id);
        nevertheless(told, "container", "removed")
    }
}
