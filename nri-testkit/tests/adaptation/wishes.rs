//! What a plugin says is to happen when it does not answer (protocol v0.12.4), over connections and
//! in the runtime's program. That it holds for every event and every row of the table is for the
//! core's scenes.

use std::time::Duration;

use nri_adaptation::config::{AfterLate, FailureAction, PluginConfig};
use nri_adaptation::{Config, Ctx, Event, EventError as Error, RuntimeApi as _, api};
use nri_testkit::{Behavior, FakePlugin, Gate, TestRuntimeBuilder};

use crate::values::patient;

const TIME: Duration = Duration::from_millis(100);
/// Whether a request fails, and whether the plugin stays.
const WISHES: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// What the operator says of the one plugin that does not answer; it alone has little time.
fn hasty(config: &mut Config, operator: impl FnOnce(&mut PluginConfig)) {
    config.plugin_request_timeout = Duration::from_secs(3600);
    let mut own = PluginConfig::default();
    own.request_timeout = Some(TIME);
    operator(&mut own);
    config.plugins.insert("wishes".into(), own);
}

fn with_hasty(operator: impl FnOnce(&mut PluginConfig) + Send + 'static) -> TestRuntimeBuilder {
    patient().config(|config| hasty(config, operator))
}

/// Answers `RunPodSandbox` when it is let through.
fn hanging(gate: &Gate) -> FakePlugin {
    FakePlugin::new("10-wishes").on(Event::RunPodSandbox, Behavior::usual().behind(gate))
}

/// The four rows of the table that are about time.
#[tokio::test]
async fn lateness_over_a_connection_is_what_the_plugin_says() {
    for (fail_request, keep_connected) in WISHES {
        let runtime = with_hasty(|_| {}).start().await;
        let gate = Gate::new();
        let wishes = hanging(&gate).failure_policy(fail_request, keep_connected);
        let other = FakePlugin::new("20-other");
        let connected = runtime.join(&wishes).await;
        let _other = runtime.join(&other).await;
        let result = runtime.try_run_pod("a").await;
        match fail_request {
            true => {
                let error = result.unwrap_err();
                assert!(matches!(error, Error::Late { .. }), "{error}");
                let text = error.to_string();
                assert!(
                    text.contains("10-wishes") && text.contains("RunPodSandbox"),
                    "{text}"
                );
                other.assert_events(&[]);
            }
            false => {
                result.unwrap();
                other.assert_events(&["RunPodSandbox a"]);
            }
        }
        if keep_connected {
            gate.open();
            // It gets requests again, as soon as its answer has come.
            for next in 0.. {
                let _ = runtime.try_run_pod(&format!("next-{next}")).await;
                if wishes.events().len() > 1 {
                    break;
                }
                tokio::task::yield_now().await;
            }
            assert_eq!(runtime.nri().plugins().len(), 2);
        } else {
            connected.closed().await;
            runtime.watcher().wait_for("gone 10-wishes").await;
            runtime.run_pod("b").await;
        }
    }
}

/// The rows about lost connections: it is gone, whatever it wished.
#[tokio::test]
async fn a_connection_lost_in_a_call_fails_the_request_if_the_plugin_says_so() {
    for (fail_request, keep_connected) in WISHES {
        let builder = patient().request_timeout(Duration::from_secs(3600));
        let runtime = builder.start().await;
        let wishes = hanging(&Gate::new()).failure_policy(fail_request, keep_connected);
        let connected = runtime.join(&wishes).await;
        let running = tokio::spawn({
            let (nri, pod) = (runtime.nri().clone(), runtime.pod("a"));
            async move { nri.run_pod_sandbox(&Ctx::new(), &pod).await }
        });
        wishes.wait_for("RunPodSandbox a").await;
        connected.exit();
        let result = running.await.unwrap();
        match fail_request {
            true => {
                let error = result.unwrap_err();
                assert!(matches!(error, Error::Gone { .. }), "{error}");
            }
            false => result.unwrap(),
        }
        runtime.watcher().wait_for("gone 10-wishes").await;
        runtime.run_pod("b").await;
    }
}

