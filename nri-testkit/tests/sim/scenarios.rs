//! Scenarios: those in `scenarios/` with the example plugins, the one in the manual, and what goes
//! wrong.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use nri_testkit::sim::Scenario;
use serde_json::Value;

use crate::support::*;

/// `nri-sim run` with the example plugins that a scenario names.
fn run(scenario: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nri-sim"));
    command.arg("run").arg(scenario);
    if !arguments.contains(&"--wait") {
        command.args(["--wait", "60"]);
    }
    for plugin in Scenario::load(scenario).unwrap().plugins {
        if plugin.command.is_none()
            && let Some(example) = examples().get(plugin.id.name().as_str())
        {
            command
                .arg("--plugin")
                .arg(format!("{}={}", plugin.id, example.display()));
        }
    }
    command.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A scenario in a file of its own, played; its output and errors, and whether it succeeded.
fn play(scenario: &str, arguments: &[&str]) -> (String, String, bool) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("scenario.toml");
    fs::write(&file, scenario).unwrap();
    let output = run(&file, arguments);
    (
        text(&output.stdout),
        text(&output.stderr),
        output.status.success(),
    )
}

#[test]
fn all_scenarios_that_are_included_are_as_expected() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut played = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().path();
        let output = run(&file, &[]);
        let (printed, log) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "{}: {printed}{log}",
            file.display()
        );
        assert!(printed.ends_with("all as expected\n"), "{printed}");
        played += 1;
    }
    assert!(played >= 2);
}

