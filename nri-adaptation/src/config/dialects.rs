//! The same settings under the names that CRI-O and moby have for them, for runtimes that take over
//! their files.

use std::path::PathBuf;
use std::time::Duration;

use super::settings::settings;
use super::{Config, DefaultValidatorConfig};

/// CRI-O's table `[crio.nri]`. Its NRI is on by default.
///
/// ```
/// use nri_adaptation::Config;
/// use nri_adaptation::config::CrioConfig;
///
/// let crio: CrioConfig = toml::from_str("nri_plugin_dir = '/p'\nnri_plugin_request_timeout = '4s'")?;
/// let config = Config::from(crio);
/// assert_eq!(config.plugin_path.to_str(), Some("/p"));
/// assert_eq!(config.plugin_request_timeout.as_secs(), 4);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CrioConfig {
    /// Not [`Config::disable`].
    pub enable_nri: bool,
    /// [`Config::socket_path`].
    pub nri_listen: PathBuf,
    /// [`Config::plugin_path`].
    pub nri_plugin_dir: PathBuf,
    /// [`Config::plugin_config_path`].
    pub nri_plugin_config_dir: PathBuf,
    /// [`Config::plugin_registration_timeout`].
    pub nri_plugin_registration_timeout: Duration,
    /// [`Config::plugin_request_timeout`].
    pub nri_plugin_request_timeout: Duration,
    /// [`Config::disable_connections`].
    pub nri_disable_connections: bool,
    /// [`Config::default_validator`].
    pub default_validator: CrioValidatorConfig,
}

/// CRI-O's table `[crio.nri.default_validator]`. It has no key for kernel parameters.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CrioValidatorConfig {
    /// [`DefaultValidatorConfig::enable`].
    pub nri_enable_default_validator: bool,
    /// [`DefaultValidatorConfig::reject_oci_hook_adjustment`].
    pub nri_validator_reject_oci_hook_adjustment: bool,
    /// [`DefaultValidatorConfig::reject_runtime_default_seccomp_adjustment`].
    pub nri_validator_reject_runtime_default_seccomp_adjustment: bool,
    /// [`DefaultValidatorConfig::reject_unconfined_seccomp_adjustment`].
    pub nri_validator_reject_unconfined_seccomp_adjustment: bool,
    /// [`DefaultValidatorConfig::reject_custom_seccomp_adjustment`].
    pub nri_validator_reject_custom_seccomp_adjustment: bool,
    /// [`DefaultValidatorConfig::reject_namespace_adjustment`].
    pub nri_validator_reject_namespace_adjustment: bool,
    /// [`DefaultValidatorConfig::required_plugins`].
    pub nri_validator_required_plugins: Vec<String>,
    /// [`DefaultValidatorConfig::tolerate_missing_plugins_annotation`].
    pub nri_validator_tolerate_missing_plugins_annotation: String,
}

settings!(Snake CrioConfig {
    enable_nri,
    nri_listen as socket,
    nri_plugin_dir,
    nri_plugin_config_dir,
    nri_plugin_registration_timeout,
    nri_plugin_request_timeout,
    nri_disable_connections,
    default_validator,
});

settings!(Snake CrioValidatorConfig {
    nri_enable_default_validator,
    nri_validator_reject_oci_hook_adjustment,
    nri_validator_reject_runtime_default_seccomp_adjustment,
    nri_validator_reject_unconfined_seccomp_adjustment,
    nri_validator_reject_custom_seccomp_adjustment,
    nri_validator_reject_namespace_adjustment,
    nri_validator_required_plugins,
    nri_validator_tolerate_missing_plugins_annotation,
});

impl Default for CrioConfig {
    fn default() -> Self {
        Self::of(&Config::default())
    }
}

impl CrioConfig {
    /// The settings that both have, but for the validator, which CRI-O's file alone decides about.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            enable_nri: !config.disable,
            nri_listen: config.socket_path.clone(),
            nri_plugin_dir: config.plugin_path.clone(),
            nri_plugin_config_dir: config.plugin_config_path.clone(),
            nri_plugin_registration_timeout: config.plugin_registration_timeout,
            nri_plugin_request_timeout: config.plugin_request_timeout,
            nri_disable_connections: config.disable_connections,
            default_validator: CrioValidatorConfig::default(),
        }
    }

    /// Our settings as CRI-O's say, and as `absent` says where CRI-O has none.
    pub(super) fn over(self, absent: Config) -> Config {
        Config {
            disable: !self.enable_nri,
            socket_path: self.nri_listen,
            plugin_path: self.nri_plugin_dir,
            plugin_config_path: self.nri_plugin_config_dir,
            plugin_registration_timeout: self.nri_plugin_registration_timeout,
            plugin_request_timeout: self.nri_plugin_request_timeout,
            disable_connections: self.nri_disable_connections,
            default_validator: self.default_validator.into(),
            ..absent
        }
    }
}

impl From<CrioConfig> for Config {
    fn from(crio: CrioConfig) -> Self {
        crio.over(Self::default())
    }
}

