//! The plugin as a runtime sees it.

use std::path::{Path, PathBuf};

use nri_plugin::Request;
use nri_plugin::prelude::*;
use nri_testkit::{Harness, container, pod};
use serde_json::Value;

use crate::config::Config;
use crate::line::Format;
use crate::output::{Output, Printer};
use crate::{Options, plugin};

fn logger(config: Config) -> (Harness, Printer) {
    let (output, printer) = Output::start(|| {});
    let options = Options {
        config,
        format: Format::Json,
    };
    (Harness::new(plugin(options, output).unwrap()), printer)
}

/// What is in the file once the plugin is gone.
async fn lines(harness: Harness, printer: Printer, file: &Path) -> Vec<Value> {
    drop(harness);
    let printed = tokio::task::spawn_blocking(|| printer.join());
    printed.await.unwrap().unwrap().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn to_file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    (directory, file)
}

#[tokio::test]
async fn every_event_is_a_line_with_all_that_the_runtime_says() {
    let (_directory, file) = to_file();
    let (harness, printer) = logger(Config {
        log_file: Some(file.clone()),
        ..Default::default()
    });
    let request = api::RunPodSandboxRequest {
        pod: Some(pod("web-1")),
    };
    harness
        .notify(Request::RunPodSandbox(request))
        .await
        .unwrap();
    assert!(
        harness
            .create(pod("web-1"), container("nginx"))
            .await
            .is_empty()
    );
    let lines = lines(harness, printer, &file).await;
    let events = lines.iter().map(|line| line["event"].as_str().unwrap());
    assert!(
        events.eq([
            "Configure",
            "RunPodSandbox",
            "CreateContainer",
            "ValidateContainerAdjustment"
        ]),
        "{lines:?}"
    );
    assert_eq!(lines[1]["pod"]["name"], "web-1");
    assert_eq!(lines[2]["container"]["name"], "nginx");
}

#[tokio::test]
async fn the_configuration_of_the_go_plugin_counts_over_the_command_line() {
    let (_directory, file) = to_file();
    let given = Config {
        add_env: Some("GIVEN".into()),
        add_annotation: Some("example.com/given".into()),
        ..Default::default()
    };
    let (harness, printer) = logger(given);
    let harness = harness.configured(format!(
        "logFile: {}\nevents: [CreateContainer]\naddEnv: SENT\nsetAnnotation: example.com/set\n",
        file.display()
    ));
    let created = harness.create(pod("web-1"), container("nginx")).await;
    let value = format!("logger-pid-{}", std::process::id());
    assert_eq!(
        (created.env("SENT"), created.env("GIVEN")),
        (Some(value.as_str()), None)
    );
    let annotations = &created.adjustment.as_ref().unwrap().annotations;
    assert_eq!(
        (
            &annotations["example.com/given"],
            &annotations["example.com/set"]
        ),
        (&value, &value)
    );
    let request = api::RunPodSandboxRequest {
        pod: Some(pod("web-1")),
    };
    harness
        .notify(Request::RunPodSandbox(request))
        .await
        .unwrap();
    let lines = lines(harness, printer, &file).await;
    let events = lines.iter().map(|line| line["event"].as_str().unwrap());
    assert!(events.eq(["Configure", "CreateContainer"]), "{lines:?}");
}

#[tokio::test]
async fn a_mistake_is_named_with_line_value_and_what_is_allowed() {
    for (text, says) in [
        (
            "event: all",
            "line 1: unknown field `event`, expected one of `logFile`, `events`",
        ),
        ("events: [CreateContainers]", "events: "),
        ("events: all", "line 1: events"),
        (
            "logFile: /nonexistent/log",
            "logFile /nonexistent/log: No such file",
        ),
        ("addEnv: -A", "-A"),
    ] {
        let (harness, _printer) = logger(Config::default());
        let error = harness.configured(text).try_configure().await.unwrap_err();
        assert!(error.contains(says), "{text:?}: {error}");
    }
}

#[test]
fn a_name_cannot_make_a_second_line() {
    let message =
        serde_json::json!({"pod": {"namespace": "a", "name": "b\nc"}, "resources": {"x": "\n"}});
    let line = Format::Text.line("RunPodSandbox", &message, 2);
    assert!(line.contains(" RunPodSandbox pod a/b\u{fffd}c"), "{line}");
    assert!(
        !line.contains('\n') && line.ends_with("(before it 2 were left out)"),
        "{line}"
    );
}
