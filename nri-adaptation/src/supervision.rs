//! Pre-installed plugins from their first launch to the end of the instance: launched again when they end, given up when
//! that does not help, and stopped one by one when they are no longer installed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nri_core::validate::DefaultValidator;
use nri_core::{EventMask, PluginId, RegisteredPlugin};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use crate::config::{Config, DEFAULT_PLUGIN_CONFIG_PATH, DEFAULT_PLUGIN_PATH};
use crate::discovery::{Installed, Places, discover};
use crate::error::Error;
use crate::instance::Instance;
use crate::observer::{PluginInfo, PluginKind, PluginState};
use crate::overlooked::{is_built_in, overlooked, validator_is_overlooked};
use crate::restarts::{Restarts, Rule};
use crate::session::{Started, launched};
use crate::text::printable_path;
use crate::way::Trust;

/// So many mistakes of a kind are logged one by one.
const MOST_TOLD: usize = 20;

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
    /// Looks for pre-installed plugins, and reports what cannot be one, and what of the configuration concerns nobody.
    ///
    /// # Errors
    /// There is such a file, directory or name, and the configuration is strict about it.
    pub(crate) fn look_for_plugins(&self, config: &Config) -> Result<Vec<Installed>, Error> {
        let places = Places {
            plugins: &config.plugin_path,
            configs: &config.plugin_config_path,
            most: config.max_plugins,
        };
        let mut found = discover(places, Trust::here());
        let built_in = self.built_in();
        let validator = config.default_validator.enable;
        found.refuse(|plugin| {
            is_built_in(plugin, &built_in, validator)
                .then(|| format!("a plugin that is part of the runtime is called {plugin}"))
        });
        if config.strict_discovery
            && let Some(bad) = found.bad.first()
        {
            return Err(Error::Discovery {
                path: bad.path.clone(),
                reason: bad.reason.clone(),
            });
        }
        for directory in &found.absent {
            absent(directory, config)?;
        }
        for (bad, told) in found.bad.iter().zip(0..) {
            let path = printable_path(&bad.path);
            self.observer.plugin_refused(&path, &bad.reason);
            if told < MOST_TOLD {
                tracing::warn!(%path, reason = %bad.reason, "skipping a file of the plugin directory");
            }
        }
        and_more(found.bad.len(), "files of the plugin directory are skipped");
        for unused in found.unused.iter().take(MOST_TOLD) {
            let path = printable_path(&unused.path);
            tracing::warn!(%path, reason = %unused.reason, "a configuration file without effect");
        }
        and_more(found.unused.len(), "configuration files are without effect");
        self.tell_overlooked(config, &found.plugins, built_in)?;
        Ok(found.plugins)
    }

    /// Says which names in the configuration no plugin has.
    ///
    /// # Errors
    /// The configuration is strict, and no plugin that connects can have such a name: it is misspelled, or there are no
    /// connections.
    fn tell_overlooked(
        &self,
        config: &Config,
        installed: &[Installed],
        mut known: Vec<PluginId>,
    ) -> Result<(), Error> {
        if config.default_validator.enable {
            known.extend(DefaultValidator::IDENTITY.parse::<PluginId>().ok());
        }
        known.extend(installed.iter().map(|installed| installed.plugin.clone()));
        known.extend(self.infos().into_iter().map(|info| info.plugin.id));
        let connections = !config.disable_connections;
        let names = overlooked(config, &known);
        for name in names.iter().take(MOST_TOLD) {
            let advice = name.advice(connections);
            let mistaken = name.nearest.is_some() || !connections;
            if mistaken && config.strict_discovery {
                return Err(Error::Overlooked { reason: advice });
            }
            match mistaken {
                true => tracing::warn!("{advice}"),
                false => tracing::info!("{advice}"),
            }
        }
        and_more(names.len(), "names in the configuration are no plugin's");
        if validator_is_overlooked(&config.default_validator) {
            tracing::warn!(
                "`default_validator` says what to reject, and `default_validator.enable` is false: nothing is rejected"
            );
        }
        Ok(())
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

/// Says that a directory of the configuration does not exist. Without one that is there by default, nothing is missing.
///
/// # Errors
/// The configuration is strict. Only the configurations are not missed where they are by default.
fn absent(directory: &Path, config: &Config) -> Result<(), Error> {
    let (key, default) = match directory == config.plugin_path {
        true => ("plugin_path", DEFAULT_PLUGIN_PATH),
        false => ("plugin_config_path", DEFAULT_PLUGIN_CONFIG_PATH),
    };
    let named = directory != Path::new(default);
    if config.strict_discovery && (named || key == "plugin_path") {
        return Err(Error::Discovery {
            path: directory.to_owned(),
            reason: format!("the directory does not exist: make it, or correct `{key}`"),
        });
    }
    let path = printable_path(directory);
    match named {
        true => tracing::warn!(%path, "the directory that `{key}` names does not exist"),
        false => {
            tracing::info!(%path, "there is no such directory, so there is nothing in it: `{key}` can name another one")
        }
    }
    Ok(())
}

/// Says that there are more than are told one by one.
fn and_more(count: usize, what: &str) {
    if count > MOST_TOLD {
        tracing::warn!("{} more {what}", count - MOST_TOLD);
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
                .plugin_exited(&supervised.info(), &reason, None);
            return;
        };
        tracing::warn!(%plugin, %reason, ?pause, "a launched plugin has ended; launching it again");
        instance
            .observer
            .plugin_exited(&supervised.info(), &reason, Some(pause));
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
        tracing::error!(%plugin, %reason, "a launched plugin has ended, and `restart` is off for it");
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
            %plugin, %reason, limit = rule.limit,
            "a launched plugin has ended too often in a row; giving it up until it is installed anew or NRI is reconfigured"
        ),
    }
    pause
}
