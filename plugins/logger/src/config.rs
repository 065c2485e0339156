//! What is logged, and what is set in containers to show that it is: the command line and, over it,
//! the configuration that the runtime sends, with the keys of the Go plugin. What may not enter:
//! how it is printed.

use std::path::PathBuf;

use nri_plugin::prelude::*;
use nri_plugin::{Configuration, read_configuration};
use serde::Deserialize;

/// The configuration; its keys are those of the Go plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Config {
    /// A file to append to, in place of stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// The events to print: names such as CreateContainer, and the groups pod, container and all,
    /// separated by commas [default: all].
    #[arg(long, value_delimiter = ',')]
    pub(crate) events: Option<Vec<String>>,
    /// Adds this annotation to containers, with the process id as its value.
    #[arg(long, value_name = "KEY")]
    pub(crate) add_annotation: Option<String>,
    /// The same, whoever has set it before.
    #[arg(long, value_name = "KEY")]
    pub(crate) set_annotation: Option<String>,
    /// Adds this environment variable to containers.
    #[arg(long, value_name = "NAME")]
    pub(crate) add_env: Option<String>,
    /// The same, whoever has set it before.
    #[arg(long, value_name = "NAME")]
    pub(crate) set_env: Option<String>,
}

impl Config {
    /// What counts once a configuration has come: its keys, and for the others the command line.
    pub(crate) fn and(&self, sent: &Configuration) -> Result<Self, HandlerError> {
        let sent: Self = read_configuration(sent)?.unwrap_or_default();
        let both = Self {
            log_file: sent.log_file.or_else(|| self.log_file.clone()),
            events: sent.events.or_else(|| self.events.clone()),
            add_annotation: sent.add_annotation.or_else(|| self.add_annotation.clone()),
            set_annotation: sent.set_annotation.or_else(|| self.set_annotation.clone()),
            add_env: sent.add_env.or_else(|| self.add_env.clone()),
            set_env: sent.set_env.or_else(|| self.set_env.clone()),
        };
        both.mask()?;
        drop(both.adjustment()?);
        Ok(both)
    }

    /// The events to subscribe to.
    pub(crate) fn mask(&self) -> Result<EventMask, HandlerError> {
        match self.events.as_deref() {
            None | Some([]) => Ok(EventMask::ALL),
            Some(names) => Ok(names
                .join(",")
                .parse()
                .map_err(|error| format!("events: {error}"))?),
        }
    }

    /// What is set in a container.
    pub(crate) fn adjustment(&self) -> Result<Adjustment, HandlerError> {
        let value = format!("logger-pid-{}", std::process::id());
        let mut adjust = Adjustment::new();
        if let Some(key) = wanted(&self.add_annotation) {
            adjust.add_annotation(key, &value)?;
        }
        if let Some(key) = wanted(&self.set_annotation) {
            adjust.replace_annotation(key, &value)?;
        }
        if let Some(name) = wanted(&self.add_env) {
            adjust.add_env(name, &value)?;
        }
        if let Some(name) = wanted(&self.set_env) {
            adjust.replace_env(name, &value)?;
        }
        Ok(adjust)
    }
}

/// An empty name is none.
fn wanted(name: &Option<String>) -> Option<&str> {
    name.as_deref().filter(|name| !name.is_empty())
}
