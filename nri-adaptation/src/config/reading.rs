//! Reading a configuration from TOML, strictly or leniently, with errors that name key and line;
//! and what serde is offered for other formats.

use std::collections::BTreeMap;

use serde::Deserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::error::{ConfigError, UnknownKey};
use super::settings::{self, Notes, Settings, Spelling, joined};
use super::whole_file;

impl Config {
    /// Reads a configuration from TOML. A key that is not known is an error.
    ///
    /// Keys are read without regard to case, in the spelling of TOML (`socket_path`) or of JSON
    /// (`socketPath`); one that is there in two spellings is an error.
    /// [`Deserialize`](serde::Deserialize) does the same for JSON and other formats:
    ///
    /// ```
    /// use nri_adaptation::Config;
    ///
    /// let config: Config = serde_json::from_str(r#"{"Disable": true, "SocketPath": "unix:///run/nri.sock"}"#)?;
    /// assert!(config.disable);
    /// assert_eq!(config.socket_path.to_str(), Some("/run/nri.sock"));
    ///
    /// let error = serde_json::from_str::<Config>(r#"{"socketPth": "/run/nri.sock"}"#).unwrap_err();
    /// assert!(error.to_string().starts_with("unknown key `socketPth`; did you mean `socket_path`?"));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first thing that is wrong, with its key and line. A whole file of containerd or CRI-O is
    /// said to be one; see [`from_whole_toml`](Self::from_whole_toml).
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        strict(Self::from_toml_lenient(text)?)
    }

    /// Reads a configuration from TOML and returns the keys that are not known beside it.
    ///
    /// # Errors
    /// The text is no TOML, a value is one that its key cannot have, or a key is there twice.
    pub fn from_toml_lenient(text: &str) -> Result<(Self, Vec<UnknownKey>), ConfigError> {
        Self::from_toml_over(text, Self::default())
    }

    /// The same for a program whose usual values are others, or whose file has tables of its own:
    /// where the text says nothing, `absent` holds.
    ///
    /// ```
    /// use nri_adaptation::Config;
    /// let usual = Config::default().with(|config| config.restart = false);
    /// let (config, unknown) = Config::from_toml_over("serial = true\n[mine]\nkey = 1", usual)?;
    /// assert!(config.serial && !config.restart);
    /// assert_eq!(unknown[0].key, "mine");
    /// # Ok::<(), nri_adaptation::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_toml_lenient`](Self::from_toml_lenient).
    pub fn from_toml_over(
        text: &str,
        absent: Self,
    ) -> Result<(Self, Vec<UnknownKey>), ConfigError> {
        let document = Document::parse(text)?;
        match whole_file::recognise(document.table.get_ref()) {
            Some(of) => Err(ConfigError::Whole { of }),
            None => document.read_config(absent),
        }
    }

    /// Reads a configuration from any format of serde and returns the keys that are not known
    /// beside it.
    ///
    /// ```
    /// use nri_adaptation::Config;
    /// let mut json = serde_json::Deserializer::from_str(r#"{"disable": true, "dsiable": false}"#);
    /// let (config, unknown) = Config::deserialize_lenient(&mut json)?;
    /// assert!(config.disable);
    /// assert_eq!(unknown[0].to_string(), "unknown key `dsiable`; did you mean `disable`?");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the format finds wrong, or a value that its key cannot have.
    pub fn deserialize_lenient<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<(Self, Vec<UnknownKey>), D::Error> {
        let (read, notes) = settings::noting(from, Self::default());
        let config = read.map_err(|error| notes.explain(error))?;
        Ok((config, notes.unknown_keys(|_| None)))
    }
}

/// What was read, if there was no key that is not known.
pub(super) fn strict<T>((read, unknown): (T, Vec<UnknownKey>)) -> Result<T, ConfigError> {
    match unknown.into_iter().next() {
        Some(key) => Err(ConfigError::Unknown(key)),
        None => Ok(read),
    }
}

/// TOML that has been parsed, or a table of it.
pub(super) struct Document<'a> {
    pub(super) table: Spanned<DeTable<'a>>,
    lines: Lines,
}

