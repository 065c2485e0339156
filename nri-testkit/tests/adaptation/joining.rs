//! How plugins become ready: what exists reaches them once, as a part of what they are shown
//! or as an event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nri_adaptation::{Ctx, Event, RuntimeApi as _, api};
use nri_testkit::{Behavior, Describe as _, FakePlugin, Gate, ReceivedCall, When};
use prost::Message as _;

use crate::values::patient;

/// No id at all.
const NONE: [&str; 0] = [];

/// What a plugin was shown, part by part.
fn parts(plugin: &FakePlugin) -> Vec<api::SynchronizeRequest> {
    let seen = plugin.seen();
    seen.iter()
        .filter_map(ReceivedCall::synchronization)
        .collect()
}

#[tokio::test]
async fn many_fat_containers_come_in_parts() {
    let runtime = patient().start().await;
    let pod = runtime.run_pod("p").await;
    for n in 0..300 {
        let mut fat = runtime.container(&pod, &format!("c{n:03}"));
        fat.state = api::ContainerState::ContainerRunning.into();
        let fat = fat.annotated("fat", "x".repeat(100 << 10));
        runtime.domain().put_container(fat);
    }
    let plugin = FakePlugin::new("10-hungry");
    let _connected = runtime.join(&plugin).await;
    let parts = parts(&plugin);
    assert!(parts.len() >= 8, "{}", parts.len());
    for (at, part) in parts.iter().enumerate() {
        assert!(part.encoded_len() <= 4 << 20);
        assert_eq!(part.more, at + 1 < parts.len());
    }
    let (pods, containers) = plugin.shown();
    assert_eq!(pods, ["p"]);
    assert_eq!(containers.len(), 300);
}

#[tokio::test]
async fn plugins_that_cannot_be_synchronised_are_closed_with_the_reason() {
    let runtime = patient().start().await;
    let pod = runtime.run_pod("p").await;
    for n in 0..50 {
        let fat = runtime.container(&pod, &format!("c{n}"));
        let fat = fat.annotated("fat", "x".repeat(100 << 10));
        runtime.domain().put_container(fat);
    }
    // As plugins did before parts were known.
    let one_part = Behavior::answer_bytes(Vec::new());
    let old = FakePlugin::new("10-old").on(When::method("Synchronize"), one_part);
    let refused = async |plugin: FakePlugin, why: &str| {
        let connected = plugin.connect(runtime.socket()).await.unwrap();
        connected.register().await.unwrap();
        connected.closed().await;
        let gone = format!("gone {}", plugin.identity());
        let gone = runtime.watcher().wait_for(&gone).await.to_string();
        assert!(gone.contains(why), "{gone}");
    };
    refused(old, "parts").await;
    // An object that no message can carry is named.
    let huge = runtime
        .container(&pod, "huge")
        .annotated("a", "x".repeat(5 << 20));
    runtime.domain().put_container(huge);
    refused(FakePlugin::new("20-new"), "huge").await;
}

#[tokio::test]
async fn exited_containers_are_not_shown_and_their_removal_is_told() {
    let runtime = patient().build();
    let pod = runtime.pod("old");
    runtime.domain().put_pod(pod.clone());
    let states = [
        ("created", api::ContainerState::ContainerCreated),
        ("running", api::ContainerState::ContainerRunning),
        ("paused", api::ContainerState::ContainerPaused),
        ("stopped", api::ContainerState::ContainerStopped),
        ("unknown", api::ContainerState::ContainerUnknown),
    ];
    for (id, state) in states {
        let mut container = runtime.container(&pod, id);
        container.state = state.into();
        runtime.domain().put_container(container);
    }
    let nri = runtime.nri();
    nri.start().await.unwrap();
    let plugin = FakePlugin::new("10-plugin");
    let _connected = runtime.join(&plugin).await;
    assert_eq!(plugin.shown().1, ["created", "paused", "running"]);
    let cx = Ctx::new();
    for id in ["stopped", "running", "never-heard-of"] {
        let container = runtime.container(&pod, id);
        nri.remove_container(&cx, &pod, &container).await.unwrap();
    }
    nri.remove_pod_sandbox(&cx, &pod).await.unwrap();
    plugin.assert_events(&[
        "RemoveContainer stopped",
        "StopContainer running",
        "RemoveContainer running",
        "StopPodSandbox old",
        "RemovePodSandbox old",
    ]);
    // The runtime has not cleaned up yet; for plugins they are gone.
    let late = FakePlugin::new("20-late");
    let _late = runtime.join(&late).await;
    let (pods, containers) = late.shown();
    assert_eq!(pods, NONE);
    assert_eq!(containers, ["created", "paused"]);
}

