//! A kubelet without an API server: it runs static pods from a directory, with probes, while
//! plugins watch, while either it or the runtime dies, and takes them away again.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nri_core::build::{Adjust as _, BuildError};
use nri_core::{Event, api};
use nri_dev::process;
use nri_dev::wait::within;
use nri_testkit::{Behavior, FakePlugin};
use serde_json::{Value, json};

use crate::crictl::IMAGE;
use crate::expect::{is, until};
use crate::in_go::InGo;
use crate::stage::{SOCKET, Stage};

const DIR: &str = "/run/e2e/kubelet";
/// Where it says what it knows, to everybody on this machine.
const PODS: &str = "http://127.0.0.1:10255/pods";
/// It collects garbage once a minute, and in several steps.
const COLLECTED: Duration = Duration::from_secs(600);
/// Settings of the kernel that it makes, which are the whole machine's.
const SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];
/// What is heard of each container.
const EVENTS: [&str; 5] = [
    "CreateContainer",
    "PostCreateContainer",
    "StartContainer",
    "PostStartContainer",
    "StopContainer",
];

/// Has a kubelet run a pod.
///
/// # Errors
/// What does not come out as it should, with the end of its log.
pub(crate) async fn run(stage: &mut Stage) -> Result<(), String> {
    let log = stage.directory().join("kubelet.log");
    let done = story(stage, &log).await;
    done.map_err(|error| format!("{error}\n{}\n{}", stage.said(), last_lines(&log)))
}

async fn story(stage: &mut Stage, log: &Path) -> Result<(), String> {
    prepare()?;
    let plugin = FakePlugin::new("10-ours").on(
        Event::CreateContainer,
        Behavior::adjust(adjustment().map_err(|e| e.to_string())?),
    );
    let connected = stage.join(&plugin).await?;
    let of_go = json!({"env": [{"key": "FROM_GO", "value": "yes"}]});
    let in_go = InGo::start(&stage.needs().goplugin, &of_go)?;
    let kubelet = Kubelet::start(stage, log)?;
    let manifest = format!("{DIR}/manifests/web.yaml");
    // JSON is YAML.
    fs::write(&manifest, pod().to_string()).map_err(|e| format!("{manifest}: {e}"))?;
    begins(stage)?;
    println!("e2e: kubelet: a pod is ready once its probes say so");
    let first = running(stage)?;
    heard(stage, &plugin, &first, 4)?;
    in_go.heard("StartContainer", &first[0])?;
    for (id, name) in first.iter().zip(CONTAINERS) {
        let said = stage.crictl.script(id, "echo $FROM_PLUGIN $FROM_GO")?;
        is(&format!("what plugins gave {name}"), &*said, "yes yes")?;
    }
    println!("e2e: kubelet: plugins, ours and one in Go, hear of it and change its containers");
    restarted(stage, &first[0])?;
    heard(stage, &plugin, &first[..1], EVENTS.len())?;
    println!("e2e: kubelet: a container whose probe fails is restarted");
    let second = running(stage)?;
    rotated(stage)?;
    println!("e2e: kubelet: no line is lost while logs are rotated");

    drop(kubelet);
    let kubelet = Kubelet::start(stage, log)?;
    until("the pod, at a kubelet that was killed", || {
        Ok(ready()? == Some(true))
    })?;
    is("the containers", running(stage)?, second.clone())?;
    println!("e2e: kubelet: a kubelet that was killed keeps the pod");

    stage.kill()?;
    stage.start()?;
    drop((connected, in_go));
    let plugin = FakePlugin::new("10-ours");
    let _connected = stage.join(&plugin).await?;
    // It is asked for, and believed, what containers say now.
    turns(stage, &second[1], false)?;
    turns(stage, &second[1], true)?;
    is("the containers", running(stage)?, second.clone())?;
    println!("e2e: kubelet: a runtime that was killed keeps the pod");

    fs::remove_file(&manifest).map_err(|e| format!("{manifest}: {e}"))?;
    within(COLLECTED, "the end of a pod without a manifest", || {
        Ok(stage.crictl.run(&["pods", "--quiet"])?.is_empty())
    })?;
    let last = plugin.events().pop().unwrap_or_default();
    is(
        &format!("the end in the last event, {last}"),
        last.starts_with("RemovePodSandbox "),
        true,
    )?;
    drop(kubelet);
    // It mounts its own directory onto itself; if anything of a pod were left in it, it were busy.
    process::run(Command::new("umount").arg(format!("{DIR}/root")))?;
    stage.is_clean()?;
    println!("e2e: kubelet: a pod without a manifest is removed, and nothing is left");
    Ok(())
}

const CONTAINERS: [&str; 2] = ["server", "talker"];

