//! The file of a scenario.

use std::collections::BTreeSet;
use std::path::Path;

use nri_adaptation::Config;
use nri_adaptation::config::ConfigError;
use nri_core::{PluginId, api};
use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use super::asked::{self, Asked};
use super::identity::plugin_id;
use crate::named_file::read_file;
use crate::sim::error::SimError;
use crate::sim::members::in_plain_words;
use crate::sim::request::Request;
use crate::sim::table::COMMANDS;

/// What is played.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it shows, in a few words.
    pub name: String,
    /// The runtime's configuration.
    pub config: Config,
    /// Whether pods and containers may run again after a stop.
    pub restartable: bool,
    /// The plugins that are connected.
    pub plugins: Vec<PluginEntry>,
    /// Pods that are there before plugins come.
    pub pods: Vec<api::PodSandbox>,
    /// Containers that are there before plugins come.
    pub containers: Vec<api::Container>,
    /// What happens.
    pub steps: Vec<Step>,
    /// What is expected of the state in the end: pods and containers by id.
    pub expect: Map<String, Value>,
    /// What must not be there in the end.
    pub expect_absent: Vec<String>,
}

/// A plugin that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginEntry {
    /// Who it is.
    pub id: PluginId,
    /// How it is started, for a shell; absent if someone else starts it.
    pub command: Option<String>,
    /// The configuration that the runtime has for it.
    pub config: String,
}

/// Something that happens, and what is expected to come of it.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its line in the file.
    pub line: usize,
    /// What happens.
    pub action: Action,
    /// What plugins that nri-sim plays itself ask for in it.
    pub asked: Vec<Asked>,
    /// What is expected of the result.
    pub expect: Map<String, Value>,
    /// What must not be in the result.
    pub expect_absent: Vec<String>,
}

