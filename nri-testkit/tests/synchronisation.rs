//! What plugins are shown when they join: however much it is, and however much happens meanwhile.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use nri_core::api::{Container, ContainerState, PodSandbox};
use nri_testkit::{
    FakePlugin, MemoryDomain, ReceivedCall, TEST_TIMEOUT, TestRuntime, TestRuntimeBuilder,
};
use prost::Message as _;
use tokio::task::JoinSet;

/// The longest message.
const MESSAGE: usize = 4 << 20;
/// How large a message is to a plugin that says which version it is, unless one object is larger.
const PART: usize = 256 << 10;

fn runtime() -> TestRuntimeBuilder {
    TestRuntime::builder().request_timeout(TEST_TIMEOUT)
}

/// A domain with pods of some containers each, every container of some bytes.
fn fill(domain: &MemoryDomain, pods: usize, containers: usize, bytes: usize) {
    for p in 0..pods {
        let pod = PodSandbox {
            id: format!("p{p}"),
            ..Default::default()
        };
        for c in 0..containers {
            domain.put_container(Container {
                id: format!("p{p}-c{c}"),
                pod_sandbox_id: pod.id.clone(),
                state: ContainerState::ContainerRunning.into(),
                env: vec!["x".repeat(bytes)],
                ..Default::default()
            });
        }
        domain.put_pod(pod);
    }
}

#[tokio::test]
async fn ten_thousand_containers_come_once_each_in_parts_of_one_size() {
    let builder = runtime();
    fill(builder.domain(), 100, 100, 1 << 10);
    let runtime = builder.start().await;
    let plugin = FakePlugin::new("10-hungry");
    let _connected = runtime.join(&plugin).await;
    let (pods, containers) = plugin.shown();
    let counted = count(&containers);
    assert_eq!((pods.len(), counted.len()), (100, 10_000));
    assert!(counted.values().all(|times| *times == 1));

    let seen = plugin.seen();
    let parts: Vec<&ReceivedCall> = seen
        .iter()
        .filter(|s| s.method() == "Synchronize")
        .collect();
    let bytes: usize = parts.iter().map(|part| part.payload().len()).sum();
    assert!(parts.iter().all(|part| part.payload().len() <= PART));
    assert!(parts.len() <= bytes / PART * 2 + 2, "{} parts", parts.len());
    let more: Vec<bool> = parts
        .iter()
        .map(|part| part.synchronization().unwrap().more)
        .collect();
    let (last, others) = more.split_last().unwrap();
    assert!(!last && others.iter().all(|more| *more), "{more:?}");
}

/// No shape of what there is can keep a plugin from joining, as long as every object fits into a
/// message.
#[tokio::test]
async fn any_shape_fits() {
    for (pods, containers, bytes) in [
        (1, 40, 200 << 10),
        (1, 9, 1 << 20),
        (40, 1, 200 << 10),
        (1, 2, 4_000_000),
        (3, 0, 0),
        (0, 0, 0),
    ] {
        let builder = runtime();
        fill(builder.domain(), pods, containers, bytes);
        let runtime = builder.start().await;
        let plugin = FakePlugin::new("10-hungry");
        let _connected = runtime.join(&plugin).await;
        let (shown_pods, shown) = plugin.shown();
        let all = count(&shown);
        assert_eq!((shown_pods.len(), all.len()), (pods, pods * containers));
        assert_eq!(shown.len(), all.len(), "each once");
    }
}

#[tokio::test]
async fn an_object_that_no_message_can_carry_is_named() {
    let builder = runtime();
    fill(builder.domain(), 1, 3, 100);
    let mut huge = builder.domain().container("p0-c1").unwrap();
    huge.env = vec!["x".repeat(MESSAGE)];
    assert!(huge.encoded_len() > MESSAGE);
    builder.domain().put_container(huge);
    let runtime = builder.start().await;
    let plugin = FakePlugin::new("10-hungry");
    let connected = plugin.connect(runtime.socket()).await.unwrap();
    connected.register().await.unwrap();
    let gone = runtime
        .watcher()
        .wait_for("gone 10-hungry")
        .await
        .to_string();
    assert!(gone.contains("p0-c1"), "{gone}");
    connected.closed().await;
    // Once it is gone, nothing is in the way.
    runtime.domain().remove_container("p0-c1");
    let again = FakePlugin::new("10-hungry");
    let _connected = runtime.join(&again).await;
    assert_eq!(again.shown().1, ["p0-c0", "p0-c2"]);
}

/// However it falls, a plugin that comes while pods and containers are created hears of each
/// exactly once: in what it is shown, or as an event (containerd/containerd#13698,
/// cri-o/cri-o#10090). That is so where they are listed, and where they are looked up when it is
/// their turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_created_while_a_plugin_joins_reaches_it_exactly_once() {
    for outline in [true, false] {
        a_storm_of_creations(outline).await;
    }
}

async fn a_storm_of_creations(outline: bool) {
    const MAKERS: usize = 6;
    const PODS: usize = 8;
    const CONTAINERS: usize = 6;
    const JOINING: usize = 12;
    let runtime = Arc::new(runtime().start().await);
    runtime.domain().set_outline(outline);
    let early = FakePlugin::new("00-early");
    let _early = runtime.join(&early).await;

    let mut makers = JoinSet::new();
    for maker in 0..MAKERS {
        let runtime = Arc::clone(&runtime);
        makers.spawn(async move {
            for p in 0..PODS {
                let pod = runtime.run_pod(&format!("m{maker}-p{p}")).await;
                for c in 0..CONTAINERS {
                    runtime.create(&pod, &format!("m{maker}-p{p}-c{c}")).await;
                }
            }
        });
    }
    let mut joining = JoinSet::new();
    for n in 0..JOINING {
        let (runtime, early) = (Arc::clone(&runtime), early.clone());
        joining.spawn(async move {
            // Spread over the storm by what happens in it, not by time.
            let total = MAKERS * PODS * CONTAINERS;
            let at = total * n / JOINING;
            early
                .record()
                .wait_for("the storm", |seen| seen.len() > at)
                .await;
            let plugin = FakePlugin::new(format!("{:02}-joins", n + 10));
            (runtime.join(&plugin).await, plugin)
        });
    }
    while let Some(maker) = makers.join_next().await {
        maker.unwrap();
    }
    let mut midway = 0;
    while let Some(joined) = joining.join_next().await {
        let (_connected, plugin) = joined.unwrap();
        let (pods, containers) = plugin.shown();
        let events = plugin.events();
        let about = |event: &str| -> Vec<String> {
            let ids = events.iter().filter_map(|seen| seen.strip_prefix(event));
            ids.map(str::to_owned).collect()
        };
        let heard = (about("RunPodSandbox "), about("CreateContainer "));
        midway += usize::from(!containers.is_empty() && !heard.1.is_empty());
        for (shown, heard, expected) in [
            (pods, heard.0, MAKERS * PODS),
            (containers, heard.1, MAKERS * PODS * CONTAINERS),
        ] {
            let all: Vec<String> = shown.into_iter().chain(heard).collect();
            let counted = count(&all);
            let odd: Vec<_> = counted.iter().filter(|(_, times)| **times != 1).collect();
            assert!(odd.is_empty(), "{} heard of {odd:?}", plugin.identity());
            assert_eq!(counted.len(), expected, "{}", plugin.identity());
        }
    }
    assert!(midway > 0, "none joined in the middle");
}

fn count(ids: &[String]) -> BTreeMap<&str, usize> {
    let mut counted = BTreeMap::new();
    for id in ids {
        *counted.entry(&**id).or_default() += 1;
    }
    counted
}
