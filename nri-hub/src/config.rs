//! The hub's configuration: the keys of `nri-adaptation`, which say how plugins are treated, and
//! the table `[hub]`. Pure.
//!
//! What may not enter: files, and what becomes of a configuration.

use std::path::PathBuf;
use std::time::Duration;

use nri_adaptation::config::ConfigError;
use nri_adaptation::policy::Policy;
use nri_adaptation::{Config, Event, EventMask, PluginId, duration};
use nri_plugin::SocketPath;
use serde::{Deserialize, Deserializer, de};

use crate::place::Place;

/// Where plugins connect, by default.
pub const DEFAULT_SOCKET_PATH: &str = "/run/nri-hub/nri.sock";
/// Where the runtime above listens, by default.
pub const DEFAULT_RUNTIME_SOCKET: &str = "/run/nri/nri.sock";
/// Where `nri-hub status` asks, by default.
pub const DEFAULT_CONTROL_SOCKET: &str = "/run/nri-hub/control.sock";
/// Where the configuration is read from, by default.
pub const DEFAULT_CONFIG_FILE: &str = "/etc/nri-hub/config.toml";
/// Where plugins that the hub launches are looked for, by default: not where the runtime looks for
/// its own, or both would launch them.
pub const DEFAULT_PLUGIN_PATH: &str = "/opt/nri-hub/plugins";
/// Where their configurations are looked for, by default.
pub const DEFAULT_PLUGIN_CONFIG_PATH: &str = "/etc/nri-hub/conf.d";

/// What the hub cannot do without: with these it knows what exists.
pub(crate) const NECESSARY: [Event; 6] = [
    Event::RunPodSandbox,
    Event::StopPodSandbox,
    Event::RemovePodSandbox,
    Event::CreateContainer,
    Event::StopContainer,
    Event::RemoveContainer,
];

/// Why a configuration cannot be used. One line, which names the key and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubConfigError {
    /// One of the keys of `nri-adaptation`.
    #[error(transparent)]
    Nri(#[from] ConfigError),
    /// Something in the table `[hub]`.
    #[error("line {line}: in `[hub]`: {reason}")]
    Hub {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Values that cannot be together.
    #[error("key `{key}`: {reason}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read, or what is in it cannot.
    #[error("{}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// How the hub itself is: the table `[hub]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct HubSettings {
    /// Who the hub is to the runtime above, `NN-name`. Default `50-hub`. The variables that a
    /// runtime sets for the plugins that it launches go before it.
    pub identity: String,
    /// The socket of the runtime above, as a path or `unix:///path`. Default
    /// [`DEFAULT_RUNTIME_SOCKET`].
    #[serde(deserialize_with = "socket")]
    pub runtime_socket: PathBuf,
    /// The events that the hub subscribes to, by name. Default: all that the runtime knows.
    /// Plugins below get no others. Each costs a call of the hub;
    /// `ValidateContainerAdjustment` costs one more for each creation, and is of use where a
    /// plugin below validates, or a plugin beside the hub adjusts.
    #[serde(deserialize_with = "events")]
    pub events: EventMask,
    /// Whether the hub subscribes, of these, only to what plugins below subscribe to, and to what
    /// tells it what exists. Each event that nobody below wants then costs nothing; but when a
    /// plugin comes that wants more, the hub has to register again, and the runtime goes on
    /// without it for a moment. Default `false`.
    pub narrow: bool,
    /// Whether the runtime above is to fail a request that the hub does not answer, as protocol
    /// v0.12.4 has it. Default `false`: what matters is then what plugins below are required.
    pub fail_request: bool,
    /// How much sooner than the runtime's own deadline the hub answers. Default 200 ms; never more
    /// than half of the time that there is.
    #[serde(deserialize_with = "time")]
    pub margin: Duration,
    /// For how long a plugin's answer is looked for before the hub's thread sleeps until it is
    /// there; see [`busy_poll`](nri_adaptation::Builder::busy_poll). Default 400 µs; `0s` is
    /// never, and so is a single processor.
    #[serde(deserialize_with = "time")]
    pub busy_poll: Duration,
    /// Where `nri-hub status` asks, as a path or `unix:///path`. Default
    /// [`DEFAULT_CONTROL_SOCKET`].
    #[serde(deserialize_with = "socket")]
    pub control_socket: PathBuf,
    /// Where status, metrics and probes are served: an address with a port (`127.0.0.1:9464`), or
    /// `unix:///path`. Default: nowhere but at the control socket.
    pub http: Option<String>,
    /// Whether `http` may be an address that others than this node can reach. There is no
    /// authentication. Default `false`.
    pub http_public: bool,
    /// A file with the policy alone, in place of the table `policy`; see
    /// [`HubConfig::read_policy`]. Default: none.
    pub policy_file: Option<PathBuf>,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            identity: "50-hub".to_owned(),
            runtime_socket: DEFAULT_RUNTIME_SOCKET.into(),
            events: EventMask::ALL,
            narrow: false,
            fail_request: false,
            margin: Duration::from_millis(200),
            busy_poll: Duration::from_micros(400),
            control_socket: DEFAULT_CONTROL_SOCKET.into(),
            http: None,
            http_public: false,
            policy_file: None,
        }
    }
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    duration::parse(&String::deserialize(from)?).map_err(de::Error::custom)
}

