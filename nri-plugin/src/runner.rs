//! Running a plugin: the choices, one connection or one after the other, and the handle to steer
//! it.

use std::env;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nri_core::{Plugin, PluginId, api};
use nri_proto::transport::Limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};

use crate::backoff::{AfterShutdown, Backoff, Waits};
use crate::error::Error;
use crate::hand_over::{self, Ask, HandOver, Handed, Wanted};
use crate::identity::{INDEX_VARIABLE, IdentitySources, NAME_VARIABLE};
use crate::level::RuntimeLevel;
use crate::link::RuntimeLink;
use crate::session::{Connected, Control, SessionConfig, finish};
use crate::source::{DEFAULT_SOCKET, Duplex, Place, SOCKET_VARIABLE, Source};
use crate::state::{Ended, State};

/// The choices for running a plugin; made by [`Runner::builder`]. All have defaults.
#[must_use]
pub struct Builder {
    plugin: Arc<dyn Plugin>,
    sources: IdentitySources,
    use_environment: bool,
    stream: Option<Box<dyn Duplex>>,
    handed: Option<HandOver>,
    socket: PathBuf,
    connect_timeout: Duration,
    registration_timeout: Duration,
    configure_timeout: Duration,
    update_timeout: Duration,
    assumed_level: RuntimeLevel,
    max_sync_bytes: usize,
    failure_policy: Option<api::FailurePolicy>,
    configuration_file: Option<PathBuf>,
    limits: Limits,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("sources", &self.sources)
            .field("socket", &self.socket)
            .field("given_stream", &self.stream.is_some())
            .finish_non_exhaustive()
    }
}

impl Builder {
    fn new(plugin: Arc<dyn Plugin>) -> Self {
        Self {
            plugin,
            sources: IdentitySources::default(),
            use_environment: true,
            stream: None,
            handed: None,
            socket: DEFAULT_SOCKET.into(),
            connect_timeout: Duration::from_secs(10),
            registration_timeout: Duration::from_secs(10),
            configure_timeout: Duration::from_secs(10),
            update_timeout: Duration::from_secs(10),
            assumed_level: RuntimeLevel::Unknown,
            max_sync_bytes: 256 << 20,
            failure_policy: None,
            configuration_file: None,
            limits: Limits::default(),
        }
    }

