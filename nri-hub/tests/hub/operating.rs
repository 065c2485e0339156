//! What an operator sees and does: status, probes, metrics, configurations.

use std::path::Path;

use nri_adaptation::Event;
use nri_hub::{Hub, HubConfig, ask_status};
use nri_testkit::{Behavior, FakePlugin, TestRuntime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::stage::{Stage, within};

/// Status line and body.
async fn get(socket: &Path, request: &str) -> (String, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let text = format!("{request} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn status_probes_metrics_and_page_are_served_at_the_control_socket() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket())
        .with(|config| {
            config.nri.default_validator.required_plugins = vec!["needed".to_owned()];
        })
        .run()
        .await;
    let control = hub.directory.path().join("control.sock");
    assert_eq!(get(&control, "GET /healthz").await.1, "ok\n");
    let (head, why) = get(&control, "GET /readyz").await;
    assert!(head.contains("503"), "{head}");
    assert_eq!(why, "the required plugin needed is missing\n");

    let plugin = FakePlugin::new("10-needed").on(
        Event::CreateContainer,
        Behavior::fail(nri_proto::transport::Code::Unknown, "so there"),
    );
    let _plugin = hub.join(&plugin).await;
    assert!(get(&control, "GET /readyz").await.0.contains("200"));
    let pod = runtime.run_pod("p1").await;
    runtime.try_create(&pod, "c1").await.unwrap_err();

    let status = ask_status(&control).await.unwrap();
    assert_eq!(status.runtime.name, "nri-testkit");
    assert_eq!((status.pods, status.requests, status.failed), (1, 2, 1));
    assert_eq!(status.plugins[0].plugin, "10-needed");
    let last = status.last_requests.last().unwrap();
    assert!(last.error.as_ref().unwrap().contains("so there"));
    assert!(status.to_string().contains("10-needed"));

    let (head, metrics) = get(&control, "GET /metrics").await;
    assert!(head.contains("200"));
    assert!(
        metrics.contains("nri_hub_requests_failed_total 1"),
        "{metrics}"
    );
    let (_, page) = get(&control, "GET /").await;
    assert!(page.contains("<title>nri-hub</title>"));
    assert!(get(&control, "POST /").await.0.contains("405"));
    assert!(get(&control, "GET /etc/passwd").await.0.contains("404"));
    hub.stop().await;
    assert!(
        ask_status(&control).await.is_err(),
        "the socket goes with the hub"
    );
}

#[tokio::test]
async fn a_configuration_with_a_mistake_leaves_the_one_before_in_force_and_says_so() {
    let runtime = TestRuntime::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let text = |rest: &str| {
        let path = directory.path().display();
        let runtime = runtime.socket();
        format!(
            "socket_path = '{path}/nri.sock'\nplugin_path = '{path}/plugins'\nplugin_config_path = '{path}/conf.d'\n{rest}\n\
             [hub]\nruntime_socket = '{}'\ncontrol_socket = '{path}/control.sock'\n",
            runtime.display()
        )
    };
    std::fs::write(&file, text("plugin_strikes = 4")).unwrap();
    let config = HubConfig::read(&file).unwrap();
    let builder = Hub::builder(config).file(&file).use_environment(false);
    let hub = builder.build().unwrap();
    let handle = hub.handle();
    let run = tokio::spawn(hub.run(std::future::pending()));
    let mut open = handle.watch_open();
    within(open.wait_for(|open| *open)).await.unwrap();
    let strikes = || handle.nri().config().plugin_strikes;
    assert_eq!(strikes(), 4);

    std::fs::write(&file, text("plugin_strikes = 'five'")).unwrap();
    handle.reload().await.unwrap_err();
    assert_eq!(strikes(), 4);
    let error = handle.status().config.error.unwrap();
    assert!(
        error.contains("config.toml: line 4: key `plugin_strikes`"),
        "{error}"
    );

    // And as a ConfigMap is changed: another file is swapped in, nobody says anything.
    let (next, plugin) = (directory.path().join("next"), FakePlugin::new("10-stays"));
    let connected = plugin.join(handle.nri()).await;
    std::fs::write(&next, text("plugin_strikes = 5")).unwrap();
    std::fs::rename(&next, &file).unwrap();
    let in_force = async {
        while strikes() != 5 || handle.status().config.error.is_some() {
            tokio::task::yield_now().await;
        }
    };
    within(in_force).await;
    runtime.run_pod("p1").await;
    assert_eq!(plugin.events(), ["RunPodSandbox p1"], "nobody was dropped");

    // As a full disk leaves it.
    std::fs::write(&file, "").unwrap();
    handle.reload().await.unwrap_err();
    assert_eq!(strikes(), 5);
    let error = handle.status().config.error.unwrap();
    assert!(error.contains("config.toml: it is empty"), "{error}");

    std::fs::write(&file, text("") + "margin = '1ms'\n").unwrap();
    handle.reload().await.unwrap();
    assert_eq!(handle.status().config.needs_restart, ["hub.margin"]);
    drop(connected);
    run.abort();
}

/// Law: however long that takes for which no request waits, none waits for it.
#[tokio::test]
async fn requests_go_on_while_the_status_is_not_answered() {
    let beside = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let runtime = TestRuntime::start().await;
    let stage = Stage::at(runtime.socket()).aside(beside.handle());
    let control = stage.config.hub.control_socket.clone();
    let hub = stage.run().await;
    let plugin = FakePlugin::new("10-first");
    let _plugin = hub.join(&plugin).await;
    // As if a disk did not answer.
    let (go_on, waits) = std::sync::mpsc::channel::<()>();
    let (hold, held) = tokio::sync::oneshot::channel();
    beside.spawn(async move {
        hold.send(()).unwrap();
        let _ = waits.recv();
    });
    within(held).await.unwrap();
    let asked = tokio::spawn(async move { ask_status(&control).await });
    runtime.whole_life("p1", "c1").await;
    plugin.wait_for("RemovePodSandbox p1").await;
    assert!(!asked.is_finished());
    drop(go_on);
    let status = within(asked).await.unwrap().unwrap();
    assert!(status.requests >= 13 && status.failed == 0, "{status}");
    hub.stop().await;
    beside.shutdown_background();
}
