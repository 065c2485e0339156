//! The plugins of an instance, watched from outside.

use std::fmt;
use std::sync::Arc;

use nri_core::RegisteredPlugin;
use tokio::sync::watch;

use crate::error::Error;
use crate::instance::lifecycle::Instance;
use crate::telemetry::plugin_info::{PluginInfo, PluginState};

/// The plugins of an instance, to be waited for; made by [`Nri::watch_plugins`].
///
/// What it waits for are changes of which plugins there are, of a plugin's
/// [`state`](PluginInfo::state) and of its [`restarts`](PluginInfo::restarts). What happens between
/// two looks is one change, so it is cheap to look seldom. It does not keep the instance going:
/// when the last [`Nri`] is dropped, it ends.
///
/// ```
/// use nri_adaptation::{Nri, PluginWatch};
///
/// /// Keeps a status page up to date.
/// async fn watch(nri: &Nri, mut show: impl FnMut(Vec<String>)) {
///     let mut watch = nri.watch_plugins();
///     loop {
///         let plugins = watch.plugins().into_iter();
///         show(plugins.map(|info| format!("{}: {:?}", info.plugin, info.state)).collect());
///         if watch.changed().await.is_err() {
///             return; // the instance is stopped
///         }
///     }
/// }
/// ```
///
/// [`Nri`]: crate::Nri
/// [`Nri::watch_plugins`]: crate::Nri::watch_plugins
#[derive(Clone)]
pub struct PluginWatch {
    instance: Arc<Instance>,
    changes: watch::Receiver<()>,
    seen: Vec<Seen>,
}

/// What of a plugin counts as a change.
type Seen = (RegisteredPlugin, PluginState, u64);

impl fmt::Debug for PluginWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginWatch")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl PluginWatch {
    /// What is there now counts as seen.
    pub(crate) fn new(instance: &Arc<Instance>) -> Self {
        let changes = instance.shared.reporter.plugin_states();
        let seen = seen(&instance.plugins());
        Self {
            instance: Arc::clone(instance),
            changes,
            seen,
        }
    }

    /// The plugins, as [`Nri::plugins`](crate::Nri::plugins) lists them. They count as seen.
    pub fn plugins(&mut self) -> Vec<PluginInfo> {
        let plugins = self.instance.plugins();
        self.seen = seen(&plugins);
        plugins
    }

    /// Waits until the plugins are not as they were last seen here, and counts them as seen.
    ///
    /// Its future may be dropped at any time: no change is lost by that.
    ///
    /// # Errors
    /// [`Error::Stopped`]: the instance is stopped or dropped, and nothing changes any more.
    pub async fn changed(&mut self) -> Result<(), Error> {
        loop {
            self.changes.mark_unchanged();
            let now = seen(&self.instance.plugins());
            if now != self.seen {
                self.seen = now;
                return Ok(());
            }
            if self.instance.shared.is_stopped() {
                return Err(Error::Stopped);
            }
            tokio::select! {
                // The sender is in the instance, so it cannot be gone.
                _ = self.changes.changed() => {}
                () = self.instance.shared.stopped() => {}
            }
        }
    }

    /// Waits until the plugins are as `until` wants them, and returns them; at once if they are.
    ///
    /// # Errors
    /// [`Error::Stopped`], as for [`changed`](Self::changed).
    pub async fn wait_for(
        &mut self,
        mut until: impl FnMut(&[PluginInfo]) -> bool,
    ) -> Result<Vec<PluginInfo>, Error> {
        loop {
            let plugins = self.plugins();
            if until(&plugins) {
                return Ok(plugins);
            }
            self.changed().await?;
        }
    }
}

fn seen(plugins: &[PluginInfo]) -> Vec<Seen> {
    let plugins = plugins.iter();
    plugins
        .map(|info| (info.plugin.clone(), info.state, info.restarts))
        .collect()
}
