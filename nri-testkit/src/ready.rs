//! Waiting for a plugin to be ready at an instance.

use nri_adaptation::{Error, Nri, PluginInfo, PluginState};

/// Waits until a plugin of this identity is ready that registers after this call, whether the
/// future was awaited by then or not.
///
/// # Errors
/// The instance is stopped before that.
pub(crate) fn ready(nri: &Nri, identity: &str) -> impl Future<Output = Result<(), Error>> + use<> {
    let identity = identity.to_owned();
    let is_own = move |info: &&PluginInfo| info.plugin.id.to_string() == identity;
    let mut watch = nri.watch_plugins();
    let registered = watch.plugins();
    let registered = registered.iter().filter(&is_own);
    let before = registered.map(|info| info.plugin.registration).max();
    async move {
        let is_ready = |info: &PluginInfo| {
            Some(info.plugin.registration) > before
                && matches!(info.state, PluginState::Ready | PluginState::Late)
        };
        let waited = watch.wait_for(|plugins| plugins.iter().filter(&is_own).any(is_ready));
        waited.await.map(drop)
    }
}
