//! Whether a document can be an OCI runtime spec: the types of the members that NRI reads or writes.
//!
//! A wrong type is refused once, at the door, with the member's name; what works on a spec afterwards may rely on it.

use std::fmt;

use serde_json::Value;

/// A member of an OCI spec that is not of the type that the spec gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no OCI runtime spec: {member} must be {expected}, and it is {found}")]
pub struct Malformed {
    /// The member, for example `process.env[3]`; `the document` for the whole.
    pub member: String,
    /// What it must be, in words.
    pub expected: &'static str,
    /// What it is, in words.
    pub found: &'static str,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Bool,
    Object(&'static [(&'static str, Kind)]),
    /// Any keys, values of one kind.
    Map(&'static Kind),
    List(&'static Kind),
}

use Kind::{Bool, List, Map, Number, Object, Text};

const HOOK: Kind = Object(&[
    ("path", Text),
    ("args", List(&Text)),
    ("env", List(&Text)),
    ("timeout", Number),
]);

const DEVICE_RULE: Kind = Object(&[
    ("allow", Bool),
    ("type", Text),
    ("major", Number),
    ("minor", Number),
    ("access", Text),
]);

const MEMORY: Kind = Object(&[
    ("limit", Number),
    ("reservation", Number),
    ("swap", Number),
    ("kernel", Number),
    ("kernelTCP", Number),
    ("swappiness", Number),
    ("disableOOMKiller", Bool),
    ("useHierarchy", Bool),
]);

const CPU: Kind = Object(&[
    ("shares", Number),
    ("quota", Number),
    ("period", Number),
    ("realtimeRuntime", Number),
    ("realtimePeriod", Number),
    ("cpus", Text),
    ("mems", Text),
]);

const RESOURCES: Kind = Object(&[
    ("memory", MEMORY),
    ("cpu", CPU),
    (
        "hugepageLimits",
        List(&Object(&[("pageSize", Text), ("limit", Number)])),
    ),
    ("unified", Map(&Text)),
    ("devices", List(&DEVICE_RULE)),
    ("pids", Object(&[("limit", Number)])),
    ("blockIO", Object(&[])),
]);

const SECCOMP: Kind = Object(&[
    ("defaultAction", Text),
    ("defaultErrnoRet", Number),
    ("architectures", List(&Text)),
    ("flags", List(&Text)),
    ("listenerPath", Text),
    ("listenerMetadata", Text),
    (
        "syscalls",
        List(&Object(&[
            ("names", List(&Text)),
            ("action", Text),
            ("errnoRet", Number),
            (
                "args",
                List(&Object(&[
                    ("index", Number),
                    ("value", Number),
                    ("valueTwo", Number),
                    ("op", Text),
                ])),
            ),
        ])),
    ),
]);

const PROCESS: Kind = Object(&[
    ("args", List(&Text)),
    ("env", List(&Text)),
    (
        "user",
        Object(&[
            ("uid", Number),
            ("gid", Number),
            ("additionalGids", List(&Number)),
        ]),
    ),
    (
        "rlimits",
        List(&Object(&[
            ("type", Text),
            ("hard", Number),
            ("soft", Number),
        ])),
    ),
    ("oomScoreAdj", Number),
    (
        "ioPriority",
        Object(&[("class", Text), ("priority", Number)]),
    ),
    (
        "scheduler",
        Object(&[
            ("policy", Text),
            ("nice", Number),
            ("priority", Number),
            ("flags", List(&Text)),
            ("runtime", Number),
            ("deadline", Number),
            ("period", Number),
        ]),
    ),
]);

const LINUX: Kind = Object(&[
    (
        "namespaces",
        List(&Object(&[("type", Text), ("path", Text)])),
    ),
    (
        "devices",
        List(&Object(&[
            ("path", Text),
            ("type", Text),
            ("major", Number),
            ("minor", Number),
            ("fileMode", Number),
            ("uid", Number),
            ("gid", Number),
        ])),
    ),
    ("resources", RESOURCES),
    ("cgroupsPath", Text),
    ("rootfsPropagation", Text),
    ("seccomp", SECCOMP),
    ("sysctl", Map(&Text)),
    ("netDevices", Map(&Object(&[("name", Text)]))),
    (
        "intelRdt",
        Object(&[
            ("closID", Text),
            ("schemata", List(&Text)),
            ("enableMonitoring", Bool),
        ]),
    ),
    (
        "memoryPolicy",
        Object(&[("mode", Text), ("nodes", Text), ("flags", List(&Text))]),
    ),
]);

const SPEC: Kind = Object(&[
    ("ociVersion", Text),
    ("annotations", Map(&Text)),
    ("process", PROCESS),
    (
        "mounts",
        List(&Object(&[
            ("destination", Text),
            ("type", Text),
            ("source", Text),
            ("options", List(&Text)),
        ])),
    ),
    (
        "hooks",
        Object(&[
            ("prestart", List(&HOOK)),
            ("createRuntime", List(&HOOK)),
            ("createContainer", List(&HOOK)),
            ("startContainer", List(&HOOK)),
            ("poststart", List(&HOOK)),
            ("poststop", List(&HOOK)),
        ]),
    ),
    ("linux", LINUX),
]);

/// Checks the types of all members that NRI knows. Others are not looked at; `null` and absent members are fine.
///
/// # Errors
/// The first member, in document order, that is of another type.
///
/// ```
/// use serde_json::json;
/// use nri_core::oci::shape::check;
/// assert!(check(&json!({"process": {"env": ["A=1"]}, "vendor": [1, "x"]})).is_ok());
/// assert_eq!(
///     check(&json!({"process": {"env": ["A=1", 2]}})).unwrap_err().to_string(),
///     "this is no OCI runtime spec: process.env[1] must be a text, and it is a number",
/// );
/// ```
pub fn check(spec: &Value) -> Result<(), Malformed> {
    walk(spec, SPEC, &mut Vec::new())
}

/// As [`check`], for a `linux.resources` object on its own.
///
/// # Errors
/// The first member, in document order, that is of another type.
pub fn check_resources(resources: &Value) -> Result<(), Malformed> {
    walk(resources, RESOURCES, &mut Vec::new())
}

/// One step on the way to a member.
#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

fn walk<'a>(value: &'a Value, kind: Kind, way: &mut Vec<Step<'a>>) -> Result<(), Malformed> {
    let expected = match (kind, value) {
        (Text, Value::String(_)) | (Bool, Value::Bool(_)) => return Ok(()),
        (Number, Value::Number(number)) if !number.is_f64() => return Ok(()),
        // The whole document is something or nothing; a member may be null.
        (_, Value::Null) if !way.is_empty() => return Ok(()),
        (Object(members), Value::Object(object)) => {
            for (name, kind) in members {
                if let Some(value) = object.get(*name) {
                    visit(value, *kind, Step::Name(name), way)?;
                }
            }
            return Ok(());
        }
        (Map(kind), Value::Object(object)) => {
            for (name, value) in object {
                visit(value, *kind, Step::Name(name), way)?;
            }
            return Ok(());
        }
        (List(kind), Value::Array(list)) => {
            for (index, value) in list.iter().enumerate() {
                visit(value, *kind, Step::Index(index), way)?;
            }
            return Ok(());
        }
        (Text, _) => "a text",
        (Number, _) => "a whole number",
        (Bool, _) => "true or false",
        (Object(_) | Map(_), _) => "an object",
        (List(_), _) => "a list",
    };
    Err(Malformed {
        member: Way(way).to_string(),
        expected,
        found: match value {
            Value::Null => "null",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        },
    })
}

