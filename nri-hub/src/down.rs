//! Requests of the runtime above, brought to the plugins below: the mirror is kept, the request is
//! relayed, and what plugins ask for is the answer.
//!
//! What may not enter: the connection to the runtime above.

use std::sync::Arc;
use std::time::Instant;

use nri_adaptation::api::{Container, ContainerState, PodSandbox};
use nri_adaptation::{Ctx, Event, EventError, Nri, RuntimeApi as _};
use nri_core::{Request, Response};

use crate::mirror::{Gone, Mirror};
use crate::records::Records;

/// The way down.
#[derive(Debug, Clone)]
pub(crate) struct Down {
    pub(crate) nri: Nri,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) records: Arc<Records>,
}

impl Down {
    /// Has plugins handle a request. It ends before `deadline`.
    pub(crate) async fn relay(
        &self,
        request: Request,
        deadline: Option<Instant>,
    ) -> Result<Response, EventError> {
        let open = self.records.begin(&request);
        let mut cx = Ctx::new().with_tag(open.number());
        if let Some(deadline) = deadline {
            cx = cx.with_deadline(deadline);
        }
        let result = self.tell(&cx, request).await;
        open.end(result.as_ref().err());
        result
    }

    /// Keeps the mirror, and asks the plugins.
    async fn tell(&self, cx: &Ctx, request: Request) -> Result<Response, EventError> {
        let event = request.event();
        self.note_before(cx, &request).await;
        let response = match self.ask(cx, &request).await {
            // The runtime above knows what it does. An earlier life that ended without a word ends
            // now; a step that comes twice is none.
            Err(EventError::Lifecycle(reason)) => {
                tracing::warn!(%event, subject = request.subject(), reason, "the runtime above tells another story than before");
                match event {
                    Event::RunPodSandbox | Event::CreateContainer => {
                        self.end_former_life(cx, &request).await;
                        self.ask(cx, &request).await?
                    }
                    _ => Response::empty(event),
                }
            }
            other => other?,
        };
        self.note_after(&request, &response);
        Ok(response)
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

    fn note_after(&self, request: &Request, response: &Response) {
        match (request, response) {
            (Request::RunPodSandbox(request), _) => {
                if let Some(pod) = &request.pod {
                    self.mirror.put_pod(pod.clone(), true);
                }
            }
            (Request::CreateContainer(request), Response::CreateContainer(response)) => {
                if let Some(container) = &request.container {
                    let adjust = response.adjust.as_ref();
                    self.mirror.put_container(match adjust {
                        Some(adjust) => nri_core::merge::apply(container, adjust),
                        None => container.clone(),
                    });
                }
            }
            _ => {}
        }
    }

    /// Tells of the removal of what was there under the name of something new.
    async fn end_former_life(&self, cx: &Ctx, request: &Request) {
        match (request.pod(), request.container()) {
            (Some(pod), Some(container)) => self.removed(cx, pod, container).await,
            (Some(pod), None) => self.removed_pod(cx, pod).await,
            _ => {}
        }
    }

    async fn removed(&self, cx: &Ctx, pod: &PodSandbox, container: &Container) {
        if let Err(error) = self.nri.remove_container(cx, pod, container).await {
            tracing::warn!(%error, container = container.id, "a removal that the runtime did not tell of");
        }
    }

    async fn removed_pod(&self, cx: &Ctx, pod: &PodSandbox) {
        if let Err(error) = self.nri.remove_pod_sandbox(cx, pod).await {
            tracing::warn!(%error, pod = pod.id, "a removal that the runtime did not tell of");
        }
    }

    /// Tells of the end of what the runtime no longer has.
    pub(crate) async fn end(&self, gone: Gone) {
        let cx = Ctx::new();
        for (pod, container) in &gone.containers {
            self.removed(&cx, pod, container).await;
        }
        for pod in &gone.pods {
            self.removed_pod(&cx, &pod.message).await;
        }
    }

    /// Asks the plugins. A creation counts as done with its answer: where it fails above, the
    /// runtime tells of its end, or of something new under its name.
    async fn ask(&self, cx: &Ctx, request: &Request) -> Result<Response, EventError> {
        let event = request.event();
        let pod = request.pod().cloned().unwrap_or_default();
        let container = request.container().cloned().unwrap_or_default();
        let (nri, pod, container) = (&self.nri, &pod, &container);
        match request {
            Request::RunPodSandbox(_) => nri.run_pod_sandbox(cx, pod).await?,
            Request::UpdatePodSandbox(request) => {
                let overhead = request.overhead_linux_resources.clone();
                let resources = request.linux_resources.clone();
                nri.update_pod_sandbox(cx, pod, overhead, resources).await?;
            }
            Request::PostUpdatePodSandbox(_) => nri.post_update_pod_sandbox(cx, pod).await?,
            Request::StopPodSandbox(_) => nri.stop_pod_sandbox(cx, pod).await?,
            Request::RemovePodSandbox(_) => nri.remove_pod_sandbox(cx, pod).await?,
            Request::CreateContainer(_) => {
                let creation = nri.create_container(cx, pod, container).await?;
                let response = creation.to_response();
                creation.commit();
                return Ok(Response::CreateContainer(response));
            }
            Request::PostCreateContainer(_) => {
                nri.post_create_container(cx, pod, container).await?
            }
            Request::StartContainer(_) => nri.start_container(cx, pod, container).await?,
            Request::PostStartContainer(_) => nri.post_start_container(cx, pod, container).await?,
            Request::UpdateContainer(request) => {
                let resources = request.linux_resources.clone();
                let result = nri.update_container(cx, pod, container, resources).await?;
                return Ok(Response::UpdateContainer(result.to_response()));
            }
            Request::PostUpdateContainer(_) => {
                nri.post_update_container(cx, pod, container).await?
            }
            Request::StopContainer(_) => {
                let result = nri.stop_container(cx, pod, container).await?;
                return Ok(Response::StopContainer(result.to_response()));
            }
            Request::RemoveContainer(_) => nri.remove_container(cx, pod, container).await?,
            _ => {}
        }
        Ok(Response::empty(event))
    }
}
