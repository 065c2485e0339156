//! What an operator's policy does to what plugins ask for, on every way on which they can ask.

use nri_adaptation::policy::Policy;
use nri_adaptation::{Config, Event, EventError as Error, Reconfigured, api};
use nri_testkit::{Behavior, Connected, FakePlugin, TestRuntime, When};

use crate::values::{annotate, memory, patient};

/// Rules against what is asked for in the namespace `prod`, among others.
const RULES: &str = r#"
    [[rules]]
    name = "prod"
    namespaces = ["prod"]
    fields = ["mem-limit", "evictions", "annotations:evil.example.com/*"]
    action = "deny"
    [[rules]]
    name = "unwanted"
    fields = ["annotations:drop/*"]
    action = "drop"
    [[rules]]
    name = "watched"
    fields = ["annotations"]
    action = "audit"
"#;

fn rules() -> Policy {
    Config::policy_from_toml(RULES).unwrap()
}

async fn runtime() -> TestRuntime {
    patient()
        .config(|config| config.policy = rules())
        .start()
        .await
}

async fn pod_in(runtime: &TestRuntime, namespace: &str) -> api::PodSandbox {
    let mut pod = runtime.pod(namespace);
    pod.namespace = namespace.into();
    runtime.run(pod).await
}

/// A plugin that annotates every container.
async fn annotating(runtime: &TestRuntime, key: &str) -> Connected {
    let plugin = FakePlugin::new("10-a").on(Event::CreateContainer, annotate(key, "v"));
    runtime.join(&plugin).await
}

#[tokio::test]
async fn what_is_denied_fails_the_creation_and_names_rule_and_plugin() {
    let runtime = runtime().await;
    let _connected = annotating(&runtime, "evil.example.com/x").await;
    let (prod, dev) = (
        pod_in(&runtime, "prod").await,
        pod_in(&runtime, "dev").await,
    );
    let error = runtime.try_create(&prod, "c").await.unwrap_err();
    assert!(matches!(error, Error::Denied(_)), "{error}");
    assert_eq!(error.code(), 7);
    let says = "plugin \"10-a\" asks for Annotations \"evil.example.com/x\" in container \"c\": deny by rule \"prod\"";
    assert_eq!(error.to_string(), format!("the policy denies it: {says}"));
    assert_eq!(runtime.watcher().count(says), 1);

    let created = runtime.create(&dev, "d").await;
    assert_eq!(created.annotations.len(), 1);
    let audited = "plugin \"10-a\" asks for Annotations \"evil.example.com/x\" in container \"d\": audit by rule \"watched\"";
    assert_eq!(runtime.watcher().count(audited), 1);
}

#[tokio::test]
async fn what_is_dropped_is_not_there_and_nobody_owns_it() {
    let runtime = runtime().await;
    let _connected = annotating(&runtime, "drop/me").await;
    let dev = pod_in(&runtime, "dev").await;
    let created = runtime.create(&dev, "c").await;
    assert!(created.annotations.is_empty());
    let dropped = "plugin \"10-a\" asks for Annotations \"drop/me\" in container \"c\": drop by rule \"unwanted\"";
    assert_eq!(runtime.watcher().count(dropped), 1);
    assert_eq!(runtime.watcher().count("adjusted"), 0);
}

#[tokio::test]
async fn an_update_is_judged_by_the_pod_of_its_own_container() {
    let runtime = runtime().await;
    let updating = |id: &str| {
        Behavior::answer(api::CreateContainerResponse {
            update: vec![memory(id, 1)],
            ..Default::default()
        })
    };
    let creating = |id: &str| When::from(Event::CreateContainer).of(id);
    let plugin = FakePlugin::new("10-a")
        .on(creating("bad"), updating("in-prod"))
        .on(creating("good"), updating("in-dev"));
    let _connected = runtime.join(&plugin).await;
    let (prod, dev) = (
        pod_in(&runtime, "prod").await,
        pod_in(&runtime, "dev").await,
    );
    runtime.create(&prod, "in-prod").await;
    runtime.create(&dev, "in-dev").await;
    runtime.create(&dev, "good").await;
    let error = runtime
        .try_create(&dev, "bad")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("MemLimit in container \"in-prod\": deny by rule \"prod\""),
        "{error}"
    );
    assert_eq!(runtime.domain().updates(), [memory("in-dev", 1)]);
}

#[tokio::test]
async fn on_its_own_account_each_update_and_eviction_of_a_plugin_fails_alone() {
    let runtime = runtime().await;
    let (prod, dev) = (
        pod_in(&runtime, "prod").await,
        pod_in(&runtime, "dev").await,
    );
    // Known from lists alone, or not even from these.
    runtime
        .domain()
        .put_container(runtime.container(&prod, "listed"));
    let connected = runtime.join(&FakePlugin::new("10-a")).await;
    runtime
        .domain()
        .put_container(runtime.container(&dev, "late"));
    let evict = |id: &str| api::ContainerEviction {
        container_id: id.into(),
        reason: "why".into(),
    };
    let updates = vec![memory("listed", 1), memory("late", 2)];
    let evictions = vec![evict("listed"), evict("late")];
    let failed = connected.update(updates, evictions).await.unwrap();
    assert_eq!(failed, [memory("listed", 1)]);
    assert_eq!(runtime.domain().updates(), [memory("late", 2)]);
    let evicted = runtime.domain().evictions();
    let evicted: Vec<_> = evicted
        .iter()
        .map(|eviction| &eviction.container_id)
        .collect();
    assert_eq!(evicted, ["late"]);
    for what in ["Evictions", "MemLimit"] {
        let says = format!(
            "plugin \"10-a\" asks for {what} in container \"listed\": deny by rule \"prod\""
        );
        assert_eq!(runtime.watcher().count(&says), 1, "{says}");
    }
}

#[tokio::test]
async fn what_a_plugin_asks_for_when_it_is_synchronised_is_judged_too() {
    let runtime = runtime().await;
    let (prod, dev) = (
        pod_in(&runtime, "prod").await,
        pod_in(&runtime, "dev").await,
    );
    runtime
        .domain()
        .put_container(runtime.container(&prod, "c"));
    runtime.domain().put_container(runtime.container(&dev, "d"));
    let asks = Behavior::answer(api::SynchronizeResponse {
        update: vec![memory("c", 1), memory("d", 1)],
        more: false,
    });
    let plugin = FakePlugin::new("10-a").on(When::method("Synchronize"), asks);
    let _connected = runtime.join(&plugin).await;
    runtime.watcher().wait_for("synchronized 10-a").await;
    assert_eq!(runtime.domain().updates(), [memory("d", 1)]);
}

#[tokio::test]
async fn another_policy_holds_from_the_next_request_on_and_drops_nobody() {
    let runtime = patient().start().await;
    let _connected = annotating(&runtime, "evil.example.com/x").await;
    let prod = pod_in(&runtime, "prod").await;
    runtime.create(&prod, "before").await;
    let mut config = Config::clone(&runtime.nri().config());
    config.policy = rules();
    let done = runtime.nri().reconfigure(config.clone()).await.unwrap();
    assert_eq!(done, Reconfigured::default());
    let denied = runtime.try_create(&prod, "c").await;
    assert!(matches!(denied, Err(Error::Denied(_))));
    config.policy = Policy::default();
    runtime.nri().reconfigure(config).await.unwrap();
    runtime.create(&prod, "after").await;
    assert_eq!(runtime.plugins(), ["10-a"]);
    assert_eq!(runtime.watcher().count("connected"), 1);
}
