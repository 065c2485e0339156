//! Plugins made of closures. What such a plugin subscribes to is what it was given handlers for.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use nri_core::{Configuration, Event, EventMask, HandlerError, Plugin, PluginCtx, api};

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, HandlerError>> + Send>>;
type Handler<Q, T> = Box<dyn Fn(PluginCtx, Q) -> Answer<T> + Send + Sync>;

/// Begins a plugin made of closures.
///
/// ```
/// use nri_plugin::{Event, EventMask, Plugin as _, api, handlers};
///
/// let plugin = handlers()
///     .on_create_container(|_cx, request| async move {
///         let container = request.container.ok_or("no container")?;
///         let mut adjust = api::ContainerAdjustment::default();
///         adjust.annotations.insert("example.com/seen".into(), container.name);
///         Ok(api::CreateContainerResponse { adjust: Some(adjust), ..Default::default() })
///     })
///     .on_stop_pod_sandbox(|_cx, _request| async { Ok(()) })
///     .build();
/// assert_eq!(plugin.events(), EventMask::from_iter([Event::CreateContainer, Event::StopPodSandbox]));
/// ```
pub fn handlers() -> HandlersBuilder {
    HandlersBuilder::default()
}

/// Makes builder and plugin from a row per event: the event, its method of the builder, its method
/// of [`Plugin`] with the request, and the answer.
macro_rules! define {
    ($($event:ident $setter:ident $handler:ident($request:ident) -> $answer:ty;)*) => {
        /// A plugin of closures in the making; see [`handlers`]. A second closure for the same
        /// event replaces the first.
        #[derive(Default)]
        #[must_use = "build() makes the plugin"]
        pub struct HandlersBuilder {
            configure: Option<Handler<Configuration, Option<EventMask>>>,
            synchronize: Option<Handler<(Vec<api::PodSandbox>, Vec<api::Container>), Vec<api::ContainerUpdate>>>,
            shutdown: Option<Handler<(), ()>>,
            failure_policy: Option<api::FailurePolicy>,
            $($handler: Option<Handler<api::$request, $answer>>,)*
        }

        impl HandlersBuilder {
            $(
                #[doc = concat!("Subscribes to [`Event::", stringify!($event), "`] with this handler; see [`Plugin::", stringify!($handler), "`].")]
                pub fn $setter<F, R>(mut self, handler: F) -> Self
                where
                    F: Fn(PluginCtx, api::$request) -> R + Send + Sync + 'static,
                    R: Future<Output = Result<$answer, HandlerError>> + Send + 'static,
                {
                    self.$handler = Some(Box::new(move |cx, request| Box::pin(handler(cx, request))));
                    self
                }
            )*

            fn events(&self) -> EventMask {
                let given = [$((Event::$event, self.$handler.is_some()),)*];
                given.into_iter().filter(|(_, given)| *given).map(|(event, _)| event).collect()
            }
        }

        #[async_trait]
        impl Plugin for Handlers {
            fn events(&self) -> EventMask {
                self.events
            }

            fn failure_policy(&self) -> Option<api::FailurePolicy> {
                self.given.failure_policy
            }

            async fn configure(
                &self,
                cx: &PluginCtx,
                configuration: Configuration,
            ) -> Result<Option<EventMask>, HandlerError> {
                call(&self.given.configure, cx, configuration).await
            }

            async fn synchronize(
                &self,
                cx: &PluginCtx,
                pods: Vec<api::PodSandbox>,
                containers: Vec<api::Container>,
            ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
                call(&self.given.synchronize, cx, (pods, containers)).await
            }

            async fn shutdown(&self, cx: &PluginCtx) {
                // Its handler has no way to fail.
                let _ = call(&self.given.shutdown, cx, ()).await;
            }

            $(
                async fn $handler(
                    &self,
                    cx: &PluginCtx,
                    request: api::$request,
                ) -> Result<$answer, HandlerError> {
                    call(&self.given.$handler, cx, request).await
                }
            )*
        }
    };
}

define! {
    RunPodSandbox on_run_pod_sandbox run_pod_sandbox(RunPodSandboxRequest) -> ();
    StopPodSandbox on_stop_pod_sandbox stop_pod_sandbox(StopPodSandboxRequest) -> ();
    RemovePodSandbox on_remove_pod_sandbox remove_pod_sandbox(RemovePodSandboxRequest) -> ();
    UpdatePodSandbox on_update_pod_sandbox update_pod_sandbox(UpdatePodSandboxRequest) -> ();
    PostUpdatePodSandbox on_post_update_pod_sandbox post_update_pod_sandbox(PostUpdatePodSandboxRequest) -> ();
    CreateContainer on_create_container create_container(CreateContainerRequest) -> api::CreateContainerResponse;
    PostCreateContainer on_post_create_container post_create_container(PostCreateContainerRequest) -> ();
    StartContainer on_start_container start_container(StartContainerRequest) -> ();
    PostStartContainer on_post_start_container post_start_container(PostStartContainerRequest) -> ();
    UpdateContainer on_update_container update_container(UpdateContainerRequest) -> api::UpdateContainerResponse;
    PostUpdateContainer on_post_update_container post_update_container(PostUpdateContainerRequest) -> ();
    StopContainer on_stop_container stop_container(StopContainerRequest) -> api::StopContainerResponse;
    RemoveContainer on_remove_container remove_container(RemoveContainerRequest) -> ();
    ValidateContainerAdjustment on_validate_container_adjustment validate_container_adjustment(ValidateContainerAdjustmentRequest) -> api::ValidateContainerAdjustmentResponse;
}

/// A plugin made of closures; see [`handlers`].
pub struct Handlers {
    given: HandlersBuilder,
    events: EventMask,
}

impl HandlersBuilder {
    /// Says what is to happen when the plugin does not answer; see [`Plugin::failure_policy`].
    pub fn failure_policy(mut self, policy: api::FailurePolicy) -> Self {
        self.failure_policy = Some(policy);
        self
    }

    /// Takes the configuration; see [`Plugin::configure`]. `Some` replaces the subscription.
    pub fn on_configure<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(PluginCtx, Configuration) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Option<EventMask>, HandlerError>> + Send + 'static,
    {
        self.configure = Some(Box::new(move |cx, it| Box::pin(handler(cx, it))));
        self
    }

    /// Takes the pods and containers that exist; see [`Plugin::synchronize`].
    pub fn on_synchronize<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(PluginCtx, Vec<api::PodSandbox>, Vec<api::Container>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<api::ContainerUpdate>, HandlerError>> + Send + 'static,
    {
        self.synchronize = Some(Box::new(move |cx, (pods, containers)| {
            Box::pin(handler(cx, pods, containers))
        }));
        self
    }

    /// Handles the runtime's `Shutdown`; see [`Plugin::shutdown`].
    pub fn on_shutdown<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(PluginCtx) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.shutdown = Some(Box::new(move |cx, ()| {
            let work = handler(cx);
            Box::pin(async move {
                work.await;
                Ok(())
            })
        }));
        self
    }

    /// The plugin.
    pub fn build(self) -> Handlers {
        Handlers {
            events: self.events(),
            given: self,
        }
    }
}

/// Calls a handler; without one the answer is the default.
async fn call<Q, T: Default>(
    handler: &Option<Handler<Q, T>>,
    cx: &PluginCtx,
    request: Q,
) -> Result<T, HandlerError> {
    match handler {
        Some(handler) => handler(cx.clone(), request).await,
        None => Ok(T::default()),
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HandlersBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlersBuilder")
            .field("events", &self.events())
            .finish_non_exhaustive()
    }
}
