//! Pre-installed plugins from their first launch to the end of the instance: launched again when they end, given up when
//! that does not help, and stopped one by one when they are no longer installed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nri_core::{EventMask, PluginId, RegisteredPlugin};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use crate::discovery::{Found, Installed, discover};
use crate::error::Error;
use crate::instance::Instance;
use crate::observer::{PluginInfo, PluginKind, PluginState};
use crate::restarts::{Restarts, Rule};
use crate::session::{Started, launched};

/// A pre-installed plugin and what became of it so far.
#[derive(Debug)]
pub(crate) struct Supervised {
    pub(crate) installed: Installed,
    life: Mutex<Life>,
    /// Whether it is to stop, for good.
    told_to_stop: watch::Sender<bool>,
    /// Whether nothing of it is left.
    over: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Life {
    /// How it is, while it does not take part.
    state: Down,
    restarts: u64,
    last_error: Option<String>,
}

/// How a launched plugin is that does not take part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Down {
    #[default]
    Starting,
    Restarting,
    Failed,
}

impl Supervised {
    pub(crate) fn new(installed: Installed) -> Arc<Self> {
        Arc::new(Self {
            installed,
            life: Mutex::default(),
            told_to_stop: watch::Sender::new(false),
            over: watch::Sender::new(false),
        })
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        // No foreign code runs under the lock, so a poisoned one is whole.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells it to stop, for good.
    pub(crate) fn stop(&self) {
        self.told_to_stop.send_replace(true);
    }

    /// Resolves when it is to stop.
    pub(crate) async fn told_to_stop(&self) {
        let mut told = self.told_to_stop.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        let _ = told.wait_for(|told| *told).await;
    }

    /// Resolves when nothing of it is left.
    pub(crate) async fn over(&self) {
        let mut over = self.over.subscribe();
        let _ = over.wait_for(|over| *over).await;
    }

    /// Whether it was given up, or stopped.
    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// How often it was launched again, and why it last ended.
    pub(crate) fn history(&self) -> (u64, Option<String>) {
        let life = self.life();
        (life.restarts, life.last_error.clone())
    }

    /// What can be said of it while it does not take part.
    pub(crate) fn info(&self) -> PluginInfo {
        let id = self.installed.plugin.clone();
        // There is no registration with this number.
        let plugin = RegisteredPlugin {
            id,
            registration: 0,
        };
        let life = self.life();
        let state = match life.state {
            Down::Starting => PluginState::Starting,
            Down::Restarting => PluginState::Restarting,
            Down::Failed => PluginState::Failed,
        };
        let mut info = PluginInfo::new(plugin, PluginKind::Launched, EventMask::NONE, state);
        info.restarts = life.restarts;
        info.last_error = life.last_error.clone();
        info
    }
}

/// All of an instance.
#[derive(Debug, Default)]
pub(crate) struct Launched(Mutex<BTreeMap<PluginId, Arc<Supervised>>>);

impl Launched {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PluginId, Arc<Supervised>>> {
        // No foreign code runs under the lock, so a poisoned one is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, plugin: &PluginId) -> Option<Arc<Supervised>> {
        self.lock().get(plugin).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Supervised>> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn insert(&self, supervised: &Arc<Supervised>) {
        let plugin = supervised.installed.plugin.clone();
        self.lock().insert(plugin, Arc::clone(supervised));
    }

    pub(crate) fn remove(&self, plugin: &PluginId) -> Option<Arc<Supervised>> {
        self.lock().remove(plugin)
    }
}

impl Instance {
    /// Looks for pre-installed plugins, and reports what cannot be one.
    ///
    /// # Errors
    /// There is such a file or directory, and the configuration is strict about it.
    pub(crate) fn look_for_plugins(
        &self,
        config: &crate::config::Config,
    ) -> Result<Vec<Installed>, Error> {
        let Found { plugins, bad } = discover(&config.plugin_path, &config.plugin_config_path);
        for bad in bad {
            if config.strict_discovery {
                return Err(Error::Discovery {
                    path: bad.path,
                    reason: bad.reason,
                });
            }
            tracing::warn!(path = %bad.path.display(), reason = bad.reason, "skipping a file of the plugin directory");
            self.observer
                .plugin_refused(&bad.path.display().to_string(), &bad.reason);
        }
        Ok(plugins)
    }

