//! The configuration of an instance: the keys of the reference, under the same names, and our own.
//!
//! Nothing in it is global: two instances in one process have a configuration each. Reading a file is the embedding
//! runtime's business; what is here turns text into a [`Config`] and says what is wrong with it.

mod json;
mod reading;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nri_core::flow::{OnTrouble, Policy};
use nri_core::validate::ValidatorOptions;
use nri_core::{PluginId, PluginName};
use serde::{Deserialize, Serialize};

pub use self::json::JsonConfig;
pub use self::reading::{ConfigError, UnknownKey};
use crate::duration;

/// Where plugins that are started externally connect, by default.
pub const DEFAULT_SOCKET_PATH: &str = "/var/run/nri/nri.sock";
/// Where pre-installed plugins are looked for, by default.
pub const DEFAULT_PLUGIN_PATH: &str = "/opt/nri/plugins";
/// Where drop-in configurations of pre-installed plugins are looked for, by default.
pub const DEFAULT_PLUGIN_CONFIG_PATH: &str = "/etc/nri/conf.d";
/// How long a plugin may take to register, by default.
pub const DEFAULT_REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a plugin may take to answer a request, by default.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The configuration of an instance.
///
/// The first eight keys are the reference's; TOML uses the field names, JSON the same in lowerCamel (both are understood
/// when reading, see [`JsonConfig`] for writing). Absent keys have their defaults; an empty path and a zero duration mean
/// the default too. To launch nothing, point `plugin_path` at a directory that does not exist.
///
/// ```
/// use std::time::Duration;
/// use nri_adaptation::config::Config;
///
/// let config = Config::from_toml("socket_path = '/run/nri.sock'\nplugin_request_timeout = '1m30s'")?;
/// assert_eq!(config.plugin_request_timeout, Duration::from_secs(90));
/// assert_eq!(config.plugin_registration_timeout, Duration::from_secs(5));
///
/// let error = Config::from_toml("disable = false\nsocket_pth = 'x'").unwrap_err();
/// assert_eq!(error.to_string(), "line 2: unknown key `socket_pth`; did you mean `socket_path`?");
/// # Ok::<(), nri_adaptation::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Config {
    /// Turns NRI off: every call into the API is a no-op. Default `false`.
    pub disable: bool,
    /// Socket for plugins that are started externally. Default [`DEFAULT_SOCKET_PATH`].
    #[serde(alias = "socketPath")]
    pub socket_path: PathBuf,
    /// Directory of plugins that are launched at start. Default [`DEFAULT_PLUGIN_PATH`].
    #[serde(alias = "pluginPath")]
    pub plugin_path: PathBuf,
    /// Directory of their configurations: `NN-name.conf`, else `name.conf`. Default [`DEFAULT_PLUGIN_CONFIG_PATH`].
    #[serde(alias = "pluginConfigPath")]
    pub plugin_config_path: PathBuf,
    /// How long a plugin may take from its connection to its registration. Default 5 s.
    #[serde(alias = "pluginRegistrationTimeout", with = "duration::text")]
    pub plugin_registration_timeout: Duration,
    /// How long a plugin may take to answer a request, counted from the start of its turn. Default 2 s.
    #[serde(alias = "pluginRequestTimeout", with = "duration::text")]
    pub plugin_request_timeout: Duration,
    /// Does not open the socket: only built-in and pre-installed plugins take part. Default `false`.
    #[serde(alias = "disableConnections")]
    pub disable_connections: bool,
    /// The built-in validator. Default off.
    #[serde(alias = "defaultValidator")]
    pub default_validator: DefaultValidatorConfig,

    /// Handles one request at a time in the whole instance, as the reference does. Default `false`: requests of different
    /// pods overlap.
    pub serial: bool,
    /// How many times in a row a plugin may fail to answer in time before it is closed. Default 3.
    #[serde(alias = "pluginStrikes")]
    pub plugin_strikes: u32,
    /// What happens to a plugin that was late, once its reply comes. Default `"keep"`.
    #[serde(alias = "afterLate")]
    pub after_late: AfterLate,
    /// What a failed update of another container means for the request in whose answer a plugin asked for it. Default
    /// `"fail"`.
    #[serde(alias = "sideUpdateFailure")]
    pub side_update_failure: SideUpdateFailure,
    /// Makes an unusable file in the plugin directory an error of the start. Default `false`: it is reported and skipped.
    #[serde(alias = "strictDiscovery")]
    pub strict_discovery: bool,
    /// User ids whose processes may connect. Default empty: our own, and 0.
    #[serde(alias = "allowedUids")]
    pub allowed_uids: Vec<u32>,
    /// Group ids whose processes may connect. Default empty: none beside the users.
    #[serde(alias = "allowedGids")]
    pub allowed_gids: Vec<u32>,
    /// How many plugins may be there at a time. Default 256.
    #[serde(alias = "maxPlugins")]
    pub max_plugins: usize,
    /// Settings of single plugins, by identity (`NN-name`) or by name. An identity's settings go before its name's.
    pub plugins: BTreeMap<String, PluginConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            disable: false,
            socket_path: DEFAULT_SOCKET_PATH.into(),
            plugin_path: DEFAULT_PLUGIN_PATH.into(),
            plugin_config_path: DEFAULT_PLUGIN_CONFIG_PATH.into(),
            plugin_registration_timeout: DEFAULT_REGISTRATION_TIMEOUT,
            plugin_request_timeout: DEFAULT_REQUEST_TIMEOUT,
            disable_connections: false,
            default_validator: DefaultValidatorConfig::default(),
            serial: false,
            plugin_strikes: 3,
            after_late: AfterLate::Keep,
            side_update_failure: SideUpdateFailure::Fail,
            strict_discovery: false,
            allowed_uids: Vec::new(),
            allowed_gids: Vec::new(),
            max_plugins: 256,
            plugins: BTreeMap::new(),
        }
    }
}

