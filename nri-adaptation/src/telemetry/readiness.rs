//! Whether the required plugins are ready.

use nri_core::validate::required::missing;
use nri_core::{PluginId, api};

/// Whether the required plugins are ready: those of
/// [`required_plugins`](crate::config::DefaultValidatorConfig::required_plugins), whether the
/// validator is enabled or not. A plugin is ready once it is synchronised, and until it is
/// disconnected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// Those that are not there, as they are required (`name` or `NN-name`), in order.
    pub missing: Vec<String>,
}

impl Readiness {
    /// Whether none is missing.
    ///
    /// ```
    /// use nri_adaptation::Readiness;
    /// assert!(Readiness::default().is_ready());
    /// ```
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.missing.is_empty()
    }

    /// What is missing of `required` where these plugins are there.
    pub(crate) fn of<'a>(required: &[String], there: impl Iterator<Item = &'a PluginId>) -> Self {
        let there: Vec<_> = there
            .map(|plugin| api::PluginInstance {
                name: plugin.name().to_string(),
                index: plugin.index().to_string(),
            })
            .collect();
        let missing = missing(required.iter().map(String::as_str), &there);
        Self { missing }
    }
}
