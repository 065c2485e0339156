//! How a line of `nri-sim serve` becomes a [`Command`].
//!
//! [`COMMANDS`] says what each of them takes. What may not enter: what commands do.

use std::time::Duration;

use serde_json::{Map, Value};

use super::command::{Command, Start};
use super::distinct;
use super::members::{Members, shown};
use super::nearest::nearest;
use super::table::{COMMANDS, Spec};

/// How long `wait-plugins` waits if it does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// The longest time that a command may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The names of all commands, for errors.
fn names() -> String {
    let names: Vec<&str> = COMMANDS.iter().map(|spec| spec.name).collect();
    names.join(", ")
}

/// A line that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What comes back with the result.
    pub id: Option<Value>,
    /// Whether later commands need not wait for this one.
    pub asynchronous: bool,
    /// The command's name.
    pub name: &'static str,
    /// The command.
    pub command: Command,
}

/// A line that was not understood, with what could be made out of it.
#[derive(Debug, Clone, PartialEq)]
pub struct BadRequest {
    /// What comes back with the result.
    pub id: Option<Value>,
    /// The command's name.
    pub name: Option<String>,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Request {
    /// Reads a line.
    ///
    /// ```
    /// use nri_testkit::sim::{Command, Request};
    ///
    /// let request = Request::read(r#"{"cmd":"stop-pod","pod_id":"p1","id":7}"#).unwrap();
    /// assert_eq!(request.command, Command::StopPod { pod_id: "p1".into() });
    ///
    /// let bad = Request::read(r#"{"cmd":"stop_pod","pod_id":"p1"}"#).unwrap_err();
    /// assert!(bad.reason.contains("did you mean \"stop-pod\"?"));
    /// ```
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(line: &str) -> Result<Self, BadRequest> {
        let bad = |reason| BadRequest {
            id: None,
            name: None,
            reason,
        };
        let value = distinct::parse(line).map_err(|error| {
            bad(match error.is_data() {
                true => format!("in this line {error}: write each member once"),
                false => format!(
                    "this line is no JSON ({error}): write one object per line, such as {}",
                    COMMANDS[0].example
                ),
            })
        })?;
        let Value::Object(members) = value else {
            return Err(bad(format!(
                "this line is JSON but no object: write {}",
                COMMANDS[0].example
            )));
        };
        Self::of_members(members)
    }

    /// Reads the members of a line.
    pub(super) fn of_members(mut members: Map<String, Value>) -> Result<Self, BadRequest> {
        let id = members.remove("id");
        let name = members.remove("cmd");
        let said = match &name {
            Some(Value::String(name)) => Some(name.clone()),
            _ => None,
        };
        Self::of_command(id.clone(), said.as_deref(), name.is_some(), members).map_err(|reason| {
            BadRequest {
                id,
                name: said,
                reason,
            }
        })
    }

    fn of_command(
        id: Option<Value>,
        name: Option<&str>,
        has_name: bool,
        mut members: Map<String, Value>,
    ) -> Result<Self, String> {
        let Some(name) = name else {
            return Err(match has_name {
                true => format!(
                    "\"cmd\" is no text: it is the name of a command, one of {}",
                    names()
                ),
                false => format!(
                    "\"cmd\" is missing: it is the name of a command, one of {}",
                    names()
                ),
            });
        };
        let spec = find(name)?;
        let asynchronous = match members.remove("async") {
            None => false,
            Some(Value::Bool(asynchronous)) => asynchronous,
            Some(other) => {
                return Err(format!("\"async\" is true or false, not {}", shown(&other)));
            }
        };
        let command = read_command(spec, members)?;
        Ok(Self {
            id,
            asynchronous,
            name: spec.name,
            command,
        })
    }
}

fn find(name: &str) -> Result<&'static Spec, String> {
    if let Some(spec) = COMMANDS.iter().find(|spec| spec.name == name) {
        return Ok(spec);
    }
    let mut text = format!("there is no command {}", shown(&name.into()));
    match nearest(name, COMMANDS.iter().map(|spec| spec.name)) {
        Some(near) => text.push_str(&format!("; did you mean \"{near}\"?")),
        None => text.push('.'),
    }
    text.push_str(&format!(" The commands are {}", names()));
    Err(text)
}