impl From<CrioValidatorConfig> for DefaultValidatorConfig {
    fn from(crio: CrioValidatorConfig) -> Self {
        Self {
            enable: crio.nri_enable_default_validator,
            reject_oci_hook_adjustment: crio.nri_validator_reject_oci_hook_adjustment,
            reject_runtime_default_seccomp_adjustment: crio
                .nri_validator_reject_runtime_default_seccomp_adjustment,
            reject_unconfined_seccomp_adjustment: crio
                .nri_validator_reject_unconfined_seccomp_adjustment,
            reject_custom_seccomp_adjustment: crio.nri_validator_reject_custom_seccomp_adjustment,
            reject_namespace_adjustment: crio.nri_validator_reject_namespace_adjustment,
            reject_sysctl_adjustment: false,
            required_plugins: crio.nri_validator_required_plugins,
            tolerate_missing_plugins_annotation: crio
                .nri_validator_tolerate_missing_plugins_annotation,
        }
    }
}

/// Where moby looks for pre-installed plugins, by default.
const MOBY_PLUGIN_PATH: &str = "/usr/libexec/docker/nri-plugins";
/// Where moby looks for their configurations, by default.
const MOBY_PLUGIN_CONFIG_PATH: &str = "/etc/docker/nri/conf.d";

/// moby's object `nri-opts`. Its NRI is off by default, and has a socket only where it has a path.
///
/// ```
/// use nri_adaptation::Config;
/// use nri_adaptation::config::MobyConfig;
///
/// let moby: MobyConfig = serde_json::from_str(r#"{"enable": true, "plugin-path": "/p"}"#)?;
/// let config = Config::from(moby);
/// assert!(!config.disable && config.disable_connections);
/// assert_eq!(config.plugin_path.to_str(), Some("/p"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MobyConfig {
    /// Not [`Config::disable`].
    pub enable: bool,
    /// [`Config::plugin_path`]. Absent or empty it is `/usr/libexec/docker/nri-plugins`.
    pub plugin_path: PathBuf,
    /// [`Config::plugin_config_path`]. Absent or empty it is `/etc/docker/nri/conf.d`.
    pub plugin_config_path: PathBuf,
    /// [`Config::socket_path`]; without it, connections are disabled.
    pub socket_path: PathBuf,
}

settings!(Kebab MobyConfig {
    enable,
    plugin_path,
    plugin_config_path,
    socket_path as socket,
});

impl Default for MobyConfig {
    fn default() -> Self {
        Self {
            enable: false,
            plugin_path: MOBY_PLUGIN_PATH.into(),
            plugin_config_path: MOBY_PLUGIN_CONFIG_PATH.into(),
            socket_path: PathBuf::new(),
        }
    }
}

impl From<MobyConfig> for Config {
    fn from(moby: MobyConfig) -> Self {
        let path = |path: PathBuf, default: &str| match path.as_os_str().is_empty() {
            true => PathBuf::from(default),
            false => path,
        };
        Self {
            disable: !moby.enable,
            disable_connections: moby.socket_path.as_os_str().is_empty(),
            socket_path: moby.socket_path,
            plugin_path: path(moby.plugin_path, MOBY_PLUGIN_PATH),
            plugin_config_path: path(moby.plugin_config_path, MOBY_PLUGIN_CONFIG_PATH),
            ..Self::default()
        }
        .effective()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crio_says_what_we_say() {
        assert_eq!(Config::from(CrioConfig::default()), Config::default());
        let crio: CrioConfig = toml::from_str(
            r#"
            enable_nri = false
            nri_listen = "/s"
            nri_disable_connections = true
            [default_validator]
            nri_enable_default_validator = true
            nri_validator_reject_oci_hook_adjustment = true
            nri_validator_required_plugins = ["a"]
            "#,
        )
        .unwrap();
        let default_validator = DefaultValidatorConfig {
            enable: true,
            reject_oci_hook_adjustment: true,
            required_plugins: vec!["a".into()],
            ..DefaultValidatorConfig::default()
        };
        let expected = Config {
            disable: true,
            socket_path: "/s".into(),
            disable_connections: true,
            default_validator,
            ..Config::default()
        };
        assert_eq!(Config::from(crio), expected);
        assert!(toml::from_str::<CrioConfig>("nri_socket = '/s'").is_err());
    }

    #[test]
    fn moby_is_off_by_default_and_without_a_socket_unless_it_is_named() {
        let config = Config::from(MobyConfig::default());
        assert!(config.disable && config.disable_connections);
        let paths = |config: &Config| {
            (
                config.plugin_path.clone(),
                config.plugin_config_path.clone(),
            )
        };
        let of_moby = (MOBY_PLUGIN_PATH.into(), MOBY_PLUGIN_CONFIG_PATH.into());
        assert_eq!(paths(&config), of_moby);
        let empty: MobyConfig =
            serde_json::from_str(r#"{"plugin-path": "", "plugin-config-path": ""}"#).unwrap();
        assert_eq!(paths(&Config::from(empty)), of_moby);
        let moby = r#"{"enable": true, "socket-path": "/s"}"#;
        let config = Config::from(serde_json::from_str::<MobyConfig>(moby).unwrap());
        assert!(!config.disable && !config.disable_connections);
        assert_eq!(config.socket_path.to_str(), Some("/s"));
        assert!(serde_json::from_str::<MobyConfig>(r#"{"socketPath": "/s"}"#).is_err());
    }
}
