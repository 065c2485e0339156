//! `nri-sim check`: good plugins pass, and one that breaks a single rule fails that check.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nri_core::api;
use nri_testkit::plugin_conformance::{Check, Options, Outcome, Report, check};
use nri_testkit::{Behavior, FakePlugin, When};

use crate::support::{TEST_TIMEOUT, examples, program, shares};

/// The fake plugin with a script, as a command.
fn fake(home: &Path, script: &str) -> String {
    let file = home.join("script.toml");
    std::fs::write(&file, script).unwrap();
    let program = env!("CARGO_BIN_EXE_nri-fake-plugin");
    format!("{program} --script {}", file.display())
}

/// Nobody is late, on a machine however busy.
fn patient(command: &str) -> Options {
    let mut options = Options::of(command);
    (options.patience, options.request_timeout) = (TEST_TIMEOUT, TEST_TIMEOUT);
    options
}

/// Whoever does not come or answer soon is taken for one that never does.
fn impatient(command: &str, only: Check) -> Options {
    let mut options = Options::of(command);
    options.patience = Duration::from_millis(1500);
    options.request_timeout = Duration::from_millis(800);
    options.only = vec![only];
    options
}

fn outcome(report: &Report, check: Check) -> &Outcome {
    let mut results = report.results().iter();
    &results
        .find(|result| result.check == check)
        .unwrap()
        .outcome
}

/// A script's rule: in this call, about this, do that.
fn rule(call: &str, of: &str, deed: &str) -> String {
    let of = match of {
        "" => String::new(),
        id => format!("of = '{id}'\n"),
    };
    format!("[[rule]]\ncall = '{call}'\n{of}{deed}\n")
}

#[tokio::test]
async fn a_plugin_that_has_nothing_to_say_passes() {
    let home = tempfile::tempdir().unwrap();
    let fake = fake(home.path(), "");
    let report = check(&patient(&format!("exec {fake}"))).await.unwrap();
    report.assert_ok();
    // It says of nothing that it was looked at which was not.
    assert_eq!(
        report.skipped(),
        [Check::Socket, Check::FailedUpdates, Check::Restart],
        "{report}"
    );
    // One that takes no path, and has its own.
    let socket = home.path().join("nri.sock");
    let mut options = patient(&format!("exec {fake} --socket {}", socket.display()));
    options.socket = Some(socket);
    options.launch = Some(format!("exec {fake}"));
    let report = check(&options).await.unwrap();
    report.assert_ok();
    assert_eq!(report.skipped(), [Check::FailedUpdates], "{report}");
}

/// What it never comes to is not said to have failed, with advice that is of no use.
#[tokio::test]
async fn of_a_plugin_that_does_not_start_one_check_of_a_scene_fails() {
    let mut options = patient("echo no such flag: -x; exit 2 # {socket}");
    options.only = vec![
        Check::Registered,
        Check::Configured,
        Check::Synchronised,
        Check::Answers,
    ];
    let report = check(&options).await.unwrap();
    assert_eq!(report.failed(), [Check::Registered], "{report}");
    assert_eq!(report.skipped().len(), 3, "{report}");
    assert!(report.to_string().contains("no such flag: -x"), "{report}");
}

#[tokio::test]
async fn our_example_plugins_pass_both_ways() {
    for (example, command, config) in [
        ("logger", "--socket {socket}", ""),
        ("annotate", "--socket {socket}", "[env]\nTZ = 'UTC'"),
        // It has no command line.
        ("memory", "", ""),
    ] {
        let plugin = examples()[example].display();
        let mut options = patient(&format!("exec {plugin} {command}"));
        config.clone_into(&mut options.config);
        let report = check(&options).await.unwrap();
        assert!(report.is_ok(), "{example}\n{report}");
    }
}

#[tokio::test]
async fn a_plugin_of_an_old_protocol_is_asked_as_runtimes_ask_it() {
    let home = tempfile::tempdir().unwrap();
    let fake = fake(home.path(), "old_protocol = true");
    let mut options = patient("exit 1 # {socket}");
    options.launch = Some(format!("exec {fake}"));
    options.only = vec![Check::Launched, Check::EndsWithRuntime];
    check(&options).await.unwrap().assert_ok();
    options = patient(&format!("exec {fake}"));
    options.only = vec![Check::Answers, Check::NewerRuntime, Check::OlderRuntime];
    check(&options).await.unwrap().assert_ok();
}

