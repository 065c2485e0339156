//! Futures of the API that are dropped. What becomes of creations then is in `undoing`.

use std::sync::Arc;

use nri_adaptation::{Ctx, RuntimeApi};
use nri_core::{Event, api};
use prost::Message as _;
use tokio::sync::Notify;

use crate::support::*;

/// Holds its answers to an event back, one per release.
fn holding(id: &str, event: Event, release: &Arc<Notify>) -> Fake {
    let release = Arc::clone(release);
    Fake::all_events(id).on(event.name(), move |_| {
        let release = Arc::clone(&release);
        async move {
            release.notified().await;
            None
        }
    })
}

#[tokio::test]
async fn what_may_be_refused_ends_with_its_caller_and_what_has_happened_does_not() {
    let world = World::started().await;
    let release = Arc::new(Notify::new());
    let (start, stop) = (Event::StartContainer, Event::StopContainer);
    let starts = holding("10-starts", start, &release);
    let stops = holding("20-stops", stop, &release);
    let last = Fake::all_events("30-last");
    let mut peers = Vec::new();
    for fake in [&starts, &stops, &last] {
        peers.push(fake.join(&world).await);
    }
    let p = world.pod("p").await;
    let c = world.container(&p, "c").await;
    let (nri, pod, container) = (world.nri.clone(), p.clone(), c.clone());
    let starting =
        tokio::spawn(async move { nri.start_container(&Ctx::new(), &pod, &container).await });
    world.seen(&starts, "StartContainer c").await;
    // One more of the pod waits for its turn, and leaves before it has come.
    let (nri, pod, container) = (world.nri.clone(), p.clone(), c.clone());
    let waiting = tokio::spawn(async move {
        let cx = Ctx::new();
        let updated = nri.update_container(&cx, &pod, &container, None).await;
        updated.map(drop)
    });
    tokio::task::yield_now().await;
    for task in [starting, waiting] {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    release.notify_one();
    // It has its turn again, and the container counts as started: its stop is told.
    let (nri, pod, container) = (world.nri.clone(), p.clone(), c.clone());
    let stopping = tokio::spawn(async move {
        let stopped = nri.stop_container(&Ctx::new(), &pod, &container).await;
        stopped.map(drop)
    });
    world.seen(&stops, "StopContainer c").await;
    stopping.abort();
    assert!(stopping.await.unwrap_err().is_cancelled());
    release.notify_one();
    world.seen(&last, "StopContainer c").await;
    assert_eq!(
        last.events_seen(),
        ["RunPodSandbox p", "CreateContainer c", "StopContainer c"]
    );
    // A removal is told whole, the caller gone or not: here before it has begun.
    let cx = Ctx::new();
    drop(tokio::join!(
        world.nri.remove_container(&cx, &p, &c),
        world.nri.remove_pod_sandbox(&cx, &p)
    ));
    assert_eq!(
        last.events_seen()[3..],
        [
            "RemoveContainer c",
            "StopPodSandbox p",
            "RemovePodSandbox p"
        ]
    );
}

#[tokio::test]
async fn what_a_stop_frees_is_given_to_others_though_the_caller_has_left() {
    let world = World::started().await;
    let response = api::StopContainerResponse {
        update: vec![memory("other", 1)],
    };
    let release = Arc::new(Notify::new());
    let hold = Arc::clone(&release);
    let fake = Fake::all_events("10-gives").on("StopContainer", move |_| {
        let (answer, hold) = (response.encode_to_vec(), Arc::clone(&hold));
        async move {
            hold.notified().await;
            Some(Ok(answer))
        }
    });
    let _peer = fake.join(&world).await;
    let p = world.pod("p").await;
    world.container(&p, "other").await;
    let c = world.container(&p, "c").await;
    let (nri, pod) = (world.nri.clone(), p.clone());
    let stopping = tokio::spawn(async move {
        let stopped = nri.stop_container(&Ctx::new(), &pod, &c).await;
        stopped.map(drop)
    });
    world.seen(&fake, "StopContainer c").await;
    stopping.abort();
    assert!(stopping.await.unwrap_err().is_cancelled());
    release.notify_one();
    let given = |updates: &Vec<_>| *updates == [memory("other", 1)];
    world.domain.updates.wait("the update", given).await;
}

#[tokio::test]
async fn a_dropped_start_stops_and_a_dropped_stop_goes_on() {
    let world = World::built(|_| {});
    let pods = Arc::clone(&world.domain);
    // The start hangs while it asks what exists.
    let guard = pods.hold_lists();
    let starting = tokio::spawn({
        let nri = world.nri.clone();
        async move { nri.start().await.map_err(|error| error.to_string()) }
    });
    pods.asked_for_lists().await;
    starting.abort();
    assert!(starting.await.unwrap_err().is_cancelled());
    drop(guard);
    assert!(!world.nri.is_enabled());
    world.nri.stop().await;
    assert!(world.nri.start().await.is_err());

    let world = World::started().await;
    let release = Arc::new(Notify::new());
    let hold = Arc::clone(&release);
    let fake = Fake::all_events("10-slow").on("Shutdown", move |_| {
        let hold = Arc::clone(&hold);
        async move {
            hold.notified().await;
            None
        }
    });
    let peer = fake.join(&world).await;
    let stopping = tokio::spawn({
        let nri = world.nri.clone();
        async move { nri.stop().await }
    });
    world.seen(&fake, "Shutdown").await;
    stopping.abort();
    assert!(stopping.await.unwrap_err().is_cancelled());
    release.notify_one();
    peer.closed().await;
    world.nri.stop().await;
    assert!(world.nri.plugins().is_empty());
}
