use super::super::settings::Settings as _;
use super::super::{
    AfterLate, CrioConfig, CrioValidatorConfig, DefaultValidatorConfig, FailureAction, JsonConfig,
    MobyConfig, PluginConfig, SideUpdateFailure,
};
use super::*;
use std::time::Duration;

mod spellings;
mod whole_files;

fn error(text: &str) -> String {
    Config::from_toml(text).unwrap_err().to_string()
}

/// Law: the keys that reading knows are those that writing writes.
#[test]
fn known_keys_are_those_of_the_struct() {
    let mut config = Config::default();
    let plugin = PluginConfig {
        request_timeout: Some(Duration::from_secs(1)),
        max_in_flight: Some(2),
        observe: Some(false),
        on_error: Some(FailureAction::Skip),
        on_late: Some(FailureAction::Fail),
        on_absent: Some(FailureAction::Fail),
        after_late: Some(AfterLate::Resync),
        validate_updates: Some(true),
        restart: Some(false),
        allowed_uids: Some(vec![7]),
    };
    config.plugins.insert("10-slow".into(), plugin);
    let table = toml::Table::try_from(&config).unwrap();
    let keys = |table: &toml::Table| table.keys().cloned().collect::<Vec<_>>();
    let sorted = |known: &[&str]| {
        let mut known: Vec<String> = known.iter().map(|k| (*k).to_owned()).collect();
        known.sort();
        known
    };
    assert_eq!(keys(&table), sorted(Config::KEYS));
    assert_eq!(
        keys(table["default_validator"].as_table().unwrap()),
        sorted(DefaultValidatorConfig::KEYS)
    );
    assert_eq!(
        keys(table["plugins"]["10-slow"].as_table().unwrap()),
        sorted(PluginConfig::KEYS)
    );

    let text = toml::to_string(&config).unwrap();
    assert_eq!(Config::from_toml(&text), Ok(config.clone()));
    let json = serde_json::to_string(&JsonConfig(&config)).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    assert!(!json.contains("_"), "{json}");
    // What JSON calls a key is understood in TOML as well.
    let camel = toml::to_string(&serde_json::from_str::<toml::Table>(&json).unwrap()).unwrap();
    assert_eq!(Config::from_toml(&camel), Ok(config));
}

#[test]
fn every_reference_key_is_read() {
    let config = Config::from_toml(
        r#"
        disable = true
        socket_path = "/s"
        plugin_path = "/p"
        plugin_config_path = "/c"
        plugin_registration_timeout = "10s"
        plugin_request_timeout = "500ms"
        disable_connections = true
        side_update_failure = "fail"
        [default_validator]
        enable = true
        reject_sysctl_adjustment = true
        required_plugins = ["10-a", "b"]
        "#,
    )
    .unwrap();
    assert!(config.disable && config.disable_connections);
    assert_eq!(config.socket_path.to_str(), Some("/s"));
    assert_eq!(config.plugin_request_timeout, Duration::from_millis(500));
    assert_eq!(config.side_update_failure, SideUpdateFailure::Fail);
    assert!(
        config.default_validator.reject_sysctl_adjustment
            && !config.default_validator.reject_namespace_adjustment
    );
    assert_eq!(config.default_validator.required_plugins, ["10-a", "b"]);
}

#[test]
fn absent_empty_and_zero_mean_the_default() {
    assert_eq!(Config::from_toml(""), Ok(Config::default()));
    let config = Config::from_toml("socket_path = ''\nplugin_request_timeout = '0'").unwrap();
    assert_eq!(config.effective(), Config::default());
}

#[test]
fn errors_name_key_line_and_what_is_allowed() {
    assert_eq!(
        error("\n[default_validator]\nenabled = true"),
        "line 3: unknown key `default_validator.enabled`; did you mean `enable`?"
    );
    assert_eq!(error("\n\nzzzzzz = 1"), "line 3: unknown key `zzzzzz`");
    assert_eq!(
        error("[plugins.slow]\nmax_inflight = 2"),
        "line 2: unknown key `plugins.slow.max_inflight`; did you mean `max_in_flight`?"
    );
    let text = error("disable = true\nplugin_request_timeout = '-1s'");
    assert!(
        text.starts_with("line 2: key `plugin_request_timeout`: "),
        "{text}"
    );
    assert!(text.contains("must not be negative"), "{text}");
    let text = error("disable = 'yes'");
    assert!(
        text.starts_with("line 1: key `disable`: ") && text.contains("boolean"),
        "{text}"
    );
    let text = error("[plugins.slow]\non_late = 'wait'");
    assert!(
        text.starts_with("line 2: key `plugins.slow.on_late`: "),
        "{text}"
    );
    assert!(text.contains("fail") && text.contains("skip"), "{text}");
    assert!(error("disable = \n").starts_with("line 1: "));
    assert_eq!(
        error("\nplugin_strikes = 0"),
        "line 2: key `plugin_strikes`: it counts late answers, so it must be at least 1"
    );
    let text = error("[default_validator]\nrequired_plugins = ['a b']");
    assert!(
        text.starts_with("line 2: key `default_validator.required_plugins`: "),
        "{text}"
    );
    let text = error("[plugins.'a b']\nmax_in_flight = 1");
    assert!(
        text.starts_with("line 1: key `plugins.\"a b\"`: no plugin"),
        "{text}"
    );
}

