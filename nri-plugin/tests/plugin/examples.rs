//! The example plugins as programs: started by hand, launched by a runtime, ended by a signal.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use command_fds::{CommandFdExt as _, FdMapping};
use nri_plugin::{Event, api};
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Runtime, Socket, current, within};

/// Cargo builds the examples of a package with its tests.
pub(crate) fn program(name: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let directory = own.parent().unwrap().with_file_name("examples");
    let path: PathBuf = directory.join(name);
    assert!(
        path.exists(),
        "{} is missing: build the examples",
        path.display()
    );
    let mut command = Command::new(path);
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn by_hand(name: &str, socket: &Socket, arguments: &[&str]) -> Child {
    let mut command = program(name);
    command
        .arg("--once")
        .arg("--socket")
        .arg(socket.path())
        .args(arguments);
    command.spawn().unwrap()
}

pub(crate) fn launched(name: &str) -> (Child, Runtime) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = program(name);
    command
        .env("NRI_PLUGIN_NAME", "installed")
        .env("NRI_PLUGIN_IDX", "33")
        .env("NRI_PLUGIN_SOCKET", "3")
        .fd_mappings(vec![FdMapping {
            parent_fd: theirs.into(),
            child_fd: 3,
        }])
        .unwrap();
    let child = command.spawn().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ours = tokio::net::UnixStream::from_std(ours).unwrap();
    (child, Runtime::on(ours))
}

pub(crate) async fn finish(child: Child) -> Output {
    let wait = tokio::task::spawn_blocking(move || child.wait_with_output());
    within(wait).await.unwrap().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn create() -> api::CreateContainerRequest {
    api::CreateContainerRequest {
        pod: Some(api::PodSandbox {
            id: "p0".into(),
            name: "web-1".into(),
            namespace: "default".into(),
            ..Default::default()
        }),
        container: Some(api::Container {
            id: "c0".into(),
            name: "nginx".into(),
            ..Default::default()
        }),
    }
}

#[tokio::test]
async fn logger_prints_json() {
    let socket = Socket::new();
    let arguments = [
        "--format",
        "json",
        "--events",
        "create-container,pod",
        "--index",
        "05",
    ];
    let child = by_hand("logger", &socket, &arguments);
    let mut runtime = socket.accept().await;
    let asked = runtime.registration().await;
    assert_eq!(
        (
            asked.request.plugin_idx.as_str(),
            asked.request.plugin_name.as_str()
        ),
        ("05", "logger")
    );
    asked.answer(Ok(api::Empty {}));
    let events = runtime.configure(current("")).await.unwrap().events;
    assert_eq!(events, 0b1_1000_0000_1111);
    let synchronize = api::SynchronizeRequest {
        containers: vec![api::Container::default(); 300],
        ..Default::default()
    };
    runtime.synchronize(synchronize).await.unwrap();
    let request = create().encode_to_vec();
    runtime.send(Event::CreateContainer, request).await.unwrap();
    runtime.connection.close();
    let output = finish(child).await;
    assert!(output.status.success());
    let lines = lines(&output);
    assert!(lines.iter().all(|line| line.starts_with("{\"event\":")));
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let events: Vec<&str> = lines
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["Configure", "Synchronize", "CreateContainer"]);
    assert_eq!(lines[0]["runtimeName"], "by-hand");
    assert_eq!(lines[1]["containers"].as_array().unwrap().len(), 300);
    assert_eq!(lines[2]["pod"]["namespace"], "default");
    assert_eq!(lines[2]["container"]["name"], "nginx");
    assert!(lines[2]["time"].as_f64().unwrap() > 1e9);
}

#[tokio::test]
async fn logger_prints_text_and_ends_with_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let socket = Socket::new();
        let child = by_hand("logger", &socket, &[]);
        let mut runtime = socket.accept().await;
        assert_eq!(runtime.admit().await, 0x3fff);
        for event in [Event::CreateContainer, Event::RemoveContainer] {
            let request = create().encode_to_vec();
            runtime.send(event, request).await.unwrap();
        }
        let pid = Pid::from_raw(child.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
        let output = finish(child).await;
        assert!(output.status.success());
        let lines = lines(&output);
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(
            lines[1].ends_with(" Synchronize containers: 0 pods: 0"),
            "{lines:?}"
        );
        let expected = " CreateContainer pod default/web-1 (p0) container nginx (c0)";
        assert!(lines[2].ends_with(expected), "{lines:?}");
        assert!(lines[3].contains(" RemoveContainer "), "{lines:?}");
        within(runtime.connection.closed()).await;
    }
}