fn socket<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    let socket = SocketPath::parse(String::deserialize(from)?);
    socket
        .map(SocketPath::into_path_buf)
        .map_err(de::Error::custom)
}

fn events<'de, D: Deserializer<'de>>(from: D) -> Result<EventMask, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    let events = EventMask::parse(names).map_err(de::Error::custom)?;
    match NECESSARY.into_iter().find(|event| !events.contains(*event)) {
        Some(event) => Err(de::Error::custom(format!(
            "{event} is missing: without it the hub does not know which pods and containers there are"
        ))),
        None => Ok(events),
    }
}

/// All of the hub's configuration.
///
/// ```
/// use nri_hub::HubConfig;
///
/// let config = HubConfig::from_toml("plugin_strikes = 5\n[hub]\nidentity = '10-hub'")?;
/// assert_eq!((config.nri.plugin_strikes, config.hub.identity.as_str()), (5, "10-hub"));
/// let error = HubConfig::from_toml("[hub]\nidentitty = 'x'").unwrap_err();
/// assert!(error.to_string().starts_with("line 2: in `[hub]`: unknown field `identitty`"));
/// # Ok::<(), nri_hub::HubConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HubConfig {
    /// How plugins are treated. The defaults of its paths are the hub's own.
    pub nri: Config,
    /// The hub itself.
    pub hub: HubSettings,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            nri: Config::default().with(|config| {
                config.socket_path = DEFAULT_SOCKET_PATH.into();
                config.plugin_path = DEFAULT_PLUGIN_PATH.into();
                config.plugin_config_path = DEFAULT_PLUGIN_CONFIG_PATH.into();
            }),
            hub: HubSettings::default(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tables {
    hub: HubSettings,
}

impl HubConfig {
    /// A file with every key of the hub, its default and what it means, for operators to start
    /// from. It reads as the defaults.
    ///
    /// ```
    /// use nri_hub::HubConfig;
    /// assert_eq!(HubConfig::from_toml(HubConfig::default_toml())?, HubConfig::default());
    /// # Ok::<(), nri_hub::HubConfigError>(())
    /// ```
    #[must_use]
    pub const fn default_toml() -> &'static str {
        include_str!("default.toml")
    }

    /// Reads a configuration. `policy_file` is not read by this, and so its policy is not there.
    ///
    /// # Errors
    /// The first thing that is wrong, with its key and line.
    pub fn from_toml(text: &str) -> Result<Self, HubConfigError> {
        let Self { nri: usual, .. } = Self::default();
        let (nri, unknown) = Config::from_toml_over(text, usual)?;
        let strange = unknown.into_iter().find(|key| key.key != "hub");
        if let Some(key) = strange {
            return Err(ConfigError::Unknown(key).into());
        }
        let tables: Tables = toml::from_str(text).map_err(|error| HubConfigError::Hub {
            line: error.span().map_or(1, |span| line(text, span.start)),
            reason: error.message().trim().replace('\n', " "),
        })?;
        let config = Self {
            nri,
            hub: tables.hub,
        };
        config.check()?;
        Ok(config)
    }

    /// Reads the policy of whatever an operator has: a file with the policy alone, a configuration
    /// of the hub, or one of `nri-adaptation`.
    ///
    /// ```
    /// use nri_hub::HubConfig;
    /// let own = HubConfig::policy_from_toml("default = 'audit'")?;
    /// assert_eq!(own, HubConfig::policy_from_toml("[hub]\n[policy]\ndefault = 'audit'")?);
    /// # Ok::<(), nri_hub::HubConfigError>(())
    /// ```
    ///
    /// # Errors
    /// The first thing that is wrong, with its key and line.
    pub fn policy_from_toml(text: &str) -> Result<Policy, HubConfigError> {
        match is_of_hub(text) {
            true => Ok(Self::from_toml(text)?.nri.policy),
            false => Ok(Config::policy_from_toml(text)?),
        }
    }

    /// What no single value can say.
    fn check(&self) -> Result<(), HubConfigError> {
        let HubSettings {
            identity,
            runtime_socket,
            control_socket,
            ..
        } = &self.hub;
        let invalid = |key, reason: String| Err(HubConfigError::Invalid { key, reason });
        if let Err(error) = identity.parse::<PluginId>() {
            return invalid("hub.identity", error.to_string());
        }
        let own = &self.nri.socket_path;
        if runtime_socket == own {
            return invalid(
                "hub.runtime_socket",
                format!(
                    "{} is where the hub itself listens (`socket_path`)",
                    own.display()
                ),
            );
        }
        if control_socket == own || control_socket == runtime_socket {
            return invalid(
                "hub.control_socket",
                format!("{} is a socket of NRI", control_socket.display()),
            );
        }
        let others = [own, runtime_socket, control_socket];
        let place = |http: &String| Place::parse(http, self.hub.http_public);
        let wrong = match self.hub.http.as_ref().map(place) {
            Some(Ok(Place::Socket(path))) if others.contains(&&path) => {
                "it is one of the hub's other sockets: what it serves is at `control_socket` anyway"
                    .to_owned()
            }
            Some(Err(reason)) => reason,
            _ => String::new(),
        };
        if !wrong.is_empty() {
            return invalid("hub.http", wrong);
        }
        if self.hub.policy_file.is_some() && self.nri.policy != Config::default().policy {
            return invalid(
                "hub.policy_file",
                "there is a table `policy` too: keep one of them".to_owned(),
            );
        }
        Ok(())
    }
}

