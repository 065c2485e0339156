//! Whole files of containerd and CRI-O.

use super::*;

fn file(name: &str) -> String {
    let path = format!("{}/testdata/config/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn whole_files_are_read_by_the_table_that_is_ours() {
    let base = Config::default;
    let validator = DefaultValidatorConfig {
        enable: true,
        reject_oci_hook_adjustment: true,
        reject_namespace_adjustment: true,
        ..Default::default()
    };
    let topology = DefaultValidatorConfig {
        required_plugins: vec!["10-topology".into()],
        tolerate_missing_plugins_annotation: "example.com/tolerate-missing".into(),
        ..validator.clone()
    };
    let of_crio = DefaultValidatorConfig {
        reject_runtime_default_seccomp_adjustment: true,
        reject_unconfined_seccomp_adjustment: true,
        required_plugins: vec!["template".into(), "10-topology".into()],
        ..validator
    };
    let enabled = DefaultValidatorConfig {
        enable: true,
        ..Default::default()
    };
    let seconds = Duration::from_secs;
    let expected = [
        (
            "containerd-2.1-dump.toml",
            Config {
                default_validator: topology,
                ..base()
            },
        ),
        (
            "containerd-1.7-dump.toml",
            Config {
                disable: true,
                ..base()
            },
        ),
        (
            "containerd-1.7-by-hand.toml",
            Config {
                plugin_request_timeout: seconds(5),
                ..base()
            },
        ),
        (
            "containerd-2.0-drop-in.toml",
            Config {
                disable_connections: true,
                plugin_registration_timeout: seconds(90),
                ..base()
            },
        ),
        (
            "containerd-3-inline.toml",
            Config {
                default_validator: enabled,
                ..base()
            },
        ),
        (
            "containerd-k3s.toml",
            Config {
                socket_path: "/run/k3s/nri/nri.sock".into(),
                plugin_path: "/var/lib/rancher/k3s/agent/nri/plugins".into(),
                ..base()
            },
        ),
        (
            "crio-1.33.conf",
            Config {
                default_validator: of_crio,
                ..base()
            },
        ),
        (
            "crio-drop-in.conf",
            Config {
                disable: true,
                ..base()
            },
        ),
        (
            "crio-drop-in-timeouts.conf",
            Config {
                plugin_request_timeout: Duration::from_millis(1500),
                socket_path: "/run/nri.sock".into(),
                ..base()
            },
        ),
    ];
    for (name, expected) in expected {
        let text = file(name);
        assert_eq!(
            Config::from_whole_toml(&text, base()),
            Ok(expected.clone()),
            "{name}"
        );
        let read = match name.starts_with("crio") {
            true => Config::from_crio_toml(&text),
            false => Config::from_containerd_toml(&text),
        };
        assert_eq!(read, Ok(Some(expected)), "{name}");
        // Given as our own table it is not half understood.
        for read in [
            Config::from_toml(&text),
            Config::from_toml_lenient(&text).map(|read| read.0),
        ] {
            assert!(
                matches!(read, Err(ConfigError::Whole { .. })),
                "{name}: {read:?}"
            );
        }
    }

    let own = Config::from_whole_toml(&file("own.toml"), base()).unwrap();
    assert!(own.strict_discovery && own.default_validator.reject_oci_hook_adjustment);
    assert_eq!(
        own.plugins["10-topology"].on_error,
        Some(FailureAction::Skip)
    );
    assert_eq!(
        Config::from_containerd_toml(&file("containerd-without-nri.toml")),
        Ok(None)
    );
    assert_eq!(
        Config::from_crio_toml(&file("crio-without-nri.conf")),
        Ok(None)
    );
}

#[test]
fn errors_of_whole_files_say_whose_and_where() {
    assert_eq!(
        error(&file("containerd-1.7-dump.toml")),
        "this is a whole configuration of containerd: give the inside of `[plugins.\"io.containerd.nri.v1.nri\"]` alone, \
         or have the program read the whole file"
    );
    let whole = |text: &str| {
        Config::from_whole_toml(text, Config::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        whole(&file("containerd-without-nri.toml")),
        "this configuration of containerd has no table `[plugins.\"io.containerd.nri.v1.nri\"]`"
    );
    assert_eq!(
        whole(&file("crio-without-nri.conf")),
        "this configuration of CRI-O has no table `[crio.nri]`"
    );
    assert_eq!(
        whole("version = 3\n[plugins.'io.containerd.nri.v1.nri']\nsocket_pth = 'x'"),
        "line 3: unknown key `socket_pth`; did you mean `socket_path`?"
    );
    assert_eq!(
        whole("[crio.nri]\n\nnri_plugin_request_timeout = 2"),
        "line 3: key `nri_plugin_request_timeout`: invalid type: integer `2`, expected a duration as a text, such as \
         \"5s\", \"1m30s\" or \"500ms\""
    );
    assert_eq!(
        whole("version = 3\n[plugins]\n'io.containerd.nri.v1.nri' = true"),
        "line 3: key `plugins.\"io.containerd.nri.v1.nri\"`: it is no table"
    );
    let twice =
        whole("version = 3\n[plugins.x]\n[Plugins.'io.containerd.nri.v1.nri']\ndisable = true");
    assert!(twice.contains("there twice"), "{twice}");
}
