//! Connections that are no plugins, as many as there can be, and the plugin that comes in beside
//! them. No time passes here: the registration timeout is an hour, so nobody is let in because
//! others have waited long enough.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nri_adaptation::api;
use nri_proto::transport::{CallError, CallOptions, Code};
use nri_proto::{Method as _, rpc};
use nri_testkit::{
    Behavior, Connected, FakePlugin, Gate, PluginEvent, TEST_TIMEOUT, TestRuntime, When,
};
use tokio::net::UnixStream;

use crate::values::{memory, patient};

/// The most places that there are.
const PLACES: usize = 256;

async fn patient_runtime() -> TestRuntime {
    let hour = Duration::from_secs(3600);
    let builder = patient().request_timeout(hour);
    let builder = builder.config(move |config| config.plugin_registration_timeout = hour);
    builder.start().await
}

/// Connects, and waits where the queue of the socket is full.
async fn connect(runtime: &TestRuntime) -> UnixStream {
    loop {
        match UnixStream::connect(runtime.socket()).await {
            Ok(stream) => return stream,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Connects as patiently, registers once, and waits until it is ready.
async fn join(plugin: &FakePlugin, runtime: &TestRuntime, registered: impl FnOnce()) -> Connected {
    let connected = plugin.over(connect(runtime).await).unwrap();
    connected.register().await.unwrap();
    registered();
    let notice = format!("synchronized {}", plugin.identity());
    runtime.watcher().wait_for(&notice).await;
    connected
}

/// How many connections this process can hold at both ends, of so many that one would like to have.
fn within_descriptors(wanted: usize) -> usize {
    use rustix::process::{Resource, getrlimit};
    let most = getrlimit(Resource::Nofile).current;
    let most = most.map_or(wanted, |most| usize::try_from(most).unwrap_or(wanted));
    wanted.min(most.saturating_sub(2048))
}

/// How many did not become plugins for a reason with this in it.
fn refused(notices: &[PluginEvent], why: &str) -> usize {
    let refused = notices.iter().filter(|notice| match notice {
        PluginEvent::Refused { reason, .. } => reason.contains(why),
        _ => false,
    });
    refused.count()
}

/// Has the domain list a container.
fn list(runtime: &TestRuntime, id: &str) {
    let container = runtime.container(&runtime.pod("p"), id);
    runtime.domain().put_container(container);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_gets_in_beside_ten_thousand_idle_connections() {
    let runtime = patient_runtime().await;
    let idle = within_descriptors(10_000);
    let mut connections = Vec::with_capacity(idle);
    for _ in 0..idle {
        connections.push(connect(&runtime).await);
    }
    let good = FakePlugin::new("10-good");
    let _connected = join(&good, &runtime, || {}).await;
    runtime.run_pod("p1").await;
    good.assert_events(&["RunPodSandbox p1"]);
    // Those who gave way are told why, and as many are left as there are places.
    let notices = runtime.watcher().notices();
    let gave_way = |all: &[PluginEvent]| refused(all, "gave way") + PLACES >= idle;
    let all = notices.wait_for("those who gave way", gave_way).await;
    assert!(refused(&all, "gave way") <= idle + 1 - PLACES.min(idle));
    assert_eq!(refused(&all, "did not register within"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_gets_in_under_a_storm_of_connections() {
    let runtime = Arc::new(patient_runtime().await);
    let came = Arc::new(AtomicUsize::new(0));
    // The storm goes on until so many have come.
    let until = Arc::new(AtomicUsize::new(usize::MAX));
    let over = Arc::new(AtomicBool::new(false));
    // One that holds what it has, and one that lets go at once.
    let storm = |hold: usize| {
        let (came, until, over) = (Arc::clone(&came), Arc::clone(&until), Arc::clone(&over));
        let runtime = Arc::clone(&runtime);
        tokio::spawn(async move {
            let mut held = VecDeque::new();
            while !over.load(Ordering::Relaxed) {
                if came.fetch_add(1, Ordering::Relaxed) >= until.load(Ordering::Relaxed) {
                    came.fetch_sub(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    continue;
                }
                held.push_back(connect(&runtime).await);
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
    let good = FakePlugin::new("10-good");
    let goes_on = || until.store(usize::MAX, Ordering::Relaxed);
    let _connected = join(&good, &runtime, goes_on).await;
    more(1000).await;
    runtime.run_pod("p1").await;
    good.assert_events(&["RunPodSandbox p1"]);
    over.store(true, Ordering::Relaxed);
    for storm in storms {
        storm.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_plugin_keeps_its_place_until_it_is_admitted() {
    let runtime = patient_runtime().await;
    list(&runtime, "c1");
    let gate = Gate::new();
    let slow = Behavior::usual().behind(&gate);
    let slow = FakePlugin::new("10-slow").on(When::method("Configure"), slow);
    let connected = slow.connect(runtime.socket()).await.unwrap();
    connected.register().await.unwrap();
    slow.wait_for("Configure").await;
    // It is registered and not admitted, so it may not ask for anything.
    match connected.update(vec![memory("c1", 1)], Vec::new()).await {
        Err(CallError::Status(status)) => {
            assert_eq!(status.code, Code::FailedPrecondition, "{status:?}");
            assert!(status.message.contains("Synchronize"), "{status:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(runtime.domain().updates().is_empty());
    let mut idle = Vec::new();
    for _ in 0..3 * PLACES {
        idle.push(connect(&runtime).await);
    }
    runtime.watcher().wait_for_nth("refused", PLACES).await;
    gate.open();
    runtime.watcher().wait_for("synchronized 10-slow").await;
    let failed = connected.update(vec![memory("c1", 1)], Vec::new()).await;
    assert_eq!(failed.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_register_and_are_never_configured_are_bounded_too() {
    let runtime = patient_runtime().await;
    let mut bad = Vec::new();
    for n in 0..PLACES + 50 {
        let plugin = FakePlugin::new(format!("10-bad{n}"));
        let plugin = plugin.on(When::method("Configure"), Behavior::hang());
        let connected = plugin.over(connect(&runtime).await).unwrap();
        // Whoever gives way meanwhile does not hear the answer.
        let _ = connected.register().await;
        bad.push(connected);
    }
    let good = FakePlugin::new("10-good");
    let _connected = join(&good, &runtime, || {}).await;
    let open = || {
        let open = bad.iter().map(Connected::connection);
        open.filter(|connection| connection.close_reason().is_none())
            .count()
    };
    let bounded = async {
        while open() > PLACES {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, bounded).await.unwrap();
}

#[tokio::test]
async fn what_a_plugin_may_ask_for_is_not_more_when_it_comes_again() {
    let builder = patient().config(|config| {
        // So slow that it brings nothing in the time of the test.
        config.update_rate_limit = 1;
        config.update_burst = 3600;
    });
    let runtime = builder.start().await;
    list(&runtime, "c1");
    let many = vec![memory("c1", 1); 3000];
    for again in 0..3 {
        let connected = runtime.join(&FakePlugin::new("10-a")).await;
        match connected.update(many.clone(), Vec::new()).await {
            Ok(failed) => assert_eq!((again, failed.len()), (0, 0)),
            Err(CallError::Status(status)) => {
                assert!(
                    again > 0 && status.code == Code::ResourceExhausted,
                    "{status:?}"
                );
            }
            other => panic!("{other:?}"),
        }
        connected.exit();
        runtime.watcher().wait_for_nth("gone 10-a", again + 1).await;
    }
    // Nor when it is shown what exists.
    let asks = Behavior::answer(api::SynchronizeResponse {
        update: many,
        more: false,
    });
    let plugin = FakePlugin::new("10-a").on(When::method("Synchronize"), asks);
    let connected = plugin.connect(runtime.socket()).await.unwrap();
    connected.register().await.unwrap();
    connected.closed().await;
    let gone = runtime.watcher().wait_for_nth("gone 10-a", 4).await;
    let gone = gone.to_string();
    assert!(gone.contains("update_rate_limit"), "{gone}");
    assert_eq!(runtime.domain().updates().len(), 3000);
}

#[tokio::test]
async fn a_message_with_too_many_items_is_refused_before_it_is_built() {
    let builder = patient().config(|config| {
        config.max_updates = 10;
        config.max_items = 20;
    });
    let runtime = builder.start().await;
    list(&runtime, "c1");
    let connected = runtime.join(&FakePlugin::new("10-a")).await;
    let ten = vec![memory("c1", 1); 10];
    assert_eq!(connected.update(ten, Vec::new()).await.unwrap(), []);
    // What comes behind the one too many is not looked at, so it may be what it likes.
    for (payload, key) in [
        (
            [[0x0a, 0].repeat(11), vec![0xff; 100]].concat(),
            "10 updates",
        ),
        ([0x12, 0].repeat(1_000_000), "10 updates"),
    ] {
        let (service, method) = (rpc::runtime::SERVICE, rpc::runtime::UpdateContainers::NAME);
        let client = connected.connection().client();
        let options = CallOptions::timeout(TEST_TIMEOUT);
        let pending = client.begin(service, method, payload.into(), options).await;
        let text = match pending.unwrap().await {
            Err(CallError::Status(status)) => {
                assert_eq!(status.code, Code::ResourceExhausted);
                status.message
            }
            other => panic!("{other:?}"),
        };
        for part in [key, "10-a", "max_updates"] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
    assert_eq!(runtime.domain().updates().len(), 10);
}