#[test]
fn reading_leniently_returns_the_unknown_keys() {
    let (config, unknown) =
        Config::from_toml_lenient("disable = true\nfoo = 1\n[bar]\nx = 1").unwrap();
    assert!(config.disable);
    let unknown: Vec<_> = unknown
        .iter()
        .map(|key| (key.key.as_str(), key.line))
        .collect();
    assert_eq!(unknown, [("bar", Some(3)), ("foo", Some(2))]);
    assert!(Config::from_toml_lenient("disable = 1").is_err());
}

/// Law: the file for operators has every key, says the defaults, and what is commented out in it is
/// right too.
#[test]
fn the_default_file_has_every_key() {
    let text = Config::default_toml();
    assert_eq!(Config::from_toml(text), Ok(Config::default()));
    let table: toml::Table = text.parse().unwrap();
    for key in Config::KEYS.iter().filter(|key| **key != "plugins") {
        assert!(table.contains_key(*key), "{key}");
    }
    let validator = table["default_validator"].as_table().unwrap();
    for key in DefaultValidatorConfig::KEYS {
        assert!(validator.contains_key(*key), "{key}");
    }
    // Examples are commented out without a space.
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(example) if !example.starts_with(' ') => example,
        _ => line,
    });
    let with_examples = lines.collect::<Vec<_>>().join("\n");
    Config::from_toml(&with_examples).unwrap();
    let table: toml::Table = with_examples.parse().unwrap();
    for plugin in table["plugins"].as_table().unwrap().values() {
        for key in PluginConfig::KEYS {
            assert!(plugin.as_table().unwrap().contains_key(*key), "{key}");
        }
    }
}

#[test]
fn our_own_keys_are_read() {
    let config = Config::from_toml(
        r#"
        serial = true
        plugin_strikes = 7
        after_late = "resync"
        restart = false
        restart_backoff = "250ms"
        restart_limit = 0
        domain_timeout = "1m"
        update_rate_limit = 0
        update_burst = 0
        allowed_gids = [4]
        [plugins.slow]
        validate_updates = true
        restart = true
        [plugins.10-slow]
        after_late = "close"
        "#,
    )
    .unwrap();
    assert!(config.serial && !config.restart);
    assert_eq!((config.plugin_strikes, config.restart_limit), (7, 0));
    assert_eq!(config.after_late, AfterLate::Resync);
    assert_eq!(config.restart_backoff, Duration::from_millis(250));
    assert_eq!(config.domain_timeout, Duration::from_secs(60));
    assert_eq!(config.allowed_gids, [4]);
    let slow = config.plugin(&"10-slow".parse().unwrap());
    assert!(slow.validate_updates && slow.restart);
    assert_eq!(slow.after_late, AfterLate::Close);
    let other = config.plugin(&"10-other".parse().unwrap());
    assert!(!other.validate_updates && !other.restart);
    assert_eq!(other.after_late, AfterLate::Resync);
}

