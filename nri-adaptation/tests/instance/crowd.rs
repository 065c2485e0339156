//! Connections that are no plugins, as many as there can be, and the plugin that comes in beside
//! them. No time passes here: the registration timeout is an hour, so nobody is let in because
//! others have waited long enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nri_adaptation::RuntimeApi as _;
use nri_core::api;
use nri_proto::transport::{CallError, CallOptions, Code};
use nri_proto::{Method as _, rpc};
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use crate::support::*;

/// The most places that there are.
const PLACES: usize = 256;

async fn patient_world() -> World {
    World::started_with(|config| {
        config.plugin_registration_timeout = Duration::from_secs(3600);
        config.plugin_request_timeout = Duration::from_secs(3600);
    })
    .await
}

/// Connects, and waits where the queue of the socket is full.
async fn connect(world: &World) -> UnixStream {
    loop {
        match UnixStream::connect(world.socket()).await {
            Ok(stream) => return stream,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Connects as patiently, registers once, and waits until it is ready.
async fn join(fake: &Fake, world: &World, registered: impl FnOnce()) -> Peer {
    let peer = fake.over(connect(world).await);
    peer.register().await.unwrap();
    registered();
    let notice = format!("synchronized {}-{}", fake.index, fake.name);
    world.observer.wait_for(&notice).await;
    peer
}

/// How many connections this process can hold at both ends, of so many that one would like to have.
fn within_descriptors(wanted: usize) -> usize {
    use rustix::process::{Resource, getrlimit};
    let most = getrlimit(Resource::Nofile).current;
    let most = most.map_or(wanted, |most| usize::try_from(most).unwrap_or(wanted));
    wanted.min(most.saturating_sub(2048))
}

fn count(world: &World, notice: &str) -> usize {
    let notices = world.observer.notices.all();
    notices.iter().filter(|n| n.contains(notice)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_gets_in_beside_ten_thousand_idle_connections() {
    let world = patient_world().await;
    let idle = within_descriptors(10_000);
    let mut connections = Vec::with_capacity(idle);
    for _ in 0..idle {
        connections.push(connect(&world).await);
    }
    let good = Fake::all_events("10-good");
    let _peer = join(&good, &world, || {}).await;
    world.pod("p1").await;
    assert_eq!(good.events_seen(), ["RunPodSandbox p1"]);
    // Those who gave way are told why, and as many are left as there are places.
    let gave_way = |all: &Vec<String>| {
        let gone = all.iter().filter(|n| n.contains("gave way")).count();
        gone + PLACES >= idle
    };
    world
        .observer
        .notices
        .wait("those who gave way", gave_way)
        .await;
    assert!(count(&world, "gave way") <= idle + 1 - PLACES.min(idle));
    assert_eq!(count(&world, "did not register within"), 0);
    world.nri.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_gets_in_under_a_storm_of_connections() {
    let world = Arc::new(patient_world().await);
    let came = Arc::new(AtomicUsize::new(0));
    // The storm goes on until so many have come.
    let until = Arc::new(AtomicUsize::new(usize::MAX));
    let over = Arc::new(AtomicBool::new(false));
    // One that holds what it has, and one that lets go at once.
    let storm = |hold: usize| {
        let (came, until, over) = (Arc::clone(&came), Arc::clone(&until), Arc::clone(&over));
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let mut held = std::collections::VecDeque::new();
            while !over.load(Ordering::Relaxed) {
                if came.fetch_add(1, Ordering::Relaxed) >= until.load(Ordering::Relaxed) {
                    came.fetch_sub(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    continue;
                }
                held.push_back(connect(&world).await);
                if held.len() > hold {
                    held.pop_front();
                }
            }
        })
    };
    let storms = [storm(1000), storm(0)];
    let more = async |count: usize| {
        let enough = came.load(Ordering::Relaxed) + count;
        while came.load(Ordering::Relaxed) < enough {
            tokio::task::yield_now().await;
        }
    };
    more(2000).await;
    // It asks once and is in, if it says who it is before all places are taken by others that come
    // after it. From then on it has its place, whatever comes.
    until.store(came.load(Ordering::Relaxed) + PLACES / 2, Ordering::Relaxed);
    let good = Fake::all_events("10-good");
    let goes_on = || until.store(usize::MAX, Ordering::Relaxed);
    let _peer = join(&good, &world, goes_on).await;
    more(1000).await;
    world.pod("p1").await;
    assert_eq!(good.events_seen(), ["RunPodSandbox p1"]);
    over.store(true, Ordering::Relaxed);
    for storm in storms {
        storm.await.unwrap();
    }
    world.nri.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_plugin_keeps_its_place_until_it_is_admitted() {
    let world = patient_world().await;
    world.list(&container(&pod("p"), "c1"));
    let gate = Arc::new(Semaphore::new(0));
    let slow = Fake::all_events("10-slow").on("Configure", {
        let gate = Arc::clone(&gate);
        move |_| {
            let gate = Arc::clone(&gate);
            async move {
                let _ = gate.acquire().await;
                None
            }
        }
    });
    let peer = slow.connect(&world).await;
    peer.register().await.unwrap();
    slow.got
        .wait("Configure", |got| {
            got.iter().any(|got| got.method == "Configure")
        })
        .await;
    // It is registered and not admitted, so it may not ask for anything.
    match peer.update(vec![memory("c1", 1)], Vec::new()).await {
        Err(CallError::Status(status)) => {
            assert_eq!(status.code, Code::FailedPrecondition, "{status:?}");
            assert!(status.message.contains("Synchronize"), "{status:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(world.domain.updates.all().is_empty());
    let mut idle = Vec::new();
    for _ in 0..3 * PLACES {
        idle.push(connect(&world).await);
    }
    world.observer.wait_for_count("refused", PLACES).await;
    gate.close();
    world.observer.wait_for("synchronized 10-slow").await;
    assert_eq!(
        peer.update(vec![memory("c1", 1)], Vec::new())
            .await
            .unwrap(),
        []
    );
    world.nri.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_register_and_are_never_configured_are_bounded_too() {
    let world = patient_world().await;
    let mut peers = Vec::new();
    for n in 0..PLACES + 50 {
        let mut fake = Fake::all_events("10-bad").on("Configure", |_| std::future::pending());
        fake.name = format!("bad{n}");
        let peer = fake.over(connect(&world).await);
        // Whoever gives way meanwhile does not hear the answer.
        let _ = peer.register().await;
        peers.push(peer);
    }
    let good = Fake::all_events("10-good");
    let _peer = join(&good, &world, || {}).await;
    let open = || {
        let open = peers
            .iter()
            .filter(|peer| peer.connection.close_reason().is_none());
        open.count()
    };
    let bounded = async {
        while open() > PLACES {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, bounded).await.unwrap();
    world.nri.stop().await;
}

#[tokio::test]
async fn what_a_plugin_may_ask_for_is_not_more_when_it_comes_again() {
    let world = World::started_with(|config| {
        // So slow that it brings nothing in the time of the test.
        config.update_rate_limit = 1;
        config.update_burst = 3600;
    })
    .await;
    world.list(&container(&pod("p"), "c1"));
    let many = vec![memory("c1", 1); 3000];
    for again in 0..3 {
        let fake = Fake::all_events("10-a");
        let peer = fake.join(&world).await;
        // The line of the time before is there already.
        world
            .observer
            .wait_for_count("synchronized 10-a", again + 1)
            .await;
        let asked = peer.update(many.clone(), Vec::new()).await;
        match asked {
            Ok(failed) => assert_eq!((again, failed.len()), (0, 0)),
            Err(CallError::Status(status)) => {
                assert!(
                    again > 0 && status.code == Code::ResourceExhausted,
                    "{status:?}"
                );
            }
            other => panic!("{other:?}"),
        }
        drop(peer);
        world.observer.wait_for_count("gone 10-a", again + 1).await;
    }
    // Nor when it is shown what exists.
    let fake = Fake::all_events("10-a").on("Synchronize", move |_| {
        let update = vec![memory("c1", 1); 3000];
        let response = api::SynchronizeResponse {
            update,
            more: false,
        };
        async move { Some(Ok(response.encode_to_vec())) }
    });
    let peer = fake.connect(&world).await;
    peer.register().await.unwrap();
    peer.closed().await;
    world.observer.wait_for_count("gone 10-a", 4).await;
    let notices = world.observer.notices.all();
    let last = notices.iter().rfind(|notice| notice.starts_with("gone"));
    assert!(last.unwrap().contains("update_rate_limit"), "{notices:?}");
    assert_eq!(world.domain.updates.all().len(), 3000);
    world.nri.stop().await;
}

#[tokio::test]
async fn a_message_with_too_many_items_is_refused_before_it_is_built() {
    let world = World::started_with(|config| {
        config.max_updates = 10;
        config.max_items = 20;
    })
    .await;
    world.list(&container(&pod("p"), "c1"));
    let peer = Fake::all_events("10-a").join(&world).await;
    assert_eq!(
        peer.update(vec![memory("c1", 1); 10], Vec::new())
            .await
            .unwrap(),
        []
    );
    let refused = |result: Result<bytes::Bytes, CallError>| match result {
        Err(CallError::Status(status)) => {
            assert_eq!(status.code, Code::ResourceExhausted);
            status.message
        }
        other => panic!("{other:?}"),
    };
    // What comes behind the one too many is not looked at, so it may be what it likes.
    for (payload, key) in [
        (
            [[0x0a, 0].repeat(11), vec![0xff; 100]].concat(),
            "10 updates",
        ),
        ([0x12, 0].repeat(1_000_000), "10 updates"),
    ] {
        let (service, method) = (rpc::runtime::SERVICE, rpc::runtime::UpdateContainers::NAME);
        let client = peer.connection.client();
        let options = CallOptions::timeout(TEST_TIMEOUT);
        let pending = client.begin(service, method, payload.into(), options).await;
        let text = refused(pending.unwrap().await);
        for part in [key, "10-a", "max_updates"] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
    assert_eq!(world.domain.updates.all().len(), 10);
    world.nri.stop().await;
}
