//! Every key, in every spelling and every dialect, takes effect or is an error.

use super::*;

/// A table, a key of it, and a value that is not its default.
type Case = (&'static str, &'static str, &'static str);

/// The keys of every table, with a value each.
fn cases() -> Vec<Case> {
    fn value(key: &str) -> &'static str {
        let key = key.trim_start_matches("nri_");
        match key {
            "plugins" => "{ x = { restart = false } }",
            "default_validator" => "{}",
            "policy" => "{ default = 'deny' }",
            "after_late" => "'resync'",
            "side_update_failure" => "'fail'",
            "on_error" | "on_late" | "on_absent" => "'skip'",
            "allowed_uids" | "allowed_gids" => "[7]",
            "required_plugins" | "validator_required_plugins" => "['x']",
            "tolerate_missing_plugins_annotation"
            | "validator_tolerate_missing_plugins_annotation" => "'x'",
            "restart" | "enable_nri" => "false",
            key if key.ends_with("timeout") || key.ends_with("backoff") => "'77s'",
            key if key.ends_with("path") || key.ends_with("dir") || key == "listen" => "'/x'",
            key if key.ends_with("strikes")
                || key.ends_with("limit")
                || key.ends_with("burst")
                || key.starts_with("max_") =>
            {
                "77777777"
            }
            _ => "true",
        }
    }
    let tables: [(&'static str, &'static [&'static str]); 6] = [
        ("", Config::KEYS),
        ("[default_validator]", DefaultValidatorConfig::KEYS),
        ("[plugins.x]", PluginConfig::KEYS),
        ("crio", CrioConfig::KEYS),
        ("crio [default_validator]", CrioValidatorConfig::KEYS),
        ("moby", MobyConfig::KEYS),
    ];
    let cases = tables.into_iter().map(|(table, keys)| {
        keys.iter()
            .map(move |key| (table, *key, value(key)))
            .collect::<Vec<_>>()
    });
    cases.flatten().collect()
}

/// Reads a key of a table through TOML and through JSON. What came of them is shown, without the
/// spelling.
fn read_one(table: &str, lines: &[String]) -> [Result<String, String>; 2] {
    fn shown<T: std::fmt::Debug, E: ToString>(read: Result<T, E>) -> Result<String, String> {
        read.map(|read| format!("{read:?}"))
            .map_err(|e| e.to_string())
    }
    let (whose, header) = match table.split_once(' ') {
        Some((whose, header)) => (whose, header),
        None if table.starts_with('[') => ("", table),
        None => (table, ""),
    };
    let text = format!("{header}\n{}\n", lines.join("\n"));
    let json = text
        .parse::<toml::Table>()
        .map_err(|e| e.to_string())
        .and_then(|table| serde_json::to_string(&table).map_err(|e| e.to_string()));
    let from_json = |read: fn(&str) -> Result<String, String>| match &json {
        Ok(json) => read(json),
        Err(error) => Err(error.clone()),
    };
    match whose {
        "crio" => [
            shown(toml::from_str::<CrioConfig>(&text)),
            from_json(|json| shown(serde_json::from_str::<CrioConfig>(json))),
        ],
        "moby" => [
            shown(toml::from_str::<MobyConfig>(&text)),
            from_json(|json| shown(serde_json::from_str::<MobyConfig>(json))),
        ],
        _ => [
            shown(Config::from_toml(&text)),
            from_json(|json| shown(serde_json::from_str::<Config>(json))),
        ],
    }
}

/// The key, spelled in some way.
fn spelled(key: &str, separator: usize, upper: u64) -> String {
    let separator = ["_", "", "-", " "][separator];
    let cased = |(at, c): (usize, char)| match upper >> (at % 64) & 1 {
        1 => c.to_ascii_uppercase(),
        _ => c,
    };
    key.replace('_', separator)
        .char_indices()
        .map(cased)
        .collect()
}

fn assignment(key: &str, value: &str) -> String {
    format!("{key:?} = {value}")
}

proptest::proptest! {
    /// Law: in every table of every dialect, by TOML and JSON alike, a key in any spelling does
    /// what the key does, or is an error; in two spellings it is an error.
    #[test]
    fn a_key_in_any_spelling_takes_effect_or_is_an_error(
        case in proptest::sample::select(cases()),
        (separator, upper) in (0usize..4, proptest::prelude::any::<u64>()),
    ) {
        let (table, key, value) = case;
        let kebab = if table == "moby" { 2 } else { 0 };
        let documented = spelled(key, kebab, 0);
        let right = read_one(table, &[assignment(&documented, value)]);
        for read in &right {
            proptest::prop_assert!(read.is_ok(), "{documented}: {read:?}");
        }
        let spelling = spelled(key, separator, upper);
        for (read, right) in read_one(table, &[assignment(&spelling, value)]).iter().zip(&right) {
            proptest::prop_assert!(read.is_err() || read == right, "{spelling}: {read:?}");
            // The documented form never depends on case.
            if separator == kebab || (separator == 1 && !["crio", "moby"].iter().any(|of| table.starts_with(of))) {
                proptest::prop_assert_eq!(read, right, "{}", spelling);
            }
        }
        if !spelling.eq(&documented) {
            let twice = [assignment(&documented, value), assignment(&spelling, value)];
            for read in read_one(table, &twice) {
                proptest::prop_assert!(read.is_err(), "{documented} and {spelling}: {read:?}");
            }
        }
    }
}

/// Law: no key is without effect, whatever the table.
#[test]
fn every_key_takes_effect() {
    for (table, key, value) in cases() {
        if value == "{}" {
            continue;
        }
        let documented = spelled(key, if table == "moby" { 2 } else { 0 }, 0);
        let header = table
            .rsplit(' ')
            .next()
            .filter(|header| header.starts_with('['));
        let without = read_one(table, &[]);
        let with = read_one(table, &[assignment(&documented, value)]);
        assert_ne!(without, with, "{documented} in {header:?}");
        assert_eq!(with[0], with[1], "{documented}: TOML and JSON");
    }
}
