//! Pods and containers that run again after a stop, where the domain says that they may.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use nri_adaptation::RuntimeApi as _;
use nri_core::api::{ContainerState, PodSandbox};
use nri_core::{Ctx, Event, EventMask};
use nri_testkit::{Behavior, FakePlugin, TestRuntime, When};

async fn restartable() -> TestRuntime {
    let builder = TestRuntime::builder();
    builder.domain().set_restartable(true);
    builder.start().await
}

/// A container that ran and was stopped.
async fn ran(runtime: &TestRuntime, pod: &PodSandbox, id: &str) {
    runtime.create(pod, id).await;
    runtime.start_container(pod, id).await;
    runtime.stop_container(pod, id).await;
}

#[tokio::test]
async fn plugins_hear_of_each_run_and_of_one_removal() {
    let runtime = restartable().await;
    let plugin = FakePlugin::new("10-all").subscribe(
        [
            Event::RunPodSandbox,
            Event::StopPodSandbox,
            Event::RemovePodSandbox,
            Event::StartContainer,
            Event::StopContainer,
            Event::RemoveContainer,
        ]
        .into_iter()
        .collect::<EventMask>(),
    );
    let _connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p1").await;
    ran(&runtime, &pod, "c1").await;
    runtime.start_container(&pod, "c1").await;
    // As the runtime hears of it, and then as it says itself.
    let container = runtime.domain().container("c1").unwrap();
    runtime.nri().notify_container_exit(&pod, &container);
    runtime.stop_container(&pod, "c1").await;
    runtime.stop_pod(&pod).await;
    runtime.run(pod.clone()).await;
    runtime.start_container(&pod, "c1").await;
    runtime.remove_container(&pod, "c1").await;
    runtime.remove_pod(&pod).await;
    plugin.assert_events(&[
        "RunPodSandbox p1",
        "StartContainer c1",
        "StopContainer c1",
        "StartContainer c1",
        "StopContainer c1",
        "StopPodSandbox p1",
        "RunPodSandbox p1",
        "StartContainer c1",
        "StopContainer c1",
        "RemoveContainer c1",
        "StopPodSandbox p1",
        "RemovePodSandbox p1",
    ]);
}

#[tokio::test]
async fn who_joins_is_shown_what_is_stopped_as_stopped() {
    let runtime = restartable().await;
    let pod = runtime.run_pod("p1").await;
    ran(&runtime, &pod, "c1").await;
    ran(&runtime, &pod, "c2").await;
    // The runtime's list lags behind what it has told, one way and the other.
    let mut lagging = runtime.domain().container("c1").unwrap();
    lagging.set_state(ContainerState::ContainerRunning);
    runtime.domain().put_container(lagging);
    runtime.start_container(&pod, "c2").await;
    let mut lagging = runtime.domain().container("c2").unwrap();
    lagging.set_state(ContainerState::ContainerStopped);
    runtime.domain().put_container(lagging);

    let plugin = FakePlugin::new("10-late");
    let _connected = runtime.join(&plugin).await;
    let calls = plugin.seen();
    let shown: Vec<_> = calls
        .iter()
        .filter_map(|call| call.synchronization())
        .flat_map(|shown| shown.containers)
        .map(|container| (container.id.clone(), container.state()))
        .collect();
    let expected = [
        ("c1".to_owned(), ContainerState::ContainerStopped),
        ("c2".to_owned(), ContainerState::ContainerRunning),
    ];
    assert_eq!(shown, expected);
    runtime.start_container(&pod, "c1").await;
    runtime.remove_container(&pod, "c1").await;
    runtime.remove_container(&pod, "c2").await;
    plugin.assert_events(&[
        "StartContainer c1",
        "PostStartContainer c1",
        "StopContainer c1",
        "RemoveContainer c1",
        "StopContainer c2",
        "RemoveContainer c2",
    ]);
}

#[tokio::test]
async fn a_refused_run_leaves_the_container_stopped_and_it_can_be_tried_again() {
    let runtime = restartable().await;
    let pod = runtime.run_pod("p1").await;
    ran(&runtime, &pod, "c1").await;
    let refusal = Behavior::fail(nri_proto::transport::Code::Unknown, "not now");
    let plugin = FakePlugin::new("10-picky").on(When::from(Event::StartContainer).nth(1), refusal);
    let _connected = runtime.join(&plugin).await;
    let cx = Ctx::new();
    let container = runtime.domain().container("c1").unwrap();
    let refused = runtime.nri().start_container(&cx, &pod, &container).await;
    assert!(refused.unwrap_err().to_string().contains("not now"));
    runtime.stop_container(&pod, "c1").await;
    runtime.start_container(&pod, "c1").await;
    plugin.assert_events(&[
        "StartContainer c1",
        "StopContainer c1",
        "StartContainer c1",
        "PostStartContainer c1",
    ]);
}

#[tokio::test]
async fn without_leave_of_the_domain_a_second_run_is_an_error_that_says_what_to_do() {
    let runtime = TestRuntime::start().await;
    let pod = runtime.run_pod("p1").await;
    ran(&runtime, &pod, "c1").await;
    let container = runtime.domain().container("c1").unwrap();
    let cx = Ctx::new();
    let error = runtime.nri().start_container(&cx, &pod, &container).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains(
            "StartContainer of container \"c1\" of test after its stop was announced: remove it"
        ),
        "{error}"
    );
    runtime.stop_pod(&pod).await;
    let error = runtime.try_run(pod).await.unwrap_err().to_string();
    assert!(
        error.contains("Stopped already: remove it first"),
        "{error}"
    );
}

#[tokio::test]
async fn what_had_ended_before_the_runtime_itself_started_is_shown_and_runs_again() {
    let builder = TestRuntime::builder();
    builder.domain().set_restartable(true);
    let mut old = nri_core::api::Container {
        id: "old".into(),
        pod_sandbox_id: "p1".into(),
        ..Default::default()
    };
    old.set_state(ContainerState::ContainerStopped);
    builder.domain().put_container(old);
    let pod = PodSandbox {
        id: "p1".into(),
        ..Default::default()
    };
    builder.domain().put_pod(pod.clone());
    let runtime = builder.start().await;
    let plugin = FakePlugin::new("10-late");
    let _connected = runtime.join(&plugin).await;
    let shown = plugin.seen();
    let shown = shown.iter().filter_map(|call| call.synchronization());
    assert_eq!(shown.flat_map(|shown| shown.containers).count(), 1);
    runtime.start_container(&pod, "old").await;
    runtime.remove_container(&pod, "old").await;
    plugin.assert_events(&[
        "StartContainer old",
        "PostStartContainer old",
        "StopContainer old",
        "RemoveContainer old",
    ]);
}
