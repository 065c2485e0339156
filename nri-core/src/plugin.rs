//! What a plugin is: one handler per event, all defaulted. The same trait serves plugins in
//! processes of their own and plugins built into a runtime.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nri_proto::api;

use crate::relay::{Request, Response, relayed_events};
use crate::{Event, EventMask, ReceivedRequest};

/// Why a handler could not do its work. Any error converts into it with `?`, and so does a text.
///
/// ```
/// use nri_core::HandlerError;
/// fn device() -> Result<(), HandlerError> {
///     std::fs::metadata("/nonexistent")?;
///     Err("no such device".into())
/// }
/// assert!(device().is_err());
/// ```
pub struct HandlerError(Kind);

enum Kind {
    Unimplemented,
    Failed(Box<dyn StdError + Send + Sync>),
}

impl HandlerError {
    /// Says that the plugin has no handler for the request (code 12 on the wire).
    pub fn unimplemented() -> Self {
        Self(Kind::Unimplemented)
    }

    /// Whether the plugin has no handler for the request.
    pub fn is_unimplemented(&self) -> bool {
        matches!(self.0, Kind::Unimplemented)
    }

    /// The status code that says what kind of error it is: that of an [`Error`](crate::Error),
    /// where another runtime's answer is handed on; else 2, unknown. 12, unimplemented, is said
    /// of the plugin itself alone: a runtime takes it for one that lacks the method.
    ///
    /// ```
    /// use nri_core::{Error, HandlerError};
    ///
    /// assert_eq!(HandlerError::unimplemented().code(), 12);
    /// assert_eq!(HandlerError::from("no such device").code(), 2);
    /// assert_eq!(HandlerError::from(Error::Invalid("x".into())).code(), 3);
    /// ```
    pub fn code(&self) -> i32 {
        const UNKNOWN: i32 = 2;
        const UNIMPLEMENTED: i32 = 12;
        match &self.0 {
            Kind::Unimplemented => UNIMPLEMENTED,
            Kind::Failed(error) => match error.downcast_ref::<crate::Error>() {
                Some(error) if error.code() != UNIMPLEMENTED => error.code(),
                _ => UNKNOWN,
            },
        }
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self(Kind::Failed(error.into()))
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Unimplemented => f.write_str("not implemented by the plugin"),
            Kind::Failed(error) => {
                write!(f, "{error}")?;
                let mut source = error.source();
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandlerError({self})")
    }
}

/// The runtime that a plugin serves, as far as it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeInfo {
    /// Name, for example `containerd`.
    pub name: String,
    /// Version, in the runtime's own scheme.
    pub version: String,
    /// Protocol level, for example `v0.12.5`; empty for runtimes before v0.12.
    pub nri_version: String,
}

impl RuntimeInfo {
    /// A runtime of this name, version and protocol level.
    pub fn new(
        name: impl Into<String>,
        version: impl Into<String>,
        nri_version: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            nri_version: nri_version.into(),
        }
    }
}

/// What the runtime tells a plugin once, before anything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Configuration {
    /// The plugin's own configuration: the content of its drop-in file, or empty.
    pub config: String,
    /// The name of the file that `config` is from, if the plugin read it itself; `None` if the
    /// runtime sent it.
    pub config_file: Option<String>,
    /// The runtime.
    pub runtime: RuntimeInfo,
    /// How long a registration may take; zero if the runtime does not say (before v0.7).
    pub registration_timeout: Duration,
    /// How long a request may take; zero if the runtime does not say (before v0.7).
    pub request_timeout: Duration,
}

/// A part of what exists; see [`Plugin::synchronize_part`].
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct SyncPart {
    /// Pods.
    pub pods: Vec<api::PodSandbox>,
    /// Containers; their pods may have come in another part.
    pub containers: Vec<api::Container>,
    /// Whether it is the first one: what is known from before may be out of date.
    pub first: bool,
    /// Whether it is the last one. A first part may be the last, too.
    pub last: bool,
}

impl SyncPart {
    /// A part between the first and the last.
    pub fn new(pods: Vec<api::PodSandbox>, containers: Vec<api::Container>) -> Self {
        Self {
            pods,
            containers,
            first: false,
            last: false,
        }
    }
}

