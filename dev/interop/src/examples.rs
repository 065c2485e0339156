//! Our example plugins at the reference's runtime, as their users start them.

use std::process::Command;

use serde_json::{Map, Value, json};

use super::events::Sent;
use super::pairing::{INDEX, NAME, Pairing, container, expect, pod, with_container};
use super::program::Program;
use nri_dev::examples::Examples;

/// The logger prints every event with every field.
pub(super) fn logger(pairing: &Pairing<'_>, examples: &Examples) -> Result<String, String> {
    let sent = Sent::new(pairing)?;
    let case_dir = pairing.scratch.case_dir()?;
    let mut runtime = pairing.start_runtime(&case_dir)?;
    sent.open(&mut runtime)?;
    let mut command = Command::new(examples.path("logger")?);
    command.args([
        "--once", "--format", "json", "--index", INDEX, "--name", NAME,
    ]);
    command.arg("--socket").arg(case_dir.socket());
    let logger = Program::start(pairing.scratch, "logger", &mut command)?;
    runtime.wait_for_plugins(1)?;
    sent.live(pairing, &mut runtime)?;
    runtime.quit()?;
    let (lines, _) = logger.finish()?;
    let lines = lines
        .iter()
        .map(|line| serde_json::from_str(line).map_err(|e| format!("{line:?}: {e}")));
    let lines: Vec<Map<String, Value>> = lines.collect::<Result<_, _>>()?;
    let heard: Vec<Value> = lines.into_iter().map(as_reported).collect();
    sent.check(pairing, &heard)
}

/// A line of the logger as the scripted plugins report it.
fn as_reported(mut line: Map<String, Value>) -> Value {
    for (printed, reported) in [
        ("runtimeName", "runtime"),
        ("linuxResources", "resources"),
        ("overheadLinuxResources", "overhead"),
    ] {
        if let Some(value) = line.remove(printed) {
            line.insert(reported.to_owned(), value);
        }
    }
    if line["event"] == "ValidateContainerAdjustment" {
        return json!({"event": "ValidateContainerAdjustment", "request": line});
    }
    Value::Object(line)
}

/// Annotate, launched by the runtime with its configuration, adds what that says.
pub(super) fn annotate(pairing: &Pairing<'_>, examples: &Examples) -> Result<String, String> {
    const CONFIG: &str = "[annotations]\n\"example.com/by\" = \"annotate\"\n[env]\nADDED = \"yes\"\n\
                          [[mounts]]\nsource = \"/etc/hosts\"\ndestination = \"/added\"\n";
    let case_dir = pairing.scratch.case_dir()?;
    let write = |path: std::path::PathBuf| {
        std::fs::write(&path, CONFIG).map_err(|e| format!("{}: {e}", path.display()))
    };
    write(case_dir.plugin_configs().join("annotate.conf"))?;
    let installed = case_dir.plugins().join("10-annotate");
    std::os::unix::fs::symlink(examples.path("annotate")?, &installed)
        .map_err(|e| format!("{}: {e}", installed.display()))?;
    let mut runtime = pairing.start_runtime(&case_dir)?;
    runtime.open()?;

    runtime.done("run-pod", json!({"pod": pod("pod")}))?;
    let created = runtime.done("create-container", with_container(container("c", "pod")))?;
    let adjustment = &created["adjustment"];
    expect(
        "annotations",
        &adjustment["annotations"],
        &json!({"example.com/by": "annotate"}),
    )?;
    expect(
        "env",
        &adjustment["env"],
        &json!([{"key": "ADDED", "value": "yes"}]),
    )?;
    expect(
        "mount",
        &adjustment["mounts"][0]["destination"],
        &json!("/added"),
    )?;
    runtime.quit()?;

    let case_dir = pairing.scratch.case_dir()?;
    let config = case_dir.file("annotate.toml");
    write(config.clone())?;
    let mut runtime = pairing.start_runtime(&case_dir)?;
    runtime.open()?;
    let mut command = Command::new(examples.path("annotate")?);
    command.arg("--once").arg("--config").arg(&config);
    command.arg("--socket").arg(case_dir.socket());
    let annotate = Program::start(pairing.scratch, "annotate", &mut command)?;
    runtime.wait_for_plugins(1)?;
    runtime.done("run-pod", json!({"pod": pod("pod")}))?;
    let created = runtime.done("create-container", with_container(container("c", "pod")))?;
    expect(
        "annotations",
        &created["adjustment"]["annotations"],
        &json!({"example.com/by": "annotate"}),
    )?;
    annotate.terminate()?;
    let (_, status) = annotate.finish()?;
    expect("annotate ends well", status.success(), true)?;
    runtime.quit()?;
    Ok("launched and connected: annotation, variable and mount added".to_owned())
}
