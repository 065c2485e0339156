//! The configuration of an instance: the keys of the reference, under the same names, and our own.
//!
//! Nothing in it is global: two instances in one process have a configuration each. Reading a file
//! is the embedding runtime's business; what is here turns text into a [`Config`] and says what is
//! wrong with it.

mod choices;
mod dialects;
#[cfg(test)]
mod documented;
mod error;
mod in_force;
mod json;
mod observing;
mod plugin;
mod policy;
mod reading;
mod settings;
mod validator;
mod whole;
mod whole_file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nri_core::PluginName;
use nri_core::policy::Policy;
use nri_proto::items;
use nri_proto::transport::MAX_MESSAGE;
use serde::Serialize;

pub use nri_core::flow::FailureAction;
pub use nri_core::schedule::AfterLate;

pub use self::choices::SideUpdateFailure;
pub use self::dialects::{CrioConfig, CrioValidatorConfig, MobyConfig};
pub use self::error::{ConfigError, UnknownKey};
pub use self::in_force::PluginSettings;
pub use self::json::JsonConfig;
pub use self::plugin::PluginConfig;
pub(crate) use self::settings::distance;
use self::settings::settings;
pub use self::validator::DefaultValidatorConfig;
pub use self::whole_file::WholeFile;
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
/// How long a domain may take for one call, by default.
pub const DEFAULT_DOMAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a launched plugin stays down the first time that it ends, by default.
pub const DEFAULT_RESTART_BACKOFF: Duration = Duration::from_secs(1);
/// What a single connection may hold of messages that are not whole: an answer and a request.
const FEWEST_INCOMPLETE_BYTES: usize = 2 * MAX_MESSAGE;
/// The longest duration that a setting can have, 292 years; what Go can say.
const LONGEST: Duration = Duration::from_nanos(i64::MAX.unsigned_abs());

/// The configuration of an instance.
///
/// The first eight keys are the reference's; TOML uses the field names, JSON the same in lowerCamel
/// (both are understood when reading, see [`JsonConfig`] for writing). Absent keys have their
/// defaults; an empty path and a zero duration mean the default too. To launch nothing, point
/// `plugin_path` at an empty directory.
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
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Config {
    /// Turns NRI off: every call into the API is a no-op. Default `false`.
    pub disable: bool,
    /// Socket for plugins that are started externally; read with or without `unix://`. Default
    /// [`DEFAULT_SOCKET_PATH`].
    pub socket_path: PathBuf,
    /// Directory of plugins that are launched at start. Default [`DEFAULT_PLUGIN_PATH`].
    pub plugin_path: PathBuf,
    /// Directory of their configurations: `NN-name.conf`, else `name.conf`. Default
    /// [`DEFAULT_PLUGIN_CONFIG_PATH`].
    pub plugin_config_path: PathBuf,
    /// How long a plugin may take from its connection to its registration. Default 5 s.
    #[serde(with = "duration::text")]
    pub plugin_registration_timeout: Duration,
    /// How long a plugin may take to answer a request, counted from the start of its turn. Default
    /// 2 s.
    #[serde(with = "duration::text")]
    pub plugin_request_timeout: Duration,
    /// Does not open the socket: only built-in and pre-installed plugins are called. Default
    /// `false`.
    pub disable_connections: bool,
    /// The built-in validator. Default off.
    pub default_validator: DefaultValidatorConfig,

    /// Handles one request at a time in the whole instance, as the reference does. Default
    /// `false`: requests of different pods overlap.
    pub serial: bool,
    /// How many times in a row a plugin may fail to answer in time before it is closed. Default 3.
    /// Of plugins that say by themselves whether they are to be kept or closed then (their
    /// failure policy), neither this nor [`after_late`](Self::after_late) is true; see
    /// [`Config::wishing_plugin`].
    pub plugin_strikes: u32,
    /// What happens to a plugin that was late, once its reply comes. Default `"keep"`.
    pub after_late: AfterLate,
    /// What a failed update of another container means for the request in whose answer a plugin
    /// asked for it. Default `"log"`.
    pub side_update_failure: SideUpdateFailure,
    /// Makes an unusable file in the plugin directory an error of the start, a directory that does
    /// not exist, and a name of a plugin in this configuration that nobody has. Default
    /// `false`: it is reported and skipped.
    pub strict_discovery: bool,
    /// Launches a pre-installed plugin again when it ends. Default `true`.
    pub restart: bool,
    /// How long it stays down the first time; each time in a row twice as long, 5 minutes at most.
    /// Default 1 s.
    #[serde(with = "duration::text")]
    pub restart_backoff: Duration,
    /// How many times in a row it is launched again before it is given up. The row ends when it
    /// has been ready for a minute. Default 5; 0 is never.
    pub restart_limit: u32,
    /// How long a domain of the runtime may take for one call. Default 10 s.
    #[serde(with = "duration::text")]
    pub domain_timeout: Duration,
    /// How many updates and evictions a plugin may ask for, unsolicited and when it is
    /// synchronised, per second, in the long run; the plugin is whoever has its identity,
    /// however often it connects. Default 1000; 0 is without limit.
    pub update_rate_limit: u32,
    /// How many of them it may ask for at once. Default 10000.
    pub update_burst: u32,
    /// How many updates and evictions of containers one message of a plugin may ask for, whatever
    /// it is the answer to. A message with more is refused before it is built. Default 4096;
    /// at least 1.
    pub max_updates: usize,
    /// How many entries all lists and maps of one message of a plugin may have together (mounts,
    /// variables, annotations, and so on). A message with more is refused before it is built.
    /// Default 32768; at least 1.
    pub max_items: usize,
    /// How many bytes of messages that have not arrived whole may be held, of all connections
    /// together. When there are more, the connection that holds most of them is closed. Default 32
    /// MiB; at least 8 MiB, which is what one connection alone may come to.
    pub max_incomplete_bytes: usize,
    /// User ids whose processes may connect. Default empty: our own, and 0. The socket is our own
    /// user's alone, so whoever lists others has to let them reach it: by a listener of the
    /// runtime's, or by an access control list.
    pub allowed_uids: Vec<u32>,
    /// Group ids whose processes may connect, beside the users. Only a process's primary group
    /// counts. Default empty: none.
    pub allowed_gids: Vec<u32>,
    /// How many plugins may be connected at a time. Default 256.
    pub max_plugins: usize,
    /// Settings of single plugins, by identity (`NN-name`) or by name. An identity's settings go
    /// before its name's.
    pub plugins: BTreeMap<String, PluginConfig>,
    /// What plugins may ask for. Default: everything. It may also be read from a file of its own,
    /// with [`Config::policy_from_toml`].
    pub policy: Policy,
}

