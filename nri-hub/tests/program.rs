//! The program: its command line, what it tells systemd, and a whole run of it.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nri_testkit::{TEST_TIMEOUT, TestRuntime};
use tempfile::TempDir;

fn hub() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nri-hub"));
    command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
    command
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

const POLICY: &str = r#"
default = "allow"
[[rules]]
name = "no-preload"
namespaces = ["prod-*"]
fields = ["env:LD_*"]
action = "deny"
"#;

#[test]
fn a_policy_says_beforehand_what_it_does_and_by_which_rule() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("policy.toml");
    std::fs::write(&file, POLICY).unwrap();
    let check = |more: &[&str]| {
        let mut command = hub();
        command.args(["policy", "check"]).arg(&file).args(more);
        said(&command.output().unwrap())
    };
    let (code, out, _) = check(&[]);
    assert_eq!(
        (code, out.ends_with("1 rules, then allow\n")),
        (Some(0), true),
        "{out}"
    );
    let asked = r#"{"env":[{"key":"LD_PRELOAD","value":"/x.so"},{"key":"HOME","value":"/"}]}"#;
    let (code, out, _) = check(&["--namespace", "prod-eu", "--adjustment", asked]);
    assert_eq!(code, Some(3));
    assert_eq!(
        out,
        "deny   Env \"LD_PRELOAD\"  by rule \"no-preload\"\nallow  Env \"HOME\"  by rule \"default\"\n"
    );
    let (code, ..) = check(&["--namespace", "dev", "--adjustment", asked]);
    assert_eq!(code, Some(0));
    let other = directory.path().join("asked.json");
    std::fs::write(&other, asked).unwrap();
    let of_file = format!("@{}", other.display());
    let (code, of_file, _) = check(&["--namespace", "prod-eu", "--adjustment", &of_file]);
    assert_eq!((code, of_file), (Some(3), out));
    // What has no end is not read to it.
    let (code, _, error) = check(&["--adjustment", "@/dev/zero"]);
    assert_eq!(code, Some(2));
    assert!(
        error.contains("/dev/zero: it has more than 4194304 bytes"),
        "{error}"
    );
    std::fs::write(&file, POLICY.replace("fields", "feilds")).unwrap();
    let (code, _, error) = check(&[]);
    assert_eq!(code, Some(2));
    assert!(
        error.contains("line 6: ") && error.contains("fields"),
        "{error}"
    );
}