/// A pod whose first container serves a page, and whose second talks all the time.
fn pod() -> Value {
    let serve = "echo served > /tmp/index.html; httpd -p 8000 -h /tmp; \
        trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let talk = "trap 'exit 0' TERM; n=0; while :; do \
        i=0; while [ $i -lt 50 ]; do n=$((n+1)); echo line $n; i=$((i+1)); done; sleep 0.1; done";
    let exec = |command: &str| json!({"command": ["sh", "-c", command]});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "e2e"},
        "spec": {"terminationGracePeriodSeconds": 30, "containers": [
            {
                "name": CONTAINERS[0], "image": IMAGE, "command": ["sh", "-c", serve],
                "readinessProbe": {
                    "httpGet": {"path": "/index.html", "port": 8000},
                    "periodSeconds": 1, "timeoutSeconds": 30,
                },
                "livenessProbe": {
                    "exec": exec("! test -e /tmp/sick"),
                    "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1,
                },
            },
            {
                "name": CONTAINERS[1], "image": IMAGE, "command": ["sh", "-c", talk],
                "readinessProbe": {
                    "exec": exec("test -e /tmp/ready"),
                    "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1,
                },
            },
        ]},
    })
}

fn adjustment() -> Result<api::ContainerAdjustment, BuildError> {
    let mut adjust = api::ContainerAdjustment::default();
    adjust.add_env("FROM_PLUGIN", "yes")?;
    Ok(adjust)
}

/// What a kubelet finds: directories, its configuration, and settings that are not the machine's.
fn prepare() -> Result<(), String> {
    for name in ["manifests", "root", "certificates", "logs"] {
        let dir = format!("{DIR}/{name}");
        fs::create_dir_all(&dir).map_err(|e| format!("{dir}: {e}"))?;
    }
    // Where it puts sockets whatever it is told.
    let sockets = "/var/lib/kubelet";
    fs::create_dir_all(sockets).map_err(|e| format!("{sockets}: {e}"))?;
    process::run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", sockets]))?;
    for setting in SETTINGS {
        let real = Path::new("/proc/sys").join(setting);
        if !real.exists() {
            continue;
        }
        let copy = format!("/run/e2e/setting-{}", setting.replace('/', "-"));
        fs::copy(&real, &copy).map_err(|e| format!("{}: {e}", real.display()))?;
        process::run(Command::new("mount").args(["--bind", &copy]).arg(&real))?;
    }
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        // It would put pods into cgroups of its own, which are the whole machine's.
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "staticPodPath": format!("{DIR}/manifests"),
        "fileCheckFrequency": "1s",
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "address": "127.0.0.1",
        "readOnlyPort": 10255,
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "podLogsDir": format!("{DIR}/logs"),
        "containerLogMaxSize": "64Ki",
        "containerLogMaxFiles": 2,
        "containerLogMonitorInterval": "3s",
        "resolvConf": "",
        "makeIPTablesUtilChains": false,
        "localStorageCapacityIsolation": false,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%",
        },
    });
    let path = format!("{DIR}/config.json");
    fs::write(&path, config.to_string()).map_err(|e| format!("{path}: {e}"))
}

/// The kubelet, which is killed when it is dropped.
struct Kubelet(Child);

