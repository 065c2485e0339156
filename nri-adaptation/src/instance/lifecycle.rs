//! One NRI instance: what it is made of, and its life from start to stop. Only the facade stands
//! above.

use std::fmt;
use std::future::Future;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use nri_core::merge::Support;
use nri_core::validate::DefaultValidator;
use nri_core::{Plugin, PluginId, RuntimeInfo};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config::Config;
use crate::engine::domains::Domains;
use crate::engine::driver::Engine;
use crate::engine::side_effects::CarriedOut;
use crate::error::Error;
use crate::launch::supervised::Supervised;
use crate::launch::supervisor::Supervisor;
use crate::listen::listener::Listener;
use crate::plugin::builtin::BuiltIn;
use crate::plugin::connected::Origin;
use crate::plugin::end_reason::EndReason;
use crate::plugin::live_validator::LiveValidator;
use crate::session::stages::{Configuring, Started};
use crate::shared::Shared;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::observer::Observer;
use crate::telemetry::plugin_info::{PluginInfo, PluginKind};
use crate::telemetry::reporter::Reporter;

/// How long stopping may take in all, shutting plugins down and the ends of processes included.
const STOP_TIME: Duration = Duration::from_secs(10);

/// An instance.
pub(crate) struct Instance {
    pub(crate) shared: Arc<Shared>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) supervisor: Supervisor,
    pub(crate) listener: Listener,
    pub(crate) validator: Arc<LiveValidator>,
    /// Held while the configuration is changed.
    pub(crate) reconfiguring: tokio::sync::Mutex<()>,
    built_in: Vec<(PluginId, Arc<dyn Plugin>)>,
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
    pub(crate) carried_out: CarriedOut,
    pub(crate) busy_poll: Duration,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

impl Instance {
    pub(crate) fn new(parts: Parts) -> Self {
        let config = Arc::new(parts.config);
        let reporter = Reporter::new(parts.observer, parts.metrics);
        let shared = Arc::new(Shared::new(Arc::clone(&config), parts.info, reporter));
        let engine = Arc::new(Engine::new(
            Arc::clone(&shared),
            parts.domains,
            parts.support,
            parts.carried_out,
            parts.busy_poll,
        ));
        let built_in = parts.built_in.iter().map(|(id, _)| id.clone()).collect();
        let instance = Self {
            shared,
            supervisor: Supervisor::new(Arc::clone(&engine), built_in),
            engine,
            listener: Listener::new(parts.listener),
            validator: Arc::default(),
            reconfiguring: tokio::sync::Mutex::default(),
            built_in: parts.built_in,
        };
        instance.apply(config);
        instance
    }

    /// Puts a configuration in force, the first one or another one: tells it to all who keep
    /// something of it.
    pub(crate) fn apply(&self, config: Arc<Config>) {
        self.engine.configure(&config);
        self.validator.set(&config.default_validator);
        self.shared.set_config(config);
        // Others may be required.
        self.engine.plugins_changed();
    }

    /// All plugins, in the order in which they are called: those that requests include, and
    /// launched ones that are down.
    pub(crate) fn plugins(&self) -> Vec<PluginInfo> {
        let mut launched = self.supervisor.launched.all();
        let mut plugins = self.engine.plugin_infos();
        for info in &mut plugins {
            if info.kind != PluginKind::Launched {
                continue;
            }
            let own = launched
                .iter()
                .position(|supervised| supervised.installed.plugin == info.plugin.id);
            if let Some(own) = own {
                let (restarts, last_error) = launched.remove(own).history();
                info.restarts = restarts;
                info.last_error = info.last_error.take().or(last_error);
            }
        }
        plugins.extend(launched.iter().map(|supervised| supervised.info()));
        plugins.sort_by(|a, b| a.plugin.cmp(&b.plugin));
        plugins
    }

