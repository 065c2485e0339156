//! One NRI instance: what its parts share, and its life from start to stop.

use std::fmt;
use std::future::Future;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nri_core::merge::Support;
use nri_core::schedule;
use nri_core::validate::{DefaultValidator, ValidatorOptions};
use nri_core::{Plugin, PluginId, RegisteredPlugin, RuntimeInfo};
use nri_proto::transport::Connection;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::active::{Active, Origin};
use crate::builtin::BuiltIn;
use crate::config::Config;
use crate::dispatch::Dispatch;
use crate::domains::Domains;
use crate::error::Error;
use crate::listening::Listening;
use crate::live_validator::LiveValidator;
use crate::metrics::Metrics;
use crate::observer::{Observer, PluginKind};
use crate::places::{Places, most_unadmitted};
use crate::rate::{Buckets, Lines};
use crate::readiness::Readiness;
use crate::session::Configuring;
use crate::supervision::{Launched, Supervised};
use crate::tasks::Tasks;

/// How long a plugin may take for its good-bye.
pub(crate) const GOOD_BYE_TIME: Duration = Duration::from_secs(1);
/// How many request deadlines a joining plugin waits for requests from before.
const SETTLE_DEADLINES: u32 = 2;
/// How long stopping may take in all, good-byes and processes included.
const STOP_TIME: Duration = Duration::from_secs(10);

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    New,
    Starting,
    Started,
    Stopping,
    Stopped,
}

/// What the parts of an instance share.
pub(crate) struct Instance {
    /// With defaults in place.
    config: Mutex<Arc<Config>>,
    pub(crate) info: Arc<RuntimeInfo>,
    pub(crate) domains: Domains,
    pub(crate) dispatch: Dispatch,
    pub(crate) tasks: Tasks,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) metrics: Arc<dyn Metrics>,
    pub(crate) readiness: watch::Sender<Readiness>,
    pub(crate) launched: Launched,
    pub(crate) support: Support,
    pub(crate) validator: Arc<LiveValidator>,
    /// Held while the configuration is changed.
    pub(crate) reconfiguring: tokio::sync::Mutex<()>,
    /// Whether the runtime brought a listener along.
    pub(crate) has_listener: bool,
    built_in: Vec<(PluginId, Arc<dyn Plugin>)>,
    /// A listener that the runtime brought along.
    pub(crate) listener: Mutex<Option<UnixListener>>,
    pub(crate) listening: Mutex<Option<Listening>>,
    /// The places of connections that are not admitted.
    pub(crate) places: Arc<Places>,
    /// What plugins have asked for on their own account, whatever connection it came over.
    pub(crate) asking: Mutex<Buckets<PluginId>>,
    /// What the log gets of peers that do not become plugins.
    pub(crate) lines_of_peers: Mutex<Lines>,
    /// From when on its times are counted.
    pub(crate) since: tokio::time::Instant,
    phase: watch::Sender<Phase>,
    registrations: AtomicU64,
}

/// What an instance is built from.
pub(crate) struct Parts {
    /// With defaults in place.
    pub(crate) config: Config,
    pub(crate) info: RuntimeInfo,
    pub(crate) domains: Domains,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) metrics: Arc<dyn Metrics>,
    pub(crate) built_in: Vec<(PluginId, Arc<dyn Plugin>)>,
    pub(crate) listener: Option<UnixListener>,
    pub(crate) support: Support,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("phase", &*self.phase.borrow())
            .finish_non_exhaustive()
    }
}

