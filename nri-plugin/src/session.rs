//! One connection's life: registration, being set up, and the end. Every wait is bounded, and ends
//! with the connection.

use std::fmt;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nri_core::{NRI_VERSION, PluginId, api};
use nri_proto::transport::{
    CallError, CallOptions, CloseReason, Connection, Limits, Role, RuntimeClient,
};
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::Error;
use crate::hand_over::{Asked, HandOver, Handed};
use crate::level::RuntimeLevel;
use crate::link::RuntimeLink;
use crate::plugin_service::{End, Failure, Parameters, PluginService, Progress};
use crate::source::{Opened, ShutdownGuard};
use crate::state::{Ended, Registration, State};

/// How long the requests in progress may take to be answered when the plugin is to end, and then
/// what it has put off to be done.
const GRACE: Duration = Duration::from_secs(1);

/// Lets a plugin do what it has put off, for a moment: nothing of it is left to be done once the
/// program ends.
pub(crate) async fn finish(plugin: &dyn nri_core::Plugin) {
    if tokio::time::timeout(GRACE, plugin.finish()).await.is_err() {
        tracing::warn!(after = ?GRACE, "the plugin ends, and has not done all that it has put off");
    }
}

/// What all sessions of a runner have in common.
#[derive(Clone)]
pub(crate) struct SessionConfig {
    pub(crate) plugin: Arc<dyn nri_core::Plugin>,
    pub(crate) id: PluginId,
    pub(crate) connect_timeout: Duration,
    pub(crate) registration_timeout: Duration,
    pub(crate) configure_timeout: Duration,
    pub(crate) assumed_level: RuntimeLevel,
    pub(crate) max_sync_bytes: usize,
    /// In place of the plugin's own.
    pub(crate) failure_policy: Option<api::FailurePolicy>,
    pub(crate) configuration_file: Option<PathBuf>,
    pub(crate) limits: Limits,
}

/// How a runner is steered and watched from outside.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) link: RuntimeLink,
    /// Who wants the connection.
    pub(crate) asked: Asked,
}

impl Control {
    /// Resolves when the runner is to stop. Once stopped, it is so for good.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left who could stop it.
            std::future::pending::<()>().await;
        }
    }
}

/// A plugin that is registered and configured.
///
/// Events come as soon as the runtime has synchronised the plugin. Dropping it closes the
/// connection.
///
/// ```
/// use nri_plugin::{Ended, Runner, handlers};
/// # use std::{sync::Arc, time::Duration};
/// # use nri_plugin::api;
/// # use nri_proto::transport::{CallContext, CallOptions, Connection, PluginClient, Role, RuntimeServer, RuntimeService, Status};
/// # struct Welcoming;
/// # #[async_trait::async_trait]
/// # impl RuntimeService for Welcoming {
/// #     async fn register_plugin(&self, _: CallContext, _: api::RegisterPluginRequest) -> Result<api::Empty, Status> {
/// #         Ok(api::Empty {})
/// #     }
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let (stream, other_end) = tokio::net::UnixStream::pair()?;
/// # let runtime = Connection::builder(Role::Runtime).serve(RuntimeServer::new(Arc::new(Welcoming))).start(other_end);
/// # let peer = PluginClient::new(runtime.client());
/// # tokio::spawn(async move {
/// #     let options = || CallOptions::timeout(Duration::from_secs(2));
/// #     let _ = peer.configure(&api::ConfigureRequest::default(), options()).await;
/// #     let _ = peer.synchronize(&api::SynchronizeRequest::default(), options()).await;
/// #     runtime.close();
/// # });
/// let plugin = handlers().on_run_pod_sandbox(|_cx, _request| async { Ok(()) }).build();
/// let connected = Runner::builder(plugin).identity("10-example").stream(stream).build()?.connect().await?;
/// println!("these events will come: {:?}", connected.registration().events);
///
/// connected.synchronized().await?;
/// let link = connected.runtime();
/// tokio::spawn(async move { /* updates containers through the link now and then */ drop(link) });
///
/// assert_eq!(connected.ended().await?, Ended::Disconnected);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it closes the connection"]
pub struct Connected {
    plugin: Arc<dyn nri_core::Plugin>,
    session: Session,
    registration: Registration,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("registration", &self.registration)
            .field("connection", &self.session.connection)
            .finish()
    }
}

struct Session {
    id: PluginId,
    connection: Connection,
    progress: watch::Receiver<Progress>,
    control: Control,
    /// The connection's socket, if it may be handed over.
    socket: Option<OwnedFd>,
    /// After the connection, so that it has no more to say when this cuts it.
    _ender: Option<ShutdownGuard>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.control.link.set(None);
        self.connection.close();
    }
}

