//! What the runtime keeps on disk is damaged, while it runs and while it does not.

use std::fs;
use std::path::{Path, PathBuf};

use crate::crictl::{container, pod};
use crate::expect::{is, until};
use crate::processes::pids;
use crate::stage::{ROOT, Stage};

fn failed(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

fn record(kind: &str, id: &str) -> PathBuf {
    Path::new(ROOT).join(kind).join(id).join("record.json")
}

/// Records that are cut short, and things that are none: whoever can be found again is, the rest is
/// taken away, with all that runs of it.
pub(super) fn broken(stage: &mut Stage) -> Result<(), String> {
    let make = |name: &str| -> Result<(String, String), String> {
        let mut config = pod(name);
        config["port_mappings"] = serde_json::json!([]);
        let pod_id = stage.crictl.run_pod(&config)?;
        let id = stage.crictl.started(&pod_id, name, &container(name))?;
        Ok((pod_id, id))
    };
    let (whole, app) = make("whole")?;
    let (with_broken, broken) = make("with-broken")?;
    let (torn, of_torn) = make("torn")?;
    let (odd, _) = make("odd")?;
    stage.kill()?;
    let write = |path: &Path, text: &[u8]| fs::write(path, text).map_err(failed(path));
    write(&record("containers", &broken), b"\xff\x00{")?;
    write(&record("pods", &torn), b"{\"id\": \"")?;
    // One that is not there, files that are no directories, and names that are no ids.
    let path = record("pods", &odd);
    fs::remove_file(&path).map_err(failed(&path))?;
    for kind in ["pods", "containers", "images/records", "images/layers"] {
        let dir = Path::new(ROOT).join(kind);
        write(&dir.join("file"), b"x")?;
        let name = dir.join("no id");
        fs::create_dir(&name).map_err(failed(&name))?;
    }
    // Of the moment between the start of a container and what is written of that.
    let path = record("containers", &app);
    let text = fs::read_to_string(&path).map_err(failed(&path))?;
    write(&path, text.replace("\"Running\"", "\"Created\"").as_bytes())?;
    stage.start()?;
    let crictl = &stage.crictl;
    is(
        "the state of one that runs",
        &*crictl.state(&app)?,
        "RUNNING",
    )?;
    let mut pods = vec![whole.clone(), with_broken.clone()];
    pods.sort();
    let mut there: Vec<String> = crictl
        .run(&["pods", "--quiet", "--no-trunc"])?
        .lines()
        .map(str::to_owned)
        .collect();
    there.sort();
    is("the pods that are found again", there, pods)?;
    let containers = crictl.run(&["ps", "--all", "--quiet", "--no-trunc"])?;
    is("the containers that are found again", &*containers, &app)?;
    is("what one says", &*crictl.script(&app, "hostname")?, "whole")?;
    for id in [&torn, &of_torn, &broken, &odd] {
        is("what runs of one that is not", pids("", id), Vec::new())?;
    }
    // In the place of the one that is gone.
    let again = crictl.started(&with_broken, "with-broken", &container("with-broken"))?;
    is("the state", &*crictl.state(&again)?, "RUNNING")?;
    for id in [&whole, &with_broken] {
        crictl.run(&["rmp", "--force", id])?;
    }
    Ok(())
}

/// The directories of a pod and of a container that run are removed: they end and are removed all
/// the same.
pub(super) fn removed(stage: &mut Stage) -> Result<(), String> {
    let crictl = &stage.crictl;
    let pod_id = crictl.run_pod(&pod("gone"))?;
    let id = crictl.started(&pod_id, "gone", &container("gone"))?;
    for path in [record("containers", &id), record("pods", &pod_id)] {
        fs::remove_file(&path).map_err(failed(&path))?;
    }
    is("the state", &*crictl.state(&id)?, "RUNNING")?;
    crictl.run(&["stop", "--timeout", "60", &id])?;
    until("its end", || Ok(crictl.state(&id)? == "EXITED"))?;
    crictl.run(&["rmp", "--force", &pod_id]).map(drop)
}
