//! What goes wrong around the runtime, and what clients do twice, at once or too late: each scene
//! ends with nothing left behind.

mod disk;
mod records;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use nri_core::Event;
use nri_testkit::{Behavior, FakePlugin, Gate, When};
use serde_json::json;

use crate::crictl::{IMAGE, LOGS, container, file, pod, script};
use crate::directories::entries;
use crate::expect::{is, says, until};
use crate::processes::{kill, pids};
use crate::stage::{ROOT, Stage};

type Scene = (&'static str, fn(&mut Stage) -> Result<(), String>);

/// As many as a node may have to start at once.
const CROWD: usize = 50;

/// Plays all scenes.
///
/// # Errors
/// What does not come out as it should.
pub(crate) async fn run(stage: &mut Stage) -> Result<(), String> {
    let scenes: [Scene; 8] = [
        ("what is done twice", twice),
        ("commands that never end", endless),
        ("logs that are moved and removed", logs),
        ("processes that somebody kills", killed),
        ("records that are broken", records::broken),
        ("a root that somebody removes from", records::removed),
        ("a disk that is full", disk::full),
        ("many pods at once", crowd),
    ];
    for (name, scene) in scenes {
        let done = scene(stage).and_then(|()| stage.is_clean());
        done.map_err(|error| format!("{name}: {error}\n{}", stage.said()))?;
        println!("e2e: trouble: {name}");
    }
    late(stage).await?;
    println!("e2e: trouble: a client that does not wait");
    image_goes(stage).await?;
    println!("e2e: trouble: an image that goes while a container is created");
    Ok(())
}

fn twice(stage: &mut Stage) -> Result<(), String> {
    let crictl = &stage.crictl;
    let pod_id = crictl.run_pod(&pod("twice"))?;
    says(
        "a pod of the same name",
        crictl.run_pod(&pod("twice")),
        &pod_id,
    )?;
    let id = crictl.started(&pod_id, "twice", &container("app"))?;
    let again = crictl.create(&pod_id, &pod("twice"), &container("app"));
    says("a container of the same name", again, &id)?;
    says(
        "a second start",
        crictl.run(&["start", &id]),
        "not in the state",
    )?;
    let mut next = container("app");
    next["metadata"]["attempt"] = 1.into();
    let next = crictl.create(&pod_id, &pod("twice"), &next)?;
    for _ in 0..2 {
        crictl.run(&["stop", "--timeout", "60", &id])?;
    }
    is("the exit code", crictl.ended(&id)?.0, 3)?;
    // One that was never started can be stopped too.
    crictl.run(&["stop", "--timeout", "1", &next])?;
    says(
        "a start of a stopped one",
        crictl.run(&["start", &next]),
        "not in the state",
    )?;
    for _ in 0..2 {
        crictl.run(&["stopp", &pod_id])?;
    }
    let late = crictl.create(&pod_id, &pod("twice"), &container("late"));
    says("a container of a stopped pod", late, "not ready")?;
    says(
        "ports of it",
        crictl.run(&["port-forward", &pod_id, "0:80"]),
        "not ready",
    )?;
    // At once; crictl looks first whether it is there, and so may find that it is not any more.
    let removers = (0..4).map(|_| crictl.spawn(&["rmp", "--force", &pod_id]));
    let removers: Vec<Child> = removers.collect::<Result<_, _>>()?;
    let mut done = 0;
    for mut remover in removers {
        let ended = remover.wait().map_err(|e| format!("crictl: {e}"))?;
        done += usize::from(ended.success());
    }
    is("whether it is removed", done > 0, true)
}

/// Commands in a container that is stopped end with it, also where it shares the processes of its
/// pod; and nobody can speak to it any more.
fn endless(stage: &mut Stage) -> Result<(), String> {
    let crictl = &stage.crictl;
    let pod_id = crictl.run_pod(&pod("endless"))?;
    for (name, mode) in [("own", 1), ("shared", 0)] {
        let mut config = container(name);
        config["linux"]["security_context"]["namespace_options"]["pid"] = mode.into();
        let id = crictl.started(&pod_id, "endless", &config)?;
        let commands: [&[&str]; 3] = [
            &["exec", "--sync", &id, "sleep", "55555"],
            &["exec", &id, "sleep", "66666"],
            &["attach", &id],
        ];
        let running: Vec<Child> = commands
            .iter()
            .map(|command| crictl.spawn(command))
            .collect::<Result<_, _>>()?;
        for number in ["55555", "66666"] {
            let look = format!(
                "cat /proc/[0-9]*/cmdline | grep -c '[{}]{}'",
                &number[..1],
                &number[1..]
            );
            until("a command", || {
                Ok(crictl.script(&id, &format!("{look} || true"))? != "0")
            })?;
        }
        crictl.run(&["stop", "--timeout", "0", &id])?;
        for mut child in running {
            until("the end of a command", || {
                let ended = child.try_wait().map_err(|e| format!("crictl: {e}"))?;
                Ok(ended.is_some())
            })?;
        }
        for (what, command) in [
            ("an attach", &["attach", &id][..]),
            ("a command", &["exec", &id, "true"]),
        ] {
            says(what, crictl.run(command), "does not run")?;
        }
    }
    crictl.run(&["rmp", "--force", &pod_id]).map(drop)
}

/// The directory of logs goes while containers write into it: they run on, and new ones write
/// again.
fn logs(stage: &mut Stage) -> Result<(), String> {
    let crictl = &stage.crictl;
    let pod_id = crictl.run_pod(&pod("logs"))?;
    let talk = "trap 'exit 0' TERM; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done";
    let id = crictl.started(&pod_id, "logs", &script("talker", talk))?;
    let log = Path::new(LOGS).join("talker.log");
    until("a log", || Ok(log.exists()))?;
    fs::remove_dir_all(LOGS).map_err(|e| format!("{LOGS}: {e}"))?;
    let other = crictl.started(&pod_id, "logs", &container("other"))?;
    until("a log of another container", || {
        Ok(Path::new(LOGS).join("other.log").exists())
    })?;
    for id in [&id, &other] {
        is("the state", &*crictl.state(id)?, "RUNNING")?;
        crictl.run(&["stop", "--timeout", "60", id])?;
    }
    is(
        "the exit codes",
        (crictl.ended(&id)?.0, crictl.ended(&other)?.0),
        (0, 3),
    )?;
    crictl.run(&["rmp", "--force", &pod_id]).map(drop)
}

/// What holds a container or a pod is killed, as the kernel does when memory is out.
fn killed(stage: &mut Stage) -> Result<(), String> {
    let crictl = &stage.crictl;
    let pod_id = crictl.run_pod(&pod("killed"))?;
    let id = crictl.started(&pod_id, "killed", &container("app"))?;
    let sleeper = pids("sh", "echo oops");
    is("whether it runs", sleeper.is_empty(), false)?;
    kill(&pids("conmon", &id))?;
    until("the end of a container whose conmon is killed", || {
        Ok(crictl.state(&id)? == "EXITED")
    })?;
    let (code, reason, _) = crictl.ended(&id)?;
    is("how it ended", (code, &*reason), (255, "Unknown"))?;
    is("what is left of it", pids("sh", "echo oops"), Vec::new())?;
    let other = crictl.started(&pod_id, "killed", &container("other"))?;
    kill(&pids("conmon", &pod_id))?;
    until("the end of a pod", || {
        let status = crictl.json(&["inspectp", &pod_id])?;
        Ok(status["status"]["state"] == "SANDBOX_NOTREADY")
    })?;
    is(
        "the state of its container",
        &*crictl.state(&other)?,
        "RUNNING",
    )?;
    // As kubelets do: what is in it goes, and then another one of its name comes.
    crictl.run(&["stopp", &pod_id])?;
    let mut next = pod("killed");
    next["metadata"]["attempt"] = 1.into();
    let next = crictl.run_pod(&next)?;
    for id in [&pod_id, &next] {
        crictl.run(&["rmp", "--force", id])?;
    }
    Ok(())
}

/// Runs a container in each of many pods at once, and removes them at once.
fn crowd(stage: &mut Stage) -> Result<(), String> {
    let crictl = &stage.crictl;
    let app = file("container", &container("crowd"))?;
    let begun: Vec<Child> = (0..CROWD)
        .map(|number| {
            let mut config = pod(&format!("crowd-{number}"));
            config["port_mappings"] = json!([]);
            // Each has a log of its own.
            config["log_directory"] = format!("{LOGS}/{number}").into();
            crictl.spawn(&["run", "--no-pull", &app, &file("pod", &config)?])
        })
        .collect::<Result<_, _>>()?;
    finished(begun)?;
    let running = crictl.run(&["ps", "--quiet"])?;
    is("how many run", running.lines().count(), CROWD)?;
    let ids = crictl.run(&["pods", "--quiet"])?;
    let mut ips = Vec::new();
    for id in ids.lines() {
        let status = crictl.json(&["inspectp", id])?;
        ips.extend(
            status["status"]["network"]["ip"]
                .as_str()
                .map(str::to_owned),
        );
    }
    ips.sort();
    ips.dedup();
    is("how many addresses they have", ips.len(), CROWD)?;
    let removers = ids.lines().map(|id| crictl.spawn(&["rmp", "--force", id]));
    finished(removers.collect::<Result<_, _>>()?)
}

fn finished(children: Vec<Child>) -> Result<(), String> {
    let mut failed = 0;
    for mut child in children {
        let ended = child.wait().map_err(|e| format!("crictl: {e}"))?;
        failed += usize::from(!ended.success());
    }
    is("how many failed", failed, 0)
}

/// A plugin that stops at a gate whenever a container is created.
fn slow(gate: &Gate) -> FakePlugin {
    let when = When::from(Event::CreateContainer);
    FakePlugin::new("10-slow").on(when, Behavior::usual().behind(gate))
}

/// A client that gives up and comes again, as a kubelet does: it is told that the container is
/// there, and which it is.
async fn late(stage: &mut Stage) -> Result<(), String> {
    let gate = Gate::new();
    let plugin = slow(&gate);
    let _connected = stage.join(&plugin).await?;
    let crictl = &stage.crictl;
    let pod_id = crictl.run_pod(&pod("late"))?;
    let (config, app) = (
        file("pod", &pod("late"))?,
        file("container", &container("app"))?,
    );
    let mut first = crictl.spawn(&["create", &pod_id, &app, &config])?;
    gate.visitors(1).await;
    let killed = first.kill().and_then(|()| first.wait());
    killed.map_err(|e| format!("crictl: {e}"))?;
    let second = crictl
        .command(&["create", &pod_id, &app, &config])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("crictl: {e}"))?;
    gate.open();
    let second = second
        .wait_with_output()
        .map_err(|e| format!("crictl: {e}"))?;
    let id = crictl.run(&["ps", "--all", "--quiet", "--no-trunc"])?;
    is("how many there are", id.lines().count(), 1)?;
    let error = String::from_utf8_lossy(&second.stderr).into_owned();
    says("a second one", Err(error), &id)?;
    crictl.run(&["start", &id])?;
    crictl.run(&["rmp", "--force", &pod_id])?;
    stage.is_clean()
}

