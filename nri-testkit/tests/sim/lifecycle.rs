//! What happens to pods and containers, what plugins hear of it, and what is in the state
//! afterwards.

use nri_plugin::{RuntimeHandle as _, api};
use nri_testkit::FakePlugin;
use serde_json::{Value, json};

use crate::support::*;

fn state(serve: &mut Serve) -> Value {
    serve.ok(r#"{"cmd":"state"}"#)
}

/// A plugin that asks for an update and an eviction of others when `new` is created.
fn greedy() -> Script {
    let create = |request: &api::CreateContainerRequest| {
        let mut response = api::CreateContainerResponse::default();
        if request
            .container
            .as_ref()
            .is_some_and(|container| container.id == "new")
        {
            response.update = vec![shares("other", 42)];
            response.evict = vec![api::ContainerEviction {
                container_id: "victim".into(),
                reason: "room".into(),
            }];
        }
        Ok(response)
    };
    Script {
        create: Some(Box::new(create)),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_life_reaches_plugins_in_order() {
    let mut serve = Serve::start();
    let plugin = Script::default().join(&mut serve, "10-all").await;
    serve.container();
    for line in [
        r#"{"cmd":"post-create-container","container_id":"c1"}"#,
        r#"{"cmd":"start-container","container_id":"c1","pid":4712,"started_at":"1700000000000000000"}"#,
        r#"{"cmd":"post-start-container","container_id":"c1"}"#,
        r#"{"cmd":"update-container","container_id":"c1","resources":{"cpu":{"shares":{"value":"512"}}}}"#,
        r#"{"cmd":"post-update-container","container_id":"c1"}"#,
        r#"{"cmd":"update-pod","pod_id":"p1","overhead":{"cpu":{"shares":{"value":2}}},"resources":{"cpu":{"shares":{"value":"3"}}}}"#,
        r#"{"cmd":"post-update-pod","pod_id":"p1"}"#,
    ] {
        let result = serve.ok(line);
        let outcomes = result["outcomes"].as_array().unwrap();
        assert_eq!(outcomes.len(), 1, "{result}");
        assert_eq!(outcomes[0]["outcome"], "answered", "{result}");
        assert!(outcomes[0]["ms"].as_f64().unwrap() >= 0.0, "{result}");
    }
    let running = state(&mut serve);
    let container = &running["containers"][0];
    assert_eq!(container["state"], "CONTAINER_RUNNING");
    assert_eq!(
        (&container["pid"], &container["startedAt"]),
        (&json!(4712), &json!("1700000000000000000"))
    );
    assert_eq!(
        container["linux"]["resources"]["cpu"]["shares"]["value"],
        "512"
    );
    let pod = &running["pods"][0];
    assert_eq!(pod["ready"], true);
    assert_eq!(pod["linux"]["podOverhead"]["cpu"]["shares"]["value"], "2");
    assert_eq!(pod["linux"]["podResources"]["cpu"]["shares"]["value"], "3");

    serve.ok(r#"{"cmd":"container-exit","container_id":"c1","exit_code":7,"finished_at":5,"reason":"Error"}"#);
    let ended = state(&mut serve);
    let container = &ended["containers"][0];
    assert_eq!(container["state"], "CONTAINER_STOPPED");
    assert_eq!(
        (&container["exitCode"], &container["finishedAt"]),
        (&json!(7), &json!("5"))
    );
    assert_eq!(container["statusReason"], "Error");

    let again = serve.ok(r#"{"cmd":"stop-container","container_id":"c1"}"#);
    assert_eq!(
        (&again["updates"], &again["outcomes"]),
        (&json!([]), &json!([]))
    );
    serve.ok(r#"{"cmd":"remove-container","container_id":"c1"}"#);
    serve.ok(r#"{"cmd":"stop-pod","pod_id":"p1"}"#);
    assert_eq!(state(&mut serve)["pods"][0]["ready"], false);
    serve.ok(r#"{"cmd":"remove-pod","pod_id":"p1"}"#);
    let empty = state(&mut serve);
    assert_eq!(
        (&empty["pods"], &empty["containers"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(
        plugin.heard(),
        [
            "RunPodSandbox p1",
            "CreateContainer c1",
            "PostCreateContainer c1",
            "StartContainer c1",
            "PostStartContainer c1",
            "UpdateContainer c1",
            "PostUpdateContainer c1",
            "UpdatePodSandbox p1",
            "PostUpdatePodSandbox p1",
            "StopContainer c1 7",
            "RemoveContainer c1",
            "StopPodSandbox p1",
            "RemovePodSandbox p1",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_is_kept_as_plugins_adjust_it_and_everything_has_an_owner() {
    let mut serve = Serve::start();
    let _plugin = annotates().join(&mut serve, "10-notes").await;
    let _other = Script::default().join(&mut serve, "20-other").await;
    let created = serve.container();
    assert_eq!(
        created["adjustment"],
        json!({"annotations": {"example.com/owner": "platform"}, "env": [{"key": "TZ", "value": "UTC"}]})
    );
    assert_eq!(
        created["owners"],
        json!({"c1": {"Annotations": {"example.com/owner": "10-notes"}, "Env": {"TZ": "10-notes"}}})
    );
    let plugins: Vec<&Value> = created["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| &o["plugin"])
        .collect();
    assert_eq!(plugins, ["10-notes", "20-other"]);
    let container = &state(&mut serve)["containers"][0];
    assert_eq!(container["annotations"]["example.com/owner"], "platform");
    assert_eq!(container["env"], json!(["TZ=UTC"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_is_shown_and_is_no_event() {
    let mut serve = Serve::start();
    serve.ok(r#"{"cmd":"add-pod","pod":{"id":"p0"}}"#);
    serve.ok(r#"{"cmd":"add-container","pod_id":"p0","container":{"id":"c0","pid":17}}"#);
    let plugin = Script::default().join(&mut serve, "10-late").await;
    assert_eq!(plugin.shown(), "p0 c0");
    assert_eq!(
        state(&mut serve)["containers"][0]["state"],
        "CONTAINER_RUNNING"
    );
    serve.ok(r#"{"cmd":"stop-pod","pod_id":"p0"}"#);
    assert_eq!(plugin.heard(), ["StopContainer c0 0", "StopPodSandbox p0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_and_evictions_name_the_plugin_that_asked_for_them() {
    let mut serve = Serve::start();
    let plugin = greedy().join(&mut serve, "10-greedy").await;
    serve.ok(r#"{"cmd":"run-pod","pod":{"id":"p1"}}"#);
    for id in ["victim", "other"] {
        serve.ok(&format!(
            r#"{{"cmd":"create-container","pod_id":"p1","container":{{"id":"{id}"}}}}"#
        ));
        serve.ok(&format!(
            r#"{{"cmd":"start-container","container_id":"{id}"}}"#
        ));
    }
    let created = serve.ok(r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"new"}}"#);
    let update = json!({
        "plugin": "10-greedy", "plugins": ["10-greedy"], "containerId": "other",
        "linux": {"resources": {"cpu": {"shares": {"value": "42"}}}},
    });
    let eviction = json!({
        "plugin": "10-greedy", "plugins": ["10-greedy"], "containerId": "victim", "reason": "room", "reasons": ["room"],
    });
    assert_eq!(created["updates"], json!([update]));
    assert_eq!(created["evictions"], json!([eviction]));
    let after = state(&mut serve);
    assert_eq!(
        (&after["updates"], &after["evictions"]),
        (&created["updates"], &created["evictions"])
    );
    let container = |id: &str| {
        after["containers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["id"] == id)
            .unwrap()
            .clone()
    };
    assert_eq!(
        container("other")["linux"]["resources"]["cpu"]["shares"]["value"],
        "42"
    );
    assert_eq!(
        (
            &container("victim")["state"],
            &container("victim")["exitCode"]
        ),
        (&json!("CONTAINER_STOPPED"), &json!(137))
    );
    // An evicted container's process ends, and plugins hear of that.
    plugin.hears("StopContainer victim 137").await;
    // What was asked for when nobody was asked shows up as well.
    plugin
        .link
        .update_containers(vec![shares("new", 7)], vec![])
        .await
        .unwrap();
    assert_eq!(state(&mut serve)["updates"][1]["containerId"], "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_asked_for_when_a_plugin_is_synchronised_are_there_once_it_is_waited_for() {
    let mut serve = Serve::start();
    serve.container();
    let script = Script {
        synchronize: vec![shares("c1", 9)],
        ..Default::default()
    };
    let plugin = script.join(&mut serve, "10-tunes").await;
    assert_eq!(plugin.shown(), "p1 c1");
    let state = state(&mut serve);
    assert_eq!(state["updates"][0]["plugin"], "10-tunes");
    assert_eq!(
        state["containers"][0]["linux"]["resources"]["cpu"]["shares"]["value"],
        "9"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_makes_of_an_update_is_applied() {
    let mut serve = Serve::start();
    let update = |_: &api::UpdateContainerRequest| vec![shares("c1", 5)];
    let script = Script {
        update: Some(Box::new(update)),
        ..Default::default()
    };
    let _plugin = script.join(&mut serve, "10-tunes").await;
    serve.container();
    let asked =
        r#"{"cmd":"update-container","container_id":"c1","resources":{"pids":{"limit":"8"}}}"#;
    let updated = serve.ok(asked);
    assert_eq!(
        updated["resources"],
        json!({"cpu": {"shares": {"value": "5"}}, "pids": {"limit": "8"}})
    );
    let applied = state(&mut serve)["containers"][0]["linux"]["resources"].clone();
    assert_eq!(applied, updated["resources"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_updates_of_a_stop_are_returned() {
    let mut serve = Serve::start();
    let stop = |_: &api::StopContainerRequest| vec![shares("c2", 5)];
    let script = Script {
        stop: Some(Box::new(stop)),
        ..Default::default()
    };
    let _plugin = script.join(&mut serve, "10-gives").await;
    serve.container();
    serve.ok(r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c2"}}"#);
    let stopped = serve.ok(r#"{"cmd":"stop-container","container_id":"c1","exit_code":3}"#);
    assert_eq!(stopped["updates"][0]["containerId"], "c2");
    assert_eq!(stopped["updates"][0]["plugin"], "10-gives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_can_be_undone_until_the_container_is_used() {
    let mut serve = Serve::start();
    let plugin = Script::default().join(&mut serve, "10-all").await;
    serve.container();
    state(&mut serve);
    let aborted = serve.ok(r#"{"cmd":"abort-container","container_id":"c1"}"#);
    let events: Vec<&Value> = aborted["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| &o["event"])
        .collect();
    assert_eq!(events, ["StopContainer", "RemoveContainer"]);
    assert_eq!(state(&mut serve)["containers"], json!([]));
    assert_eq!(
        plugin.heard()[1..],
        [
            "CreateContainer c1",
            "StopContainer c1 0",
            "RemoveContainer c1"
        ]
    );

    serve.ok(r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c1"}}"#);
    serve.ok(r#"{"cmd":"post-create-container","container_id":"c1"}"#);
    let error = serve.error(r#"{"cmd":"abort-container","container_id":"c1"}"#);
    assert!(
        error.contains("stop-container and remove-container"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_comes_is_shown_what_was_created_before_at_once() {
    let mut serve = Serve::start();
    serve.container();
    // Nobody has said yet that the container exists.
    let plugin = Script::default().connect(&serve.socket(), "10-comes").await;
    assert_eq!(plugin.shown(), "p1 c1");
    let error = serve.error(r#"{"cmd":"abort-container","container_id":"c1"}"#);
    assert!(error.contains("a plugin has come"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_refuses_does_not_come_to_be() {
    let mut serve = Serve::start();
    let script = Script {
        refuses: Some("RunPodSandbox"),
        ..Default::default()
    };
    let plugin = script.join(&mut serve, "10-no").await;
    let error = serve.error(r#"{"cmd":"run-pod","pod":{"id":"p1"}}"#);
    assert!(
        error.contains("10-no") && error.contains("no RunPodSandbox today"),
        "{error}"
    );
    assert_eq!(state(&mut serve)["pods"], json!([]));
    assert_eq!(
        plugin.heard(),
        [
            "RunPodSandbox p1",
            "StopPodSandbox p1",
            "RemovePodSandbox p1"
        ]
    );

    for (event, line) in [
        (
            "CreateContainer",
            r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c1"}}"#,
        ),
        (
            "StartContainer",
            r#"{"cmd":"start-container","container_id":"c1"}"#,
        ),
        (
            "UpdatePodSandbox",
            r#"{"cmd":"update-pod","pod_id":"p1","resources":{"pids":{"limit":1}}}"#,
        ),
        (
            "UpdateContainer",
            r#"{"cmd":"update-container","container_id":"c1","resources":{"pids":{"limit":1}}}"#,
        ),
    ] {
        let mut serve = Serve::start();
        let script = Script {
            refuses: Some(event),
            ..Default::default()
        };
        let _plugin = script.join(&mut serve, "10-no").await;
        serve.ok(r#"{"cmd":"run-pod","pod":{"id":"p1"}}"#);
        if event != "CreateContainer" {
            serve.ok(r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c1"}}"#);
        }
        let before = state(&mut serve);
        let error = serve.error(line);
        assert!(error.contains(&format!("no {event} today")), "{error}");
        assert_eq!(state(&mut serve), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_says_what_every_plugin_did_and_comes_after_the_undoing() {
    let mut serve = Serve::start();
    let first = Script::default().join(&mut serve, "10-first").await;
    let script = Script {
        refuses: Some("CreateContainer"),
        ..Default::default()
    };
    let _second = script.join(&mut serve, "20-no").await;
    serve.ok(r#"{"cmd":"run-pod","pod":{"id":"p1"}}"#);
    let refused = serve.ask(r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c1"}}"#);
    let outcomes = refused["outcomes"].as_array().unwrap();
    let brief: Vec<_> = outcomes
        .iter()
        .map(|o| (&o["plugin"], &o["event"], &o["outcome"], &o["error"]))
        .map(|(plugin, event, outcome, error)| json!([plugin, event, outcome, error]))
        .collect();
    assert_eq!(
        json!(brief),
        json!([
            ["10-first", null, "answered", null],
            ["10-first", "StopContainer", "answered", null],
            ["10-first", "RemoveContainer", "answered", null],
            ["20-no", null, "failed", "no CreateContainer today"],
            ["20-no", "StopContainer", "answered", null],
            ["20-no", "RemoveContainer", "answered", null],
        ])
    );
    assert_eq!(first.heard().last().unwrap(), "RemoveContainer c1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_happened_has_happened_whatever_plugins_say() {
    let mut serve = Serve::start();
    let script = Script {
        refuses: Some("StopContainer"),
        ..Default::default()
    };
    let _plugin = script.join(&mut serve, "10-no").await;
    serve.container();
    let error = serve.error(r#"{"cmd":"stop-container","container_id":"c1"}"#);
    assert!(
        error.contains("The container is stopped all the same"),
        "{error}"
    );
    assert_eq!(
        state(&mut serve)["containers"][0]["state"],
        "CONTAINER_STOPPED"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runtime_can_be_made_to_refuse_once() {
    // By default what it refuses keeps nothing from being created.
    let mut lenient = Serve::start();
    let _other = greedy().join(&mut lenient, "10-greedy").await;
    lenient.ok(r#"{"cmd":"run-pod","pod":{"id":"p1"}}"#);
    for id in ["victim", "other"] {
        lenient.ok(&format!(
            r#"{{"cmd":"create-container","pod_id":"p1","container":{{"id":"{id}"}}}}"#
        ));
    }
    lenient.ok(r#"{"cmd":"fail","container_id":"other","what":"update","reason":"no memory"}"#);
    lenient.ok(r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"new"}}"#);
    assert_eq!(state(&mut lenient)["refused"][0]["what"], "update");

    let mut serve = Serve::with(|command, home| {
        let config = home.join("nri.toml");
        std::fs::write(&config, "side_update_failure = 'fail'").unwrap();
        command.arg("--config").arg(config);
    });
    let _plugin = greedy().join(&mut serve, "10-greedy").await;
    serve.ok(r#"{"cmd":"run-pod","pod":{"id":"p1"}}"#);
    for id in ["victim", "other"] {
        serve.ok(&format!(
            r#"{{"cmd":"create-container","pod_id":"p1","container":{{"id":"{id}"}}}}"#
        ));
    }
    let create = r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"new"}}"#;
    serve.ok(r#"{"cmd":"fail","container_id":"other","what":"update","reason":"no memory"}"#);
    let error = serve.error(create);
    assert!(
        error.contains("10-greedy") && error.contains("no memory"),
        "{error}"
    );
    serve.ok(r#"{"cmd":"fail","container_id":"victim","what":"evict"}"#);
    let error = serve.error(create);
    assert!(
        error.contains("evict container \"victim\"") && error.contains("`fail`"),
        "{error}"
    );
    let refused = state(&mut serve)["refused"].clone();
    let brief: Vec<_> = refused
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (&r["what"], &r["containerId"], &r["plugin"]))
        .collect();
    assert_eq!(
        brief,
        [
            (&json!("update"), &json!("other"), &json!("10-greedy")),
            (&json!("evict"), &json!("victim"), &json!("10-greedy")),
        ]
    );
    serve.ok(create);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_takes_its_containers_along() {
    let mut serve = Serve::start();
    let plugin = Script::default().join(&mut serve, "10-all").await;
    serve.container();
    serve.ok(r#"{"cmd":"start-container","container_id":"c1"}"#);
    let brief = |result: Value| -> Vec<Value> {
        let outcomes = result["outcomes"].as_array().unwrap().clone();
        let brief = outcomes
            .iter()
            .map(|o| json!([o["event"], o["container_id"], o["outcome"]]));
        brief.collect()
    };
    // What a command implies is reported with it, and with no other.
    assert_eq!(
        brief(serve.ok(r#"{"cmd":"stop-pod","pod_id":"p1"}"#)),
        [
            json!(["StopContainer", "c1", "answered"]),
            json!([null, null, "answered"]),
        ]
    );
    assert_eq!(
        brief(serve.ok(r#"{"cmd":"remove-pod","pod_id":"p1"}"#)),
        [
            json!(["RemoveContainer", "c1", "answered"]),
            json!([null, null, "answered"]),
        ]
    );
    let heard = plugin.heard();
    let end = [
        "StopContainer c1 0",
        "StopPodSandbox p1",
        "RemoveContainer c1",
        "RemovePodSandbox p1",
    ];
    assert_eq!(heard[heard.len() - 4..], end);
}

/// The process is there when plugins hear that its container is to be started: they put it into
/// groups, for example.
#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_shown_the_pid_before_the_start() {
    let mut serve = Serve::start();
    serve.ok(r#"{"cmd":"version"}"#);
    let plugin = FakePlugin::new("10-looks");
    let connected = plugin.connect(serve.socket()).await.unwrap();
    connected.register().await.unwrap();
    plugin.wait_for("Synchronize").await;
    serve.container();
    serve.ok(r#"{"cmd":"start-container","container_id":"c1","pid":4711}"#);
    let request = plugin
        .wait_for("StartContainer c1")
        .await
        .request()
        .unwrap();
    let container = request.container().unwrap();
    assert_eq!(container.pid, 4711);
    assert_eq!(
        container.state(),
        api::ContainerState::ContainerCreated,
        "it does not run yet"
    );
    assert_eq!(state(&mut serve)["containers"][0]["pid"], 4711);
}
