//! Why a text is no configuration.

use std::fmt;

use super::whole_file::WholeFile;

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
    /// The text is a runtime's whole configuration, and only a table of it was asked for.
    #[error(
        "this is a whole configuration of {of}: give the inside of `[{}]` alone, or have the program read the whole file",
        .of.table()
    )]
    Whole {
        /// Whose.
        of: WholeFile,
    },
    /// A runtime's whole configuration has no table for NRI.
    #[error("this configuration of {of} has no table `[{}]`", .of.table())]
    NoTable {
        /// Whose.
        of: WholeFile,
    },
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
    /// The line, from 1; `None` if the format does not say.
    pub line: Option<usize>,
    /// The key that is known here and looks most like it, if one does.
    pub nearest: Option<String>,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}unknown key `{}`", at(&self.line), self.key)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UnknownKey {}
