//! Settings that cannot matter, because another one makes them void: nothing is wrong with either,
//! and whoever wrote both expects something of both. Pure; the table says which they are.
//!
//! A setting counts as written where it is not the default. May not enter: values that cannot be,
//! which are errors of the configuration.

use crate::config::{AfterLate, Config, DefaultValidatorConfig, PluginConfig};

/// One setting beside one that makes it void.
struct Void {
    /// The key that is without effect; `*` stands for the name of a plugin.
    key: &'static str,
    /// The setting that makes it so.
    beside: &'static str,
    /// Whether it is written.
    written: Written,
    /// Whether the other one is as `beside` says, and no setting of a plugin says otherwise.
    void: fn(&Config) -> bool,
}

enum Written {
    /// In the table of the instance, where it is not as in the default.
    Once(fn(&Config, &Config) -> bool),
    /// In the table of a plugin.
    PerPlugin(fn(&PluginConfig) -> bool),
}

const NO_CONNECTIONS: &str = "disable_connections = true";
const NO_RESTART: &str = "restart = false";
const NO_LIMIT: &str = "restart_limit = 0";

const TABLE: &[Void] = &[
    Void {
        key: "socket_path",
        beside: NO_CONNECTIONS,
        written: Written::Once(|config, default| config.socket_path != default.socket_path),
        void: |config| config.disable_connections,
    },
    Void {
        key: "allowed_uids",
        beside: NO_CONNECTIONS,
        written: Written::Once(|config, _| !config.allowed_uids.is_empty()),
        void: |config| config.disable_connections,
    },
    Void {
        key: "allowed_gids",
        beside: NO_CONNECTIONS,
        written: Written::Once(|config, _| !config.allowed_gids.is_empty()),
        void: |config| config.disable_connections,
    },
    Void {
        key: "plugins.*.allowed_uids",
        beside: NO_CONNECTIONS,
        written: Written::PerPlugin(|plugin| plugin.allowed_uids.is_some()),
        void: |config| config.disable_connections,
    },
    Void {
        key: "restart_backoff",
        beside: NO_RESTART,
        written: Written::Once(|config, default| config.restart_backoff != default.restart_backoff),
        void: nobody_restarts,
    },
    Void {
        key: "restart_limit",
        beside: NO_RESTART,
        written: Written::Once(|config, default| config.restart_limit != default.restart_limit),
        void: nobody_restarts,
    },
    Void {
        key: "restart_backoff",
        beside: NO_LIMIT,
        written: Written::Once(|config, default| config.restart_backoff != default.restart_backoff),
        void: |config| config.restart_limit == 0 && !nobody_restarts(config),
    },
    Void {
        key: "plugins.*.restart",
        beside: NO_LIMIT,
        written: Written::PerPlugin(|plugin| plugin.restart == Some(true)),
        void: |config| config.restart_limit == 0,
    },
    Void {
        key: "update_burst",
        beside: "update_rate_limit = 0",
        written: Written::Once(|config, default| config.update_burst != default.update_burst),
        void: |config| config.update_rate_limit == 0,
    },
    Void {
        key: "plugin_strikes",
        beside: "after_late = \"close\"",
        written: Written::Once(|config, default| config.plugin_strikes != default.plugin_strikes),
        void: |config| {
            let all = config.after_late == AfterLate::Close;
            let kept = |plugin: &PluginConfig| {
                plugin
                    .after_late
                    .is_some_and(|after| after != AfterLate::Close)
            };
            all && !config.plugins.values().any(kept)
        },
    },
    Void {
        key: "plugins.*.max_in_flight",
        beside: "serial = true",
        written: Written::PerPlugin(|plugin| plugin.max_in_flight.is_some_and(|most| most > 1)),
        void: |config| config.serial,
    },
    Void {
        key: "default_validator",
        beside: "default_validator.enable = false",
        written: Written::Once(|config, default| {
            let nothing = DefaultValidatorConfig {
                enable: false,
                // These have a meaning of their own.
                required_plugins: config.default_validator.required_plugins.clone(),
                ..default.default_validator.clone()
            };
            config.default_validator != nothing
        }),
        void: |config| !config.default_validator.enable,
    },
];

