//! Adjustments for a runtime whose OCI spec is a type of its own, and how it sees what that loses.
//!
//! Specs go through JSON, so that no member is lost that the type does not know: but for what the
//! type itself cannot hold. A round trip finds that. The way out is a catch-all, as in `Whole`.
//! `cargo run -p nri-adaptation --features oci --example typed_spec`

use std::error::Error;

use nri_adaptation::api::{ContainerAdjustment, KeyValue};
use nri_adaptation::build::{Adjust as _, SetResources as _};
use nri_adaptation::oci::{ApplyOptions, apply};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A process, as this runtime knows it.
#[derive(Debug, Serialize, Deserialize)]
struct Process {
    args: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
}

/// A spec that knows a process, and no resources.
#[derive(Debug, Serialize, Deserialize)]
struct Narrow {
    process: Process,
}

/// A spec that keeps what it does not know.
#[derive(Debug, Serialize, Deserialize)]
struct Whole {
    process: Process,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Applies an adjustment to a typed spec.
///
/// # Errors
/// It cannot be applied, or the type cannot hold what it makes: the paths of that are named.
fn apply_to<T: Serialize + DeserializeOwned>(
    spec: &mut T,
    adjustment: &ContainerAdjustment,
) -> Result<(), Box<dyn Error>> {
    let applied = apply(
        &serde_json::to_value(&*spec)?,
        adjustment,
        &ApplyOptions::default(),
        None,
    )?;
    for warning in &applied.warnings {
        println!("warning: {warning}");
    }
    let typed: T = serde_json::from_value(applied.spec.clone())?;
    let mut lost = Vec::new();
    compare("", &applied.spec, &serde_json::to_value(&typed)?, &mut lost);
    if !lost.is_empty() {
        return Err(format!("the spec's type cannot hold {}", lost.join(", ")).into());
    }
    *spec = typed;
    Ok(())
}

/// Names what `before` has and `after` has not, or has otherwise.
fn compare(path: &str, before: &Value, after: &Value, lost: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = format!("{path}/{key}");
                match after.get(key) {
                    Some(after) => compare(&path, value, after, lost),
                    None => lost.push(path),
                }
            }
        }
        _ if before == after => {}
        _ => lost.push(path.to_owned()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let spec = json!({"process": {"args": ["/app"], "env": ["A=1"]}, "hostname": "web"});

    // What plugins ask for: in a runtime, the adjustment of a `Creation`.
    let mut adjustment = ContainerAdjustment::default();
    adjustment.env.push(KeyValue {
        key: "B".into(),
        value: "2".into(),
    });
    let mut narrow: Narrow = serde_json::from_value(spec.clone())?;
    apply_to(&mut narrow, &adjustment)?;
    println!("env: {:?}", narrow.process.env);

    adjustment.set_memory_limit(1 << 30).remove_env("A");
    match apply_to(&mut narrow, &adjustment) {
        Ok(()) => println!("nothing is lost"),
        Err(error) => println!("refused: {error}"),
    }

    let mut whole: Whole = serde_json::from_value(spec)?;
    apply_to(&mut whole, &adjustment)?;
    println!("env: {:?}", whole.process.env);
    println!("linux: {}", whole.others["linux"]);
    println!("hostname: {}", whole.others["hostname"]);
    Ok(())
}
