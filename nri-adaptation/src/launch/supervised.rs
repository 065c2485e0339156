//! A pre-installed plugin and what became of it so far, and all of an instance.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use nri_core::{EventMask, PluginId, RegisteredPlugin};
use tokio::sync::watch;

use crate::launch::discovery::Installed;
use crate::lock::Lock;
use crate::telemetry::plugin_info::{PluginInfo, PluginKind, PluginState};

/// A pre-installed plugin and what became of it so far.
#[derive(Debug)]
pub(crate) struct Supervised {
    pub(crate) installed: Installed,
    life: Lock<Life>,
    /// Whether it is to stop, for good.
    told_to_stop: watch::Sender<bool>,
    /// Whether nothing of it is left.
    over: watch::Sender<bool>,
}

#[derive(Debug, Default)]
pub(crate) struct Life {
    /// How it is, while it is not ready.
    pub(crate) state: Down,
    pub(crate) restarts: u64,
    pub(crate) last_error: Option<String>,
}

/// How a launched plugin is that is not ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Down {
    #[default]
    Starting,
    Restarting,
    Failed,
}

impl Supervised {
    pub(crate) fn new(installed: Installed) -> Arc<Self> {
        Arc::new(Self {
            installed,
            life: Lock::default(),
            told_to_stop: watch::Sender::new(false),
            over: watch::Sender::new(false),
        })
    }

    pub(crate) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock()
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

    pub(crate) fn is_told_to_stop(&self) -> bool {
        *self.told_to_stop.borrow()
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

    /// What can be said of it while it is not ready.
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
pub(crate) struct Launched(Lock<BTreeMap<PluginId, Arc<Supervised>>>);

impl Launched {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PluginId, Arc<Supervised>>> {
        self.0.lock()
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

/// Says that nothing is left of a plugin, however its task ends.
pub(crate) struct Over(pub(crate) Arc<Supervised>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.over.send_replace(true);
    }
}
