//! The runtime above comes, goes, and is another one.

use std::path::Path;

use nri_hub::Hub;
use nri_testkit::{FakePlugin, TestRuntime};

use crate::stage::{Stage, within};

/// A runtime whose socket is at a place that another one had.
async fn runtime_at(socket: &Path, fill: impl FnOnce(&nri_testkit::MemoryDomain)) -> TestRuntime {
    let socket = socket.to_owned();
    let builder = TestRuntime::builder().config(move |config| config.socket_path = socket);
    fill(builder.domain());
    builder.start().await
}

#[tokio::test]
async fn what_ended_while_the_runtime_was_away_is_told_once_it_is_back() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("nri.sock");
    let runtime = runtime_at(&socket, |_| ()).await;
    let hub = Stage::at(socket.clone()).run().await;
    let plugin = FakePlugin::new("10-stays");
    let _plugin = hub.join(&plugin).await;
    let first = runtime.run_pod("p1").await;
    runtime.run_pod("p2").await;
    let container = runtime.create(&first, "c1").await;
    runtime.create(&first, "c2").await;
    drop(runtime);

    let runtime = runtime_at(&socket, |domain| {
        domain.put_pod(first.clone());
        domain.put_container(container);
    })
    .await;
    plugin.wait_for("RemovePodSandbox p2").await;
    plugin.wait_for("RemoveContainer c2").await;
    // Pods end beside each other, each in its order.
    let events = plugin.events();
    let ends_of = |id: &str| -> Vec<String> {
        let of_it = events.iter().filter(|event| event.ends_with(id));
        of_it
            .filter(|event| event.starts_with("Stop") || event.starts_with("Remove"))
            .cloned()
            .collect()
    };
    assert_eq!(ends_of("c2"), ["StopContainer c2", "RemoveContainer c2"]);
    assert_eq!(ends_of("p2"), ["StopPodSandbox p2", "RemovePodSandbox p2"]);
    assert!(
        ends_of("c1").is_empty() && ends_of("p1").is_empty(),
        "{events:?}"
    );
    // Nothing else is new to it, so it is not shown all again.
    let synchronised = plugin
        .seen()
        .iter()
        .filter(|call| call.method() == "Synchronize")
        .count();
    assert_eq!(synchronised, 1);
    // And life goes on, at the same plugin on the same connection.
    hub.connected().await;
    runtime.stop_container(&first, "c1").await;
    runtime.remove_container(&first, "c1").await;
    runtime.stop_pod(&first).await;
    runtime.remove_pod(&first).await;
    assert_eq!(plugin.events().last().unwrap(), "RemovePodSandbox p1");
    let status = hub.handle.status();
    assert_eq!(
        (status.runtime.connections, status.pods, status.containers),
        (2, 0, 0)
    );
    hub.stop().await;
}

#[tokio::test]
async fn what_is_new_when_the_runtime_is_back_is_shown_to_plugins_that_have_missed_it() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("nri.sock");
    let runtime = runtime_at(&socket, |_| ()).await;
    let hub = Stage::at(socket.clone()).run().await;
    let plugin = FakePlugin::new("10-stays");
    let _plugin = hub.join(&plugin).await;
    let pod = runtime.run_pod("p1").await;
    let missed = runtime.pod("p2");
    drop(runtime);
    let runtime = runtime_at(&socket, |domain| {
        domain.put_pod(pod);
        domain.put_pod(missed.clone());
    })
    .await;
    plugin.wait_for_nth("Synchronize", 2).await;
    let (mut pods, _) = plugin.shown();
    pods.sort();
    assert_eq!(pods, ["p1", "p2"]);
    hub.connected().await;
    runtime.create(&missed, "c2").await;
    plugin.wait_for("PostCreateContainer c2").await;
    hub.stop().await;
}

#[tokio::test]
async fn a_runtime_that_is_not_there_is_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("nri.sock");
    let hub = Stage::at(socket.clone()).begin();
    let mut state = hub.handle.watch_runtime();
    within(state.wait_for(|state| matches!(state, nri_plugin::State::Waiting { .. })))
        .await
        .unwrap();
    let status = hub.handle.status();
    assert_eq!(
        status.not_ready,
        [
            "no runtime is connected above",
            "plugins cannot connect yet"
        ]
    );
    let runtime = runtime_at(&socket, |_| ()).await;
    hub.open().await;
    assert_eq!(hub.handle.status().not_ready, Vec::<String>::new());
    runtime.run_pod("p1").await;
    assert_eq!(hub.handle.status().pods, 1);
    hub.stop().await;
}

#[tokio::test]
async fn of_two_hubs_with_one_control_socket_the_second_ends_before_it_connects() {
    let runtime = TestRuntime::start().await;
    let first = Stage::at(runtime.socket()).run().await;
    let control = first.directory.path().join("control.sock");
    let second = Stage::at(runtime.socket())
        .with(|config| config.hub.control_socket = control)
        .config;
    let second = Hub::builder(second).use_environment(false).build().unwrap();
    let error = second.run(std::future::pending()).await.unwrap_err();
    assert!(
        error.to_string().contains("another process is listening"),
        "{error}"
    );
    assert_eq!(runtime.plugins(), ["50-hub"]);
    first.stop().await;
}

#[tokio::test]
async fn a_hub_whose_place_is_taken_ends_and_shuts_its_plugins_down() {
    let runtime = TestRuntime::start().await;
    let first = Stage::at(runtime.socket()).run().await;
    let plugin = FakePlugin::new("10-moves");
    let connected = first.join(&plugin).await;
    let second = Stage::at(runtime.socket()).run().await;
    plugin.wait_for("Shutdown").await;
    connected.closed().await;
    first.ended().await;
    let _again = second.join(&plugin).await;
    runtime.run_pod("p1").await;
    assert_eq!(plugin.events().last().unwrap(), "RunPodSandbox p1");
    second.stop().await;
}
