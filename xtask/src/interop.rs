//! `cargo xtask interop`: the real Go peers, both ways round. Our runtime with a plugin on the reference's plugin library, and
//! the reference's runtime library with our plugin.
//!
//! Needs Go; the Go programs are in `nri-testkit/interop`. A missing need is a failure, never a skip.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use nri_adaptation::{Config, Nri};
use nri_core::{Api as _, Ctx, Event, api};
use nri_testkit::MemoryDomain;
use serde_json::Value;
use tempfile::TempDir;

use crate::demo::{Examples, Timeline};
use crate::process::{self, Beside};
use crate::workspace;

#[derive(Args, Debug, Default)]
pub(crate) struct Options {}

/// How long anything may take that takes moments when it works.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a program may take that builds something first.
const BUILDING: Duration = Duration::from_secs(600);

/// A row of the result.
struct Row {
    peer: &'static str,
    direction: &'static str,
    checked: String,
    took: Duration,
}

pub(crate) fn run(_: &Options) -> Result<(), String> {
    let house =
        TempDir::with_prefix("nri-interop-").map_err(|e| format!("a temporary directory: {e}"))?;
    let go = build_go(house.path())?;
    let examples = Examples::build()?;
    let mut rows = Vec::new();
    for (peer, direction, check) in [
        (
            "Go plugin",
            "connects to our runtime",
            go_plugin as fn(&Go, &Examples, &Path) -> Result<String, String>,
        ),
        ("Go runtime", "our logger connects to it", go_runtime),
        (
            "Go plugin",
            "connects to a demo that is kept",
            go_plugin_on_the_demo,
        ),
    ] {
        let begun = Instant::now();
        let work = TempDir::with_prefix_in("case-", house.path()).map_err(|e| e.to_string())?;
        let checked =
            check(&go, &examples, work.path()).map_err(|e| format!("{peer}, {direction}: {e}"))?;
        rows.push(Row {
            peer,
            direction,
            checked,
            took: begun.elapsed(),
        });
    }
    println!("Interoperability with {} ({})", go.module, go.version);
    for Row {
        peer,
        direction,
        checked,
        took,
    } in &rows
    {
        println!(
            "  ok  {peer:<10}  {direction:<31}  {:>5.1} s  {checked}",
            took.as_secs_f64()
        );
    }
    Ok(())
}

/// The Go programs, built.
struct Go {
    directory: PathBuf,
    version: String,
    module: String,
}

const REFERENCE: &str = "github.com/containerd/nri";

fn build_go(house: &Path) -> Result<Go, String> {
    let version = process::capture(Command::new("go").arg("version")).map_err(|e| {
        format!("interoperability needs Go 1.24 or later, to be installed first: {e}")
    })?;
    let sources = workspace::root().join("nri-testkit/interop");
    let directory = house.join("bin");
    process::run(
        Command::new("go")
            .current_dir(&sources)
            .args(["build", "-buildvcs=false", "-tags", "nri_no_wasm", "-o"])
            .arg(format!("{}/", directory.display()))
            .arg("./cmd/..."),
    )?;
    let module = process::capture(
        Command::new("go")
            .current_dir(&sources)
            .args(["list", "-m", REFERENCE]),
    )?;
    Ok(Go {
        directory,
        version: version.trim().to_owned(),
        module: module.trim().to_owned(),
    })
}

/// The events of the life that is relayed below, in order.
const LIFE: [Event; 14] = [
    Event::RunPodSandbox,
    Event::CreateContainer,
    Event::ValidateContainerAdjustment,
    Event::PostCreateContainer,
    Event::StartContainer,
    Event::PostStartContainer,
    Event::UpdateContainer,
    Event::PostUpdateContainer,
    Event::UpdatePodSandbox,
    Event::PostUpdatePodSandbox,
    Event::StopContainer,
    Event::RemoveContainer,
    Event::StopPodSandbox,
    Event::RemovePodSandbox,
];

