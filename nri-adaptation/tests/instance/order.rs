//! Which requests are in order, and which overlap.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nri_adaptation::{CallOutcome, Ctx, RuntimeApi};
use nri_core::api;
use tokio::sync::oneshot;

use crate::support::*;

#[tokio::test]
async fn events_of_a_pod_are_in_order_and_pods_overlap() {
    let world = World::started().await;
    let (release, released) = oneshot::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(Some(released)));
    let slow = Fake::all_events("10-slow").on("StartContainer", move |_| {
        let released = released.lock().unwrap().take();
        async move {
            if let Some(released) = released {
                released.await.unwrap();
            }
            None
        }
    });
    let other = Fake::all_events("20-other");
    let (_slow, _other) = (slow.join(&world).await, other.join(&world).await);
    let (pod_a, pod_b) = (world.pod("a").await, world.pod("b").await);
    let c = world.container(&pod_a, "c").await;
    let start = tokio::spawn({
        let (nri, pod, c) = (world.nri.clone(), pod_a.clone(), c.clone());
        async move { nri.start_container(&Ctx::new(), &pod, &c).await }
    });
    world.seen(&slow, "StartContainer c").await;
    // It ends while its start is being told: the exit comes after it, the removal after the exit.
    world.nri.notify_container_exit(&pod_a, &c);
    let remove = tokio::spawn({
        let (nri, pod, c) = (world.nri.clone(), pod_a.clone(), c.clone());
        async move { nri.remove_container(&Ctx::new(), &pod, &c).await }
    });
    // Meanwhile the other pod gets as far as the plugin that is busy.
    let d = container(&pod_b, "d");
    let create = tokio::spawn({
        let (nri, pod) = (world.nri.clone(), pod_b.clone());
        async move {
            nri.create_container(&Ctx::new(), &pod, &d)
                .await
                .map(|c| c.commit())
        }
    });
    tokio::task::yield_now().await;
    release.send(()).unwrap();
    start.await.unwrap().unwrap();
    remove.await.unwrap().unwrap();
    create.await.unwrap().unwrap();
    let of_a: Vec<String> = other
        .events_seen()
        .into_iter()
        .filter(|b| b.ends_with(" c"))
        .collect();
    assert_eq!(
        of_a,
        [
            "CreateContainer c",
            "StartContainer c",
            "StopContainer c",
            "RemoveContainer c"
        ]
    );
    let stop = other
        .got
        .all()
        .into_iter()
        .find(|got| got.method == "StopContainer")
        .unwrap();
    assert_eq!(
        stop.request().container().unwrap().state(),
        api::ContainerState::ContainerStopped
    );
}

#[tokio::test]
async fn many_pods_overlap_a_slow_plugin_with_room() {
    const PLACES: usize = 16;
    let world = World::started_with(|config| {
        let mut roomy = nri_adaptation::config::PluginConfig::default();
        roomy.max_in_flight = Some(PLACES);
        config.plugins.insert("slow".into(), roomy);
    })
    .await;
    // It answers none before as many as it has places for are there, so fewer at a time would all
    // be late.
    let all_there = Arc::new(tokio::sync::Barrier::new(PLACES));
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, highest) = (Arc::clone(&inside), Arc::clone(&most));
    let slow = Fake::all_events("10-slow").on("RunPodSandbox", move |_| {
        let (all_there, count) = (Arc::clone(&all_there), Arc::clone(&count));
        highest.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        async move {
            all_there.wait().await;
            count.fetch_sub(1, Ordering::SeqCst);
            None
        }
    });
    let _slow = slow.join(&world).await;
    let runs: Vec<_> = (0..3 * PLACES)
        .map(|n| {
            let nri = world.nri.clone();
            tokio::spawn(
                async move { nri.run_pod_sandbox(&Ctx::new(), &pod(&n.to_string())).await },
            )
        })
        .collect();
    for run in runs {
        run.await.unwrap().unwrap();
    }
    let calls = world.observer.calls.all();
    assert_eq!(calls.len(), 3 * PLACES);
    assert!(
        calls
            .iter()
            .all(|(.., outcome)| *outcome == CallOutcome::Answered),
        "{calls:?}"
    );
    assert_eq!(most.load(Ordering::SeqCst), PLACES);
}

#[tokio::test]
async fn serial_instances_handle_one_request_at_a_time() {
    let world = World::started_with(|config| {
        config.serial = true;
        let mut roomy = nri_adaptation::config::PluginConfig::default();
        roomy.max_in_flight = Some(16);
        config.plugins.insert("10-one".into(), roomy);
    })
    .await;
    let under_way = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let fake = Fake::all_events("10-one").on("RunPodSandbox", move |_| {
        let under_way = Arc::clone(&under_way);
        async move {
            use std::sync::atomic::Ordering::SeqCst;
            assert_eq!(under_way.fetch_add(1, SeqCst), 0);
            tokio::task::yield_now().await;
            under_way.fetch_sub(1, SeqCst);
            None
        }
    });
    let _peer = fake.join(&world).await;
    let runs: Vec<_> = (0..20)
        .map(|n| {
            let nri = world.nri.clone();
            tokio::spawn(
                async move { nri.run_pod_sandbox(&Ctx::new(), &pod(&n.to_string())).await },
            )
        })
        .collect();
    for run in runs {
        run.await.unwrap().unwrap();
    }
}

