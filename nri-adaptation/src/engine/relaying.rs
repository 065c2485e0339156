//! Events that come as the protocol's messages, whichever they are, and the end of what is known by
//! its id alone: what an instance between a runtime above and plugins below needs.

use std::sync::Arc;

use nri_core::api;
use nri_core::lifecycle::ObjectKey;
use nri_core::model::State;
use nri_core::{Ctx, EncodedTarget, Error, Event, ReceivedRequest, Relayed, Request, Response};

use crate::engine::driver::Engine;
use crate::engine::side_effects::CarriedOut;
use crate::engine::target::{Keys, RequestTarget};

impl Engine {
    /// Relays a request, and commits what is created by it.
    pub(crate) async fn relay(
        self: &Arc<Self>,
        cx: &Ctx,
        mut request: Request,
    ) -> Result<Relayed, Error> {
        let event = request.event();
        if self.is_unheard(event) {
            return Ok(Relayed::untouched(event));
        }
        if let Request::ValidateContainerAdjustment(request) = request {
            return match self.validate(cx, request).await {
                Err(error @ Error::Rejected { .. }) => Ok(rejection(&error)),
                validated => validated.map(|()| Relayed::untouched(event)),
            };
        }
        let mut resources = [None, None];
        match &mut request {
            Request::UpdateContainer(request) => resources[0] = request.linux_resources.take(),
            Request::UpdatePodSandbox(request) => {
                resources = [
                    request.overhead_linux_resources.take(),
                    request.linux_resources.take(),
                ];
            }
            _ => {}
        }
        let (pod, container) = request.into_pod_and_container();
        let target =
            RequestTarget::of_request(&self.domains, event, pod.as_ref(), container.as_ref())?;
        self.relay_target(cx, event, target, resources).await
    }

    /// The same of a request that is not decoded; it is only if it says more than what it is about.
    pub(crate) async fn relay_received(
        self: &Arc<Self>,
        cx: &Ctx,
        request: ReceivedRequest,
    ) -> Result<Relayed, Error> {
        let event = request.event();
        if self.is_unheard(event) {
            return Ok(Relayed::untouched(event));
        }
        if let Some(target) = RequestTarget::of_received(&self.domains, &request)? {
            drop(request);
            return self.relay_target(cx, event, target, [None, None]).await;
        }
        let decoded = request
            .decode()
            .map_err(|error| Error::Invalid(format!("{event} cannot be decoded: {error}")))?;
        Box::pin(self.relay(cx, decoded)).await
    }

    /// Relays what is about a target and says no more than these resources.
    async fn relay_target(
        self: &Arc<Self>,
        cx: &Ctx,
        event: Event,
        target: RequestTarget,
        resources: [Option<api::LinuxResources>; 2],
    ) -> Result<Relayed, Error> {
        let by = CarriedOut::ByCaller;
        if matches!(event, Event::RunPodSandbox | Event::CreateContainer) {
            self.end_former_life(cx, &target).await?;
        }
        let [first, second] = resources;
        match event {
            Event::RunPodSandbox => self.run_pod(cx, target).await?,
            Event::UpdatePodSandbox => self.update_pod(cx, target, first, second).await?,
            Event::CreateContainer => return self.relay_creation(cx, target).await,
            Event::UpdateContainer => {
                return Ok(self.update_container(cx, target, first, by).await?.into());
            }
            Event::StopContainer => {
                return Ok(self
                    .stop_container(cx, target, CarriedOut::ByCaller)
                    .await?
                    .into());
            }
            Event::RemovePodSandbox => self.remove_pod(cx, target, by).await?,
            Event::RemoveContainer => self.remove_container(cx, target, by).await?,
            event => {
                let request = target.request(event)?;
                self.notify_plugins(cx, &target.keys, request).await?;
            }
        }
        Ok(Relayed::untouched(event))
    }

