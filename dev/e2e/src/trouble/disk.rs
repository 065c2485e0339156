//! The disk of the runtime fills up: what is there can be stopped and removed, nothing new is left
//! half-made, and all is well once there is room again.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;

use nri_dev::process;

use crate::crictl::{IMAGE, container, pod, script};
use crate::expect::{is, until};
use crate::stage::{ROOT, Stage};

const FILL: &str = "/run/e2e/root/fill";

/// Fills a small disk below the runtime.
pub(super) fn full(stage: &mut Stage) -> Result<(), String> {
    let mount = ["-t", "tmpfs", "-o", "size=64m", "tmpfs", ROOT];
    stage.kill()?;
    process::run(Command::new("mount").args(mount))?;
    stage.start()?;
    let done = on_it(stage);
    // Whatever came of it, the rest has the other disk again.
    stage.kill()?;
    process::run(Command::new("umount").args(["--lazy", ROOT]))?;
    stage.start()?;
    done
}

fn on_it(stage: &Stage) -> Result<(), String> {
    let crictl = &stage.crictl;
    crictl.run(&["pull", IMAGE])?;
    let pod_id = crictl.run_pod(&pod("full"))?;
    let stops = crictl.started(&pod_id, "full", &container("stops"))?;
    let ends = "while [ ! -e /tmp/end ]; do sleep 0.1; done; exit 4";
    let ends = crictl.started(&pod_id, "full", &script("ends", ends))?;
    crictl.script(&ends, "touch /tmp/end.soon")?;
    fill()?;
    // The file is there and changes its name only.
    crictl.script(&ends, "mv /tmp/end.soon /tmp/end")?;
    until("the end of a container", || {
        Ok(crictl.state(&ends)? == "EXITED")
    })?;
    is("its exit code", crictl.ended(&ends)?.0, 4)?;
    let error = crictl.create(&pod_id, &pod("full"), &container("new"));
    let error = error.err().unwrap_or_default();
    is(
        &format!("why there is no new one in {error}"),
        error.contains("No space left"),
        true,
    )?;
    let mut other = pod("other");
    other["port_mappings"] = serde_json::json!([]);
    let error = crictl.run_pod(&other).err().unwrap_or_default();
    is(
        &format!("why there is no other pod in {error}"),
        error.contains("No space left"),
        true,
    )?;
    let all = crictl.run(&["ps", "--all", "--quiet"])?;
    is("the containers that are there", all.lines().count(), 2)?;
    crictl.run(&["stop", "--timeout", "60", &stops])?;
    is("the exit code", crictl.ended(&stops)?.0, 3)?;
    crictl.run(&["rm", &ends])?;
    fill()?;
    crictl.run(&["stopp", &pod_id])?;
    let status = crictl.json(&["inspectp", &pod_id])?;
    is(
        "the pod",
        status["status"]["state"].as_str(),
        Some("SANDBOX_NOTREADY"),
    )?;
    crictl.run(&["rmp", &pod_id])?;
    fs::remove_file(FILL).map_err(|e| format!("{FILL}: {e}"))?;
    let pod_id = crictl.run_pod(&pod("full"))?;
    crictl.started(&pod_id, "full", &container("again"))?;
    crictl.run(&["rmp", "--force", &pod_id])?;
    crictl.run(&["rmi", IMAGE]).map(drop)
}

/// Writes until there is no room for another byte.
fn fill() -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{FILL}: {e}");
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(FILL)
        .map_err(failed)?;
    let block = [0; 4096];
    while file.write_all(&block).is_ok() {}
    Ok(())
}