impl Connected {
    /// Registers the plugin on a stream and waits until it is configured.
    pub(crate) async fn open(
        terms: &SessionConfig,
        control: &Control,
        opened: Opened,
    ) -> Result<Self, Error> {
        let (progress, progress_here) = watch::channel(Progress::default());
        let parameters = Parameters {
            plugin: Arc::clone(&terms.plugin),
            id: terms.id.clone(),
            link: control.link.clone(),
            assumed_level: terms.assumed_level,
            max_sync_bytes: terms.max_sync_bytes,
            failure_policy: terms.failure_policy,
            configuration_file: terms.configuration_file.clone(),
        };
        // Serving begins before registering: Configure may overtake the answer to the registration.
        let service = PluginService::new(parameters, progress);
        let mut builder = Connection::builder(Role::Plugin).limits(terms.limits.clone());
        let goes_on = opened.before.is_some();
        if let Some(mut before) = opened.before {
            let plugin = terms.id.clone();
            let done = service.go_on(&before).await;
            done.map_err(|reason| Error::Configure { plugin, reason })?;
            builder = builder.go_on(before.detached());
        }
        let connection = builder.serve(service).start(opened.stream);
        let session = Session {
            id: terms.id.clone(),
            connection,
            progress: progress_here,
            control: control.clone(),
            socket: opened.socket,
            _ender: opened.ender,
        };
        if goes_on {
            let client = RuntimeClient::new(session.connection.client());
            control.link.set(Some(client));
        }
        let registered = match goes_on {
            true => session.configured(terms.configure_timeout).await,
            false => session.set_up(terms).await,
        };
        match registered {
            Ok(registration) => Ok(Self {
                plugin: Arc::clone(&terms.plugin),
                session,
                registration,
            }),
            Err(error) => {
                session.close().await;
                Err(error)
            }
        }
    }

    /// What became of the registration.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// The way back to the runtime.
    pub fn runtime(&self) -> RuntimeLink {
        self.session.control.link.clone()
    }

    /// Waits until the runtime has synchronised the plugin. May be dropped and called again.
    ///
    /// The runtime says when; it first waits for the operations that are under way. The wait ends
    /// with the connection.
    ///
    /// # Errors
    /// The connection ended before, or the plugin's handler failed.
    pub async fn synchronized(&self) -> Result<(), Error> {
        let session = &self.session;
        let during = "waiting to be synchronised";
        let progress = session.reach(|progress| progress.ready, during).await?;
        match progress.registration {
            Some(registration) if progress.ready => {
                let state = State::Ready(registration);
                session.control.state.send_replace(state);
                Ok(())
            }
            _ => Err(session.ended_while(during, progress.end)),
        }
    }

    /// Waits for the end of the connection, whoever ends it.
    ///
    /// # Errors
    /// The connection broke otherwise than by being closed, or the plugin could not be
    /// synchronised.
    pub async fn ended(self) -> Result<Ended, Error> {
        let plugin = Arc::clone(&self.plugin);
        let (ended, _) = self.run_to_end().await;
        finish(&*plugin).await;
        ended
    }

    /// The same, and how long the plugin was ready.
    pub(crate) async fn run_to_end(self) -> (Result<Ended, Error>, Duration) {
        let mut ready_since = None;
        let ended = self.session.ended(&mut ready_since).await;
        let ready = ready_since.map_or(Duration::ZERO, |since: Instant| since.elapsed());
        (ended, ready)
    }
}

impl Session {
    async fn set_up(&self, terms: &SessionConfig) -> Result<Registration, Error> {
        self.register(terms.registration_timeout).await?;
        let registration = self.configured(terms.configure_timeout).await?;
        let state = State::Configured(registration.clone());
        self.control.state.send_replace(state);
        Ok(registration)
    }

    /// Closes the connection and waits until it is closed.
    async fn close(&self) -> CloseReason {
        self.control.link.set(None);
        self.connection.close();
        self.connection.closed().await
    }

    async fn register(&self, timeout: Duration) -> Result<(), Error> {
        let client = RuntimeClient::new(self.connection.client());
        let request = api::RegisterPluginRequest {
            plugin_name: self.id.name().to_string(),
            plugin_idx: self.id.index().to_string(),
            nri_version: NRI_VERSION.to_owned(),
        };
        let during = "registering";
        let call = client.register_plugin(&request, CallOptions::timeout(timeout));
        let plugin = self.id.clone();
        match self.unless_over(during, call).await? {
            Ok(_) => {
                self.control.link.set(Some(client));
                Ok(())
            }
            Err(CallError::DeadlineExceeded { after }) => {
                Err(Error::RegistrationTimedOut { plugin, after })
            }
            Err(CallError::Closed(_)) => Err(self.closed(during).await),
            // A runtime in Go leaves the connection open after a refusal, and whatever comes on it
            // leads nowhere: so this side closes it, by dropping the session.
            Err(CallError::Status(status)) => Err(Error::Refused {
                plugin,
                code: status.code,
                reason: status.message,
            }),
            Err(other) => Err(Error::Refused {
                plugin,
                code: other.code(),
                reason: other.to_string(),
            }),
        }
    }

    /// Waits for Configure, which may have come long ago.
    async fn configured(&self, timeout: Duration) -> Result<Registration, Error> {
        let during = "waiting to be configured";
        let configured = self.reach(|progress| progress.registration.is_some(), during);
        let Ok(progress) = tokio::time::timeout(timeout, configured).await else {
            return Err(Error::NotConfigured {
                plugin: self.id.clone(),
                after: timeout,
            });
        };
        let Progress {
            registration, end, ..
        } = progress?;
        match registration {
            Some(registration) => Ok(registration),
            None => {
                self.drain().await;
                Err(self.ended_while(during, end))
            }
        }
    }