#[test]
fn the_scenario_of_the_chapter_is_as_expected() {
    let chapter = include_str!("../../src/manual/nri_sim.md");
    let (_, rest) = chapter.split_once("```toml\n").unwrap();
    let (scenario, rest) = rest.split_once("```").unwrap();
    let (printed, log, success) = play(scenario, &[]);
    assert!(success, "{printed}{log}");
    // What the manual says is printed, but for the times.
    let (_, example) = rest.split_once("```text\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let timeless = |text: &str| -> Vec<String> {
        let words = text.split_whitespace();
        words
            .filter(|word| word.parse::<f64>().is_err() || !word.contains('.'))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(timeless(&printed), timeless(example), "{printed}");
}

#[test]
fn the_scenario_of_the_help_is_as_expected() {
    let output = program().args(["run", "--help"]).output().unwrap();
    let help = text(&output.stdout);
    let (_, rest) = help.split_once("A scenario:\n").unwrap();
    let scenario: Vec<&str> = rest
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .collect();
    let (printed, log, success) = play(&scenario.join("\n"), &[]);
    assert!(
        success && printed.contains("2 steps, 6 expectations"),
        "{printed}{log}"
    );
}

const WRONG: &str = r#"
[[plugins]]
id = "50-annotate"
config = "[env]\nTZ = 'UTC'"

[[steps]]
cmd = "run-pod"
pod = { id = "p1" }

[[steps]]
cmd = "create-container"
pod_id = "p1"
container = { id = "c1" }
expect.adjustment.env = [{ key = "TZ", value = "CET" }]
expect_absent = ["/owners/c1/Env/TZ"]

[[steps]]
cmd = "stop-container"
container_id = "c9"

[[steps]]
cmd = "stop-container"
container_id = "c9"
expect.error = "there is no container"

[expect]
containers.c1.state = "CONTAINER_RUNNING"
"#;

#[test]
fn what_is_not_as_expected_is_named_with_its_place_and_fails() {
    let (printed, log, success) = play(WRONG, &[]);
    assert!(!success);
    for says in [
        "NOT AS EXPECTED (line 10) /adjustment/env/0/value: expected \"CET\", got \"UTC\"",
        "NOT AS EXPECTED (line 10) /owners/c1/Env/TZ: expected nothing, got \"50-annotate\"",
        "NOT AS EXPECTED (line 17) /ok: expected true, got false",
        "error: there is no container \"c9\"; there is c1",
        "NOT AS EXPECTED (in the end) /containers/c1/state: expected \"CONTAINER_RUNNING\", got \"CONTAINER_CREATED\"",
        "4 steps, 8 expectations: 4 NOT AS EXPECTED",
    ] {
        assert!(printed.contains(says), "{says}\n{printed}{log}");
    }
}

#[test]
fn programs_get_json() {
    let (printed, log, success) = play(WRONG, &["--json"]);
    assert!(!success, "{log}");
    let lines: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| line["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["ready", "step", "step", "step", "step", "end"]);
    assert_eq!(lines[2]["result"]["adjustment"]["env"][0]["key"], "TZ");
    assert_eq!(lines[2]["problems"].as_array().unwrap().len(), 2);
    assert_eq!(lines[5]["failed"], 4);
}

#[test]
fn a_plugin_may_be_started_beside_the_runtime() {
    let annotate = examples()["annotate"].display();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("annotate.toml");
    fs::write(&config, "[env]\nTZ = 'UTC'").unwrap();
    let plugin = format!(
        "50-annotate={annotate} --socket {{socket}} --once --config {}",
        config.display()
    );
    let scenario = "
        [[steps]]
        cmd = 'run-pod'
        pod = { id = 'p1' }
        [[steps]]
        cmd = 'create-container'
        pod_id = 'p1'
        container = { id = 'c1' }
        expect.adjustment.env = [{ key = 'TZ', value = 'UTC' }]
    ";
    let (printed, log, success) = play(scenario, &["--plugin", &plugin]);
    assert!(success, "{printed}{log}");
    assert!(
        printed.contains("plugin 50-annotate (external)"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_someone_else_starts_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let (file, socket) = (
        directory.path().join("scenario.toml"),
        directory.path().join("nri.sock"),
    );
    fs::write(
        &file,
        "[[plugins]]\nid = '10-mine'\n[[steps]]\ncmd = 'run-pod'\npod = { id = 'p1' }\n",
    )
    .unwrap();
    let mut command = program();
    command
        .args(["run", "--wait", "60", "--socket"])
        .arg(&socket)
        .arg(&file)
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let waiting = lines.next().unwrap().unwrap();
    assert_eq!(
        waiting,
        format!("waiting for 10-mine at {}", socket.display())
    );
    let plugin = Script::default().connect(&socket, "10-mine").await;
    let (status, rest) = tokio::task::spawn_blocking(move || {
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        (child.wait().unwrap(), rest)
    })
    .await
    .unwrap();
    assert!(status.success(), "{rest:?}");
    assert!(plugin.heard().contains(&"RunPodSandbox p1".to_owned()));
}

#[test]
fn a_plugin_that_does_not_come_is_named_with_what_it_printed() {
    for command in ["echo no such luck; false", "echo no such luck {socket}"] {
        let plugin = format!("10-mine=sh -c '{command}'");
        let (_, log, success) = play("", &["--plugin", &plugin, "--wait", "1"]);
        assert!(!success);
        assert!(
            log.contains("plugin 10-mine is not there after 1s: it printed: no such luck"),
            "{log}"
        );
    }
    let (printed, log, success) = play("[[plugins]]\nid = '10-mine'", &["--wait", "0"]);
    assert!(!success);
    assert!(printed.contains("waiting for 10-mine at /"), "{printed}");
    assert!(
        log.contains("it is not started here") && log.contains("--plugin '10-mine=COMMAND'"),
        "{log}"
    );
}

#[test]
fn what_a_plugin_does_not_print_is_missed() {
    let logger = "
        [[plugins]]
        id = '10-logger'
        [[steps]]
        cmd = 'expect-output'
        plugin = '10-logger'
        contains = 'lunch'
        timeout_ms = 1
        [[steps]]
        cmd = 'expect-output'
        plugin = '20-other'
        contains = 'lunch'
    ";
    let (printed, _, success) = play(logger, &[]);
    assert!(!success);
    assert!(
        printed.contains(
            "plugin 10-logger printed no line with \"lunch\" in it within 1ms; it printed: "
        ) && printed.contains("plugin 20-other is not started by nri-sim"),
        "{printed}"
    );
}

#[test]
fn what_is_no_scenario_or_no_plugin_is_said_so() {
    let (_, log, success) = {
        let output = program()
            .args(["run", "/nonexistent.toml"])
            .output()
            .unwrap();
        ((), text(&output.stderr), output.status.success())
    };
    assert!(!success && log.contains("/nonexistent.toml: "), "{log}");
    for (plugin, says) in [
        ("mine", "NN-name=COMMAND"),
        ("mine=./mine", "\"mine\" is no plugin"),
    ] {
        let output = program()
            .args(["run", "x.toml", "--plugin", plugin])
            .output()
            .unwrap();
        let log = text(&output.stderr);
        assert!(!output.status.success() && log.contains(says), "{log}");
    }
}

/// Whatever a shell takes, with the connection, the process and the signals of the plugin itself.
#[test]
fn a_plugin_is_started_as_a_shell_would_start_it() {
    let annotate = examples()["annotate"].clone();
    let (directory, name) = (
        annotate.parent().unwrap().display().to_string(),
        annotate.file_name().unwrap().to_str().unwrap(),
    );
    let program = annotate.display();
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("annotate.toml");
    fs::write(&config, "[env]\nTZ = 'UTC'").unwrap();
    let beside = format!(" --socket {{socket}} --once --config {}", config.display());
    let scenario = "
        [[plugins]]
        id = '50-annotate'
        config = \"[env]\\nTZ = 'UTC'\"
        [[steps]]
        cmd = 'run-pod'
        pod = { id = 'p1' }
    ";
    for command in [
        format!("FOO=1 {program}"),
        format!("cd {directory} && ./{name}"),
        format!("exec {program}"),
        format!("if true; then {program}; fi"),
        format!("true; {program} # 'that is it'"),
    ] {
        for socket in ["", &beside] {
            let command = match command.split_once(" #") {
                _ if socket.is_empty() => command.clone(),
                Some((start, end)) => format!("{start}{socket} #{end}"),
                None if command.ends_with("; fi") => {
                    format!("{}{socket}; fi", command.trim_end_matches("; fi"))
                }
                None => format!("{command}{socket}"),
            };
            let plugin = format!("50-annotate={command}");
            let (printed, log, success) = play(scenario, &["--plugin", &plugin]);
            assert!(success, "{command}: {printed}{log}");
            let kind = if socket.is_empty() {
                "launched"
            } else {
                "external"
            };
            let plugin = format!("plugin 50-annotate ({kind})");
            assert!(printed.contains(&plugin), "{command}: {printed}");
        }
    }
}

#[test]
fn a_scenario_is_shown_as_a_page_that_needs_nothing_beside_itself() {
    let home = tempfile::tempdir().unwrap();
    let page = home.path().join("page.html");
    let scenario = "\
name = 'a <b> & \"c\"'
[[plugins]]
id = '50-annotate'
config = \"[env]\\nTZ = '<UTC>'\"
[[steps]]
cmd = 'run-pod'
pod = { id = 'p1' }
[[steps]]
cmd = 'create-container'
pod_id = 'p1'
container = { id = 'c1', name = 'nginx', env = ['A=1'] }
expect.adjustment.env = [{ key = 'TZ', value = 'else' }]
";
    let (_, errors, success) = play(scenario, &["--html", page.to_str().unwrap()]);
    assert!(!success, "{errors}");
    let text = fs::read_to_string(&page).unwrap();
    let page = crate::html::well_formed(&text);
    assert_eq!(page.texts("h1"), ["a <b> & \"c\""]);
    let rows = page.rows();
    let find = |word: &str| rows.iter().find(|row| row.contains(word));
    assert!(
        find("create-container c1")
            .unwrap()
            .contains("50-annotate answered"),
        "{rows:?}"
    );
    assert!(find("Env TZ").unwrap().contains("<UTC>"), "{rows:?}");
    let changes = page.texts("pre").concat();
    assert!(changes.contains("+       \"TZ=<UTC>\""), "{changes}");
    assert!(changes.contains("    \"process\": {"), "{changes}");
    let whole = page.texts("body").concat();
    assert!(
        whole.contains("expected \"else\", got \"<UTC>\""),
        "{whole}"
    );
    assert!(whole.contains("1 not as expected"), "{whole}");
}