/// What can happen in a step.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // a scenario has few
pub enum Action {
    /// A command to the runtime.
    Command(Request),
    /// A plugin that was started here is to print a line with a text in it.
    Output {
        /// The plugin.
        plugin: PluginId,
        /// The text.
        contains: String,
        /// How long it may take.
        timeout_ms: u64,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<String>,
    #[serde(default)]
    restartable: bool,
    #[serde(default)]
    runtime: toml::Table,
    #[serde(default)]
    plugins: Vec<Spanned<PluginTable>>,
    #[serde(default)]
    pods: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    containers: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    steps: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    expect: toml::Table,
    #[serde(default)]
    expect_absent: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginTable {
    id: String,
    command: Option<String>,
    #[serde(default)]
    config: String,
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is no scenario.
    pub fn load(path: &Path) -> Result<Self, SimError> {
        let wrong = |reason: String| SimError::Setup {
            path: path.to_owned(),
            reason,
        };
        let text = read_file(path).map_err(|error| wrong(error.to_string()))?;
        let mut scenario = Self::read(&text).map_err(wrong)?;
        if scenario.name.is_empty() {
            scenario.name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
        }
        Ok(scenario)
    }

    /// Reads a scenario from TOML.
    ///
    /// ```
    /// use nri_testkit::sim::Scenario;
    ///
    /// let scenario = Scenario::read(r#"
    ///     [[plugins]]
    ///     id = "50-annotate"
    ///
    ///     [[steps]]
    ///     cmd = "run-pod"
    ///     pod = { id = "p1" }
    ///
    ///     [expect]
    ///     pods.p1.ready = true
    /// "#)?;
    /// assert_eq!(scenario.steps.len(), 1);
    ///
    /// let error = Scenario::read("[[steps]]\ncmd = 'run-pad'").unwrap_err();
    /// assert!(error.starts_with("line 1: there is no command \"run-pad\"; did you mean \"run-pod\"?"));
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn read(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let line = |at: usize| ends.partition_point(|end| *end < at) + 1;
        let at = |at: usize, reason: String| format!("line {}: {reason}", line(at));
        let mut plugins: Vec<PluginEntry> = Vec::new();
        let mut identities = BTreeSet::new();
        for table in file.plugins {
            let start = table.span().start;
            let PluginTable {
                id,
                command,
                config,
            } = table.into_inner();
            let id = plugin_id(&id).map_err(|reason| at(start, reason))?;
            if !identities.insert(id.clone()) {
                return Err(at(start, format!("plugin {id} is there twice")));
            }
            plugins.push(PluginEntry {
                id,
                command,
                config,
            });
        }
        let mut pods = Vec::new();
        for table in file.pods {
            let start = table.span().start;
            let pod: api::PodSandbox = message(table.into_inner())
                .map_err(|reason| at(start, format!("pod: {reason}")))?;
            if pod.id.is_empty() {
                return Err(at(start, "the pod needs an `id`".to_owned()));
            }
            pods.push(pod);
        }
        let mut containers = Vec::new();
        for table in file.containers {
            let start = table.span().start;
            let mut table = table.into_inner();
            // As in `add-container`, the pod may be named beside what the message has.
            let pod = table.remove("pod_id");
            let mut container: api::Container =
                message(table).map_err(|reason| at(start, format!("container: {reason}")))?;
            match pod {
                None => {}
                Some(toml::Value::String(pod)) if container.pod_sandbox_id.is_empty() => {
                    container.pod_sandbox_id = pod;
                }
                Some(pod) => {
                    return Err(at(
                        start,
                        format!(
                            "the container's `pod_id` is {pod}: write the id of its pod as a text, and once"
                        ),
                    ));
                }
            }
            if container.id.is_empty() || container.pod_sandbox_id.is_empty() {
                return Err(at(
                    start,
                    "the container needs an `id`, and the id of its pod in `pod_id` (or `podSandboxId`)"
                        .to_owned(),
                ));
            }
            containers.push(container);
        }
        let mut steps = Vec::new();
        for table in file.steps {
            let start = table.span().start;
            let step = step(table.into_inner(), line(start));
            let step = step.map_err(|reason| at(start, reason))?;
            let mut asked = step.asked.iter();
            if let Some(asked) = asked.find(|asked| identities.contains(&asked.plugin)) {
                let plugin = &asked.plugin;
                return Err(at(
                    start,
                    format!(
                        "plugin {plugin} is one of [[plugins]], so nri-sim cannot play it: give what is `asked` another name"
                    ),
                ));
            }
            steps.push(step);
        }
        Ok(Self {
            name: file.name.unwrap_or_default(),
            config: config(file.runtime)?,
            restartable: file.restartable,
            plugins,
            pods,
            containers,
            steps,
            expect: object(file.expect)?,
            expect_absent: file.expect_absent,
        })
    }
}

/// A table as JSON.
fn object(table: toml::Table) -> Result<Map<String, Value>, String> {
    match serde_json::to_value(table) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(other) => Err(format!("{other} is no table")),
        Err(error) => Err(error.to_string()),
    }
}

fn message<T: serde::de::DeserializeOwned>(table: toml::Table) -> Result<T, String> {
    serde_json::from_value(Value::Object(object(table)?)).map_err(|error| in_plain_words(&error))
}

fn config(table: toml::Table) -> Result<Config, String> {
    let restart = table.keys().any(|key| key.eq_ignore_ascii_case("restart"));
    // Lines of this text are not lines of the file.
    let config = Config::from_toml(&table.to_string()).map_err(|error| match error {
        ConfigError::Unknown(unknown) => {
            let near = unknown
                .nearest
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            format!("[runtime]: unknown key `{}`{near}", unknown.key)
        }
        ConfigError::Invalid { key, reason, .. } => format!("[runtime]: key `{key}`: {reason}"),
        other => format!("[runtime]: {other}"),
    });
    let mut config = config?;
    // A plugin that ends in the middle of a scenario is to be missed.
    config.restart &= restart;
    Ok(config)
}

fn step(table: toml::Table, line: usize) -> Result<Step, String> {
    let mut members = object(table)?;
    let expect = match members.remove("expect") {
        None => Map::new(),
        Some(Value::Object(expect)) => expect,
        Some(other) => {
            return Err(format!(
                "`expect` is a table of what is in the result, not {other}"
            ));
        }
    };
    let expect_absent = match members.remove("expect_absent") {
        None => Vec::new(),
        Some(list) => serde_json::from_value(list).map_err(|error| {
            format!("`expect_absent` is a list of places such as \"/adjustment/mounts\": {error}")
        })?,
    };
    let asked = members.remove("asked");
    let action = match members.get("cmd").and_then(Value::as_str) {
        Some(EXPECT_OUTPUT) => output(members)?,
        _ => command(members)?,
    };
    let asked = match (asked, &action) {
        (None, _) => Vec::new(),
        (Some(asked), Action::Command(request)) => asked::read(request.name, asked)?,
        (Some(asked), Action::Output { .. }) => asked::read(EXPECT_OUTPUT, asked)?,
    };
    Ok(Step {
        line,
        action,
        asked,
        expect,
        expect_absent,
    })
}

/// The step that is no command of `serve`.
const EXPECT_OUTPUT: &str = "expect-output";

fn command(members: Map<String, Value>) -> Result<Action, String> {
    let request = Request::of_members(members).map_err(|bad| bad.reason)?;
    if request.asynchronous {
        return Err("`async` is for `nri-sim serve`: steps happen one after the other".to_owned());
    }
    if request.name == "quit" {
        return Err("`quit` is for `nri-sim serve`: a scenario ends with its last step".to_owned());
    }
    debug_assert!(COMMANDS.iter().any(|spec| spec.name == request.name));
    Ok(Action::Command(request))
}

fn output(members: Map<String, Value>) -> Result<Action, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Output {
        #[serde(rename = "cmd")]
        _cmd: String,
        plugin: String,
        contains: String,
        #[serde(default = "five_seconds")]
        timeout_ms: u64,
    }
    fn five_seconds() -> u64 {
        5000
    }
    let output: Output = serde_json::from_value(Value::Object(members)).map_err(|error| {
        format!("{EXPECT_OUTPUT} takes `plugin`, `contains` and `timeout_ms`: {error}")
    })?;
    Ok(Action::Output {
        plugin: plugin_id(&output.plugin)?,
        contains: output.contains,
        timeout_ms: output.timeout_ms.min(3_600_000),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law: messages are written as in proto3 JSON, in which a number may be a text.
    #[test]
    fn a_number_of_a_message_may_be_a_text() {
        let read = |shares: &str| {
            let text = format!(
                "[[containers]]\nid = 'x'\npod_id = 'p'\nlinux.resources.cpu.shares.value = {shares}"
            );
            Scenario::read(&text).map(|scenario| scenario.containers)
        };
        let written = read("512").unwrap();
        for same in ["'512'", "512.0", "'5.12e2'"] {
            assert_eq!(read(same).unwrap(), written, "{same}");
        }
        for wrong in ["'1Gi'", "''", "'-1'", "-1", "0.5", "' 1'", "1e30", "true"] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("cpu.shares.value"), "{wrong}: {error}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, says) in [
            ("stepz = 1", "stepz"),
            ("\n[[steps]]\npod = {}", "line 2: \"cmd\" is missing"),
            ("[[steps]]\ncmd = 'stop-pod'", "needs \"pod_id\""),
            ("[[steps]]\ncmd = 'quit'", "last step"),
            (
                "[[steps]]\ncmd = 'state'\nasync = true",
                "one after the other",
            ),
            (
                "[[steps]]\ncmd = 'state'\nexpect = 3",
                "`expect` is a table",
            ),
            (
                "[[steps]]\ncmd = 'state'\nexpect_absent = 3",
                "/adjustment/mounts",
            ),
            ("[[steps]]\ncmd = 'expect-output'", "`contains`"),
            ("[[plugins]]\nid = 'logger'", "10-logger"),
            (
                "[[plugins]]\nid = '10-a'\n[[plugins]]\nid = '10-a'",
                "line 3: plugin 10-a is there twice",
            ),
            ("[[pods]]\nname = 'x'", "needs an `id`"),
            ("[[pods]]\nid = 'x'\nlables = {}", "did you mean `labels`?"),
            (
                "[[containers]]\nid = 'x'\npod_id = 7",
                "line 1: the container's `pod_id` is 7",
            ),
            (
                "[[steps]]\ncmd = 'create-container'\ncontainer = { id = 'x', pod_id = 'p' }",
                "did you mean `podSandboxId`?",
            ),
            ("[[containers]]\nid = 'x'", "podSandboxId"),
            (
                "[[containers]]\nid = 'x'\npod_id = 'p'\nlinux.resources.cpu.shares = '512'",
                "invalid type: string \"512\", expected an object with `value` in it, the message OptionalUInt64, for \
                 `linux.resources.cpu.shares`",
            ),
            (
                "[[steps]]\ncmd = 'state'\nasked.10-a = {}",
                "line 1: `asked` is for create-container",
            ),
            (
                "[[steps]]\ncmd = 'stop-container'\ncontainer_id = 'c'\nasked.a = {}",
                "10-logger",
            ),
            (
                "[[steps]]\ncmd = 'stop-container'\ncontainer_id = 'c'\nasked.10-a.adjust = {}",
                "asked.10-a: unknown field `adjust`",
            ),
            (
                "[[plugins]]\nid = '10-a'\n[[steps]]\ncmd = 'stop-container'\ncontainer_id = 'c'\nasked.10-a = {}",
                "line 3: plugin 10-a is one of [[plugins]]",
            ),
            ("[runtime]\nsocket_pth = 'x'", "did you mean `socket_path`?"),
            (
                "[runtime]\nplugin_strikes = 0",
                "[runtime]: key `plugin_strikes`",
            ),
            ("[", "TOML"),
        ] {
            let error = Scenario::read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
