//! Golden vectors for applying adjustments to OCI specs: what the reference implementation does,
//! recorded.
//!
//! A [`Vector`] is one line of the recording. [`run`] applies its adjustment with the callbacks
//! that were plugged in while recording, and says how the result differs from what is expected:
//! from what the reference did, or, where the rules that this workspace follows want something
//! else, from the [`Exception`] that says so.

mod exceptions;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use nri_core::api::ContainerAdjustment;
use nri_core::oci::mounts::{HostMount, HostMounts, Propagation};
use nri_core::oci::{ApplyOptions, CallbackError, KeyedChanges, OnUnsupported, apply, values};
use prost::Message as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub use exceptions::exceptions;

/// The recording that is checked in.
pub const RECORDED: &str = include_str!("../data/vectors-oci.jsonl");

/// One recorded adjustment.
#[derive(Debug, Clone, Deserialize)]
pub struct Vector {
    /// Unique name.
    pub name: String,
    /// What it is about; `quirk:` tags say where the reference is considered wrong.
    pub tags: Vec<String>,
    /// The spec before.
    pub spec: Value,
    /// The adjustment, a binary message in base64; `None` stands for none at all.
    pub adjust_b64: Option<String>,
    /// The callbacks that are plugged in.
    pub options: Callbacks,
    /// The host's mounts, where they matter.
    #[serde(default)]
    pub mount_table: Option<Vec<TableEntry>>,
    /// What the reference did.
    pub expect: Expectation,
}

/// Which callbacks the embedding runtime has plugged in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callbacks {
    /// `drop` or `reject`.
    #[serde(default)]
    pub annotation_filter: Option<String>,
    /// The resolver of the recording.
    #[serde(default)]
    pub blockio_resolver: bool,
    /// The resolver of the recording.
    #[serde(default)]
    pub rdt_resolver: bool,
    /// The injector of the recording.
    #[serde(default)]
    pub cdi_injector: bool,
    /// `clear-swap` or `reject`.
    #[serde(default)]
    pub resource_checker: Option<String>,
}

impl Vector {
    /// The adjustment to apply.
    ///
    /// # Errors
    /// One that is no message.
    pub fn adjustment(&self) -> Result<ContainerAdjustment, Box<dyn Error>> {
        let Some(text) = &self.adjust_b64 else {
            return Ok(ContainerAdjustment::default());
        };
        let bytes = base64::engine::general_purpose::STANDARD.decode(text)?;
        Ok(ContainerAdjustment::decode(bytes.as_slice())?)
    }

    /// The options that stand for what was plugged in.
    pub fn apply_options(&self) -> ApplyOptions {
        options(self, &Calls::default())
    }
}

/// One mount of the host.
#[derive(Debug, Clone, Deserialize)]
pub struct TableEntry {
    /// Where.
    pub mountpoint: String,
    /// `shared`, `slave` or empty for private.
    pub kind: String,
}

/// What the reference did with a vector.
#[derive(Debug, Clone, Deserialize)]
pub struct Expectation {
    /// `error`, `panic`, or `None` for a success.
    pub error_class: Option<String>,
    /// The spec afterwards; `None` if the result is random.
    pub spec: Option<Value>,
    /// All results seen, if the result is random.
    #[serde(default)]
    pub alternatives: Vec<Value>,
    /// The callbacks in the order in which they were called.
    #[serde(default)]
    pub calls: Option<Vec<String>>,
}

/// How a vector is expected to end where the reference is not followed.
#[derive(Debug, Clone)]
pub struct Exception {
    /// The vector's name.
    pub name: &'static str,
    /// The rule that is followed instead.
    pub rule: &'static str,
    /// What comes of it.
    pub ours: Ours,
}

