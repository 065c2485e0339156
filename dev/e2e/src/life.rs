//! A pod's whole life by crictl, step by step, and what a plugin hears of it.

use std::fs;
use std::net::TcpStream;

use nri_testkit::FakePlugin;
use serde_json::{Value, json};

use crate::crictl::{LOGS, container, pod, with_own};
use crate::events::Events;
use crate::expect::{is, until};
use crate::stage::Stage;

/// How far a life is.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) pod: String,
    pub(crate) container: String,
    /// Whether the pod has a user namespace of its own.
    pub(crate) own_users: bool,
}

impl Life {
    /// The pod's configuration.
    fn config(&self) -> Value {
        let config = pod("life");
        match self.own_users {
            true => with_own(config),
            false => config,
        }
    }
}

type Step = (&'static str, fn(&Stage, &mut Life) -> Result<(), String>);

/// The steps of a life, each with what must hold after it.
pub(crate) const STEPS: [Step; 9] = [
    ("run the pod", run_pod),
    ("create the container", create),
    ("start the container", start),
    ("run commands in it", exec),
    ("update it", update),
    ("stop the container", stop),
    ("remove the container", remove),
    ("stop the pod", stop_pod),
    ("remove the pod", remove_pod),
];

/// What a plugin hears of it.
const EVENTS: [&str; 11] = [
    "RunPodSandbox",
    "CreateContainer",
    "PostCreateContainer",
    "StartContainer",
    "PostStartContainer",
    "UpdateContainer",
    "PostUpdateContainer",
    "StopContainer",
    "RemoveContainer",
    "StopPodSandbox",
    "RemovePodSandbox",
];

/// Goes through a life with a plugin that listens.
///
/// # Errors
/// The step that fails; what the plugin did not hear as it should.
pub(crate) async fn run(stage: &mut Stage) -> Result<(), String> {
    let listener = FakePlugin::new("10-listener");
    let _connected = stage.join(&listener).await?;
    let events = Events::listen(stage)?;
    let mut life = Life::default();
    for (name, step) in STEPS {
        step(stage, &mut life).map_err(|error| format!("{name}: {error}\n{}", stage.said()))?;
        println!("e2e: life: {name}");
    }
    let heard = listener.events();
    let heard: Vec<&str> = heard
        .iter()
        .filter_map(|event| event.split(' ').next())
        .collect();
    is("what a plugin hears", heard, EVENTS.to_vec())?;
    let (pod, container) = (&*life.pod, &*life.container);
    let wanted = [
        ("CREATED", pod),
        ("STARTED", pod),
        ("CREATED", container),
        ("STARTED", container),
        ("STOPPED", container),
        ("DELETED", container),
        ("STOPPED", pod),
        ("DELETED", pod),
    ];
    let wanted = wanted.map(|(what, id)| (what.to_owned(), id.to_owned()));
    let heard = events.heard(wanted.len())?;
    is("what a client hears of containers", heard, wanted.to_vec())?;
    stage.is_clean()
}

fn run_pod(stage: &Stage, life: &mut Life) -> Result<(), String> {
    life.pod = stage.crictl.run_pod(&life.config())?;
    let status = stage.crictl.json(&["inspectp", &life.pod])?;
    is(
        "the state",
        status["status"]["state"].as_str(),
        Some("SANDBOX_READY"),
    )?;
    let ip = status["status"]["network"]["ip"]
        .as_str()
        .unwrap_or_default();
    is("the address", ip.starts_with("10.88.7."), true)?;
    // Another one of the same name.
    let again = stage.crictl.run_pod(&life.config());
    is("a pod of the same name", again.is_err(), true)
}

fn create(stage: &Stage, life: &mut Life) -> Result<(), String> {
    let mut unknown = container("app");
    unknown["CDI_devices"] = json!([{"name": "e2e.local/dev=none"}]);
    let refused = stage.crictl.create(&life.pod, &life.config(), &unknown);
    let why = refused.err().unwrap_or_default();
    for part in ["e2e.local/dev=none", "install", "/run/e2e/cdi"] {
        is(&format!("{part} in {why:?}"), why.contains(part), true)?;
    }
    life.container = stage
        .crictl
        .create(&life.pod, &life.config(), &container("app"))?;
    is(
        "the state",
        &*stage.crictl.state(&life.container)?,
        "CREATED",
    )
}

fn start(stage: &Stage, life: &mut Life) -> Result<(), String> {
    stage.crictl.run(&["start", &life.container])?;
    is(
        "the state",
        &*stage.crictl.state(&life.container)?,
        "RUNNING",
    )?;
    until("the container's output in its log", || {
        Ok(log()?.contains(" stderr F oops\n"))
    })?;
    is("the log", log()?.contains(" stdout F hello\n"), true)
}

fn log() -> Result<String, String> {
    fs::read_to_string(format!("{LOGS}/app.log")).map_err(|e| format!("the log: {e}"))
}

fn exec(stage: &Stage, life: &mut Life) -> Result<(), String> {
    let crictl = &stage.crictl;
    let inside = |script: &str| crictl.script(&life.container, script);
    is("the host's name", &*inside("hostname")?, "life")?;
    is(
        "the resolver",
        &*inside("head -1 /etc/resolv.conf")?,
        "nameserver 10.0.0.10",
    )?;
    is("the environment", &*inside("echo $OWN")?, "1")?;
    is(
        "CDI devices",
        &*inside("echo $CDI_FIELD $CDI_ANNOTATION")?,
        "yes yes",
    )?;
    let used =
        inside("echo x > /dev/cdi-field; echo y > /dev/cdi-annotation; ls -l /dev/cdi-field")?;
    is(&used, used.starts_with('c'), true)?;
    // Of the configuration, and of an annotation of the pod.
    let limit = |name: &str| inside(&format!("grep '{name}' /proc/1/limits | tr -s ' '"));
    is(
        "a limit",
        limit("core file")?.contains(" size 0 4096 "),
        true,
    )?;
    is(
        "a limit",
        limit("open files")?.contains(" files 777 888 "),
        true,
    )?;
    is("a layer by zstd", &*inside("cat /etc/of-zstd")?, "unpacked")?;
    is(
        "the first process",
        inside("cat /proc/1/cmdline")?.starts_with("sh"),
        true,
    )?;
    is(
        "a system call that is denied",
        inside("unshare -m true").is_err(),
        true,
    )?;
    is(
        "a path that is masked",
        &*inside("cat /proc/version | wc -c")?,
        "0",
    )?;
    is(
        "an image that is mounted",
        &*inside("ls /image/busybox")?,
        "/image/busybox",
    )?;
    is("writing to it", inside("touch /image/new").is_err(), true)?;
    let stats = crictl.json(&["stats", "--output", "json", &life.container])?;
    let memory = &stats["stats"][0]["memory"]["usageBytes"]["value"];
    let memory = memory.as_str().and_then(|bytes| bytes.parse::<u64>().ok());
    is(
        "whether it uses memory",
        memory.is_some_and(|bytes| bytes > 0),
        true,
    )?;
    let failing = crictl.output(&["exec", "--sync", &life.container, "sh", "-c", "exit 7"])?;
    is(
        "a command that fails",
        String::from_utf8_lossy(&failing.stderr).contains("exited with 7"),
        true,
    )?;
    // It is killed, and with it whatever it runs.
    let late = crictl.run(&[
        "exec",
        "--sync",
        "--timeout",
        "1",
        &life.container,
        "sleep",
        "98765",
    ]);
    is("a command that takes too long", late.is_err(), true)?;
    is(
        "what is left of it",
        &*inside("ps | grep -c '[9]8765' || true")?,
        "0",
    )?;
    // A port of the host's is the container's.
    inside("nc -l -p 80 -e echo served >/dev/null 2>&1 &")?;
    until("the port of the host", || {
        Ok(TcpStream::connect("127.0.0.1:8080").is_ok())
    })
}

fn update(stage: &Stage, life: &mut Life) -> Result<(), String> {
    let bytes = (32 << 20).to_string();
    stage
        .crictl
        .run(&["update", "--memory", &bytes, &life.container])?;
    is(
        "the limit of memory",
        memory(stage, &life.container)?,
        bytes.clone(),
    )?;
    let status = stage.crictl.json(&["inspect", &life.container])?;
    let shown = &status["status"]["resources"]["linux"]["memoryLimitInBytes"];
    is("the limit that is shown", shown.as_str(), Some(&*bytes))
}

/// The limit of memory that the kernel has for a container.
pub(crate) fn memory(stage: &Stage, container: &str) -> Result<String, String> {
    let files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max";
    stage
        .crictl
        .script(container, &format!("cat {files} 2>/dev/null || true"))
}

fn stop(stage: &Stage, life: &mut Life) -> Result<(), String> {
    stage
        .crictl
        .run(&["stop", "--timeout", "60", &life.container])?;
    is("the exit code", stage.crictl.ended(&life.container)?.0, 3)?;
    is("the log", log()?.contains(" stdout F bye\n"), true)
}

fn remove(stage: &Stage, life: &mut Life) -> Result<(), String> {
    stage.crictl.run(&["rm", &life.container])?;
    is(
        "a container that is removed",
        stage.crictl.state(&life.container).is_err(),
        true,
    )
}

fn stop_pod(stage: &Stage, life: &mut Life) -> Result<(), String> {
    stage.crictl.run(&["stopp", &life.pod])?;
    let status = stage.crictl.json(&["inspectp", &life.pod])?;
    is(
        "the state",
        status["status"]["state"].as_str(),
        Some("SANDBOX_NOTREADY"),
    )
}

fn remove_pod(stage: &Stage, life: &mut Life) -> Result<(), String> {
    stage.crictl.run(&["rmp", &life.pod])?;
    let pods = stage.crictl.run(&["pods", "--quiet"])?;
    is("the pods that are left", &*pods, "")
}
