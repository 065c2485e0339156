//! What may not be said of a plugin that observes.

use std::collections::BTreeMap;

use nri_core::validate::DefaultValidator;

use super::plugin::PluginConfig;

/// What the name of a plugin is without its index.
fn without_index(name: &str) -> &str {
    match name.split_once('-') {
        Some((index, rest)) if index.len() == 2 && index.bytes().all(|b| b.is_ascii_digit()) => {
            rest
        }
        _ => name,
    }
}

/// Whether two names, either with an index or without, may mean the same plugin.
fn may_be_one(a: &str, b: &str) -> bool {
    let has_index = |name: &str| without_index(name) != name;
    without_index(a) == without_index(b) && (a == b || !has_index(a) || !has_index(b))
}

/// The first key that a plugin cannot have, since no request waits for it or since something requires
/// that one does; and why.
pub(super) fn observe_in_vain(
    plugins: &BTreeMap<String, PluginConfig>,
    required: &[String],
) -> Option<(String, String)> {
    let observing = |(_, settings): &(&String, &PluginConfig)| settings.observe == Some(true);
    for (name, settings) in plugins.iter().filter(observing) {
        let key = |key: &str| format!("plugins.{name:?}.{key}");
        let set = [
            ("on_error", settings.on_error.is_some()),
            ("on_late", settings.on_late.is_some()),
            ("on_absent", settings.on_absent.is_some()),
            ("after_late", settings.after_late.is_some()),
            ("validate_updates", settings.validate_updates.is_some()),
        ];
        if let Some((on, _)) = set.into_iter().find(|(_, set)| *set) {
            let reason = "it means nothing for a plugin that observes; leave out this or `observe`";
            return Some((key(on), reason.to_owned()));
        }
        if may_be_one(name, DefaultValidator::IDENTITY) {
            let reason =
                "the default validator judges; `default_validator.enable = false` turns it off";
            return Some((key("observe"), reason.to_owned()));
        }
        let mut required = required.iter();
        if let Some(required) = required.find(|required| may_be_one(name, required)) {
            let reason = format!(
                "`default_validator.required_plugins` has {required:?}, and a plugin that observes is not asked"
            );
            return Some((key("observe"), reason));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn error(text: &str) -> Option<String> {
        Config::from_toml(text).err().map(|error| error.to_string())
    }

    #[test]
    fn what_means_nothing_for_an_observer_is_refused_with_its_key() {
        assert_eq!(
            error("[plugins.log]\nobserve = true\nmax_in_flight = 4"),
            None
        );
        let late = error("[plugins.log]\nobserve = true\non_late = 'fail'").unwrap();
        assert!(
            late.contains("plugins.\"log\".on_late") && late.contains("observes"),
            "{late}"
        );
        for (required, name) in [("log", "10-log"), ("10-log", "log"), ("10-log", "10-log")] {
            let text = format!(
                "[default_validator]\nrequired_plugins = ['{required}']\n[plugins.{name}]\nobserve = true"
            );
            let error = error(&text).unwrap();
            assert!(error.contains(&format!("{required:?}")), "{error}");
        }
        let others = "[default_validator]\nrequired_plugins = ['20-log', 'blog']\n[plugins.10-log]\nobserve = true";
        assert_eq!(error(others), None);
        let judge = error("[plugins.default-validator]\nobserve = true").unwrap();
        assert!(judge.contains("default_validator.enable"), "{judge}");
    }
}
