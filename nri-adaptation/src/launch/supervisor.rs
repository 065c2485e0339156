//! Pre-installed plugins from their first launch to the end of the instance: launched again when
//! they end, given up when that does not help, and stopped one by one when they are no longer
//! installed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nri_core::PluginId;
use nri_core::validate::DefaultValidator;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::config::{Config, DEFAULT_PLUGIN_CONFIG_PATH, DEFAULT_PLUGIN_PATH};
use crate::engine::driver::Engine;
use crate::error::Error;
use crate::launch::discovery::{Installed, Places, discover};
use crate::launch::life::launched;
use crate::launch::overlooked::{is_built_in, overlooked};
use crate::launch::restarts::{Restarts, Rule};
use crate::launch::supervised::{Down, Launched, Over, Supervised};
use crate::launch::without_effect::without_effect;
use crate::plugin::end_reason::EndReason;
use crate::session::stages::Started;
use crate::text::printable_path;
use crate::way::Trust;

/// So many mistakes of a kind are logged one by one.
const MOST_TOLD: usize = 20;

/// Finds, launches and keeps up the pre-installed plugins of an engine.
pub(crate) struct Supervisor {
    engine: Arc<Engine>,
    pub(crate) launched: Launched,
    /// The plugins that are part of the runtime's program.
    built_in: Vec<PluginId>,
}

impl Supervisor {
    pub(crate) fn new(engine: Arc<Engine>, built_in: Vec<PluginId>) -> Self {
        Self {
            engine,
            launched: Launched::default(),
            built_in,
        }
    }

    /// Looks for pre-installed plugins, and reports what cannot be one, and what of the
    /// configuration concerns nobody.
    ///
    /// # Errors
    /// There is such a file, directory or name, and the configuration is strict about it.
    pub(crate) fn find_plugins(&self, config: &Config) -> Result<Vec<Installed>, Error> {
        let places = Places {
            plugins: &config.plugin_path,
            configs: &config.plugin_config_path,
            most: config.max_plugins,
        };
        let mut found = discover(places, Trust::here());
        let built_in = self.built_in.clone();
        let validator = config.default_validator.enable;
        found.refuse(|plugin| {
            is_built_in(plugin, &built_in, validator)
                .then(|| format!("a plugin that is part of the runtime is called {plugin}"))
        });
        let first_bad = found.bad.first().filter(|_| config.strict_discovery);
        if let Some(bad) = first_bad {
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
            self.engine
                .shared
                .reporter
                .observer
                .plugin_refused(&path, &bad.reason);
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

    /// Says which names in the configuration no plugin has, and which settings cannot matter.
    ///
    /// # Errors
    /// The configuration is strict, and no plugin that connects can have such a name: it is
    /// misspelled, or there are no connections.
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
        known.extend(
            self.engine
                .plugin_infos()
                .into_iter()
                .map(|info| info.plugin.id),
        );
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
        for advice in without_effect(config) {
            tracing::warn!("{advice}");
        }
        Ok(())
    }

    /// Launches plugins, all at once: none waits for another one's start. Returns when each takes
    /// part, or is known not to.
    pub(crate) async fn start_all(&self, plugins: Vec<Arc<Supervised>>) {
        let mut starts = Vec::new();
        for supervised in plugins {
            let (started, outcome) = oneshot::channel();
            let before = self.launched.get(&supervised.installed.plugin);
            self.launched.insert(&supervised);
            self.engine.shared.tasks.spawn(supervise(
                Arc::clone(&self.engine),
                supervised,
                before,
                started,
            ));
            starts.push(outcome);
        }
        self.engine.shared.reporter.plugin_states_changed();
        for outcome in starts {
            // What went wrong is logged where it is known; the others go on without it.
            let _ = outcome.await;
        }
    }
}

/// Says that a directory of the configuration does not exist. Without one that is there by default,
/// nothing is missing.
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

/// Keeps a plugin going, once what there was `before` of it is over. `first` hears of its first
/// launch.
async fn supervise(
    engine: Arc<Engine>,
    supervised: Arc<Supervised>,
    before: Option<Arc<Supervised>>,
    first: Started,
) {
    let all_over = Over(supervised);
    if let Some(before) = before {
        before.over().await;
    }
    let supervised = &all_over.0;
    let plugin = &supervised.installed.plugin;
    let mut first = Some(first);
    let mut restarts = Restarts::default();
    loop {
        let (started, outcome) = oneshot::channel();
        let life = launched(Arc::clone(&engine), Arc::clone(supervised), started);
        let hear = async {
            // Without an answer it was cut off before it was known.
            let outcome = outcome.await.unwrap_or(Err(EndReason::Stopped));
            let since = outcome.is_ok().then(Instant::now);
            if let Some(first) = first.take() {
                // Whoever waited may have stopped waiting.
                let _ = first.send(outcome);
            }
            since
        };
        let (over, since) = tokio::join!(life, hear);
        let reason = over.to_string();
        let took_part = since.map(|since| since.elapsed());
        if engine.shared.is_stopping() || supervised.is_told_to_stop() {
            return;
        }
        let pause = next_restart(&engine, supervised, &mut restarts, took_part, &reason);
        let reporter = &engine.shared.reporter;
        reporter.plugin_states_changed();
        if let Some(pause) = pause {
            tracing::warn!(%plugin, %reason, ?pause, "a launched plugin has ended; launching it again");
        }
        reporter
            .observer
            .plugin_exited(&supervised.info(), &reason, pause);
        let Some(pause) = pause else { return };
        tokio::select! {
            () = sleep(pause) => {}
            () = engine.shared.stopping() => return,
            () = supervised.told_to_stop() => return,
        }
        {
            let mut life = supervised.life();
            life.state = Down::Starting;
            life.restarts += 1;
        }
        reporter.plugin_states_changed();
    }
}

/// What follows the end of a plugin that was not told to stop: the pause after which it is launched
/// again, if it is.
fn next_restart(
    engine: &Engine,
    supervised: &Supervised,
    restarts: &mut Restarts,
    took_part: Option<Duration>,
    reason: &str,
) -> Option<Duration> {
    let plugin = &supervised.installed.plugin;
    let config = engine.shared.config();
    let mut life = supervised.life();
    life.last_error = Some(reason.to_owned());
    life.state = Down::Failed;
    if engine.is_active(plugin) {
        tracing::info!(%plugin, "another instance of a launched plugin is ready; not launching it again");
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
