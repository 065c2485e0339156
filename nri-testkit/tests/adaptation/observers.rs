//! Plugins that observe: nobody waits for them, and what they ask for is not done.

use std::time::Duration;

use nri_adaptation::api::{self, ContainerAdjustment};
use nri_adaptation::{Ctx, Event, PluginState, RuntimeApi as _};
use nri_core::build::Adjust as _;
use nri_proto::transport::{CallError, Code};
use nri_testkit::{Behavior, FakePlugin, Gate, PluginEvent, ReceivedCall, TestRuntime};

use crate::values::patient;

/// A runtime for which `10-log` observes.
async fn runtime() -> TestRuntime {
    let builder = patient().config(|config| {
        config.plugins.entry("log".into()).or_default().observe = Some(true);
    });
    builder.start().await
}

#[tokio::test]
async fn an_observer_that_never_answers_delays_nothing() {
    let runtime = runtime().await;
    let log = FakePlugin::new("10-log").on(Event::RunPodSandbox, Behavior::hang());
    let other = FakePlugin::new("20-other");
    let _connected = (runtime.join(&log).await, runtime.join(&other).await);
    for pod in 0..50 {
        // With an hour for a plugin's answer, waiting for it would be the end of this test.
        let pod = runtime.run_pod(&format!("p{pod}")).await;
        runtime.create(&pod, &format!("c-{}", pod.id)).await;
    }
    log.wait_for("RunPodSandbox p0").await;
    log.assert_events(&["RunPodSandbox p0"]);
    let infos = runtime.nri().plugins();
    assert!(infos[0].observes && !infos[1].observes);
    assert_eq!(infos[0].state, PluginState::Ready);
    assert!(infos[0].queued >= 99, "{}", infos[0].queued);
}

