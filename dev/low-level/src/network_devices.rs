//! The plugin `network-device-injector` really moves devices: between network namespaces that are
//! made for that. What may not enter: what needs no root.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nri_dev::process::{self, ChildProcess};
use serde_json::{Value, json};

/// How long an answer may take.
const TIME: Duration = Duration::from_secs(60);

/// A process that keeps a network namespace.
struct Namespace(ChildProcess);

impl Namespace {
    fn new() -> Result<Self, String> {
        let mut keeper = Command::new("unshare");
        // It says when it is there, and ends with its input.
        keeper.args(["--net", "sh", "-c", "echo there; exec cat"]);
        let process = ChildProcess::start(&mut keeper)?;
        process
            .line(TIME)?
            .ok_or("unshare --net does not work here")?;
        Ok(Self(process))
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.pid())
    }

    /// A command in it.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    fn ip(&self, arguments: &str) -> Result<String, String> {
        process::capture(self.command("ip").args(arguments.split(' ')))
    }

    /// What `ip` says of a device; `None` if it is not there.
    fn device(&self, name: &str) -> Result<Option<Value>, String> {
        let all = self.ip("-json address show")?;
        let all: Vec<Value> =
            serde_json::from_str(&all).map_err(|error| format!("{all}: {error}"))?;
        Ok(all.into_iter().find(|device| device["ifname"] == name))
    }
}

/// The simulated runtime.
struct Runtime(ChildProcess);

impl Runtime {
    fn ask(&mut self, command: &Value) -> Result<Value, String> {
        self.0.say(&command.to_string())?;
        let line = self.0.line(TIME)?.ok_or("nri-sim ended")?;
        serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))
    }

    /// Runs a pod and returns the error that came of it, or nothing.
    fn pod(&mut self, id: &str, annotation: &str, network: &str) -> Result<String, String> {
        let pod = json!({
            "id": id, "name": id, "namespace": "default",
            "annotations": {"netdevices.noderesource.dev": annotation},
            "linux": {"namespaces": [{"type": "network", "path": network}]},
        });
        let answer = self.ask(&json!({"cmd": "run-pod", "pod": pod}))?;
        Ok(answer["error"].as_str().unwrap_or_default().to_owned())
    }
}

fn expect(what: &str, holds: bool, found: &dyn std::fmt::Debug) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("network devices: {what}; there is {found:?}")),
    }
}

/// Moves devices into a pod and back, and sees that what fails leaves everything as it was.
///
/// # Errors
/// Something is missing here, or is not as expected.
pub(crate) fn run(directory: &Path) -> Result<(), String> {
    let built = process::build(&[
        "--package",
        "nri-network-device-injector",
        "--package",
        "nri-testkit",
        "--features",
        "nri-testkit/cli",
        "--bin",
        "nri-network-device-injector",
        "--bin",
        "nri-sim",
    ])?;
    let program = |name: &str| {
        built
            .get(name)
            .ok_or_else(|| format!("{name} was not built"))
    };
    let socket = directory.join("nri.sock");
    let mut serve = Command::new(program("nri-sim")?);
    serve
        .args(["serve", "--socket"])
        .arg(&socket)
        .stderr(Stdio::null());
    let mut runtime = Runtime(ChildProcess::start(&mut serve)?);
    runtime.ask(&json!({"cmd": "state"}))?;

    let (host, pod) = (Namespace::new()?, Namespace::new()?);
    host.ip("link add nri-a type veth peer name nri-b")?;
    host.ip("link set nri-a up")?;
    host.ip("link set nri-a alias kept")?;
    host.ip("link add nri-c type veth peer name nri-d")?;
    host.ip("address add 192.0.2.1/24 dev nri-c")?;
    // The pod has one of that name already.
    pod.ip("link add nri-a type veth peer name nri-x")?;
    let mut plugin = host.command(program("nri-network-device-injector")?);
    plugin
        .args(["--once", "--socket"])
        .arg(&socket)
        .stderr(Stdio::null());
    let plugin = ChildProcess::start(&mut plugin)?;
    let joined = runtime.ask(&json!({"cmd": "wait-plugins", "count": 1, "timeout_ms": 60_000}))?;
    expect("the plugin connects", joined["ok"] == true, &joined)?;

    // In, with all that is asked for.
    let asked = "- {name: nri-a, new_name: eth1, address: 198.51.100.2, prefix: 24, mtu: 1400}\n- {name: nri-b, address: fd00::2, prefix: 64}";
    let error = runtime.pod("p1", asked, &pod.path())?;
    expect("devices are moved", error.is_empty(), &error)?;
    let moved = pod.device("eth1")?.ok_or("eth1 is not in the pod")?;
    let address = &moved["addr_info"][0];
    let as_asked =
        moved["mtu"] == 1400 && address["local"] == "198.51.100.2" && address["prefixlen"] == 24;
    let is_up = moved["flags"]
        .as_array()
        .is_some_and(|flags| flags.iter().any(|flag| flag == "UP"));
    expect("a device is as it was asked for", as_asked && is_up, &moved)?;
    let kept = pod.device("nri-b")?.ok_or("nri-b is not in the pod")?;
    let is_there = kept["addr_info"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one["local"] == "fd00::2"));
    expect("a device keeps its name", is_there, &kept)?;
    expect(
        "the host has them no more",
        host.device("nri-a")?.is_none(),
        &host.device("nri-a")?,
    )?;

    // And back.
    runtime.ask(&json!({"cmd": "stop-pod", "pod_id": "p1"}))?;
    for name in ["nri-a", "nri-b"] {
        expect(
            "a device comes back",
            host.device(name)?.is_some(),
            &host.ip("-brief link")?,
        )?;
    }
    let link = host.ip("-json link show nri-a")?;
    let alias = "\"ifalias\":\"kept\"";
    expect("it has its alias again", link.contains(alias), &link)?;
    expect(
        "the pod has it no more",
        pod.device("eth1")?.is_none(),
        &pod.device("eth1")?,
    )?;

    // What fails leaves everything as it was.
    host.ip("link set nri-a up")?;
    for (id, asked, says) in [
        (
            "p2",
            "- {name: nri-a, new_name: eth1}\n- name: nri-z",
            "network device nri-z: there is no such device on the host",
        ),
        (
            "p3",
            "- {name: nri-b, new_name: eth1}\n- {name: nri-a}",
            "name it nri-a in the pod",
        ),
        ("p4", "- name: nri-c", "it is in use on the host"),
        (
            "p5",
            "- {name: nri-a, new_name: eth1, mtu: 68, address: fd00::3}",
            "cannot",
        ),
    ] {
        let error = runtime.pod(id, asked, &pod.path())?;
        expect(
            &format!("{asked:?} is an error with {says:?}"),
            error.contains(says),
            &error,
        )?;
        for name in ["nri-a", "nri-b", "nri-c"] {
            expect(
                "a device stays on the host",
                host.device(name)?.is_some(),
                &host.ip("-brief link")?,
            )?;
        }
        let link = host.ip("-json link show nri-a")?;
        expect(
            "a device is as it was",
            link.contains("\"UP\"") && link.contains("kept"),
            &link,
        )?;
    }
    let error = runtime.pod("p6", "- name: nri-a", &host.path())?;
    expect(
        "the network of the host gets nothing",
        error.contains("the network of the host"),
        &error,
    )?;
    runtime.0.end_input();
    drop(plugin);
    Ok(())
}
