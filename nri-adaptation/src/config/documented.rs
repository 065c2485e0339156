//! The manual's chapter on configuration has every key, with the default that it has.

use std::collections::BTreeMap;

use super::settings::Settings;
use super::{Config, DefaultValidatorConfig, PluginConfig};

const CHAPTER: &str = include_str!("../manual/configuration.rs");

/// What the rows of the chapter's tables say of keys, by their names: the defaults.
fn rows() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in CHAPTER.lines() {
        let Some(row) = line.strip_prefix("//! | `") else {
            continue;
        };
        let mut cells = row.split(" | ");
        let (Some(key), Some(default)) = (cells.next(), cells.next()) else {
            continue;
        };
        let key = key.trim_end_matches([' ', '*']).trim_end_matches('`');
        rows.entry(key).or_default().push(default);
    }
    rows
}

fn missing<T: Settings>() -> Vec<&'static str> {
    let rows = rows();
    let keys = T::KEYS.iter().copied();
    keys.filter(|key| !rows.contains_key(key)).collect()
}

#[test]
fn the_manual_has_every_key() {
    assert_eq!(missing::<Config>(), [""; 0]);
    assert_eq!(missing::<DefaultValidatorConfig>(), [""; 0]);
    assert_eq!(missing::<PluginConfig>(), [""; 0]);
}

#[test]
fn the_manual_has_the_defaults_that_hold() {
    let rows = rows();
    let defaults = toml::Value::try_from(Config::default()).unwrap();
    let top = defaults.as_table().unwrap();
    let validator = top["default_validator"].as_table().unwrap();
    for (key, value) in top.iter().chain(validator).filter(|(_, v)| !v.is_table()) {
        let told = format!("`{value}`");
        assert!(rows[key.as_str()].contains(&told.as_str()), "{key}: {told}");
    }
}
