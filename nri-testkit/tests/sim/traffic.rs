//! `nri-sim tap` and `nri-sim replay`: nothing on the way is changed, what went by is known, and is
//! played again to plugins and runtimes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use proptest::prelude::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Serve, program};

/// `nri-sim tap` on its way between plugins and a runtime.
struct Tapped {
    child: Child,
    socket: PathBuf,
}

impl Tapped {
    fn start(home: &Path, runtime: &Path, more: &[&str]) -> Self {
        let socket = home.join("tap.sock");
        let mut command = program();
        command.arg("tap").arg("--socket").arg(runtime);
        command.arg("--listen").arg(&socket).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It says when it listens.
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        assert!(line.contains("are watched"), "{line}");
        Self { child, socket }
    }

    /// Ends it as an operator does; what it has printed.
    fn end(mut self) -> String {
        let mut output = self.child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut printed = String::new();
            output.read_to_string(&mut printed).unwrap();
            printed
        });
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        assert!(!self.socket.exists());
        reader.join().unwrap()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        // It fails if it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A runtime whose socket is open.
fn runtime() -> Serve {
    let mut serve = Serve::start();
    // It opens with the first command.
    serve.ok(r#"{"cmd":"version"}"#);
    serve
}

/// A fake plugin that is killed with the value.
struct Fake(Child);

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const ADDS: &str = "\
identity = '10-adds'
[[rule]]
call = 'CreateContainer'
do = 'answer'
answer.adjust.env = [{ key = 'ADDED', value = 's3cret' }]
[[rule]]
call = 'CreateContainer'
of = 'c2'
do = 'fail'
message = 'not this one'
";

/// Writes the script, and says how the plugin with it is started.
fn fake(home: &Path, script: &str) -> String {
    let file = home.join("plugin.toml");
    std::fs::write(&file, script).unwrap();
    let program = env!("CARGO_BIN_EXE_nri-fake-plugin");
    format!("exec {program} --script {}", file.display())
}

fn start(command: &str, socket: &Path) -> Fake {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{command} --socket {}", socket.display())]);
    Fake(shell.stdout(Stdio::null()).spawn().unwrap())
}

/// A pod with a container that is adjusted, and one that is refused.
fn live(serve: &mut Serve) {
    serve.wait_plugins(1);
    serve.ok(r#"{"cmd":"run-pod","pod":{"id":"p1","annotations":{"token":"s3cret"}}}"#);
    let created = serve.ok(
        r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c1","env":["OWN=s3cret"]}}"#,
    );
    assert_eq!(created["adjustment"]["env"][0]["key"], "ADDED");
    serve.error(r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c2"}}"#);
    serve.ok(r#"{"cmd":"remove-pod","pod_id":"p1"}"#);
}

/// A recording of that life.
fn recorded(home: &Path, more: &[&str]) -> PathBuf {
    let recording = home.join("traffic.jsonl");
    let mut serve = runtime();
    let record = ["--quiet", "--record", recording.to_str().unwrap()];
    let tap = Tapped::start(home, &serve.socket(), &[&record[..], more].concat());
    let plugin = start(&fake(home, ADDS), &tap.socket);
    live(&mut serve);
    drop(plugin);
    assert_eq!(tap.end(), "");
    // It holds what is in the pods.
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&recording.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    recording
}

fn replay(recording: &Path, more: &[&str]) -> Output {
    let mut command = program();
    command.arg("replay").arg(recording).args(more);
    command.args(["--patience", "60"]).output().unwrap()
}

fn lines(output: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(output).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn what_a_runtime_and_a_plugin_say_is_printed_decoded() {
    let home = tempfile::tempdir().unwrap();
    for (form, hide) in [("--json", false), ("--json", true), ("--quiet", true)] {
        let mut serve = runtime();
        let options: &[&str] = match (form, hide) {
            ("--json", true) => &["--json", "--hide-values"],
            ("--json", _) => &["--json"],
            _ => &["--hide-values"],
        };
        let tap = Tapped::start(home.path(), &serve.socket(), options);
        let plugin = start(&fake(home.path(), ADDS), &tap.socket);
        live(&mut serve);
        drop(plugin);
        let text = tap.end();
        assert_eq!(text.contains("s3cret"), !hide, "{text}");
        if form != "--json" {
            assert!(text.contains("to the plugin: CreateContainer c1"), "{text}");
            assert!(
                text.contains("the plugin refuses CreateContainer"),
                "{text}"
            );
            continue;
        }
        let lines = lines(text.as_bytes());
        let of = |kind: &str, method: &str| -> Vec<&Value> {
            let is = |line: &&Value| line["kind"] == kind && line["method"] == method;
            lines.iter().filter(is).collect()
        };
        assert_eq!(
            of("request", "RegisterPlugin")[0]["message"]["pluginName"],
            "adds"
        );
        assert_eq!(of("request", "CreateContainer").len(), 2);
        let answers = of("answer", "CreateContainer");
        assert_eq!(answers[0]["message"]["adjust"]["env"][0]["key"], "ADDED");
        assert_eq!(answers[1]["error"]["code"], 2);
        assert!(answers.iter().all(|answer| answer["ms"].is_number()));
        assert_eq!(lines[0]["kind"], "opened");
        assert!(lines.iter().all(|line| line["kind"] != "lost"), "{text}");
    }
}

#[test]
fn a_recording_shows_what_is_different_in_a_plugin() {
    let home = tempfile::tempdir().unwrap();
    let recording = recorded(home.path(), &[]);
    let same = replay(&recording, &["--plugin", &fake(home.path(), ADDS)]);
    let text = String::from_utf8(same.stdout).unwrap();
    assert!(text.contains(" 0 different"), "{text}");
    assert_eq!(same.status.code(), Some(0), "{text}");

    let other = ADDS
        .replace("s3cret", "other")
        .replace("not this one", "never");
    let other = fake(home.path(), &other);
    let changed = replay(&recording, &["--plugin", &other, "--json"]);
    assert_eq!(changed.status.code(), Some(1));
    let lines = lines(&changed.stdout);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0]["about"], "c1");
    let difference = &lines[0]["differences"][0];
    assert_eq!(difference["at"], "/adjust/env/0/value");
    assert_eq!(difference["recorded"], "\"s3cret\"");
    assert_eq!(difference["now"], "\"other\"");
    assert_eq!(lines[1]["differences"][0]["at"], "/error/text");
    assert_eq!(lines[2]["different"], 2);

    // A method of another version is left out, and that is said.
    let newer = std::fs::read_to_string(&recording).unwrap();
    let newer = newer.replace("\"RemoveContainer\"", "\"SuspendContainer\"");
    let file = home.path().join("newer.jsonl");
    std::fs::write(&file, newer).unwrap();
    let left_out = replay(&file, &["--plugin", &fake(home.path(), ADDS)]);
    let text = String::from_utf8(left_out.stdout).unwrap();
    assert!(
        text.contains(" requests have methods that this version does not know"),
        "{text}"
    );

    let none = replay(&recording, &["--plugin", "exit 3"]);
    assert_eq!(none.status.code(), Some(1));
    let error = String::from_utf8(none.stderr).unwrap();
    assert!(error.contains("it did not register"), "{error}");
}

#[test]
fn a_recording_outlives_its_tap_however_that_ends() {
    let home = tempfile::tempdir().unwrap();
    let recording = home.path().join("traffic.jsonl");
    let mut serve = runtime();
    let record = ["--json", "--record", recording.to_str().unwrap()];
    let mut tap = Tapped::start(home.path(), &serve.socket(), &record);
    let output = BufReader::new(tap.child.stdout.take().unwrap());
    let _plugin = start(&fake(home.path(), ADDS), &tap.socket);
    live(&mut serve);
    // All that is printed is recorded before.
    let mut lines = output.lines().map(|line| line.unwrap());
    let last = |line: &String| line.contains("answer") && line.contains("RemovePodSandbox");
    assert!(lines.any(|line| last(&line)));
    tap.kill();

    let whole = std::fs::read(&recording).unwrap();
    let torn = home.path().join("torn.jsonl");
    std::fs::write(&torn, &whole[..whole.len() - 10]).unwrap();
    for file in [&recording, &torn] {
        let same = replay(file, &["--plugin", &fake(home.path(), ADDS)]);
        let text = String::from_utf8(same.stdout).unwrap();
        assert_eq!(same.status.code(), Some(0), "{text}");
        assert_eq!(
            text.contains("in the middle of a line"),
            file == &torn,
            "{text}"
        );
    }
    // A recording is not written over.
    let mut again = program();
    again.arg("tap").arg("--socket").arg(serve.socket());
    again.arg("--listen").arg(home.path().join("other.sock"));
    let again = again.arg("--record").arg(&recording).output().unwrap();
    assert!(!again.status.success());
    assert_eq!(std::fs::read(&recording).unwrap(), whole);
}

#[test]
fn a_hidden_recording_has_no_values_and_is_played_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    let recording = recorded(home.path(), &["--hide-values"]);
    let decoded: Vec<u8> = lines(&std::fs::read(&recording).unwrap())
        .iter()
        .flat_map(|line| {
            use base64::Engine as _;
            let payload = line["payload"].as_str().unwrap_or_default();
            let decoded = base64::engine::general_purpose::STANDARD.decode(payload);
            decoded.unwrap()
        })
        .collect();
    assert!(!String::from_utf8_lossy(&decoded).contains("s3cret"));
    let hidden = ADDS.replace("s3cret", "***").replace("not this one", "***");
    let same = replay(&recording, &["--plugin", &fake(home.path(), &hidden)]);
    let text = String::from_utf8(same.stdout).unwrap();
    assert_eq!(same.status.code(), Some(0), "{text}");
    assert!(text.contains("values were hidden"), "{text}");
}

#[test]
fn a_recorded_plugin_answers_another_runtime() {
    let home = tempfile::tempdir().unwrap();
    let recording = recorded(home.path(), &[]);
    let mut serve = runtime();
    let mut command = program();
    command.arg("replay").arg(&recording).arg("--json");
    command.arg("--runtime").arg(serve.socket());
    let plugin = command.stdout(Stdio::piped()).spawn().unwrap();
    live(&mut serve);
    serve.ok(r#"{"cmd":"run-pod","pod":{"id":"p2"}}"#);
    serve.ok(r#"{"cmd":"quit"}"#);
    let output = plugin.wait_with_output().unwrap();
    assert!(output.status.success());
    let report = &lines(&output.stdout)[0];
    assert_eq!(report["not_recorded"]["RunPodSandbox"], 1, "{report}");
    assert_eq!(report["not_asked"], serde_json::json!({}), "{report}");
}

/// A tap in this process, between a listener and whoever connects.
fn tapped(home: &Path) -> (UnixListener, PathBuf, tokio::runtime::Runtime) {
    use nri_testkit::traffic::{Sink, Tap, TapOptions};
    let runtime = home.join("runtime.sock");
    let listener = UnixListener::bind(&runtime).unwrap();
    let listen = home.join("tap.sock");
    let options = TapOptions {
        runtime,
        listen: listen.clone(),
    };
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let (sink, entries) = Sink::new();
    let tap = tokio.block_on(Tap::open(options, sink)).unwrap();
    tokio.spawn(async move {
        // Nobody takes what is seen, and that does not matter.
        let _untaken = entries;
        tap.run().await
    });
    (listener, listen, tokio)
}

#[test]
fn whatever_bytes_there_are_they_arrive_as_they_were_and_ends_are_ends() {
    let home = tempfile::tempdir().unwrap();
    let (listener, socket, tokio) = tapped(home.path());
    let bytes = prop::collection::vec(any::<u8>(), 0..100_000);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(16));
    let law = |(up, down): (Vec<u8>, Vec<u8>)| {
        let mut plugin = UnixStream::connect(&socket).unwrap();
        let (mut runtime, _) = listener.accept().unwrap();
        let (said, answered) = (up.clone(), down.clone());
        let plugin = std::thread::spawn(move || {
            plugin.write_all(&said).unwrap();
            // It says no more, and hears still.
            plugin.shutdown(std::net::Shutdown::Write).unwrap();
            let mut heard = Vec::new();
            plugin.read_to_end(&mut heard).unwrap();
            heard
        });
        let mut heard = Vec::new();
        runtime.read_to_end(&mut heard).unwrap();
        prop_assert!(heard == up);
        runtime.write_all(&answered).unwrap();
        drop(runtime);
        prop_assert!(plugin.join().unwrap() == down);
        Ok(())
    };
    runner.run(&(bytes.clone(), bytes), law).unwrap();
    tokio.shutdown_background();
}

#[test]
fn more_than_anybody_takes_goes_by_without_a_wait_and_in_bounded_memory() {
    let home = tempfile::tempdir().unwrap();
    let (listener, socket, tokio) = tapped(home.path());
    let mut plugin = UnixStream::connect(&socket).unwrap();
    let (mut runtime, _) = listener.accept().unwrap();
    let request = {
        let mut message = 4_000_000_u32.to_be_bytes().to_vec();
        message.extend([0, 0, 0, 1, 1, 0]);
        // A request whose message is the rest.
        message.extend([0x1a, 0xfb, 0x91, 0xf4, 0x01]);
        message.resize(10 + 4_000_000, 0);
        let mut framed = Vec::new();
        nri_proto::frame::append_message(2, &message, &mut framed).unwrap();
        framed
    };
    const TIMES: usize = 40;
    let writer = std::thread::spawn(move || {
        for _ in 0..TIMES {
            plugin.write_all(&request).unwrap();
        }
        request.len() * TIMES
    });
    let mut arrived = 0;
    let mut chunk = vec![0; 1 << 20];
    while let Ok(read @ 1..) = runtime.read(&mut chunk) {
        arrived += read;
    }
    assert_eq!(arrived, writer.join().unwrap());
    tokio.shutdown_background();
}

#[test]
fn a_socket_at_which_somebody_listens_is_not_taken_and_a_missing_runtime_is_said() {
    let home = tempfile::tempdir().unwrap();
    let (_listener, socket, tokio) = tapped(home.path());
    let mut command = program();
    command.args(["tap", "--socket", "/nonexistent"]);
    command.arg("--listen").arg(&socket);
    let refused = command.output().unwrap();
    assert!(!refused.status.success());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("another process is listening"), "{error}");
    // Nothing is left that would be in the way of the next attempt.
    let recording = home.path().join("recording");
    command.arg("--record").arg(&recording);
    assert!(!command.output().unwrap().status.success());
    assert!(!recording.exists());
    tokio.shutdown_background();

    let other = tempfile::tempdir().unwrap();
    let mut tap = Tapped::start(other.path(), Path::new("/nonexistent"), &[]);
    let mut plugin = UnixStream::connect(&tap.socket).unwrap();
    let mut nothing = Vec::new();
    plugin.read_to_end(&mut nothing).unwrap();
    let mut line = String::new();
    let output = tap.child.stdout.as_mut().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    assert!(line.contains("/nonexistent"), "{line}");
    tap.kill();
}

/// Law: a file that nobody writes to holds nobody up: it is refused at once, where a program that
/// waits for it hears no signal.
#[test]
fn a_pipe_in_place_of_a_file_is_refused_at_once() {
    let home = tempfile::tempdir().unwrap();
    let pipe = home.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    let pipe = pipe.to_str().unwrap();
    for arguments in [
        ["replay", pipe, "--runtime", "/nonexistent"].as_slice(),
        &["serve", "--config", pipe],
        &["check", "--plugin", "true {socket}", "--config", pipe],
        &["run", pipe],
        &["policy", "check", pipe],
    ] {
        let refused = program().args(arguments).output().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        let error = String::from_utf8(refused.stderr).unwrap();
        assert!(error.contains("no regular file"), "{arguments:?}: {error}");
    }
}