    /// Who the plugin is: `INDEX-NAME`, for example `10-logger`. Without it, the runtime that
    /// launched the plugin says, in `NRI_PLUGIN_IDX` and `NRI_PLUGIN_NAME`; else the program's
    /// file name does, if it has the form `INDEX-NAME`.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.sources.identity = Some(identity.into());
        self
    }

    /// The index alone: two digits. Plugins with lower ones are called first.
    pub fn index(mut self, index: impl Into<String>) -> Self {
        self.sources.index = Some(index.into());
        self
    }

    /// The name alone: one or more of `A-Z a-z 0-9 . _ + -`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.sources.name = Some(name.into());
        self
    }

    /// Who the plugin is if neither the program, nor the environment, nor the file name says.
    pub fn default_identity(mut self, identity: impl Into<String>) -> Self {
        self.sources.fallback = Some(identity.into());
        self
    }

    /// The runtime's socket, as a path or as `unix:///path`; default [`DEFAULT_SOCKET`]. A socket
    /// that was inherited goes before it: so the same program can be launched by a runtime and
    /// started by hand.
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = path.into();
        self
    }

    /// Uses this stream, whatever the environment says.
    pub fn stream<S>(mut self, stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.stream = Some(Box::new(stream));
        self
    }

    /// Begins with a connection that another process has [handed over](Handle::hand_over), as the
    /// plugin that it was there. The plugin is configured as there, and is not synchronised: what
    /// there is to know of pods and containers is to be handed over beside this. Later connections
    /// are to the [`socket`](Self::socket).
    pub fn go_on(mut self, handed: HandOver) -> Self {
        self.handed = Some(handed);
        self
    }

    /// Whether the variables that a runtime sets for the plugins that it launches count:
    /// `NRI_PLUGIN_NAME`, `NRI_PLUGIN_IDX`, `NRI_PLUGIN_SOCKET`. Default true.
    pub fn use_environment(mut self, yes: bool) -> Self {
        self.use_environment = yes;
        self
    }

    /// How long connecting to the socket may take; default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the runtime may take to answer the registration; default 10 s. A runtime in Go
    /// takes one plugin after the other, up to 5 s each: give it more than that.
    pub fn registration_timeout(mut self, timeout: Duration) -> Self {
        self.registration_timeout = timeout;
        self
    }

    /// How long the runtime may take, once it has accepted the plugin, to configure it; default 10
    /// s.
    pub fn configure_timeout(mut self, timeout: Duration) -> Self {
        self.configure_timeout = timeout;
        self
    }

    /// How long [`RuntimeLink`] waits for the runtime; default 10 s.
    pub fn update_timeout(mut self, timeout: Duration) -> Self {
        self.update_timeout = timeout;
        self
    }

    /// What a runtime is taken for that does not say its protocol level and is not known here;
    /// default [`RuntimeLevel::Unknown`], which gets the events that all runtimes accept.
    pub fn assume_level(mut self, level: RuntimeLevel) -> Self {
        self.assumed_level = level;
        self
    }

    /// How many bytes of memory a synchronisation may take, all its messages together; default 256
    /// MiB.
    pub fn max_sync_bytes(mut self, bytes: usize) -> Self {
        self.max_sync_bytes = bytes;
        self
    }

    /// What the runtime is to do when the plugin does not answer, in place of
    /// [`Plugin::failure_policy`]. Without either the runtime decides.
    ///
    /// A plugin without which nothing may start, since it sets up networks or devices, wants both
    /// flags; one that only watches wants `keep_connected` alone. Runtimes before v0.12.4 do
    /// not heed it.
    pub fn failure_policy(mut self, policy: api::FailurePolicy) -> Self {
        self.failure_policy = Some(policy);
        self
    }

    /// A file with the plugin's configuration, for when the runtime sends none, as it does to
    /// plugins that it has not launched. It is read on every connection, and may have up to 4
    /// MiB; that it cannot be read is an error that the runtime hears of.
    pub fn configuration_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.configuration_file = Some(path.into());
        self
    }

    /// The bounds of the connection.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Makes the runner. Nothing is connected yet.
    ///
    /// # Errors
    /// The identity is invalid, or there is none.
    pub fn build(self) -> Result<Runner, Error> {
        let variable = |name| {
            self.use_environment
                .then(|| env::var(name).ok())
                .flatten()
                .filter(|value| !value.is_empty())
        };
        let id = IdentitySources {
            environment_index: variable(INDEX_VARIABLE),
            environment_name: variable(NAME_VARIABLE),
            program: env::args_os()
                .next()
                .and_then(|name| name.into_string().ok()),
            ..self.sources
        }
        .resolve()?;
        let source = match (self.stream, variable(SOCKET_VARIABLE)) {
            (Some(stream), _) => Source::Stream(stream),
            (None, Some(value)) => Source::Inherited(value),
            (None, None) => Source::socket(&self.socket)?,
        };
        let (mut id, mut source) = (id, source);
        if let Some(HandOver { socket, state }) = self.handed {
            let handed = Handed::read(&state)?;
            let plugin = handed.plugin.parse();
            id = plugin.map_err(|source| Error::Identity { source })?;
            source = Source::handed_over(socket, handed, &self.socket)?;
        }
        let (stop, stop_here) = watch::channel(false);
        let (ask, asked) = hand_over::channel();
        let control = Control {
            stop: stop_here,
            state: watch::Sender::new(State::Idle),
            link: RuntimeLink::new(self.update_timeout),
            asked,
        };
        let handle = Handle {
            stop: Arc::new(stop),
            state: control.state.subscribe(),
            link: control.link.clone(),
            ask,
        };
        let terms = SessionConfig {
            plugin: self.plugin,
            id,
            connect_timeout: self.connect_timeout,
            registration_timeout: self.registration_timeout,
            configure_timeout: self.configure_timeout,
            assumed_level: self.assumed_level,
            max_sync_bytes: self.max_sync_bytes,
            failure_policy: self.failure_policy,
            configuration_file: self.configuration_file,
            limits: self.limits,
        };
        Ok(Runner {
            terms,
            source,
            control,
            handle,
        })
    }
}

