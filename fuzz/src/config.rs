//! Configurations, in every format and dialect.

use nri_adaptation::Config;
use nri_adaptation::config::{CrioConfig, JsonConfig, MobyConfig};

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