    /// Ends the life of what appears again though it exists as far as is known: whoever says that
    /// it appears knows better.
    async fn end_former_life(
        self: &Arc<Self>,
        cx: &Ctx,
        target: &RequestTarget,
    ) -> Result<(), Error> {
        let key = target.keys.object();
        let lives = {
            let state = self.dispatch.lock();
            let lifecycles = state.scheduler.lifecycles();
            lifecycles.is_announced(key) && !lifecycles.may_restart(key)
        };
        if !lives {
            return Ok(());
        }
        tracing::info!(object = %key, "it appears again: its former life ends");
        match target.keys.container {
            Some(_) => {
                self.remove_container(cx, target.clone(), CarriedOut::ByCaller)
                    .await
            }
            None => {
                self.remove_pod(cx, target.clone(), CarriedOut::ByCaller)
                    .await
            }
        }
    }

    /// Tells of a pod's removal, and of its stop if that is still due.
    pub(crate) async fn remove_pod(
        self: &Arc<Self>,
        cx: &Ctx,
        target: RequestTarget,
        carried_out: CarriedOut,
    ) -> Result<(), Error> {
        let events = [Event::StopPodSandbox, Event::RemovePodSandbox];
        self.relay_removal(cx, target, events, carried_out).await
    }

    /// Tells of a container's removal, and of its stop if that is still due.
    pub(crate) async fn remove_container(
        self: &Arc<Self>,
        cx: &Ctx,
        target: RequestTarget,
        carried_out: CarriedOut,
    ) -> Result<(), Error> {
        let events = [Event::StopContainer, Event::RemoveContainer];
        self.relay_removal(cx, target, events, carried_out).await
    }

    /// Has what somebody else has merged judged by the validators.
    pub(crate) async fn validate(
        self: &Arc<Self>,
        cx: &Ctx,
        mut request: api::ValidateContainerAdjustmentRequest,
    ) -> Result<(), Error> {
        let event = Event::ValidateContainerAdjustment;
        if let Some(pod) = &mut request.pod {
            pod.linux.get_or_insert_default();
        }
        if let Some(container) = &mut request.container {
            container.linux.get_or_insert_default();
        }
        let (pod, container) = (request.pod.as_ref(), request.container.as_ref());
        let RequestTarget { keys, .. } =
            RequestTarget::of_request(&self.domains, event, pod, container)?;
        let request = Request::ValidateContainerAdjustment(request).into();
        self.notify_plugins(cx, &keys, request).await
    }

    /// Ends the life of a container that is known by its id; false if it does not live.
    pub(crate) async fn forget(self: &Arc<Self>, cx: &Ctx, id: &str) -> Result<bool, Error> {
        let unlisted = self.dispatch.lock().unlisted_container(id);
        let target = match unlisted {
            Some((key, message)) => {
                let container = message.container();
                message.pod().map(|pod| RequestTarget {
                    keys: Keys {
                        pod: ObjectKey::pod(key.domain(), &*pod.id),
                        container: Some(key),
                    },
                    encoded: EncodedTarget::new(
                        pod,
                        container.map(|container| (container, container.state())),
                    ),
                })
            }
            None => match self.domains.container_and_pod(id).await {
                (Some(pod), Some(container)) => {
                    let domain = self.domains.owner(id).await;
                    let domain = domain.map_or_else(|_| String::new(), |d| d.name().to_owned());
                    let state = container.state();
                    Some(RequestTarget::of_messages(
                        &self.domains,
                        (domain, &pod),
                        Some((&container, state)),
                    )?)
                }
                _ => None,
            },
        };
        let Some(target) = target else {
            return Ok(false);
        };
        let lives = {
            let state = self.dispatch.lock();
            state.scheduler.lifecycles().state(target.keys.object()) != State::Removed
        };
        if lives {
            self.remove_container(cx, target, CarriedOut::ByCaller)
                .await?;
        }
        Ok(lives)
    }
}

/// The answer to a request to validate that was rejected.
fn rejection(error: &Error) -> Relayed {
    Relayed::new(Response::ValidateContainerAdjustment(
        api::ValidateContainerAdjustmentResponse {
            reject: true,
            reason: error.to_string(),
        },
    ))
}
