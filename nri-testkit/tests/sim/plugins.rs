//! Who the plugins are: connected, launched, late, gone; and commands that do not wait for one
//! another.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_listed_with_what_is_known_of_them() {
    let mut serve = Serve::start();
    let peer = Script::default().join(&mut serve, "20-second").await;
    let _first = annotates().join(&mut serve, "10-first").await;
    let listed = serve.ok(r#"{"cmd":"plugins"}"#)["plugins"].clone();
    let plugin = &listed[0];
    assert_eq!(
        (&plugin["plugin"], &plugin["index"], &plugin["name"]),
        (&json!("10-first"), &json!("10"), &json!("first"))
    );
    assert_eq!(
        (&plugin["kind"], &plugin["state"]),
        (&json!("external"), &json!("ready"))
    );
    assert_eq!(plugin["pid"], json!(std::process::id()));
    assert!(
        plugin["events"]
            .as_array()
            .unwrap()
            .contains(&json!("CreateContainer"))
    );
    assert_eq!(listed[1]["plugin"], "20-second");

    peer.leave();
    // It is noticed when it is next needed at the latest.
    serve.ok(r#"{"cmd":"run-pod","pod":{"id":"p1"}}"#);
    let error = serve.error(r#"{"cmd":"wait-plugins","count":3,"timeout_ms":1}"#);
    assert!(
        error.contains("of 3 plugins are there after 1ms: 10-first (ready)"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_launched_finds_what_was_added_before() {
    let annotate = &examples()["annotate"];
    let mut serve = Serve::with(|command, home| {
        for directory in ["plugins", "conf.d"] {
            fs::create_dir(home.join(directory)).unwrap();
        }
        fs::copy(annotate, home.join("plugins/50-annotate")).unwrap();
        fs::set_permissions(
            home.join("plugins/50-annotate"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        fs::write(home.join("conf.d/50-annotate.conf"), "[env]\nTZ = 'UTC'\n").unwrap();
        command
            .arg("--plugins")
            .arg(home.join("plugins"))
            .arg("--plugin-config")
            .arg(home.join("conf.d"));
    });
    serve.send(r#"{"cmd":"add-pod","pod":{"id":"p0"}}"#);
    serve.send(r#"{"cmd":"add-container","pod_id":"p0","container":{"id":"c0"}}"#);
    serve.next();
    serve.next();
    assert_eq!(serve.wait_plugins(1)[0]["kind"], "launched");
    let created = serve.container();
    assert_eq!(
        created["adjustment"]["env"],
        json!([{"key": "TZ", "value": "UTC"}])
    );
    serve.send(r#"{"cmd":"quit"}"#);
    let (_, status, log) = serve.finish();
    assert!(status.success());
    assert!(log.contains("pods=1 containers=1"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_counts() {
    let mut serve = Serve::with(|command, home| {
        let file = home.join("nri.toml");
        let text = "plugin_request_timeout = '500ms'\n[default_validator]\nenable = true\nrequired_plugins = ['guard']\n";
        fs::write(&file, text).unwrap();
        command.arg("--config").arg(file);
    });
    let error = serve.error(r#"{"cmd":"run-pod","pod":{"id":"p1"}}"#);
    assert!(error.contains("guard"), "{error}");
    serve.ok(r#"{"cmd":"add-pod","pod":{"id":"p1"}}"#);
    let create = r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c1"}}"#;
    let error = serve.error(create);
    assert!(error.contains("guard"), "{error}");
    let listed = serve.ok(r#"{"cmd":"plugins"}"#)["plugins"].clone();
    assert_eq!(listed[0]["kind"], "built-in");

    let gate = Arc::new(Semaphore::new(0));
    let script = Script {
        gate: Some(gate),
        ..Default::default()
    };
    let plugin = script.connect(&serve.socket(), "10-guard").await;
    // What is part of the program does not count.
    serve.wait_plugins(1);
    let error = serve.error(create);
    assert!(
        error.contains("guard"),
        "it was late, so it has not seen the container: {error}"
    );
    plugin.hears("CreateContainer c1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asynchronous_commands_let_later_ones_go_on() {
    let mut serve = Serve::start();
    let gate = Arc::new(Semaphore::new(0));
    let script = Script {
        gate: Some(Arc::clone(&gate)),
        ..Default::default()
    };
    let plugin = script.join(&mut serve, "10-slow").await;
    serve.ok(r#"{"cmd":"run-pod","pod":{"id":"p1"}}"#);
    serve.send(r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c1"},"async":true,"id":"slow"}"#);
    plugin.hears("CreateContainer c1").await;
    let state = serve.ok(r#"{"cmd":"state","id":"fast"}"#);
    assert_eq!(
        (&state["id"], &state["containers"]),
        (&json!("fast"), &json!([]))
    );
    let error = serve.error(r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c1"}}"#);
    assert!(error.contains("container \"c1\" exists already"), "{error}");
    gate.add_permits(1);
    let created = serve.next().unwrap();
    assert_eq!(
        (&created["id"], &created["ok"]),
        (&json!("slow"), &json!(true))
    );

    // `quit` waits for what is under way.
    serve.send(r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c2"},"async":true}"#);
    serve.send(r#"{"cmd":"quit","id":[1,{"a":null}]}"#);
    gate.add_permits(1);
    let (rest, status, _) = serve.finish();
    let commands: Vec<&Value> = rest.iter().map(|result| &result["cmd"]).collect();
    assert_eq!(commands, ["create-container", "quit"]);
    assert_eq!(rest[1]["id"], json!([1, {"a": null}]));
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_connects_during_a_creation_is_shown_what_comes_of_it() {
    let mut serve = Serve::start();
    let gate = Arc::new(Semaphore::new(0));
    let script = Script {
        gate: Some(Arc::clone(&gate)),
        ..Default::default()
    };
    let first = script.join(&mut serve, "10-slow").await;
    serve.ok(r#"{"cmd":"run-pod","pod":{"id":"p1"}}"#);
    serve.send(
        r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c1"},"async":true,"id":"slow"}"#,
    );
    first.hears("CreateContainer c1").await;
    let socket = serve.socket();
    let second = tokio::spawn(async move { Script::default().connect(&socket, "20-comes").await });
    // It is there, and waits for what is under way.
    while serve.ok(r#"{"cmd":"plugins"}"#)["plugins"][1]["plugin"] != "20-comes" {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1);
    let second = second.await.unwrap();
    assert_eq!(serve.next().unwrap()["id"], "slow");
    assert_eq!((second.shown().as_str(), second.heard()), ("p1 c1", vec![]));
}

#[test]
fn ten_thousand_commands_at_once_give_ten_thousand_results_in_order() {
    let mut serve = Serve::start();
    let commands = (0..2_500).flat_map(|number| {
        [
            format!(r#""cmd":"run-pod","pod":{{"id":"p{number}"}}"#),
            format!(
                r#""cmd":"create-container","pod_id":"p{number}","container":{{"id":"c{number}"}}"#
            ),
            format!(r#""cmd":"start-container","container_id":"c{number}""#),
            format!(r#""cmd":"remove-pod","pod_id":"p{number}""#),
        ]
    });
    let lines: String = commands
        .enumerate()
        .map(|(at, members)| format!("{{\"id\":{at},{members}}}\n"))
        .collect();
    serve.send_bytes(lines.as_bytes());
    serve.end_input();
    let (results, status, _) = serve.finish();
    assert_eq!(results.len(), 10_000);
    for (at, result) in results.iter().enumerate() {
        assert_eq!(
            (&result["id"], &result["ok"]),
            (&json!(at), &json!(true)),
            "{result}"
        );
    }
    assert!(status.success());
}

/// A plugin that is launched and ends again and again is `down` in every outcome, whatever it would
/// have subscribed to.
#[test]
fn a_plugin_that_crashes_is_down_everywhere() {
    let mut serve = Serve::with(|command, home| {
        let plugins = home.join("plugins");
        fs::create_dir(&plugins).unwrap();
        let file = plugins.join("30-down");
        fs::write(&file, "#!/bin/sh\nexit 1\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        command.arg("--plugins").arg(plugins);
    });
    let pod = r#""pod_id":"p1""#;
    let container = r#""container_id":"c1""#;
    for members in [
        r#""cmd":"run-pod","pod":{"id":"p1"}"#.to_owned(),
        format!(r#""cmd":"update-pod",{pod}"#),
        format!(r#""cmd":"create-container",{pod},"container":{{"id":"c1"}}"#),
        format!(r#""cmd":"start-container",{container}"#),
        format!(r#""cmd":"update-container",{container}"#),
        format!(r#""cmd":"stop-container",{container}"#),
        format!(r#""cmd":"remove-container",{container}"#),
        format!(r#""cmd":"remove-pod",{pod}"#),
    ] {
        let result = serve.ok(&format!("{{{members}}}"));
        assert_eq!(
            result["outcomes"],
            json!([{"plugin": "30-down", "outcome": "down"}]),
            "{result}"
        );
    }
}
