//! What plugins ask for other containers in answers, handed to the caller instead of the domain.

use std::time::{Duration, Instant};

use nri_adaptation::api::{self, Field};
use nri_adaptation::merge::Owner;
use nri_adaptation::{CarriedOut, Ctx, Event, EventError as Error, RuntimeApi as _};
use nri_testkit::{Behavior, FakePlugin, Gate, TestRuntime, TestRuntimeBuilder, When};

use crate::values::{memory, patient};

fn eviction(reason: &str) -> api::ContainerEviction {
    api::ContainerEviction {
        container_id: "victim".into(),
        reason: reason.into(),
    }
}

fn handing_back() -> TestRuntimeBuilder {
    patient().with(|builder| builder.side_effects(CarriedOut::ByCaller))
}

/// Asks for something in every answer.
fn greedy() -> FakePlugin {
    FakePlugin::new("10-greedy")
        .on(
            When::from(Event::CreateContainer).of("new"),
            Behavior::answer(api::CreateContainerResponse {
                update: vec![memory("other", 1)],
                evict: vec![eviction("room")],
                ..Default::default()
            }),
        )
        .on(
            Event::UpdateContainer,
            Behavior::answer(api::UpdateContainerResponse {
                update: vec![memory("new", 2), memory("other", 3)],
                evict: vec![eviction("more room")],
            }),
        )
        .on(
            Event::StopContainer,
            Behavior::answer(api::StopContainerResponse {
                update: vec![memory("other", 4)],
            }),
        )
}

async fn pod_with_others(runtime: &TestRuntime) -> api::PodSandbox {
    let pod = runtime.run_pod("p").await;
    for id in ["other", "victim"] {
        runtime.create(&pod, id).await;
    }
    pod
}

/// Waits for the updates that reach the domain.
async fn applied(runtime: &TestRuntime, updates: &[api::ContainerUpdate]) {
    let journal = runtime.domain().update_journal();
    let count = updates.len();
    let all = journal.wait_for("the updates", move |all| all.len() >= count);
    all.await;
    assert_eq!(runtime.domain().updates(), updates);
}

#[tokio::test]
async fn what_answers_ask_for_is_returned_with_its_owners_and_nothing_is_done_about_it() {
    let runtime = handing_back().start().await;
    let _greedy = runtime.join(&greedy()).await;
    let pod = pod_with_others(&runtime).await;
    let (nri, cx) = (runtime.nri(), Ctx::new());
    let owner = Owner::Set("10-greedy".parse().unwrap());

    let new = runtime.container(&pod, "new");
    let creation = nri.create_container(&cx, &pod, &new).await.unwrap();
    assert_eq!(creation.updates()[0].update, memory("other", 1));
    let owners = creation.owners().clone();
    assert_eq!(
        owners.owner("other", Field::MemLimit, None),
        Some(&owner),
        "{owners:?}"
    );
    let response = creation.to_response();
    assert_eq!(response.update, [memory("other", 1)]);
    assert_eq!(response.evict, [eviction("room")]);
    creation.commit();

    let mut asked = memory("new", 50).linux.unwrap().resources.unwrap();
    asked.pids = Some(api::LinuxPids { limit: 9 });
    let updated = nri.update_container(&cx, &pod, &new, Some(asked)).await;
    let updated = updated.unwrap();
    let resources = updated.resources.clone().unwrap();
    assert_eq!(resources.pids.unwrap().limit, 9, "what is to be applied");
    let response = updated.to_response();
    // Not what the runtime itself has asked for: that is not the plugin's.
    assert_eq!(response.update, [memory("other", 3), memory("new", 2)]);
    assert_eq!(response.evict, [eviction("more room")]);
    let requested = updated.requested().unwrap();
    assert_eq!(requested.plugins, ["10-greedy".parse().unwrap()]);

    let stopped = nri.stop_container(&cx, &pod, &new).await.unwrap();
    assert_eq!(stopped.to_response().update, [memory("other", 4)]);
    assert_eq!(
        stopped.owners().owner("other", Field::MemLimit, None),
        Some(&owner)
    );

    assert!(runtime.domain().updates().is_empty());
    assert!(runtime.domain().evictions().is_empty());
    let notices = runtime.watcher().notices().all();
    let mut told = notices.iter().map(ToString::to_string);
    assert!(
        !told.any(|notice| notice.starts_with("updated") || notice.starts_with("evicted")),
        "nothing is told as done: {notices:?}"
    );
}

#[tokio::test]
async fn what_no_caller_can_be_handed_reaches_the_domain() {
    let runtime = handing_back().start().await;
    let greedy = greedy().on(
        When::method("Synchronize"),
        Behavior::answer(api::SynchronizeResponse {
            update: vec![memory("other", 7)],
            more: false,
        }),
    );
    let pod = pod_with_others(&runtime).await;
    for id in ["new", "gone"] {
        runtime.create(&pod, id).await;
    }
    let connected = runtime.join(&greedy).await;
    applied(&runtime, &[memory("other", 7)]).await;

    let failed = connected.update(vec![memory("other", 8)], vec![]).await;
    assert!(failed.unwrap().is_empty());
    let mut all = vec![memory("other", 7), memory("other", 8)];
    applied(&runtime, &all).await;

    // An exit, and the stop that a removal implies.
    let (nri, cx) = (runtime.nri(), Ctx::new());
    nri.notify_container_exit(&pod, &runtime.container(&pod, "new"));
    all.push(memory("other", 4));
    applied(&runtime, &all).await;
    let gone = runtime.container(&pod, "gone");
    nri.remove_container(&cx, &pod, &gone).await.unwrap();
    all.push(memory("other", 4));
    applied(&runtime, &all).await;
}

#[tokio::test]
async fn what_a_stop_asks_for_is_carried_out_when_its_caller_has_left() {
    let runtime = handing_back().start().await;
    let gate = Gate::new();
    let plugin = FakePlugin::new("10-greedy").on(
        Event::StopContainer,
        Behavior::answer(api::StopContainerResponse {
            update: vec![memory("other", 4)],
        })
        .behind(&gate),
    );
    let _connected = runtime.join(&plugin).await;
    let pod = pod_with_others(&runtime).await;
    let new = runtime.create(&pod, "new").await;
    let (nri, cx) = (runtime.nri(), Ctx::new());
    let mut stop = nri.stop_container(&cx, &pod, &new);
    tokio::select! {
        biased;
        _ = &mut stop => panic!("the plugin has not answered"),
        _ = plugin.wait_for("StopContainer new") => {}
    }
    drop(stop);
    gate.open();
    applied(&runtime, &[memory("other", 4)]).await;
}

#[tokio::test]
async fn a_stop_ends_at_its_callers_deadline_while_its_updates_go_on() {
    let runtime = patient().start().await;
    let _greedy = runtime.join(&greedy()).await;
    let pod = pod_with_others(&runtime).await;
    let new = runtime.container(&pod, "stopped");
    runtime.create(&pod, "stopped").await;
    let gate = Gate::new();
    let opened = gate.clone();
    runtime.domain().on_update(move |_| {
        let gate = opened.clone();
        async move {
            gate.pass().await;
            Ok(())
        }
    });
    let cx = Ctx::new().with_deadline(Instant::now() + Duration::from_millis(200));
    let stopped = runtime.nri().stop_container(&cx, &pod, &new).await;
    assert!(
        matches!(&stopped, Err(Error::OutOfTime { event, .. }) if *event == Event::StopContainer),
        "{stopped:?}"
    );
    assert!(runtime.domain().updates().is_empty());
    gate.open();
    applied(&runtime, &[memory("other", 4)]).await;
}