fn read_command(spec: &'static Spec, members: Map<String, Value>) -> Result<Command, String> {
    let mut members = Members::new(spec, members);
    let m = &mut members;
    let command = match spec.name {
        "version" => Command::Version,
        "add-pod" => Command::AddPod { pod: m.pod()? },
        "add-container" => Command::AddContainer {
            container: m.container()?,
        },
        "wait-plugins" => Command::WaitPlugins {
            count: m.number("count")?.unwrap_or(1),
            timeout: m
                .number("timeout_ms")?
                .map_or(DEFAULT_WAIT, Duration::from_millis)
                .min(LONGEST_WAIT),
        },
        "plugins" => Command::Plugins,
        "run-pod" => Command::RunPod { pod: m.pod()? },
        "update-pod" => Command::UpdatePod {
            pod_id: m.id("pod_id")?,
            overhead: m.optional("overhead")?,
            resources: m.optional("resources")?,
        },
        "post-update-pod" => Command::PostUpdatePod {
            pod_id: m.id("pod_id")?,
        },
        "create-container" => Command::CreateContainer {
            container: m.container()?,
        },
        "abort-container" => Command::AbortContainer {
            container_id: m.id("container_id")?,
        },
        "post-create-container" => Command::PostCreateContainer {
            container_id: m.id("container_id")?,
        },
        "start-container" => Command::StartContainer {
            container_id: m.id("container_id")?,
            start: Start {
                pid: m.number("pid")?,
                started_at: m.number("started_at")?,
            },
        },
        "post-start-container" => Command::PostStartContainer {
            container_id: m.id("container_id")?,
        },
        "update-container" => Command::UpdateContainer {
            container_id: m.id("container_id")?,
            resources: m.optional("resources")?,
        },
        "post-update-container" => Command::PostUpdateContainer {
            container_id: m.id("container_id")?,
        },
        "fail" => m.fail()?,
        "state" => Command::State,
        "stop-container" => Command::StopContainer {
            container_id: m.id("container_id")?,
            end: m.end()?,
        },
        "container-exit" => Command::ContainerExit {
            container_id: m.id("container_id")?,
            end: m.end()?,
        },
        "remove-container" => Command::RemoveContainer {
            container_id: m.id("container_id")?,
        },
        "stop-pod" => Command::StopPod {
            pod_id: m.id("pod_id")?,
        },
        "remove-pod" => Command::RemovePod {
            pod_id: m.id("pod_id")?,
        },
        "quit" => Command::Quit,
        other => {
            return Err(format!(
                "{other} is in the table of commands and nowhere else"
            ));
        }
    };
    members.nothing_left()?;
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_understood_and_names_only_members_of_its_command() {
        for spec in COMMANDS {
            let request = Request::read(spec.example)
                .unwrap_or_else(|bad| panic!("{}: {}", spec.name, bad.reason));
            assert_eq!(request.name, spec.name);
            let Ok(Value::Object(members)) = serde_json::from_str(spec.example) else {
                panic!("{}", spec.example);
            };
            for member in spec.members {
                let bare = format!(r#"{{"cmd":{:?}}}"#, spec.name);
                if member.required {
                    assert!(
                        members.contains_key(member.name),
                        "{}: {}",
                        spec.name,
                        member.name
                    );
                    assert!(Request::read(&bare).is_err(), "{}", spec.name);
                }
            }
        }
    }

    #[test]
    fn ids_come_back_even_with_errors() {
        let bad = Request::read(r#"{"id":[1],"cmd":"lunch"}"#).unwrap_err();
        assert_eq!(
            (bad.id, bad.name.as_deref()),
            (Some(serde_json::json!([1])), Some("lunch"))
        );
    }

    #[test]
    fn a_container_may_say_its_pod_itself_but_not_another_one() {
        let read = |line| Request::read(line).map(|request| request.command);
        let Ok(Command::CreateContainer { container }) =
            read(r#"{"cmd":"create-container","container":{"id":"c","podSandboxId":"p"}}"#)
        else {
            panic!("it is a creation");
        };
        assert_eq!(container.pod_sandbox_id, "p");
        let bad = read(
            r#"{"cmd":"create-container","pod_id":"q","container":{"id":"c","podSandboxId":"p"}}"#,
        );
        assert!(bad.unwrap_err().reason.contains("make them equal"));
    }

    #[test]
    fn numbers_may_be_texts() {
        let read = |time| {
            Request::read(&format!(
                r#"{{"cmd":"start-container","container_id":"c","started_at":{time}}}"#
            ))
        };
        for time in ["1700000000000000000", r#""1700000000000000000""#] {
            let Command::StartContainer { start, .. } = read(time).unwrap().command else {
                panic!("it is a start");
            };
            assert_eq!(start.started_at, Some(1_700_000_000_000_000_000));
        }
        assert!(
            read(r#""noon""#)
                .unwrap_err()
                .reason
                .contains("nanoseconds")
        );
        for line in [
            r#"{"cmd":"wait-plugins","count":"2","timeout_ms":"5"}"#,
            r#"{"cmd":"start-container","container_id":"c","pid":"7"}"#,
            r#"{"cmd":"container-exit","container_id":"c","exit_code":"-1","finished_at":"9"}"#,
        ] {
            assert!(Request::read(line).is_ok(), "{line}");
        }
        for (value, says) in [
            (r#""-1""#, "invalid value: integer `-1`"),
            (r#""1.5""#, "invalid type: floating point `1.5`"),
            (r#"" 1""#, "invalid type: string"),
            (r#""""#, "invalid type: string"),
            ("1e30", "invalid type: floating point"),
        ] {
            let line = format!(r#"{{"cmd":"wait-plugins","count":{value}}}"#);
            let reason = Request::read(&line).unwrap_err().reason;
            assert!(
                reason.contains(says) && reason.contains("\"count\" of wait-plugins"),
                "{line}: {reason}"
            );
        }
    }
}
