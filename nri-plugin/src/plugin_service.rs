//! The service that a plugin offers on one connection: requests of the runtime become calls of the
//! plugin's handlers. There is one way for all fourteen events.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use nri_core::{
    Configuration, Event, EventMask, HandlerError, Plugin, PluginCtx, PluginId, ReceivedRequest,
    Request, Response, RuntimeInfo, api, dispatch, dispatch_undecoded,
};
use nri_proto::transport::{CallContext, Code, Service, Status};
use nri_proto::{Method, Wire as _, rpc};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::alarm::Alarm;
use crate::configuration_file;
use crate::fields::Ignored;
use crate::hand_over::Handed;
use crate::level::{self, RuntimeLevel};
use crate::link::{RuntimeLink, handling_now};
use crate::parts::Parts;
use crate::state::Registration;
use crate::sync_assembler::{SyncAssembler, Taken};
use crate::timed::timed;

/// What a plugin subscribes to that wants no events. On the wire an empty mask means all events, so
/// it gets the rarest event that every runtime knows, and does not see it.
const PLACEHOLDER: Event = Event::RemovePodSandbox;

/// How far a plugin's service has come. What was reached stays: requests may be faster than whoever
/// watches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Set by Configure.
    pub(crate) registration: Option<Registration>,
    /// Set by Synchronize: events come.
    pub(crate) ready: bool,
    /// Why there is nothing more to do.
    pub(crate) end: Option<End>,
    /// What the runtime sent in Configure.
    pub(crate) configured_with: Option<Arc<api::ConfigureRequest>>,
}

/// Why a plugin's service has nothing more to do.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// The runtime sent `Shutdown`.
    Shutdown,
    /// The plugin could not be set up, and the runtime was told.
    Failed(Failure),
}

/// What could not be done, and why.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    Configure(String),
    Synchronize(String),
}

/// What a plugin's service is made of.
pub(crate) struct Parameters {
    pub(crate) plugin: Arc<dyn Plugin>,
    pub(crate) id: PluginId,
    pub(crate) link: RuntimeLink,
    /// What a runtime is taken for that does not say and is not known.
    pub(crate) assumed_level: RuntimeLevel,
    pub(crate) max_sync_bytes: usize,
    /// In place of the plugin's own.
    pub(crate) failure_policy: Option<api::FailurePolicy>,
    /// The plugin's configuration, if the runtime has none.
    pub(crate) configuration_file: Option<PathBuf>,
}

/// The service on one connection.
pub(crate) struct PluginService {
    parameters: Parameters,
    assembler: Mutex<SyncAssembler>,
    /// Of a plugin that takes parts. One part is handled at a time.
    parts: tokio::sync::Mutex<Parts>,
    setup: Mutex<Setup>,
    progress: watch::Sender<Progress>,
    /// Of handlers that use up their time.
    alarm: Alarm,
}

/// What Configure leaves behind for the requests after it.
#[derive(Clone)]
struct Setup {
    cx: PluginCtx,
    events: EventMask,
    /// What the runtime makes nothing of.
    ignored: Arc<Ignored>,
    configured: bool,
}

impl PluginService {
    pub(crate) fn new(parameters: Parameters, progress: watch::Sender<Progress>) -> Self {
        let setup = Setup {
            cx: context(RuntimeInfo::default(), &parameters.link),
            events: EventMask::NONE,
            ignored: Arc::default(),
            configured: false,
        };
        Self {
            assembler: Mutex::new(SyncAssembler::new(parameters.max_sync_bytes)),
            parts: tokio::sync::Mutex::new(Parts::new(parameters.max_sync_bytes)),
            setup: Mutex::new(setup),
            parameters,
            progress,
            alarm: Alarm::default(),
        }
    }

