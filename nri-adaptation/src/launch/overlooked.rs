//! What an operator has written down that concerns nobody: settings of plugins that are not there.
//! Pure; who says it to the operator, and whether it is an error, is decided elsewhere.

use nri_core::PluginId;
use nri_core::validate::DefaultValidator;

use crate::config::{Config, distance};

/// So many characters of a name are compared.
const COMPARED: usize = 64;
/// For so many names the one is looked for that may have been meant.
const MOST_GUESSES: usize = 20;

/// A name in the configuration that no plugin has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overlooked {
    /// The key under which it is.
    pub(crate) key: &'static str,
    pub(crate) name: String,
    /// The name of a plugin that looks like it, and that is not in the configuration itself.
    pub(crate) nearest: Option<String>,
}

impl Overlooked {
    /// What is to be said of it, and done.
    pub(crate) fn advice(&self, connections: bool) -> String {
        let Self { key, name, nearest } = self;
        let mut advice = format!("`{key}` names {name:?}, and no plugin is called that");
        if let Some(nearest) = nearest {
            advice.push_str(&format!("; was {nearest:?} meant?"));
        } else if connections {
            advice.push_str("; it is for one that connects, or without effect");
        }
        advice
    }
}

/// The names in a configuration that none of the plugins has which are `known`.
pub(crate) fn overlooked(config: &Config, known: &[PluginId]) -> Vec<Overlooked> {
    let settings = config.plugins.keys().map(|name| ("plugins", name));
    let required = &config.default_validator.required_plugins;
    let required = required
        .iter()
        .map(|name| ("default_validator.required_plugins", name));
    let is = |plugin: &PluginId, name: &str| {
        plugin.name().as_str() == name || plugin.to_string() == name
    };
    let missing = settings
        .chain(required)
        .filter(|(_, name)| !known.iter().any(|plugin| is(plugin, name)));
    let named = |key: &str, plugin: &PluginId| match key {
        "plugins" => config.plugins.keys().any(|name| is(plugin, name)),
        _ => config
            .default_validator
            .required_plugins
            .iter()
            .any(|name| is(plugin, name)),
    };
    let mut overlooked = Vec::new();
    for (key, name) in missing {
        let guess = overlooked.len() < MOST_GUESSES;
        let others = known.iter().filter(|plugin| guess && !named(key, plugin));
        let names: Vec<String> = others
            .flat_map(|plugin| [plugin.name().to_string(), plugin.to_string()])
            .collect();
        overlooked.push(Overlooked {
            key,
            name: name.clone(),
            nearest: nearest(name, names.iter().map(String::as_str)).map(str::to_owned),
        });
    }
    overlooked
}

/// Whether a plugin of the plugin directory has the identity of one that is part of the runtime.
pub(crate) fn is_built_in(plugin: &PluginId, built_in: &[PluginId], validator: bool) -> bool {
    built_in.contains(plugin) || validator && plugin.to_string() == DefaultValidator::IDENTITY
}

/// The name that looks most like another one, if it looks enough like it to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| -> String {
        let plain = name.chars().take(COMPARED);
        plain.flat_map(char::to_lowercase).collect()
    };
    let name = plain(name);
    known
        .into_iter()
        .map(|known| (distance(&name, &plain(known)), known))
        .filter(|(distance, known)| distance * 3 <= known.chars().count().min(COMPARED))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, known: &[&str]) -> Vec<String> {
        let known: Vec<PluginId> = known.iter().map(|name| name.parse().unwrap()).collect();
        let config = Config::from_toml(text).unwrap();
        let overlooked = overlooked(&config, &known).into_iter();
        overlooked.map(|one| one.advice(true)).collect()
    }

    #[test]
    fn names_that_no_plugin_has_are_found_with_what_was_meant() {
        let known = ["10-logger", "20-audit"];
        let none: [String; 0] = [];
        let good = "[plugins.logger]\n[plugins.20-audit]\n";
        assert_eq!(told(good, &known), none);
        for (text, says) in [
            (
                "[plugins.lgger]",
                "\"lgger\", and no plugin is called that; was \"logger\" meant?",
            ),
            ("[plugins.11-logger]", "was \"10-logger\" meant?"),
            ("[plugins.Audit]", "was \"audit\" meant?"),
            ("[plugins.policy]", "it is for one that connects"),
            (
                "default_validator.required_plugins = ['auditt']",
                "was \"audit\" meant?",
            ),
            // Who is named already is not meant once more.
            (
                "[plugins.logger]\n[plugins.logger2]",
                "it is for one that connects",
            ),
        ] {
            let told = told(text, &known);
            assert!(told.len() == 1 && told[0].contains(says), "{told:?}");
        }
        assert!(told("[plugins.b]", &["10-a"])[0].contains("one that connects"));
    }

    #[test]
    fn guesses_are_bounded() {
        let mut config = Config::default();
        let long = "x".repeat(1 << 16);
        for number in 0..1000 {
            let name = format!("{long}{number}");
            config.plugins.insert(name, Default::default());
        }
        let known = ["10-logger".parse().unwrap()];
        assert_eq!(overlooked(&config, &known).len(), 1000);
    }
}
