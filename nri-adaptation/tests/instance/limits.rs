//! What a peer can take from an instance, before it has registered and after.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nri_adaptation::{Ctx, DomainError, RuntimeApi as _};
use nri_core::{Event, api};
use nri_proto::transport::{CallError, Code, Limits};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::support::{Fake, TEST_TIMEOUT, World, container, memory, pod};

/// A message of this many bytes on the runtime's service, in one frame.
fn message(stream: u32, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(2u32.to_be_bytes());
    bytes.extend(u32::try_from(length + 10).unwrap().to_be_bytes());
    bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend([1, 0]);
    bytes.resize(bytes.len() + length, 0);
    bytes
}

fn code_of<T>(result: Result<T, CallError>) -> Option<(Code, String)> {
    match result {
        Err(CallError::Status(status)) => Some((status.code, status.message)),
        _ => None,
    }
}

#[tokio::test]
async fn a_peer_that_has_not_registered_may_say_little() {
    let world = World::started().await;
    let mut peer = UnixStream::connect(world.socket()).await.unwrap();
    // Closed while it is still talking, or right after.
    let _ = peer.write_all(&message(1, 200 << 10)).await;
    world.observer.wait_for("refused process").await;
    let told = world.observer.notices.all();
    assert!(told[0].contains("before registration"), "{told:?}");
    world.nri.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_and_does_no_harm() {
    let world = World::started().await;
    let stream = std::os::unix::net::UnixStream::connect(world.socket()).unwrap();
    let second = stream.try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    let fake = Fake::all_events("10-a");
    let peer = fake.over(UnixStream::from_std(stream).unwrap());
    peer.register().await.unwrap();
    world.observer.wait_for("synchronized 10-a").await;

    let mut second = UnixStream::from_std(second).unwrap();
    second.write_all(&message(1001, 5 << 20)).await.unwrap();
    // Its answer comes to a call that the peer knows nothing of.
    let answered = async {
        while peer.connection.stats().late_replies == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, answered).await.unwrap();
    world.pod("p").await;
    assert_eq!(fake.events_seen(), ["RunPodSandbox p"]);
    assert_eq!(world.nri.plugins().len(), 1);
    world.nri.stop().await;
}

#[tokio::test]
async fn only_so_many_requests_of_a_plugin_are_in_progress() {
    let world = World::started_with(|config| config.update_rate_limit = 0).await;
    let mut limits = Limits::default();
    limits.max_calls = 1000;
    let peer = Fake::all_events("10-a").limited(limits).join(&world).await;
    world.list(&container(&pod("p"), "c"));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    *world.domain.on_update.lock().unwrap() = Some(Arc::new({
        let gate = Arc::clone(&gate);
        move |_| {
            let gate = Arc::clone(&gate);
            Box::pin(async move {
                let _ = gate.acquire().await;
                Ok(())
            })
        }
    }));
    let peer = Arc::new(peer);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let peer = Arc::clone(&peer);
        calls.spawn(async move { peer.update(vec![memory("c", 1)], Vec::new()).await });
    }
    for _ in 256..300 {
        let refused = calls.join_next().await.unwrap().unwrap();
        let (code, text) = code_of(refused).unwrap();
        assert_eq!(code, Code::ResourceExhausted, "{text}");
    }
    gate.close();
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap().unwrap(), []);
    }
    world.nri.stop().await;
}

#[tokio::test]
async fn a_plugin_may_ask_for_so_many_updates_at_once() {
    let world = World::started_with(|config| {
        // So slow that it brings nothing in the time of the test.
        config.update_rate_limit = 1;
        config.update_burst = 3600;
    })
    .await;
    for id in ["c1", "c2"] {
        world.list(&container(&pod("p"), id));
    }
    let peer = Fake::all_events("10-a").join(&world).await;
    let many = |count| vec![memory("c1", 1); count];
    assert_eq!(peer.update(many(3000), Vec::new()).await.unwrap(), []);
    let (code, text) = code_of(peer.update(many(3000), Vec::new()).await).unwrap();
    assert_eq!(code, Code::ResourceExhausted);
    for part in [
        "10-a",
        "1 per second",
        "3600 at once",
        "update_rate_limit",
        "try again in",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    // The limit is each plugin's own, and a refusal costs nothing.
    assert_eq!(peer.update(many(500), Vec::new()).await.unwrap(), []);
    let other = Fake::all_events("20-b").join(&world).await;
    let eviction = api::ContainerEviction {
        container_id: "c2".into(),
        reason: String::new(),
    };
    assert_eq!(other.update(many(1), vec![eviction]).await.unwrap(), []);
    assert_eq!(world.domain.updates.all().len(), 3501);
    world.nri.stop().await;
}

/// Law: what one plugin asks for is carried out a little at a time, so that everything else goes on
/// meanwhile.
#[tokio::test]
async fn others_have_their_turn_while_thousands_of_updates_are_carried_out() {
    let world = World::started().await;
    world.list(&container(&pod("p"), "c1"));
    let done = Arc::new(AtomicUsize::new(0));
    *world.domain.on_update.lock().unwrap() = Some(Arc::new({
        let done = Arc::clone(&done);
        move |_| {
            done.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(()) })
        }
    }));
    let peer = Fake::all_events("10-a").join(&world).await;
    let mut asked = std::pin::pin!(peer.update(vec![memory("c1", 1); 4096], Vec::new()));
    let (mut before, mut most) = (0, 0);
    loop {
        tokio::select! {
            biased;
            answer = &mut asked => {
                assert_eq!(answer.unwrap(), []);
                break;
            }
            () = tokio::task::yield_now() => {}
        }
        let now = done.load(Ordering::Relaxed);
        most = most.max(now - before);
        before = now;
    }
    assert_eq!(done.load(Ordering::Relaxed), 4096);
    assert!((1..=512).contains(&most), "{most} at once");
    world.nri.stop().await;
}

#[tokio::test]
async fn a_domain_that_hangs_is_waited_for_only_so_long() {
    let world = World::started_with(|config| {
        config.domain_timeout = Duration::from_millis(50);
    })
    .await;
    world.list(&container(&pod("p"), "c"));
    *world.domain.on_update.lock().unwrap() = Some(Arc::new(|_| {
        Box::pin(std::future::pending::<Result<(), DomainError>>())
    }));
    let peer = Fake::new("10-a", &[Event::RunPodSandbox])
        .join(&world)
        .await;
    let update = memory("c", 1);
    let failed = peer.update(vec![update.clone()], Vec::new()).await.unwrap();
    assert_eq!(failed, [update]);
    world
        .nri
        .run_pod_sandbox(&Ctx::new(), &pod("p2"))
        .await
        .unwrap();
    world.nri.stop().await;
}