impl Kubelet {
    /// Starts it and waits until it says what it knows.
    fn start(stage: &Stage, log: &Path) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("kubelet: {e}");
        let program = stage.needs().kubelet.as_ref().ok_or("no kubelet")?;
        let output = File::options().create(true).append(true).open(log);
        let child = Command::new(program)
            .args(["--config", &format!("{DIR}/config.json")])
            .args(["--root-dir", &format!("{DIR}/root")])
            .args(["--cert-dir", &format!("{DIR}/certificates")])
            .args(["--hostname-override", "e2e"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output.map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let mut kubelet = Self(child);
        until("a kubelet that serves", || {
            if let Some(status) = kubelet.0.try_wait().map_err(failed)? {
                return Err(format!("kubelet has ended ({status})"));
            }
            Ok(known().is_ok())
        })?;
        Ok(kubelet)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// What it knows of its pods.
fn known() -> Result<Value, String> {
    let wget = ["wget", "-q", "-O", "-", PODS];
    let said = process::capture(Command::new("busybox").args(wget))?;
    serde_json::from_str(&said).map_err(|e| format!("{PODS}: {e}: {said}"))
}

/// The status of the pod, as it knows it.
fn status() -> Result<Value, String> {
    let status = known()?.pointer_mut("/items/0/status").map(Value::take);
    Ok(status.unwrap_or_default())
}

/// Whether it takes the pod for ready, once it knows.
fn ready() -> Result<Option<bool>, String> {
    let status = status()?;
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let ready = conditions.find(|condition| condition["type"] == "Ready");
    Ok(ready.map(|condition| condition["status"] == "True"))
}

/// What it knows of a container.
fn of_container<T>(
    name: &str,
    key: &str,
    read: fn(&Value) -> Option<T>,
) -> Result<Option<T>, String> {
    let status = status()?;
    let mut all = status["containerStatuses"].as_array().into_iter().flatten();
    Ok(all
        .find(|one| one["name"] == name)
        .and_then(|one| read(&one[key])))
}

/// The ids of the containers that run, in the order of the pod.
fn running(stage: &Stage) -> Result<Vec<String>, String> {
    let ids = CONTAINERS.map(|name| {
        let ps = [
            "ps",
            "--quiet",
            "--no-trunc",
            "--state",
            "Running",
            "--name",
        ];
        stage.crictl.run(&[&ps[..], &[name]].concat())
    });
    ids.into_iter().collect()
}

/// The first container is ready by itself, the second once it is told so.
fn begins(stage: &Stage) -> Result<(), String> {
    until("a container that serves, at the kubelet", || {
        Ok(of_container(CONTAINERS[0], "ready", Value::as_bool)? == Some(true))
    })?;
    let talker = of_container(CONTAINERS[1], "ready", Value::as_bool)?;
    is("whether the other container is ready", talker, Some(false))?;
    is("whether the pod is", ready()?, Some(false))?;
    until("the other container", || Ok(!running(stage)?[1].is_empty()))?;
    turns(stage, &running(stage)?[1], true)
}

/// Makes the second container ready, or not ready, and waits until it is known.
fn turns(stage: &Stage, talker: &str, to: bool) -> Result<(), String> {
    let command = match to {
        true => "touch /tmp/ready",
        false => "rm /tmp/ready",
    };
    stage.crictl.script(talker, command)?;
    until(&format!("that {to} is whether the pod is ready"), || {
        Ok(ready()? == Some(to))
    })
}

/// Makes the liveness probe of the first container fail.
fn restarted(stage: &Stage, id: &str) -> Result<(), String> {
    stage.crictl.script(id, "touch /tmp/sick")?;
    until("a restart", || {
        Ok(of_container(CONTAINERS[0], "restartCount", Value::as_i64)? == Some(1))
    })?;
    until("that the pod is ready again", || Ok(ready()? == Some(true)))?;
    let new = &running(stage)?[0];
    is("whether it is another container", new != id, true)?;
    let status = stage.crictl.json(&["inspect", new])?;
    let attempt = status["status"]["metadata"]["attempt"].as_i64();
    is("its attempt", attempt, Some(1))?;
    is("the exit code of the first", stage.crictl.ended(id)?.0, 0)
}

/// Whether a plugin has heard of the pod, and of containers as far as they are.
fn heard(stage: &Stage, plugin: &FakePlugin, ids: &[String], far: usize) -> Result<(), String> {
    let pod = stage.crictl.run(&["pods", "--quiet", "--no-trunc"])?;
    let events = plugin.events();
    is(
        "the first event",
        events.first(),
        Some(&format!("RunPodSandbox {pod}")),
    )?;
    for id in ids {
        let of_it = events.iter().filter(|event| event.contains(id));
        let of_it: Vec<&str> = of_it.filter_map(|event| event.split(' ').next()).collect();
        let of_it = &of_it[..far.min(of_it.len())];
        is("what a plugin hears", of_it, &EVENTS[..far])?;
    }
    Ok(())
}

/// Waits until the kubelet has rotated a log, and looks whether there is a gap in it.
fn rotated(stage: &Stage) -> Result<(), String> {
    let status = stage.crictl.json(&["inspect", &running(stage)?[1]])?;
    let log = status["status"]["logPath"].as_str().unwrap_or_default();
    let log = Path::new(log);
    let dir = log.parent().unwrap_or(log);
    until("a log that is rotated twice, without a gap", || {
        let mut names: Vec<_> = crate::directories::entries(dir).collect();
        names.retain(|name| {
            name.extension()
                .is_some_and(|kind| kind != "tmp" && kind != "gz")
        });
        // The current one has the shortest name, and is the last.
        names.sort_by_key(|name| (name == log, name.clone()));
        let mut lines = Vec::new();
        for name in &names {
            // It may have been rotated away.
            let text = fs::read_to_string(name).unwrap_or_default();
            let numbers = text.lines().filter_map(|line| line.rsplit_once(" F line "));
            lines.extend(numbers.filter_map(|(_, number)| number.parse::<u64>().ok()));
        }
        let gap = lines.windows(2).any(|two| two[1] != two[0] + 1);
        Ok(names.len() == 2 && !gap && lines.first().is_some_and(|first| *first > 1))
    })
}
