//! Another configuration for an instance that is up: what can fail is done first, then everything
//! changes, then what the change calls for is seen through.

use std::sync::Arc;

use nri_core::PluginId;
use nri_core::validate::DefaultValidator;

use crate::config::Config;
use crate::error::Error;
use crate::instance::lifecycle::Instance;
use crate::launch::discovery::Installed;
use crate::launch::supervised::Supervised;
use crate::plugin::connected::ConnectedPlugin;
use crate::plugin::end_reason::EndReason;
use crate::session::admission::may_register_as;
use crate::telemetry::plugin_info::PluginKind;

/// What a change of the configuration did to launched plugins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconfigured {
    /// Those that are new, or had been given up.
    pub launched: Vec<PluginId>,
    /// Those whose file or configuration has changed.
    pub restarted: Vec<PluginId>,
    /// Those that are no longer installed.
    pub stopped: Vec<PluginId>,
}

impl Instance {
    /// Puts another configuration in force.
    pub(crate) async fn reconfigure(
        self: &Arc<Self>,
        config: Config,
    ) -> Result<Reconfigured, Error> {
        let new = Arc::new(config.into_force()?);
        let _alone = self.reconfiguring.lock().await;
        let up = self.shared.is_up().await.ok_or(Error::Stopped)?;
        let old = self.shared.config();
        self.check_fixed(&old, &new)?;
        if !up || new.disable {
            self.apply(new);
            return Ok(Reconfigured::default());
        }

        let installed = self.supervisor.find_plugins(&new)?;
        let moves = old.disable_connections || old.socket_path != new.socket_path;
        let opened = match !new.disable_connections && moves {
            true => Some(self.listener.open(&new.socket_path).await?),
            false => None,
        };
        if new.default_validator.enable && !old.default_validator.enable {
            // With the options of before, until the next step: they are off, or those it had last.
            self.start_validator().await?;
        }

        // Nothing fails from here on.
        self.apply(Arc::clone(&new));
        self.apply_to_plugins(&new);
        match opened {
            Some(opened) => self.listener.listen(&self.engine, opened),
            None if new.disable_connections => self.listener.stop_listening(),
            None => {}
        }
        let (done, launch, stop) = self.replan(installed);
        self.engine.plugins_changed();
        tracing::info!(
            launched = done.launched.len(),
            restarted = done.restarted.len(),
            stopped = done.stopped.len(),
            "NRI is reconfigured"
        );

        self.supervisor.start_all(launch).await;
        for supervised in stop {
            supervised.over().await;
        }
        Ok(done)
    }

    /// # Errors
    /// Something changes that cannot.
    fn check_fixed(&self, old: &Config, new: &Config) -> Result<(), Error> {
        let brought = self.listener.is_given;
        let fixed = [
            ("disable", old.disable != new.disable),
            ("serial", old.serial != new.serial),
            ("socket_path", brought && old.socket_path != new.socket_path),
            (
                "disable_connections",
                brought && old.disable_connections != new.disable_connections,
            ),
        ];
        match fixed.into_iter().find(|(_, changes)| *changes) {
            Some((key, _)) => Err(Error::Fixed { key }),
            None => Ok(()),
        }
    }

    /// Changes what holds for the plugins that are there; those that may be there no more are sent
    /// away.
    fn apply_to_plugins(self: &Arc<Self>, new: &Config) {
        let us = rustix::process::geteuid().as_raw();
        for connected in self.engine.connected_plugins() {
            let id = &connected.plugin.id;
            if let Some(reason) = unwanted(&connected, new, us) {
                self.shared.tasks.spawn(connected.shut_down(reason));
                continue;
            }
            let settings = new.wishing_plugin(id, connected.subscription.wish.as_ref());
            if *connected.settings() == settings {
                continue;
            }
            connected.set_settings(settings);
            self.engine.settings_changed(&connected);
        }
    }

    /// Compares what is installed with what was launched: what was done about it, who is to be
    /// launched, and who stops.
    fn replan(
        &self,
        installed: Vec<Installed>,
    ) -> (Reconfigured, Vec<Arc<Supervised>>, Vec<Arc<Supervised>>) {
        let mut done = Reconfigured::default();
        let (mut launch, mut stop) = (Vec::new(), Vec::new());
        for supervised in self.supervisor.launched.all() {
            let plugin = &supervised.installed.plugin;
            if !installed.iter().any(|now| now.plugin == *plugin) {
                supervised.stop();
                self.supervisor.launched.remove(plugin);
                done.stopped.push(plugin.clone());
                stop.push(supervised);
            }
        }
        for now in installed {
            let plugin = now.plugin.clone();
            match self.supervisor.launched.get(&plugin) {
                None => done.launched.push(plugin),
                Some(before) if before.installed != now => {
                    before.stop();
                    done.restarted.push(plugin);
                }
                Some(before) if before.is_over() && !self.engine.is_active(&plugin) => {
                    done.launched.push(plugin);
                }
                Some(_) => continue,
            }
            launch.push(Supervised::new(now));
        }
        (done, launch, stop)
    }
}

/// Why a plugin is to go, if it is.
fn unwanted(connected: &ConnectedPlugin, config: &Config, us: u32) -> Option<EndReason> {
    let id = &connected.plugin.id;
    match connected.kind() {
        PluginKind::BuiltIn => {
            let validator = id.to_string() == DefaultValidator::IDENTITY;
            (validator && !config.default_validator.enable).then_some(EndReason::Disabled)
        }
        PluginKind::External => {
            let allowed = connected
                .peer()
                .is_none_or(|peer| may_register_as(config, id, &peer, us));
            (!allowed).then_some(EndReason::NotAllowed)
        }
        PluginKind::Launched => None,
    }
}
