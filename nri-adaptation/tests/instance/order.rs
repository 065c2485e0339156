//! Which requests are in order, and which overlap.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nri_adaptation::{Api, CallOutcome, Ctx};
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
    // It answers none before as many as it has places for are there, so fewer at a time would all be late.
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
