//! Whether a document can be an OCI runtime spec: the types of the members that NRI reads or
//! writes.
//!
//! A wrong type is refused once, at the door, with the member's name; what works on a spec
//! afterwards may rely on it.

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
    Whole(Range),
    Bool,
    Object(&'static [(&'static str, Kind)]),
    /// Any keys, values of one kind.
    Map(&'static Kind),
    List(&'static Kind),
}

/// The whole numbers of a type of the OCI spec's schema.
#[derive(Clone, Copy)]
struct Range {
    least: i64,
    most: u64,
    expected: &'static str,
}

macro_rules! whole {
    ($least:literal, $most:literal) => {
        Whole(Range {
            least: $least,
            most: $most,
            expected: concat!("a whole number between ", $least, " and ", $most),
        })
    };
}

use Kind::{Bool, List, Map, Object, Text, Whole};

const U16: Kind = whole!(0, 65535);
const U32: Kind = whole!(0, 4294967295);
const U64: Kind = whole!(0, 18446744073709551615);
const I32: Kind = whole!(-2147483648, 2147483647);
const I64: Kind = whole!(-9223372036854775808, 9223372036854775807);

impl Range {
    fn holds(self, number: &serde_json::Number) -> bool {
        match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number <= self.most,
            (None, Some(number)) => self.least <= number,
            // With a fraction, with an exponent, or beyond 64 bits.
            (None, None) => false,
        }
    }
}

const HOOK: Kind = Object(&[
    ("path", Text),
    ("args", List(&Text)),
    ("env", List(&Text)),
    ("timeout", I64),
]);

const DEVICE_RULE: Kind = Object(&[
    ("allow", Bool),
    ("type", Text),
    ("major", I64),
    ("minor", I64),
    ("access", Text),
]);

const MEMORY: Kind = Object(&[
    ("limit", I64),
    ("reservation", I64),
    ("swap", I64),
    ("kernel", I64),
    ("kernelTCP", I64),
    ("swappiness", U64),
    ("disableOOMKiller", Bool),
    ("useHierarchy", Bool),
]);

const CPU: Kind = Object(&[
    ("shares", U64),
    ("quota", I64),
    ("period", U64),
    ("realtimeRuntime", I64),
    ("realtimePeriod", U64),
    ("cpus", Text),
    ("mems", Text),
]);

const ID_MAPPING: Kind = Object(&[("containerID", U32), ("hostID", U32), ("size", U32)]);

const WEIGHT_DEVICE: Kind = Object(&[
    ("major", I64),
    ("minor", I64),
    ("weight", U16),
    ("leafWeight", U16),
]);

const BLOCK_IO: Kind = Object(&[
    ("weight", U16),
    ("leafWeight", U16),
    ("weightDevice", List(&WEIGHT_DEVICE)),
]);

const RESOURCES: Kind = Object(&[
    ("memory", MEMORY),
    ("cpu", CPU),
    (
        "hugepageLimits",
        List(&Object(&[("pageSize", Text), ("limit", U64)])),
    ),
    ("unified", Map(&Text)),
    ("devices", List(&DEVICE_RULE)),
    ("pids", Object(&[("limit", I64)])),
    ("blockIO", BLOCK_IO),
]);