/// Updates that could not be asked for as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateFailure {
    /// The runtime refused the request as a whole.
    #[error("the runtime refused the update: {0}")]
    Refused(String),
    /// There is no connection to the runtime (any more).
    #[error("no connection to the runtime: {0}")]
    Disconnected(String),
    /// The runtime did not answer in time.
    #[error("the runtime did not answer within {after:?}")]
    TimedOut {
        /// How long it had.
        after: Duration,
    },
}

/// The way back from a plugin to its runtime.
#[async_trait]
pub trait RuntimeHandle: fmt::Debug + Send + Sync {
    /// Asks the runtime to update and evict containers outside of any request, and returns the
    /// updates that it could not apply.
    ///
    /// Do not wait for it inside a handler: a runtime may hold the request's lock until the handler
    /// is done, and then both wait until the request's time is over. Return the updates in the
    /// response instead, or spawn a task.
    ///
    /// # Errors
    /// The request as a whole failed.
    async fn update_containers(
        &self,
        updates: Vec<api::ContainerUpdate>,
        evictions: Vec<api::ContainerEviction>,
    ) -> Result<Vec<api::ContainerUpdate>, UpdateFailure>;
}

/// The context of one handler call.
#[derive(Debug, Clone)]
pub struct PluginCtx {
    deadline: Option<Instant>,
    info: Arc<RuntimeInfo>,
    runtime: Arc<dyn RuntimeHandle>,
}

impl PluginCtx {
    /// A context without a deadline.
    pub fn new(info: Arc<RuntimeInfo>, runtime: Arc<dyn RuntimeHandle>) -> Self {
        Self {
            deadline: None,
            info,
            runtime,
        }
    }

    /// The same context with a deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// When the runtime stops waiting for the answer; `None` if it did not say.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The runtime that asks.
    pub fn runtime_info(&self) -> &RuntimeInfo {
        &self.info
    }

    /// The way back to the runtime, to keep beyond the call.
    pub fn runtime(&self) -> Arc<dyn RuntimeHandle> {
        Arc::clone(&self.runtime)
    }
}

