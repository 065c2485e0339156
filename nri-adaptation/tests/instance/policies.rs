//! What an operator's policy does to what plugins ask for, on every way on which they can ask.

use nri_adaptation::{Config, Ctx, Reconfigured, RuntimeApi as _};
use nri_core::policy::Policy;
use nri_core::{Error, api};
use prost::Message as _;

use crate::support::{Fake, Peer, World, annotate, container, memory, pod};

fn policy(text: &str) -> Policy {
    Config::policy_from_toml(text).unwrap()
}

/// Rules against what is asked for in the namespace `prod`.
const PROD: &str = r#"
    [[rules]]
    name = "prod"
    namespaces = ["prod"]
    fields = ["mem-limit", "evictions", "annotations:evil.example.com/*"]
    action = "deny"
    [[rules]]
    name = "pids"
    fields = ["annotations:drop/*", "cpu*"]
    action = "drop"
    [[rules]]
    name = "watched"
    fields = ["annotations", "updates"]
    action = "audit"
"#;

async fn world() -> World {
    World::started_with(|config| config.policy = policy(PROD)).await
}

/// Runs a pod in a namespace, and has the domain list it.
async fn pod_in(world: &World, id: &str, namespace: &str) -> api::PodSandbox {
    let mut pod = pod(id);
    pod.namespace = namespace.into();
    world.nri.run_pod_sandbox(&Ctx::new(), &pod).await.unwrap();
    let mut pods = world.domain.pods.lock().unwrap();
    pods.insert(id.to_owned(), pod.clone());
    pod
}

/// A plugin that annotates every container.
async fn annotating(world: &World, key: &'static str) -> Peer {
    let fake = Fake::all_events("10-a").on("CreateContainer", move |_| async move {
        Some(Ok(annotate(key, "v")))
    });
    fake.join(world).await
}

#[tokio::test]
async fn what_is_denied_fails_the_creation_and_names_rule_and_plugin() {
    let world = world().await;
    let _peer = annotating(&world, "evil.example.com/x").await;
    let prod = pod_in(&world, "p", "prod").await;
    let c = container(&prod, "c");
    let error = world
        .nri
        .create_container(&Ctx::new(), &prod, &c)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Denied(_)), "{error}");
    assert_eq!(error.code(), 7);
    let says = "plugin \"10-a\" asks for Annotations \"evil.example.com/x\" in container \"c\": deny by rule \"prod\"";
    assert_eq!(error.to_string(), format!("the policy denies it: {says}"));
    assert!(world.observer.notices.all().contains(&says.to_owned()));

    let dev = pod_in(&world, "q", "dev").await;
    let c = container(&dev, "d");
    let creation = world
        .nri
        .create_container(&Ctx::new(), &dev, &c)
        .await
        .unwrap();
    assert_eq!(creation.adjustment().unwrap().annotations.len(), 1);
    let notices = world.observer.notices.all();
    assert!(
        notices
            .iter()
            .any(|told| told.contains("container \"d\": audit by rule \"watched\""))
    );
    world.nri.stop().await;
}

#[tokio::test]
async fn what_is_dropped_is_not_there_and_nobody_owns_it() {
    let world = world().await;
    let _peer = annotating(&world, "drop/me").await;
    let pod = pod_in(&world, "p", "dev").await;
    let c = container(&pod, "c");
    let creation = world
        .nri
        .create_container(&Ctx::new(), &pod, &c)
        .await
        .unwrap();
    assert_eq!(creation.adjustment(), None);
    let notices = world.observer.notices.all();
    assert!(
        notices
            .iter()
            .any(|told| told.ends_with("drop by rule \"pids\""))
    );
    assert!(
        !notices.iter().any(|told| told.starts_with("adjusted")),
        "{notices:?}"
    );
    world.nri.stop().await;
}

