//! How plugins become ready: what exists reaches them once, as a part of what they are shown
//! or as an event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nri_adaptation::{Ctx, RuntimeApi};
use nri_core::{Event, api};
use prost::Message as _;
use tokio::sync::Notify;

use crate::support::*;

#[tokio::test]
async fn many_fat_containers_come_in_parts() {
    let world = World::started().await;
    let pod = world.pod("p").await;
    for n in 0..300 {
        let mut fat = container(&pod, &format!("c{n:03}"));
        fat.state = api::ContainerState::ContainerRunning.into();
        fat.annotations.insert("fat".into(), "x".repeat(100 << 10));
        world.list(&fat);
    }
    let fake = Fake::all_events("10-hungry");
    let _peer = fake.join(&world).await;
    let parts: Vec<api::SynchronizeRequest> = fake
        .got
        .all()
        .into_iter()
        .filter(|got| got.method == "Synchronize")
        .map(|got| api::SynchronizeRequest::decode(&*got.payload).unwrap())
        .collect();
    assert!(parts.len() >= 8, "{}", parts.len());
    for (at, part) in parts.iter().enumerate() {
        assert!(part.encoded_len() <= 4 << 20);
        assert_eq!(part.more, at + 1 < parts.len());
    }
    let (pods, containers) = fake.shown();
    assert_eq!(pods, ["p"]);
    assert_eq!(containers.len(), 300);
}

#[tokio::test]
async fn plugins_that_cannot_be_synchronised_are_closed_with_the_reason() {
    let world = World::started().await;
    let pod = world.pod("p").await;
    for n in 0..50 {
        let mut fat = container(&pod, &format!("c{n}"));
        fat.annotations.insert("fat".into(), "x".repeat(100 << 10));
        world.list(&fat);
    }
    // As plugins did before parts were known.
    let old = Fake::all_events("10-old").on("Synchronize", |_| async { Some(Ok(Vec::new())) });
    let peer = old.connect(&world).await;
    peer.register().await.unwrap();
    peer.closed().await;
    let notices = world.observer.wait_for("gone 10-old").await;
    assert!(notices.last().unwrap().contains("parts"), "{notices:?}");
    // An object that no message can carry is named.
    let mut huge = container(&pod, "huge");
    huge.annotations.insert("a".into(), "x".repeat(5 << 20));
    world.list(&huge);
    let peer = Fake::all_events("20-new").connect(&world).await;
    peer.register().await.unwrap();
    peer.closed().await;
    let notices = world.observer.wait_for("gone 20-new").await;
    assert!(notices.iter().any(|n| n.contains("huge")), "{notices:?}");
}

#[tokio::test]
async fn exited_containers_are_not_shown_and_their_removal_is_told() {
    let world = World::built(|_| {});
    let pod = pod("old");
    world
        .domain
        .pods
        .lock()
        .unwrap()
        .insert("old".into(), pod.clone());
    let states = [
        ("created", api::ContainerState::ContainerCreated),
        ("running", api::ContainerState::ContainerRunning),
        ("paused", api::ContainerState::ContainerPaused),
        ("stopped", api::ContainerState::ContainerStopped),
        ("unknown", api::ContainerState::ContainerUnknown),
    ];
    for (id, state) in states {
        let mut c = container(&pod, id);
        c.state = state.into();
        world.list(&c);
    }
    world.nri.start().await.unwrap();
    let fake = Fake::all_events("10-plugin");
    let _peer = fake.join(&world).await;
    assert_eq!(fake.shown().1, ["created", "paused", "running"]);
    let cx = Ctx::new();
    world
        .nri
        .remove_container(&cx, &pod, &container(&pod, "stopped"))
        .await
        .unwrap();
    world
        .nri
        .remove_container(&cx, &pod, &container(&pod, "running"))
        .await
        .unwrap();
    world
        .nri
        .remove_container(&cx, &pod, &container(&pod, "never-heard-of"))
        .await
        .unwrap();
    world.nri.remove_pod_sandbox(&cx, &pod).await.unwrap();
    assert_eq!(
        fake.events_seen(),
        [
            "RemoveContainer stopped",
            "StopContainer running",
            "RemoveContainer running",
            "StopPodSandbox old",
            "RemovePodSandbox old"
        ]
    );
    // The runtime has not cleaned up yet; for plugins they are gone.
    let late = Fake::all_events("20-late");
    let _late = late.join(&world).await;
    assert_eq!(
        late.shown(),
        (vec![], vec!["created".to_owned(), "paused".to_owned()])
    );
}

