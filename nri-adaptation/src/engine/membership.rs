//! Who takes requests: how a plugin joins and goes, how many there may be, and what is known before
//! the first one joins.

use std::sync::Arc;

use nri_core::PluginId;
use tokio::sync::oneshot;

use crate::engine::driver::Engine;
use crate::engine::state::{PluginEntry, State};
use crate::plugin::connected::ConnectedPlugin;
use crate::plugin::end_reason::{EndReason, ListingError};
use crate::telemetry::plugin_info::{PluginInfo, PluginKind};

impl Engine {
    /// Makes a configured plugin join, and waits until it is ready.
    ///
    /// # Errors
    /// Why it is not; it is cut off then.
    pub(crate) async fn join(
        self: &Arc<Self>,
        connected: &Arc<ConnectedPlugin>,
    ) -> Result<(), EndReason> {
        let reason = match self.admit(connected) {
            Err(reason) => reason,
            Ok(joined) => tokio::select! {
                biased;
                joined = joined => match joined {
                    Ok(()) => return Ok(()),
                    // It was closed meanwhile, and that reason counts.
                    Err(_) => EndReason::Gone,
                },
                reason = connected.endpoint.closed() => reason,
                () = self.shared.stopping() => EndReason::Stopped,
            },
        };
        let reason = connected.close(reason);
        self.leave(connected);
        Err(reason)
    }

    /// Has the scheduler let a plugin in.
    fn admit(
        self: &Arc<Self>,
        connected: &Arc<ConnectedPlugin>,
    ) -> Result<oneshot::Receiver<()>, EndReason> {
        let limits = connected.limits();
        let most = self.shared.config().max_plugins;
        // What is not let in is closed at once.
        connected.endpoint.admitted();
        self.update(|state, now| {
            may_join(state, connected, most)?;
            let (joined, ready) = oneshot::channel();
            let entry = PluginEntry {
                connected: Arc::clone(connected),
                joined: Some(joined),
            };
            state.plugins.insert(connected.plugin.clone(), entry);
            state
                .scheduler
                .handle_admitted(connected.member(), limits, now);
            Ok(ready)
        })
    }

    /// Puts the limits and the policy in force that a plugin's settings say now.
    pub(crate) fn settings_changed(self: &Arc<Self>, connected: &ConnectedPlugin) {
        let limits = connected.limits();
        self.update(|state, now| {
            state
                .scheduler
                .handle_changed(connected.member(), limits, now);
        });
    }

    /// Lets no plugin in any more; returns those that are connected.
    pub(crate) fn close_admission(&self) -> Vec<Arc<ConnectedPlugin>> {
        self.dispatch.lock().closed = true;
        self.connected_plugins()
    }

    /// Takes into account what exists already when the instance starts.
    ///
    /// # Errors
    /// A domain cannot say.
    pub(crate) async fn recover(&self) -> Result<(), ListingError> {
        self.list().await.map(drop)
    }

    /// All plugins that are connected, those among them that join or give way to another instance.
    pub(crate) fn connected_plugins(&self) -> Vec<Arc<ConnectedPlugin>> {
        self.dispatch.lock().all_plugins().cloned().collect()
    }

    /// The plugins that a request that begins now includes, in order.
    pub(crate) fn active_plugins(&self) -> Vec<Arc<ConnectedPlugin>> {
        self.dispatch.lock().active_plugins().cloned().collect()
    }

    /// What is known of them.
    pub(crate) fn plugin_infos(&self) -> Vec<PluginInfo> {
        self.dispatch.lock().plugin_infos()
    }

    /// Whether requests include a plugin, wherever it comes from.
    pub(crate) fn is_active(&self, plugin: &PluginId) -> bool {
        let state = self.dispatch.lock();
        state
            .active_plugins()
            .any(|active| active.plugin.id == *plugin)
    }

    /// Shuts a launched plugin down, if it is active.
    pub(crate) async fn dismiss(&self, plugin: &PluginId) {
        let plugins = self.active_plugins();
        let launched = plugins
            .into_iter()
            .find(|active| active.plugin.id == *plugin && active.kind() == PluginKind::Launched);
        if let Some(launched) = launched {
            launched.shut_down(EndReason::NotInstalled).await;
        }
    }

    /// Keeps plugins from joining as long as the guard lives.
    pub(crate) fn block_joining(self: &Arc<Self>) -> Block {
        self.update(|state, _| state.scheduler.block_joining());
        Block(Arc::clone(self))
    }
}

/// While it lives, no plugin joins.
pub(crate) struct Block(Arc<Engine>);

impl Drop for Block {
    fn drop(&mut self) {
        self.0
            .update(|state, now| state.scheduler.unblock_joining(now));
    }
}

fn may_join(state: &State, connected: &ConnectedPlugin, most: usize) -> Result<(), EndReason> {
    if state.closed {
        return Err(EndReason::Stopped);
    }
    let mut others = 0;
    for other in state.all_plugins() {
        if other.plugin.id != connected.plugin.id {
            others += 1;
        } else if other.is_built_in() {
            return Err(EndReason::PartOfRuntime(connected.plugin.clone()));
        }
    }
    if others >= most {
        return Err(EndReason::TooManyPlugins(most));
    }
    Ok(())
}