    fn setup(&self) -> Setup {
        self.setup
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn configure(
        &self,
        call: &CallContext,
        request: api::ConfigureRequest,
    ) -> Result<api::ConfigureResponse, Status> {
        let configured_with = Arc::new(request.clone());
        let mut configuration = configuration(request);
        let without_any = configuration.config.trim().is_empty();
        if let Some(file) = self
            .parameters
            .configuration_file
            .as_ref()
            .filter(|_| without_any)
        {
            configuration.config = configuration_file::read(file)
                .await
                .map_err(|reason| self.fail(Failure::Configure(reason)))?;
            configuration.config_file = Some(file.display().to_string());
        }
        let runtime = configuration.runtime.clone();
        let request_timeout = configuration.request_timeout;
        let level = match RuntimeLevel::of(&configuration) {
            RuntimeLevel::Unknown => self.parameters.assumed_level,
            known => known,
        };
        let ignored = Ignored::of(&configuration);
        let ignored_fields = ignored.fields();
        let base = context(runtime.clone(), &self.parameters.link);
        let cx = base.clone().with_deadline(deadline(call));
        let plugin = &self.parameters.plugin;
        let chosen = self
            .timed("Configure", call, plugin.configure(&cx, configuration))
            .await
            .map_err(|error| self.fail(Failure::Configure(error.to_string())))?;
        let wanted = chosen.unwrap_or_else(|| plugin.events());
        let events = wanted & level.events();
        let missing = wanted - events;
        if events.is_empty() && !wanted.is_empty() {
            let reason = format!(
                "runtime {:?} {:?} has none of the events that the plugin wants ({}): it is older than protocol v0.10, or \
                 not known to be newer",
                runtime.name,
                runtime.version,
                names(wanted),
            );
            return Err(self.fail(Failure::Configure(reason)));
        }
        if !missing.is_empty() {
            tracing::warn!(
                plugin = %self.parameters.id, runtime = runtime.name, version = runtime.version,
                missing = names(missing),
                "the runtime does not have these events, or is not known to: the plugin will not get them"
            );
        }
        let failure_policy = self.parameters.failure_policy;
        let failure_policy = failure_policy.or_else(|| plugin.failure_policy());
        let heeds_failure_policy = level::heeds_failure_policy(&runtime);
        if failure_policy.is_some() && !heeds_failure_policy {
            tracing::warn!(
                plugin = %self.parameters.id, runtime = runtime.name, version = runtime.version,
                "the runtime is older than protocol v0.12.4 and does not heed the plugin's failure policy: what happens when \
                 the plugin does not answer is the runtime's choice"
            );
        }
        tracing::info!(
            plugin = %self.parameters.id, runtime = runtime.name, version = runtime.version,
            protocol = runtime.nri_version, events = names(events), "configured"
        );
        let answer = match events.is_empty() {
            true => EventMask::from(PLACEHOLDER),
            false => events,
        };
        *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = Setup {
            cx: base,
            events,
            ignored: Arc::new(ignored),
            configured: true,
        };
        let registration = Registration {
            plugin: self.parameters.id.clone(),
            runtime,
            request_timeout,
            events,
            missing,
            heeds_failure_policy,
            ignored_fields,
        };
        self.progress.send_modify(|progress| {
            progress.registration = Some(registration);
            progress.configured_with = Some(configured_with);
        });
        Ok(api::ConfigureResponse {
            events: answer.bits(),
            failure_policy,
        })
    }

    /// Goes on where another process was: the plugin is configured as that one was, gets the same
    /// events, and is synchronised.
    ///
    /// # Errors
    /// The plugin cannot be configured.
    pub(crate) async fn go_on(&self, before: &Handed) -> Result<(), String> {
        let configure = before.configure.clone().unwrap_or_default();
        let call = CallContext::new(None, Vec::new());
        let answer = self.configure(&call, configure).await;
        answer.map_err(|status| status.message)?;
        let before = EventMask::from_bits(before.events).map_err(|error| error.to_string())?;
        let mut setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        let unheard = setup.events - before;
        if !unheard.is_empty() {
            tracing::warn!(
                plugin = %self.parameters.id, events = names(unheard),
                "the plugin gets these events once it connects anew: the runtime was not told of them"
            );
        }
        setup.events = setup.events & before;
        let events = setup.events;
        drop(setup);
        self.progress.send_modify(|progress| {
            if let Some(registration) = &mut progress.registration {
                registration.events = events;
            }
            progress.ready = true;
        });
        Ok(())
    }

    async fn synchronize(
        &self,
        call: &CallContext,
        payload: Bytes,
    ) -> Result<api::SynchronizeResponse, Status> {
        let request = decode::<rpc::plugin::Synchronize>(&payload)?;
        let bytes = payload.len();
        drop(payload);
        let setup = self.setup();
        if !setup.configured {
            return Err(Status::new(
                Code::FailedPrecondition,
                "Synchronize came before Configure",
            ));
        }
        if self.parameters.plugin.takes_parts() {
            return self.synchronize_part(call, request, setup).await;
        }
        let taken = self
            .assembler
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(request, bytes);
        let (pods, containers) = match taken {
            Ok(Taken::Part) => {
                return Ok(api::SynchronizeResponse {
                    more: true,
                    ..Default::default()
                });
            }
            Ok(Taken::Whole(pods, containers)) => (pods, containers),
            Err(error) => {
                self.fail(Failure::Synchronize(error.to_string()));
                return Err(Status::new(Code::ResourceExhausted, error.to_string()));
            }
        };
        tracing::debug!(
            plugin = %self.parameters.id, pods = pods.len(), containers = containers.len(), "synchronising"
        );
        let cx = setup.cx.with_deadline(deadline(call));
        let work = self.parameters.plugin.synchronize(&cx, pods, containers);
        let update = self
            .timed("Synchronize", call, work)
            .await
            .map_err(|error| self.fail(Failure::Synchronize(error.to_string())))?;
        self.progress.send_modify(|progress| progress.ready = true);
        Ok(api::SynchronizeResponse {
            update,
            more: false,
        })
    }

    /// One part, for a plugin that takes them as they come.
    async fn synchronize_part(
        &self,
        call: &CallContext,
        request: api::SynchronizeRequest,
        setup: Setup,
    ) -> Result<api::SynchronizeResponse, Status> {
        let mut parts = self.parts.lock().await;
        let more = request.more;
        let part = parts.begin(request);
        tracing::debug!(
            plugin = %self.parameters.id, pods = part.pods.len(), containers = part.containers.len(),
            more, "synchronising a part"
        );
        let cx = setup.cx.with_deadline(deadline(call));
        let work = self.parameters.plugin.synchronize_part(&cx, part);
        let update = self
            .timed("Synchronize", call, work)
            .await
            .map_err(|error| self.fail(Failure::Synchronize(error.to_string())))?;
        let update = parts.end(update, more).map_err(|error| {
            self.fail(Failure::Synchronize(error.to_string()));
            Status::new(Code::ResourceExhausted, error.to_string())
        })?;
        if !more {
            self.progress.send_modify(|progress| progress.ready = true);
        }
        Ok(api::SynchronizeResponse { update, more })
    }

    async fn shutdown(&self, call: &CallContext) -> Result<api::Empty, Status> {
        let cx = self.setup().cx.with_deadline(deadline(call));
        let work = async {
            self.parameters.plugin.shutdown(&cx).await;
            Ok(())
        };
        // It cannot fail; and the session ends whatever the handler did.
        let _ = self.timed("Shutdown", call, work).await;
        self.end(End::Shutdown);
        Ok(api::Empty {})
    }

    /// The old form of nine events. An event that has no such form, or none that is known here, is
    /// not answered with an error, and neither is one without a handler: nothing is left that
    /// the runtime could try instead.
    async fn state_change(
        &self,
        call: &CallContext,
        change: api::StateChangeEvent,
    ) -> Result<api::Empty, Status> {
        if let Some(request) = Request::from_state_change(change) {
            match self.relay(call, request).await {
                Err(status) if status.code == Code::Unimplemented => {}
                other => {
                    other?;
                }
            }
        }
        Ok(api::Empty {})
    }

    /// Any event, on the wire. One that the plugin does not want is not looked at.
    async fn received(
        &self,
        call: &CallContext,
        event: Event,
        bytes: Bytes,
    ) -> Result<Response, Status> {
        let setup = self.setup();
        if !setup.events.contains(event) {
            return Ok(Response::empty(event));
        }
        let cx = setup.cx.clone().with_deadline(deadline(call));
        let (span, work) = self.begin_received(&cx, event, bytes)?;
        self.answer(call, event, &setup, work)
            .instrument(span)
            .await
    }

    /// Any event.
    async fn relay(&self, call: &CallContext, request: Request) -> Result<Response, Status> {
        let event = request.event();
        let setup = self.setup();
        if !setup.events.contains(event) {
            return Ok(Response::empty(event));
        }
        let cx = setup.cx.clone().with_deadline(deadline(call));
        let (span, work) = self.begin(&cx, request);
        self.answer(call, event, &setup, work)
            .instrument(span)
            .await
    }

    /// Begins to handle an event, on the wire. What is large is in no future but the handler's.
    fn begin_received<'a>(
        &'a self,
        cx: &'a PluginCtx,
        event: Event,
        bytes: Bytes,
    ) -> Result<(Span, Work<'a>), Status> {
        let plugin = &*self.parameters.plugin;
        if !plugin.takes_undecoded(event) {
            let request = Request::decode(event, &bytes).map_err(undecodable)?;
            drop(bytes);
            return Ok(self.begin(cx, request));
        }
        let request = ReceivedRequest::new(event, bytes).map_err(undecodable)?;
        let span = self.span_of(event, || request.subject());
        let dispatch = || Box::pin(dispatch_undecoded(plugin, cx, request)) as Work<'a>;
        let work = span.in_scope(|| handling_now(dispatch));
        Ok((span, work))
    }

