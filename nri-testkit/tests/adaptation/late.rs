//! Deadlines: of plugins, which are late then and not dead, and of callers, for which no plugin is
//! to blame.

use std::time::{Duration, Instant};

use nri_adaptation::config::{AfterLate, FailureAction, PluginConfig};
use nri_adaptation::{
    CallOutcome, Config, Ctx, Event, EventError as Error, PluginState, RuntimeApi as _,
};
use nri_testkit::{Behavior, Describe as _, FakePlugin, Gate, TEST_TIMEOUT, TestRuntime, When};

use crate::values::patient;

const TIME: Duration = Duration::from_millis(250);

async fn runtime(change: impl FnOnce(&mut Config) + Send + 'static) -> TestRuntime {
    let builder = patient().request_timeout(TIME);
    builder.config(change).start().await
}

/// Hangs in `RunPodSandbox` until it is let through.
fn hanging(id: &str, gate: &Gate) -> FakePlugin {
    FakePlugin::new(id).on(Event::RunPodSandbox, Behavior::usual().behind(gate))
}

/// Waits until the first plugin owes no answer.
async fn answered(runtime: &TestRuntime) {
    let is_ready = |plugins: &[nri_adaptation::PluginInfo]| plugins[0].state == PluginState::Ready;
    runtime.wait_for_states("the answer", is_ready).await;
}

#[tokio::test]
async fn a_late_plugin_is_skipped_and_kept_and_gets_its_turn_back() {
    let runtime = runtime(|config| config.plugin_strikes = 1000).await;
    let gate = Gate::new();
    let late = hanging("10-late", &gate);
    let other = FakePlugin::new("20-other");
    let _connected = (runtime.join(&late).await, runtime.join(&other).await);

    let begun = Instant::now();
    runtime.run_pod("a").await;
    assert!(begun.elapsed() >= TIME);
    assert_eq!(runtime.nri().plugins()[0].state, PluginState::Late);
    // Nobody waits for it now.
    runtime.run_pod("b").await;
    runtime.run_pod("c").await;
    other.assert_events(&["RunPodSandbox a", "RunPodSandbox b", "RunPodSandbox c"]);
    late.assert_events(&["RunPodSandbox a"]);
    assert_eq!(
        runtime.watcher().outcomes("10-late", Event::RunPodSandbox),
        [CallOutcome::Late, CallOutcome::Busy, CallOutcome::Busy]
    );
    // Its reply comes, and is dropped.
    gate.let_through(1);
    answered(&runtime).await;
    gate.let_through(1);
    runtime.run_pod("d").await;
    late.assert_events(&["RunPodSandbox a", "RunPodSandbox d"]);
}

#[tokio::test]
async fn policies_say_what_lateness_errors_and_absence_mean() {
    let runtime = runtime(|config| {
        let mut strict = PluginConfig::default();
        strict.on_late = Some(FailureAction::Fail);
        strict.on_absent = Some(FailureAction::Fail);
        config.plugins.insert("strict".into(), strict);
    })
    .await;
    let gate = Gate::new();
    let strict = hanging("10-strict", &gate);
    let connected = runtime.join(&strict).await;
    let error = runtime.try_run_pod("a").await.unwrap_err();
    assert!(
        matches!(&error, Error::Late { after, .. } if *after == TIME),
        "{error}"
    );
    gate.let_through(1);
    answered(&runtime).await;
    let running = tokio::spawn({
        let (nri, pod) = (runtime.nri().clone(), runtime.pod("b"));
        async move { nri.run_pod_sandbox(&Ctx::new(), &pod).await }
    });
    strict.wait_for("RunPodSandbox b").await;
    connected.exit();
    assert!(matches!(running.await.unwrap(), Err(Error::Gone { .. })));
}

#[tokio::test]
async fn a_plugin_that_hangs_for_long_is_closed() {
    let runtime = runtime(|_| {}).await;
    let connected = runtime.join(&hanging("10-hung", &Gate::new())).await;
    let begun = Instant::now();
    runtime.run_pod("a").await;
    connected.closed().await;
    assert!(begun.elapsed() >= TIME * 3, "{:?}", begun.elapsed());
    let gone = runtime.watcher().wait_for("gone 10-hung").await.to_string();
    assert!(gone.contains("owed an answer for too long"), "{gone}");
    runtime.run_pod("b").await;
}

