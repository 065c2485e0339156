//! Who a plugin is, as a scenario or a command line writes it. What may not enter: what it does.

use nri_core::PluginId;

/// Reads `NN-name`.
pub(super) fn plugin_id(text: &str) -> Result<PluginId, String> {
    text.parse().map_err(|error| {
        format!("{text:?} is no plugin: {error}. Write NN-name, two digits and the name it registers with, such as 10-logger")
    })
}