#[test]
fn the_configuration_that_it_prints_is_one() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("config.toml");
    let (code, text, _) = said(&hub().args(["config", "default"]).output().unwrap());
    assert_eq!(code, Some(0));
    std::fs::write(&file, text).unwrap();
    let mut command = hub();
    command.args(["config", "check"]).arg(&file);
    assert_eq!(said(&command.output().unwrap()).0, Some(0));
    for (wrong, says) in [
        ("margin = 1", "config.toml: line 2: in `[hub]`"),
        (
            "http = '0.0.0.0:9464'",
            "key `hub.http`: others than this node",
        ),
        ("http = 'here'", "key `hub.http`: "),
        (
            "policy_file = '/nonexistent/p'",
            "config.toml: key `hub.policy_file`: /nonexistent/p: ",
        ),
    ] {
        std::fs::write(&file, format!("[hub]\n{wrong}\n")).unwrap();
        let (code, _, error) = said(&command.output().unwrap());
        assert_eq!(code, Some(2), "{wrong}");
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_word_that_is_no_level_is_an_error() {
    for (level, code) in [
        ("debgu", 2),
        ("info,nri_hub=loud", 2),
        ("warn,nri_hub=debug", 0),
    ] {
        let mut command = hub();
        command.args(["--log-level", level, "config", "default"]);
        let (is, _, error) = said(&command.output().unwrap());
        assert_eq!(is, Some(code), "{level}: {error}");
        assert_eq!(error.contains("--log-level"), code != 0, "{error}");
    }
}

/// A variable for all programs may not be about this one, so it keeps nobody from running.
#[test]
fn a_variable_that_says_no_level_is_told_and_does_not_count() {
    for (variable, is_told) in [
        ("debgu", true),
        ("nri_hub=loud", true),
        ("warn,nri_hub=info", false),
    ] {
        let mut command = hub();
        command.env("RUST_LOG", variable).arg("--config");
        let (code, _, error) = said(&command.arg("/nonexistent/config").output().unwrap());
        assert_eq!(code, Some(2), "{error}");
        assert_eq!(error.contains("RUST_LOG"), is_told, "{error}");
        assert!(error.contains("/nonexistent/config"), "{error}");
    }
}

/// Law: `--config` counts for every command, wherever it stands.
#[test]
fn the_configuration_that_is_named_is_the_one_that_is_read() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "[hub]\ncontrol_socket = '/nonexistent/here'\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = hub();
        command.arg("--config").arg(&file).args(arguments);
        said(&command.output().unwrap())
    };
    let (code, out, _) = run(&["config", "check"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("config.toml: nothing is wrong"), "{out}");
    let (code, out, _) = run(&["policy", "check"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("config.toml: 0 rules, then allow"), "{out}");
    let (code, _, error) = run(&["status"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("/nonexistent/here"), "{error}");
    let (code, _, error) = run(&["status", "--socket", "unix:///nonexistent/there"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("nri-hub: /nonexistent/there"), "{error}");
    for two in [["config", "check", "other"], ["policy", "check", "other"]] {
        let (code, _, error) = run(&two);
        assert_eq!(code, Some(2));
        assert!(error.contains("give one of them"), "{error}");
    }
}

#[test]
fn where_no_hub_is_its_status_is_an_error_that_names_the_socket() {
    let (code, _, error) = said(
        &hub()
            .args(["status", "--socket", "/nonexistent/x"])
            .output()
            .unwrap(),
    );
    assert_eq!(code, Some(1));
    assert!(error.contains("/nonexistent/x"), "{error}");
}

/// The next thing that the program tells its supervisor.
fn told(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let count = socket.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_tells_its_supervisor_serves_its_status_and_ends_on_a_signal() {
    let runtime = TestRuntime::start().await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().display();
    let notify = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    notify.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let file = directory.path().join("config.toml");
    let text = format!(
        "socket_path = '{path}/nri.sock'\nplugin_path = '{path}/p'\nplugin_config_path = '{path}/c'\n[hub]\n\
         runtime_socket = '{}'\ncontrol_socket = '{path}/control.sock'\nhttp = 'unix://{path}/http.sock'\n",
        runtime.socket().display()
    );
    std::fs::write(&file, text).unwrap();
    let child = hub()
        .arg("--config")
        .arg(&file)
        .args(["--log-format", "json"])
        .env("NOTIFY_SOCKET", directory.path().join("notify"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let run = tokio::task::spawn_blocking(move || {
        while told(&notify) != "STATUS=ready" {}
        let control = file.with_file_name("control.sock");
        let mut status = hub();
        status.args(["status", "--socket"]).arg(&control);
        let (code, text, _) = said(&status.output().unwrap());
        assert_eq!(code, Some(0));
        assert!(text.contains("ready    yes"), "{text}");
        status.arg("--ready");
        assert_eq!(said(&status.output().unwrap()).0, Some(0));
        assert!(file.with_file_name("http.sock").exists());
        let kill = |signal: &str| {
            let done = Command::new("kill")
                .args([signal, &pid.to_string()])
                .status();
            assert!(done.unwrap().success());
        };
        kill("-HUP");
        while told(&notify) != "RELOADING=1" {}
        assert_eq!(told(&notify), "READY=1");
        kill("-TERM");
        while !told(&notify).starts_with("STOPPING=1") {}
        child.wait_with_output().unwrap()
    });
    let done = tokio::time::timeout(TEST_TIMEOUT + Duration::from_secs(10), run).await;
    let (code, _, log) = said(&done.unwrap().unwrap());
    assert_eq!(code, Some(0), "{log}");
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}
