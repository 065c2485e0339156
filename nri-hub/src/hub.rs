//! The hub: one plugin above, one runtime below, and what is around them.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};

use nri_adaptation::{Nri, RuntimeApi as _};
use nri_plugin::{Backoff, Ended, Runner, State};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::config::HubConfig;
use crate::domain::{Above, Mirrored};
use crate::down::Down;
use crate::error::Error;
use crate::http;
use crate::listen::{Listeners, Place};
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::records::Records;
use crate::reload;
use crate::shared::Shared;
use crate::status::Status;
use crate::up::{Synchronized, Up};

/// Describes a hub; made by [`Hub::builder`].
#[must_use = "nothing is built before `build`"]
pub struct Builder {
    config: HubConfig,
    file: Option<PathBuf>,
    backoff: Backoff,
    use_environment: bool,
    stream: Option<Box<dyn FnOnce(nri_plugin::Builder) -> nri_plugin::Builder + Send>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// The file that the configuration is from: it is read again when it changes. Default: none.
    pub fn file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// When to connect to the runtime again after a connection was lost.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Whether the variables that a runtime sets for plugins that it launches count; see
    /// [`nri_plugin::Builder::use_environment`]. Default true.
    pub fn use_environment(mut self, yes: bool) -> Self {
        self.use_environment = yes;
        self
    }

    /// Uses this stream as the connection to the runtime above, the only one.
    pub fn stream<S>(mut self, stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.stream = Some(Box::new(|builder| builder.stream(stream)));
        self
    }

    /// Builds the hub. Nothing is opened or connected yet.
    ///
    /// # Errors
    /// The configuration has an impossible value.
    pub fn build(self) -> Result<Hub, Error> {
        let settings = &self.config.hub;
        let mirror = Arc::new(Mirror::default());
        let records = Arc::new(Records::default());
        let above = Arc::new(Above::default());
        let domain = Mirrored {
            mirror: Arc::clone(&mirror),
            above: Arc::clone(&above),
        };
        let metrics = Arc::new(Metrics::default());
        let nri = Nri::builder(self.config.nri.clone())
            .runtime("nri-hub", env!("CARGO_PKG_VERSION"))
            .domain(Arc::new(domain))
            .observer(records.clone())
            .metrics(metrics.clone())
            .build()?;
        let synchronized = watch::Sender::new(Vec::new());
        let identity = Arc::new(OnceLock::new());
        let down = Down {
            nri: nri.clone(),
            mirror: Arc::clone(&mirror),
            records: Arc::clone(&records),
            behind: Arc::default(),
            barrier: Arc::default(),
        };
        let up = Up {
            down: down.clone(),
            above,
            events: settings.events,
            margin: settings.margin,
            fail_request: settings.fail_request,
            synchronized: synchronized.clone(),
            configured: Mutex::default(),
            identity: Arc::clone(&identity),
        };
        let mut runner = Runner::builder(up)
            .default_identity(settings.identity.clone())
            .socket(&settings.runtime_socket)
            .use_environment(self.use_environment);
        if let Some(stream) = self.stream {
            runner = stream(runner);
        }
        let runner = runner.build()?;
        // It is set once, here, before anything is asked.
        let _ = identity.set(runner.id().clone());
        let above = runner.handle();
        let shared = Shared::new(
            (self.config, self.file),
            runner.id().clone(),
            nri,
            (mirror, records, metrics),
            above.state(),
        );
        Ok(Hub {
            shared: Arc::new(shared),
            runner,
            down,
            synchronized,
            backoff: self.backoff,
        })
    }
}

/// A hub: to the runtime above one plugin, to the plugins below a runtime.
///
/// ```
/// use nri_hub::{Hub, HubConfig};
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// # let directory = std::env::temp_dir().join(format!("nri-hub-example-{}", std::process::id()));
/// # let directory = directory.display();
/// let config = HubConfig::from_toml(&format!(
///     "socket_path = '{directory}/nri.sock'\n\
///      [hub]\n\
///      runtime_socket = '{directory}/runtime.sock'\n\
///      control_socket = '{directory}/control.sock'"
/// ))?;
/// let hub = Hub::builder(config).build()?;
/// let handle = hub.handle();
/// assert_eq!(handle.status().not_ready[0], "no runtime is connected above");
/// let stop = async { /* a signal, usually */ };
/// hub.run(stop).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a hub does nothing before it is run"]
pub struct Hub {
    shared: Arc<Shared>,
    runner: Runner,
    down: Down,
    synchronized: watch::Sender<Vec<Synchronized>>,
    backoff: Backoff,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("runner", &self.runner)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Begins to describe a hub.
    pub fn builder(config: HubConfig) -> Builder {
        Builder {
            config,
            file: None,
            backoff: Backoff::default(),
            use_environment: true,
            stream: None,
        }
    }