#[tokio::test]
async fn an_update_is_judged_by_the_pod_of_its_own_container() {
    let world = world().await;
    let fake = Fake::all_events("10-a").on("CreateContainer", |got| async move {
        let update = match got.brief().as_str() {
            "CreateContainer bad" => memory("in-prod", 1),
            "CreateContainer good" => memory("in-dev", 1),
            _ => return None,
        };
        let response = api::CreateContainerResponse {
            update: vec![update],
            ..Default::default()
        };
        Some(Ok(response.encode_to_vec()))
    });
    let _peer = fake.join(&world).await;
    let (prod, dev) = (
        pod_in(&world, "p", "prod").await,
        pod_in(&world, "q", "dev").await,
    );
    world.container(&prod, "in-prod").await;
    world.container(&dev, "in-dev").await;
    world.container(&dev, "good").await;
    let bad = container(&dev, "bad");
    let error = world
        .nri
        .create_container(&Ctx::new(), &dev, &bad)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("MemLimit in container \"in-prod\": deny by rule"),
        "{error}"
    );
    assert_eq!(world.domain.updates.all(), [memory("in-dev", 1)]);
    world.nri.stop().await;
}

#[tokio::test]
async fn on_its_own_account_each_update_and_eviction_of_a_plugin_fails_alone() {
    let world = world().await;
    let (prod, dev) = (
        pod_in(&world, "p", "prod").await,
        pod_in(&world, "q", "dev").await,
    );
    // Known from lists alone, or not even from these.
    world.list(&container(&prod, "listed"));
    let peer = Fake::all_events("10-a").join(&world).await;
    world.list(&container(&dev, "late"));
    let evict = |id: &str| api::ContainerEviction {
        container_id: id.into(),
        reason: "why".into(),
    };
    let updates = vec![memory("listed", 1), memory("late", 2)];
    let evictions = vec![evict("listed"), evict("late")];
    let failed = peer.update(updates, evictions).await.unwrap();
    assert_eq!(failed, [memory("listed", 1)]);
    assert_eq!(world.domain.updates.all(), [memory("late", 2)]);
    let evicted: Vec<_> = world
        .domain
        .evictions
        .all()
        .into_iter()
        .map(|e| e.container_id)
        .collect();
    assert_eq!(evicted, ["late"]);
    let notices = world.observer.notices.all();
    for (what, container) in [("Evictions", "listed"), ("MemLimit", "listed")] {
        let says = format!(
            "plugin \"10-a\" asks for {what} in container {container:?}: deny by rule \"prod\""
        );
        assert!(notices.contains(&says), "{notices:?}");
    }
    world.nri.stop().await;
}

#[tokio::test]
async fn what_a_plugin_asks_for_when_it_is_synchronised_is_judged_too() {
    let world = world().await;
    let (prod, dev) = (
        pod_in(&world, "p", "prod").await,
        pod_in(&world, "q", "dev").await,
    );
    world.list(&container(&prod, "c"));
    world.list(&container(&dev, "d"));
    let fake = Fake::all_events("10-a").on("Synchronize", |_| async {
        let response = api::SynchronizeResponse {
            update: vec![memory("c", 1), memory("d", 1)],
            more: false,
        };
        Some(Ok(response.encode_to_vec()))
    });
    let _peer = fake.join(&world).await;
    world.observer.wait_for("synchronized 10-a").await;
    assert_eq!(world.domain.updates.all(), [memory("d", 1)]);
    world.nri.stop().await;
}

#[tokio::test]
async fn another_policy_holds_from_the_next_request_on_and_drops_nobody() {
    let world = World::started().await;
    let _peer = annotating(&world, "evil.example.com/x").await;
    let prod = pod_in(&world, "p", "prod").await;
    world.container(&prod, "before").await;
    let mut config = Config::clone(&world.nri.config());
    config.policy = policy(PROD);
    let done = world.nri.reconfigure(config).await.unwrap();
    assert_eq!(done, Reconfigured::default());
    let c = container(&prod, "c");
    let denied = world.nri.create_container(&Ctx::new(), &prod, &c).await;
    assert!(matches!(denied, Err(Error::Denied(_))));
    let mut config = Config::clone(&world.nri.config());
    config.policy = Policy::default();
    world.nri.reconfigure(config).await.unwrap();
    world.container(&prod, "after").await;
    assert_eq!(world.nri.plugins().len(), 1);
    let connected = world.observer.notices.all();
    assert_eq!(
        connected
            .iter()
            .filter(|told| told.starts_with("connected"))
            .count(),
        1
    );
    world.nri.stop().await;
}