#[tokio::test]
async fn logger_can_be_launched() {
    let (child, mut runtime) = launched("logger");
    let asked = runtime.registration().await;
    assert_eq!(
        (
            asked.request.plugin_idx.as_str(),
            asked.request.plugin_name.as_str()
        ),
        ("33", "installed")
    );
    runtime.connection.close();
    let output = finish(child).await;
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("33-installed") && text.lines().count() == 1,
        "{text}"
    );
}

/// Law: a logger whose output is gone ends, and refuses no pod.
#[tokio::test]
async fn logger_without_output_ends() {
    let socket = Socket::new();
    let mut child = by_hand("logger", &socket, &[]);
    drop(child.stdout.take());
    let mut runtime = socket.accept().await;
    runtime.registration().await.answer(Ok(api::Empty {}));
    // The first line that cannot be printed ends it, so this may or may not be answered.
    let _ = runtime.configure(current("")).await;
    let output = finish(child).await;
    assert!(!output.status.success());
}

#[tokio::test]
async fn logger_says_which_events_there_are() {
    let mut command = program("logger");
    let output = command.args(["--events", "pod,lunch"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        text.contains("\"lunch\"") && text.contains("UpdatePodSandbox"),
        "{text}"
    );
}

const ADDITIONS: &str = r#"
namespaces = ["kube-system", "def*"]
containers = ["nginx"]

[annotations]
"example.com/owner" = "platform"

[env]
TZ = "UTC"

[[mounts]]
source = "/etc/ssl/certs"
destination = "/certs"
"#;

pub(crate) async fn annotated(
    runtime: &Runtime,
    request: api::CreateContainerRequest,
) -> api::CreateContainerResponse {
    let answer = runtime
        .send(Event::CreateContainer, request.encode_to_vec())
        .await;
    api::CreateContainerResponse::decode(&answer.unwrap()[..]).unwrap()
}

#[tokio::test]
async fn annotate_adds_what_its_file_says() {
    let socket = Socket::new();
    let file = socket.directory().join("annotate.toml");
    fs::write(&file, ADDITIONS).unwrap();
    let child = by_hand("annotate", &socket, &["--config", file.to_str().unwrap()]);
    let mut runtime = socket.accept().await;
    assert_eq!(runtime.admit().await, 8);
    let adjust = annotated(&runtime, create()).await.adjust.unwrap();
    assert_eq!(adjust.annotations["example.com/owner"], "platform");
    assert_eq!(
        (adjust.env[0].key.as_str(), adjust.env[0].value.as_str()),
        ("TZ", "UTC")
    );
    let mount = &adjust.mounts[0];
    assert_eq!(
        (mount.r#type.as_str(), mount.destination.as_str()),
        ("bind", "/certs")
    );
    assert_eq!(mount.options, ["rbind", "ro"]);
    for change in [
        |request: &mut api::CreateContainerRequest| {
            request.pod.as_mut().unwrap().namespace = "x".into()
        },
        |request: &mut api::CreateContainerRequest| {
            request.container.as_mut().unwrap().name = "y".into()
        },
    ] {
        let mut other = create();
        change(&mut other);
        assert_eq!(annotated(&runtime, other).await.adjust, None);
    }
    runtime.connection.close();
    assert!(finish(child).await.status.success());
}

#[tokio::test]
async fn annotate_takes_the_configuration_of_the_runtime() {
    let (child, mut runtime) = launched("annotate");
    runtime.registration().await.answer(Ok(api::Empty {}));
    let answer = runtime.configure(current("[env]\nA = \"1\"\n")).await;
    assert_eq!(answer.unwrap().events, 8);
    let adjust = annotated(&runtime, create()).await.adjust.unwrap();
    assert_eq!(adjust.env[0].key, "A");
    runtime.connection.close();
    assert!(finish(child).await.status.success());
}

#[tokio::test]
async fn annotate_says_what_is_wrong_with_its_configuration() {
    for (text, says) in [
        ("", "needs a configuration"),
        ("[env", "TOML parse error"),
        ("[labels]\na = \"b\"", "unknown field `labels`"),
        ("pods = [\"a\"]", "nothing to add"),
        ("[env]\n\"A=B\" = \"1\"", "\"A=B\""),
        ("[annotations]\n\"-a\" = \"1\"", "\"-a\""),
        ("[[mounts]]\nsource = \"a\"\ndestination = \"/b\"", "\"a\""),
        ("[[mounts]]\nsource = \"/a\"\ndestination = \"b\"", "\"b\""),
    ] {
        let (child, mut runtime) = launched("annotate");
        runtime.registration().await.answer(Ok(api::Empty {}));
        let error = runtime.configure(current(text)).await.unwrap_err();
        assert!(error.to_string().contains(says), "{text}: {error}");
        runtime.connection.close();
        let output = finish(child).await;
        assert!(!output.status.success());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(says), "{text}: {stderr}");
    }
}