    /// All plugins, in the order in which they are called: those that take part, and launched ones that do not.
    pub(crate) fn plugins(&self) -> Vec<PluginInfo> {
        let mut launched = self.launched.all();
        let mut plugins = self.infos();
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

    /// Launches plugins, all at once: none waits for another one's start. Returns when each takes part, or is known not to.
    pub(crate) async fn launch_all(self: &Arc<Self>, plugins: Vec<Arc<Supervised>>) {
        let mut starts = Vec::new();
        for supervised in plugins {
            let (started, outcome) = oneshot::channel();
            let before = self.launched.get(&supervised.installed.plugin);
            self.launched.insert(&supervised);
            self.tasks
                .spawn(supervise(Arc::clone(self), supervised, before, started));
            starts.push(outcome);
        }
        for outcome in starts {
            // What went wrong is logged where it is known; the others go on without it.
            let _ = outcome.await;
        }
    }
}

/// Says that nothing is left of a plugin, however its task ends.
struct Over(Arc<Supervised>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.over.send_replace(true);
    }
}

/// Keeps a plugin going, once what there was `before` of it is over. `first` hears of its first launch.
async fn supervise(
    instance: Arc<Instance>,
    supervised: Arc<Supervised>,
    before: Option<Arc<Supervised>>,
    first: Started,
) {
    let over = Over(supervised);
    if let Some(before) = before {
        before.over().await;
    }
    let supervised = &over.0;
    let plugin = &supervised.installed.plugin;
    let mut first = Some(first);
    let mut restarts = Restarts::default();
    loop {
        let (started, outcome) = oneshot::channel();
        let life = launched(Arc::clone(&instance), Arc::clone(supervised), started);
        let hear = async {
            // Without an answer it was cut off before it was known.
            let outcome = outcome
                .await
                .unwrap_or_else(|_| Err(Error::Stopped.to_string()));
            let since = outcome.is_ok().then(Instant::now);
            if let Some(first) = first.take() {
                // Whoever waited may have stopped waiting.
                let _ = first.send(outcome);
            }
            since
        };
        let (reason, since) = tokio::join!(life, hear);
        let took_part = since.map(|since| since.elapsed());
        if instance.is_stopping() || *supervised.told_to_stop.borrow() {
            return;
        }
        let Some(pause) = after(&instance, supervised, &mut restarts, took_part, &reason) else {
            instance
                .observer
                .plugin_down(&supervised.info(), &reason, None);
            return;
        };
        tracing::warn!(%plugin, reason, ?pause, "a launched plugin has ended; launching it again");
        instance
            .observer
            .plugin_down(&supervised.info(), &reason, Some(pause));
        tokio::select! {
            () = sleep(pause) => {}
            () = instance.stopping() => return,
            () = supervised.told_to_stop() => return,
        }
        let mut life = supervised.life();
        life.state = Down::Starting;
        life.restarts += 1;
    }
}

/// What follows the end of a plugin that was not told to stop: the pause after which it is launched again, if it is.
fn after(
    instance: &Instance,
    supervised: &Supervised,
    restarts: &mut Restarts,
    took_part: Option<Duration>,
    reason: &str,
) -> Option<Duration> {
    let plugin = &supervised.installed.plugin;
    let config = instance.config();
    let mut life = supervised.life();
    life.last_error = Some(reason.to_owned());
    life.state = Down::Failed;
    if instance.takes_part(plugin) {
        tracing::info!(%plugin, "another instance of a launched plugin takes part; not launching it again");
        return None;
    }
    if !config.plugin(plugin).restart {
        tracing::error!(%plugin, reason, "a launched plugin has ended, and `restart` is off for it");
        return None;
    }
    let rule = Rule {
        backoff: config.restart_backoff,
        limit: config.restart_limit,
    };
    let pause = restarts.ended(rule, took_part);
    match pause {
        Some(_) => life.state = Down::Restarting,
        None => tracing::error!(
            %plugin, reason, limit = rule.limit,
            "a launched plugin has ended too often in a row; giving it up until it is installed anew or NRI is reconfigured"
        ),
    }
    pause
}