#[test]
fn values_that_cannot_be_are_refused() {
    let text = error("after_late = 'maybe'");
    for allowed in ["keep", "resync", "close"] {
        assert!(text.contains(allowed), "{text}");
    }
    assert_eq!(
        error("update_rate_limit = 5\nupdate_burst = 0"),
        "line 2: key `update_burst`: it must be at least 1 where `update_rate_limit` holds; `update_rate_limit = 0` is \
         no limit"
    );
    assert!(error("restart_limit = -1").contains("line 1: key `restart_limit`: "));
    let config = Config {
        domain_timeout: Duration::MAX,
        ..Config::default()
    };
    let text = config.check().unwrap_err().to_string();
    assert_eq!(
        text,
        "key `domain_timeout`: it is longer than 2562047h47m16s"
    );
}
#[test]
fn what_the_strict_reader_once_swallowed() {
    assert!(Config::from_toml("Disable = true").is_ok_and(|config| config.disable));
    let config = Config::from_toml(
        "[DefaultValidator]\nENABLE = true\nrejectOciHookAdjustment = true\n[Plugins.x]\nRequestTimeout = '9s'",
    )
    .unwrap();
    assert!(config.default_validator.enable && config.default_validator.reject_oci_hook_adjustment);
    let settings = config.plugin(&"10-x".parse().unwrap());
    assert_eq!(settings.request_timeout, Duration::from_secs(9));
    let text = error("PluginRequestTimeout = 'nonsense'");
    assert!(
        text.starts_with("line 1: key `PluginRequestTimeout`: invalid duration \"nonsense\""),
        "{text}"
    );
    assert_eq!(
        error("disable = true\nDisable = false"),
        "line 1: key `disable`: it is set twice, the other time as `Disable`"
    );
    let json = r#"{"disable": true, "disable": false}"#;
    let text = serde_json::from_str::<Config>(json)
        .unwrap_err()
        .to_string();
    assert!(text.starts_with("key `disable`: it is set twice"), "{text}");
    let json = r#"{"plugins": {"x": {"onLate": "skip"}, "x": {}}}"#;
    let text = serde_json::from_str::<Config>(json)
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("key `plugins.x`: it is set twice"),
        "{text}"
    );
}

#[test]
fn json_is_as_strict_as_toml() {
    let error = |json: &str| {
        serde_json::from_str::<Config>(json)
            .unwrap_err()
            .to_string()
    };
    let text = error(r#"{"plugins": {"slow": {"maxInfligth": 2}}}"#);
    assert!(
        text.starts_with("unknown key `plugins.slow.maxInfligth`; did you mean `max_in_flight`?"),
        "{text}"
    );
    let text = error(r#"{"plugins": {"slow": {"on_late": "wait"}}}"#);
    assert!(
        text.starts_with(
            "key `plugins.slow.on_late`: unknown variant `wait`, expected `fail` or `skip`"
        ),
        "{text}"
    );
}

#[test]
fn values_of_another_kind_are_named_with_what_is_right() {
    assert_eq!(
        error("allowed_uids = ['root']"),
        "line 1: key `allowed_uids`: invalid type: string \"root\", expected a numeric user or group id (names are not \
         looked up)"
    );
    assert_eq!(
        error("[plugins.x]\nallowed_uids = [0, -1]"),
        "line 2: key `plugins.x.allowed_uids`: invalid value: integer `-1`, expected a numeric user or group id (names are \
         not looked up)"
    );
    assert_eq!(
        error("plugin_request_timeout = 5"),
        "line 1: key `plugin_request_timeout`: invalid type: integer `5`, expected a duration as a text, such as \"5s\", \
         \"1m30s\" or \"500ms\""
    );
    assert_eq!(
        error("max_plugins = 'many'"),
        "line 1: key `max_plugins`: invalid type: string \"many\", expected a whole number, 0 or more"
    );
    assert_eq!(
        error("plugins = ['10-x']"),
        "line 1: key `plugins`: invalid type: sequence, expected a table of tables, one for each name"
    );
}

#[test]
fn a_socket_may_have_the_scheme_unix_and_no_other() {
    let config = Config::from_toml("socket_path = 'unix:///run/nri.sock'").unwrap();
    assert_eq!(config.socket_path.to_str(), Some("/run/nri.sock"));
    let text = error("\nsocket_path = 'tcp://127.0.0.1:80'");
    assert!(
        text.starts_with("line 2: key `socket_path`: ") && text.contains("tcp"),
        "{text}"
    );
    let moby: MobyConfig = serde_json::from_str(r#"{"socket-path": "unix:///s"}"#).unwrap();
    assert_eq!(moby.socket_path.to_str(), Some("/s"));
    let crio: CrioConfig = toml::from_str("nri_listen = 'unix:///s'").unwrap();
    assert_eq!(crio.nri_listen.to_str(), Some("/s"));
    assert!(toml::from_str::<CrioConfig>("nri_listen = 'http://s'").is_err());
}

/// Law: every unknown key is found with its line. No look-up walks the text, and of a name that is
/// much longer than any key nothing is compared.
#[test]
fn many_unknown_keys_are_all_found_with_their_lines() {
    let text: String = (0..20_000)
        .map(|n| format!("socket_pth{n} = {n}\n"))
        .collect();
    let (_, unknown) = Config::from_toml_lenient(&text).unwrap();
    assert_eq!(unknown.len(), 20_000);
    for key in unknown {
        let number: usize = key.key.trim_start_matches("socket_pth").parse().unwrap();
        assert_eq!(key.line, Some(number + 1));
    }
    let long = format!("{} = 1", "x".repeat(1 << 20));
    assert!(matches!(
        Config::from_toml(&long),
        Err(ConfigError::Unknown(UnknownKey { nearest: None, .. }))
    ));
}