/// Runs a plugin.
///
/// ```
/// use nri_plugin::{Runner, handlers};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let plugin = handlers().on_run_pod_sandbox(|_cx, _request| async { Ok(()) }).build();
/// let runner = Runner::builder(plugin)
///     .identity("10-example")
///     .socket("/nonexistent/nri.sock")
///     .use_environment(false)
///     .build()?;
/// let error = runner.run().await.unwrap_err();
/// assert!(error.to_string().contains("mount the directory /nonexistent"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a runner does nothing until it is run"]
pub struct Runner {
    terms: SessionConfig,
    source: Source,
    control: Control,
    handle: Handle,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("id", &self.terms.id)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Runner {
    /// Begins to describe how a plugin is run.
    pub fn builder(plugin: impl Plugin) -> Builder {
        Builder::new(Arc::new(plugin))
    }

    /// The same for a plugin that is shared with other parts of the program.
    pub fn builder_shared(plugin: Arc<dyn Plugin>) -> Builder {
        Builder::new(plugin)
    }

    /// Who the plugin is.
    pub fn id(&self) -> &PluginId {
        &self.terms.id
    }

    /// A handle to stop, watch and use the runner from elsewhere, before and while it runs.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Connects, registers, and returns when the plugin is configured.
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Stopped`] if the handle stopped it.
    pub async fn connect(self) -> Result<Connected, Error> {
        let Self {
            terms,
            source,
            control,
            ..
        } = self;
        open(&terms, &control, source).await.0
    }

    /// Runs the plugin on one connection, until it ends.
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn run(self) -> Result<Ended, Error> {
        let state = self.control.state.clone();
        let ended = match self.connect().await {
            Ok(connected) => connected.ended().await,
            Err(Error::Stopped) => Ok(Ended::Stopped),
            Err(error) => Err(error),
        };
        state.send_replace(State::Ended);
        ended
    }

    /// Runs the plugin, and connects again whenever the connection ends or cannot be made. There is
    /// never more than one connection, and every new one begins with a whole synchronisation.
    ///
    /// It ends when the [handle](Runner::handle) stops it, and when the runtime sends
    /// `Shutdown` and lives on (see [`AfterShutdown`]). A connection that was inherited or
    /// given cannot be made again; with one of these this is [`run`](Runner::run).
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    /// Only with a connection that cannot be made again; see [`Error`].
    pub async fn run_forever(self, policy: Backoff) -> Result<Ended, Error> {
        let Self {
            terms,
            source,
            control,
            ..
        } = self;
        let after_shutdown = policy.after_shutdown;
        let mut waits = Waits::new(policy);
        let mut next = Some(source);
        let ended = loop {
            let Some(source) = next.take() else {
                break Ok(Ended::Disconnected);
            };
            let (connected, again) = open(&terms, &control, source).await;
            next = again;
            let place = next.as_ref().and_then(Source::place);
            let (ended, ready) = match connected {
                Ok(connected) => connected.run_to_end().await,
                Err(Error::Stopped) => break Ok(Ended::Stopped),
                Err(error) => (Err(error), Duration::ZERO),
            };
            // A runtime that says that it goes makes room for the next one: nothing has failed.
            let ready = match ended {
                Ok(Ended::Shutdown) => Duration::MAX,
                _ => ready,
            };
            let reason = match ended {
                Ok(ended @ (Ended::Stopped | Ended::HandedOver)) => break Ok(ended),
                // As was asked for, so nothing is waited for.
                Ok(Ended::LetGo) if next.is_some() => continue,
                ended if next.is_none() => break ended,
                Ok(Ended::Shutdown) if !comes_back(after_shutdown, next.as_ref(), place) => {
                    break Ok(Ended::Shutdown);
                }
                Ok(ended) => ended.to_string(),
                Err(error) => error.to_string(),
            };
            let wait = waits.next(ready);
            let socket = next
                .as_ref()
                .and_then(Source::path)
                .map(|path| path.display());
            let socket = socket.map(tracing::field::display);
            tracing::warn!(plugin = %terms.id, socket, %reason, ?wait, "connecting again");
            control.state.send_replace(State::Waiting { wait, reason });
            tokio::select! {
                biased;
                () = control.stopped() => break Ok(Ended::Stopped),
                () = tokio::time::sleep(wait) => {}
            }
        };
        finish(&*terms.plugin).await;
        control.state.send_replace(State::Ended);
        ended
    }
}

/// Whether to connect again after a `Shutdown` on a connection through the socket file that was at
/// `place`.
fn comes_back(policy: AfterShutdown, source: Option<&Source>, place: Option<Place>) -> bool {
    match policy {
        AfterShutdown::End => false,
        AfterShutdown::FollowRuntime => source.and_then(Source::place) != place,
        AfterShutdown::Reconnect => true,
    }
}

/// Makes one connection; also returns the source of the next one.
async fn open(
    terms: &SessionConfig,
    control: &Control,
    source: Source,
) -> (Result<Connected, Error>, Option<Source>) {
    control.state.send_replace(State::Connecting);
    let again = source.again();
    let opened = tokio::select! {
        biased;
        () = control.stopped() => Err(Error::Stopped),
        opened = source.open(terms.connect_timeout) => opened,
    };
    let connected = match opened {
        Ok(opened) => Connected::open(terms, control, opened).await,
        Err(error) => Err(error),
    };
    (connected, again)
}

/// Steers and watches a [`Runner`] from elsewhere; cheap to clone.
///
/// ```
/// use nri_plugin::{Backoff, Ended, Runner, State, handlers};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let plugin = handlers().on_run_pod_sandbox(|_cx, _request| async { Ok(()) }).build();
/// let runner = Runner::builder(plugin).identity("10-example").socket("/nonexistent/nri.sock").build()?;
/// let handle = runner.handle();
/// let run = tokio::spawn(runner.run_forever(Backoff::default()));
///
/// let mut state = handle.state();
/// state.wait_for(|state| matches!(state, State::Waiting { .. })).await?;
/// handle.stop();
/// assert_eq!(run.await??, Ended::Stopped);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Handle {
    stop: Arc<watch::Sender<bool>>,
    state: watch::Receiver<State>,
    link: RuntimeLink,
    ask: Ask,
}

impl Handle {
    /// Stops the runner: requests in progress get up to a second to be answered, the connection is
    /// closed, the plugin gets up to a second to do what it has put off
    /// ([`Plugin::finish`]), and the run ends with [`Ended::Stopped`]. Returns at once.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops the runner when `signal` is done; needs a tokio runtime.
    pub fn stop_on(&self, signal: impl Future<Output = ()> + Send + 'static) {
        let handle = self.clone();
        tokio::spawn(async move {
            signal.await;
            handle.stop();
        });
    }