    /// Begins to handle an event.
    fn begin<'a>(&'a self, cx: &'a PluginCtx, request: Request) -> (Span, Work<'a>) {
        let span = self.span_of(request.event(), || request.subject());
        let plugin = &*self.parameters.plugin;
        let dispatch = || Box::pin(dispatch(plugin, cx, request)) as Work<'a>;
        let work = span.in_scope(|| handling_now(dispatch));
        (span, work)
    }

    /// What a handler answers to an event, or the status with which it is refused.
    async fn answer(
        &self,
        call: &CallContext,
        event: Event,
        setup: &Setup,
        work: Work<'_>,
    ) -> Result<Response, Status> {
        let response = timed(&self.alarm, event.name(), call, work)
            .await
            .map_err(|error| {
                if !error.is_unimplemented() {
                    tracing::warn!(%error, "a handler failed");
                }
                Status::new(Code::from(error.code()), error.to_string())
            })?;
        let runtime = setup.cx.runtime_info();
        for (field, since) in setup.ignored.news(&response) {
            tracing::warn!(
                runtime = runtime.name,
                version = runtime.version,
                field = field.as_str_name(),
                since,
                "the runtime is older than this field of the answer, and ignores it"
            );
        }
        Ok(response)
    }

    fn span_of(&self, event: Event, subject: impl Fn() -> String) -> Span {
        tracing::info_span!("request", plugin = %self.parameters.id, %event, subject = subject())
    }

    /// Runs a handler that is not an event's.
    async fn timed<T>(
        &self,
        method: &'static str,
        call: &CallContext,
        work: impl Future<Output = Result<T, HandlerError>>,
    ) -> Result<T, HandlerError> {
        let span = tracing::info_span!("request", plugin = %self.parameters.id);
        let timed = timed(&self.alarm, method, call, work);
        timed.instrument(span).await
    }

    /// Remembers why the plugin cannot be set up; the runtime gets the answer and closes the
    /// connection.
    fn fail(&self, failure: Failure) -> Status {
        let (Failure::Configure(reason) | Failure::Synchronize(reason)) = &failure;
        let status = Status::unknown(reason);
        self.end(End::Failed(failure));
        status
    }

    /// The first end counts.
    fn end(&self, end: End) {
        self.progress.send_modify(|progress| {
            progress.end.get_or_insert(end);
        });
    }
}

