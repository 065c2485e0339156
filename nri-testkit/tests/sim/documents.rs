//! The examples of the manual and of `--help` are run, so that they cannot rot.

use nri_testkit::sim::COMMANDS;
use serde_json::Value;

use crate::support::*;

const CHAPTER: &str = include_str!("../../src/manual/nri_sim.md");

/// Whether everything that is expected is there: members of objects, all elements of lists, a text
/// up to its `...`.
fn holds(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => expected.iter().all(|(key, value)| {
            // Times differ from run to run.
            actual
                .get(key)
                .is_some_and(|actual| key == "ms" && actual.is_number() || holds(value, actual))
        }),
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len() && expected.iter().zip(actual).all(|(e, a)| holds(e, a))
        }
        (Value::String(expected), Value::String(actual)) => match expected.strip_suffix("...") {
            Some(beginning) => actual.starts_with(beginning),
            None => expected == actual,
        },
        _ => expected == actual,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_the_manual_is_what_happens() {
    let mut serve = Serve::start();
    let _plugin = annotates().join(&mut serve, "10-notes").await;
    let mut results = 0;
    let mut lines = CHAPTER
        .lines()
        .filter(|line| line.starts_with("> {") || line.starts_with("< {"));
    while let Some(line) = lines.next() {
        let command = line
            .strip_prefix("> ")
            .unwrap_or_else(|| panic!("no command before {line}"));
        let expected = lines
            .next()
            .and_then(|line| line.strip_prefix("< "))
            .unwrap();
        let expected: Value =
            serde_json::from_str(expected).unwrap_or_else(|e| panic!("{expected}: {e}"));
        let result = serve.ask(command);
        assert!(
            holds(&expected, &result),
            "{command}\nexpected {expected}\ngot {result}"
        );
        results += 1;
    }
    assert!(results >= 9, "the session is not found in the manual");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_help_works_in_the_order_of_the_help() {
    let output = program().args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let examples: Vec<&str> = help
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(r#"{"cmd":""#))
        .collect();
    assert_eq!(examples.len(), COMMANDS.len());
    let mut serve = Serve::start();
    let mut plugins = Vec::new();
    for (example, spec) in examples.iter().zip(COMMANDS) {
        match spec.name {
            "wait-plugins" => {
                for identity in ["10-one", "20-two"] {
                    plugins.push(Script::default().connect(&serve.socket(), identity).await);
                }
            }
            "abort-container" => {
                serve.ok(r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c2"}}"#);
            }
            _ => {}
        }
        let result = serve.ok(example);
        assert_eq!(result["cmd"], spec.name);
        let answers: Vec<&str> = spec
            .answers
            .split(", ")
            .filter(|name| !name.is_empty())
            .collect();
        for name in &answers {
            assert!(
                name.ends_with('?') || result.get(name).is_some(),
                "{name}: {result}"
            );
        }
        for name in result.as_object().unwrap().keys() {
            let documented = ["ok", "cmd"].contains(&name.as_str())
                || answers
                    .iter()
                    .any(|answer| answer.trim_end_matches('?') == name);
            assert!(documented, "{name} is not documented: {result}");
        }
    }
    assert!(serve.finish().1.success());
}

#[test]
fn every_subcommand_has_help_that_says_what_it_is_for() {
    let output = program().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for name in [
        "serve", "run", "check", "tap", "replay", "new", "policy", "fields", "vectors",
    ] {
        assert!(help.contains(name), "{help}");
        let output = program().args([name, "--help"]).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("Usage: nri-sim"), "{text}");
    }
}

#[test]
fn the_shell_example_works() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("annotate.toml");
    std::fs::write(&file, "[env]\nTZ = 'UTC'\n").unwrap();
    let output = std::process::Command::new("sh")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/serve.sh"))
        .arg(env!("CARGO_BIN_EXE_nri-sim"))
        .arg(&examples()["annotate"])
        .arg("--config")
        .arg(&file)
        .arg("--once")
        .output()
        .unwrap();
    let (text, log) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{text}{log}");
    let results = text
        .lines()
        .filter(|line| line.starts_with("< {\"ok\":true"));
    assert_eq!(results.count(), 10, "{text}");
    assert!(text.contains(r#"{"key":"TZ","value":"UTC"}"#), "{text}");
}

#[test]
fn rust_log_counts_where_no_option_says_more() {
    for (option, variable, logs) in [
        (None, None, true),
        (None, Some("error"), false),
        (Some("info"), Some("error"), true),
        (Some("error"), Some("info"), false),
    ] {
        let mut command = program();
        command.arg("serve").env_remove("RUST_LOG");
        if let Some(option) = option {
            command.args(["--log", option]);
        }
        if let Some(variable) = variable {
            command.env("RUST_LOG", variable);
        }
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            log.contains(" INFO "),
            logs,
            "{option:?} {variable:?}: {log}"
        );
    }
    for wrong in ["nri=loud", "loud"] {
        let output = program()
            .arg("serve")
            .env("RUST_LOG", wrong)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && log.contains(&format!("RUST_LOG is {wrong:?}")),
            "{log}"
        );
    }
}

#[test]
fn the_fields_that_have_owners_are_listed() {
    let output = program().arg("fields").output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let help = program().args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for name in ["CPUSetCPUs", "MemLimit", "Env", "RdtClosID"] {
        assert!(listed.lines().any(|line| line == name), "{listed}");
        assert!(help.contains(name) && CHAPTER.contains(name), "{name}");
    }
}

#[test]
fn every_recording_can_be_replayed() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/data");
    for name in ["vectors-events.jsonl", "vectors-oci.jsonl"] {
        let file = std::path::Path::new(data).join(name);
        let output = program().arg("vectors").arg(file).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        assert!(text.ends_with(" 0 failed, 0 skipped\n"), "{text}");
    }
}

