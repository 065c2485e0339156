//! Adjustments for a runtime whose OCI spec is a type of its own, and how it sees what that loses.
//!
//! `apply_typed` names what the type has no place for: in a warning, or, as here, in an error. The
//! way out is a catch-all, as in `Whole`.
//! `cargo run -p nri-adaptation --features oci --example typed_spec`

use std::error::Error;

use nri_adaptation::api::{ContainerAdjustment, KeyValue};
use nri_adaptation::build::{Adjust as _, SetResources as _};
use nri_adaptation::oci::{ApplyOptions, OnUnsupported, apply_typed};
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

fn main() -> Result<(), Box<dyn Error>> {
    let spec = json!({"process": {"args": ["/app"], "env": ["A=1"]}, "hostname": "web"});

    // What plugins ask for: in a runtime, the adjustment of a `Creation`.
    let mut adjustment = ContainerAdjustment::default();
    adjustment.env.push(KeyValue {
        key: "B".into(),
        value: "2".into(),
    });
    let mut options = ApplyOptions::default();
    options.beyond_type = OnUnsupported::Error;
    // The last argument says which plugin asked for what: `(creation.owners(), id)`.
    let mut narrow: Narrow = serde_json::from_value(spec.clone())?;
    apply_typed(&mut narrow, &adjustment, &options, None)?;
    println!("env: {:?}", narrow.process.env);

    adjustment.set_memory_limit(1 << 30).remove_env("A");
    match apply_typed(&mut narrow, &adjustment, &options, None) {
        Ok(_) => println!("nothing is lost"),
        Err(error) => println!("refused: {error}"),
    }

    let mut whole: Whole = serde_json::from_value(spec)?;
    for warning in apply_typed(&mut whole, &adjustment, &options, None)? {
        println!("warning: {warning}");
    }
    println!("env: {:?}", whole.process.env);
    println!("linux: {}", whole.others["linux"]);
    println!("hostname: {}", whole.others["hostname"]);
    Ok(())
}
