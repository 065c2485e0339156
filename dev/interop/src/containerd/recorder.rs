//! A plugin that tells of every event, and what all of them together have to have heard.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::pods::{BEGINNING, END, Life};
use crate::pairing::names;
use crate::plugin;
use crate::program::{Program, TEST_TIMEOUT};
use crate::scratch::{CaseDir, Scratch};

/// Starts a plugin again whenever it has ended, as whoever supervises it does.
const AGAIN: &str = r#"while :; do "$@"; sleep 0.1; done"#;

/// A running plugin, with what it has told so far.
pub(super) struct Recorder {
    program: Program,
    /// Its identity, `NN-name`.
    pub(super) id: String,
    pub(super) heard: Vec<Value>,
}

impl Recorder {
    /// Starts a plugin that answers by rules. One on the reference's library, which ends with its
    /// connection, is started again and again if it is `supervised`.
    pub(super) fn start(
        scratch: &Scratch,
        kind: plugin::Kind<'_>,
        place: &CaseDir,
        identity: [&str; 2],
        rules: &Value,
        supervised: bool,
    ) -> Result<Self, String> {
        let plugin = plugin::recording(kind, place, identity, rules)?;
        let mut command = match kind {
            plugin::Kind::Go(_) if supervised => {
                let mut command = Command::new("sh");
                command.args(["-c", AGAIN, "sh"]).arg(plugin.get_program());
                command.args(plugin.get_args());
                command
            }
            _ => plugin,
        };
        let id = identity.join("-");
        Ok(Self {
            program: Program::start(scratch, &format!("plugin {id} ({kind})"), &mut command)?,
            id,
            heard: Vec::new(),
        })
    }

    /// Waits until it has told of something.
    pub(super) fn wait_for(
        &mut self,
        what: &str,
        is_it: impl Fn(&[Value]) -> bool,
    ) -> Result<(), String> {
        while !is_it(&self.heard) {
            match self.program.answer(TEST_TIMEOUT) {
                Ok(line) => self.heard.push(line),
                Err(error) => {
                    let last = self.heard.iter().rev().take(12).cloned();
                    let last: Vec<Value> = last.collect();
                    return Err(format!(
                        "plugin {}, waiting for {what}, which it does not hear of: {error}\nit heard last, backwards: {:?}",
                        self.id,
                        names(&last)
                    ));
                }
            }
        }
        Ok(())
    }

    /// Waits until it was shown what exists so many times.
    pub(super) fn wait_for_synchronization(&mut self, times: usize) -> Result<(), String> {
        self.wait_for(&format!("Synchronize {times}"), |heard| {
            let all = names(heard);
            all.into_iter()
                .filter(|name| *name == "Synchronize")
                .count()
                >= times
        })
    }

    /// Waits for an event about a pod or a container.
    pub(super) fn wait_for_event(&mut self, event: &str, id: &str) -> Result<(), String> {
        self.wait_for(&format!("{event} of {id}"), |heard| {
            let is_it = |line: &Value| line["event"] == event && subject(line) == id;
            heard.iter().any(is_it)
        })
    }

    /// The containers that it was shown the last time.
    pub(super) fn shown(&self) -> BTreeSet<&str> {
        let shown = self.heard.iter().rev();
        let shown = shown.filter(|line| line["event"] == "Synchronize");
        let containers = shown
            .take(1)
            .flat_map(|line| line["containers"].as_array())
            .flatten();
        containers
            .filter_map(|container| container["id"].as_str())
            .collect()
    }

    /// Reads on until it has ended by itself.
    pub(super) fn ended(self) -> Result<Vec<Value>, String> {
        let (lines, _) = self.program.finish()?;
        let lines = lines.iter().map(|line| serde_json::from_str(line));
        let more: Vec<Value> = lines
            .collect::<Result<_, _>>()
            .map_err(|e| format!("plugin {}: {e}", self.id))?;
        Ok(self.heard.into_iter().chain(more).collect())
    }

    /// Kills it, and who starts it again; what it told.
    pub(super) fn ended_by_force(self) -> Result<Vec<Value>, String> {
        self.program.kill()?;
        Ok(self.heard)
    }
}

/// What an event is about.
fn subject(line: &Value) -> &str {
    let id = |member: &str| line[member]["id"].as_str();
    let container = id("container").filter(|_| !is_of_pod(line["event"].as_str()));
    container.or_else(|| id("pod")).unwrap_or_default()
}

fn is_of_pod(event: Option<&str>) -> bool {
    event.is_some_and(|event| event.ends_with("PodSandbox"))
}

/// Checks that a plugin heard of each life what it had to, each event once, and nothing at all
/// twice; how many events that were.
pub(super) fn counted(plugin: &str, heard: &[Value], lives: &[Life]) -> Result<usize, String> {
    let all: Vec<&str> = BEGINNING.iter().chain(END).copied().collect();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in heard {
        let event = line["event"].as_str().unwrap_or_default();
        if all.contains(&event) {
            *counts.entry((event, subject(line))).or_default() += 1;
        }
    }
    let twice = counts.iter().filter(|(_, count)| **count > 1);
    let mut wrong: Vec<String> = twice
        .map(|((event, id), count)| format!("{event} of {id} came {count} times"))
        .collect();
    let mut events = 0;
    for life in lives {
        for event in &all {
            let id = match is_of_pod(Some(event)) {
                true => &life.pod,
                false => &life.container,
            };
            let found = counts.get(&(*event, id.as_str())).copied().unwrap_or(0);
            match (life.told.contains(event), found) {
                (true, 0) => wrong.push(format!("{event} of {} ({id}) did not come", life.name)),
                (false, 1..) => wrong.push(format!("{event} of {} ({id}) came", life.name)),
                (_, found) => events += found,
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(events),
        false => Err(format!("plugin {plugin}: {}", wrong.join("; "))),
    }
}