/// A plugin: what it subscribes to, and a handler per event.
///
/// Handlers have defaults that do nothing; override those whose events [`events`](Plugin::events)
/// names. Handlers run concurrently if the runtime sends requests concurrently, so state goes
/// behind interior mutability.
///
/// ```
/// use async_trait::async_trait;
/// use nri_core::{api, Event, EventMask, HandlerError, Plugin, PluginCtx};
///
/// struct Greeter;
///
/// #[async_trait]
/// impl Plugin for Greeter {
///     fn events(&self) -> EventMask {
///         Event::CreateContainer.into()
///     }
///
///     async fn create_container(
///         &self,
///         _cx: &PluginCtx,
///         _request: api::CreateContainerRequest,
///     ) -> Result<api::CreateContainerResponse, HandlerError> {
///         let mut adjust = api::ContainerAdjustment::default();
///         adjust.annotations.insert("greeting".into(), "hello".into());
///         Ok(api::CreateContainerResponse { adjust: Some(adjust), ..Default::default() })
///     }
/// }
/// ```
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// The events that the plugin wants. No other event reaches it.
    fn events(&self) -> EventMask;

    /// Takes the configuration; the first call on every connection. `Some` replaces
    /// [`events`](Plugin::events) for this connection.
    async fn configure(
        &self,
        cx: &PluginCtx,
        configuration: Configuration,
    ) -> Result<Option<EventMask>, HandlerError> {
        let _ = (cx, configuration);
        Ok(None)
    }

    /// What is to happen when the plugin does not answer a request: it takes longer than it has, or
    /// its connection is lost while it is asked. Asked for once per connection, right after
    /// [`configure`](Plugin::configure).
    ///
    /// `None`, the default, leaves it to the runtime: one in Go goes on without the plugin and
    /// closes it, one of ours does what its configuration says. Runtimes before v0.12.4 do not
    /// heed it. See [`Policy::wished`](crate::flow::Policy::wished) and
    /// [`PluginLimits::wished`](crate::schedule::PluginLimits::wished) for what the two halves of
    /// it mean.
    fn failure_policy(&self) -> Option<api::FailurePolicy> {
        None
    }

    /// Takes the pods and containers that exist; the second call on every connection. The answer
    /// updates some of them.
    async fn synchronize(
        &self,
        cx: &PluginCtx,
        pods: Vec<api::PodSandbox>,
        containers: Vec<api::Container>,
    ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
        let _ = (cx, pods, containers);
        Ok(Vec::new())
    }

    /// Whether what exists is to come in parts, to [`synchronize_part`](Self::synchronize_part),
    /// and never as a whole. Default: false.
    fn takes_parts(&self) -> bool {
        false
    }

    /// Takes a part of the pods and containers that exist, if the plugin
    /// [takes parts](Self::takes_parts): a node with ten thousand containers does not have to be in
    /// memory at once then. All pods come before the first container; a part has as many as fit
    /// into a message.
    ///
    /// Part follows part, the next one when this one is done. Each may be answered with updates:
    /// all of them are sent with the answer to the [last](SyncPart::last).
    async fn synchronize_part(
        &self,
        cx: &PluginCtx,
        part: SyncPart,
    ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
        let _ = (cx, part);
        Ok(Vec::new())
    }

    /// Whether requests of an event are to come undecoded, to [`receive`](Self::receive). Default:
    /// false.
    fn takes_undecoded(&self, event: Event) -> bool {
        let _ = event;
        false
    }

    /// Takes an event that is not decoded, if the plugin [wants it so](Self::takes_undecoded). The
    /// default decodes it, and has [`relay`](Self::relay) handle it.
    async fn receive(
        &self,
        cx: &PluginCtx,
        request: ReceivedRequest,
    ) -> Result<Response, HandlerError> {
        self.relay(cx, request.decode()?).await
    }

    /// The runtime shuts the plugin down; the connection ends soon.
    async fn shutdown(&self, cx: &PluginCtx) {
        let _ = cx;
    }

    /// Does what was put off: the last call of all, when the program that runs the plugin is to end
    /// and the connection is over or about to be. A plugin that answers before it has done its
    /// work waits here until that is done; how long it may is up to who runs it.
    async fn finish(&self) {}

    /// A pod sandbox is up. An error refuses the pod.
    async fn run_pod_sandbox(
        &self,
        cx: &PluginCtx,
        request: api::RunPodSandboxRequest,
    ) -> Result<(), HandlerError> {
        let _ = (cx, request);
        Ok(())
    }

    /// The resources of a pod are about to change. An error refuses the change.
    async fn update_pod_sandbox(
        &self,
        cx: &PluginCtx,
        request: api::UpdatePodSandboxRequest,
    ) -> Result<(), HandlerError> {
        let _ = (cx, request);
        Ok(())
    }

    /// The resources of a pod have changed.
    async fn post_update_pod_sandbox(
        &self,
        cx: &PluginCtx,
        request: api::PostUpdatePodSandboxRequest,
    ) -> Result<(), HandlerError> {
        let _ = (cx, request);
        Ok(())
    }

    /// A pod sandbox was stopped.
    async fn stop_pod_sandbox(
        &self,
        cx: &PluginCtx,
        request: api::StopPodSandboxRequest,
    ) -> Result<(), HandlerError> {
        let _ = (cx, request);
        Ok(())
    }

    /// A pod sandbox is removed.
    async fn remove_pod_sandbox(
        &self,
        cx: &PluginCtx,
        request: api::RemovePodSandboxRequest,
    ) -> Result<(), HandlerError> {
        let _ = (cx, request);
        Ok(())
    }

    /// A container is about to be created: adjust it, update or evict others. An error refuses the
    /// container.
    async fn create_container(
        &self,
        cx: &PluginCtx,
        request: api::CreateContainerRequest,
    ) -> Result<api::CreateContainerResponse, HandlerError> {
        let _ = (cx, request);
        Ok(api::CreateContainerResponse::default())
    }

    /// A container was created; the message shows it as adjusted.
    async fn post_create_container(
        &self,
        cx: &PluginCtx,
        request: api::PostCreateContainerRequest,
    ) -> Result<(), HandlerError> {
        let _ = (cx, request);
        Ok(())
    }

    /// A container is about to be started. An error refuses the start.
    async fn start_container(
        &self,
        cx: &PluginCtx,
        request: api::StartContainerRequest,
    ) -> Result<(), HandlerError> {
        let _ = (cx, request);
        Ok(())
    }

    /// A container was started.
    async fn post_start_container(
        &self,
        cx: &PluginCtx,
        request: api::PostStartContainerRequest,
    ) -> Result<(), HandlerError> {
        let _ = (cx, request);
        Ok(())
    }

    /// The resources of a container are about to change: change what is asked for, update or evict
    /// others. An error refuses the change.
    async fn update_container(
        &self,
        cx: &PluginCtx,
        request: api::UpdateContainerRequest,
    ) -> Result<api::UpdateContainerResponse, HandlerError> {
        let _ = (cx, request);
        Ok(api::UpdateContainerResponse::default())
    }

    /// The resources of a container have changed.
    async fn post_update_container(
        &self,
        cx: &PluginCtx,
        request: api::PostUpdateContainerRequest,
    ) -> Result<(), HandlerError> {
        let _ = (cx, request);
        Ok(())
    }

    /// A container was stopped: hand its resources to others.
    async fn stop_container(
        &self,
        cx: &PluginCtx,
        request: api::StopContainerRequest,
    ) -> Result<api::StopContainerResponse, HandlerError> {
        let _ = (cx, request);
        Ok(api::StopContainerResponse::default())
    }

    /// A container is removed.
    async fn remove_container(
        &self,
        cx: &PluginCtx,
        request: api::RemoveContainerRequest,
    ) -> Result<(), HandlerError> {
        let _ = (cx, request);
        Ok(())
    }

    /// The combined adjustment of a container is about to be applied: accept or reject it. An error
    /// rejects it, with the error's text as the reason; a plugin that does not override this
    /// has no opinion.
    async fn validate_container_adjustment(
        &self,
        cx: &PluginCtx,
        request: api::ValidateContainerAdjustmentRequest,
    ) -> Result<api::ValidateContainerAdjustmentResponse, HandlerError> {
        let _ = (cx, request);
        Ok(api::ValidateContainerAdjustmentResponse::default())
    }

    /// Takes any event: whichever it is, it comes in here. The default has the handler of the event
    /// handle it.
    ///
    /// Override it, instead of handlers, in a plugin that treats all events alike: one that hands
    /// them on, records or counts them. The answer is to be one to the request's event;
    /// [`Response::empty`] is that of a plugin that wants nothing. An error means what it means in
    /// the handler of the event.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use async_trait::async_trait;
    /// use nri_core::{EventMask, HandlerError, Plugin, PluginCtx, Request, Response};
    ///
    /// #[derive(Default)]
    /// struct Counter(AtomicU64);
    ///
    /// #[async_trait]
    /// impl Plugin for Counter {
    ///     fn events(&self) -> EventMask {
    ///         EventMask::ALL
    ///     }
    ///
    ///     async fn relay(&self, _: &PluginCtx, request: Request) -> Result<Response, HandlerError> {
    ///         self.0.fetch_add(1, Ordering::Relaxed);
    ///         Ok(Response::empty(request.event()))
    ///     }
    /// }
    /// ```
    // As `async_trait` would have it, but that the request, which is large, is not in a future that
    // does nothing but wait for the handler's.
    fn relay<'life0, 'life1, 'async_trait>(
        &'life0 self,
        cx: &'life1 PluginCtx,
        request: Request,
    ) -> Answer<'async_trait, Response>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        call_handler_of(self, cx, request)
    }
}

/// The answer of a handler, to come.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, HandlerError>> + Send + 'a>>;

macro_rules! to_response {
    (tells $answer:expr => $response:ident) => {
        $answer.map(|()| api::$response {})
    };
    (asks $answer:expr => $response:ident) => {
        $answer
    };
    (judges $answer:expr => $response:ident) => {
        $answer
    };
}

macro_rules! define_call_handler_of {
    ($($kind:ident $about:ident $form:ident $event:ident $handler:ident($request:ident) -> $response:ident;)*) => {
        /// Calls the handler of a request's event. The request is not in what is returned: it is
        /// large, and is in the handler's own future.
        fn call_handler_of<'a, P: Plugin + ?Sized>(
            plugin: &'a P,
            cx: &'a PluginCtx,
            request: Request,
        ) -> Answer<'a, Response> {
            match request {
                $(Request::$event(request) => {
                    let answer = plugin.$handler(cx, request);
                    Box::pin(async move {
                        to_response!($kind answer.await => $response).map(Response::$event)
                    })
                })*
            }
        }
    };
}

relayed_events!(define_call_handler_of);
