//! What an operator got wrong: none of it is silent.

use std::os::unix::fs::PermissionsExt as _;

use nri_adaptation::{Config, PluginState, RuntimeApi as _};

use crate::setup::{Setup, logged, names};

/// A mistake, and what is said of it.
type Mistake = (fn(&Setup), fn(&mut Config), &'static str);

fn not_executable(setup: &Setup) {
    setup.install("10-logger");
    std::fs::write(setup.path("30-noexec"), "#!/bin/sh\n").unwrap();
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(setup.path("30-noexec"), mode).unwrap();
}

fn settings(config: &mut Config, name: &str) {
    config.plugins = toml::from_str(&format!("[{name}]\nrestart = true")).unwrap();
}

pub(crate) async fn what_was_configured_by_mistake_is_told() {
    let setup = Setup::new(&["10-logger"], &[("lgger.conf", ""), ("logger.toml", "")]);
    not_executable_beside(&setup);
    let nri = setup.instance(|config| {
        settings(config, "lgger");
        config.default_validator.required_plugins = vec!["logger2".into()];
        config.default_validator.reject_sysctl_adjustment = true;
    });
    nri.start().await.unwrap();
    assert_eq!(names(&nri), ["10-logger"]);
    for words in [
        &["WARN", "30-noexec", "is not executable"][..],
        &["WARN", "`plugins` names \"lgger\"", "was \"logger\" meant?"],
        &[
            "WARN",
            "`default_validator.required_plugins` names \"logger2\"",
        ],
        &["WARN", "beside `default_validator.enable = false`"],
        &["WARN", "lgger.conf", "was `logger.conf` meant?"],
        &["WARN", "logger.toml", "its name would be `logger.conf`"],
        // In words, not as the program has it.
        &[
            "INFO",
            "a plugin has connected",
            "kind=launched",
            "events=CreateContainer",
        ],
        &["INFO", "NRI plugins can connect", "socket=/"],
    ] {
        assert!(
            !logged(words).is_empty(),
            "{words:?} in {}",
            *crate::LOG.lock().unwrap()
        );
    }
    nri.stop().await;

    let absent = setup.instance(|config| config.plugin_path = "/nowhere/plugins".into());
    absent.start().await.unwrap();
    assert_eq!(
        logged(&["WARN", "/nowhere/plugins", "`plugin_path`"]).len(),
        1
    );
    absent.stop().await;
}

fn not_executable_beside(setup: &Setup) {
    std::fs::remove_file(setup.path("10-logger")).unwrap();
    not_executable(setup);
}

pub(crate) async fn what_was_configured_by_mistake_is_an_error_if_that_is_wanted() {
    let mistakes: [Mistake; 8] = [
        (
            |_| {},
            |config| config.plugin_path = "/nowhere".into(),
            "/nowhere: the directory does not exist",
        ),
        (
            |_| {},
            |config| config.plugin_config_path = "/nowhere".into(),
            "correct `plugin_config_path`",
        ),
        (
            not_executable,
            |_| {},
            "30-noexec: it has the name of a plugin, but is not executable",
        ),
        (
            |setup| setup.install("10-logger"),
            |config| settings(config, "lgger"),
            "was \"logger\" meant?",
        ),
        (
            |setup| setup.install("10-logger"),
            |config| settings(config, "11-logger"),
            "was \"10-logger\" meant?",
        ),
        (
            |setup| setup.install("10-logger"),
            |config| {
                config.disable_connections = true;
                settings(config, "policy");
            },
            "no plugin is called that",
        ),
        (
            |setup| setup.install("10-logger"),
            |config| config.default_validator.required_plugins = vec!["loger".into()],
            "was \"logger\" meant?",
        ),
        (
            |setup| setup.install("00-default-validator"),
            |config| config.default_validator.enable = true,
            "a plugin that is part of the runtime is called 00-default-validator",
        ),
    ];
    for (prepare, configure, says) in mistakes {
        let setup = Setup::new(&[], &[]);
        prepare(&setup);
        let nri = setup.instance(|config| {
            config.strict_discovery = true;
            configure(config);
        });
        let text = nri.start().await.unwrap_err().to_string();
        assert!(text.contains(says) && !text.contains('\n'), "{text}");
    }
    // What is for a plugin that connects is none.
    let setup = Setup::new(&["10-logger"], &[]);
    let nri = setup.instance(|config| {
        config.strict_discovery = true;
        settings(config, "policy");
    });
    nri.start().await.unwrap();
    nri.stop().await;
}

pub(crate) async fn an_error_of_configuring_names_the_file_and_can_be_read() {
    let setup = Setup::new(&["10-fussy"], &[("fussy.conf", "wrong")]);
    let nri = setup.instance(|config| config.restart = false);
    nri.start().await.unwrap();
    setup.wait_for("down 10-fussy for None").await;
    let info = nri.plugins().remove(0);
    assert_eq!(info.state, PluginState::Failed);
    let error = info.last_error.unwrap();
    let file = setup.dir.path().join("conf.d/fussy.conf");
    let says = [
        "it cannot be configured: ",
        "parse error at line 2, column 1 | 2 | level = \\d | ^^^^^ unknown key `level`",
        &format!("(its configuration is {})", file.display()),
    ];
    for says in says {
        assert!(error.contains(says), "{error}");
        assert!(!logged(&["10-fussy", says]).is_empty(), "{says}");
    }
    assert!(
        logged(&["10-fussy", "\\\\"]).is_empty(),
        "no backslash is doubled"
    );
    nri.stop().await;
}