#[tokio::test]
async fn strikes_count_only_in_a_row() {
    let runtime = runtime(|config| config.plugin_strikes = 2).await;
    let gate = Gate::new();
    // Late, in time, late, late.
    let plugin = hanging("10-sloppy", &gate);
    let plugin = plugin.on(When::from(Event::RunPodSandbox).nth(2), Behavior::usual());
    let _connected = runtime.join(&plugin).await;
    for pod in ["a", "b", "c", "d"] {
        runtime.run_pod(pod).await;
        gate.let_through(usize::from(pod != "b"));
        let settled = |plugins: &[nri_adaptation::PluginInfo]| {
            plugins.iter().all(|info| info.state != PluginState::Late)
        };
        runtime.wait_for_states("the answer", settled).await;
        let gone = runtime.plugins().is_empty();
        assert_eq!(gone, pod == "d", "{pod}");
    }
}

#[tokio::test]
async fn a_plugin_can_be_closed_as_soon_as_it_is_late() {
    let runtime = runtime(|config| config.after_late = AfterLate::Close).await;
    let connected = runtime.join(&hanging("10-late", &Gate::new())).await;
    runtime.run_pod("a").await;
    connected.closed().await;
    runtime.watcher().wait_for("gone 10-late").await;
}

#[tokio::test]
async fn the_callers_deadline_is_not_the_plugins_fault() {
    let runtime = patient().start().await;
    let gate = Gate::new();
    let slow = hanging("10-slow", &gate);
    let other = FakePlugin::new("20-other");
    let _connected = (runtime.join(&slow).await, runtime.join(&other).await);
    let nri = runtime.nri();
    let cx = Ctx::new().with_deadline(Instant::now() + TIME);
    let error = nri
        .run_pod_sandbox(&cx, &runtime.pod("a"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::OutOfTime {
                event: Event::RunPodSandbox,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("default/a-name"), "{error}");
    // The one that waits for its turn has the same limit.
    let cx = Ctx::new().with_deadline(Instant::now() + TIME);
    assert!(nri.run_pod_sandbox(&cx, &runtime.pod("b")).await.is_err());
    slow.assert_events(&["RunPodSandbox a"]);
    assert_eq!(nri.plugins()[0].state, PluginState::Ready);
    gate.let_through(2);
    runtime.run_pod("c").await;
    slow.assert_events(&["RunPodSandbox a", "RunPodSandbox c"]);
}

#[tokio::test]
async fn notifications_go_on_without_their_caller() {
    let runtime = patient().start().await;
    let gate = Gate::new();
    let slow = Behavior::usual().behind(&gate);
    let slow = FakePlugin::new("10-slow").on(Event::StopPodSandbox, slow);
    let other = FakePlugin::new("20-other");
    let _connected = (runtime.join(&slow).await, runtime.join(&other).await);
    let pod = runtime.run_pod("p").await;
    let cx = Ctx::new().with_deadline(Instant::now() + TIME);
    let stopped = runtime.nri().stop_pod_sandbox(&cx, &pod).await;
    assert!(matches!(stopped, Err(Error::OutOfTime { .. })));
    gate.let_through(1);
    other.wait_for("StopPodSandbox p").await;
    // It was told; a repetition has no effect.
    runtime.stop_pod(&pod).await;
    slow.assert_events(&["RunPodSandbox p", "StopPodSandbox p"]);
}

#[tokio::test]
async fn a_plugin_that_stops_reading_holds_nobody_up_for_long() {
    let runtime = runtime(|_| {}).await;
    let connected = runtime.join(&FakePlugin::new("10-deaf")).await;
    connected.wire().stop_reading();
    let begun = Instant::now();
    let large = runtime.pod("large").annotated("a", "x".repeat(3 << 20));
    runtime.run(large).await;
    runtime.run_pod("b").await;
    let took = begun.elapsed();
    assert!(took < TEST_TIMEOUT, "{took:?}");
    runtime.watcher().wait_for("gone 10-deaf").await;
    runtime.run_pod("c").await;
}

#[tokio::test]
async fn a_plugin_can_be_synchronised_again_after_it_was_late() {
    let runtime = runtime(|config| {
        config.plugin_strikes = 1000;
        config.after_late = AfterLate::Resync;
    })
    .await;
    let gate = Gate::new();
    let late = hanging("10-late", &gate);
    let _connected = runtime.join(&late).await;
    runtime.run_pod("a").await;
    // What it misses meanwhile it learns from what it is shown.
    runtime.run_pod("b").await;
    assert_eq!(runtime.nri().plugins()[0].state, PluginState::Late);
    assert_eq!(late.shown().0, [] as [&str; 0]);
    gate.let_through(1);
    late.wait_for_nth("Synchronize", 2).await;
    assert_eq!(late.shown().0, ["a", "b"]);
    gate.let_through(1);
    runtime.run_pod("c").await;
    late.assert_events(&["RunPodSandbox a", "RunPodSandbox c"]);
    assert_eq!(runtime.nri().plugins()[0].state, PluginState::Ready);
    // It took part all the time.
    assert_eq!(runtime.watcher().count("synchronized"), 1);
}
