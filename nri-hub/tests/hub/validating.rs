//! Validators below judge what the runtime above has merged, with owners by name.

use nri_adaptation::{Event, EventMask, Request, api};
use nri_core::build::Adjust as _;
use nri_testkit::{Behavior, FakePlugin, ReceivedCall, TestRuntime};

use crate::stage::Stage;

fn env(name: &str) -> Behavior {
    let mut adjustment = api::ContainerAdjustment::default();
    adjustment.add_env(name, "1").unwrap();
    Behavior::adjust(adjustment)
}

fn request(call: &ReceivedCall) -> Option<api::ValidateContainerAdjustmentRequest> {
    match call.request() {
        Some(Request::ValidateContainerAdjustment(request)) => Some(request),
        _ => None,
    }
}

#[tokio::test]
async fn a_validator_below_sees_what_all_plugins_ask_for_and_who_they_are() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket()).run().await;
    let below = FakePlugin::new("10-below").on(Event::CreateContainer, env("BELOW"));
    let judge = FakePlugin::new("20-judge").subscribe(Event::ValidateContainerAdjustment);
    let beside = FakePlugin::new("70-beside").on(Event::CreateContainer, env("BESIDE"));
    let _below = hub.join(&below).await;
    let _judge = hub.join(&judge).await;
    let _beside = runtime.join(&beside).await;
    let pod = runtime.run_pod("p1").await;
    runtime.create(&pod, "c1").await;
    let calls = judge.seen();
    let judged: Vec<_> = calls.iter().filter_map(request).collect();
    assert_eq!(judged.len(), 1, "once, by the runtime above");
    let owners = judged[0].owners.as_ref().unwrap();
    let owners = &owners.owners["c1"].compound[&(api::Field::Env as i32)].owners;
    assert_eq!(
        (&*owners["BELOW"], &*owners["BESIDE"]),
        ("10-below", "70-beside")
    );
    let consulted: Vec<_> = judged[0]
        .plugins
        .iter()
        .map(|plugin| &*plugin.name)
        .collect();
    assert_eq!(consulted, ["below", "judge", "beside"]);
    hub.stop().await;
}

#[tokio::test]
async fn what_a_validator_below_rejects_is_refused_above_and_undone_below() {
    for events in [
        EventMask::ALL,
        EventMask::ALL - Event::ValidateContainerAdjustment.into(),
    ] {
        let runtime = TestRuntime::start().await;
        let hub = Stage::at(runtime.socket())
            .with(|config| config.hub.events = events)
            .run()
            .await;
        let below = FakePlugin::new("10-below");
        let judge = FakePlugin::new("20-judge")
            .subscribe(Event::ValidateContainerAdjustment)
            .on(
                Event::ValidateContainerAdjustment,
                Behavior::answer(api::ValidateContainerAdjustmentResponse {
                    reject: true,
                    reason: "not like this".into(),
                }),
            );
        let _below = hub.join(&below).await;
        let _judge = hub.join(&judge).await;
        let pod = runtime.run_pod("p1").await;
        let error = runtime
            .try_create(&pod, "c1")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("20-judge") && error.contains("not like this"),
            "{error}"
        );
        below.wait_for("RemoveContainer c1").await;
        hub.stop().await;
    }
}

#[tokio::test]
async fn a_required_plugin_that_is_missing_stops_containers() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket())
        .with(|config| {
            let validator = &mut config.nri.default_validator;
            validator.enable = true;
            validator.required_plugins = vec!["needed".to_owned()];
        })
        .run()
        .await;
    let error = runtime.try_run_pod("p1").await.unwrap_err().to_string();
    assert!(error.contains("needed"), "{error}");
    let needed = FakePlugin::new("10-needed");
    let connected = hub.join(&needed).await;
    let pod = runtime.run_pod("p2").await;
    runtime.create(&pod, "c1").await;
    connected.exit();
    let mut readiness = hub.handle.nri().watch_readiness();
    crate::stage::within(readiness.wait_for(|readiness| !readiness.is_ready()))
        .await
        .unwrap();
    let error = runtime
        .try_create(&pod, "c2")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("needed"), "{error}");
    hub.stop().await;
}
