//! A file of `hooks.d` (`oci-hooks(5)`): the hook, when it is wanted, and at which stages. What may
//! not enter: where files are.

use std::collections::BTreeMap;

use nri_plugin::api;
use nri_plugin::values::AbsolutePath;
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

/// As many bytes as a pattern's program may have.
const MOST_OF_A_PATTERN: usize = 1 << 20;

/// A hook with its conditions.
#[derive(Debug)]
pub(crate) struct HookFile {
    hook: api::Hook,
    when: When,
    stages: Vec<Stage>,
}

/// What containers are looked at by.
pub(crate) struct Subject<'a> {
    /// Of pod and container together.
    pub(crate) annotations: &'a BTreeMap<String, String>,
    /// The first word of the command line, if it has one.
    pub(crate) command: Option<&'a str>,
    pub(crate) has_bind_mounts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Stage {
    /// What the OCI specification has in its place since 1.0.2 is `createRuntime`, and so it is
    /// there that podman puts it.
    #[serde(alias = "prestart")]
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

/// The conditions.
#[derive(Debug, Default)]
struct When {
    /// One condition is enough; files of version 0.1.0 mean that.
    any: bool,
    always: Option<bool>,
    has_bind_mounts: Option<bool>,
    /// Patterns of keys, and of values.
    annotations: Vec<(Regex, Regex)>,
    commands: Vec<Regex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "version")]
    _version: String,
    hook: WrittenHook,
    #[serde(default)]
    when: WrittenWhen,
    stages: Vec<Stage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHook {
    path: AbsolutePath,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    timeout: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct WrittenWhen {
    always: Option<bool>,
    annotations: BTreeMap<String, String>,
    commands: Vec<String>,
    has_bind_mounts: Option<bool>,
}

/// The form before 1.0.0.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Old {
    #[serde(rename = "version", default)]
    _version: String,
    hook: AbsolutePath,
    arguments: Option<Vec<String>>,
    #[serde(alias = "stage")]
    stages: Vec<Stage>,
    #[serde(alias = "cmd", default)]
    cmds: Vec<String>,
    #[serde(alias = "annotation", default)]
    annotations: Vec<String>,
    hasbindmounts: Option<bool>,
}

impl HookFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        // From the text, so that errors have lines.
        match value.get("version").map(Value::as_str) {
            Some(Some("1.0.0")) => {
                let written = serde_json::from_str(text).map_err(|error| error.to_string())?;
                Self::of(written)
            }
            None | Some(Some("" | "0.1.0")) => {
                let old = serde_json::from_str(text).map_err(|error| error.to_string())?;
                Self::of_old(old)
            }
            _ => Err(format!(
                "version {} is not known; there is \"1.0.0\"",
                value["version"]
            )),
        }
    }

    fn of(written: Written) -> Result<Self, String> {
        let Written {
            hook, when, stages, ..
        } = written;
        if hook.timeout.is_some_and(|timeout| timeout <= 0) {
            return Err("hook.timeout must be above 0 seconds".to_owned());
        }
        if let Some(variable) = hook.env.iter().find(|variable| !variable.contains('=')) {
            return Err(format!(
                "hook.env: {variable:?} is no variable: NAME=VALUE is wanted"
            ));
        }
        let pair = |(key, value): (&String, &String)| {
            Ok((
                pattern("when.annotations", key)?,
                pattern("when.annotations", value)?,
            ))
        };
        let when = When {
            any: false,
            always: when.always,
            has_bind_mounts: when.has_bind_mounts,
            annotations: when
                .annotations
                .iter()
                .map(pair)
                .collect::<Result<_, String>>()?,
            commands: patterns("when.commands", &when.commands)?,
        };
        if when.always.is_none()
            && when.has_bind_mounts.is_none()
            && when.annotations.is_empty()
            && when.commands.is_empty()
        {
            return Err("when has no condition, so the hook would never be given: \"always\": true is wanted?".to_owned());
        }
        let hook = api::Hook {
            path: hook.path.into(),
            args: hook.args,
            env: hook.env,
            timeout: hook.timeout.map(|value| api::OptionalInt { value }),
        };
        Ok(Self { hook, when, stages })
    }

    fn of_old(old: Old) -> Result<Self, String> {
        let path = String::from(old.hook);
        let args = old.arguments.map(|arguments| {
            let own = std::iter::once(path.clone());
            own.chain(arguments).collect()
        });
        let annotations = match old.annotations.is_empty() {
            true => Vec::new(),
            false => {
                let any = old.annotations.join("|");
                vec![(pattern("annotations", ".*")?, pattern("annotations", &any)?)]
            }
        };
        Ok(Self {
            hook: api::Hook {
                path,
                args: args.unwrap_or_default(),
                ..Default::default()
            },
            when: When {
                any: true,
                always: None,
                has_bind_mounts: old.hasbindmounts,
                annotations,
                commands: patterns("cmds", &old.cmds)?,
            },
            stages: old.stages,
        })
    }

    /// The program.
    pub(crate) fn path(&self) -> &str {
        &self.hook.path
    }

    /// Whether a container is to have it.
    pub(crate) fn is_for(&self, subject: &Subject<'_>) -> bool {
        self.when.holds(subject)
    }

    /// Adds it at its stages.
    pub(crate) fn add_to(&self, hooks: &mut api::Hooks) {
        for stage in &self.stages {
            let list = match stage {
                Stage::CreateRuntime => &mut hooks.create_runtime,
                Stage::CreateContainer => &mut hooks.create_container,
                Stage::StartContainer => &mut hooks.start_container,
                Stage::Poststart => &mut hooks.poststart,
                Stage::Poststop => &mut hooks.poststop,
            };
            list.push(self.hook.clone());
        }
    }
}

impl When {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        let flags = [
            self.always,
            self.has_bind_mounts
                .map(|wanted| wanted && subject.has_bind_mounts),
        ];
        let annotations = self.annotations.iter().map(|(key, value)| {
            let mut all = subject.annotations.iter();
            all.any(|(k, v)| key.is_match(k) && value.is_match(v))
        });
        let commands = (!self.commands.is_empty()).then(|| {
            let command = subject.command.unwrap_or_default();
            subject.command.is_some()
                && self
                    .commands
                    .iter()
                    .any(|pattern| pattern.is_match(command))
        });
        let mut conditions = flags
            .into_iter()
            .flatten()
            .chain(annotations)
            .chain(commands);
        match self.any {
            true => conditions.any(|holds| holds),
            // There is one at least.
            false => conditions.all(|holds| holds),
        }
    }
}

fn patterns(key: &str, texts: &[String]) -> Result<Vec<Regex>, String> {
    texts.iter().map(|text| pattern(key, text)).collect()
}

fn pattern(key: &str, text: &str) -> Result<Regex, String> {
    let built = regex::RegexBuilder::new(text)
        .size_limit(MOST_OF_A_PATTERN)
        .build();
    built.map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim();
        format!("{key}: {text:?} is no regular expression: {reason}")
    })
}
