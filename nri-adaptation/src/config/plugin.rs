//! Settings of single plugins, and which of them are in force for one.

use std::time::Duration;

use nri_core::PluginId;
use nri_core::flow::{OnTrouble, Policy};
use serde::Serialize;

use super::settings::settings;
use super::{AfterLate, Config, DEFAULT_REQUEST_TIMEOUT, Trouble};
use crate::duration;

/// Settings of one plugin. What is absent is as for all plugins.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PluginConfig {
    /// How long it may take to answer a request.
    #[serde(
        with = "duration::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_timeout: Option<Duration>,
    /// How many requests it gets at a time. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<usize>,
    /// What an error it answers means for the request. Default `"fail"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_error: Option<Trouble>,
    /// What its lateness means for the request. Default `"skip"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_late: Option<Trouble>,
    /// What the loss of its connection means for the request it is asked. Default `"skip"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_absent: Option<Trouble>,
    /// What happens to it when it was late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_late: Option<AfterLate>,
    /// Has validators judge its updates of other containers too, not only what it asks of a container that is created.
    /// Default `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_updates: Option<bool>,
    /// Launches it again when it ends, if it was launched by us. Default: [`Config::restart`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<bool>,
    /// User ids whose processes may connect under this name, in place of the general lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_uids: Option<Vec<u32>>,
}

settings!(SnakeOrCamel PluginConfig {
    request_timeout,
    max_in_flight,
    on_error,
    on_late,
    on_absent,
    after_late,
    validate_updates,
    restart,
    allowed_uids,
});

/// The settings in force for one plugin.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PluginSettings {
    /// How long it may take to answer a request.
    pub request_timeout: Duration,
    /// How many requests it gets at a time.
    pub max_in_flight: usize,
    /// What its trouble means for a request.
    pub policy: Policy,
    /// What happens to it when it was late.
    pub after_late: AfterLate,
    /// Whether validators judge its updates of other containers too.
    pub validate_updates: bool,
    /// Whether it is launched again when it ends.
    pub restart: bool,
    /// User ids whose processes may connect under this name; `None` where the general lists hold.
    pub allowed_uids: Option<Vec<u32>>,
}

impl Config {
    /// The settings in force for a plugin: those of its identity, then those of its name, then those for all.
    ///
    /// ```
    /// use nri_adaptation::config::Config;
    /// let config = Config::from_toml("[plugins.slow]\nrequest_timeout = '20s'")?;
    /// let settings = config.plugin(&"10-slow".parse()?);
    /// assert_eq!(settings.request_timeout.as_secs(), 20);
    /// assert_eq!(config.plugin(&"10-other".parse()?).request_timeout.as_secs(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn plugin(&self, plugin: &PluginId) -> PluginSettings {
        let by_id = self.plugins.get(&plugin.to_string());
        let by_name = self.plugins.get(plugin.name().as_str());
        let layers: Vec<&PluginConfig> = by_id.into_iter().chain(by_name).collect();
        fn first<T: Clone>(
            layers: &[&PluginConfig],
            field: impl Fn(&PluginConfig) -> &Option<T>,
        ) -> Option<T> {
            layers.iter().find_map(|layer| field(layer).clone())
        }
        let mut policy = Policy::default();
        let trouble = |field: fn(&PluginConfig) -> &Option<Trouble>, default: OnTrouble| {
            first(&layers, field).map_or(default, OnTrouble::from)
        };
        policy.on_error = trouble(|layer| &layer.on_error, policy.on_error);
        policy.on_late = trouble(|layer| &layer.on_late, policy.on_late);
        policy.on_absent = trouble(|layer| &layer.on_absent, policy.on_absent);
        PluginSettings {
            request_timeout: first(&layers, |layer| &layer.request_timeout)
                .filter(|timeout| !timeout.is_zero())
                .unwrap_or_else(|| self.effective_request_timeout()),
            max_in_flight: first(&layers, |layer| &layer.max_in_flight)
                .unwrap_or(1)
                .max(1),
            policy,
            after_late: first(&layers, |layer| &layer.after_late).unwrap_or(self.after_late),
            validate_updates: first(&layers, |layer| &layer.validate_updates).unwrap_or(false),
            restart: first(&layers, |layer| &layer.restart).unwrap_or(self.restart),
            allowed_uids: first(&layers, |layer| &layer.allowed_uids),
        }
    }

    fn effective_request_timeout(&self) -> Duration {
        match self.plugin_request_timeout {
            Duration::ZERO => DEFAULT_REQUEST_TIMEOUT,
            timeout => timeout,
        }
    }
}