/// 50 creations at once: no time passes in which one of them waits for the observer, which takes
/// 100 ms for each.
#[tokio::test(start_paused = true)]
async fn creations_do_not_wait_for_an_observer_that_takes_its_time() {
    let slow = Behavior::usual().after(Duration::from_millis(100));
    let log = FakePlugin::new("10-log").on(Event::CreateContainer, slow);
    let log = log.subscribe(Event::CreateContainer);
    let builder = patient().built_in(&log).config(|config| {
        config.plugins.entry("log".into()).or_default().observe = Some(true);
    });
    let runtime = builder.start().await;
    let begun = tokio::time::Instant::now();
    let creations = (0..50).map(|n| {
        let (nri, pod) = (runtime.nri().clone(), runtime.pod(&format!("p{n}")));
        let container = runtime.container(&pod, &format!("c{n}"));
        async move {
            nri.run_pod_sandbox(&Ctx::new(), &pod).await.unwrap();
            let creation = nri.create_container(&Ctx::new(), &pod, &container).await;
            creation.unwrap().commit();
        }
    });
    let creations: Vec<_> = creations.map(tokio::spawn).collect();
    for creation in creations {
        creation.await.unwrap();
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // It hears of all of them all the same.
    let creations = |seen: &[ReceivedCall]| {
        let creations = seen
            .iter()
            .filter(|call| call.method() == "CreateContainer");
        creations.count() == 50
    };
    log.record().wait_for("all creations", creations).await;
    assert!(begun.elapsed() >= Duration::from_millis(4900));
}

#[tokio::test]
async fn what_an_observer_asks_for_is_not_done_and_is_recorded() {
    let runtime = runtime().await;
    let mut adjustment = ContainerAdjustment::default();
    adjustment.add_env("A", "1").unwrap();
    let log = FakePlugin::new("10-log").on(Event::CreateContainer, Behavior::adjust(adjustment));
    let connected = runtime.join(&log).await;
    let pod = runtime.run_pod("p").await;
    let creation = runtime
        .ask_to_create(&pod, &runtime.container(&pod, "c"))
        .await;
    let creation = creation.unwrap();
    assert!(creation.adjustment().is_none());
    creation.commit();
    let line = runtime.watcher().wait_for("disregarded").await.to_string();
    assert_eq!(line, "disregarded c: Env \"A\" by 10-log");
    let update = api::ContainerUpdate {
        container_id: "c".into(),
        ..Default::default()
    };
    let refused = connected.update(vec![update], vec![]).await.unwrap_err();
    let CallError::Status(status) = refused else {
        panic!("{refused}");
    };
    assert_eq!(status.code, Code::PermissionDenied);
    assert!(
        status.message.contains("observe = true"),
        "{}",
        status.message
    );
}

#[tokio::test]
async fn an_observer_sees_the_container_as_all_plugins_want_it() {
    let runtime = runtime().await;
    let mut adjustment = ContainerAdjustment::default();
    adjustment.add_env("A", "1").unwrap();
    let adjusts = Behavior::adjust(adjustment);
    let last = FakePlugin::new("90-last").on(Event::CreateContainer, adjusts);
    let log = FakePlugin::new("10-log");
    let _connected = (runtime.join(&log).await, runtime.join(&last).await);
    let pod = runtime.run_pod("p").await;
    runtime.create(&pod, "c").await;
    let seen = log.wait_for("CreateContainer c").await.request().unwrap();
    let container = seen.container().unwrap();
    assert!(
        container.env.contains(&"A=1".to_owned()),
        "{:?}",
        container.env
    );
}

#[tokio::test]
async fn an_observer_that_falls_behind_is_synchronised_again_and_its_picture_is_right() {
    let runtime = runtime().await;
    let gate = Gate::new();
    let log = FakePlugin::new("10-log").on(Event::RunPodSandbox, Behavior::usual().behind(&gate));
    let _connected = runtime.join(&log).await;
    let pod = runtime.run_pod("p").await;
    log.wait_for("RunPodSandbox p").await;
    runtime.create(&pod, "gone").await;
    runtime.create(&pod, "stays").await;
    // As many as are kept, and more.
    let stays = runtime.container(&pod, "stays");
    for _ in 0..4_200 {
        let cx = Ctx::new();
        let updated = runtime.nri().post_update_container(&cx, &pod, &stays);
        updated.await.unwrap();
    }
    runtime.stop_container(&pod, "gone").await;
    runtime.remove_container(&pod, "gone").await;
    runtime.watcher().wait_for("behind 10-log").await;
    gate.open();
    let again = log.wait_for_nth("Synchronize", 2).await;
    let again = again.synchronization().unwrap();
    let ids = |containers: &[api::Container]| {
        let ids = containers.iter().map(|container| container.id.clone());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&again.containers), ["stays"]);
    assert_eq!(again.pods.len(), 1);
    // And from then on it hears everything again.
    runtime.create(&pod, "new").await;
    log.wait_for("CreateContainer new").await;
    let info = &runtime.nri().plugins()[0];
    assert!(info.calls.missed > 4_096 && info.observes);
}

#[tokio::test]
async fn an_observer_hears_a_life_in_order_and_nothing_of_what_was_not() {
    let runtime = runtime().await;
    let log = FakePlugin::new("10-log");
    let other = FakePlugin::new("20-other");
    let _connected = (runtime.join(&log).await, runtime.join(&other).await);
    runtime.whole_life("p", "c").await;
    log.wait_for("RemovePodSandbox p").await;
    let heard: Vec<String> = log.events();
    let asked = other.events().into_iter();
    // Validation is a question.
    let asked: Vec<String> = asked
        .filter(|event| !event.starts_with("ValidateContainerAdjustment"))
        .collect();
    assert_eq!(heard, asked);

    let pod = runtime.run_pod("q").await;
    let creation = runtime
        .ask_to_create(&pod, &runtime.container(&pod, "never"))
        .await;
    drop(creation.unwrap());
    other.wait_for("RemoveContainer never").await;
    runtime.create(&pod, "real").await;
    log.wait_for("CreateContainer real").await;
    assert!(log.events().iter().all(|event| !event.contains("never")));
    let judged = |event: &PluginEvent| matches!(event, PluginEvent::Disregarded(_));
    assert!(!runtime.watcher().notices().all().iter().any(judged));
}
