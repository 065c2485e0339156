//! Which settings are in force for a plugin.

use std::time::Duration;

use nri_core::flow::{FailureAction, Policy};
use nri_core::schedule::{AfterLate, PluginLimits};
use nri_core::{PluginId, api};

use super::{Config, DEFAULT_REQUEST_TIMEOUT, PluginConfig};

/// The settings in force for one plugin.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PluginSettings {
    /// How long it may take to answer a request.
    pub request_timeout: Duration,
    /// How many requests it gets at a time.
    pub max_in_flight: usize,
    /// Whether it only hears of what happens.
    pub observe: bool,
    /// What its trouble means for a request.
    pub policy: Policy,
    /// What happens to it when it was late.
    pub after_late: AfterLate,
    /// After how many late answers in a row it is closed; 0 is never.
    pub strikes: u32,
    /// Whether validators judge its updates of other containers too.
    pub validate_updates: bool,
    /// Whether it is launched again when it ends.
    pub restart: bool,
    /// User ids whose processes may connect under this name; `None` where the general lists hold.
    pub allowed_uids: Option<Vec<u32>>,
}

impl Config {
    /// The settings in force for a plugin that wishes nothing: those of its identity, then those of
    /// its name, then those for all.
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
        self.wishing_plugin(plugin, None)
    }

    /// The settings in force for a plugin that may have said what is to happen when it does not
    /// answer (protocol v0.12.4). What the operator says of this plugin goes before that, that
    /// before what holds for all.
    ///
    /// ```
    /// use nri_adaptation::api::FailurePolicy;
    /// use nri_adaptation::config::{AfterLate, Config, FailureAction};
    /// let config = Config::from_toml("[plugins.tamed]\non_late = 'skip'")?;
    /// let wish = FailurePolicy { fail_request: true, keep_connected: true };
    /// let settings = config.wishing_plugin(&"10-strict".parse()?, Some(&wish));
    /// assert_eq!(settings.policy.on_late, FailureAction::Fail);
    /// assert_eq!((settings.after_late, settings.strikes), (AfterLate::Keep, 0));
    /// assert_eq!(config.wishing_plugin(&"10-tamed".parse()?, Some(&wish)).policy.on_late, FailureAction::Skip);
    /// assert_eq!(config.wishing_plugin(&"10-other".parse()?, None).strikes, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn wishing_plugin(
        &self,
        plugin: &PluginId,
        wish: Option<&api::FailurePolicy>,
    ) -> PluginSettings {
        let by_id = self.plugins.get(&plugin.to_string());
        let by_name = self.plugins.get(plugin.name().as_str());
        let layers: Vec<&PluginConfig> = by_id.into_iter().chain(by_name).collect();
        fn first<T: Clone>(
            layers: &[&PluginConfig],
            field: impl Fn(&PluginConfig) -> &Option<T>,
        ) -> Option<T> {
            layers.iter().find_map(|layer| field(layer).clone())
        }
        let mut policy = wish.map(Policy::wished).unwrap_or_default();
        let trouble = |field: fn(&PluginConfig) -> &Option<FailureAction>,
                       default: FailureAction| {
            first(&layers, field).unwrap_or(default)
        };
        policy.on_error = trouble(|layer| &layer.on_error, policy.on_error);
        policy.on_late = trouble(|layer| &layer.on_late, policy.on_late);
        // The operator's key is about both kinds of absence, a plugin's wish about one.
        policy.on_lost = trouble(|layer| &layer.on_absent, policy.on_lost);
        policy.on_absent = trouble(|layer| &layer.on_absent, policy.on_absent);
        let after_late = first(&layers, |layer| &layer.after_late);
        let mut limits = PluginLimits::default();
        limits.after_late = after_late.unwrap_or(self.after_late);
        limits.strikes = self.plugin_strikes;
        if let (None, Some(wish)) = (after_late, wish) {
            limits = limits.wished(wish);
        }
        PluginSettings {
            request_timeout: first(&layers, |layer| &layer.request_timeout)
                .filter(|timeout| !timeout.is_zero())
                .unwrap_or_else(|| self.effective_request_timeout()),
            max_in_flight: first(&layers, |layer| &layer.max_in_flight)
                .unwrap_or(1)
                .max(1),
            observe: first(&layers, |layer| &layer.observe).unwrap_or(false),
            policy,
            after_late: limits.after_late,
            strikes: limits.strikes,
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
