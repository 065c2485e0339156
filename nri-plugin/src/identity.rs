//! Who the plugin is: what the program says, else what the runtime says in the environment, else
//! the program's file name.

use std::path::Path;

use nri_core::PluginId;

use crate::Error;

/// Set by a runtime that launched the plugin: its name without the index.
pub(crate) const NAME_VARIABLE: &str = "NRI_PLUGIN_NAME";
/// Set by a runtime that launched the plugin: its index.
pub(crate) const INDEX_VARIABLE: &str = "NRI_PLUGIN_IDX";

/// Everything that may say who the plugin is.
#[derive(Debug, Clone, Default)]
pub(crate) struct IdentitySources {
    /// The program's choice, `INDEX-NAME`.
    pub(crate) identity: Option<String>,
    /// The program's choice of the index alone.
    pub(crate) index: Option<String>,
    /// The program's choice of the name alone.
    pub(crate) name: Option<String>,
    /// The program's choice where nothing else says.
    pub(crate) fallback: Option<String>,
    /// `NRI_PLUGIN_IDX`.
    pub(crate) environment_index: Option<String>,
    /// `NRI_PLUGIN_NAME`.
    pub(crate) environment_name: Option<String>,
    /// The program as it was called.
    pub(crate) program: Option<String>,
}

impl IdentitySources {
    /// The identity that the sources agree on; index and name are looked for separately.
    ///
    /// As in the Go plugin library, a known index without a name makes the file name the name.
    pub(crate) fn resolve(self) -> Result<PluginId, Error> {
        let invalid = |source| Error::Identity { source };
        let chosen: Option<PluginId> = self
            .identity
            .map(|text| text.parse().map_err(invalid))
            .transpose()?;
        let chosen_index = self
            .index
            .or_else(|| chosen.as_ref().map(|id| id.index().to_string()));
        let chosen_name = self
            .name
            .or_else(|| chosen.as_ref().map(|id| id.name().to_string()));

        let file = self
            .program
            .as_deref()
            .and_then(|program| Path::new(program).file_name()?.to_str());
        let from_file: Option<PluginId> = file.and_then(|file| file.parse().ok());
        let fallback: Option<PluginId> = self
            .fallback
            .map(|text| text.parse().map_err(invalid))
            .transpose()?;

        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let environment_index = given(self.environment_index);
        let environment_name = given(self.environment_name).map(|name| match &environment_index {
            // Runtimes before v0.4 put the index in front of the name.
            Some(index) => match name.strip_prefix(index.as_str()) {
                Some(rest) if rest.len() > 1 && rest.starts_with('-') => rest[1..].to_owned(),
                _ => name,
            },
            None => name,
        });

        let index = chosen_index.or(environment_index);
        let name = chosen_name.or(environment_name);
        let last = from_file.or(fallback);
        match (index, name, last, file) {
            (Some(index), Some(name), ..) => PluginId::from_parts(&index, &name).map_err(invalid),
            (Some(index), None, Some(last), _) => {
                PluginId::from_parts(&index, last.name().as_str()).map_err(invalid)
            }
            (Some(index), None, None, Some(file)) => {
                PluginId::from_parts(&index, file).map_err(invalid)
            }
            (None, Some(name), Some(last), _) => {
                PluginId::from_parts(&last.index().to_string(), &name).map_err(invalid)
            }
            (None, None, Some(last), _) => Ok(last),
            (index, ..) => Err(Error::NoIdentity {
                missing: match index {
                    Some(_) => "name",
                    None => "index",
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Option<String> {
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn resolve(
        identity: &str,
        (index, name): (&str, &str),
        (environment_index, environment_name): (&str, &str),
        program: &str,
        fallback: &str,
    ) -> Result<String, Error> {
        let sources = IdentitySources {
            identity: text(identity),
            index: text(index),
            name: text(name),
            fallback: text(fallback),
            environment_index: text(environment_index),
            environment_name: text(environment_name),
            program: text(program),
        };
        sources.resolve().map(|id| id.to_string())
    }

    #[test]
    fn the_program_then_the_environment_then_the_file_name_then_the_fallback() {
        let env = ("20", "env");
        let none = ("", "");
        let file = "/opt/nri/plugins/30-file";
        for (identity, parts, environment, program, fallback, expected) in [
            ("10-own", none, env, file, "90-last", "10-own"),
            ("10-own", ("11", ""), env, file, "", "11-own"),
            ("10-own", ("", "other"), env, file, "", "10-other"),
            ("", ("11", "parts"), env, file, "", "11-parts"),
            ("", ("11", ""), env, file, "", "11-env"),
            ("", ("", "parts"), env, file, "", "20-parts"),
            ("", none, env, file, "90-last", "20-env"),
            ("", none, none, file, "90-last", "30-file"),
            ("", none, none, "30-", "90-last", "90-last"),
            ("", none, none, "/bin/logger", "90-last", "90-last"),
            // An index alone: the file name is the name.
            ("", ("11", ""), none, "/bin/logger", "", "11-logger"),
            ("", ("11", ""), none, file, "", "11-file"),
            ("", none, ("20", ""), "/bin/logger", "", "20-logger"),
            // A name alone: the index of the file name.
            ("", ("", "parts"), none, file, "", "30-parts"),
            ("", ("", "parts"), none, "x", "90-last", "90-parts"),
            // Runtimes before v0.4.
            ("", none, ("20", "20-env"), file, "", "20-env"),
            ("", none, ("20", "20-"), file, "", "20-20-"),
            ("", none, ("20", "200-env"), file, "", "20-200-env"),
        ] {
            let got = resolve(identity, parts, environment, program, fallback);
            assert_eq!(got.unwrap(), expected);
        }
    }

    #[test]
    fn what_is_wrong_or_missing_is_said() {
        let none = ("", "");
        let error = |result: Result<String, Error>| result.unwrap_err().to_string();
        let text = error(resolve("logger", none, none, "", ""));
        assert!(
            text.contains("\"logger\"") && text.contains("INDEX-NAME"),
            "{text}"
        );
        let text = error(resolve("", ("1", "a"), none, "", ""));
        assert!(text.contains("\"1\""), "{text}");
        let text = error(resolve("", ("10", "a b"), none, "", ""));
        assert!(text.contains("\"a b\""), "{text}");
        let text = error(resolve("", none, none, "/bin/logger", ""));
        assert!(
            text.contains("index") && text.contains("identity"),
            "{text}"
        );
        let text = error(resolve("", ("10", ""), none, "", ""));
        assert!(text.contains("name"), "{text}");
        assert!(resolve("", none, none, "/bin/logger", "bad").is_err());
    }
}