    /// Has the runner let go of its connection, for another process to go on with: requests that
    /// have come are answered, what comes after that waits in the socket, and the run ends with
    /// [`Ended::HandedOver`]. Calls of the [link](Self::runtime) that are begun meanwhile fail.
    ///
    /// `None` if that cannot be, and the runner goes on: nothing is connected and synchronised,
    /// what is under way takes longer than `patience`, or the connection is not one to a
    /// socket's path.
    pub async fn hand_over(&self, patience: Duration) -> Option<HandOver> {
        self.let_go(patience, false).await?
    }

    /// Has the runner close its connection and make another one at once, to be configured anew:
    /// that is how a plugin gets other events. Requests that have come are answered before, and the
    /// new connection begins with a whole synchronisation. What happens between the two the plugin
    /// is not asked about: the runtime goes on without it.
    ///
    /// A run of one connection ends, with [`Ended::LetGo`]. False if that cannot be, for the
    /// reasons of [`hand_over`](Self::hand_over), and nothing changes.
    pub async fn reconnect(&self, patience: Duration) -> bool {
        self.let_go(patience, true).await.is_some()
    }

    async fn let_go(&self, patience: Duration, anew: bool) -> Option<Option<HandOver>> {
        let (answer, answered) = oneshot::channel();
        let wanted = Wanted {
            patience,
            anew,
            answer,
        };
        let asking = async {
            self.ask.send(wanted).await.ok()?;
            answered.await.ok()
        };
        // Twice, since it may be connecting.
        tokio::time::timeout(patience * 2, asking).await.ok()?
    }

    /// Where the runner is, to look at and to wait for changes. After [`Runner::connect`] it
    /// follows the [`Connected`]'s own methods.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// The way back to the runtime.
    pub fn runtime(&self) -> RuntimeLink {
        self.link.clone()
    }
}
