//! Callers that have to answer in time get what is known by then, and nobody is thrown out for it.

use std::time::{Duration, Instant};

use nri_adaptation::{Ctx, Event, EventMask, PluginState, RuntimeApi as _};
use nri_core::flow::Outcome;
use nri_testkit::{Behavior, Connected, FakePlugin, Gate, TestRuntime};

use crate::values::{annotate, patient};

/// A context whose budget is over soon. Plugins themselves have all the time there is.
fn soon() -> Ctx {
    Ctx::new().with_budget(Instant::now() + Duration::from_millis(200))
}

/// A plugin that is stuck in an event until the gate opens, and one after it that is not.
async fn stuck_in(event: Event, gate: &Gate) -> (TestRuntime, [FakePlugin; 2], [Connected; 2]) {
    let runtime = patient().start().await;
    let stuck = FakePlugin::new("10-stuck")
        .subscribe(EventMask::PODS | EventMask::CONTAINERS)
        .on(event, Behavior::usual().behind(gate));
    let quick = FakePlugin::new("20-quick")
        .subscribe(EventMask::PODS | EventMask::CONTAINERS)
        .on(Event::CreateContainer, annotate("quick", "1"));
    let connected = [runtime.join(&stuck).await, runtime.join(&quick).await];
    (runtime, [stuck, quick], connected)
}

#[tokio::test]
async fn a_creation_ends_in_time_without_the_plugin_that_is_stuck_and_that_one_stays() {
    let gate = Gate::new();
    let (runtime, [stuck, _], _connected) = stuck_in(Event::CreateContainer, &gate).await;
    let pod = runtime.run_pod("p").await;
    let nri = runtime.nri();
    let first = runtime.container(&pod, "first");
    let creation = nri.create_container(&soon(), &pod, &first).await.unwrap();
    let outcomes = creation.outcomes().iter();
    let outcomes: Vec<&Outcome> = outcomes.map(|outcome| &outcome.outcome).collect();
    assert!(
        matches!(outcomes[0], Outcome::Late { after: Some(_) }),
        "{outcomes:?}"
    );
    creation.commit();
    runtime.domain().put_container(first);

    // As long as it owes the answer, nobody waits for it.
    let cx = Ctx::new();
    let second = runtime.container(&pod, "second");
    let creation = nri.create_container(&cx, &pod, &second).await.unwrap();
    let adjustment = creation.adjustment().unwrap();
    assert_eq!(adjustment.annotations["quick"], "1");
    creation.commit();
    let states = nri.plugins().into_iter().map(|plugin| plugin.state);
    let states: Vec<PluginState> = states.collect();
    assert_eq!(states, [PluginState::Late, PluginState::Ready]);

    gate.open();
    let late = "10-stuck is asked again";
    runtime
        .wait_for_states(late, |plugins| {
            plugins
                .iter()
                .all(|plugin| plugin.state == PluginState::Ready)
        })
        .await;
    runtime.create(&pod, "third").await;
    stuck.wait_for("CreateContainer third").await;
}

#[tokio::test]
async fn a_notification_ends_in_time_and_reaches_all_the_same() {
    let gate = Gate::new();
    let (runtime, [_, quick], _connected) = stuck_in(Event::StopContainer, &gate).await;
    let pod = runtime.run_pod("p").await;
    let container = runtime.create(&pod, "c").await;
    let nri = runtime.nri();
    nri.stop_container(&soon(), &pod, &container).await.unwrap();
    nri.remove_container(&soon(), &pod, &container)
        .await
        .unwrap();
    gate.open();
    quick.wait_for("StopContainer c").await;
    quick.wait_for("RemoveContainer c").await;
}