#[async_trait]
impl Service for PluginService {
    fn name(&self) -> &'static str {
        rpc::plugin::SERVICE
    }

    async fn call(
        &self,
        call: CallContext,
        method: &str,
        payload: Bytes,
    ) -> Result<Vec<u8>, Status> {
        use rpc::plugin::{Configure, Shutdown, StateChange, Synchronize};
        if let Some(event) = Event::ALL.into_iter().find(|event| event.name() == method) {
            return Ok(self.received(&call, event, payload).await?.encode());
        }
        // What is rare is apart, so that every call need not have room for it.
        match method {
            StateChange::NAME => {
                let answer = self.state_change(&call, decode::<StateChange>(&payload)?);
                Ok(Box::pin(answer).await?.to_wire())
            }
            Configure::NAME => {
                let answer = self.configure(&call, decode::<Configure>(&payload)?);
                Ok(Box::pin(answer).await?.to_wire())
            }
            Synchronize::NAME => {
                let answer = self.synchronize(&call, payload);
                Ok(Box::pin(answer).await?.to_wire())
            }
            Shutdown::NAME => Ok(Box::pin(self.shutdown(&call)).await?.to_wire()),
            _ => Err(Status::unknown_method(method)),
        }
    }
}

fn decode<M: Method>(payload: &[u8]) -> Result<M::Request, Status> {
    M::Request::from_wire(payload).map_err(undecodable)
}

