//! Plugins for which nobody waits, behind a hub.

use nri_adaptation::{Config, Event};
use nri_testkit::{Behavior, FakePlugin, Gate, TestRuntime};

use crate::stage::Stage;

#[tokio::test]
async fn the_runtime_above_does_not_wait_for_an_observer() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket())
        .with(|config| {
            let text = "[plugins.log]\nobserve = true";
            config.nri = Config::from_toml_over(text, config.nri.clone()).unwrap().0;
        })
        .run()
        .await;
    let gate = Gate::new();
    let behavior = Behavior::usual().behind(&gate);
    let log = FakePlugin::new("10-log").on(Event::RunPodSandbox, behavior);
    let _log = hub.join(&log).await;
    for pod in ["p1", "p2", "p3"] {
        let pod = runtime.run_pod(pod).await;
        runtime.create(&pod, &format!("c-{}", pod.id)).await;
    }
    log.assert_events(&["RunPodSandbox p1"]);
    let status = hub.handle.status();
    assert!(status.plugins[0].observes && status.plugins[0].queued >= 5);
    gate.open();
    log.wait_for("CreateContainer c-p3").await;
    let runs: Vec<String> = log.events();
    let runs: Vec<&str> = runs
        .iter()
        .map(String::as_str)
        .filter(|e| e.starts_with("Run"))
        .collect();
    assert_eq!(
        runs,
        ["RunPodSandbox p1", "RunPodSandbox p2", "RunPodSandbox p3"]
    );
    hub.stop().await;
}