/// Bytes of environment of the container that is created.
const LARGE: usize = 100 << 10;

/// A Go plugin on our runtime: it is synchronised, hears all fourteen events, and adjusts a container whose request is large.
fn go_plugin(go: &Go, _: &Examples, work: &Path) -> Result<String, String> {
    let socket = work.join("nri.sock");
    let report = work.join("report");
    let timeline = Timeline::new();
    let mut config = Config::default();
    config.socket_path = socket.clone();
    config.plugin_path = work.join("plugins");
    config.plugin_config_path = work.join("conf.d");
    config.plugin_request_timeout = Duration::from_secs(20);

    let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
    let domain = Arc::new(MemoryDomain::new("interop"));
    let mut existing = container("existing", 10);
    existing.state = api::ContainerState::ContainerRunning.into();
    domain.put_pod(pod("pod-existing"));
    domain.put_container(existing);
    let nri = runtime.block_on(async {
        let nri = Nri::builder(config)
            .runtime("nri-interop", env!("CARGO_PKG_VERSION"))
            .domain(Arc::clone(&domain) as Arc<dyn nri_core::Domain>)
            .observer(Arc::clone(&timeline) as Arc<dyn nri_adaptation::Observer>)
            .build()
            .map_err(|e| e.to_string())?;
        nri.start().await.map_err(|e| e.to_string())?;
        Ok::<_, String>(nri)
    })?;
    let plugin = Beside::start(
        Command::new(go.directory.join("goplugin"))
            .args(["-adjust", "-socket"])
            .arg(&socket)
            .arg("-report")
            .arg(&report),
    )?;
    timeline.wait_for("10-goplugin", PATIENCE)?;

    let created = container("created", LARGE);
    let adjustment = runtime.block_on(live(&nri, &pod("pod-created"), &created));
    runtime.block_on(nri.stop());
    let adjustment = adjustment?;
    let (_, status) = plugin.finish(PATIENCE)?;
    if !status.success() {
        return Err(format!("the plugin ended with {status}"));
    }

    expect(
        "annotation",
        adjustment.annotations.get("interop.example/plugin"),
        Some(&"10-goplugin".to_owned()),
    )?;
    let env = adjustment
        .env
        .iter()
        .find(|env| env.key == "NRI_INTEROP_PLUGIN")
        .map(|env| env.value.as_str());
    expect("variable", env, Some("10-goplugin"))?;
    let mount = adjustment
        .mounts
        .iter()
        .find(|mount| mount.destination == "/nri-interop");
    expect(
        "mount",
        mount.map(|mount| mount.r#type.as_str()),
        Some("tmpfs"),
    )?;
    let args = ["/nri-interop/init", "--", "/bin/sleep", "infinity"];
    expect(
        "args",
        adjustment
            .args
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        args.to_vec(),
    )?;

    let lines = read_lines(&report)?;
    let of = |event: &str| lines.iter().find(|line| line["event"] == event);
    expect(
        "containers it was shown",
        of("Synchronize").map(|line| &line["containers"]),
        Some(&Value::from(1)),
    )?;
    let sent: usize = created.env.iter().map(String::len).sum();
    expect(
        "environment it received",
        of("CreateContainer").map(|line| &line["env_bytes"]),
        Some(&Value::from(sent)),
    )?;
    let heard: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["event"].as_str())
        .collect();
    let expected: Vec<&str> = LIFE.iter().map(|event| event.name()).collect();
    expect(
        "events it heard",
        &heard
            .iter()
            .copied()
            .filter(|e| expected.contains(e))
            .collect(),
        &expected,
    )?;
    Ok(format!(
        "14 events in order, a request of {LARGE} B, adjustment of annotations, env, mounts and args"
    ))
}

