//! `nri-sim check` on plugins, above all those that are not ours.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::go::Built;

/// How long a plugin may take to come or to end, in seconds, and to answer, in milliseconds: it is
/// not to fail because the machine is busy.
const PATIENT: [&str; 4] = ["--patience", "60", "--request-timeout", "30000"];

/// A plugin on a release of the reference's library.
pub(super) fn of_release(sim: &Path, built: &Built) -> Result<String, String> {
    let plugin = built.plugin();
    let launch = format!("exec {}", plugin.display());
    let command = format!("{launch} -idx 10 -name checked -socket {{socket}}");
    let expected: &[&str] = match built.release.splits {
        true => &[],
        // It knows one message only.
        false => &["SplitSync"],
    };
    run(sim, &["--plugin", &command, "--launch", &launch], expected)
}

/// One of our plugins, and the configuration that it is sent, if it needs one.
pub(super) fn of_ours(
    sim: &Path,
    plugin: &Path,
    configuration: Option<&Path>,
) -> Result<String, String> {
    let launch = format!("exec {}", plugin.display());
    let command = format!("{launch} --socket {{socket}}");
    let file = configuration.map(|file| file.display().to_string());
    let file = file.iter().flat_map(|file| ["--config", file]);
    let options = ["--plugin", &command, "--launch", &launch];
    run(
        sim,
        &options.into_iter().chain(file).collect::<Vec<_>>(),
        &[],
    )
}

/// A plugin that is made to be launched.
pub(super) fn of_launched(sim: &Path, plugin: &Path, expected: &[&str]) -> Result<String, String> {
    run(
        sim,
        &["--plugin", &format!("exec {}", plugin.display())],
        expected,
    )
}

/// Checks a plugin, of which it is known what fails.
fn run(sim: &Path, plugin: &[&str], expected: &[&str]) -> Result<String, String> {
    let mut command = Command::new(sim);
    command.args(["check", "--json"]).args(PATIENT).args(plugin);
    let output = command
        .output()
        .map_err(|error| format!("{}: {error}", sim.display()))?;
    let report: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{} check: {error}: {said}", sim.display())
    })?;
    let checks = report["checks"].as_array().into_iter().flatten();
    let failed = checks.filter(|check| check["outcome"] == "failed");
    let (known, unknown): (Vec<&Value>, Vec<&Value>) = failed.partition(|check| {
        check["check"]
            .as_str()
            .is_some_and(|it| expected.contains(&it))
    });
    if !unknown.is_empty() || known.len() != expected.len() {
        return Err(format!(
            "expected {expected:?} to fail, and {unknown:?} failed too or not"
        ));
    }
    let summary = report["summary"].as_str().unwrap_or_default();
    Ok(match expected {
        [] => summary.to_owned(),
        expected => format!("{summary}: {}", expected.join(", ")),
    })
}