#[tokio::test]
async fn a_creation_under_way_reaches_a_joining_plugin_in_what_it_is_shown() {
    let runtime = patient().start().await;
    let pod = runtime.run_pod("p").await;
    let c = runtime.container(&pod, "c");
    let creation = runtime.ask_to_create(&pod, &c).await.unwrap();
    let given_up = runtime.container(&pod, "given-up");
    let given_up = runtime.ask_to_create(&pod, &given_up).await.unwrap();
    let plugin = FakePlugin::new("10-joins");
    let connected = plugin.connect(runtime.socket()).await.unwrap();
    connected.register().await.unwrap();
    runtime.watcher().wait_for("connected 10-joins").await;
    assert!(
        plugin
            .seen()
            .iter()
            .all(|seen| seen.method() == "Configure")
    );
    drop(given_up);
    runtime.domain().put_container(c);
    creation.commit();
    runtime.watcher().wait_for("synchronized 10-joins").await;
    assert_eq!(plugin.shown().1, ["c"]);
    plugin.assert_events(&[]);
}

#[tokio::test]
async fn a_plugin_does_not_wait_for_ever_for_a_creation() {
    let builder = patient().request_timeout(Duration::from_millis(200));
    let runtime = builder.start().await;
    let pod = runtime.run_pod("p").await;
    let c = runtime.container(&pod, "c");
    let creation = runtime.ask_to_create(&pod, &c).await.unwrap();
    let plugin = FakePlugin::new("10-joins");
    let _connected = runtime.join(&plugin).await;
    assert_eq!(plugin.shown().1, NONE);
    creation.commit();
}

#[tokio::test]
async fn requests_wait_for_a_plugin_that_joins() {
    let runtime = patient().start().await;
    let gate = Gate::new();
    let slow = Behavior::usual().behind(&gate);
    let slow = FakePlugin::new("10-slow").on(When::method("Synchronize"), slow);
    let other = FakePlugin::new("20-other");
    let _other = runtime.join(&other).await;
    let connected = slow.connect(runtime.socket()).await.unwrap();
    connected.register().await.unwrap();
    slow.wait_for("Synchronize").await;
    let run = tokio::spawn({
        let (nri, pod) = (runtime.nri().clone(), runtime.pod("p"));
        async move { nri.run_pod_sandbox(&Ctx::new(), &pod).await }
    });
    tokio::task::yield_now().await;
    slow.assert_events(&[]);
    gate.open();
    run.await.unwrap().unwrap();
    slow.assert_events(&["RunPodSandbox p"]);
    other.assert_events(&["RunPodSandbox p"]);
}