    /// To ask and steer it from elsewhere, before and while it runs.
    pub fn handle(&self) -> HubHandle {
        HubHandle(Arc::clone(&self.shared))
    }

    /// Runs the hub until `stop` is done, or the runtime above has no further use for it: another
    /// hub has taken its place. Plugins are shut down then.
    ///
    /// # Errors
    /// A socket cannot be opened (another hub has it, for example), or the connection to the
    /// runtime is one that cannot be made again, and is lost.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Ended, Error> {
        let Self {
            shared,
            runner,
            down,
            synchronized,
            backoff,
        } = self;
        let settings = shared.settings();
        // Before anything is connected: of two hubs on one node the second ends here.
        let mut listeners = Listeners::default();
        listeners
            .open(&Place::socket(&settings.control_socket))
            .await?;
        if let Some(place) = &settings.http {
            listeners
                .open(&Place::parse(place, settings.http_public)?)
                .await?;
        }
        let served = http::serve(listeners, Arc::clone(&shared));
        let above = runner.handle();
        let mut run = tokio::spawn(runner.run_forever(backoff));
        let follow = follow(&shared, &down, &synchronized);
        let watch = reload::watch(&shared);
        let ended = tokio::select! {
            () = stop => Ok(Ended::Stopped),
            ended = &mut run => ended.map_or(Ok(Ended::Stopped), |ended| ended.map_err(Error::from)),
            error = follow => Err(error),
            () = served => Ok(Ended::Stopped),
            () = watch => Ok(Ended::Stopped),
        };
        above.stop();
        shared.nri.stop().await;
        if !run.is_finished() {
            // It has a bound of its own.
            let _ = run.await;
        }
        ended
    }
}

/// Does what is to be done whenever the runtime above is there: opens the plugins' socket the first
/// time, and tells of what has ended in the meantime. Resolves only with an error.
async fn follow(
    shared: &Shared,
    down: &Down,
    synchronized: &watch::Sender<Vec<Synchronized>>,
) -> Error {
    let (mut state, mut pending) = (shared.above.clone(), synchronized.subscribe());
    loop {
        let is_ready = matches!(*state.borrow_and_update(), State::Ready(_));
        let is_due = !pending.borrow_and_update().is_empty();
        // From here on the synchronisation is answered: what plugins ask for in theirs can go up.
        let all = match is_ready && is_due {
            true => synchronized.send_replace(Vec::new()),
            false => Vec::new(),
        };
        for synchronized in all {
            shared.connections.fetch_add(1, Ordering::Relaxed);
            let (pods, containers) = (&synchronized.pods, &synchronized.containers);
            if *shared.is_open.borrow() {
                down.reconcile(pods, containers).await;
                continue;
            }
            shared.mirror.replace(pods, containers);
            if let Err(error) = shared.nri.start().await {
                return Error::Start(error);
            }
            shared.is_open.send_replace(true);
            tracing::info!("plugins can connect");
        }
        let changed = tokio::select! {
            changed = state.changed() => changed,
            changed = pending.changed() => changed,
        };
        if changed.is_err() {
            // The run has ended, which is noticed elsewhere.
            std::future::pending::<()>().await;
        }
    }
}

/// Asks and steers a [`Hub`] from elsewhere; cheap to clone.
#[derive(Clone)]
pub struct HubHandle(Arc<Shared>);

impl fmt::Debug for HubHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubHandle").finish_non_exhaustive()
    }
}

impl HubHandle {
    /// How the hub is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// The plugins' runtime.
    #[must_use]
    pub fn nri(&self) -> &Nri {
        &self.0.nri
    }

    /// Whether plugins can connect, to be waited for: from the first synchronisation on.
    #[must_use]
    pub fn watch_open(&self) -> watch::Receiver<bool> {
        self.0.is_open.subscribe()
    }

    /// Where the connection to the runtime above is, to be waited for.
    #[must_use]
    pub fn watch_runtime(&self) -> watch::Receiver<State> {
        self.0.above.clone()
    }

    /// Reads the configuration's file again. What is wrong with it is told in the status as well.
    ///
    /// # Errors
    /// It has a mistake: the configuration before stays in force.
    pub async fn reload(&self) -> Result<(), Error> {
        Ok(self.0.reload().await?)
    }
}