impl Instance {
    pub(crate) fn new(parts: Parts) -> Self {
        let config = &parts.config;
        let mut scheduling = schedule::Config::default();
        scheduling.serial = config.serial;
        scheduling.support = parts.support;
        scheduling.settle_timeout = config.plugin_request_timeout * SETTLE_DEADLINES;
        parts.domains.set_time(config.domain_timeout);
        let required = &config.default_validator.required_plugins;
        let readiness = match config.disable {
            true => Readiness::default(),
            false => Readiness::of(required, std::iter::empty()),
        };
        let validator = LiveValidator::new(&config.default_validator);
        Self {
            config: Mutex::new(Arc::new(parts.config)),
            info: Arc::new(parts.info),
            domains: parts.domains,
            dispatch: Dispatch::new(scheduling),
            tasks: Tasks::default(),
            observer: parts.observer,
            metrics: parts.metrics,
            readiness: watch::Sender::new(readiness),
            launched: Launched::default(),
            support: parts.support,
            validator: Arc::new(validator),
            reconfiguring: tokio::sync::Mutex::default(),
            has_listener: parts.listener.is_some(),
            built_in: parts.built_in,
            listener: Mutex::new(parts.listener),
            listening: Mutex::default(),
            places: Places::new(most_unadmitted()),
            asking: Mutex::default(),
            lines_of_peers: Mutex::default(),
            since: tokio::time::Instant::now(),
            phase: watch::Sender::new(Phase::New),
            registrations: AtomicU64::new(1),
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another configuration in force.
    pub(crate) fn set_config(&self, config: Arc<Config>) {
        self.domains.set_time(config.domain_timeout);
        self.validator.set(&config.default_validator);
        let settling = config.plugin_request_timeout * SETTLE_DEADLINES;
        let mut state = self.dispatch.lock();
        state.scheduler.set_settle_timeout(settling);
        drop(state);
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Waits until the instance is not just about to be brought up. Whether it is up then; `None` if it is stopped.
    pub(crate) async fn is_up(&self) -> Option<bool> {
        let mut phase = self.phase.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        let phase = phase.wait_for(|phase| *phase != Phase::Starting).await;
        match phase.as_deref() {
            Ok(Phase::New) => Some(false),
            Ok(Phase::Started) => Some(true),
            _ => None,
        }
    }

    /// What the default validator, where there is one, requires of pods.
    pub(crate) fn requirements(&self) -> Option<(PluginId, ValidatorOptions)> {
        let validator = &self.config().default_validator;
        let id = DefaultValidator::IDENTITY.parse().ok()?;
        validator.enable.then(|| (id, validator.into()))
    }

    /// The plugins that are part of the runtime's program.
    pub(crate) fn built_in(&self) -> Vec<PluginId> {
        self.built_in.iter().map(|(id, _)| id.clone()).collect()
    }

    /// Whether a plugin takes part, wherever it comes from.
    pub(crate) fn takes_part(&self, plugin: &PluginId) -> bool {
        let plugins = self.taking_part();
        plugins.iter().any(|active| active.plugin.id == *plugin)
    }

    /// Whether the scheduler has let a plugin in, and it is not gone.
    pub(crate) fn is_admitted(&self, plugin: &RegisteredPlugin) -> bool {
        self.dispatch.lock().seats.contains_key(plugin)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.phase.borrow() >= Phase::Stopping
    }

    /// Says good-bye to a launched plugin, if it takes part, and cuts it off.
    pub(crate) async fn dismiss(&self, plugin: &PluginId, connection: &Connection) {
        let plugins = self.taking_part();
        let active = plugins
            .iter()
            .find(|active| active.plugin.id == *plugin && active.kind() == PluginKind::Launched);
        if let Some(active) = active {
            good_bye(Arc::clone(active), "it is no longer installed like that").await;
        }
        connection.close();
    }

    /// Whether requests are to be relayed.
    pub(crate) fn is_enabled(&self) -> bool {
        !self.config().disable && *self.phase.borrow() < Phase::Stopping
    }

    /// Resolves when the instance is to stop.
    pub(crate) async fn stopping(&self) {
        let mut phase = self.phase.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        let _ = phase.wait_for(|phase| *phase >= Phase::Stopping).await;
    }

    /// A registration of a plugin, later than all before it.
    pub(crate) fn registration(&self, id: PluginId) -> RegisteredPlugin {
        RegisteredPlugin {
            id,
            registration: self.registrations.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Whether nothing happens any more.
    pub(crate) fn is_stopped(&self) -> bool {
        *self.phase.borrow() == Phase::Stopped
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let later = *phase < to;
            *phase = (*phase).max(to);
            later
        });
    }

    /// Brings everything up: built-in plugins, pre-installed ones, then the socket.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<(), Error> {
        if self.config().disable {
            tracing::info!("NRI is off: `disable` is set");
            return Ok(());
        }
        let mut begun = Err(Error::AlreadyStarted);
        self.phase.send_if_modified(|phase| {
            begun = match phase {
                Phase::New => Ok(()),
                Phase::Starting | Phase::Started => Err(Error::AlreadyStarted),
                Phase::Stopping | Phase::Stopped => Err(Error::Stopped),
            };
            let first = begun.is_ok();
            if first {
                *phase = Phase::Starting;
            }
            first
        });
        begun?;
        self.tasks.adopt_current_runtime();
        self.keep_time();
        self.domains.close();
        let mut guard = Starting(Some(self));
        let result = tokio::select! {
            result = self.bring_up() => result,
            () = self.stopping() => Err(Error::Stopped),
        };
        guard.0 = None;
        match result {
            Ok(()) => self.advance(Phase::Started),
            Err(_) => self.stop().await,
        }
        result
    }

    async fn bring_up(self: &Arc<Self>) -> Result<(), Error> {
        // Pods and containers from before still have a stop and a removal before them, whether a plugin is there or not.
        if let Err(reason) = self.recover().await {
            tracing::error!(
                reason,
                "what exists already is not known: its stop and removal will not be relayed"
            );
        }
        for (id, plugin) in &self.built_in {
            self.start_built_in(id, plugin).await?;
        }
        let config = self.config();
        if config.default_validator.enable {
            self.start_validator().await?;
        }
        let installed = self.look_for_plugins(&config)?;
        self.launch_all(installed.into_iter().map(Supervised::new).collect())
            .await;
        if !config.disable_connections {
            let opened = self.open_socket(&config.socket_path).await?;
            self.listen(opened);
        }
        Ok(())
    }

    /// Has the default validator take part.
    pub(crate) async fn start_validator(self: &Arc<Self>) -> Result<(), Error> {
        let plugin: Arc<dyn Plugin> = self.validator.clone();
        self.start_built_in(&DefaultValidator::IDENTITY.parse()?, &plugin)
            .await
    }

    async fn start_built_in(
        self: &Arc<Self>,
        id: &PluginId,
        plugin: &Arc<dyn Plugin>,
    ) -> Result<(), Error> {
        let endpoint = BuiltIn::new(
            id.clone(),
            Arc::clone(plugin),
            Arc::clone(&self.info),
            Arc::downgrade(self),
        );
        let origin = Origin {
            kind: PluginKind::BuiltIn,
            pid: None,
            uid: None,
            gid: None,
            nri_version: nri_core::NRI_VERSION.to_owned(),
        };
        let session = Configuring {
            instance: Arc::clone(self),
            plugin: self.registration(id.clone()),
            endpoint: Arc::new(endpoint),
            origin,
            config: None,
        };
        self.begin(|started| session.live(started))
            .await
            .map_err(|reason| Error::BuiltIn {
                plugin: id.clone(),
                reason,
            })
    }

    /// Spawns a plugin's life and waits until it takes part, or is known not to.
    async fn begin<F>(
        &self,
        life: impl FnOnce(oneshot::Sender<Result<(), String>>) -> F,
    ) -> Result<(), String>
    where
        F: Future<Output = String> + Send + 'static,
    {
        let (started, outcome) = oneshot::channel();
        self.tasks.spawn(life(started));
        outcome
            .await
            .unwrap_or_else(|_| Err(Error::Stopped.to_string()))
    }

    /// Says good-bye to all plugins, and returns when all is gone, or after a bounded time. May be repeated. Dropping the future
    /// only stops waiting.
    pub(crate) async fn stop(self: &Arc<Self>) {
        self.begin_stop();
        let mut phase = self.phase.subscribe();
        let _ = timeout(STOP_TIME, phase.wait_for(|phase| *phase == Phase::Stopped)).await;
    }

    fn begin_stop(self: &Arc<Self>) {
        let mut first = false;
        self.phase.send_if_modified(|phase| {
            first = *phase < Phase::Stopping;
            *phase = (*phase).max(Phase::Stopping);
            first
        });
        if !first {
            return;
        }
        self.listen_no_more();
        let plugins = self.admit_no_more();
        self.plugins_changed();
        // Good-byes at the same time: a plugin that does not answer holds nobody up.
        for active in plugins {
            self.tasks.spawn(good_bye(active, "the runtime stops NRI"));
        }
        let instance = Arc::clone(self);
        self.tasks.spawn_uncounted(async move {
            if timeout(STOP_TIME, instance.tasks.idle()).await.is_err() {
                tracing::warn!(limit = ?STOP_TIME, "some NRI tasks have not ended");
            }
            instance.advance(Phase::Stopped);
            instance.wake_timekeeper();
        });
    }

    /// Lets no plugin in any more; returns those that are there.
    fn admit_no_more(&self) -> Vec<Arc<Active>> {
        self.dispatch.lock().closed = true;
        self.seats()
    }

    /// Cuts everything off without a good-bye; for an instance that was dropped.
    pub(crate) fn abandon(&self) {
        self.advance(Phase::Stopping);
        self.listen_no_more();
        for active in self.admit_no_more() {
            active.close("the runtime has dropped NRI");
        }
        self.advance(Phase::Stopped);
        self.wake_timekeeper();
    }
}

/// A start under way. Dropping it half-way stops the instance.
struct Starting<'a>(Option<&'a Arc<Instance>>);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        if let Some(instance) = self.0.take() {
            instance.begin_stop();
        }
    }
}

/// Says good-bye to a plugin, and cuts it off when it has heard it or its time for that is over.
pub(crate) async fn good_bye(active: Arc<Active>, reason: &'static str) {
    active.endpoint.shutdown(GOOD_BYE_TIME).await;
    active.close(reason);
}
