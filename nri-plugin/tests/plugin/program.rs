//! What every plugin that is a program can do, seen on an example: options, exit codes, logs,
//! signals, `/healthz`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Child;

use nri_plugin::{Event, api};
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::examples::{annotated, by_hand, create, finish, launched, program};
use crate::support::{Socket, current, within};

fn terminate(child: &Child) {
    let pid = Pid::from_raw(child.id() as i32).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

/// The plugin of the README: it is this example, and does what it says.
#[tokio::test]
async fn the_plugin_of_the_readme_works() {
    let example = include_str!("../../examples/memory.rs");
    assert!(include_str!("../../README.md").contains(example.trim_end()));
    let socket = Socket::new();
    let child = by_hand("memory", &socket, &[]);
    let mut runtime = socket.accept().await;
    assert_eq!(runtime.admit().await, 8);
    let mut request = create();
    let annotations = &mut request.pod.as_mut().unwrap().annotations;
    annotations.insert("example.com/memory".into(), "4096".into());
    let adjust = annotated(&runtime, request.clone()).await.adjust.unwrap();
    assert_eq!(adjust.env[0].value, "4096");
    let annotations = &mut request.pod.as_mut().unwrap().annotations;
    annotations.insert("example.com/memory/container.nginx".into(), "lots".into());
    let refused = runtime
        .send(Event::CreateContainer, request.encode_to_vec())
        .await;
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("example.com/memory/container.nginx"),
        "{error}"
    );
    runtime.connection.close();
    assert!(finish(child).await.status.success());
}

#[test]
fn a_program_says_its_version_and_its_options() {
    let output = program("annotate").arg("--version").output().unwrap();
    let version = concat!("annotate ", env!("CARGO_PKG_VERSION"), " (NRI v0.12.5)\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), version);
    let output = program("annotate").arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for option in [
        "--socket <PATH>",
        "--index <NN>",
        "--name <NAME>",
        "--config <FILE>",
        "--once",
        "--log-level <LEVEL>",
        "--log-format <LOG_FORMAT>",
        "--healthz <ADDRESS>",
    ] {
        assert!(help.contains(option), "{option}: {help}");
    }
}

#[test]
fn the_exit_code_says_whether_it_helps_to_start_it_again() {
    for (arguments, code, says) in [
        (
            &["--once", "--socket", "/nonexistent/nri.sock"][..],
            1,
            "mount the directory",
        ),
        (&["--lunch"], 2, "--lunch"),
        (&["--log-level", "nri_plugin=loud"], 2, "--log-level"),
        (&["--healthz", "everywhere"], 2, "--healthz"),
        (&["--index", "7"], 3, "index"),
        (&["--socket", "tcp://localhost"], 3, "tcp"),
        (
            &["--config", "/nonexistent.toml"],
            3,
            "/nonexistent.toml cannot be read",
        ),
    ] {
        let output = program("annotate").args(arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn a_bad_configuration_ends_a_launched_program_with_a_code_of_its_own() {
    let (child, mut runtime) = launched("annotate");
    runtime.registration().await.answer(Ok(api::Empty {}));
    runtime.configure(current("lunch: 12")).await.unwrap_err();
    let output = finish(child).await;
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("line 1: unknown field `lunch`"), "{text}");
}

/// Law: by default it stays when the runtime goes, and a signal ends it wherever it is.
#[tokio::test]
async fn a_program_waits_for_the_next_runtime_until_a_signal() {
    let socket = Socket::new();
    let mut command = program("logger");
    command.arg("--socket").arg(socket.path());
    let child = command.spawn().unwrap();
    for _ in 0..2 {
        let mut runtime = socket.accept().await;
        runtime.admit().await;
        runtime.connection.close();
    }
    terminate(&child);
    assert!(finish(child).await.status.success());
}

/// Asks for the health, on the address that the log names.
fn health(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_on_request_and_logs_are_json_if_wanted() {
    let socket = Socket::new();
    let arguments = ["--healthz", "127.0.0.1:0", "--log-format", "json"];
    let mut child = by_hand("logger", &socket, &arguments);
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next =
        move || -> Value { serde_json::from_str(&log.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!(first["fields"]["message"], "answering GET /healthz");
    let address = first["fields"]["address"].as_str().unwrap().to_owned();
    let mut runtime = socket.accept().await;
    assert!(health(&address).starts_with("HTTP/1.1 503 "));
    runtime.admit().await;
    assert_eq!(next()["fields"]["message"], "configured");
    // Synchronize is answered before the state follows.
    let asked = address;
    let ready = move || loop {
        let answer = health(&asked);
        if answer.starts_with("HTTP/1.1 200 ") {
            break answer;
        }
    };
    let answer = within(tokio::task::spawn_blocking(ready)).await.unwrap();
    assert!(answer.ends_with("90-logger is ready\n"), "{answer}");
    terminate(&child);
    assert!(finish(child).await.status.success());
}
