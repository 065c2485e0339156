//! How it ends: with the input, with a signal, with `quit`, with a reader that is gone.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_input_stops_the_runtime_and_plugins_hear_of_it() {
    let mut serve = Serve::start();
    let mut plugin = Script::default().join(&mut serve, "10-all").await;
    let socket = serve.socket();
    assert!(socket.exists());
    serve.send(r#"{"cmd":"run-pod","pod":{"id":"p1"},"async":true}"#);
    let (rest, status, log) = serve.finish();
    assert_eq!((rest.len(), &rest[0]["cmd"]), (1, &json!("run-pod")));
    assert!(status.success(), "{log}");
    assert!(!socket.exists());
    plugin.ended().await;
    // A good-bye has its time, which may be over on a machine that does other things as well.
    let heard = plugin.heard();
    let both = ["RunPodSandbox p1", "Shutdown "];
    assert!(heard == both || heard == both[..1], "{heard:?}");
    assert!(
        log.contains(&format!("plugins can connect to {}", socket.display())),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_end_it_cleanly_even_in_the_middle_of_a_command() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut serve = Serve::start();
        let mut plugin = Script::default().join(&mut serve, "10-all").await;
        serve.send(r#"{"cmd":"wait-plugins","count":9,"timeout_ms":3600000}"#);
        let socket = serve.socket();
        let pid = Pid::from_raw(serve.pid() as i32).unwrap();
        kill_process(pid, signal).unwrap();
        plugin.ended().await;
        // The input is still open.
        assert_eq!(serve.next(), None);
        assert!(!socket.exists());
        let (_, status, log) = serve.finish();
        assert!(status.success(), "{log}");
        // A good-bye has its time, which may be over on a machine that does other things as well.
        let heard = plugin.heard();
        assert!(heard.is_empty() || heard == ["Shutdown "], "{heard:?}");
    }
}

#[test]
fn quit_is_answered_last_and_nothing_after_it_is_read() {
    let mut serve = Serve::start();
    serve.send_bytes(b"{\"cmd\":\"quit\"}\n{\"cmd\":\"version\"}\n");
    assert_eq!(serve.next(), Some(json!({"ok": true, "cmd": "quit"})));
    assert_eq!(serve.next(), None);
    assert!(serve.finish().1.success());
}

#[test]
fn without_commands_the_socket_opens_all_the_same_and_is_in_a_directory_of_its_own() {
    let mut child = program()
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let socket = lines.find_map(|line| {
        line.unwrap()
            .strip_prefix("nri-sim: plugins can connect to ")
            .map(std::path::PathBuf::from)
    });
    let socket = socket.unwrap();
    assert!(socket.exists());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!socket.parent().unwrap().exists());
}

#[test]
fn a_reader_that_is_gone_ends_it() {
    let mut child = program()
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    // Whether the last ones can still be written depends on how fast it notices.
    while std::io::Write::write_all(&mut input, b"{\"cmd\":\"version\"}\n").is_ok() {}
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("the results cannot be written"), "{text}");
}

/// However it ends, but for being killed, no directory is left of it.
#[test]
fn nothing_is_left_in_the_temporary_directory() {
    use Stdio;

    let temporary = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let scenario = |name: &str, text: &str| {
        let file = files.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let good = scenario("good.toml", "[[steps]]\ncmd = 'state'\n");
    let bad = scenario("bad.toml", "[[steps]]\ncmd = 'stop-pod'\npod_id = 'p9'\n");
    let waits = scenario("waits.toml", "[[plugins]]\nid = '10-never'\n");
    for (arguments, input, signal) in [
        (vec!["serve"], "{\"cmd\":\"quit\"}\n", None),
        (vec!["serve"], "", None),
        (vec!["serve"], "", Some(Signal::TERM)),
        (vec!["serve", "--config", "/nonexistent"], "", None),
        (vec!["serve", "--socket", "/proc/x.sock"], "", None),
        (vec!["run", &good], "", None),
        (vec!["run", &bad], "", None),
        (vec!["run", &waits, "--wait", "0"], "", None),
        (vec!["run", &waits, "--wait", "600"], "", Some(Signal::INT)),
        (
            vec![
                "run",
                &waits,
                "--plugin",
                "10-never=sleep 600 {socket}",
                "--wait",
                "0",
            ],
            "",
            None,
        ),
    ] {
        let mut child = program()
            .args(&arguments)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stderr.take().unwrap());
        if let Some(signal) = signal {
            // It listens for signals once it has told where plugins connect.
            let mut told = String::new();
            let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
            match arguments[0] {
                "serve" => std::io::BufRead::read_line(&mut lines, &mut told).unwrap(),
                _ => std::io::BufRead::read_line(&mut output, &mut told).unwrap(),
            };
            let pid = Pid::from_raw(child.id() as i32).unwrap();
            kill_process(pid, signal).unwrap();
        }
        let mut stdin = child.stdin.take().unwrap();
        // One that fails at once does not read.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
        drop(stdin);
        child.wait().unwrap();
        let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
        assert!(left.is_empty(), "{arguments:?}: {left:?}");
    }
}

/// `nri-sim check --list | head -1`, for example.
#[test]
fn a_reader_that_has_gone_is_no_failure() {
    for arguments in [&["check", "--list"][..], &["fields"]] {
        let mut command = program();
        command.args(arguments).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(
            ended.status.success() && said.is_empty(),
            "{arguments:?}: {said}"
        );
    }
}