fn undecodable(error: prost::DecodeError) -> Status {
    Status::new(
        Code::Internal,
        format!("the request cannot be decoded: {error}"),
    )
}

fn context(runtime: RuntimeInfo, link: &RuntimeLink) -> PluginCtx {
    PluginCtx::new(Arc::new(runtime), Arc::new(link.clone()))
}

fn deadline(call: &CallContext) -> Option<std::time::Instant> {
    call.deadline().map(Instant::into_std)
}

fn configuration(request: api::ConfigureRequest) -> Configuration {
    // Negative on the wire is nonsense, and taken for not said.
    let milliseconds = |value: i64| Duration::from_millis(value.try_into().unwrap_or(0));
    let mut configuration = Configuration::default();
    configuration.config = request.config;
    configuration.runtime = RuntimeInfo::new(
        request.runtime_name,
        request.runtime_version,
        request.nri_version,
    );
    configuration.registration_timeout = milliseconds(request.registration_timeout);
    configuration.request_timeout = milliseconds(request.request_timeout);
    configuration
}

/// A handler at work.
type Work<'a> = Pin<Box<dyn Future<Output = Result<Response, HandlerError>> + Send + 'a>>;

/// The events in words.
fn names(events: EventMask) -> String {
    let names: Vec<&str> = events.iter().map(Event::name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law: what serves a request has no room for a request: that is in the handler's own future.
    #[test]
    fn what_serves_a_request_is_small() {
        let parameters = Parameters {
            plugin: Arc::new(crate::handlers().build()),
            id: "10-small".parse().unwrap(),
            link: RuntimeLink::new(Duration::ZERO),
            assumed_level: RuntimeLevel::Unknown,
            max_sync_bytes: 0,
            failure_policy: None,
            configuration_file: None,
        };
        let service = PluginService::new(parameters, watch::Sender::default());
        let work = service.call(CallContext::default(), "CreateContainer", Bytes::new());
        let (size, request) = (size_of_val(&*work), size_of::<Request>());
        println!("{size} bytes for a request of {request}");
        assert!(
            size < request / 2,
            "{size} bytes for a request of {request}"
        );
    }
}