#[tokio::test]
async fn a_creation_under_way_reaches_a_joining_plugin_in_what_it_is_shown() {
    let world = World::started().await;
    let pod = world.pod("p").await;
    let c = container(&pod, "c");
    let creation = world
        .nri
        .create_container(&Ctx::new(), &pod, &c)
        .await
        .unwrap();
    let given_up = world
        .nri
        .create_container(&Ctx::new(), &pod, &container(&pod, "given-up"))
        .await
        .unwrap();
    let fake = Fake::all_events("10-joins");
    let peer = fake.connect(&world).await;
    peer.register().await.unwrap();
    world.observer.wait_for("connected 10-joins").await;
    assert!(fake.got.all().iter().all(|got| got.method == "Configure"));
    drop(given_up);
    world.list(&c);
    creation.commit();
    world.observer.wait_for("synchronized 10-joins").await;
    assert_eq!(fake.shown().1, ["c"]);
    assert_eq!(fake.events_seen(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_plugin_does_not_wait_for_ever_for_a_creation() {
    let world = World::started_with(|config| {
        config.plugin_request_timeout = Duration::from_millis(200);
    })
    .await;
    let pod = world.pod("p").await;
    let creation = world
        .nri
        .create_container(&Ctx::new(), &pod, &container(&pod, "c"))
        .await
        .unwrap();
    let fake = Fake::all_events("10-joins");
    let _peer = fake.join(&world).await;
    assert_eq!(fake.shown().1, [] as [&str; 0]);
    creation.commit();
}

#[tokio::test]
async fn requests_wait_for_a_plugin_that_joins() {
    let world = World::started().await;
    let go = Arc::new(Notify::new());
    let hold = Arc::clone(&go);
    let fake = Fake::all_events("10-slow").on("Synchronize", move |_| {
        let hold = Arc::clone(&hold);
        async move {
            hold.notified().await;
            None
        }
    });
    let other = Fake::all_events("20-other");
    let _other = other.join(&world).await;
    let peer = fake.connect(&world).await;
    peer.register().await.unwrap();
    world.observer.wait_for("connected 10-slow").await;
    fake.got
        .wait("synchronize", |got| {
            got.iter().any(|got| got.method == "Synchronize")
        })
        .await;
    let run = tokio::spawn({
        let nri = world.nri.clone();
        async move { nri.run_pod_sandbox(&Ctx::new(), &pod("p")).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(fake.events_seen(), [] as [&str; 0]);
    go.notify_one();
    run.await.unwrap().unwrap();
    assert_eq!(fake.events_seen(), ["RunPodSandbox p"]);
    assert_eq!(other.events_seen(), ["RunPodSandbox p"]);
}

#[tokio::test]
async fn no_plugin_joins_while_that_is_blocked() {
    let world = World::started().await;
    let block = world.nri.block_plugin_sync().await;
    let nested = world.nri.block_plugin_sync().await;
    let fake = Fake::all_events("10-waits");
    let peer = fake.connect(&world).await;
    peer.register().await.unwrap();
    world.observer.wait_for("connected 10-waits").await;
    // Requests go on meanwhile.
    world.pod("p").await;
    drop(block);
    tokio::task::yield_now().await;
    assert!(world.nri.plugins().is_empty());
    drop(nested);
    world.observer.wait_for("synchronized 10-waits").await;
    assert_eq!(fake.shown().0, ["p"]);
    assert_eq!(fake.events_seen(), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_creations_each_container_reaches_a_joining_plugin_once() {
    let world = Arc::new(World::started().await);
    let steady = Fake::all_events("05-steady");
    let _steady = steady.join(&world).await;
    let storm: Vec<_> = (0..8)
        .map(|p| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let pod = world.pod(&format!("p{p}")).await;
                for n in 0..40 {
                    let c = container(&pod, &format!("c{p}-{n}"));
                    let creation = world
                        .nri
                        .create_container(&Ctx::new(), &pod, &c)
                        .await
                        .unwrap();
                    tokio::task::yield_now().await;
                    if n % 5 == 4 {
                        drop(creation);
                        continue;
                    }
                    world.list(&c);
                    tokio::task::yield_now().await;
                    creation.commit();
                    world
                        .nri
                        .post_create_container(&Ctx::new(), &pod, &c)
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    let mut joining = Vec::new();
    for n in 0..6 {
        let fake = Fake::new(&format!("1{n}-joins"), &[Event::CreateContainer]);
        // At different points of the storm.
        let enough = 30 * (n + 1);
        steady.got.wait("the storm", |got| got.len() > enough).await;
        let peer = fake.join(&world).await;
        joining.push((fake, peer));
    }
    for task in storm {
        task.await.unwrap();
    }
    for (fake, _peer) in &joining {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        let (_, shown) = fake.shown();
        assert!(!shown.is_empty());
        let events = fake
            .events_seen()
            .into_iter()
            .map(|b| b.rsplit(' ').next().unwrap().to_owned());
        for id in shown.into_iter().chain(events) {
            *times.entry(id).or_default() += 1;
        }
        for id in world.domain.containers.lock().unwrap().keys() {
            assert_eq!(times.get(id), Some(&1), "{id} for {}", fake.index);
        }
        assert!(times.values().all(|count| *count == 1));
    }
}

/// Between an event and the runtime's own books there is a gap, and a plugin may join in it.
#[tokio::test]
async fn what_the_runtime_does_not_list_yet_is_shown_all_the_same() {
    let world = World::started().await;
    let cx = Ctx::new();
    let (p, gone) = (pod("p"), pod("gone"));
    for pod in [&p, &gone] {
        world.nri.run_pod_sandbox(&cx, pod).await.unwrap();
    }
    for id in ["created", "started", "stopped", "removed", "undone"] {
        let c = container(&p, id);
        let creation = world.nri.create_container(&cx, &p, &c).await.unwrap();
        match id {
            "undone" => drop(creation),
            _ => creation.commit(),
        }
        if id == "started" {
            let mut adjusted = c.clone();
            adjusted.env = vec!["ADJUSTED=1".into()];
            world
                .nri
                .post_create_container(&cx, &p, &adjusted)
                .await
                .unwrap();
            world.nri.start_container(&cx, &p, &adjusted).await.unwrap();
        }
        if id == "stopped" {
            world.nri.stop_container(&cx, &p, &c).await.unwrap();
        }
        if id == "removed" {
            world.nri.remove_container(&cx, &p, &c).await.unwrap();
        }
    }
    world.nri.remove_pod_sandbox(&cx, &gone).await.unwrap();
    let fake = Fake::all_events("10-joins");
    let _peer = fake.join(&world).await;
    assert_eq!(
        fake.shown(),
        (
            vec!["p".to_owned()],
            vec!["created".to_owned(), "started".to_owned()]
        )
    );
    let shown = fake.got.all();
    let shown = shown
        .iter()
        .find(|got| got.method == "Synchronize")
        .unwrap();
    let shown = api::SynchronizeRequest::decode(&*shown.payload).unwrap();
    assert_eq!(shown.containers[1].env, ["ADJUSTED=1"]);
    assert_eq!(
        shown.containers[1].state(),
        api::ContainerState::ContainerRunning
    );

    // Once a list had it, the list counts.
    world
        .domain
        .pods
        .lock()
        .unwrap()
        .insert("p".into(), p.clone());
    let lists = Fake::all_events("20-lists");
    let _lists = lists.join(&world).await;
    assert_eq!(lists.shown().0, ["p"]);
    world.domain.pods.lock().unwrap().clear();
    let lost = Fake::all_events("30-lost");
    let _lost = lost.join(&world).await;
    assert_eq!(lost.shown().0, [] as [&str; 0]);
}

/// A runtime may start a container and settle its creation later: what is told of it shows that it
/// exists.
#[tokio::test]
async fn a_container_that_was_started_exists_though_its_creation_is_not_settled() {
    let world = World::started().await;
    let p = world.pod("p").await;
    let c = container(&p, "c");
    let cx = Ctx::new();
    let creation = world.nri.create_container(&cx, &p, &c).await.unwrap();
    world.list(&c);
    world.nri.start_container(&cx, &p, &c).await.unwrap();
    let fake = Fake::all_events("10-joins");
    let _peer = fake.join(&world).await;
    assert_eq!(fake.shown().1, ["c"]);
    // It comes to nothing after all: whoever was shown it hears of that.
    drop(creation);
    world.seen(&fake, "RemoveContainer c").await;
    assert_eq!(fake.events_seen(), ["StopContainer c", "RemoveContainer c"]);
}

/// Pods and containers come and go while plugins join. Each reaches a plugin once, as an event or
/// in what it is shown; and nothing is told of what is gone before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_creations_and_removals_each_object_reaches_a_joining_plugin_once() {
    let world = Arc::new(World::started().await);
    let steady = Fake::all_events("05-steady");
    let _steady = steady.join(&world).await;
    let storm: Vec<_> = (0..8)
        .map(|lane| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let cx = Ctx::new();
                for n in 0..25 {
                    let pod = pod(&format!("p{lane}-{n}"));
                    world.nri.run_pod_sandbox(&cx, &pod).await.unwrap();
                    // The runtime's books lag behind.
                    tokio::task::yield_now().await;
                    let lock = &world.domain.pods;
                    lock.lock().unwrap().insert(pod.id.clone(), pod.clone());
                    let c = container(&pod, &format!("c{lane}-{n}"));
                    let creation = world.nri.create_container(&cx, &pod, &c).await.unwrap();
                    creation.commit();
                    tokio::task::yield_now().await;
                    world.list(&c);
                    world.nri.start_container(&cx, &pod, &c).await.unwrap();
                    if n % 2 == 0 {
                        world.nri.notify_container_exit(&pod, &c);
                        world.nri.remove_container(&cx, &pod, &c).await.unwrap();
                        world.domain.containers.lock().unwrap().remove(&c.id);
                        world.nri.remove_pod_sandbox(&cx, &pod).await.unwrap();
                        world.domain.pods.lock().unwrap().remove(&pod.id);
                    }
                }
            })
        })
        .collect();
    let mut joining = Vec::new();
    for n in 0..8 {
        let fake = Fake::all_events(&format!("1{n}-joins"));
        let enough = 80 * (n + 1);
        steady.got.wait("the storm", |got| got.len() > enough).await;
        let peer = fake.join(&world).await;
        joining.push((fake, peer));
    }
    for task in storm {
        task.await.unwrap();
    }
    let (pods, containers) = {
        let pods = world.domain.pods.lock().unwrap();
        let containers = world.domain.containers.lock().unwrap();
        let left = pods.keys().chain(containers.keys());
        (left.cloned().collect::<Vec<_>>(), containers.len())
    };
    assert_eq!((pods.len(), containers), (8 * 24, 8 * 12));
    for (fake, _peer) in &joining {
        let (shown_pods, shown_containers) = fake.shown();
        assert!(!shown_pods.is_empty());
        let mut met: BTreeMap<String, usize> = BTreeMap::new();
        for id in shown_pods.into_iter().chain(shown_containers) {
            *met.entry(id).or_default() += 1;
        }
        for brief in fake.events_seen() {
            let (event, id) = brief.split_once(' ').unwrap();
            match event {
                "RunPodSandbox" | "CreateContainer" => *met.entry(id.to_owned()).or_default() += 1,
                // The stop and the removal of what was there when the plugin came are told as well;
                // nothing else is told of what it does not know.
                "StopPodSandbox" | "StopContainer" | "RemovePodSandbox" | "RemoveContainer" => {}
                _ => assert!(met.contains_key(id), "{brief} for {}", fake.index),
            }
        }
        for (id, times) in &met {
            assert_eq!(*times, 1, "{id} for {}", fake.index);
        }
        for id in &pods {
            assert!(met.contains_key(id), "{id} never reaches {}", fake.index);
        }
    }
}
