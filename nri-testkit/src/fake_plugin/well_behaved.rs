//! A fake plugin as a plugin in earnest, without a connection of its own to misuse.

use async_trait::async_trait;
use bytes::Bytes;
use nri_core::{
    Configuration, Event, EventMask, HandlerError, Plugin, PluginCtx, Request, Response, api,
};
use nri_proto::transport::Code;
use prost::Message as _;

use super::behavior::End;
use super::plugin::FakePlugin;
use super::seen::ReceivedCall;
use super::served::without_connection;

pub(super) struct WellBehaved(pub(super) FakePlugin);

impl WellBehaved {
    /// The message that the script has for a call; `None` is the usual one.
    async fn ask(&self, method: &str, payload: Vec<u8>) -> Result<Option<Bytes>, HandlerError> {
        let seen = ReceivedCall::new(method, payload.into());
        let mut behavior = self.0.saw(seen.clone());
        loop {
            for wait in &behavior.waits {
                wait.over().await;
            }
            if let Some(what) = without_connection(&behavior) {
                return Err(
                    format!("a plugin without a connection of its own cannot {what}").into(),
                );
            }
            return match behavior.end {
                End::Decide(decide) => {
                    behavior = decide(seen.clone()).await;
                    continue;
                }
                End::Answer(message) => Ok(Some(message)),
                End::Fail(status) if status.code == Code::Unimplemented => {
                    Err(HandlerError::unimplemented())
                }
                End::Fail(status) => Err(status.message.into()),
                End::Hang => std::future::pending().await,
                _ => Ok(None),
            };
        }
    }

    async fn event(&self, request: Request) -> Result<Response, HandlerError> {
        let event = request.event();
        match self.ask(event.name(), request.encode()).await? {
            Some(message) => Ok(Response::decode(event, &message)?),
            None => Ok(Response::empty(event)),
        }
    }
}

macro_rules! handlers {
    ($(tells $event:ident $handler:ident($request:ident);)* $(asks $asked:ident $asked_handler:ident($asked_request:ident) -> $response:ident;)*) => {
        #[async_trait]
        impl Plugin for WellBehaved {
            fn events(&self) -> EventMask {
                EventMask::from_bits(self.0.inner.events & EventMask::ALL.bits()).unwrap_or(EventMask::NONE)
            }

            fn failure_policy(&self) -> Option<api::FailurePolicy> {
                self.0.inner.failure_policy
            }

            async fn configure(
                &self,
                _: &PluginCtx,
                configuration: Configuration,
            ) -> Result<Option<EventMask>, HandlerError> {
                let request = api::ConfigureRequest {
                    config: configuration.config,
                    runtime_name: configuration.runtime.name,
                    runtime_version: configuration.runtime.version,
                    nri_version: configuration.runtime.nri_version,
                    ..Default::default()
                };
                match self.ask("Configure", request.encode_to_vec()).await? {
                    Some(message) => {
                        let events = api::ConfigureResponse::decode(message)?.events;
                        Ok(Some(EventMask::from_bits(events)?))
                    }
                    None => Ok(None),
                }
            }

            async fn synchronize(
                &self,
                _: &PluginCtx,
                pods: Vec<api::PodSandbox>,
                containers: Vec<api::Container>,
            ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
                let request = api::SynchronizeRequest { pods, containers, more: false };
                match self.ask("Synchronize", request.encode_to_vec()).await? {
                    Some(message) => Ok(api::SynchronizeResponse::decode(message)?.update),
                    None => Ok(Vec::new()),
                }
            }

            async fn shutdown(&self, _: &PluginCtx) {
                // A `Shutdown` cannot fail.
                let _ = self.ask("Shutdown", Vec::new()).await;
            }

            $(
                async fn $handler(&self, _: &PluginCtx, request: api::$request) -> Result<(), HandlerError> {
                    self.event(Request::$event(request)).await.map(|_| ())
                }
            )*
            $(
                async fn $asked_handler(
                    &self,
                    _: &PluginCtx,
                    request: api::$asked_request,
                ) -> Result<api::$response, HandlerError> {
                    match self.event(Request::$asked(request)).await? {
                        Response::$asked(response) => Ok(response),
                        other => Err(format!("{} was answered as {}", Event::$asked, other.event()).into()),
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