/// The built-in validator: what it rejects, and which plugins it requires. All off by default.
///
/// Where it is enabled, [`DefaultValidator`](nri_core::validate::DefaultValidator) takes part as a built-in plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DefaultValidatorConfig {
    /// Runs the validator at all.
    #[serde(alias = "Enable")]
    pub enable: bool,
    /// Rejects OCI hooks of plugins.
    #[serde(alias = "rejectOCIHookAdjustment", alias = "RejectOCIHookAdjustment")]
    pub reject_oci_hook_adjustment: bool,
    /// Rejects a change of the seccomp policy where the profile is the runtime's default.
    #[serde(
        alias = "rejectRuntimeDefaultSeccompAdjustment",
        alias = "RejectRuntimeDefaultSeccompAdjustment"
    )]
    pub reject_runtime_default_seccomp_adjustment: bool,
    /// Rejects a change of the seccomp policy where the container is unconfined, or has no profile.
    #[serde(
        alias = "rejectUnconfinedSeccompAdjustment",
        alias = "RejectUnconfinedSeccompAdjustment"
    )]
    pub reject_unconfined_seccomp_adjustment: bool,
    /// Rejects a change of the seccomp policy where the profile is a localhost one.
    #[serde(
        alias = "rejectCustomSeccompAdjustment",
        alias = "RejectCustomSeccompAdjustment"
    )]
    pub reject_custom_seccomp_adjustment: bool,
    /// Rejects changes of namespaces.
    #[serde(
        alias = "rejectNamespaceAdjustment",
        alias = "RejectNamespaceAdjustment"
    )]
    pub reject_namespace_adjustment: bool,
    /// Rejects changes of kernel parameters.
    #[serde(alias = "rejectSysctlAdjustment", alias = "RejectSysctlAdjustment")]
    pub reject_sysctl_adjustment: bool,
    /// Plugins (`name` or `NN-name`) that must have been asked.
    #[serde(alias = "requiredPlugins", alias = "RequiredPlugins")]
    pub required_plugins: Vec<String>,
    /// A pod annotation whose value `true` waives the requirement.
    #[serde(
        alias = "tolerateMissingPluginsAnnotation",
        alias = "TolerateMissingPluginsAnnotation"
    )]
    pub tolerate_missing_plugins_annotation: String,
}

impl From<&DefaultValidatorConfig> for ValidatorOptions {
    fn from(config: &DefaultValidatorConfig) -> Self {
        let config = config.clone();
        Self {
            enable: config.enable,
            reject_oci_hook_adjustment: config.reject_oci_hook_adjustment,
            reject_runtime_default_seccomp_adjustment: config
                .reject_runtime_default_seccomp_adjustment,
            reject_unconfined_seccomp_adjustment: config.reject_unconfined_seccomp_adjustment,
            reject_custom_seccomp_adjustment: config.reject_custom_seccomp_adjustment,
            reject_namespace_adjustment: config.reject_namespace_adjustment,
            reject_sysctl_adjustment: config.reject_sysctl_adjustment,
            required_plugins: config.required_plugins,
            tolerate_missing_plugins_annotation: config.tolerate_missing_plugins_annotation,
        }
    }
}

/// What happens to a plugin that was late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AfterLate {
    /// It goes on once its reply has come; the reply is dropped. The default.
    #[default]
    Keep,
    /// It is closed at once, as the reference does.
    Close,
}