    /// Waits until the service has come this far, or to its end.
    async fn reach(
        &self,
        there: impl Fn(&Progress) -> bool,
        during: &'static str,
    ) -> Result<Progress, Error> {
        let mut progress = self.progress.clone();
        let reached = async {
            let reached = progress.wait_for(|progress| there(progress) || progress.end.is_some());
            reached.await.ok().map(|progress| progress.clone())
        };
        match self.unless_over(during, reached).await? {
            Some(progress) => Ok(progress),
            // The service is gone, and so is the connection.
            None => Err(self.closed(during).await),
        }
    }

    /// Waits for something, but no longer than there is a connection and nobody stops the runner.
    async fn unless_over<F: Future>(
        &self,
        during: &'static str,
        future: F,
    ) -> Result<F::Output, Error> {
        tokio::select! {
            biased;
            () = self.control.stopped() => Err(Error::Stopped),
            done = future => Ok(done),
            _ = self.connection.closed() => Err(self.closed(during).await),
        }
    }

    /// Why the connection, which is closed or about to be, ended early.
    async fn closed(&self, during: &'static str) -> Error {
        let reason = self.connection.closed().await;
        match self.progress.borrow().end.clone() {
            Some(End::Failed(failure)) => self.failed(failure),
            Some(End::Shutdown) | None => Error::Closed {
                plugin: self.id.clone(),
                during,
                reason,
            },
        }
    }

    /// Why the service ended early.
    fn ended_while(&self, during: &'static str, end: Option<End>) -> Error {
        match end {
            Some(End::Failed(failure)) => self.failed(failure),
            // A `Shutdown`, after which the connection is to be closed.
            Some(End::Shutdown) | None => Error::Closed {
                plugin: self.id.clone(),
                during,
                reason: CloseReason::PeerClosed,
            },
        }
    }

    fn failed(&self, failure: Failure) -> Error {
        let plugin = self.id.clone();
        match failure {
            Failure::Configure(reason) => Error::Configure { plugin, reason },
            Failure::Synchronize(reason) => Error::Synchronize { plugin, reason },
        }
    }

    async fn ended(&self, ready_since: &mut Option<Instant>) -> Result<Ended, Error> {
        let stopped = loop {
            let wanted = tokio::select! {
                biased;
                () = self.control.stopped() => break true,
                _ = self.connection.closed() => break false,
                () = self.over(ready_since) => break false,
                wanted = self.control.asked.next() => wanted,
            };
            let Some(handed) = self.hand_over(wanted.patience).await else {
                continue;
            };
            let (handed, ended) = match wanted.anew {
                true => (None, Ended::LetGo),
                false => (Some(handed), Ended::HandedOver),
            };
            // Whoever asked and has gone leaves the runtime to close what nobody has.
            let _ = wanted.answer.send(handed);
            return Ok(ended);
        };
        self.drain().await;
        let reason = self.close().await;
        if stopped {
            return Ok(Ended::Stopped);
        }
        let end = self.progress.borrow().end.clone();
        match (end, reason) {
            (Some(End::Shutdown), _) => Ok(Ended::Shutdown),
            (Some(End::Failed(failure)), _) => Err(self.failed(failure)),
            (None, CloseReason::PeerClosed) => Ok(Ended::Disconnected),
            (None, reason) => Err(Error::Lost {
                plugin: self.id.clone(),
                reason,
            }),
        }
    }

    /// Lets another process have the connection; `None` if that cannot be, and it goes on.
    async fn hand_over(&self, patience: Duration) -> Option<HandOver> {
        let socket = self.socket.as_ref()?.try_clone().ok()?;
        let progress = self.progress.borrow().clone();
        let registration = progress.registration.filter(|_| progress.ready)?;
        let detached = tokio::time::timeout(patience, self.connection.detach()).await;
        let configure = progress.configured_with.as_deref().cloned();
        let handed = Handed::new(&self.id, configure, registration.events, detached.ok()??);
        let state = handed.encode_to_vec();
        Some(HandOver { socket, state })
    }

    /// Lets the answers that are being made leave, for a moment: to close at once could cut them
    /// off.
    async fn drain(&self) {
        // Whether or not they are all written by then.
        let _ = tokio::time::timeout(GRACE, self.connection.answered()).await;
    }

    /// Follows what the service does, until there is nothing more to do for it.
    async fn over(&self, ready_since: &mut Option<Instant>) {
        let mut progress = self.progress.clone();
        loop {
            let now = progress.borrow_and_update().clone();
            if now.end.is_some() {
                return;
            }
            if let Some(registration) = now.registration.filter(|_| now.ready) {
                ready_since.get_or_insert_with(Instant::now);
                self.control.state.send_replace(State::Ready(registration));
            }
            if progress.changed().await.is_err() {
                // The service is gone, and so is the connection.
                std::future::pending::<()>().await;
            }
        }
    }
}
