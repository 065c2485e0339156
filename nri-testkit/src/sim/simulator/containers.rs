//! What a runtime does with its containers around their events.

use nri_adaptation::{Ctx, RuntimeApi as _};
use nri_core::api::{self, ContainerState};
use nri_core::{Domain as _, merge};

use super::inner::{Done, Inner, Reserved, all_the_same, nevertheless};
use super::order::Turn;
use crate::sim::command::{End, Start};
use crate::sim::domain::lives;
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

/// While it lives, nobody else makes a container of its id, or does anything with it.
#[allow(dead_code, reason = "what counts is when they are dropped")]
struct Making<'a> {
    // First: when the turn is over, somebody may remove the container, and make another one.
    reserved: Reserved<'a>,
    turn: Turn,
}

impl Inner {
    /// The making of a container, and the pod in which it is to be. Whoever wants to make one of
    /// that id meanwhile is refused at once; whoever wants anything else of it waits.
    async fn new_container(
        &self,
        container: &api::Container,
    ) -> Result<(Making<'_>, api::PodSandbox), SimError> {
        let (pod, id) = (&container.pod_sandbox_id, &container.id);
        let reserved = self.reserve(id)?;
        let turn = self.order.shared(pod, Some(id)).await;
        let pod = self.pod(pod).await?;
        Ok((Making { reserved, turn }, pod))
    }

    pub(super) async fn add_container(&self, mut container: api::Container) -> Done {
        let (_making, _) = self.new_container(&container).await?;
        if container.state() == ContainerState::ContainerUnknown {
            container.set_state(ContainerState::ContainerRunning);
        }
        self.domain.put_container(container);
        Ok(Reply::Done {})
    }

