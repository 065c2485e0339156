//! A runtime and a plugin library that are tried together, and what cases need of them.

use serde_json::{Value, json};

use super::plugin::{self, Plugin};
use super::runtime::{self, Runtime};
use super::schema::{Schema, differences};
use super::scratch::{CaseDir, Scratch};

/// One cell of the matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pairing<'a> {
    pub(super) scratch: &'a Scratch,
    pub(super) runtime: runtime::Kind<'a>,
    pub(super) plugin: plugin::Kind<'a>,
    /// What the runtime knows of the protocol. Ours knows what the newest release knows.
    pub(super) runtime_schema: &'a Schema,
}

/// The name and index of the plugin, if there is but one.
pub(super) const INDEX: &str = "10";
pub(super) const NAME: &str = "scripted";
pub(super) const ID: &str = "10-scripted";

impl Pairing<'_> {
    /// Whether both sides know the events of v0.10 and later.
    pub(super) fn validates(&self) -> bool {
        self.runtime.validates() && self.plugin.level().release.validates
    }

    /// Whether both sides know synchronisation in several messages.
    pub(super) fn splits(&self) -> bool {
        self.runtime.splits() && self.plugin.level().release.splits
    }

    /// Whether both sides know failure policies.
    pub(super) fn wishes(&self) -> bool {
        self.runtime.wishes() && self.plugin.level().release.wishes
    }

    /// A message with every field set that the runtime knows; `change` makes it particular.
    pub(super) fn full(&self, message: &str, change: Value) -> Result<Value, String> {
        // The plugin may be the older one, so this is not asked of it.
        let mut full = match (self.runtime, self.plugin) {
            (runtime::Kind::Go(built), _) | (_, plugin::Kind::Ours(built)) => {
                built.full(message)?
            }
            (_, plugin::Kind::Go(built)) => built.full(message)?,
        };
        if let (Some(members), Value::Object(change)) = (full.as_object_mut(), change) {
            members.extend(change);
        }
        Ok(full)
    }

    /// What comes through of a message: the fields that both sides know.
    pub(super) fn passed(&self, message: &str, value: &Value) -> Value {
        let known = self.runtime_schema.known(message, value);
        self.plugin.level().schema.known(message, &known)
    }

    pub(super) fn start_runtime(&self, case_dir: &CaseDir) -> Result<Runtime, String> {
        Runtime::start(self.scratch, self.runtime, case_dir)
    }

    pub(super) fn start_plugin(
        &self,
        case_dir: &CaseDir,
        index: &str,
        name: &str,
    ) -> Result<Plugin, String> {
        Plugin::start(self.scratch, self.plugin, case_dir, index, name)
    }

    /// A runtime that listens, with one plugin that is ready and that nothing was said to yet.
    pub(super) fn pair(&self) -> Result<(CaseDir, Runtime, Plugin), String> {
        let case_dir = self.scratch.case_dir()?;
        let mut runtime = self.start_runtime(&case_dir)?;
        runtime.open()?;
        let mut plugin = self.start_plugin(&case_dir, INDEX, NAME)?;
        plugin.connect()?;
        runtime.wait_for_plugins(1)?;
        plugin.heard()?;
        Ok((case_dir, runtime, plugin))
    }
}

/// A plain pod.
pub(super) fn pod(id: &str) -> Value {
    json!({"id": id, "name": format!("{id}-name"), "uid": format!("{id}-uid"), "namespace": "interop"})
}

/// A plain container.
pub(super) fn container(id: &str, pod: &str) -> Value {
    json!({"id": id, "podSandboxId": pod, "name": format!("{id}-name"), "args": ["sleep", "inf"], "env": ["A=1"]})
}

/// The members of commands that bring a container along.
pub(super) fn with_container(container: Value) -> Value {
    json!({"pod_id": container["podSandboxId"], "container": container})
}

/// Checks that something is as expected.
pub(super) fn expect<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    expected: T,
) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: found {found:?}, expected {expected:?}"))
    }
}

/// How many differences are told.
const TOLD: usize = 12;

/// Checks that a JSON value is as expected, member by member.
pub(super) fn same(what: &str, found: &Value, expected: &Value) -> Result<(), String> {
    let mut all = differences(what, found, expected);
    if all.is_empty() {
        return Ok(());
    }
    let count = all.len();
    all.truncate(TOLD);
    if count > TOLD {
        all.push(format!("and {} more", count - TOLD));
    }
    Err(all.join("\n"))
}

/// The names of the events in a report.
pub(super) fn names(heard: &[Value]) -> Vec<&str> {
    heard
        .iter()
        .filter_map(|line| line["event"].as_str())
        .collect()
}

/// The only line about an event in a report.
pub(super) fn only<'v>(heard: &'v [Value], event: &str) -> Result<&'v Value, String> {
    let mut lines = heard.iter().filter(|line| line["event"] == event);
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line),
        (None, _) => Err(format!("{event} was not heard, but {:?}", names(heard))),
        (Some(_), Some(_)) => Err(format!("{event} was heard twice")),
    }
}