/// Creates 50 pods at once with a plugin that lets each of its answers wait for its turn in `gate`,
/// and two fast ones.
async fn fifty_pods(world: &World, slow: Fake, fast: [Fake; 2]) -> Vec<Peer> {
    let mut peers = vec![slow.join(world).await];
    for fake in &fast {
        peers.push(fake.join(world).await);
    }
    let runs: Vec<_> = (0..50)
        .map(|n| {
            let nri = world.nri.clone();
            tokio::spawn(async move {
                let pod = pod(&format!("p{n}"));
                nri.run_pod_sandbox(&Ctx::new(), &pod).await
            })
        })
        .collect();
    for run in runs {
        run.await.unwrap().unwrap();
    }
    peers
}

#[tokio::test]
async fn the_work_of_other_plugins_overlaps_that_of_a_slow_one() {
    let world = World::started().await;
    // The first plugin, and one after the slow one. What matters is who was where when.
    let first = Fake::all_events("05-first");
    let last = Fake::all_events("90-last");
    let (got_by_first, got_by_last) = (Arc::clone(&first.got), Arc::clone(&last.got));
    let handshake = 2;
    let overlaps = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&overlaps);
    let slow = Fake::all_events("50-slow").on("RunPodSandbox", move |_| {
        let (first, last) = (Arc::clone(&got_by_first), Arc::clone(&got_by_last));
        let count = Arc::clone(&count);
        async move {
            // It answers its n-th request when the first plugin has got far ahead of it, or is
            // through, and the last one has all that went before. With one request at a
            // time in all, neither would ever happen.
            let mine = count.fetch_add(1, Ordering::SeqCst);
            let ahead = (mine + 10).min(50) + handshake;
            first.wait("the first one", |got| got.len() >= ahead).await;
            last.wait("the last one", |got| got.len() >= mine + handshake)
                .await;
            None
        }
    });
    let _peers = fifty_pods(&world, slow.clone(), [first.clone(), last.clone()]).await;
    assert_eq!(overlaps.load(Ordering::SeqCst), 50);
    for fake in [&first, &slow, &last] {
        assert_eq!(fake.events_seen().len(), 50);
    }
    // Each plugin got one at a time, in the order in which the one before had answered.
    assert_eq!(slow.events_seen(), last.events_seen());
}

#[tokio::test]
async fn one_request_in_the_whole_instance_when_serial() {
    let world = World::started_with(|config| {
        config.serial = true;
        for name in ["first", "slow", "last"] {
            let mut roomy = nri_adaptation::config::PluginConfig::default();
            roomy.max_in_flight = Some(16);
            config.plugins.insert(name.into(), roomy);
        }
    })
    .await;
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let watched = |id: &str| {
        let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
        Fake::all_events(id).on("RunPodSandbox", move |_| {
            let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
            async move {
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                inside.fetch_sub(1, Ordering::SeqCst);
                None
            }
        })
    };
    let (first, slow, last) = (watched("05-first"), watched("50-slow"), watched("90-last"));
    let _peers = fifty_pods(&world, slow.clone(), [first.clone(), last.clone()]).await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert_eq!(first.events_seen(), last.events_seen());
}

#[tokio::test]
async fn a_pods_stop_waits_for_the_exits_of_its_containers_and_a_removal_drains_them() {
    let world = World::started().await;
    let (release, released) = oneshot::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(Some(released)));
    let slow = Fake::all_events("10-slow").on("PostStartContainer", move |_| {
        let released = released.lock().unwrap().take();
        async move {
            if let Some(released) = released {
                released.await.unwrap();
            }
            None
        }
    });
    let _slow = slow.join(&world).await;
    let p = world.pod("p").await;
    let (a, b) = (
        world.container(&p, "a").await,
        world.container(&p, "b").await,
    );
    let cx = Ctx::new();
    let held = tokio::spawn({
        let (nri, p, a) = (world.nri.clone(), p.clone(), a.clone());
        async move { nri.post_start_container(&Ctx::new(), &p, &a).await }
    });
    world.seen(&slow, "PostStartContainer a").await;
    // Both exits are queued behind what is held; then everything ends at once.
    world.nri.notify_container_exit(&p, &a);
    world.nri.notify_container_exit(&p, &b);
    let mut stop = tokio::spawn({
        let (nri, p, a) = (world.nri.clone(), p.clone(), a.clone());
        async move {
            let cx = Ctx::new();
            // The exit was first, so this has no effect; but it ends after the exit is told.
            let stopped = nri.stop_container(&cx, &p, &a).await.unwrap();
            assert!(stopped.outcomes.is_empty());
            nri.stop_pod_sandbox(&cx, &p).await
        }
    });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!stop.is_finished());
    release.send(()).unwrap();
    held.await.unwrap().unwrap();
    (&mut stop).await.unwrap().unwrap();
    assert_eq!(
        slow.events_seen()[3..],
        [
            "PostStartContainer a",
            "StopContainer a",
            "StopContainer b",
            "StopPodSandbox p"
        ]
    );
    world.nri.remove_container(&cx, &p, &b).await.unwrap();
    world.nri.remove_container(&cx, &p, &a).await.unwrap();
    world.nri.remove_pod_sandbox(&cx, &p).await.unwrap();
    assert_eq!(
        slow.events_seen()[7..],
        [
            "RemoveContainer b",
            "RemoveContainer a",
            "RemovePodSandbox p"
        ]
    );
}
