//! What the operator's policy does to plugins behind a hub.

use nri_adaptation::{Event, api};
use nri_core::build::Adjust as _;
use nri_hub::HubConfig;
use nri_testkit::{Behavior, Describe as _, FakePlugin, TestRuntime};

use crate::stage::Stage;

const POLICY: &str = r#"
[[rules]]
name = "no-preload"
namespaces = ["prod"]
fields = ["env:LD_*"]
action = "deny"

[[rules]]
name = "no-secrets"
plugins = ["quiet"]
fields = ["env:SECRET"]
action = "drop"
"#;

fn env(name: &str) -> Behavior {
    let mut adjustment = api::ContainerAdjustment::default();
    adjustment.add_env(name, "1").unwrap();
    Behavior::adjust(adjustment)
}

#[tokio::test]
async fn what_is_denied_fails_above_and_what_is_dropped_never_gets_there() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket())
        .with(|config| config.nri.policy = HubConfig::policy_from_toml(POLICY).unwrap())
        .run()
        .await;
    let loader = FakePlugin::new("10-loader").on(Event::CreateContainer, env("LD_PRELOAD"));
    let quiet = FakePlugin::new("20-quiet").on(Event::CreateContainer, env("SECRET"));
    let _loader = hub.join(&loader).await;
    let _quiet = hub.join(&quiet).await;

    let mut prod = runtime.pod("p1").labelled("app", "web");
    prod.namespace = "prod".into();
    let prod = runtime.run(prod).await;
    let error = runtime
        .try_create(&prod, "c1")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no-preload") && error.contains("10-loader"),
        "{error}"
    );

    let other = runtime.run_pod("p2").await;
    let container = runtime.create(&other, "c2").await;
    let has = |name: &str| container.env.contains(&format!("{name}=1"));
    assert!(has("LD_PRELOAD") && !has("SECRET"), "{:?}", container.env);
    let audit = hub.handle.status().audit;
    let said = |rule: &str| {
        audit
            .iter()
            .any(|entry| entry.event == "policy" && entry.what.contains(rule))
    };
    assert!(said("no-preload") && said("no-secrets"), "{audit:?}");
    hub.stop().await;
}
