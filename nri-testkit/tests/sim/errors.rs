//! What is wrong with a command, and what would be right: for someone who has never seen NRI.

use serde_json::{Value, json};

use crate::support::*;

#[test]
fn every_mistake_is_answered_with_what_would_be_right() {
    let mut serve = Serve::start();
    serve.container();
    serve.ok(r#"{"cmd":"start-container","container_id":"c1"}"#);
    let cases: &[(&str, &[&str])] = &[
        ("nonsense", &["no JSON", r#"{"cmd":"version"}"#]),
        ("[1]", &["no object"]),
        ("{}", &["\"cmd\" is missing", "create-container"]),
        (r#"{"cmd":7}"#, &["\"cmd\" is no text"]),
        (r#"{"cmd":"stop_pod"}"#, &["did you mean \"stop-pod\"?"]),
        (
            r#"{"cmd":"lunch"}"#,
            &[
                "there is no command \"lunch\".",
                "The commands are version, ",
            ],
        ),
        (
            r#"{"cmd":"stop-pod"}"#,
            &[
                "stop-pod needs \"pod_id\"",
                r#"{"cmd":"stop-pod","pod_id":"p1"}"#,
            ],
        ),
        (
            r#"{"cmd":"stop-pod","podid":"p1"}"#,
            &["there is \"podid\", which is not the same"],
        ),
        (r#"{"cmd":"stop-pod","pod_id":""}"#, &["is empty"]),
        (
            r#"{"cmd":"stop-pod","pod_id":7}"#,
            &["\"pod_id\" of stop-pod", "the id of a pod (a text)"],
        ),
        (
            r#"{"cmd":"stop-pod","pod_id":"p1","force":true}"#,
            &["has no member \"force\"", "pod_id"],
        ),
        (
            r#"{"cmd":"stop-pod","pod_id":"p1","asinc":true}"#,
            &["did you mean \"async\"?"],
        ),
        (
            r#"{"cmd":"stop-pod","pod_id":"p1","async":"yes"}"#,
            &["\"async\" is true or false, not \"yes\""],
        ),
        (
            r#"{"cmd":"stop-pod","pod_id":"p9"}"#,
            &["there is no pod \"p9\"; there is p1", "run-pod"],
        ),
        (
            r#"{"cmd":"remove-pod","pod_id":"p9"}"#,
            &["there is no pod"],
        ),
        (
            r#"{"cmd":"update-pod","pod_id":"p9"}"#,
            &["there is no pod"],
        ),
        (
            r#"{"cmd":"post-update-pod","pod_id":"p9"}"#,
            &["there is no pod"],
        ),
        (
            r#"{"cmd":"run-pod","pod":{"id":"p1"}}"#,
            &["pod \"p1\" exists already", "remove-pod"],
        ),
        (
            r#"{"cmd":"add-pod","pod":{"id":"p1"}}"#,
            &["pod \"p1\" exists already"],
        ),
        (
            r#"{"cmd":"run-pod","pod":{"name":"web"}}"#,
            &["needs an \"id\""],
        ),
        (
            r#"{"cmd":"run-pod","pod":{"id":"p2","lables":{}}}"#,
            &["lables", "labels"],
        ),
        (
            r#"{"cmd":"create-container","pod_id":"p9","container":{"id":"c2"}}"#,
            &["there is no pod \"p9\""],
        ),
        (
            r#"{"cmd":"create-container","container":{"id":"c2"}}"#,
            &["needs \"pod_id\""],
        ),
        (
            r#"{"cmd":"create-container","pod_id":"p1","container":{}}"#,
            &["needs an \"id\""],
        ),
        (
            r#"{"cmd":"create-container","container":{"id":"c2","pod_id":"p1"}}"#,
            &["there is no field `pod_id`; did you mean `podSandboxId`?"],
        ),
        (
            r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c1"}}"#,
            &["container \"c1\" exists already", "remove-container"],
        ),
        (
            r#"{"cmd":"add-container","pod_id":"p1","container":{"id":"c1"}}"#,
            &["exists already"],
        ),
        (
            r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c2","state":"RUNNING"}}"#,
            &["RUNNING"],
        ),
        (
            r#"{"cmd":"start-container","container_id":"c9"}"#,
            &[
                "there is no container \"c9\"; there is c1",
                "create-container",
            ],
        ),
        (
            r#"{"cmd":"start-container","container_id":"c1"}"#,
            &["container \"c1\" is running, and only one that is created can be started"],
        ),
        (
            r#"{"cmd":"post-create-container","container_id":"c9"}"#,
            &["there is no container"],
        ),
        (
            r#"{"cmd":"post-start-container","container_id":"c9"}"#,
            &["there is no container"],
        ),
        (
            r#"{"cmd":"update-container","container_id":"c9"}"#,
            &["there is no container"],
        ),
        (
            r#"{"cmd":"post-update-container","container_id":"c9"}"#,
            &["there is no container"],
        ),
        (
            r#"{"cmd":"stop-container","container_id":"c9"}"#,
            &["there is no container"],
        ),
        (
            r#"{"cmd":"container-exit","container_id":"c9"}"#,
            &["there is no container"],
        ),
        (
            r#"{"cmd":"remove-container","container_id":"c9"}"#,
            &["there is no container"],
        ),
        (
            r#"{"cmd":"abort-container","container_id":"c9"}"#,
            &["there is no container"],
        ),
        (
            r#"{"cmd":"abort-container","container_id":"c1"}"#,
            &["cannot be undone any more"],
        ),
        (
            r#"{"cmd":"fail","container_id":"c9","what":"update"}"#,
            &["there is no container"],
        ),
        (
            r#"{"cmd":"fail","container_id":"c1","what":"eviction"}"#,
            &["\"update\" or \"evict\""],
        ),
        (
            r#"{"cmd":"fail","container_id":"c1"}"#,
            &["fail needs \"what\""],
        ),
        (
            r#"{"cmd":"stop-container","container_id":"c1","finished_at":"noon"}"#,
            &["nanoseconds since 1970"],
        ),
        (
            r#"{"cmd":"wait-plugins","count":-1}"#,
            &["\"count\" of wait-plugins", "how many plugins"],
        ),
        (
            r#"{"cmd":"wait-plugins","timeout_ms":1}"#,
            &["0 of 1 plugins are there after 1ms.", "nri.sock", "stderr"],
        ),
    ];
    for (line, says) in cases {
        let error = serve.error(line);
        for part in *says {
            assert!(error.contains(part), "{line}: {error}");
        }
    }
    // All of that has changed nothing.
    let state = serve.ok(r#"{"cmd":"state"}"#);
    assert_eq!(state["containers"][0]["state"], "CONTAINER_RUNNING");

    serve.ok(r#"{"cmd":"stop-pod","pod_id":"p1"}"#);
    let error = serve.error(r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c2"}}"#);
    assert!(error.contains("pod \"p1\" is stopped"), "{error}");
    // The exit of what was stopped is no news, and no mistake.
    let exit = serve.ok(r#"{"cmd":"container-exit","container_id":"c1","exit_code":9}"#);
    assert_eq!(exit["outcomes"], json!([]));
    let state = serve.ok(r#"{"cmd":"state"}"#);
    assert_eq!(state["containers"][0].get("exitCode"), None);
}

#[test]
fn a_broken_line_does_not_hide_the_next_one() {
    let mut serve = Serve::start();
    let mut input = b"{\"cmd\":\n\n \n\xff\xfe\n".to_vec();
    input.extend("[".repeat(100_000).as_bytes());
    input.push(b'\n');
    input.extend(vec![b'x'; 9 * 1024 * 1024]);
    input.extend(b"\n{\"cmd\":\"version\",\"id\":\"last\"}");
    serve.send_bytes(&input);
    serve.end_input();
    let (results, status, _) = serve.finish();
    let error = |at: usize| results[at]["error"].as_str().unwrap_or_default();
    assert_eq!(results.len(), 5, "{results:?}");
    assert!(error(0).contains("no JSON"));
    assert!(error(1).contains("UTF-8"));
    assert!(error(2).contains("no JSON") && error(2).len() < 1000);
    assert!(error(3).contains("8388608 bytes"));
    assert_eq!(
        (&results[4]["id"], &results[4]["ok"]),
        (&json!("last"), &json!(true))
    );
    assert!(status.success());
}

#[test]
fn an_id_comes_back_with_an_error_too() {
    let mut serve = Serve::start();
    let result = serve.ask(r#"{"cmd":"lunch","id":{"n":1}}"#);
    assert_eq!(
        (&result["id"], &result["cmd"], &result["ok"]),
        (&json!({"n": 1}), &json!("lunch"), &Value::Bool(false))
    );
}

#[test]
fn a_runtime_that_cannot_be_set_up_says_why_and_fails() {
    for (arguments, says) in [
        (
            &["--plugins", "/nonexistent"][..],
            "/nonexistent: there is no such directory",
        ),
        (&["--config", "/nonexistent.toml"], "/nonexistent.toml: "),
        (&["--socket", "/proc/nri.sock"], "/proc"),
        (&["--log", "nri=loud"], "--log"),
        (
            &["--log", "loud"],
            "\"loud\" is no level: write error, warn",
        ),
        (&["--sokcet", "x"], "--socket"),
    ] {
        let output = program()
            .arg("serve")
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}