fn visit<'a>(
    value: &'a Value,
    kind: Kind,
    step: Step<'a>,
    way: &mut Vec<Step<'a>>,
) -> Result<(), Malformed> {
    way.push(step);
    walk(value, kind, way)?;
    way.pop();
    Ok(())
}

struct Way<'a>(&'a [Step<'a>]);

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the document");
        }
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Name(name) if place == 0 => f.write_str(name)?,
                Step::Name(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_wrong_member_is_named() {
        for (spec, member) in [
            (json!(null), "the document"),
            (json!([]), "the document"),
            (json!({"process": 1}), "process"),
            (json!({"annotations": {"a": 1}}), "annotations.a"),
            (
                json!({"mounts": [{}, {"options": "ro"}]}),
                "mounts[1].options",
            ),
            (
                json!({"linux": {"seccomp": {"syscalls": [{"args": [{"index": "0"}]}]}}}),
                "linux.seccomp.syscalls[0].args[0].index",
            ),
            (
                json!({"linux": {"resources": {"memory": {"limit": 1.5}}}}),
                "linux.resources.memory.limit",
            ),
        ] {
            assert_eq!(check(&spec).unwrap_err().member, member, "{spec}");
        }
    }

    #[test]
    fn null_is_absent() {
        assert_eq!(
            check(&json!({"process": null, "mounts": [null], "linux": {"sysctl": null}})),
            Ok(())
        );
    }
}
