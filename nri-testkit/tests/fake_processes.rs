//! Fake plugins in processes of their own: what they are told in files, and what is left of them.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nri_adaptation::{CallOutcome, PluginKind, PluginState};
use nri_core::{Error, Event};
use nri_testkit::{FakeProcess, TestRuntime, TestRuntimeBuilder};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_nri-fake-plugin"))
}

/// Does something in `RunPodSandbox`.
fn script(deed: &str) -> String {
    format!("identity = '10-real'\n[[rule]]\ncall = 'RunPodSandbox'\nof = 'p'\ndo = '{deed}'")
}

async fn joined(runtime: &TestRuntime, script: &str) -> FakeProcess {
    let process = FakeProcess::spawn(program(), script, &runtime.socket()).unwrap();
    runtime.wait_for_plugins(&["10-real"]).await;
    process
}

fn brisk() -> TestRuntimeBuilder {
    TestRuntime::builder().request_timeout(Duration::from_millis(300))
}

#[tokio::test]
async fn it_answers_as_its_script_says_and_tells_what_it_saw() {
    let runtime = TestRuntime::start().await;
    let script = "identity = '10-real'\nevents = ['CreateContainer']\n\
        [[rule]]\ncall = 'CreateContainer'\ndo = 'answer'\n\
        answer.adjust.env = [{ key = 'A', value = '1' }]\n\
        [[rule]]\ncall = 'CreateContainer'\nof = 'c2'\ndo = 'fail'\ncode = 5\nmessage = 'no device'";
    let process = joined(&runtime, script).await;
    let pod = runtime.run_pod("p").await;
    assert_eq!(runtime.create(&pod, "c1").await.env, ["A=1"]);
    let error = runtime.try_create(&pod, "c2").await.unwrap_err();
    assert!(error.to_string().contains("no device (code 5)"), "{error}");
    process.wait_for("CreateContainer c2").await;
    let lines = process.output().all();
    assert!(
        lines.contains(&"{\"is\":\"registered\"}".to_owned()),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line.contains("RunPodSandbox")));
}

#[tokio::test]
async fn its_death_is_real() {
    for (deed, signal) in [("kill", Some(9)), ("exit", None), ("answer_and_exit", None)] {
        let runtime = TestRuntime::start().await;
        let mut process = joined(&runtime, &script(deed)).await;
        runtime.run_pod("p").await;
        runtime.watcher().wait_for("gone 10-real").await;
        let status = process.ended().await;
        assert_eq!(status.signal(), signal, "{deed}: {status}");
        let outcomes = runtime.watcher().outcomes("10-real", Event::RunPodSandbox);
        let answered = deed == "answer_and_exit";
        assert_eq!(
            outcomes == [CallOutcome::Answered],
            answered,
            "{outcomes:?}"
        );
    }
}

#[tokio::test]
async fn a_process_that_is_stopped_is_late_and_comes_back() {
    let runtime = brisk().start().await;
    let process = joined(&runtime, "identity = '10-real'").await;
    process.pause();
    runtime.run_pod("a").await;
    assert_eq!(runtime.plugins(), [] as [&str; 0]);
    process.resume();
    runtime.wait_for_plugins(&["10-real"]).await;
    process.wait_for("RunPodSandbox a").await;
    runtime.run_pod("b").await;
    process.wait_for("RunPodSandbox b").await;
}

#[tokio::test]
async fn garbage_from_a_process_ends_its_connection_only() {
    for deed in ["garbage", "half_close"] {
        let runtime = brisk().start().await;
        let mut process = joined(&runtime, &script(deed)).await;
        runtime.run_pod("p").await;
        runtime.watcher().wait_for("gone 10-real").await;
        assert!(process.ended().await.success());
    }
}

#[tokio::test]
async fn one_that_never_registers_is_refused_in_time() {
    let runtime = brisk()
        .config(|config| config.plugin_registration_timeout = Duration::from_millis(200))
        .start()
        .await;
    let silent = FakeProcess::spawn(program(), "register = false", &runtime.socket());
    let mut silent = silent.unwrap();
    let _good = joined(&runtime, "identity = '10-real'").await;
    runtime.watcher().wait_for("refused process").await;
    assert!(silent.ended().await.success());
}

#[tokio::test]
async fn it_connects_again_if_it_is_told_to() {
    let runtime = TestRuntime::start().await;
    let _process = joined(&runtime, &format!("reconnect = true\n{}", script("exit"))).await;
    runtime.run_pod("p").await;
    runtime
        .watcher()
        .wait_for_nth("synchronized 10-real", 2)
        .await;
    runtime.wait_for_plugins(&["10-real"]).await;
}

#[tokio::test]
async fn launched_by_a_runtime_it_finds_its_script_and_its_connection() {
    let builder = TestRuntime::builder();
    let plugins = builder.directory().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    std::os::unix::fs::symlink(program(), plugins.join("10-launched")).unwrap();
    std::fs::write(
        plugins.join("10-launched.toml"),
        "[[rule]]\ncall = 'CreateContainer'\ndo = 'answer'\nanswer.adjust.annotations = { a = 'b' }",
    )
    .unwrap();
    std::os::unix::fs::symlink(program(), plugins.join("20-dies")).unwrap();
    std::fs::write(
        plugins.join("20-dies.json"),
        r#"{"rule": [{"call": "RunPodSandbox", "do": "kill"}]}"#,
    )
    .unwrap();
    let runtime = builder.start().await;
    runtime.wait_for_plugins(&["10-launched", "20-dies"]).await;
    assert_eq!(runtime.nri().plugins()[0].kind, PluginKind::Launched);
    let pod = runtime.run_pod("p").await;
    runtime.watcher().wait_for("gone 20-dies").await;
    runtime
        .wait_for_states("the second one to be launched again", |plugins| {
            plugins[1].restarts == 1 && plugins[1].state == PluginState::Ready
        })
        .await;
    assert_eq!(runtime.create(&pod, "c").await.annotations["a"], "b");
}

#[test]
fn the_help_describes_the_script_and_mistakes_are_said() {
    let output = Command::new(program()).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for word in [
        "identity",
        "events",
        "event_bits",
        "old_protocol",
        "register",
        "reconnect",
        "nth",
        "after",
        "bad_answer",
        "unimplemented",
        "answer_and_exit",
        "stop_reading",
        "half_close",
        "garbage",
    ] {
        assert!(help.contains(word), "{word} is not described in\n{help}");
    }
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("bad.toml");
    std::fs::write(&script, "[[rule]]\ncall = 'Dance'\ndo = 'hang'").unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(program()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let error = run(&["--script", script.to_str().unwrap()]);
    assert!(error.contains("rule 1 of the script, for Dance"), "{error}");
    let error = run(&["--socket", "/nonexistent/nri.sock"]);
    assert!(error.contains("/nonexistent/nri.sock"), "{error}");
}

#[tokio::test]
async fn what_its_script_says_of_unanswered_requests_is_heeded() {
    let runtime = TestRuntime::start().await;
    let script = format!("failure_policy.fail_request = true\n{}", script("kill"));
    let process = joined(&runtime, &script).await;
    let error = runtime.try_run_pod("p").await.unwrap_err();
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    drop(process);
}