settings!(SnakeOrCamel Config {
    disable,
    socket_path as socket,
    plugin_path,
    plugin_config_path,
    plugin_registration_timeout,
    plugin_request_timeout,
    disable_connections,
    default_validator,
    serial,
    plugin_strikes,
    after_late,
    side_update_failure,
    strict_discovery,
    restart,
    restart_backoff,
    restart_limit,
    domain_timeout,
    update_rate_limit,
    update_burst,
    max_updates,
    max_items,
    max_incomplete_bytes,
    allowed_uids,
    allowed_gids,
    max_plugins,
    plugins,
    policy,
});

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
            side_update_failure: SideUpdateFailure::Log,
            strict_discovery: false,
            restart: true,
            restart_backoff: DEFAULT_RESTART_BACKOFF,
            restart_limit: 5,
            domain_timeout: DEFAULT_DOMAIN_TIMEOUT,
            update_rate_limit: 1000,
            update_burst: 10_000,
            max_updates: 4096,
            max_items: 32_768,
            max_incomplete_bytes: 32 << 20,
            allowed_uids: Vec::new(),
            allowed_gids: Vec::new(),
            max_plugins: 256,
            plugins: BTreeMap::new(),
            policy: Policy::default(),
        }
    }
}

impl Config {
    /// The configuration with changes, as one expression.
    ///
    /// ```
    /// use nri_adaptation::Config;
    ///
    /// let config = Config::default().with(|config| {
    ///     config.socket_path = "/run/mine/nri.sock".into();
    ///     config.restart = false;
    /// });
    /// assert!(!config.restart);
    /// ```
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

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
            restart_backoff: time(self.restart_backoff, DEFAULT_RESTART_BACKOFF),
            domain_timeout: time(self.domain_timeout, DEFAULT_DOMAIN_TIMEOUT),
            ..self.clone()
        }
    }

    /// The configuration as an instance goes by it: possible, and with defaults in place. The first
    /// one and any other one come in through here.
    ///
    /// # Errors
    /// It has a value that cannot be.
    pub(crate) fn into_force(self) -> Result<Self, ConfigError> {
        self.check()?;
        Ok(self.effective())
    }

    /// A file with every key, its default and what it means, for operators to start from. It reads
    /// back as the defaults.
    ///
    /// ```
    /// use nri_adaptation::Config;
    /// assert_eq!(Config::from_toml(Config::default_toml())?, Config::default());
    /// # Ok::<(), nri_adaptation::config::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn default_toml() -> &'static str {
        include_str!("default.toml")
    }

    /// How many items a message of a plugin may have.
    pub(crate) fn item_limits(&self) -> items::Limits {
        items::Limits {
            asked: self.max_updates,
            items: self.max_items,
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
        let durations = [
            (
                "plugin_registration_timeout",
                self.plugin_registration_timeout,
            ),
            ("plugin_request_timeout", self.plugin_request_timeout),
            ("restart_backoff", self.restart_backoff),
            ("domain_timeout", self.domain_timeout),
        ];
        let own = durations.map(|(key, time)| (key.to_owned(), Some(time)));
        let of_plugins = self.plugins.iter().map(|(name, settings)| {
            let key = format!("plugins.{name:?}.request_timeout");
            (key, settings.request_timeout)
        });
        for (key, time) in own.into_iter().chain(of_plugins) {
            if time.is_some_and(|time| time > LONGEST) {
                return invalid(key, "it is longer than 2562047h47m16s".to_owned());
            }
        }
        if self.update_rate_limit > 0 && self.update_burst == 0 {
            let reason = "it must be at least 1 where `update_rate_limit` holds; `update_rate_limit = 0` is no limit";
            return invalid("update_burst".to_owned(), reason.to_owned());
        }
        for (key, most) in [
            ("max_updates", self.max_updates),
            ("max_items", self.max_items),
        ] {
            if most == 0 {
                let reason = "it bounds every message of a plugin, so it must be at least 1";
                return invalid(key.to_owned(), reason.to_owned());
            }
        }
        if self.max_incomplete_bytes < FEWEST_INCOMPLETE_BYTES {
            let reason = format!(
                "it must be at least {FEWEST_INCOMPLETE_BYTES}, or a single plugin's largest messages are too much"
            );
            return invalid("max_incomplete_bytes".to_owned(), reason);
        }
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
        let required = &self.default_validator.required_plugins;
        if let Some((key, reason)) = observing::observe_in_vain(&self.plugins, required) {
            return invalid(key, reason);
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