/// What comes of a vector where the reference is not followed.
#[derive(Debug, Clone)]
pub enum Ours {
    /// An error whose text holds this. The spec stays as it was, so that there is nothing else to
    /// compare.
    Fails(&'static str),
    /// A rule of values is broken, which the reference does not have: an error whose text holds
    /// this. Where the rules are left to the low-level runtime, it is the reference's result
    /// with these members replaced.
    Refused(&'static str, Vec<(&'static str, Value)>),
    /// The reference's result (the spec before, where it crashed or its result is random) with
    /// these members replaced, by JSON pointer; `null` deletes one.
    Differs(Vec<(&'static str, Value)>),
}

/// How a result differs from what is expected.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {what}")]
pub struct Mismatch {
    name: String,
    what: String,
}

/// The vectors of a recording.
///
/// # Errors
/// The first line that is no vector.
pub fn parse(recording: &str) -> Result<Vec<Vector>, serde_json::Error> {
    recording.lines().map(serde_json::from_str).collect()
}

/// Applies a vector's adjustment and compares.
///
/// # Errors
/// How the result differs from what is expected.
pub fn run(vector: &Vector, exception: Option<&Exception>) -> Result<(), Mismatch> {
    let mismatch = |what: String| Mismatch {
        name: vector.name.clone(),
        what,
    };
    let adjustment = vector
        .adjustment()
        .map_err(|error| mismatch(error.to_string()))?;
    let calls = Calls::default();
    let mut options = options(vector, &calls);
    if let Some(Ours::Refused(part, _)) = exception.map(|exception| &exception.ours) {
        match apply(&vector.spec, &adjustment, &options, None) {
            Err(error) if error.to_string().contains(part) => {}
            result => {
                return Err(mismatch(format!(
                    "a value is to be refused that {part:?} is said of; the result is {result:?}"
                )));
            }
        }
        options.left_to_runtime = values::RULES.iter().map(|rule| rule.family).collect();
    }
    let result = apply(&vector.spec, &adjustment, &options, None);
    let expected = expected(vector, exception);
    match (result, expected) {
        (Err(error), Expected::Failure(part)) => {
            if !error.to_string().contains(part) {
                return Err(mismatch(format!(
                    "the error is {error:?}, and should say {part:?}"
                )));
            }
        }
        (Err(error), Expected::Spec(_)) => {
            return Err(mismatch(format!("unexpected error: {error}")));
        }
        (Ok(applied), Expected::Failure(part)) => {
            return Err(mismatch(format!(
                "no error, and there should be one that says {part:?}; the result is {}",
                applied.spec
            )));
        }
        (Ok(applied), Expected::Spec(expected)) => {
            let difference = difference(&normal(&expected), &normal(&applied.spec));
            if let Some(difference) = difference {
                return Err(mismatch(difference));
            }
        }
    }
    let calls = calls.take();
    if exception.is_none() && calls != vector.expect.calls.clone().unwrap_or_default() {
        return Err(mismatch(format!(
            "the callbacks called are {calls:?}, and should be {:?}",
            vector.expect.calls
        )));
    }
    Ok(())
}

/// How the result of a vector differs from what is expected, exceptions taken into account; empty
/// if it does not.
pub(crate) fn differences(vector: &Vector) -> Vec<String> {
    let exceptions = exceptions();
    let exception = exceptions.iter().find(|other| other.name == vector.name);
    let result = run(vector, exception);
    result
        .err()
        .map(|mismatch| mismatch.what)
        .into_iter()
        .collect()
}

enum Expected {
    Failure(&'static str),
    Spec(Value),
}

fn expected(vector: &Vector, exception: Option<&Exception>) -> Expected {
    let recorded = || match (&vector.expect.error_class, &vector.expect.spec) {
        (None, Some(spec)) => spec.clone(),
        _ => vector.spec.clone(),
    };
    match exception.map(|exception| &exception.ours) {
        Some(Ours::Fails(part)) => Expected::Failure(part),
        Some(Ours::Refused(..)) if vector.expect.error_class.is_some() => Expected::Failure(""),
        Some(Ours::Differs(members) | Ours::Refused(_, members)) => {
            let mut spec = recorded();
            for (pointer, value) in members {
                replace(&mut spec, pointer, value.clone());
            }
            Expected::Spec(spec)
        }
        None if vector.expect.error_class.is_some() => Expected::Failure(""),
        None => Expected::Spec(recorded()),
    }
}

/// Replaces the member at a JSON pointer; its parents are created, `null` deletes it.
fn replace(spec: &mut Value, pointer: &str, value: Value) {
    let names: Vec<String> = pointer
        .split('/')
        .skip(1)
        .map(|name| name.replace("~1", "/").replace("~0", "~"))
        .collect();
    let target = names.iter().fold(spec, |parent, name| {
        if !parent.is_object() {
            *parent = json!({});
        }
        &mut parent[name.as_str()]
    });
    *target = value;
}

/// The callbacks of the recording, which note that they were called.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    fn note(&self, call: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn options(vector: &Vector, calls: &Calls) -> ApplyOptions {
    let mut options = ApplyOptions::default();
    // The reference passes over what it has no callback for.
    options.without_callback = OnUnsupported::Ignore;
    if let Some(how) = vector.options.annotation_filter.clone() {
        let calls = calls.clone();
        options.annotation_filter = Some(Arc::new(move |changes: &mut KeyedChanges| {
            calls.note("annotation_filter".to_owned());
            if how == "reject" {
                return Err("annotation filter says no".into());
            }
            let keeps = |key: &str| !key.starts_with("drop.");
            changes.removed.retain(|key| keeps(key));
            changes.set.retain(|key, _| keeps(key));
            Ok(())
        }));
    }
    if vector.options.blockio_resolver {
        options.blockio_resolver = Some(resolver(calls, "blockio", json!({"weight": 900})));
    }
    if vector.options.rdt_resolver {
        let gold = json!({"closID": "gold", "schemata": ["L3:0=ff"]});
        options.rdt_resolver = Some(resolver(calls, "rdt", gold));
    }
    if vector.options.cdi_injector {
        let calls = calls.clone();
        options.cdi_injector = Some(Arc::new(move |spec: &mut Value, names: &[String]| {
            calls.note(format!("cdi:{}", names.join(",")));
            inject(spec, names)
        }));
    }
    if let Some(how) = vector.options.resource_checker.clone() {
        let calls = calls.clone();
        options.resource_checker = Some(Arc::new(move |resources: Option<&mut Value>| {
            calls.note(format!("resource_checker:{}", resources.is_some()));
            if how == "reject" {
                return Err("resources not allowed".into());
            }
            if let Some(memory) = resources.and_then(|r| r.pointer_mut("/memory")) {
                memory["swap"] = Value::Null;
            }
            Ok(())
        }));
    }
    if let Some(table) = &vector.mount_table {
        options.host_mounts = Some(Arc::new(Table(table.clone())));
    }
    options
}

fn resolver(calls: &Calls, kind: &'static str, gold: Value) -> nri_core::oci::ClassResolver {
    let calls = calls.clone();
    Arc::new(move |class: &str| {
        calls.note(format!("{kind}:{class}"));
        match class {
            "gold" => Ok(Some(gold.clone())),
            "nil" => Ok(None),
            class => Err(format!("unknown class {class:?}").into()),
        }
    })
}

fn inject(spec: &mut Value, names: &[String]) -> Result<(), CallbackError> {
    for (place, name) in names.iter().enumerate() {
        if name.contains("missing") {
            return Err(format!("unresolvable CDI device {name}").into());
        }
        append(
            &mut spec["process"]["env"],
            json!(format!("CDI_{place}={name}")),
        );
        append(
            &mut spec["linux"]["devices"],
            json!({"path": format!("/dev/cdi-{place}"), "type": "c", "major": 240, "minor": place}),
        );
    }
    Ok(())
}

fn append(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        list => *list = json!([item]),
    }
}

struct Table(Vec<TableEntry>);

impl HostMounts for Table {
    fn resolve(&self, source: &str) -> Result<String, CallbackError> {
        Ok(source.to_owned())
    }

