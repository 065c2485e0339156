//! Configurations, in every format and dialect.

use nri_adaptation::Config;
use nri_adaptation::config::{CrioConfig, JsonConfig, MobyConfig};
use nri_core::api;
use nri_core::policy::explain;

/// Reads TOML strictly, leniently and as a whole file. What is read is written so that it is read
/// again, in JSON too; what the strict reader takes, the lenient one takes without a remark.
///
/// # Panics
/// A law does not hold.
pub fn toml(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let strict = Config::from_toml(text);
    let whole = Config::from_whole_toml(text, Config::default());
    match &strict {
        Ok(config) => {
            assert_eq!(
                Config::from_toml_lenient(text),
                Ok((config.clone(), Vec::new()))
            );
            assert_eq!(whole.as_ref(), Ok(config));
        }
        Err(error) => assert!(!error.to_string().contains('\n') || text.contains('\n')),
    }
    if let Ok(config) = whole {
        written_again(&config);
    }
    let _ = Config::from_toml_lenient(text);
}

/// Reads JSON, ours and the dialects'.
///
/// # Panics
/// A law does not hold.
pub fn json(input: &[u8]) {
    if let Ok(config) = serde_json::from_slice::<Config>(input) {
        written_again(&config);
        let mut json = serde_json::Deserializer::from_slice(input);
        let lenient = Config::deserialize_lenient(&mut json);
        assert!(lenient.is_ok_and(|(read, unknown)| read == config && unknown.is_empty()));
    }
    if let Ok(config) = serde_json::from_slice::<CrioConfig>(input) {
        written_again(&config.into());
    }
    if let Ok(config) = serde_json::from_slice::<MobyConfig>(input) {
        written_again(&config.into());
    }
}

/// Reads a policy. What is read is written so that it is read again, and judging by it ends.
///
/// # Panics
/// A law does not hold.
pub fn policy(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match Config::policy_from_toml(text) {
        Ok(policy) => {
            let written = toml::to_string(&policy).expect("a policy can be written");
            assert_eq!(Config::policy_from_toml(&written), Ok(policy.clone()));
            let env = ["LD_PRELOAD", "A", text].map(|key| api::KeyValue {
                key: key.into(),
                value: String::new(),
            });
            let mounts = ["/var/run/x", text].map(|destination| api::Mount {
                destination: destination.into(),
                ..Default::default()
            });
            let asked = api::ContainerAdjustment {
                env: env.into(),
                mounts: mounts.into(),
                ..Default::default()
            };
            let pod = api::PodSandbox {
                namespace: "default".into(),
                ..Default::default()
            };
            let plugin = "10-a".parse().expect("it is an identity");
            let says = explain(&policy, &plugin, &pod, &asked);
            let keys: usize = says.iter().map(|verdict| verdict.keys.len()).sum();
            assert_eq!(keys, 5);
        }
        Err(error) => assert!(!error.to_string().contains('\n') || text.contains('\n')),
    }
}

fn written_again(config: &Config) {
    // A relative path may look as if it had a scheme.
    let socket = &config.socket_path;
    if !(socket.is_absolute() || socket.as_os_str().is_empty()) {
        return;
    }
    // JSON may say what no configuration may.
    let text = toml::to_string(config).expect("a configuration can be written");
    if let Ok(read) = Config::from_toml(&text) {
        assert_eq!(read, *config);
    }
    let text = serde_json::to_string(&JsonConfig(config)).expect("a configuration can be written");
    let read: Config = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(read, *config);
}
