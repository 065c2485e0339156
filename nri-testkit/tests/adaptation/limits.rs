//! What a peer can take from an instance, before it has registered and after.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nri_adaptation::{Event, api};
use nri_proto::transport::{CallError, Code, Limits};
use nri_testkit::{FakePlugin, Gate, TEST_TIMEOUT, TestRuntime};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::values::{memory, patient};

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

/// Has the domain list a container.
fn list(runtime: &TestRuntime, id: &str) {
    let container = runtime.container(&runtime.pod("p"), id);
    runtime.domain().put_container(container);
}

#[tokio::test]
async fn a_peer_that_has_not_registered_may_say_little() {
    let runtime = patient().start().await;
    let mut peer = UnixStream::connect(runtime.socket()).await.unwrap();
    // Closed while it is still talking, or right after.
    let _ = peer.write_all(&message(1, 200 << 10)).await;
    let refused = runtime.watcher().wait_for("refused process").await;
    let refused = refused.to_string();
    assert!(refused.contains("before registration"), "{refused}");
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_and_does_no_harm() {
    let runtime = patient().start().await;
    let stream = std::os::unix::net::UnixStream::connect(runtime.socket()).unwrap();
    let second = stream.try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    let plugin = FakePlugin::new("10-a");
    let connected = plugin.over(UnixStream::from_std(stream).unwrap()).unwrap();
    connected.register().await.unwrap();
    runtime.watcher().wait_for("synchronized 10-a").await;

    let mut second = UnixStream::from_std(second).unwrap();
    second.write_all(&message(1001, 5 << 20)).await.unwrap();
    // Its answer comes to a call that the peer knows nothing of.
    let answered = async {
        while connected.connection().stats().late_replies == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, answered).await.unwrap();
    runtime.run_pod("p").await;
    plugin.assert_events(&["RunPodSandbox p"]);
    assert_eq!(runtime.nri().plugins().len(), 1);
}

#[tokio::test]
async fn only_so_many_requests_of_a_plugin_are_in_progress() {
    let builder = patient().config(|config| config.update_rate_limit = 0);
    let runtime = builder.start().await;
    let mut limits = Limits::default();
    limits.max_calls = 1000;
    let plugin = FakePlugin::new("10-a").connection_limits(limits);
    let connected = Arc::new(runtime.join(&plugin).await);
    list(&runtime, "c");
    let gate = Gate::new();
    let updating = gate.clone();
    runtime.domain().on_update(move |_| {
        let gate = updating.clone();
        async move {
            gate.pass().await;
            Ok(())
        }
    });
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let connected = Arc::clone(&connected);
        calls.spawn(async move { connected.update(vec![memory("c", 1)], Vec::new()).await });
    }
    for _ in 256..300 {
        let refused = calls.join_next().await.unwrap().unwrap();
        let (code, text) = code_of(refused).unwrap();
        assert_eq!(code, Code::ResourceExhausted, "{text}");
    }
    gate.open();
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap().unwrap(), []);
    }
}

#[tokio::test]
async fn a_plugin_may_ask_for_so_many_updates_at_once() {
    let builder = patient().config(|config| {
        // So slow that it brings nothing in the time of the test.
        config.update_rate_limit = 1;
        config.update_burst = 3600;
    });
    let runtime = builder.start().await;
    for id in ["c1", "c2"] {
        list(&runtime, id);
    }
    let connected = runtime.join(&FakePlugin::new("10-a")).await;
    let many = |count| vec![memory("c1", 1); count];
    assert_eq!(connected.update(many(3000), Vec::new()).await.unwrap(), []);
    let (code, text) = code_of(connected.update(many(3000), Vec::new()).await).unwrap();
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
    assert_eq!(connected.update(many(500), Vec::new()).await.unwrap(), []);
    let other = runtime.join(&FakePlugin::new("20-b")).await;
    let eviction = api::ContainerEviction {
        container_id: "c2".into(),
        reason: String::new(),
    };
    assert_eq!(other.update(many(1), vec![eviction]).await.unwrap(), []);
    assert_eq!(runtime.domain().updates().len(), 3501);
}

/// Law: what one plugin asks for is carried out a little at a time, so that everything else goes on
/// meanwhile.
#[tokio::test]
async fn others_have_their_turn_while_thousands_of_updates_are_carried_out() {
    let runtime = patient().start().await;
    list(&runtime, "c1");
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    runtime.domain().on_update(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    });
    let connected = runtime.join(&FakePlugin::new("10-a")).await;
    let mut asked = std::pin::pin!(connected.update(vec![memory("c1", 1); 4096], Vec::new()));
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
}

#[tokio::test]
async fn a_domain_that_hangs_is_waited_for_only_so_long() {
    let time = Duration::from_millis(50);
    let builder = patient().config(move |config| config.domain_timeout = time);
    let runtime = builder.start().await;
    list(&runtime, "c");
    runtime.domain().on_update(|_| std::future::pending());
    let plugin = FakePlugin::new("10-a").subscribe(Event::RunPodSandbox);
    let connected = runtime.join(&plugin).await;
    let update = memory("c", 1);
    let failed = connected.update(vec![update.clone()], Vec::new()).await;
    assert_eq!(failed.unwrap(), [update]);
    runtime.run_pod("p2").await;
}