/// A plugin that breaks just this, and how it is started. `FAKE` stands for the fake plugin with
/// the script.
fn mutants() -> Vec<(Check, &'static str, String)> {
    let kill = "do = 'kill'";
    vec![
        (Check::Registered, "FAKE", "identity = '1x-mutant'".into()),
        (
            Check::Registered,
            "FAKE",
            rule("Configure", "", "do = 'register'\nidentity = '10-again'"),
        ),
        (Check::Configured, "FAKE", "event_bits = 1048576".into()),
        (
            Check::Synchronised,
            "FAKE",
            rule(
                "Synchronize",
                "",
                "do = 'answer'\nanswer.update = [{ containerId = 'nobody' }]",
            ),
        ),
        (Check::Launched, "FAKE", "register = false".into()),
        (Check::Socket, "exit 1 # {socket}", String::new()),
        (Check::Refused, "FAKE; kill -SEGV $$", String::new()),
        (
            Check::Answers,
            "FAKE",
            rule("StartContainer", "", "do = 'hang'"),
        ),
        (
            Check::Answers,
            "FAKE",
            rule("CreateContainer", "", "do = 'fail'"),
        ),
        (
            Check::Answers,
            "FAKE",
            rule("StopPodSandbox", "", "do = 'bad_answer'"),
        ),
        (
            Check::Adjusts,
            "FAKE",
            rule(
                "UpdateContainer",
                "",
                "do = 'answer'\nanswer.evict = [{ containerId = '' }]\nanswer.update = [{ containerId = 'a', linux.resources.memory.limit = '1' }, { containerId = 'a', linux.resources.memory.limit = '2' }]",
            ),
        ),
        (
            Check::BarePod,
            "FAKE",
            rule("RunPodSandbox", "bare-pod", kill),
        ),
        (
            Check::BareContainer,
            "FAKE",
            rule("StopContainer", "bare-resources", kill),
        ),
        (
            Check::Unknown,
            "FAKE",
            rule("RemoveContainer", "never-shown", kill),
        ),
        (Check::SplitSync, "FAKE", "old_protocol = true".into()),
        (
            Check::Large,
            "FAKE",
            rule("CreateContainer", "large-container", kill),
        ),
        (
            Check::Parallel,
            "FAKE",
            rule("CreateContainer", "parallel-7", "do = 'hang'"),
        ),
        (
            Check::NewerRuntime,
            "FAKE",
            rule("CreateContainer", "of-a-newer-runtime", "do = 'fail'"),
        ),
        (
            Check::OlderRuntime,
            "FAKE",
            rule("StateChange", "", "do = 'unimplemented'"),
        ),
        (
            Check::SlowRuntime,
            "timeout -s KILL 0.5 FAKE",
            String::new(),
        ),
        (Check::Shutdown, "FAKE", rule("Shutdown", "", "do = 'hang'")),
        (Check::Torn, "FAKE; kill -SEGV $$", String::new()),
        (
            Check::Restart,
            "FAKE --socket {socket}; sleep 1000",
            String::new(),
        ),
        (Check::EndsWithRuntime, "FAKE; sleep 1000", String::new()),
        (Check::Terminates, "trap '' TERM; FAKE", String::new()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_breaks_one_rule_fails_that_check() {
    let mut covered = vec![Check::FailedUpdates];
    let mut tried = tokio::task::JoinSet::new();
    for (wanted, command, script) in mutants() {
        covered.push(wanted);
        tried.spawn(async move {
            let home = tempfile::tempdir().unwrap();
            let fake = fake(home.path(), &script);
            let command = command.replace("FAKE", &fake);
            let report = check(&impatient(&command, wanted)).await.unwrap();
            assert_eq!(report.failed(), [wanted], "{command}\n{script}\n{report}");
            let Outcome::Failed(seen) = outcome(&report, wanted) else {
                panic!("{report}")
            };
            assert!(seen.iter().all(|text| !text.is_empty()));
        });
    }
    while let Some(tried) = tried.join_next().await {
        tried.unwrap();
    }
    covered.sort();
    covered.dedup();
    assert_eq!(covered, Check::ALL);
}

/// Connects again and again, as a plugin that someone keeps alive. It asks for an update in its
/// first event, and does `then` with what came of it.
async fn comes_again(plugin: FakePlugin, socket: std::path::PathBuf, takes_failure: bool) {
    let asked = Arc::new(tokio::sync::Notify::new());
    let asks = Arc::clone(&asked);
    let plugin = plugin.on(
        When::method("CreateContainer"),
        Behavior::decide(move |_| {
            let asks = Arc::clone(&asks);
            async move {
                asks.notify_one();
                Behavior::usual()
            }
        }),
    );
    loop {
        let Ok(connected) = plugin.connect(&socket).await else {
            tokio::task::yield_now().await;
            continue;
        };
        if connected.register().await.is_err() {
            continue;
        }
        tokio::select! {
            _ = connected.closed() => continue,
            () = asked.notified() => {}
        }
        let failed = connected.update(vec![shares("c", 2)], Vec::new()).await;
        match failed {
            // A mutant: it cannot go on without.
            Ok(failed) if !takes_failure && !failed.is_empty() => connected.exit(),
            _ => {
                let _ = connected.closed().await;
            }
        }
    }
}

#[tokio::test]
async fn a_plugin_that_someone_else_starts_is_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("nri.sock");
    let mut options = Options::of_whom_connects_to(&socket);
    (options.patience, options.request_timeout) = (TEST_TIMEOUT, TEST_TIMEOUT);
    let plugin = FakePlugin::new("10-elsewhere").without_record();
    let comes = tokio::spawn(comes_again(plugin, socket, true));
    let report = check(&options).await.unwrap();
    comes.abort();
    report.assert_ok();
    assert_eq!(outcome(&report, Check::FailedUpdates), &Outcome::Passed);
    assert_eq!(
        report.skipped(),
        [Check::Launched, Check::EndsWithRuntime, Check::Terminates]
    );
}

#[tokio::test]
async fn one_that_breaks_when_updates_fail_or_knows_what_there_is_not_is_caught() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("nri.sock");
    let mut options = Options::of_whom_connects_to(&socket);
    options.request_timeout = Duration::from_millis(800);
    options.patience = TEST_TIMEOUT;
    options.only = vec![Check::FailedUpdates];
    let plugin = FakePlugin::new("10-mutant");
    let comes = tokio::spawn(comes_again(plugin, socket.clone(), false));
    let report = check(&options).await.unwrap();
    comes.abort();
    assert_eq!(report.failed(), [Check::FailedUpdates], "{report}");

    options.only = vec![Check::NewerRuntime];
    let knows_all = FakePlugin::new("10-mutant").on(
        When::method("SuspendContainer"),
        Behavior::answer(api::Empty {}),
    );
    let comes = tokio::spawn(comes_again(knows_all, socket, true));
    let report = check(&options).await.unwrap();
    comes.abort();
    assert_eq!(report.failed(), [Check::NewerRuntime], "{report}");
}

#[test]
fn the_report_is_a_table_json_and_a_page_and_the_exit_code_says_whether_it_is_good() {
    let home = tempfile::tempdir().unwrap();
    let page = home.path().join("report.html");
    let bad = fake(
        home.path(),
        &rule("RunPodSandbox", "bare-pod", "do = 'kill'"),
    );
    let run = |arguments: &[&str]| {
        let mut command = program();
        command
            .arg("check")
            .args(["--plugin", &bad, "--patience", "60"]);
        command.args(["--request-timeout", "60000"]).args(arguments);
        command.stderr(Stdio::inherit()).output().unwrap()
    };
    let only = ["--only", "BarePod", "--only", "terminates"];
    let text = run(&[&only[..], &["--html", page.to_str().unwrap()]].concat());
    assert_eq!(text.status.code(), Some(1));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("FAILED   BarePod"), "{text}");
    assert!(
        text.contains("what to do: check for what is optional"),
        "{text}"
    );
    assert!(text.ends_with("1 passed, 1 failed, 0 skipped\n"), "{text}");

    let json = run(&[&only[..], &["--json"]].concat());
    assert_eq!(json.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["checks"][0]["check"], "BarePod");
    assert_eq!(json["checks"][0]["outcome"], "failed");
    assert_eq!(json["checks"][1]["outcome"], "passed");

    let html = std::fs::read_to_string(page).unwrap();
    let rows = crate::html::well_formed(&html).rows();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(
        rows[0].contains("BarePod") && rows[0].contains("FAILED"),
        "{rows:?}"
    );

    let good = run(&["--only", "Terminates"]);
    assert_eq!(good.status.code(), Some(0));
}

#[tokio::test]
async fn a_socket_at_which_a_runtime_listens_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("nri.sock");
    let _runtime = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let refused = check(&Options::of_whom_connects_to(&socket)).await;
    assert!(refused.unwrap_err().contains("somebody listens there"));
    assert!(socket.exists());
}