impl<'a> Document<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, ConfigError> {
        let lines = Lines::of(text);
        match DeTable::parse(text) {
            Ok(table) => Ok(Self { table, lines }),
            Err(error) => Err(lines.syntax(&error)),
        }
    }

    /// The line, from 1, that a byte is in.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.line(at)
    }

    /// Reads our own table and checks what is in it.
    pub(super) fn read_config(
        self,
        absent: Config,
    ) -> Result<(Config, Vec<UnknownKey>), ConfigError> {
        // Kept for the lines of what is found wrong, so shallowly.
        let (table, lines) = (positions(self.table.get_ref()), self.lines.clone());
        let (config, unknown) = self.read(absent)?;
        config.check().map_err(|error| match error {
            ConfigError::Invalid { key, reason, .. } => {
                let at = locate(&table, &path_of(&key), |known, written| {
                    Spelling::SnakeOrCamel.means(known, written) || known == format!("{written:?}")
                });
                ConfigError::Invalid {
                    key,
                    line: at.map(|at| lines.line(at)),
                    reason,
                }
            }
            other => other,
        })?;
        Ok((config, unknown))
    }

    /// Reads a table, whosever it is, over what holds where it says nothing.
    pub(super) fn read<T: Settings>(self, absent: T) -> Result<(T, Vec<UnknownKey>), ConfigError> {
        let Self { table, lines } = self;
        let positions = positions(table.get_ref());
        let line = |path: &[String]| {
            let at = locate(&positions, path, |known, written| known == written)?;
            Some(lines.line(at))
        };
        let (read, notes) = settings::noting(toml::Deserializer::from(table), absent);
        match read {
            Ok(read) => Ok((read, notes.unknown_keys(line))),
            Err(error) => Err(match notes.failed.take() {
                Some(path) => ConfigError::Invalid {
                    // What is wrong is at the key or in its value; serde knows the value, or the
                    // table around the key.
                    line: line(&path).max(error.span().map(|span| lines.line(span.start))),
                    key: joined(&path),
                    reason: one_line(error.message()),
                },
                None => lines.syntax(&error),
            }),
        }
    }
}

impl Notes {
    fn unknown_keys(&self, line: impl Fn(&[String]) -> Option<usize>) -> Vec<UnknownKey> {
        let unknown = self.unknown.take().into_iter();
        unknown
            .map(|(path, nearest)| UnknownKey {
                line: line(&path),
                key: joined(&path),
                nearest,
            })
            .collect()
    }
}

/// Where keys are in a text, as deep as settings go.
type Positions = BTreeMap<String, (usize, Option<Box<PositionsBelow>>)>;
/// The same below a key.
struct PositionsBelow(Positions);

fn positions(table: &DeTable<'_>) -> Positions {
    positions_to(table, SETTINGS_DEPTH)
}

/// `policy`, `rules`, a number, `pod_labels` and a label.
const SETTINGS_DEPTH: usize = 6;

fn positions_to(table: &DeTable<'_>, depth: usize) -> Positions {
    let below = |value: &DeValue<'_>| match value {
        DeValue::Table(table) if depth > 1 => {
            Some(Box::new(PositionsBelow(positions_to(table, depth - 1))))
        }
        DeValue::Array(list) if depth > 1 => {
            let elements = list.iter().enumerate().map(|(at, element)| {
                let table = element.get_ref().as_table();
                let below =
                    table.map(|table| Box::new(PositionsBelow(positions_to(table, depth - 2))));
                (format!("[{at}]"), (element.span().start, below))
            });
            Some(Box::new(PositionsBelow(elements.collect())))
        }
        _ => None,
    };
    table
        .iter()
        .map(|(key, value)| {
            let name: &str = key.get_ref();
            (name.to_owned(), (key.span().start, below(value.get_ref())))
        })
        .collect()
}

/// Where a key is; `same` says whether a key that is looked for is one that was written.
fn locate(positions: &Positions, path: &[String], same: fn(&str, &str) -> bool) -> Option<usize> {
    let (first, rest) = path.split_first()?;
    let (at, below) = match positions.get(first) {
        Some(found) => found,
        None => {
            positions
                .iter()
                .find(|(written, _)| same(first, written))?
                .1
        }
    };
    match (rest, below) {
        ([], _) => Some(*at),
        (rest, Some(below)) => locate(&below.0, rest, same),
        (_, None) => None,
    }
}

/// The keys that a key of [`Config::check`] is made of: `plugins."10-a".restart`.
fn path_of(key: &str) -> Vec<String> {
    let Some((table, quoted)) = key.split_once(".\"") else {
        return key.split('.').map(str::to_owned).collect();
    };
    let (name, rest) = quoted.rsplit_once('"').unwrap_or((quoted, ""));
    let mut path = vec![table.to_owned(), format!("\"{name}\"")];
    path.extend(rest.strip_prefix('.').map(str::to_owned));
    path
}

/// Where the lines of a text begin.
#[derive(Debug, Clone)]
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(ends.map(|(at, _)| at + 1).collect())
    }

    /// The line, from 1, that a byte is in.
    fn line(&self, at: usize) -> usize {
        self.0.partition_point(|begin| *begin <= at) + 1
    }

    fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        ConfigError::Syntax {
            line: self.line(error.span().unwrap_or_default().start),
            reason: one_line(error.message()),
        }
    }
}

fn one_line(message: &str) -> String {
    message
        .split('\n')
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests;