/// What a failed update of another container means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SideUpdateFailure {
    /// The creation or update fails, unless the update has `ignore_failure`. The default.
    #[default]
    Fail,
    /// It is only logged, as containerd does.
    Log,
}

/// What a plugin's trouble means for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trouble {
    /// The request fails.
    Fail,
    /// The request goes on without the plugin.
    Skip,
}

impl From<Trouble> for OnTrouble {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Fail => OnTrouble::Fail,
            Trouble::Skip => OnTrouble::Skip,
        }
    }
}

/// Settings of one plugin. What is absent is as for all plugins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PluginConfig {
    /// How long it may take to answer a request.
    #[serde(
        alias = "requestTimeout",
        with = "duration::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_timeout: Option<Duration>,
    /// How many requests it gets at a time. Default 1.
    #[serde(alias = "maxInFlight", skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<usize>,
    /// What an error it answers means for the request. Default `"fail"`.
    #[serde(alias = "onError", skip_serializing_if = "Option::is_none")]
    pub on_error: Option<Trouble>,
    /// What its lateness means for the request. Default `"skip"`.
    #[serde(alias = "onLate", skip_serializing_if = "Option::is_none")]
    pub on_late: Option<Trouble>,
    /// What the loss of its connection means for the request it is asked. Default `"skip"`.
    #[serde(alias = "onAbsent", skip_serializing_if = "Option::is_none")]
    pub on_absent: Option<Trouble>,
    /// What happens to it when it was late.
    #[serde(alias = "afterLate", skip_serializing_if = "Option::is_none")]
    pub after_late: Option<AfterLate>,
    /// User ids whose processes may connect under this name, in place of the general list.
    #[serde(alias = "allowedUids", skip_serializing_if = "Option::is_none")]
    pub allowed_uids: Option<Vec<u32>>,
}

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
    /// User ids whose processes may connect under this name; `None` where the general list holds.
    pub allowed_uids: Option<Vec<u32>>,
}

impl Config {
    /// The configuration with defaults in place of empty paths and zero durations.
    #[must_use]
    pub fn effective(&self) -> Self {
        let path = |path: &Path, default: &str| match path.as_os_str().is_empty() {
            true => PathBuf::from(default),
            false => path.to_owned(),
        };
        let time = |time: Duration, default| if time.is_zero() { default } else { time };
        Self {
            socket_path: path(&self.socket_path, DEFAULT_SOCKET_PATH),
            plugin_path: path(&self.plugin_path, DEFAULT_PLUGIN_PATH),
            plugin_config_path: path(&self.plugin_config_path, DEFAULT_PLUGIN_CONFIG_PATH),
            plugin_registration_timeout: time(
                self.plugin_registration_timeout,
                DEFAULT_REGISTRATION_TIMEOUT,
            ),
            plugin_request_timeout: time(self.plugin_request_timeout, DEFAULT_REQUEST_TIMEOUT),
            ..self.clone()
        }
    }

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
            allowed_uids: first(&layers, |layer| &layer.allowed_uids),
        }
    }

    fn effective_request_timeout(&self) -> Duration {
        match self.plugin_request_timeout {
            Duration::ZERO => DEFAULT_REQUEST_TIMEOUT,
            timeout => timeout,
        }
    }

    /// What no single value can say: names of plugins that no plugin can have, and limits of zero.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key: String, reason: String| {
            Err(ConfigError::Invalid {
                key,
                line: None,
                reason,
            })
        };
        for (name, settings) in &self.plugins {
            if name.parse::<PluginName>().is_err() {
                let reason = "no plugin can have this name; write `NN-name` or `name`".to_owned();
                return invalid(format!("plugins.{name:?}"), reason);
            }
            if settings.max_in_flight == Some(0) {
                let reason = "a plugin needs at least one request at a time".to_owned();
                return invalid(format!("plugins.{name:?}.max_in_flight"), reason);
            }
        }
        if self.plugin_strikes == 0 {
            let reason = "it counts late answers, so it must be at least 1".to_owned();
            return invalid("plugin_strikes".to_owned(), reason);
        }
        for name in &self.default_validator.required_plugins {
            if name.parse::<PluginName>().is_err() {
                let reason = format!("no plugin can be called {name:?}; write `NN-name` or `name`");
                return invalid("default_validator.required_plugins".to_owned(), reason);
            }
        }
        if self.max_plugins == 0 {
            let reason = "it must be at least 1; `disable` turns NRI off".to_owned();
            return invalid("max_plugins".to_owned(), reason);
        }
        Ok(())
    }
}
