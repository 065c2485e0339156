//! Every recorded vector through the type that the crate `oci-spec` has for specs: what comes out
//! is what comes out of JSON, but for what is named.

use nri_core::api;
use nri_core::build::Adjust as _;
use nri_core::oci::{ApplyOptions, apply, apply_typed};
use nri_testkit::oci_vectors::{RECORDED, Vector, parse};
use oci_spec::runtime::Spec;
use serde::Deserialize as _;
use serde_json::{Value, json};

/// The vector's spec, with what the type insists on.
fn whole(vector: &Vector) -> Value {
    let mut spec = vector.spec.clone();
    for pointer in ["", "/process", "/root"] {
        complete(&mut spec, pointer);
    }
    spec
}

fn complete(spec: &mut Value, part: &str) {
    let Some(object) = spec.pointer_mut(part).and_then(Value::as_object_mut) else {
        return;
    };
    for (pointer, name, value) in [
        ("", "ociVersion", json!("1.3.0")),
        ("/process", "cwd", json!("/")),
        ("/process", "user", json!({"uid": 0, "gid": 0})),
        ("/root", "path", json!("rootfs")),
    ] {
        if pointer == part {
            object.entry(name).or_insert(value);
        }
    }
}

/// What is absent, `null` or empty is left out.
fn normal(value: &Value) -> Value {
    let kept = |value: &Value| Some(normal(value)).filter(|value| !is_nothing(value));
    match value {
        Value::Object(members) => members
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), kept(value)?)))
            .collect(),
        Value::Array(elements) => elements.iter().map(normal).collect(),
        value => value.clone(),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[test]
fn a_typed_spec_loses_nothing_but_what_is_named() {
    let mut seen = Vec::new();
    let (mut applied, mut refused) = (0, 0);
    for vector in parse(RECORDED).unwrap() {
        let name = &vector.name;
        let mut spec = match Spec::deserialize(&whole(&vector)) {
            Ok(spec) => spec,
            Err(error) => {
                seen.push(format!("{name}: not read: {error}"));
                continue;
            }
        };
        let (adjustment, options) = (vector.adjustment().unwrap(), vector.apply_options());
        let before = serde_json::to_value(&spec).unwrap();
        let plain = apply(&before, &adjustment, &options, None);
        let typed = apply_typed(&mut spec, &adjustment, &options, None);
        let after = serde_json::to_value(&spec).unwrap();
        match (plain, typed) {
            (Err(plain), Err(typed)) => {
                assert_eq!(plain.to_string(), typed.to_string());
                refused += 1;
            }
            (Err(plain), Ok(_)) => seen.push(format!("{name}: only in JSON: {plain}")),
            (Ok(_), Err(error)) => {
                assert_eq!(after, before);
                seen.push(format!("{name}: {error}"));
            }
            (Ok(plain), Ok(warnings)) => {
                let lost = &warnings[plain.warnings.len()..];
                seen.extend(lost.iter().map(|warning| format!("{name}: {warning}")));
                let mut expected = plain.spec;
                if before.get("process").is_none_or(Value::is_null) {
                    complete(&mut expected, "/process");
                }
                if lost.is_empty() && normal(&after) != normal(&expected) {
                    seen.push(format!("{name}: {after}\n  {expected}"));
                }
                applied += 1;
            }
        }
    }
    // This version of the type loses and refuses nothing of what the vectors have.
    assert_eq!(seen, Vec::<String>::new());
    assert_eq!((applied, refused), (111, 23));
}

#[test]
fn what_the_type_refuses_is_named() {
    let flags = vec![api::LinuxSchedulerFlag::SchedFlagResetOnFork.into()];
    let scheduler = api::LinuxScheduler {
        policy: api::LinuxSchedulerPolicy::SchedBatch.into(),
        flags,
        ..Default::default()
    };
    let mut adjustment = api::ContainerAdjustment::default();
    adjustment.set_scheduler(scheduler);
    let mut spec = Spec::default();
    let before = spec.clone();
    let error = apply_typed(&mut spec, &adjustment, &ApplyOptions::default(), None).unwrap_err();
    let text = error.to_string();
    let start =
        "cannot apply LinuxSched: the runtime's type for OCI specs refuses process.scheduler: ";
    assert!(text.starts_with(start), "{text}");
    assert_eq!(spec, before);
}