/// No plugin is launched again, by any setting.
fn nobody_restarts(config: &Config) -> bool {
    let restarts = |plugin: &PluginConfig| plugin.restart == Some(true);
    !config.restart && !config.plugins.values().any(restarts)
}

/// What is to be said of the settings that cannot matter, one line each; of the same setting of
/// many plugins the first one is named.
pub(crate) fn without_effect(config: &Config) -> Vec<String> {
    let default = Config::default();
    let mut told = Vec::new();
    for row in TABLE.iter().filter(|row| (row.void)(config)) {
        let key = match &row.written {
            Written::Once(written) => written(config, &default).then(|| row.key.to_owned()),
            Written::PerPlugin(written) => {
                let plugin = config.plugins.iter().find(|(_, plugin)| written(plugin));
                plugin.map(|(name, _)| row.key.replace('*', name))
            }
        };
        told.extend(key.map(|key| format!("`{key}` has no effect beside `{}`", row.beside)));
    }
    told
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn told(text: &str) -> Vec<String> {
        without_effect(&Config::from_toml(text).unwrap())
    }

    #[test]
    fn every_setting_that_cannot_matter_is_told_with_what_makes_it_void() {
        let rows = [
            ("socket_path = '/run/x'", NO_CONNECTIONS, "socket_path"),
            ("allowed_uids = [7]", NO_CONNECTIONS, "allowed_uids"),
            ("allowed_gids = [7]", NO_CONNECTIONS, "allowed_gids"),
            (
                "plugins.a.allowed_uids = []",
                NO_CONNECTIONS,
                "plugins.a.allowed_uids",
            ),
            ("restart_backoff = '3s'", NO_RESTART, "restart_backoff"),
            ("restart_limit = 7", NO_RESTART, "restart_limit"),
            ("restart_backoff = '3s'", NO_LIMIT, "restart_backoff"),
            ("plugins.a.restart = true", NO_LIMIT, "plugins.a.restart"),
            ("update_burst = 7", "update_rate_limit = 0", "update_burst"),
            (
                "plugin_strikes = 7",
                "after_late = \"close\"",
                "plugin_strikes",
            ),
            (
                "plugins.a.max_in_flight = 4",
                "serial = true",
                "plugins.a.max_in_flight",
            ),
            (
                "default_validator.reject_sysctl_adjustment = true",
                "default_validator.enable = false",
                "default_validator",
            ),
        ];
        for (written, beside, key) in rows {
            let says = format!("`{key}` has no effect beside `{beside}`");
            assert_eq!(told(&format!("{written}\n{beside}")), [says]);
            // Each alone is as it should be.
            if beside != "default_validator.enable = false" {
                assert_eq!(told(written), [] as [String; 0], "{written}");
            }
            assert_eq!(told(beside), [] as [String; 0], "{beside}");
        }
        let tested = rows.map(|(_, beside, key)| (key.replace(".a.", ".*."), beside));
        let rows = TABLE.iter().map(|row| (row.key.to_owned(), row.beside));
        assert_eq!(BTreeSet::from(tested), rows.collect(), "a row without test");
    }

    #[test]
    fn what_matters_to_one_plugin_is_not_without_effect() {
        for text in [
            "restart = false\nrestart_backoff = '3s'\nrestart_limit = 7\nplugins.a.restart = true",
            "after_late = 'close'\nplugin_strikes = 7\nplugins.a.after_late = 'keep'",
            "serial = true\nplugins.a.max_in_flight = 1",
            "restart_limit = 0\nplugins.a.restart = false",
            "default_validator.required_plugins = ['a']",
            "default_validator = { enable = true, reject_sysctl_adjustment = true }",
        ] {
            assert_eq!(told(text), [] as [String; 0], "{text}");
        }
    }

    #[test]
    fn of_many_plugins_one_line_is_told() {
        let mut config = Config {
            serial: true,
            ..Config::default()
        };
        for number in 0..1000 {
            let plugin = PluginConfig {
                max_in_flight: Some(2),
                ..PluginConfig::default()
            };
            config.plugins.insert(format!("p{number:03}"), plugin);
        }
        let told = without_effect(&config);
        assert_eq!(
            told,
            ["`plugins.p000.max_in_flight` has no effect beside `serial = true`"]
        );
    }
}