/// Whether it is a configuration of the hub.
pub(crate) fn is_of_hub(text: &str) -> bool {
    toml::from_str::<toml::Table>(text).is_ok_and(|table| table.contains_key("hub"))
}

/// The line, from 1, that a byte is in.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn nothing_said_is_the_hubs_own_paths() {
        let config = HubConfig::from_toml("").unwrap();
        assert_eq!(config, HubConfig::default());
        assert_eq!(config.nri.socket_path, Path::new(DEFAULT_SOCKET_PATH));
    }

    #[test]
    fn sockets_may_have_the_scheme_unix_and_no_other_and_are_compared_without_it() {
        let said = "[hub]\nruntime_socket = 'unix:///a'\ncontrol_socket = 'UNIX:/b'";
        let HubSettings {
            runtime_socket,
            control_socket,
            ..
        } = HubConfig::from_toml(said).unwrap().hub;
        assert_eq!(
            (runtime_socket.as_path(), control_socket.as_path()),
            (Path::new("/a"), Path::new("/b"))
        );
        for (text, part) in [
            ("[hub]\nruntime_socket = 'tcp://a:1'", "the scheme \"tcp\""),
            ("[hub]\ncontrol_socket = ''", "has no path"),
            (
                "socket_path = '/a'\n[hub]\nruntime_socket = 'unix:///a'",
                "hub itself listens",
            ),
            (
                "[hub]\nruntime_socket = '/a'\ncontrol_socket = 'unix:///a'",
                "a socket of NRI",
            ),
            (
                "[hub]\ncontrol_socket = '/a'\nhttp = 'unix:///a'",
                "hub.http",
            ),
        ] {
            let error = HubConfig::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn the_default_file_has_every_key_of_the_hub_with_its_default() {
        let said = HubConfig::default_toml().replace('#', "");
        let table = said.split("[hub]\n").nth(1).unwrap();
        let lines: Vec<&str> = table.lines().collect();
        for key in [
            "identity",
            "runtime_socket",
            "events",
            "narrow",
            "fail_request",
            "margin",
            "busy_poll",
            "control_socket",
            "http",
            "http_public",
            "policy_file",
        ] {
            assert!(
                lines
                    .iter()
                    .any(|line| line.starts_with(&format!("{key} = "))),
                "{key}"
            );
        }
        let usual = lines.iter().filter(|line| {
            [
                "identity",
                "runtime",
                "narrow",
                "fail",
                "margin",
                "busy",
                "control",
                "http_public",
            ]
            .iter()
            .any(|key| line.starts_with(key) && line.contains(" = "))
        });
        let usual: String = usual.map(|line| format!("{line}\n")).collect();
        let read = HubConfig::from_toml(&format!("[hub]\n{usual}")).unwrap();
        assert_eq!(read, HubConfig::default());
    }

    #[test]
    fn every_mistake_is_one_line_that_names_key_and_place() {
        for (text, expected) in [
            ("a = ", "line 1: "),
            ("[hub]\nmargin = 5", "line 2: in `[hub]`: invalid type"),
            (
                "[hub]\nmargin = '5'",
                "line 2: in `[hub]`: invalid duration",
            ),
            (
                "serial = true\n[hub]\nidentity = 'hub'",
                "key `hub.identity`: ",
            ),
            (
                "serail = true",
                "line 1: unknown key `serail`; did you mean `serial`?",
            ),
            ("[hubb]\na = 1", "line 1: unknown key `hubb`"),
            (
                "[hub]\nevents = ['CreateContainer']",
                "line 2: in `[hub]`: RunPodSandbox is missing: ",
            ),
            ("[hub]\nevents = ['Create']", "line 2: in `[hub]`: "),
            (
                "[hub]\nruntime_socket = '/run/nri-hub/nri.sock'",
                "key `hub.runtime_socket`: /run/nri-hub/nri.sock is where the hub itself listens",
            ),
            (
                "[policy]\ndefault = 'audit'\n[hub]\npolicy_file = 'x'",
                "key `hub.policy_file`: there is a table `policy` too",
            ),
        ] {
            let error = HubConfig::from_toml(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
