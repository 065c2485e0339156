//! The members of one command: read one by one, with errors that say what would be right.

use std::collections::BTreeSet;

use nri_core::api;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use super::command::{Command, End};
use super::nearest::nearest;
use super::table::Spec;
use crate::DomainOperation;

/// The members of a command that are not read yet.
pub(super) struct Members {
    spec: &'static Spec,
    /// The names of all, read or not.
    present: BTreeSet<String>,
    members: Map<String, Value>,
}

impl Members {
    pub(super) fn new(spec: &'static Spec, members: Map<String, Value>) -> Self {
        Self {
            spec,
            present: members.keys().cloned().collect(),
            members,
        }
    }

    fn what(&self, name: &str) -> &'static str {
        let member = self.spec.members.iter().find(|member| member.name == name);
        member.map_or("not one of its members", |member| member.what)
    }

    pub(super) fn optional<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, String> {
        match self.members.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value).map(Some).map_err(|error| {
                format!(
                    "\"{name}\" of {}: {}. It is {}",
                    self.spec.name,
                    in_plain_words(&error),
                    self.what(name)
                )
            }),
        }
    }

    fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, String> {
        let value = self.optional(name)?;
        value.ok_or_else(|| self.missing(name))
    }

    /// What to say of a member that is missing, or of one that was written in another way.
    fn missing(&self, name: &str) -> String {
        let written = nearest(name, self.members.keys().map(String::as_str));
        let written = written.map(|written| {
            format!(
                " (there is {}, which is not the same)",
                shown(&written.into())
            )
        });
        format!(
            "{} needs \"{name}\"{}: {}. Write {}",
            self.spec.name,
            written.unwrap_or_default(),
            self.what(name),
            self.spec.example
        )
    }

    pub(super) fn id(&mut self, name: &str) -> Result<String, String> {
        let id: String = self.required(name)?;
        match id.is_empty() {
            true => Err(format!(
                "\"{name}\" of {} is empty: it is {}",
                self.spec.name,
                self.what(name)
            )),
            false => Ok(id),
        }
    }

    /// A number, which may be written as a text, as those of messages may.
    pub(super) fn number<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, String> {
        let text = self.members.get(name).and_then(Value::as_str);
        let number = text.and_then(|text| text.parse::<Number>().ok());
        if let Some(number) = number {
            self.members.insert(name.to_owned(), Value::Number(number));
        }
        self.optional(name)
    }

    pub(super) fn pod(&mut self) -> Result<api::PodSandbox, String> {
        let pod: api::PodSandbox = self.required("pod")?;
        match pod.id.is_empty() {
            true => Err(format!(
                "the pod of {} needs an \"id\". Write {}",
                self.spec.name, self.spec.example
            )),
            false => Ok(pod),
        }
    }

    /// A container that says which pod it is in.
    pub(super) fn container(&mut self) -> Result<api::Container, String> {
        let name = self.spec.name;
        let mut container: api::Container = self.required("container")?;
        if container.id.is_empty() {
            return Err(format!(
                "the container of {name} needs an \"id\". Write {}",
                self.spec.example
            ));
        }
        let said = container.pod_sandbox_id.clone();
        // The container may say it itself; then it need not be said twice.
        let pod_id: Option<String> = self
            .optional("pod_id")?
            .filter(|id: &String| !id.is_empty());
        container.pod_sandbox_id = match pod_id {
            None if said.is_empty() => return Err(self.missing("pod_id")),
            None => said,
            Some(pod_id) if said.is_empty() || said == pod_id => pod_id,
            Some(pod_id) => {
                return Err(format!(
                    "{name} says pod_id {pod_id:?}, and the container says podSandboxId {said:?}: leave one out, or make them equal"
                ));
            }
        };
        Ok(container)
    }

    pub(super) fn end(&mut self) -> Result<End, String> {
        Ok(End {
            exit_code: self.number("exit_code")?,
            finished_at: self.number("finished_at")?,
            reason: self.optional("reason")?,
        })
    }

    pub(super) fn fail(&mut self) -> Result<Command, String> {
        let container_id = self.id("container_id")?;
        let what: String = self.required("what")?;
        let what = match what.as_str() {
            "update" => DomainOperation::Update,
            "evict" => DomainOperation::Evict,
            other => {
                return Err(format!(
                    "\"what\" of fail is {}; it can be \"update\" or \"evict\"",
                    shown(&other.into())
                ));
            }
        };
        let reason: Option<String> = self.optional("reason")?;
        let reason = reason.unwrap_or_else(|| "refused because of a `fail` command".to_owned());
        Ok(Command::Fail {
            container_id,
            what,
            reason,
        })
    }

    pub(super) fn nothing_left(&self) -> Result<(), String> {
        let Some(name) = self.members.keys().next() else {
            return Ok(());
        };
        let own: Vec<&str> = self.spec.members.iter().map(|member| member.name).collect();
        let all = own.iter().copied().chain(["async", "id"]);
        let near = nearest(name, all.clone().filter(|own| !self.present.contains(*own)));
        let near = near
            .map(|near| format!("; did you mean \"{near}\"?"))
            .unwrap_or_else(|| ".".to_owned());
        let all: Vec<&str> = all.collect();
        Err(format!(
            "{} has no member {}{near} It has cmd, {}. Write {}",
            self.spec.name,
            shown(&name.as_str().into()),
            all.join(", "),
            self.spec.example
        ))
    }
}

/// What people write in a message and what it is called there, where the two do not look alike.
const CALLED: [(&str, &str); 4] = [
    ("pod_id", "podSandboxId"),
    ("pod", "podSandboxId"),
    ("environment", "env"),
    ("command", "args"),
];

/// What is wrong with a message. Of a field that there is not, the one that may be meant instead of
/// all that there are.
pub(super) fn in_plain_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let Some((_, rest)) = text.split_once("unknown field `") else {
        return text;
    };
    let Some((field, rest)) = rest.split_once('`') else {
        return text;
    };
    let there: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    let called = CALLED
        .iter()
        .find(|(said, name)| *said == field && there.contains(name));
    let near = called.map(|(_, name)| *name);
    match near.or_else(|| nearest(field, there.iter().copied())) {
        Some(near) => format!("there is no field `{field}`; did you mean `{near}`?"),
        None => text,
    }
}

/// A value of the input in an error: as JSON, and not all of a long one.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