/// One pod and one container through every event; returns what the plugins want of the container.
async fn live(
    nri: &Nri,
    pod: &api::PodSandbox,
    container: &api::Container,
) -> Result<api::ContainerAdjustment, String> {
    let text = |error: nri_core::Error| error.to_string();
    let cx = Ctx::new();
    let resources = api::LinuxResources {
        pids: Some(api::LinuxPids { limit: 64 }),
        ..Default::default()
    };
    nri.run_pod_sandbox(&cx, pod).await.map_err(text)?;
    let creation = nri
        .create_container(&cx, pod, container)
        .await
        .map_err(text)?;
    let adjustment = creation.adjustment().cloned().unwrap_or_default();
    creation.commit();
    nri.post_create_container(&cx, pod, container)
        .await
        .map_err(text)?;
    nri.start_container(&cx, pod, container)
        .await
        .map_err(text)?;
    nri.post_start_container(&cx, pod, container)
        .await
        .map_err(text)?;
    nri.update_container(&cx, pod, container, Some(resources.clone()))
        .await
        .map_err(text)?;
    nri.post_update_container(&cx, pod, container)
        .await
        .map_err(text)?;
    nri.update_pod_sandbox(&cx, pod, None, Some(resources))
        .await
        .map_err(text)?;
    nri.post_update_pod_sandbox(&cx, pod).await.map_err(text)?;
    nri.stop_container(&cx, pod, container)
        .await
        .map_err(text)?;
    nri.remove_container(&cx, pod, container)
        .await
        .map_err(text)?;
    nri.stop_pod_sandbox(&cx, pod).await.map_err(text)?;
    nri.remove_pod_sandbox(&cx, pod).await.map_err(text)?;
    Ok(adjustment)
}

fn pod(id: &str) -> api::PodSandbox {
    api::PodSandbox {
        id: id.to_owned(),
        name: id.to_owned(),
        namespace: "interop".to_owned(),
        ..Default::default()
    }
}

fn container(name: &str, env_bytes: usize) -> api::Container {
    api::Container {
        id: format!("container-{name}"),
        pod_sandbox_id: format!("pod-{name}"),
        name: name.to_owned(),
        args: vec!["/bin/sleep".to_owned(), "infinity".to_owned()],
        env: vec![format!("FILLER={}", "x".repeat(env_bytes))],
        ..Default::default()
    }
}

/// Containers that the Go runtime has at the start; with its default environment they take two messages or more.
const CONTAINERS: usize = 300;

/// Our logger on the Go runtime: it is shown many containers in several messages, and hears all events.
fn go_runtime(go: &Go, examples: &Examples, work: &Path) -> Result<String, String> {
    let runtime = Beside::start(
        Command::new(go.directory.join("goruntime"))
            .arg("-dir")
            .arg(work)
            .args(["-containers", &CONTAINERS.to_string()]),
    )?;
    while json(&next(&runtime)?)?["event"] != "listening" {}
    let logger = Beside::start(
        Command::new(examples.path("logger")?)
            .args(["--format", "json", "--socket"])
            .arg(work.join("nri.sock")),
    )?;
    let mut synchronized = Value::Null;
    loop {
        let line = json(&next(&runtime)?)?;
        match line["event"].as_str() {
            Some("done") => break,
            Some("error") => return Err(format!("the Go runtime says: {}", line["message"])),
            Some("Synchronize") => synchronized = line,
            _ => {}
        }
    }
    expect(
        "error of the synchronisation",
        &synchronized["error"],
        &Value::Null,
    )?;
    let (_, status) = runtime.finish(PATIENCE)?;
    if !status.success() {
        return Err(format!("the Go runtime ended with {status}"));
    }
    let (logged, _) = logger.finish(PATIENCE)?;
    let lines = logged
        .iter()
        .map(|line| json(line))
        .collect::<Result<Vec<_>, _>>()?;
    let shown = lines
        .iter()
        .find(|line| line["event"] == "Synchronize")
        .ok_or("the logger was not synchronised")?;
    let count = |what: &str| shown[what].as_array().map(Vec::len);
    expect("pods it was shown", count("pods"), Some(CONTAINERS))?;
    expect(
        "containers it was shown",
        count("containers"),
        Some(CONTAINERS),
    )?;
    for event in LIFE {
        if !lines.iter().any(|line| line["event"] == event.name()) {
            return Err(format!("the logger did not hear {event}"));
        }
    }
    Ok(format!(
        "{CONTAINERS} containers shown in several messages, 14 events"
    ))
}