/// An image is removed while a container of it is created: the container has its files, and the
/// image is gone.
async fn image_goes(stage: &mut Stage) -> Result<(), String> {
    let gate = Gate::new();
    let plugin = slow(&gate);
    let _connected = stage.join(&plugin).await?;
    let crictl = &stage.crictl;
    let pod_id = crictl.run_pod(&pod("image"))?;
    let (config, app) = (
        file("pod", &pod("image"))?,
        file("container", &container("app"))?,
    );
    let creation = crictl
        .command(&["create", &pod_id, &app, &config])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("crictl: {e}"))?;
    gate.visitors(1).await;
    crictl.run(&["rmi", IMAGE])?;
    gate.open();
    let created = creation
        .wait_with_output()
        .map_err(|e| format!("crictl: {e}"))?;
    is("whether it is created", created.status.success(), true)?;
    let id = String::from_utf8_lossy(&created.stdout).trim().to_owned();
    crictl.run(&["start", &id])?;
    is(
        "a file of the image that is gone",
        &*crictl.script(&id, "ls /bin/busybox /image/busybox | wc -l")?,
        "2",
    )?;
    says(
        "another one of it",
        crictl.create(&pod_id, &pod("image"), &container("other")),
        "pull it first",
    )?;
    crictl.run(&["rmp", "--force", &pod_id])?;
    let layers = entries(&Path::new(ROOT).join("images/layers"));
    is("the layers that are left", layers.count(), 0)?;
    crictl.run(&["pull", IMAGE])?;
    stage.is_clean()
}