    pub(super) async fn create_container(&self, cx: &Ctx, mut container: api::Container) -> Done {
        let (_making, pod) = self.new_container(&container).await?;
        if !self.domain.is_ready(&pod.id) {
            return Err(SimError::PodStopped { id: pod.id });
        }
        container.set_state(ContainerState::ContainerCreated);
        self.watch.record_undoing(&container.id, cx);
        let asked = self.nri.create_container(cx, &pod, &container).await;
        let creation = match asked {
            Ok(creation) => creation,
            Err(error) => {
                self.after_undoing(cx, &pod, &container).await;
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
        // In the domain first: whoever joins once it is committed is to see it.
        self.domain.put_container(adjusted);
        self.pending().insert(id.clone(), Some(creation));
        // One that is about to be synchronised waits for that.
        if self.watch.somebody_joins() {
            self.commit(&id);
        }
        Ok(Reply::Created(reply))
    }

    pub(super) async fn abort_container(&self, cx: &Ctx, id: &str) -> Done {
        let (_turn, pod, container) = self.taken(id).await?;
        let Some(creation) = self.settle(id) else {
            return Err(SimError::Settled { id: id.to_owned() });
        };
        self.watch.record_undoing(id, cx);
        drop(creation);
        self.after_undoing(cx, &pod, &container).await;
        // Only now, so that nobody makes another one of that id while plugins hear of this one.
        self.domain.remove_container(id);
        Ok(Reply::Done {})
    }

    /// Returns when plugins have heard that a creation came to nothing.
    async fn after_undoing(&self, cx: &Ctx, pod: &api::PodSandbox, container: &api::Container) {
        // A stop that is not due: it stands in the pod's line behind the undoing, so that is done
        // when it returns.
        if let Err(error) = self.nri.stop_container(cx, pod, container).await {
            tracing::warn!(container = container.id, %error, "undoing a creation went wrong");
        }
    }

    pub(super) async fn start_container(&self, cx: &Ctx, id: &str, start: Start) -> Done {
        let (_turn, pod, mut container) = self.used(id).await?;
        let before = container.state();
        let again = before == ContainerState::ContainerStopped && self.domain.restartable();
        if before != ContainerState::ContainerCreated && !again {
            return Err(SimError::WrongState {
                id: id.to_owned(),
                state: state_in_words(before),
                needed: match self.domain.restartable() {
                    true => "created or stopped",
                    false => "created",
                },
                action: "started",
            });
        }
        if again && !self.domain.is_ready(&pod.id) {
            return Err(SimError::PodStopped { id: pod.id });
        }
        let _block = self.keep_from_joining().await;
        // A runtime has made the process by now; it waits for leave to run.
        container.pid = start.pid.unwrap_or(container.pid);
        self.nri.start_container(cx, &pod, &container).await?;
        let run = |container: &mut api::Container| {
            // It may have been evicted meanwhile.
            if container.state() != before {
                return;
            }
            if again {
                container.exit_code = 0;
                container.finished_at = 0;
                container.status_reason.clear();
            }
            container.set_state(ContainerState::ContainerRunning);
            container.pid = start.pid.unwrap_or(container.pid);
            container.started_at = start.started_at.unwrap_or(container.started_at);
        };
        self.domain.change_container(id, run).await;
        Ok(Reply::Done {})
    }

    pub(super) async fn update_container(
        &self,
        cx: &Ctx,
        id: &str,
        resources: Option<api::LinuxResources>,
    ) -> Done {
        let (_turn, pod, container) = self.used(id).await?;
        let _block = self.keep_from_joining().await;
        let result = self
            .nri
            .update_container(cx, &pod, &container, resources.clone())
            .await?;
        if let Some(resources) = result.resources.clone().or(resources) {
            self.domain.overlay(id, resources).await;
        }
        Ok(Reply::Updated(UpdateReply {
            resources: result.resources,
            updates: list(&result.updates),
            evictions: list(&result.evictions),
            outcomes: list(&result.outcomes),
        }))
    }

    /// Ends a container in the domain, unless it has ended before.
    async fn end(&self, container: api::Container, end: End) -> api::Container {
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
        let ended = self.domain.change_container(&container.id, finish).await;
        ended.unwrap_or(container)
    }

    pub(super) async fn stop_container(&self, cx: &Ctx, id: &str, end: End) -> Done {
        let (_turn, pod, container) = self.used(id).await?;
        self.stop_in(cx, &pod, container, end).await
    }

    /// Stops a container whose turn it is.
    pub(super) async fn stop_in(
        &self,
        cx: &Ctx,
        pod: &api::PodSandbox,
        container: api::Container,
        end: End,
    ) -> Done {
        let container = self.end(container, end).await;
        let told = self.nri.stop_container(cx, pod, &container).await;
        let result = told.map_err(|error| all_the_same(error, "container", "stopped"))?;
        Ok(Reply::Stopped(Stopped {
            updates: list(&result.updates),
            outcomes: list(&result.outcomes),
        }))
    }

    /// A process that has ended by itself. Of a container that is stopped that is no news: the exit
    /// that a runtime hears of often comes after its own stop.
    pub(super) async fn container_exit(&self, cx: &Ctx, id: &str, end: End) -> Done {
        let (_turn, pod, container) = self.used(id).await?;
        let container = self.end(container, end).await;
        if let Err(error) = self.nri.stop_container(cx, &pod, &container).await {
            // An exit is no request, so there is nobody to fail.
            tracing::warn!(container = id, %error, "telling of an exit went wrong");
        }
        Ok(Reply::Done {})
    }

    pub(super) async fn remove_container(&self, cx: &Ctx, id: &str) -> Done {
        let (_turn, pod, container) = self.used(id).await?;
        self.remove_in(cx, &pod, container).await
    }

    /// Removes a container whose turn it is.
    pub(super) async fn remove_in(
        &self,
        cx: &Ctx,
        pod: &api::PodSandbox,
        container: api::Container,
    ) -> Done {
        let container = self.end(container, End::default()).await;
        let told = self.nri.remove_container(cx, pod, &container).await;
        self.domain.remove_container(&container.id);
        nevertheless(told, "container", "removed")
    }
}