#[tokio::test]
async fn a_plugin_that_went_between_requests_fails_none() {
    let runtime = patient().start().await;
    let gate = Gate::new();
    let first = Behavior::usual().behind(&gate);
    let first = FakePlugin::new("05-first").on(Event::RunPodSandbox, first);
    let _first = runtime.join(&first).await;
    let wishes = FakePlugin::new("10-wishes").failure_policy(true, true);
    let connected = runtime.join(&wishes).await;
    let running = tokio::spawn({
        let (nri, pod) = (runtime.nri().clone(), runtime.pod("a"));
        async move { nri.run_pod_sandbox(&Ctx::new(), &pod).await }
    });
    first.wait_for("RunPodSandbox a").await;
    connected.exit();
    runtime.watcher().wait_for("gone 10-wishes").await;
    gate.open();
    running.await.unwrap().unwrap();
    runtime.run_pod("b").await;
}

/// The operator's key goes before the plugin's wish, each on its own.
#[tokio::test]
async fn the_operator_has_the_last_word() {
    // A plugin that would fail requests, and be kept, is neither.
    let runtime = with_hasty(|own| {
        own.on_late = Some(FailureAction::Skip);
        own.after_late = Some(AfterLate::Close);
    });
    let runtime = runtime.start().await;
    let gate = Gate::new();
    let wishes = hanging(&gate).failure_policy(true, true);
    let connected = runtime.join(&wishes).await;
    runtime.run_pod("a").await;
    connected.closed().await;

    // And the other way round: it stays for its three times.
    let runtime = with_hasty(|own| {
        own.on_late = Some(FailureAction::Fail);
        own.after_late = Some(AfterLate::Keep);
    });
    let runtime = runtime.start().await;
    let wishes = hanging(&gate).failure_policy(false, false);
    let connected = runtime.join(&wishes).await;
    let error = runtime.try_run_pod("a").await.unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error}");
    connected.closed().await;
    let gone = runtime.watcher().wait_for("gone 10-wishes").await;
    let gone = gone.to_string();
    assert!(gone.contains("owed an answer for too long"), "{gone}");
}

/// What holds for all plugins holds for those that wish nothing; a wish is kept when that changes.
#[tokio::test]
async fn a_wish_outlives_another_configuration() {
    let runtime = with_hasty(|_| {}).start().await;
    let wishes = hanging(&Gate::new()).failure_policy(true, true);
    let _connected = runtime.join(&wishes).await;
    let nri = runtime.nri();
    let wish = api::FailurePolicy {
        fail_request: true,
        keep_connected: true,
    };
    assert_eq!(nri.plugins()[0].failure_policy, Some(wish));
    let mut config = Config::clone(&nri.config());
    config.after_late = AfterLate::Close;
    config.plugin_strikes = 1;
    nri.reconfigure(config.clone()).await.unwrap();
    let error = runtime.try_run_pod("a").await.unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error}");
    assert_eq!(nri.plugins().len(), 1);
    // A word of the operator about it is heard at once.
    hasty(&mut config, |own| own.on_late = Some(FailureAction::Skip));
    nri.reconfigure(config).await.unwrap();
    runtime.run_pod("b").await;
}

#[tokio::test]
async fn plugins_in_the_runtimes_program_have_wishes_too() {
    for keep_connected in [false, true] {
        let wishes = hanging(&Gate::new()).failure_policy(true, keep_connected);
        let runtime = with_hasty(|_| {}).built_in(&wishes).start().await;
        let error = runtime.try_run_pod("a").await.unwrap_err();
        assert!(matches!(error, Error::Late { .. }), "{error}");
        if !keep_connected {
            runtime.watcher().wait_for("gone 10-wishes").await;
        }
        let there = runtime.nri().plugins().len();
        assert_eq!(there, usize::from(keep_connected));
    }
}

/// A plugin that is kept and never answers is asked again all the same, and its calls are not kept
/// for ever.
#[tokio::test]
async fn a_kept_plugin_that_never_answers_is_asked_again() {
    let runtime = with_hasty(|_| {}).start().await;
    let wishes = hanging(&Gate::new()).failure_policy(false, true);
    let _connected = runtime.join(&wishes).await;
    for n in 0.. {
        runtime.run_pod(&format!("p{n}")).await;
        if wishes.events().len() == 3 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(runtime.nri().plugins().len(), 1);
}
