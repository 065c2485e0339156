//! Plugins that hang or die at any step, and what that means for the request: nothing, by default;
//! a refusal where a validator or a requirement says so, and of that request, not of the next one.

use std::time::{Duration, Instant};

use nri_adaptation::config::{FailureAction, PluginConfig};
use nri_adaptation::validate::required::REQUIRED_PLUGINS_ANNOTATION;
use nri_adaptation::{
    Ctx, Event, EventError as Error, EventMask, PluginState, RuntimeApi as _, api,
};
use nri_proto::transport::Code;
use nri_testkit::{Behavior, Describe as _, FakePlugin, Gate, TEST_TIMEOUT, TestRuntime, When};

use crate::values::patient;

const TIME: Duration = Duration::from_millis(250);

/// The whole life of a pod and a container, with what each step came to, without the reasons.
async fn life(runtime: &TestRuntime) -> Vec<(&'static str, bool)> {
    let (cx, p) = (Ctx::new(), runtime.pod("p"));
    let c = runtime.container(&p, "c");
    let nri = runtime.nri();
    let mut steps = vec![("run", nri.run_pod_sandbox(&cx, &p).await.is_ok())];
    let created = nri.create_container(&cx, &p, &c).await;
    steps.push(("create", created.is_ok()));
    if let Ok(creation) = created {
        creation.commit();
    }
    steps.push(("start", nri.start_container(&cx, &p, &c).await.is_ok()));
    let updated = nri.update_container(&cx, &p, &c, None).await;
    steps.push(("update", updated.is_ok()));
    steps.push(("stop", nri.stop_container(&cx, &p, &c).await.is_ok()));
    steps.push(("remove", nri.remove_container(&cx, &p, &c).await.is_ok()));
    steps.push(("remove pod", nri.remove_pod_sandbox(&cx, &p).await.is_ok()));
    steps
}

#[tokio::test]
async fn a_plugin_that_dies_or_hangs_at_any_step_delays_nobody_past_its_deadline() {
    let events = [
        Event::RunPodSandbox,
        Event::CreateContainer,
        Event::StartContainer,
        Event::UpdateContainer,
        Event::StopContainer,
        Event::RemoveContainer,
        Event::RemovePodSandbox,
        Event::ValidateContainerAdjustment,
    ];
    for event in events {
        for behavior in [Behavior::exit(), Behavior::hang()] {
            let runtime = patient().request_timeout(TIME).start().await;
            let before = FakePlugin::new("10-before");
            let after = FakePlugin::new("30-after");
            // One that judges is heard or rejects, whatever it hangs in.
            let judges = event == Event::ValidateContainerAdjustment;
            let bad = match judges {
                true => FakePlugin::new("20-bad").subscribe(EventMask::ALL),
                false => FakePlugin::new("20-bad"),
            };
            let bad = bad.on(event, behavior);
            let mut connected = Vec::new();
            for plugin in [&before, &bad, &after] {
                connected.push(runtime.join(plugin).await);
            }
            let begun = Instant::now();
            let steps = life(&runtime).await;
            let took = begun.elapsed();
            assert!(took < TEST_TIMEOUT, "{event}: {took:?}");
            for (step, ok) in steps {
                // A validator that is not heard does not accept; then there is nothing to be
                // started.
                let expected = !(judges && ["create", "start"].contains(&step));
                assert_eq!(ok, expected, "{step}, when {event} goes wrong");
            }
            assert_eq!(before.events(), after.events());
        }
    }
}

async fn requiring() -> TestRuntime {
    let builder = patient().request_timeout(TIME);
    let builder = builder.config(|config| {
        config.plugin_strikes = 1000;
        config.default_validator.enable = true;
        config.default_validator.required_plugins = vec!["must".into()];
        config.default_validator.tolerate_missing_plugins_annotation = "may-miss".into();
        let mut lenient = PluginConfig::default();
        lenient.on_error = Some(FailureAction::Skip);
        config.plugins.insert("must".into(), lenient);
    });
    builder.start().await
}

fn names_the_missing(error: &Error) {
    let text = error.to_string();
    assert!(
        text.contains("default-validator") && text.contains("\"must\""),
        "{text}"
    );
}

#[tokio::test]
async fn a_required_plugin_that_was_late_or_failed_refuses_that_very_pod_and_container() {
    let runtime = requiring().await;
    // It is not there.
    let error = runtime.try_run_pod("absent").await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { pod, .. } if pod == "pod default/absent-name (\"absent\")"),
        "{error}"
    );
    names_the_missing(&error);

    let gate = Gate::new();
    let mut must = FakePlugin::new("10-must");
    for event in [Event::RunPodSandbox, Event::CreateContainer] {
        let late = Behavior::usual().behind(&gate);
        must = must.on(When::from(event).of("late"), late).on(
            When::from(event).of("failed"),
            Behavior::fail(Code::Unknown, "no"),
        );
    }
    let _connected = runtime.join(&must).await;
    let fine = runtime.run_pod("fine").await;
    for id in ["failed", "late"] {
        names_the_missing(&runtime.try_run_pod(id).await.unwrap_err());
        let answer = || gate.let_through(usize::from(id == "late"));
        answer();
        settled(&runtime).await;
        runtime.run_pod(&format!("after-{id}")).await;
        let error = runtime.try_create(&fine, id).await.unwrap_err();
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        names_the_missing(&error);
        answer();
        settled(&runtime).await;
        runtime.create(&fine, &format!("c-after-{id}")).await;
    }
}

/// Waits until no plugin owes an answer.
async fn settled(runtime: &TestRuntime) {
    let is_ready = |plugins: &[nri_adaptation::PluginInfo]| {
        plugins.iter().all(|info| info.state == PluginState::Ready)
    };
    runtime.wait_for_states("all answers", is_ready).await;
}

#[tokio::test]
async fn a_pod_says_itself_what_it_requires_and_what_it_can_do_without() {
    let runtime = requiring().await;
    let annotated = |id: &str, key: &str, value: &str| -> api::PodSandbox {
        runtime.pod(id).annotated(key, value)
    };
    // What a plugin's own pod needs: else no required plugin could ever come in a pod.
    for (n, key) in ["may-miss", "may-miss/pod", "may-miss/container.any"]
        .into_iter()
        .enumerate()
    {
        runtime
            .run(annotated(&format!("tolerant{n}"), key, "true"))
            .await;
    }
    let nonsense = annotated("nonsense", "may-miss", "perhaps");
    let error = runtime.try_run(nonsense).await.unwrap_err();
    assert!(error.to_string().contains("perhaps"), "{error}");

    let _connected = runtime.join(&FakePlugin::new("10-must")).await;
    let more = annotated("more", REQUIRED_PLUGINS_ANNOTATION, "[other]");
    let error = runtime.try_run(more.clone()).await.unwrap_err();
    assert!(error.to_string().contains("\"other\""), "{error}");
    let of_container = format!("{REQUIRED_PLUGINS_ANNOTATION}/container.c-name");
    let partly = runtime
        .run(annotated("partly", &of_container, "[other]"))
        .await;
    let error = runtime.try_create(&partly, "c").await.unwrap_err();
    assert!(error.to_string().contains("\"other\""), "{error}");
    // There is nothing to require where the validator is off.
    patient().start().await.run(more).await;
}