/// What stands in fences of a kind.
fn fenced(chapter: &str, kind: &str) -> String {
    let mut text = String::new();
    let mut within = false;
    for line in chapter.lines() {
        match line.strip_prefix("```") {
            Some(begins) => within = !within && begins == kind,
            None if within => text.extend([line, "\n"]),
            None => {}
        }
    }
    text
}

#[test]
fn the_chapter_on_plugins_in_any_language_can_be_followed_by_the_letter() {
    let chapter = include_str!("../../src/manual/any_language.md");
    let home = tempfile::tempdir().unwrap();
    // The plugin that the chapter speaks of, in a language that is not ours.
    let script = "identity = '10-my-plugin'\n[[rule]]\ncall = 'CreateContainer'\ndo = 'answer'\n\
        answer.adjust.env = [{ key = 'ADDED', value = '1' }]\n";
    let shell = format!(
        "#!/bin/sh\nif [ -n \"$NRI_PLUGIN_SOCKET\" ]; then set --; fi\nexec {} --script {}/script.toml \"$@\"\n",
        env!("CARGO_BIN_EXE_nri-fake-plugin"),
        home.path().display()
    );
    let plugin = home.path().join("my-plugin");
    for (name, text) in [
        ("my-plugin", shell.as_str()),
        ("script.toml", script),
        ("scenario.toml", &fenced(chapter, "toml")),
    ] {
        std::fs::write(home.path().join(name), text).unwrap();
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&plugin, mode).unwrap();

    let commands = fenced(chapter, "console");
    let commands: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .collect();
    assert_eq!(commands.len(), 4);
    // What the CI file runs is what the chapter says, so that is tested with it.
    let ci = fenced(chapter, "yaml");
    let in_ci = ci
        .lines()
        .filter_map(|line| line.split_once("- run: nri-sim "));
    let in_ci: Vec<String> = in_ci.map(|(_, rest)| format!("nri-sim {rest}")).collect();
    assert_eq!(in_ci, [commands[2], commands[3]]);

    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_nri-sim"))
        .parent()
        .unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    for command in commands {
        // As patient as a test is.
        let more = match command.contains("check") {
            true => " --patience 60 --request-timeout 60000",
            false => " --wait 60",
        };
        let output = std::process::Command::new("/bin/sh")
            .args([
                "-c",
                &command.replacen(" --plugin", &format!("{more} --plugin"), 1),
            ])
            .current_dir(home.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{command}: {said}{:?}",
            output.stderr
        );
    }
    let json = std::fs::read_to_string(home.path().join("checks.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["ok"], true);
    for page in ["checks.html", "scenario.html"] {
        let text = std::fs::read_to_string(home.path().join(page)).unwrap();
        assert!(!crate::html::well_formed(&text).rows().is_empty());
    }
}
