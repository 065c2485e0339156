//! The hub: one plugin above, one runtime below, and what is around them.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nri_adaptation::{EventMask, Nri, PluginState, RuntimeApi as _};
use nri_plugin::{Backoff, Ended, Runner, State};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{RwLock, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{HubConfig, HubSettings};
use crate::domain::{Above, Mirrored};
use crate::down::Down;
use crate::error::Error;
use crate::http;
use crate::listen::Listeners;
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::narrow;
use crate::place::Place;
use crate::records::Records;
use crate::reload;
use crate::shared::Shared;
use crate::status::Status;
use crate::up::{Synchronized, Up};
use crate::upgrade::{self, TakenOver};

/// How long requests count as having waited for this hub to take the place of another one.
const JUST: Duration = Duration::from_millis(100);
/// The longest wait before the runtime above is connected again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long plugins of the hub before may take to come back.
const COME_BACK: Duration = Duration::from_secs(5);

/// Describes a hub; made by [`Hub::builder`].
#[must_use = "nothing is built before `build`"]
pub struct Builder {
    config: HubConfig,
    file: Option<PathBuf>,
    backoff: Backoff,
    use_environment: bool,
    stream: Option<Box<dyn FnOnce(nri_plugin::Builder) -> nri_plugin::Builder + Send>>,
    taken: Option<TakenOver>,
    aside: Option<Handle>,
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

    /// When to connect to the runtime again after a connection was lost. Default: that of
    /// [`Backoff`], but no wait is longer than 5 s. With the hub all plugins behind it are away,
    /// and a runtime that was started again and again has usually come to stay in the end.
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

    /// Takes the place of a hub that has let go: its runtime above, and what it knew of that.
    pub fn take_over(mut self, taken: TakenOver) -> Self {
        self.taken = Some(taken);
        self
    }

    /// Where that is done for which no request waits: status, metrics and probes, and reading
    /// configurations, which a disk may hold up. A hub on one thread answers requests meanwhile if
    /// this is the runtime of another. Default: the runtime in which the hub runs.
    pub fn aside(mut self, runtime: Handle) -> Self {
        self.aside = Some(runtime);
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
            .busy_poll(settings.busy_poll)
            .build()?;
        let barrier = Arc::new(RwLock::new(()));
        let taken = self.taken.map(|taken| {
            mirror.restore(&taken.pods, &taken.containers);
            tracing::info!(
                pods = taken.pods.len(), containers = taken.containers.len(), plugins = ?taken.plugins,
                waited = ?taken.waited, "taking the place of another hub"
            );
            let known = Synchronized {
                pods: Vec::new(),
                containers: Vec::new(),
                expected: taken.plugins,
                is_known: true,
                // It is new.
                _barrier: Arc::clone(&barrier).try_write_owned().ok(),
            };
            (taken.above, known, taken.waited)
        });
        let (taken, known, waited) = match taken {
            Some((above, known, waited)) => (Some(above), vec![known], Some(waited)),
            None => (None, Vec::new(), None),
        };
        let synchronized = watch::Sender::new(known);
        let identity = Arc::new(OnceLock::new());
        let down = Down {
            nri: nri.clone(),
            mirror: Arc::clone(&mirror),
            records: Arc::clone(&records),
            behind: Arc::default(),
            barrier,
        };
        let known_above = watch::Sender::new(EventMask::NONE);
        let up = Up {
            down: down.clone(),
            above,
            settings: settings.clone(),
            synchronized: synchronized.clone(),
            known: known_above.clone(),
            configured: Mutex::default(),
            identity: Arc::clone(&identity),
            waited: waited.map(|waited| (Instant::now() + JUST, waited)),
        };
        let mut runner = Runner::builder(up)
            .default_identity(settings.identity.clone())
            .socket(&settings.runtime_socket)
            .use_environment(self.use_environment);
        if let Some(stream) = self.stream {
            runner = stream(runner);
        }
        if let Some(above) = taken {
            runner = runner.go_on(above);
        }
        let runner = runner.build()?;
        // It is set once, here, before anything is asked.
        let _ = identity.set(runner.id().clone());
        let above = runner.handle();
        // One is enough: it ends this hub.
        let (successors, to_come) = mpsc::channel(1);
        let shared = Shared::new(
            (self.config, self.file),
            runner.id().clone(),
            nri,
            (mirror, records, metrics),
            above.state(),
            successors,
            self.aside,
        );
        Ok(Hub {
            shared: Arc::new(shared),
            runner,
            down,
            synchronized,
            known_above,
            to_come,
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
    /// The events that the runtime above knows.
    known_above: watch::Sender<EventMask>,
    /// Who takes the hub's place.
    to_come: mpsc::Receiver<UnixStream>,
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
        let mut backoff = Backoff::default();
        backoff.max = LONGEST_WAIT;
        Builder {
            config,
            file: None,
            backoff,
            use_environment: true,
            stream: None,
            taken: None,
            aside: None,
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
            known_above,
            mut to_come,
            backoff,
        } = self;
        // Before anything is connected: of two hubs on one node the second ends here. One that
        // takes another's place has the plugins' socket when that has let go.
        let takes_over = !synchronized.borrow().is_empty();
        let below = shared.plugins_socket().filter(|_| !takes_over);
        let opening = shared.aside(open(shared.settings(), below));
        let listeners = opening.await.map_err(|error| Error::Listen {
            place: "the control socket".to_owned(),
            reason: error.to_string(),
        })??;
        let (close, closed) = oneshot::channel::<()>();
        let closed = async {
            // As soon as it is said, or nobody can say it any more.
            let _ = closed.await;
        };
        let mut served = shared.aside(http::serve(listeners, Arc::clone(&shared), closed));
        let above = runner.handle();
        let mut run = tokio::spawn(runner.run_forever(backoff));
        let follow = follow(&shared, &down, &synchronized);
        let mut watch = AbortOnDrop(shared.aside(reload::watch(Arc::clone(&shared))));
        let narrowed = narrow::narrowed(&shared, &above, known_above.subscribe());
        let give_way = async {
            while let Some(successor) = to_come.recv().await {
                match upgrade::let_go(&shared, &above).await {
                    Some(letting) => return (letting, successor),
                    None => {
                        tracing::warn!("another hub wants to take this one's place, which stays");
                        // It may have gone.
                        let _ = upgrade::refuse(successor).await;
                    }
                }
            }
            std::future::pending().await
        };
        let over = async {
            match (&mut run).await {
                // That is the hub's to end.
                Ok(Ok(Ended::HandedOver)) => std::future::pending().await,
                Ok(ended) => ended.map_err(Error::from),
                Err(_) => Ok(Ended::Stopped),
            }
        };
        let ended = tokio::select! {
            (letting, successor) = give_way => {
                // The sockets are the other one's from here on.
                drop(close);
                // It is closed, or its runtime is gone and everything with it.
                let _ = served.await;
                let sent = letting.send(successor).await;
                return sent.map(|()| Ended::HandedOver).map_err(Error::HandOver);
            }
            () = stop => Ok(Ended::Stopped),
            ended = over => ended,
            error = follow => Err(error),
            _ = &mut served => Ok(Ended::Stopped),
            _ = &mut watch.0 => Ok(Ended::Stopped),
            () = narrowed => Ok(Ended::Stopped),
        };
        above.stop();
        shared.nri.stop().await;
        if !run.is_finished() {
            // It has a bound of its own.
            let _ = run.await;
        }
        drop(close);
        if !served.is_finished() {
            // As above.
            let _ = served.await;
        }
        ended
    }
}

/// A task that ends when nobody waits for it any more.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens the places where the hub can be asked. The socket of plugins `below`, which is opened once
/// the runtime above is there, is opened and closed: a hub that could not would be asked by the
/// runtime, and be gone.
async fn open(settings: HubSettings, below: Option<PathBuf>) -> Result<Listeners, Error> {
    let mut listeners = Listeners::default();
    let control = Place::socket(&settings.control_socket);
    listeners.open(&control).await?;
    if let Some(place) = &settings.http {
        let place = Place::parse(place, settings.http_public).map_err(|reason| Error::Listen {
            place: place.clone(),
            reason,
        })?;
        listeners.open(&place).await?;
    }
    if let Some(below) = below {
        Listeners::default().open(&Place::Socket(below)).await?;
    }
    Ok(listeners)
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
            if !synchronized.is_known {
                shared.mirror.replace(pods, containers);
            }
            if let Err(error) = shared.nri.start().await {
                return Error::Start(error);
            }
            shared.is_open.send_replace(true);
            tracing::info!("plugins can connect");
            come_back(shared, &synchronized.expected).await;
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

/// Waits until plugins are ready that were so at the hub before, for a while. Each request waits
/// for that as long as it can.
async fn come_back(shared: &Shared, expected: &[String]) {
    if expected.is_empty() {
        return;
    }
    let mut watch = shared.nri.watch_plugins();
    let are_there = async {
        loop {
            let plugins = watch.plugins();
            let is_ready = |expected: &String| {
                let mut plugins = plugins.iter();
                plugins.any(|plugin| {
                    plugin.state == PluginState::Ready && plugin.id().to_string() == *expected
                })
            };
            // An instance that has ended has no plugins to wait for.
            if expected.iter().all(is_ready) || watch.changed().await.is_err() {
                return;
            }
        }
    };
    match tokio::time::timeout(COME_BACK, are_there).await {
        Ok(()) => tracing::info!(?expected, "the plugins of the hub before are back"),
        Err(_) => tracing::warn!(?expected, "not all plugins of the hub before are back"),
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