    /// Brings everything up: built-in plugins, pre-installed ones, then the socket.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<(), Error> {
        if self.shared.config().disable {
            tracing::info!("NRI is off: `disable` is set");
            return Ok(());
        }
        self.shared.begin_start()?;
        self.shared.tasks.adopt_current_runtime();
        self.engine.keep_time();
        if let Some(looking) = self.engine.busy_poll.start() {
            let shared = Arc::clone(&self.shared);
            self.shared.tasks.spawn_uncounted(async move {
                tokio::select! {
                    () = looking => {}
                    () = shared.stopped() => {}
                }
            });
        }
        self.engine.domains.close();
        let mut guard = Starting(Some(self));
        let result = tokio::select! {
            result = self.start_all() => result,
            () = self.shared.stopping() => Err(Error::Stopped),
        };
        guard.0 = None;
        match result {
            Ok(()) => self.shared.set_started(),
            Err(_) => self.stop().await,
        }
        result
    }

    async fn start_all(self: &Arc<Self>) -> Result<(), Error> {
        // Pods and containers from before still have a stop and a removal before them, whether a
        // plugin is there or not.
        if let Err(error) = self.engine.recover().await {
            tracing::error!(
                %error,
                "what exists already is not known: its stop and removal will not be relayed"
            );
        }
        for (id, plugin) in &self.built_in {
            self.start_built_in(id, plugin).await?;
        }
        let config = self.shared.config();
        if config.default_validator.enable {
            self.start_validator().await?;
        }
        let installed = self.supervisor.find_plugins(&config)?;
        self.supervisor
            .start_all(installed.into_iter().map(Supervised::new).collect())
            .await;
        if !config.disable_connections {
            let opened = self.listener.open(&config.socket_path).await?;
            self.listener.listen(&self.engine, opened);
        }
        Ok(())
    }

    /// Adds the default validator.
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
            Arc::clone(plugin),
            Arc::clone(&self.shared.info),
            Arc::new(self.engine.unsolicited.door(id.clone())),
        );
        let origin = Origin {
            kind: PluginKind::BuiltIn,
            pid: None,
            uid: None,
            gid: None,
            nri_version: nri_core::NRI_VERSION.to_owned(),
        };
        let session = Configuring {
            engine: Arc::clone(&self.engine),
            plugin: self.engine.registration(id.clone()),
            endpoint: Arc::new(endpoint),
            origin,
            config: None,
        };
        self.begin(|started| session.live(started))
            .await
            .map_err(|reason| Error::BuiltIn {
                plugin: id.clone(),
                reason: reason.to_string(),
            })
    }

    /// Spawns a plugin's life and waits until it is ready, or is known not to be.
    async fn begin<F>(&self, life: impl FnOnce(Started) -> F) -> Result<(), EndReason>
    where
        F: Future<Output = EndReason> + Send + 'static,
    {
        let (started, outcome) = oneshot::channel();
        self.shared.tasks.spawn(life(started));
        outcome.await.unwrap_or(Err(EndReason::Stopped))
    }

    /// Shuts all plugins down, and returns when all are disconnected, or after a bounded time. May
    /// be repeated. Dropping the future only stops waiting.
    pub(crate) async fn stop(self: &Arc<Self>) {
        self.begin_stop();
        self.shared.stopped_within(STOP_TIME).await;
    }

    fn begin_stop(self: &Arc<Self>) {
        if !self.shared.begin_stop() {
            return;
        }
        self.listener.stop_listening();
        let plugins = self.engine.close_admission();
        self.engine.plugins_changed();
        // All at the same time: a plugin that does not answer holds nobody up.
        for connected in plugins {
            self.shared
                .tasks
                .spawn(connected.shut_down(EndReason::Stopping));
        }
        let (shared, dispatch) = (Arc::clone(&self.shared), Arc::clone(&self.engine.dispatch));
        self.shared.tasks.spawn_uncounted(async move {
            if timeout(STOP_TIME, shared.tasks.idle()).await.is_err() {
                tracing::warn!(limit = ?STOP_TIME, "some NRI tasks have not ended");
            }
            shared.set_stopped();
            dispatch.wake_timekeeper();
        });
    }

    /// Cuts everything off without `Shutdown`; for an instance that was dropped.
    pub(crate) fn abort(&self) {
        self.shared.begin_stop();
        self.listener.stop_listening();
        for connected in self.engine.close_admission() {
            connected.close(EndReason::Dropped);
        }
        self.shared.set_stopped();
        self.engine.dispatch.wake_timekeeper();
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
