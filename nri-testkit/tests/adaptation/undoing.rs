//! Creations that come to nothing: exactly those that saw them hear of it.

use std::time::{Duration, Instant};

use nri_adaptation::config::{FailureAction, PluginConfig};
use nri_adaptation::{Ctx, Event, EventError as Error, RuntimeApi as _, api};
use nri_testkit::{Behavior, FakePlugin, Gate, When};

use crate::values::{memory, patient};

const TIME: Duration = Duration::from_millis(250);
const UNDONE: [&str; 3] = ["CreateContainer c", "StopContainer c", "RemoveContainer c"];

/// Holds its answers to creations back until they are let through.
fn holding(id: &str, gate: &Gate) -> FakePlugin {
    FakePlugin::new(id).on(Event::CreateContainer, Behavior::usual().behind(gate))
}

#[tokio::test]
async fn the_plugin_whose_lateness_failed_a_creation_hears_of_the_undoing_once_it_has_answered() {
    let runtime = patient()
        .request_timeout(TIME)
        .config(|config| {
            config.plugin_strikes = 1000;
            let mut strict = PluginConfig::default();
            strict.on_late = Some(FailureAction::Fail);
            config.plugins.insert("late".into(), strict);
        })
        .start()
        .await;
    let gate = Gate::new();
    let first = FakePlugin::new("10-first");
    let late = holding("20-late", &gate);
    let last = FakePlugin::new("30-last");
    let mut connected = Vec::new();
    for plugin in [&first, &late, &last] {
        connected.push(runtime.join(plugin).await);
    }
    let pod = runtime.run_pod("p").await;
    let error = runtime.try_create(&pod, "c").await.unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error}");
    // The others do not wait for it.
    first.wait_for("RemoveContainer c").await;
    assert_eq!(late.events()[1..], ["CreateContainer c"]);
    gate.let_through(1);
    late.wait_for("RemoveContainer c").await;
    assert_eq!(first.events()[1..], UNDONE);
    assert_eq!(late.events()[1..], UNDONE);
    last.assert_events(&["RunPodSandbox p"]);
}

#[tokio::test]
async fn a_creation_whose_caller_leaves_is_undone_wherever_it_is() {
    let runtime = patient().start().await;
    let gate = Gate::new();
    let first = FakePlugin::new("10-first");
    let second = holding("20-second", &gate);
    let third = FakePlugin::new("30-third");
    let mut connected = Vec::new();
    for plugin in [&first, &second, &third] {
        connected.push(runtime.join(plugin).await);
    }
    let pod = runtime.run_pod("p").await;
    // In the middle of the chain; by its deadline, and by being dropped.
    let cx = Ctx::new().with_deadline(Instant::now() + TIME);
    let c = runtime.container(&pod, "c");
    let created = runtime.nri().create_container(&cx, &pod, &c).await;
    assert!(matches!(created.unwrap_err(), Error::OutOfTime { .. }));
    gate.let_through(1);
    second.wait_for("RemoveContainer c").await;
    assert_eq!(first.events()[1..], UNDONE);
    assert_eq!(second.events()[1..], UNDONE);
    third.assert_events(&["RunPodSandbox p"]);

    // Before it began, behind another one of the pod: nobody hears of it.
    let creating = |id| {
        let (nri, pod) = (runtime.nri().clone(), pod.clone());
        let container = runtime.container(&pod, id);
        tokio::spawn(async move { nri.create_container(&Ctx::new(), &pod, &container).await })
    };
    let held = creating("held");
    second.wait_for("CreateContainer held").await;
    let queued = creating("queued");
    tokio::task::yield_now().await;
    queued.abort();
    assert!(queued.await.unwrap_err().is_cancelled());
    gate.let_through(1);
    held.await.unwrap().unwrap().commit();
    for plugin in [&first, &second, &third] {
        let seen = plugin.events();
        assert!(
            !seen.iter().any(|event| event.ends_with("queued")),
            "{seen:?}"
        );
    }
    // The id was never used.
    gate.let_through(1);
    runtime.create(&pod, "queued").await;
}

/// The caller leaves while the domain does what the plugins asked for.
#[tokio::test]
async fn a_creation_whose_caller_leaves_during_its_side_effects_is_undone() {
    let runtime = patient().start().await;
    let plugin = FakePlugin::new("10-asks").on(
        When::from(Event::CreateContainer).of("c"),
        Behavior::answer(api::CreateContainerResponse {
            update: vec![memory("other", 1)],
            ..Default::default()
        }),
    );
    let _connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p").await;
    runtime.create(&pod, "other").await;
    let updating = Gate::new();
    let hook = updating.clone();
    runtime.domain().on_update(move |_| {
        let gate = hook.clone();
        async move {
            gate.pass().await;
            Ok(())
        }
    });
    let creating = tokio::spawn({
        let (nri, pod) = (runtime.nri().clone(), pod.clone());
        let container = runtime.container(&pod, "c");
        async move { nri.create_container(&Ctx::new(), &pod, &container).await }
    });
    updating.visitors(1).await;
    creating.abort();
    assert!(creating.await.unwrap_err().is_cancelled());
    plugin.wait_for("RemoveContainer c").await;
    let events = plugin.events();
    assert_eq!(events[events.len() - 3..], UNDONE);
}
