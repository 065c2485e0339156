//! The hub as the runtime above sees it: one plugin, whose handlers are all the same.
//!
//! What may not enter: what becomes of a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nri_adaptation::{Configuration, EventError, EventMask, HandlerError, Plugin, PluginCtx, api};
use nri_core::{Request, Response};
use tokio::sync::watch;

use crate::domain::Above;
use crate::down::Down;
use crate::mirror::Gone;

/// How the hub answers, whatever it is asked.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) down: Down,
    pub(crate) above: Arc<Above>,
    pub(crate) events: EventMask,
    /// How much sooner than the runtime's deadline the answer goes up.
    pub(crate) margin: Duration,
    pub(crate) fail_request: bool,
    /// What a synchronisation no longer had; told when it is answered.
    pub(crate) gone: watch::Sender<Vec<Gone>>,
    /// How long the runtime waits for an answer.
    pub(crate) request_timeout: watch::Sender<Duration>,
}

impl Up {
    async fn answer(&self, cx: &PluginCtx, request: Request) -> Result<Response, HandlerError> {
        let deadline = cx.deadline().or_else(|| self.usual_deadline());
        let answer = self.down.relay(request, deadline.map(|at| self.sooner(at)));
        answer.await.map_err(for_the_runtime)
    }

    /// When the runtime stops waiting, if it does not say so in the call.
    fn usual_deadline(&self) -> Option<Instant> {
        let timeout = *self.request_timeout.borrow();
        (!timeout.is_zero()).then(|| Instant::now() + timeout)
    }

    /// When to answer if the runtime stops waiting then.
    fn sooner(&self, deadline: Instant) -> Instant {
        let left = deadline.saturating_duration_since(Instant::now());
        deadline
            .checked_sub(self.margin.min(left / 2))
            .unwrap_or(deadline)
    }
}

/// An error as the runtime above is told it.
fn for_the_runtime(error: EventError) -> HandlerError {
    error.into()
}

macro_rules! handlers {
    (
        $(tells $event:ident $handler:ident($request:ident);)*
        $(asks $asked:ident $asked_handler:ident($asked_request:ident) -> $response:ident;)*
    ) => {
        #[async_trait]
        impl Plugin for Up {
            fn events(&self) -> EventMask {
                self.events
            }

            fn failure_policy(&self) -> Option<api::FailurePolicy> {
                Some(api::FailurePolicy {
                    fail_request: self.fail_request,
                    keep_connected: true,
                })
            }

            async fn configure(
                &self,
                cx: &PluginCtx,
                configuration: Configuration,
            ) -> Result<Option<EventMask>, HandlerError> {
                self.above.set(cx.runtime(), configuration.runtime);
                self.request_timeout.send_replace(configuration.request_timeout);
                Ok(None)
            }

            async fn synchronize(
                &self,
                _: &PluginCtx,
                pods: Vec<api::PodSandbox>,
                containers: Vec<api::Container>,
            ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
                let gone = self.down.mirror.replace(pods, containers);
                self.gone.send_modify(|all| all.push(gone));
                Ok(Vec::new())
            }

            $(
                async fn $handler(&self, cx: &PluginCtx, request: api::$request) -> Result<(), HandlerError> {
                    self.answer(cx, Request::$event(request)).await.map(drop)
                }
            )*
            $(
                async fn $asked_handler(
                    &self,
                    cx: &PluginCtx,
                    request: api::$asked_request,
                ) -> Result<api::$response, HandlerError> {
                    match self.answer(cx, Request::$asked(request)).await? {
                        Response::$asked(response) => Ok(response),
                        _ => Ok(api::$response::default()),
                    }
                }
            )*
        }
    };
}

handlers! {
    tells RunPodSandbox run_pod_sandbox(RunPodSandboxRequest);
    tells StopPodSandbox stop_pod_sandbox(StopPodSandboxRequest);
    tells RemovePodSandbox remove_pod_sandbox(RemovePodSandboxRequest);
    tells UpdatePodSandbox update_pod_sandbox(UpdatePodSandboxRequest);
    tells PostUpdatePodSandbox post_update_pod_sandbox(PostUpdatePodSandboxRequest);
    tells PostCreateContainer post_create_container(PostCreateContainerRequest);
    tells StartContainer start_container(StartContainerRequest);
    tells PostStartContainer post_start_container(PostStartContainerRequest);
    tells PostUpdateContainer post_update_container(PostUpdateContainerRequest);
    tells RemoveContainer remove_container(RemoveContainerRequest);
    asks CreateContainer create_container(CreateContainerRequest) -> CreateContainerResponse;
    asks UpdateContainer update_container(UpdateContainerRequest) -> UpdateContainerResponse;
    asks StopContainer stop_container(StopContainerRequest) -> StopContainerResponse;
    asks ValidateContainerAdjustment validate_container_adjustment(ValidateContainerAdjustmentRequest) -> ValidateContainerAdjustmentResponse;
}
