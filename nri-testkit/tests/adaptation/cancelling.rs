//! Futures of the API that are dropped. What becomes of creations then is in `undoing`.

use nri_adaptation::{Ctx, Event, InstanceError, RuntimeApi as _, api};
use nri_testkit::{Behavior, FakePlugin, Gate, When};

use crate::values::{memory, patient};

/// Holds its answers to an event back until they are let through.
fn holding(id: &str, event: Event, gate: &Gate) -> FakePlugin {
    FakePlugin::new(id).on(event, Behavior::usual().behind(gate))
}

#[tokio::test]
async fn what_may_be_refused_ends_with_its_caller_and_what_has_happened_does_not() {
    let runtime = patient().start().await;
    let gate = Gate::new();
    let starts = holding("10-starts", Event::StartContainer, &gate);
    let stops = holding("20-stops", Event::StopContainer, &gate);
    let last = FakePlugin::new("30-last");
    let mut connected = Vec::new();
    for plugin in [&starts, &stops, &last] {
        connected.push(runtime.join(plugin).await);
    }
    let p = runtime.run_pod("p").await;
    let c = runtime.try_create(&p, "c").await.unwrap();
    let (nri, pod, container) = (runtime.nri().clone(), p.clone(), c.clone());
    let starting =
        tokio::spawn(async move { nri.start_container(&Ctx::new(), &pod, &container).await });
    starts.wait_for("StartContainer c").await;
    // One more of the pod waits for its turn, and leaves before it has come.
    let (nri, pod, container) = (runtime.nri().clone(), p.clone(), c.clone());
    let waiting = tokio::spawn(async move {
        let cx = Ctx::new();
        let updated = nri.update_container(&cx, &pod, &container, None).await;
        updated.map(drop)
    });
    tokio::task::yield_now().await;
    for task in [starting, waiting] {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    gate.let_through(1);
    // It has its turn again, and the container counts as started: its stop is told.
    let (nri, pod, container) = (runtime.nri().clone(), p.clone(), c.clone());
    let stopping = tokio::spawn(async move {
        let stopped = nri.stop_container(&Ctx::new(), &pod, &container).await;
        stopped.map(drop)
    });
    stops.wait_for("StopContainer c").await;
    stopping.abort();
    assert!(stopping.await.unwrap_err().is_cancelled());
    gate.let_through(1);
    last.wait_for("StopContainer c").await;
    last.assert_events(&["RunPodSandbox p", "CreateContainer c", "StopContainer c"]);
    // A removal is told whole, the caller gone or not: here before it has begun.
    let cx = Ctx::new();
    drop(tokio::join!(
        runtime.nri().remove_container(&cx, &p, &c),
        runtime.nri().remove_pod_sandbox(&cx, &p)
    ));
    assert_eq!(
        last.events()[3..],
        [
            "RemoveContainer c",
            "StopPodSandbox p",
            "RemovePodSandbox p"
        ]
    );
}

#[tokio::test]
async fn what_a_stop_frees_is_given_to_others_though_the_caller_has_left() {
    let runtime = patient().start().await;
    let gate = Gate::new();
    let response = api::StopContainerResponse {
        update: vec![memory("other", 1)],
    };
    let plugin = FakePlugin::new("10-gives").on(
        Event::StopContainer,
        Behavior::answer(response).behind(&gate),
    );
    let _connected = runtime.join(&plugin).await;
    let p = runtime.run_pod("p").await;
    runtime.create(&p, "other").await;
    let c = runtime.create(&p, "c").await;
    let nri = runtime.nri().clone();
    let stopping = tokio::spawn(async move {
        let stopped = nri.stop_container(&Ctx::new(), &p, &c).await;
        stopped.map(drop)
    });
    plugin.wait_for("StopContainer c").await;
    stopping.abort();
    assert!(stopping.await.unwrap_err().is_cancelled());
    gate.let_through(1);
    let updates = runtime.domain().update_journal();
    let given = [memory("other", 1)];
    updates.wait_for("the update", |all| *all == given).await;
}

#[tokio::test]
async fn a_dropped_start_stops_and_a_dropped_stop_goes_on() {
    let runtime = patient().build();
    // The start hangs while it asks what exists.
    let listing = Gate::new();
    let hook = listing.clone();
    runtime.domain().on_list(move || {
        let gate = hook.clone();
        async move {
            gate.pass().await;
            Ok(())
        }
    });
    let starting = tokio::spawn({
        let nri = runtime.nri().clone();
        async move { nri.start().await }
    });
    listing.visitors(1).await;
    starting.abort();
    assert!(starting.await.unwrap_err().is_cancelled());
    listing.open();
    assert!(!runtime.nri().is_enabled());
    runtime.nri().stop().await;
    let again = runtime.nri().start().await;
    assert_eq!(again, Err(InstanceError::Stopped.into()));

    let runtime = patient().start().await;
    let gate = Gate::new();
    let slow = Behavior::usual().behind(&gate);
    let plugin = FakePlugin::new("10-slow").on(When::method("Shutdown"), slow);
    let connected = runtime.join(&plugin).await;
    let stopping = tokio::spawn({
        let nri = runtime.nri().clone();
        async move { nri.stop().await }
    });
    plugin.wait_for("Shutdown").await;
    stopping.abort();
    assert!(stopping.await.unwrap_err().is_cancelled());
    gate.let_through(1);
    connected.closed().await;
    runtime.nri().stop().await;
    assert!(runtime.nri().plugins().is_empty());
}
