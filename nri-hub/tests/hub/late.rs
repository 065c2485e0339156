//! Plugins that do not answer, and the runtime's patience.

use std::time::Duration;

use nri_adaptation::{Config, Event, api};
use nri_core::build::Adjust as _;
use nri_testkit::{Behavior, FakePlugin, Gate, TestRuntime};

use crate::stage::Stage;

#[tokio::test]
async fn a_plugin_that_hangs_costs_the_pod_its_own_time_and_stays_connected() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket())
        .with(|config| {
            let text = "[plugins.slow]\nrequest_timeout = '50ms'";
            config.nri = Config::from_toml_over(text, config.nri.clone()).unwrap().0;
        })
        .run()
        .await;
    let gate = Gate::new();
    let slow = FakePlugin::new("10-slow")
        .subscribe(Event::CreateContainer)
        .on(Event::CreateContainer, Behavior::usual().behind(&gate));
    let mut adjustment = api::ContainerAdjustment::default();
    adjustment.add_env("A", "1").unwrap();
    let quick =
        FakePlugin::new("20-quick").on(Event::CreateContainer, Behavior::adjust(adjustment));
    let _slow = hub.join(&slow).await;
    let _quick = hub.join(&quick).await;
    let pod = runtime.run_pod("p1").await;
    let container = runtime.create(&pod, "c1").await;
    assert!(container.env.contains(&"A=1".to_owned()));
    // Neither the hub above nor the plugin below was thrown out.
    assert_eq!(runtime.plugins(), ["50-hub"]);
    gate.open();
    let status = hub.handle.status();
    assert_eq!(status.plugins[0].timeouts, 1);
    let created = status
        .last_requests
        .iter()
        .find(|request| request.event == "CreateContainer")
        .unwrap();
    let outcomes: Vec<_> = created.calls.iter().map(|call| &*call.outcome).collect();
    assert_eq!(outcomes, ["late", "answered"]);
    hub.stop().await;
}

#[tokio::test]
async fn the_answer_goes_up_before_the_runtimes_own_deadline() {
    let runtime = TestRuntime::builder()
        .request_timeout(Duration::from_secs(6))
        .start()
        .await;
    // A plugin may take longer than the runtime waits: the hub answers in time all the same.
    let hub = Stage::at(runtime.socket())
        .with(|config| {
            config.nri.plugin_request_timeout = Duration::from_secs(60);
            // Much, since the machine may be busy.
            config.hub.margin = Duration::from_secs(3);
        })
        .run()
        .await;
    let gate = Gate::new();
    let slow = FakePlugin::new("10-slow").on(Event::RunPodSandbox, Behavior::usual().behind(&gate));
    let _slow = hub.join(&slow).await;
    runtime.run_pod("p1").await;
    let outcomes = runtime.watcher().outcomes("50-hub", Event::RunPodSandbox);
    assert!(
        !outcomes.contains(&nri_adaptation::CallOutcome::Late),
        "{outcomes:?}"
    );
    gate.open();
    hub.stop().await;
}