#[tokio::test]
async fn no_plugin_joins_while_that_is_blocked() {
    let runtime = patient().start().await;
    let nri = runtime.nri();
    let block = nri.block_plugin_sync().await;
    let nested = nri.block_plugin_sync().await;
    let plugin = FakePlugin::new("10-waits");
    let connected = plugin.connect(runtime.socket()).await.unwrap();
    connected.register().await.unwrap();
    runtime.watcher().wait_for("connected 10-waits").await;
    // Requests go on meanwhile.
    let pod = runtime.pod("p");
    nri.run_pod_sandbox(&Ctx::new(), &pod).await.unwrap();
    runtime.domain().put_pod(pod);
    drop(block);
    tokio::task::yield_now().await;
    assert!(nri.plugins().is_empty());
    drop(nested);
    runtime.watcher().wait_for("synchronized 10-waits").await;
    assert_eq!(plugin.shown().0, ["p"]);
    plugin.assert_events(&[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_creations_each_container_reaches_a_joining_plugin_once() {
    let runtime = Arc::new(patient().start().await);
    let steady = FakePlugin::new("05-steady");
    let _steady = runtime.join(&steady).await;
    let storm: Vec<_> = (0..8)
        .map(|p| {
            let runtime = Arc::clone(&runtime);
            tokio::spawn(async move {
                let (nri, cx) = (runtime.nri(), Ctx::new());
                let pod = runtime.pod(&format!("p{p}"));
                nri.run_pod_sandbox(&cx, &pod).await.unwrap();
                runtime.domain().put_pod(pod.clone());
                for n in 0..40 {
                    let c = runtime.container(&pod, &format!("c{p}-{n}"));
                    let creation = runtime.ask_to_create(&pod, &c).await.unwrap();
                    tokio::task::yield_now().await;
                    if n % 5 == 4 {
                        drop(creation);
                        continue;
                    }
                    runtime.domain().put_container(c.clone());
                    tokio::task::yield_now().await;
                    creation.commit();
                    nri.post_create_container(&cx, &pod, &c).await.unwrap();
                }
            })
        })
        .collect();
    let mut joining = Vec::new();
    for n in 0..6 {
        let plugin = FakePlugin::new(format!("1{n}-joins")).subscribe(Event::CreateContainer);
        // At different points of the storm.
        let enough = 30 * (n + 1);
        let record = steady.record();
        record
            .wait_for("the storm", |seen| seen.len() > enough)
            .await;
        let connected = runtime.join(&plugin).await;
        joining.push((plugin, connected));
    }
    for task in storm {
        task.await.unwrap();
    }
    for (plugin, _connected) in &joining {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        let (_, shown) = plugin.shown();
        assert!(!shown.is_empty());
        let events = plugin.events().into_iter();
        let events = events.map(|event| event.rsplit(' ').next().unwrap().to_owned());
        for id in shown.into_iter().chain(events) {
            *times.entry(id).or_default() += 1;
        }
        for id in runtime.domain().container_ids() {
            assert_eq!(times.get(&id), Some(&1), "{id} for {plugin:?}");
        }
        assert!(times.values().all(|count| *count == 1));
    }
}

/// Between an event and the runtime's own books there is a gap, and a plugin may join in it.
#[tokio::test]
async fn what_the_runtime_does_not_list_yet_is_shown_all_the_same() {
    let runtime = patient().start().await;
    let (nri, cx) = (runtime.nri(), Ctx::new());
    let (p, gone) = (runtime.pod("p"), runtime.pod("gone"));
    for pod in [&p, &gone] {
        nri.run_pod_sandbox(&cx, pod).await.unwrap();
    }
    for id in ["created", "started", "stopped", "removed", "undone"] {
        let c = runtime.container(&p, id);
        let creation = runtime.ask_to_create(&p, &c).await.unwrap();
        match id {
            "undone" => drop(creation),
            _ => creation.commit(),
        }
        if id == "started" {
            let mut adjusted = c.clone();
            adjusted.env = vec!["ADJUSTED=1".into()];
            nri.post_create_container(&cx, &p, &adjusted).await.unwrap();
            nri.start_container(&cx, &p, &adjusted).await.unwrap();
        }
        if id == "stopped" {
            nri.stop_container(&cx, &p, &c).await.unwrap();
        }
        if id == "removed" {
            nri.remove_container(&cx, &p, &c).await.unwrap();
        }
    }
    nri.remove_pod_sandbox(&cx, &gone).await.unwrap();
    let plugin = FakePlugin::new("10-joins");
    let _connected = runtime.join(&plugin).await;
    let (pods, containers) = plugin.shown();
    assert_eq!(pods, ["p"]);
    assert_eq!(containers, ["created", "started"]);
    let shown = parts(&plugin).remove(0);
    assert_eq!(shown.containers[1].env, ["ADJUSTED=1"]);
    let state = shown.containers[1].state();
    assert_eq!(state, api::ContainerState::ContainerRunning);

    // Once a list had it, the list counts.
    runtime.domain().put_pod(p);
    let lists = FakePlugin::new("20-lists");
    let _lists = runtime.join(&lists).await;
    assert_eq!(lists.shown().0, ["p"]);
    runtime.domain().remove_pod("p");
    let lost = FakePlugin::new("30-lost");
    let _lost = runtime.join(&lost).await;
    assert_eq!(lost.shown().0, NONE);
}

/// A runtime may start a container and settle its creation later: what is told of it shows that it
/// exists.
#[tokio::test]
async fn a_container_that_was_started_exists_though_its_creation_is_not_settled() {
    let runtime = patient().start().await;
    let p = runtime.run_pod("p").await;
    let c = runtime.container(&p, "c");
    let creation = runtime.ask_to_create(&p, &c).await.unwrap();
    runtime.domain().put_container(c.clone());
    let started = runtime.nri().start_container(&Ctx::new(), &p, &c).await;
    started.unwrap();
    let plugin = FakePlugin::new("10-joins");
    let _connected = runtime.join(&plugin).await;
    assert_eq!(plugin.shown().1, ["c"]);
    // It comes to nothing after all: whoever was shown it hears of that.
    drop(creation);
    plugin.wait_for("RemoveContainer c").await;
    plugin.assert_events(&["StopContainer c", "RemoveContainer c"]);
}

/// Pods and containers come and go while plugins join. Each reaches a plugin once, as an event or
/// in what it is shown; and nothing is told of what is gone before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_creations_and_removals_each_object_reaches_a_joining_plugin_once() {
    let runtime = Arc::new(patient().start().await);
    let steady = FakePlugin::new("05-steady");
    let _steady = runtime.join(&steady).await;
    let storm: Vec<_> = (0..8)
        .map(|lane| {
            let runtime = Arc::clone(&runtime);
            tokio::spawn(async move {
                let (nri, domain, cx) = (runtime.nri(), runtime.domain(), Ctx::new());
                for n in 0..25 {
                    let pod = runtime.pod(&format!("p{lane}-{n}"));
                    nri.run_pod_sandbox(&cx, &pod).await.unwrap();
                    // The runtime's books lag behind.
                    tokio::task::yield_now().await;
                    domain.put_pod(pod.clone());
                    let c = runtime.container(&pod, &format!("c{lane}-{n}"));
                    runtime.ask_to_create(&pod, &c).await.unwrap().commit();
                    tokio::task::yield_now().await;
                    domain.put_container(c.clone());
                    nri.start_container(&cx, &pod, &c).await.unwrap();
                    if n % 2 == 0 {
                        nri.notify_container_exit(&pod, &c);
                        nri.remove_container(&cx, &pod, &c).await.unwrap();
                        domain.remove_container(&c.id);
                        nri.remove_pod_sandbox(&cx, &pod).await.unwrap();
                        domain.remove_pod(&pod.id);
                    }
                }
            })
        })
        .collect();
    let mut joining = Vec::new();
    for n in 0..8 {
        let plugin = FakePlugin::new(format!("1{n}-joins"));
        let enough = 80 * (n + 1);
        let record = steady.record();
        record
            .wait_for("the storm", |seen| seen.len() > enough)
            .await;
        let connected = runtime.join(&plugin).await;
        joining.push((plugin, connected));
    }
    for task in storm {
        task.await.unwrap();
    }
    let containers = runtime.domain().container_ids();
    assert_eq!(containers.len(), 8 * 12);
    let left: Vec<_> = (0..8)
        .flat_map(|lane| (0..25).map(move |n| format!("p{lane}-{n}")))
        .filter(|id| runtime.domain().pod(id).is_some())
        .chain(containers)
        .collect();
    assert_eq!(left.len(), 8 * 24);
    for (plugin, _connected) in &joining {
        let (shown_pods, shown_containers) = plugin.shown();
        assert!(!shown_pods.is_empty());
        let mut met: BTreeMap<String, usize> = BTreeMap::new();
        for id in shown_pods.into_iter().chain(shown_containers) {
            *met.entry(id).or_default() += 1;
        }
        for told in plugin.events() {
            let (event, id) = told.split_once(' ').unwrap();
            match event {
                "RunPodSandbox" | "CreateContainer" => *met.entry(id.to_owned()).or_default() += 1,
                // The stop and the removal of what was there when the plugin came are told as well;
                // nothing else is told of what it does not know.
                "StopPodSandbox" | "StopContainer" | "RemovePodSandbox" | "RemoveContainer" => {}
                _ => assert!(met.contains_key(id), "{told} for {}", plugin.identity()),
            }
        }
        for (id, times) in &met {
            assert_eq!(*times, 1, "{id} for {}", plugin.identity());
        }
        for id in &left {
            let name = plugin.identity();
            assert!(met.contains_key(id), "{id} never reaches {name}");
        }
    }
}