const SECCOMP: Kind = Object(&[
    ("defaultAction", Text),
    ("defaultErrnoRet", U32),
    ("architectures", List(&Text)),
    ("flags", List(&Text)),
    ("listenerPath", Text),
    ("listenerMetadata", Text),
    (
        "syscalls",
        List(&Object(&[
            ("names", List(&Text)),
            ("action", Text),
            ("errnoRet", U32),
            (
                "args",
                List(&Object(&[
                    ("index", U32),
                    ("value", U64),
                    ("valueTwo", U64),
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
        Object(&[("uid", U32), ("gid", U32), ("additionalGids", List(&U32))]),
    ),
    (
        "rlimits",
        List(&Object(&[("type", Text), ("hard", U64), ("soft", U64)])),
    ),
    ("oomScoreAdj", I64),
    ("ioPriority", Object(&[("class", Text), ("priority", I32)])),
    (
        "scheduler",
        Object(&[
            ("policy", Text),
            ("nice", I32),
            ("priority", I32),
            ("flags", List(&Text)),
            ("runtime", U64),
            ("deadline", U64),
            ("period", U64),
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
            ("major", I64),
            ("minor", I64),
            ("fileMode", U32),
            ("uid", U32),
            ("gid", U32),
        ])),
    ),
    ("resources", RESOURCES),
    ("uidMappings", List(&ID_MAPPING)),
    ("gidMappings", List(&ID_MAPPING)),
    ("maskedPaths", List(&Text)),
    ("readonlyPaths", List(&Text)),
    ("timeOffsets", Object(&[])),
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
    ("hostname", Text),
    ("domainname", Text),
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

/// Checks the types of all members that NRI knows. Others are not looked at; `null` and absent
/// members are fine.
///
/// Numbers are those of the OCI spec's schema (`int32`, `uint32`, `int64`, `uint64`), by their
/// spelling too: what a runtime in Go refuses, a fraction, an exponent, a number too large or
/// negative, is refused and never read as another number.
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
        (Whole(range), Value::Number(number)) if range.holds(number) => return Ok(()),
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
        (Whole(range), _) => range.expected,
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
            Value::Number(number) => match kind {
                Whole(_) if number.is_f64() => {
                    "one with a fraction, an exponent or too many digits"
                }
                Whole(_) => "a number out of that range",
                _ => "a number",
            },
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

    /// Every number that is checked, by its place in a spec, with the type that the OCI spec's
    /// schema gives it.
    const NUMBERS: &[(&str, &str)] = &[
        ("/process/user/uid", "u32"),
        ("/process/user/gid", "u32"),
        ("/process/user/additionalGids/0", "u32"),
        ("/process/rlimits/0/hard", "u64"),
        ("/process/rlimits/0/soft", "u64"),
        ("/process/oomScoreAdj", "i64"),
        ("/process/ioPriority/priority", "i32"),
        ("/process/scheduler/nice", "i32"),
        ("/process/scheduler/priority", "i32"),
        ("/process/scheduler/runtime", "u64"),
        ("/process/scheduler/deadline", "u64"),
        ("/process/scheduler/period", "u64"),
        ("/hooks/prestart/0/timeout", "i64"),
        ("/hooks/createRuntime/0/timeout", "i64"),
        ("/hooks/createContainer/0/timeout", "i64"),
        ("/hooks/startContainer/0/timeout", "i64"),
        ("/hooks/poststart/0/timeout", "i64"),
        ("/hooks/poststop/0/timeout", "i64"),
        ("/linux/devices/0/major", "i64"),
        ("/linux/devices/0/minor", "i64"),
        ("/linux/devices/0/fileMode", "u32"),
        ("/linux/devices/0/uid", "u32"),
        ("/linux/devices/0/gid", "u32"),
        ("/linux/uidMappings/0/containerID", "u32"),
        ("/linux/uidMappings/0/hostID", "u32"),
        ("/linux/uidMappings/0/size", "u32"),
        ("/linux/gidMappings/0/size", "u32"),
        ("/linux/seccomp/defaultErrnoRet", "u32"),
        ("/linux/seccomp/syscalls/0/errnoRet", "u32"),
        ("/linux/seccomp/syscalls/0/args/0/index", "u32"),
        ("/linux/seccomp/syscalls/0/args/0/value", "u64"),
        ("/linux/seccomp/syscalls/0/args/0/valueTwo", "u64"),
        ("/linux/resources/memory/limit", "i64"),
        ("/linux/resources/memory/reservation", "i64"),
        ("/linux/resources/memory/swap", "i64"),
        ("/linux/resources/memory/kernel", "i64"),
        ("/linux/resources/memory/kernelTCP", "i64"),
        ("/linux/resources/memory/swappiness", "u64"),
        ("/linux/resources/cpu/shares", "u64"),
        ("/linux/resources/cpu/quota", "i64"),
        ("/linux/resources/cpu/period", "u64"),
        ("/linux/resources/cpu/realtimeRuntime", "i64"),
        ("/linux/resources/cpu/realtimePeriod", "u64"),
        ("/linux/resources/pids/limit", "i64"),
        ("/linux/resources/hugepageLimits/0/limit", "u64"),
        ("/linux/resources/devices/0/major", "i64"),
        ("/linux/resources/devices/0/minor", "i64"),
        ("/linux/resources/blockIO/weight", "u16"),
        ("/linux/resources/blockIO/leafWeight", "u16"),
        ("/linux/resources/blockIO/weightDevice/0/weight", "u16"),
        ("/linux/resources/blockIO/weightDevice/0/leafWeight", "u16"),
        ("/linux/resources/blockIO/weightDevice/0/major", "i64"),
    ];

    /// A spec with one number.
    fn with(pointer: &str, number: &Value) -> Value {
        let names: Vec<&str> = pointer.split('/').skip(1).collect();
        names
            .into_iter()
            .rev()
            .fold(number.clone(), |inner, name| match name {
                "0" => json!([inner]),
                name => json!({ name: inner }),
            })
    }

    #[test]
    fn numbers_are_those_of_their_types() {
        let texts = |kind| match kind {
            "u16" => (["0", "65535"], ["-1", "65536"]),
            "u32" => (["0", "4294967295"], ["-1", "4294967296"]),
            "u64" => (
                ["0", "18446744073709551615"],
                ["-1", "18446744073709551616"],
            ),
            "i32" => (["-2147483648", "2147483647"], ["-2147483649", "2147483648"]),
            _ => (
                ["-9223372036854775808", "9223372036854775807"],
                ["-9223372036854775809", "9223372036854775808"],
            ),
        };
        for (pointer, kind) in NUMBERS {
            let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let (good, bad) = texts(kind);
            for text in good {
                assert_eq!(
                    check(&with(pointer, &number(text))),
                    Ok(()),
                    "{pointer} {text}"
                );
            }
            let spellings = [
                "1.5", "1e3", "1000.0", "-0.0", "1E400", r#""1""#, "true", "[]", "{}",
            ];
            for text in bad.into_iter().chain(spellings) {
                let Ok(value) = serde_json::from_str::<Value>(text) else {
                    continue;
                };
                let error = check(&with(pointer, &value)).expect_err(text);
                let name = pointer[1..].replace("/0", "[0]").replace('/', ".");
                assert_eq!(error.member, name, "{text}");
                assert!(
                    error.expected.starts_with("a whole number between "),
                    "{error}"
                );
            }
        }
    }

    /// Every number of the types above has a row in the table of the test.
    #[test]
    fn every_number_is_tested() {
        fn count(kind: Kind) -> usize {
            match kind {
                Whole(_) => 1,
                Object(members) => members.iter().map(|(_, kind)| count(*kind)).sum(),
                Map(kind) | List(kind) => count(*kind),
                Text | Bool => 0,
            }
        }
        // Of one of the two lists of mappings and of the numbers of a weight's device, one stands
        // for all.
        assert_eq!(count(SPEC), NUMBERS.len() + 2 + 1);
    }

    #[test]
    fn an_error_says_what_the_number_must_be() {
        assert_eq!(
            check(&json!({"process": {"user": {"uid": -1}}}))
                .unwrap_err()
                .to_string(),
            "this is no OCI runtime spec: process.user.uid must be a whole number between 0 and 4294967295, and it is a number out of that range"
        );
        assert_eq!(
            check_resources(&json!({"memory": {"limit": 1e9}}))
                .unwrap_err()
                .to_string(),
            "this is no OCI runtime spec: memory.limit must be a whole number between -9223372036854775808 and 9223372036854775807, and it is one with a fraction, an exponent or too many digits"
        );
        // Two that are legal, though they look like what is not.
        assert_eq!(
            check(&json!({"process": {"rlimits": [{"hard": u64::MAX, "soft": u64::MAX}]}})),
            Ok(())
        );
        assert_eq!(check_resources(&json!({"pids": {"limit": -1}})), Ok(()));
    }

    #[test]
    fn null_is_absent() {
        assert_eq!(
            check(&json!({"process": null, "mounts": [null], "linux": {"sysctl": null}})),
            Ok(())
        );
    }
}