    fn mounts(&self) -> Result<Vec<HostMount>, CallbackError> {
        Ok(self
            .0
            .iter()
            .map(|entry| HostMount {
                mount_point: entry.mountpoint.clone(),
                propagation: match entry.kind.as_str() {
                    "shared" => Propagation::Shared,
                    "slave" => Propagation::Slave,
                    _ => Propagation::Private,
                },
            })
            .collect())
    }
}

/// A spec in a form in which equal meanings are equal values: what is absent, `null` or empty is
/// left out, and so is monitoring that is off, which the reference's JSON writer leaves out.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, value)| (name, value, normal(value)))
                .filter(|(name, value, normal)| {
                    let off = *name == "enableMonitoring" && **value == json!(false);
                    !(off || is_nothing(normal))
                })
                .map(|(name, _, normal)| (name.clone(), normal))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        value => value.clone(),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// The members in which two specs differ, in words; `None` if there are none.
fn difference(expected: &Value, found: &Value) -> Option<String> {
    let mut expected_leaves = BTreeMap::new();
    let mut found_leaves = BTreeMap::new();
    leaves(expected, String::new(), &mut expected_leaves);
    leaves(found, String::new(), &mut found_leaves);
    let mut texts = Vec::new();
    for (pointer, value) in &expected_leaves {
        match found_leaves.get(pointer) {
            Some(found) if found == value => {}
            Some(found) => texts.push(format!("{pointer} is {found}, and should be {value}")),
            None => texts.push(format!("{pointer} is missing, and should be {value}")),
        }
    }
    for (pointer, found) in &found_leaves {
        if !expected_leaves.contains_key(pointer) {
            texts.push(format!("{pointer} is {found}, and should not be there"));
        }
    }
    (!texts.is_empty()).then(|| texts.join("\n  "))
}

fn leaves<'a>(value: &'a Value, pointer: String, into: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                leaves(value, format!("{pointer}/{name}"), into);
            }
        }
        value => {
            into.insert(pointer, value);
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.rule)
    }
}
