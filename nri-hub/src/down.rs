//! Requests of the runtime above, brought to the plugins below: the mirror is kept, the request is
//! relayed, and what plugins ask for is the answer.
//!
//! What may not enter: the connection to the runtime above.

use std::sync::Arc;
use std::time::Instant;

use nri_adaptation::api::{
    Container, ContainerAdjustment, ContainerState, CreateContainerResponse, Field, PodSandbox,
};
use nri_adaptation::merge::Owner;
use nri_adaptation::{
    Ctx, Event, EventError, Nri, PluginId, Request, Response, RuntimeApi as _, merge,
};

use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::time::timeout;

use crate::behind::BehindAnswers;
use crate::mirror::Mirror;
use crate::records::Records;

/// The way down.
#[derive(Debug, Clone)]
pub(crate) struct Down {
    pub(crate) nri: Nri,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) records: Arc<Records>,
    pub(crate) behind: Arc<BehindAnswers>,
    /// Held by a synchronisation until it is told below; events come after it.
    pub(crate) barrier: Arc<RwLock<()>>,
}

/// How the runtime above has things done.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// When the answer is to be there.
    pub(crate) deadline: Option<Instant>,
    /// Who the hub is to the runtime, if that has validated what it merged.
    pub(crate) validated_as: Option<PluginId>,
}

impl Down {
    /// Has plugins handle a request.
    pub(crate) async fn relay(
        &self,
        mut request: Request,
        terms: Terms,
    ) -> Result<Response, EventError> {
        let open = self.records.begin(&request);
        let mut cx = Ctx::new().with_tag(open.number());
        if let Some(deadline) = terms.deadline {
            cx = cx.with_budget(deadline);
        }
        if let Some(hub) = &terms.validated_as {
            cx = cx.without_validation();
            self.name_who_is_behind(hub, &mut request);
        }
        let _passed = self.pass(terms.deadline).await;
        let result = self.tell(&cx, request).await;
        open.end(result.as_ref().err());
        result
    }

    /// Waits while what a synchronisation brought is told, for half of the time that there is.
    async fn pass(&self, deadline: Option<Instant>) -> Option<RwLockReadGuard<'_, ()>> {
        let Some(deadline) = deadline else {
            return Some(self.barrier.read().await);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let passed = timeout(left / 2, self.barrier.read()).await;
        if passed.is_err() {
            tracing::warn!("plugins are still told what has changed: a request goes before that");
        }
        passed.ok()
    }

    /// Names the plugins in place of the hub in what is to be validated.
    fn name_who_is_behind(&self, hub: &PluginId, request: &mut Request) {
        let Request::ValidateContainerAdjustment(request) = request else {
            return;
        };
        let container = request.container.as_ref();
        let behind = container.and_then(|container| self.behind.take(&container.id));
        if let Some(behind) = behind {
            behind.expand(hub, request);
        }
    }

    /// Keeps the mirror, and asks the plugins.
    async fn tell(&self, cx: &Ctx, request: Request) -> Result<Response, EventError> {
        let event = request.event();
        self.note_before(cx, &request).await;
        let created = match &request {
            Request::CreateContainer(request) => request.container.clone(),
            _ => None,
        };
        let run = match &request {
            Request::RunPodSandbox(request) => request.pod.clone(),
            _ => None,
        };
        let mut relayed = match self.nri.relay(cx, request).await {
            // A step that comes twice, or late, is none; the runtime above knows what it does.
            Err(EventError::Lifecycle(reason)) => {
                tracing::warn!(%event, reason, "the runtime above tells another story than before");
                return Ok(Response::empty(event));
            }
            other => other?,
        };
        if let Some(pod) = run {
            self.mirror.put_pod(pod, true);
        }
        if let Some(container) = created {
            let behind = relayed.behind();
            if let Response::CreateContainer(answer) = &mut relayed.response {
                let id = container.id.clone();
                self.mirror
                    .put_container(adjusted(container, answer.adjust.as_ref()));
                take_over_with_nothing(answer, behind.owners.owner(&id, Field::Args, None));
                self.behind.put(&id, behind);
            }
        }
        Ok(relayed.response)
    }

    async fn note_before(&self, cx: &Ctx, request: &Request) {
        let event = request.event();
        match (event, request.pod(), request.container()) {
            (Event::PostUpdatePodSandbox, Some(pod), _) => self.mirror.update_pod(pod.clone()),
            (Event::StopPodSandbox, Some(pod), _) => self.mirror.put_pod(pod.clone(), false),
            (Event::RemovePodSandbox, Some(pod), _) => {
                for container in self.mirror.remove_pod(&pod.id) {
                    self.removed(cx, pod, &container).await;
                }
            }
            (Event::RemoveContainer, _, Some(container)) => {
                self.mirror.remove_container(&container.id);
            }
            (Event::CreateContainer | Event::ValidateContainerAdjustment, ..) | (_, _, None) => {}
            (_, _, Some(container)) => {
                let mut container = container.clone();
                if event == Event::StopContainer {
                    container.set_state(ContainerState::ContainerStopped);
                }
                self.mirror.put_container(container);
            }
        }
    }

    async fn removed(&self, cx: &Ctx, pod: &PodSandbox, container: &Container) {
        if let Err(error) = self.nri.remove_container(cx, pod, container).await {
            tracing::warn!(%error, container = container.id, "a removal that the runtime did not tell of");
        }
    }

    /// Tells of what has changed while the runtime was away: what is gone ends, and who has missed
    /// something is synchronised again.
    pub(crate) async fn reconcile(&self, pods: &[PodSandbox], containers: &[Container]) {
        let put = || self.mirror.replace(pods, containers);
        match self.nri.reconcile(&Ctx::new(), pods, containers, put).await {
            Ok(reconciled) => tracing::info!(
                gone_pods = reconciled.gone_pods.len(),
                gone_containers = reconciled.gone_containers.len(),
                synchronized_again = reconciled.resynchronized.len(),
                "plugins know what the runtime has now"
            ),
            Err(error) => {
                tracing::error!(%error, "plugins are not told what has changed meanwhile");
                self.mirror.replace(pods, containers);
            }
        }
    }
}

/// Says upwards what a plugin below says that takes the command line over and gives none: whoever
/// is beside the hub, before it or after it, has to see that. Below it is the original one again,
/// which is nothing that would have to be asked for.
fn take_over_with_nothing(answer: &mut CreateContainerResponse, owner: Option<&Owner>) {
    if let Some(Owner::Removed(_)) = owner {
        answer.adjust.get_or_insert_default().args = vec![String::new()];
    }
}

/// The container as plugins want it.
fn adjusted(container: Container, asked: Option<&ContainerAdjustment>) -> Container {
    match asked {
        Some(asked) => merge::apply(&container, asked),
        None => container,
    }
}
