//! The plugin's own configuration as a type. What may not enter: how it reaches the plugin.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use nri_core::{Configuration, HandlerError};
use serde::de::DeserializeOwned;

use crate::text::{self, Format};

/// A configuration that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration of the plugin{} {reason}", Source(.file.as_deref()))]
#[non_exhaustive]
pub struct InvalidConfiguration {
    /// The file that it is from; `None` if the runtime sent it.
    pub file: Option<String>,
    /// What is wrong with it, with line and field.
    pub reason: String,
}

struct Source<'a>(Option<&'a str>);

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(file) => write!(f, " in {file}:"),
            None => f.write_str(", which the runtime sent:"),
        }
    }
}

/// Reads a configuration as a type; `None` if there is none.
///
/// The format is that of the file's name (`.toml`, `.yaml`, `.yml`, `.json`), else what
/// [`Format::of`] makes of the text.
///
/// ```
/// use nri_plugin::{Configuration, read_configuration};
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Limits {
///     memory: u64,
/// }
///
/// let mut sent = Configuration::default();
/// sent.config = "memory: 4096".to_owned();
/// let limits: Option<Limits> = read_configuration(&sent)?;
/// assert_eq!(limits.unwrap().memory, 4096);
///
/// sent.config = "memroy: 4096".to_owned();
/// let error = read_configuration::<Limits>(&sent).err().unwrap();
/// assert!(error.to_string().ends_with("line 1: unknown field `memroy`, expected `memory`"));
/// # Ok::<(), nri_plugin::InvalidConfiguration>(())
/// ```
///
/// # Errors
/// The text cannot be read as the type.
pub fn read_configuration<T: DeserializeOwned>(
    configuration: &Configuration,
) -> Result<Option<T>, InvalidConfiguration> {
    let text = &configuration.config;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let file = configuration.config_file.clone();
    let extension = file.as_deref().and_then(|name| name.rsplit_once('.'));
    let format = match extension.map(|(_, extension)| extension) {
        Some("toml") => Format::Toml,
        Some("yaml" | "yml") => Format::Yaml,
        Some("json") => Format::Json,
        _ => Format::of(text),
    };
    let read = text::read(text, format).map(Some);
    read.map_err(|reason| InvalidConfiguration {
        file,
        reason: reason.trim_end().to_owned(),
    })
}

/// The plugin's configuration as a type, always the newest; see [`configuration`]. Cheap to clone.
pub struct Settings<T> {
    current: Arc<RwLock<Arc<T>>>,
    check: Option<Check<T>>,
    required: bool,
}

type Check<T> = Arc<dyn Fn(&T) -> Result<(), HandlerError> + Send + Sync>;

/// The plugin's own configuration as a type of serde: TOML, YAML or JSON, whichever the text is in
/// ([`read_configuration`]).
///
/// It is read on every connection, so a runtime that restarts brings the newest: from what the
/// runtime sends, else from the file of
/// [`Builder::configuration_file`](crate::Builder::configuration_file). Without either it is the
/// type's default. What cannot be read is an error to the runtime, which logs it, and to whoever
/// runs the plugin; the connection ends.
///
/// ```
/// use nri_plugin::prelude::*;
/// use serde::Deserialize;
///
/// #[derive(Default, Deserialize)]
/// #[serde(deny_unknown_fields, default)]
/// struct Greeting {
///     text: String,
/// }
///
/// let greeting = configuration::<Greeting>().checked(|greeting| match greeting.text.contains('\n') {
///     true => Err("text must be one line".into()),
///     false => Ok(()),
/// });
/// let plugin = handlers()
///     .configured_by(&greeting)
///     .on_create_container(move |_cx, _pod, _container| {
///         let greeting = greeting.get();
///         async move {
///             let mut adjust = Adjustment::new();
///             adjust.add_env("GREETING", &greeting.text)?;
///             Ok(adjust)
///         }
///     })
///     .build();
/// ```
pub fn configuration<T: DeserializeOwned + Default>() -> Settings<T> {
    Settings {
        current: Arc::default(),
        check: None,
        required: false,
    }
}

impl<T: DeserializeOwned + Default> Settings<T> {
    /// Has a check pass before a configuration is taken. Its error goes where those of reading go.
    #[must_use]
    pub fn checked(
        mut self,
        check: impl Fn(&T) -> Result<(), HandlerError> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    /// Makes it an error that there is no configuration.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Takes what came with `Configure`. What was there stays if it cannot be taken.
    ///
    /// [`configured_by`](crate::HandlersBuilder::configured_by) calls this; a
    /// [`Plugin`](crate::Plugin) calls it in its `configure`.
    ///
    /// # Errors
    /// It cannot be read, does not pass the check, or is missing and required.
    pub fn take(&self, configuration: &Configuration) -> Result<(), HandlerError> {
        let given = read_configuration(configuration)?;
        if given.is_none() && self.required {
            return Err(
                "the plugin needs a configuration: write NN-NAME.conf or NAME.conf in the runtime's directory of plugin \
                 configurations, or give the plugin a file"
                    .into(),
            );
        }
        let new: T = given.unwrap_or_default();
        if let Some(check) = &self.check {
            check(&new).map_err(|error| InvalidConfiguration {
                file: configuration.config_file.clone(),
                reason: error.to_string(),
            })?;
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(())
    }
}

impl<T> Settings<T> {
    /// The configuration as it is now: before the first connection the type's default.
    pub fn get(&self) -> Arc<T> {
        let current = self.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Clone for Settings<T> {
    fn clone(&self) -> Self {
        Self {
            current: Arc::clone(&self.current),
            check: self.check.clone(),
            required: self.required,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Settings<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("current", &self.get())
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Limit {
        memory: u64,
    }

    fn sent(text: &str, file: Option<&str>) -> Configuration {
        let mut configuration = Configuration::default();
        configuration.config = text.to_owned();
        configuration.config_file = file.map(str::to_owned);
        configuration
    }

    #[test]
    fn the_name_of_a_file_says_the_format() {
        let limit = Ok(Some(Limit { memory: 5 }));
        for (text, file) in [
            ("memory = 5", None),
            ("memory: 5", None),
            ("{\"memory\": 5}", None),
            ("memory = 5", Some("/a/b.conf")),
            ("{memory: 5}", Some("/a/b.yml")),
            ("# :\n{\"memory\": 5}", Some("b.yaml")),
            ("memory = 5", Some("b.toml")),
        ] {
            assert_eq!(read_configuration(&sent(text, file)), limit, "{text}");
        }
        assert_eq!(read_configuration::<Limit>(&sent(" \n", None)), Ok(None));
    }

    /// Law: what cannot be taken changes nothing, and says where it is from.
    #[test]
    fn a_bad_configuration_leaves_the_last_good_one() {
        let settings = configuration::<Limit>().checked(|limit| match limit.memory {
            0 => Err("memory must not be 0".into()),
            _ => Ok(()),
        });
        assert_eq!(*settings.get(), Limit::default());
        settings.take(&sent("memory = 7", None)).unwrap();
        for (text, file, says) in [
            (
                "memory = \"x\"",
                None,
                "which the runtime sent: TOML parse error at line 1",
            ),
            (
                "memory: x",
                Some("/a.conf"),
                "in /a.conf: line 1: memory: invalid type",
            ),
            (
                "memory: 0",
                Some("/a.conf"),
                "in /a.conf: memory must not be 0",
            ),
            ("", None, "memory must not be 0"),
        ] {
            let error = settings.take(&sent(text, file)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert_eq!(settings.get().memory, 7);
        }
        settings.take(&sent("memory = 8", None)).unwrap();
        assert_eq!(settings.clone().get().memory, 8);
    }

    #[test]
    fn a_missing_configuration_is_the_default_unless_it_is_required() {
        let settings = configuration::<Limit>();
        settings.take(&sent("", None)).unwrap();
        let error = settings.required().take(&sent("", None)).unwrap_err();
        assert!(error.to_string().contains("NAME.conf"), "{error}");
    }
}