/// A Go plugin on `cargo xtask demo --keep`, beside a peer that says nothing and one that says nonsense: they do not keep the
/// runtime from serving, and when it is told to end, nothing of it is left.
fn go_plugin_on_the_demo(go: &Go, _: &Examples, work: &Path) -> Result<String, String> {
    let (socket, temporary, report) =
        (work.join("nri.sock"), work.join("tmp"), work.join("report"));
    std::fs::create_dir(&temporary).map_err(|e| format!("{}: {e}", temporary.display()))?;
    // Not our own executable: whoever builds while we run replaces it.
    let built = process::build(&["--package", "xtask", "--bin", "xtask"])?;
    let xtask = built.get("xtask").ok_or("xtask was not built")?;
    let mut demo = Beside::start(
        Command::new(xtask)
            .args(["demo", "--keep", "--socket"])
            .arg(&socket)
            .env("TMPDIR", &temporary),
    )?;
    while within(&demo, BUILDING)? != socket.display().to_string() {}

    let connect = || UnixStream::connect(&socket).map_err(|e| format!("{}: {e}", socket.display()));
    let silent = connect()?;
    let mut garbage = connect()?;
    garbage
        .write_all(&[0xa5; 4096])
        .map_err(|e| e.to_string())?;
    let plugin = Beside::start(
        Command::new(go.directory.join("goplugin"))
            .arg("-socket")
            .arg(&socket)
            .arg("-report")
            .arg(&report),
    )?;
    while next(&plugin)? != "ready" {}
    // A third peer that sent nonsense is cut off; whatever it is sent first, this ends.
    garbage
        .set_read_timeout(Some(PATIENCE))
        .map_err(|e| e.to_string())?;
    let mut rest = Vec::new();
    let cut_off = garbage
        .read_to_end(&mut rest)
        .err()
        .filter(|e| e.kind() != std::io::ErrorKind::ConnectionReset);
    if let Some(error) = cut_off {
        return Err(format!(
            "the peer that sends nonsense is not cut off: {error}"
        ));
    }
    demo.tell("")?;
    while !next(&demo)?.contains(Event::RemovePodSandbox.name()) {}
    demo.terminate()?;
    let (_, status) = demo.finish(PATIENCE)?;
    if !status.success() {
        return Err(format!("the demo ended with {status}"));
    }
    drop(silent);
    plugin.finish(PATIENCE)?;
    let lines = read_lines(&report)?;
    let heard = |event: &str| lines.iter().any(|line| line["event"] == event);
    if let Some(missing) = LIFE.iter().find(|event| !heard(event.name())) {
        return Err(format!("the plugin did not hear {missing}"));
    }
    let left = std::fs::read_dir(&temporary)
        .map_err(|e| e.to_string())?
        .count();
    expect("files left behind", left, 0)?;
    expect("socket left behind", socket.exists(), false)?;
    Ok("14 events beside a silent and a nonsensical peer; nothing left behind".to_owned())
}

fn next(program: &Beside) -> Result<String, String> {
    within(program, PATIENCE)
}

fn within(program: &Beside, limit: Duration) -> Result<String, String> {
    program
        .line(limit)?
        .ok_or_else(|| "it ended early".to_owned())
}

fn json(line: &str) -> Result<Value, String> {
    serde_json::from_str(line).map_err(|e| format!("{line:?}: {e}"))
}

fn read_lines(path: &Path) -> Result<Vec<Value>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    text.lines().map(json).collect()
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: found {found:?}, expected {expected:?}"))
    }
}
