//! Reading a configuration from TOML, strictly or leniently, with errors that name key and line.

use std::fmt;
use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;

/// Why a text is no configuration. Each message is one line that names the key and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is no TOML.
    #[error("line {line}: {reason}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A key that means nothing here.
    #[error(transparent)]
    Unknown(UnknownKey),
    /// A value that its key cannot have.
    #[error("{}key `{key}`: {reason}", at(.line))]
    Invalid {
        /// The key with its tables, joined by dots.
        key: String,
        /// The line, from 1; `None` if the configuration did not come from a text.
        line: Option<usize>,
        /// What is wrong with the value.
        reason: String,
    },
}

fn at(line: &Option<usize>) -> String {
    line.map(|line| format!("line {line}: "))
        .unwrap_or_default()
}

/// A key that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownKey {
    /// The key with its tables, joined by dots.
    pub key: String,
    /// The line, from 1.
    pub line: usize,
    /// The key that is known here and looks most like it, if one does.
    pub nearest: Option<String>,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: unknown key `{}`", self.line, self.key)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UnknownKey {}

const TOP: &[&str] = &[
    "disable",
    "socket_path",
    "plugin_path",
    "plugin_config_path",
    "plugin_registration_timeout",
    "plugin_request_timeout",
    "disable_connections",
    "default_validator",
    "serial",
    "plugin_strikes",
    "after_late",
    "side_update_failure",
    "strict_discovery",
    "restart",
    "restart_backoff",
    "restart_limit",
    "domain_timeout",
    "update_rate_limit",
    "update_burst",
    "max_updates",
    "max_items",
    "allowed_uids",
    "allowed_gids",
    "max_plugins",
    "plugins",
];

const VALIDATOR: &[&str] = &[
    "enable",
    "reject_oci_hook_adjustment",
    "reject_runtime_default_seccomp_adjustment",
    "reject_unconfined_seccomp_adjustment",
    "reject_custom_seccomp_adjustment",
    "reject_namespace_adjustment",
    "reject_sysctl_adjustment",
    "required_plugins",
    "tolerate_missing_plugins_annotation",
];

const PLUGIN: &[&str] = &[
    "request_timeout",
    "max_in_flight",
    "on_error",
    "on_late",
    "on_absent",
    "after_late",
    "validate_updates",
    "restart",
    "allowed_uids",
];

/// What the keys of a table are.
#[derive(Clone, Copy)]
enum Keys {
    /// Names of settings.
    Known(&'static [&'static str]),
    /// Names that the user chooses; each holds a table of the settings of one plugin.
    Plugins,
}

impl Keys {
    fn below(self, key: &str) -> Option<Self> {
        match (self, key) {
            (Self::Plugins, _) => Some(Self::Known(PLUGIN)),
            (Self::Known(TOP), "default_validator") => Some(Self::Known(VALIDATOR)),
            (Self::Known(TOP), "plugins") => Some(Self::Plugins),
            _ => None,
        }
    }
}

impl Config {
    /// Reads a configuration from TOML. A key that is not known is an error.
    ///
    /// # Errors
    /// The first thing that is wrong, with its key and line.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let (config, unknown) = Self::from_toml_lenient(text)?;
        match unknown.into_iter().next() {
            Some(key) => Err(ConfigError::Unknown(key)),
            None => Ok(config),
        }
    }

    /// Reads a configuration from TOML and returns the keys that are not known beside it.
    ///
    /// # Errors
    /// The text is no TOML, or a value is one that its key cannot have.
    pub fn from_toml_lenient(text: &str) -> Result<(Self, Vec<UnknownKey>), ConfigError> {
        let syntax = |error: toml::de::Error| ConfigError::Syntax {
            line: line_of(text, error.span().unwrap_or_default().start),
            reason: one_line(error.message()),
        };
        let table = DeTable::parse(text).map_err(syntax)?;
        let mut survey = Survey {
            text,
            unknown: Vec::new(),
            values: Vec::new(),
        };
        survey.table(table.get_ref(), Keys::Known(TOP), "");
        let Survey {
            unknown, values, ..
        } = survey;

        let config = Self::deserialize(toml::Deserializer::from(table)).map_err(|error| {
            let Some(span) = error.span() else {
                return syntax(error);
            };
            // The innermost value around the error: inner ones come after the tables that hold them.
            let key = values
                .iter()
                .rev()
                .find(|(_, value)| value.start <= span.start && span.end <= value.end);
            match key {
                Some((key, _)) => ConfigError::Invalid {
                    key: key.clone(),
                    line: Some(line_of(text, span.start)),
                    reason: one_line(error.message()),
                },
                None => syntax(error),
            }
        })?;
        config.check().map_err(|error| match error {
            ConfigError::Invalid { key, reason, .. } => {
                let line = values
                    .iter()
                    .find(|(at, _)| *at == key.replace('"', ""))
                    .map(|(_, span)| line_of(text, span.start));
                ConfigError::Invalid { key, line, reason }
            }
            other => other,
        })?;
        Ok((config, unknown))
    }
}

/// What a walk through the text finds.
struct Survey<'a> {
    text: &'a str,
    unknown: Vec<UnknownKey>,
    values: Vec<(String, Range<usize>)>,
}

impl Survey<'_> {
    fn table(&mut self, table: &DeTable<'_>, keys: Keys, path: &str) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            let path = match path {
                "" => name.to_owned(),
                path => format!("{path}.{name}"),
            };
            if let Keys::Known(known) = keys
                && !known
                    .iter()
                    .any(|known| *known == name || same_in_camel(known, name))
            {
                self.unknown.push(UnknownKey {
                    key: path,
                    line: line_of(self.text, key.span().start),
                    nearest: nearest(name, known),
                });
                continue;
            }
            self.values.push((path.clone(), value.span()));
            self.below(value, keys.below(name), &path);
        }
    }

    fn below(&mut self, value: &Spanned<DeValue<'_>>, keys: Option<Keys>, path: &str) {
        if let (DeValue::Table(table), Some(keys)) = (value.get_ref(), keys) {
            self.table(table, keys, path);
        }
    }
}

/// Whether `name` is `known` in lowerCamel, however the abbreviation in it is written.
fn same_in_camel(known: &str, name: &str) -> bool {
    known.replace('_', "").eq_ignore_ascii_case(name) && !name.contains('_')
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn one_line(message: &str) -> String {
    message
        .split('\n')
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The known key that takes the fewest changes, if they are few.
fn nearest(name: &str, known: &[&str]) -> Option<String> {
    known
        .iter()
        .map(|known| (distance(name, known), *known))
        .filter(|(distance, known)| *distance <= 2 + known.len() / 5)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known.to_owned())
}

/// How many characters have to be inserted, removed or replaced to turn one text into the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests;
