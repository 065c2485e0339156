//! Broken wires: what a connection that is cut, held up, corrupted or slow means to a runtime and
//! to the other plugins.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::sync::Arc;
use std::time::Duration;

use nri_adaptation::CallOutcome;
use nri_adaptation::config::PluginConfig;
use nri_core::Event;
use nri_testkit::{
    Connected, FakePlugin, Fault, FaultProxy, Faults, Gate, TEST_TIMEOUT, TestRuntime,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The plugin behind the proxy.
const HASTY: &str = "10-hasty";
/// Its time for an answer.
const SHORT: Duration = Duration::from_millis(500);

async fn runtime() -> TestRuntime {
    TestRuntime::builder()
        .request_timeout(TEST_TIMEOUT)
        .config(|config| {
            let mut hasty = PluginConfig::default();
            hasty.request_timeout = Some(SHORT);
            config.plugins.insert("hasty".into(), hasty);
            config.plugin_registration_timeout = SHORT;
            config.plugin_strikes = 1000;
        })
        .start()
        .await
}

async fn behind(proxy: &FaultProxy, runtime: &TestRuntime, plugin: &FakePlugin) -> Connected {
    let connected = plugin.connect(proxy.socket()).await.unwrap();
    connected.register().await.unwrap();
    let notice = format!("synchronized {}", plugin.identity());
    runtime.watcher().wait_for(&notice).await;
    connected
}

/// How many bytes the handshake of the plugin takes that has little time, each way.
async fn handshake() -> (u64, u64) {
    let runtime = runtime().await;
    let proxy = FaultProxy::to(runtime.socket()).unwrap();
    let _connected = behind(&proxy, &runtime, &FakePlugin::new(HASTY)).await;
    (proxy.bytes_to_runtime(), proxy.bytes_to_plugin())
}

/// Each of them may be in the middle of a large message, not all of them at once.
#[tokio::test]
async fn plugins_that_send_halves_of_messages_share_one_bound() {
    const LIMIT: usize = 8 << 20;
    /// What each of them holds back of a message.
    const REST: usize = 4096;
    let runtime = TestRuntime::builder()
        .request_timeout(TEST_TIMEOUT)
        .config(|config| config.max_incomplete_bytes = LIMIT)
        .start()
        .await;
    let half = |length: usize| {
        let mut message = vec![0; 10 + length];
        message[..4].copy_from_slice(&(length as u32).to_be_bytes());
        message[4..8].copy_from_slice(&1u32.to_be_bytes());
        message[8] = 1;
        let mut wire = Vec::new();
        nri_proto::frame::append_message(nri_proto::frame::RUNTIME_ID, &message, &mut wire)
            .unwrap();
        wire.truncate(wire.len() - REST);
        wire
    };
    let good = FakePlugin::new("90-good");
    let _good = runtime.join(&good).await;
    let mut hostile = Vec::new();
    for (index, megabytes) in [(10, 2), (11, 4), (12, 3)] {
        let plugin = FakePlugin::new(format!("{index}-halves"));
        let connected = runtime.join(&plugin).await;
        // Whoever is closed takes no more.
        let _ = connected.wire().write(&half(megabytes << 20)).await;
        hostile.push(connected);
    }
    // Together 9 MiB: the one that holds most goes, and no other.
    let gone = runtime.watcher().wait_for("gone 11-halves").await;
    let reason = gone.to_string();
    assert!(
        reason.contains("of messages that are not whole"),
        "{reason}"
    );
    runtime.run_pod("p1").await;
    good.assert_events(&["RunPodSandbox p1"]);
    let there = runtime.nri().plugins().into_iter();
    let there: Vec<String> = there.map(|info| info.plugin.to_string()).collect();
    assert_eq!(there, ["10-halves", "12-halves", "90-good"]);
}

#[tokio::test]
async fn a_connection_in_single_bytes_is_as_good_as_any() {
    let runtime = runtime().await;
    let proxy = FaultProxy::to(runtime.socket()).unwrap();
    proxy.set(
        Faults::none()
            .to_runtime(Fault::Split)
            .to_plugin(Fault::Split),
    );
    let plugin = FakePlugin::new("10-plugin");
    let _connected = behind(&proxy, &runtime, &plugin).await;
    runtime.whole_life("p", "c").await;
    assert_eq!(plugin.events().len(), 13);
}

/// Faults at every position of the handshake, at the same time, with a healthy plugin beside them.
async fn at_every_position(faults: impl Fn(bool, u64) -> Faults) {
    let (up, down) = handshake().await;
    assert!(up > 100 && down > 100, "{up} and {down} bytes");
    let runtime = Arc::new(runtime().await);
    let healthy = FakePlugin::new("50-healthy");
    let _healthy = runtime.join(&healthy).await;
    let all = (0..up).map(|at| (true, at));
    let all = all.chain((0..down).map(|at| (false, at)));
    // A runtime has only so many places for those that have not registered.
    let places = Arc::new(Semaphore::new(12));
    let mut peers = JoinSet::new();
    for (to_runtime, at) in all {
        let (runtime, places) = (Arc::clone(&runtime), Arc::clone(&places));
        let faults = faults(to_runtime, at);
        peers.spawn(async move {
            let _place = places.acquire().await.unwrap();
            let proxy = FaultProxy::to(runtime.socket()).unwrap();
            proxy.set(faults);
            let plugin = FakePlugin::new(HASTY);
            let connected = plugin.connect(proxy.socket()).await.unwrap();
            // Whatever comes of it: it ends, or it is ready. Waiting for the runtime to give up
            // takes a registration timeout.
            let registered = tokio::time::timeout(SHORT * 2, connected.register()).await;
            if matches!(registered, Ok(Ok(()))) {
                let pod = format!("{to_runtime}-{at}");
                runtime.try_run_pod(&pod).await.unwrap();
            }
        });
    }
    while let Some(peer) = peers.join_next().await {
        peer.unwrap();
    }
    runtime.wait_for_plugins(&["50-healthy"]).await;
    let seen = healthy.events().len();
    runtime.run_pod("last").await;
    assert_eq!(healthy.events().len(), seen + 1);
    assert_eq!(healthy.events().last().unwrap(), "RunPodSandbox last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_at_any_byte_is_nobody_elses_business() {
    at_every_position(|to_runtime, at| match to_runtime {
        true => Faults::none().to_runtime(Fault::CutAt(at)),
        false => Faults::none().to_plugin(Fault::CutAt(at)),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_with_any_byte_wrong_is_nobody_elses_business() {
    at_every_position(|to_runtime, at| {
        // Another bit for every byte.
        let bits = 1 << (at % 8);
        match to_runtime {
            true => Faults::none().to_runtime(Fault::Flip { at, bits }),
            false => Faults::none().to_plugin(Fault::Flip { at, bits }),
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_held_up_makes_a_plugin_late_and_what_comes_then_brings_it_back() {
    for to_runtime in [true, false] {
        let (up, down) = handshake().await;
        let runtime = runtime().await;
        let gate = Gate::new();
        let proxy = FaultProxy::to(runtime.socket()).unwrap();
        // The first event, or its answer.
        proxy.set(match to_runtime {
            true => Faults::none().to_runtime(Fault::HoldAt(up, gate.clone())),
            false => Faults::none().to_plugin(Fault::HoldAt(down + 10, gate.clone())),
        });
        let plugin = FakePlugin::new(HASTY);
        let _connected = behind(&proxy, &runtime, &plugin).await;
        runtime.run_pod("a").await;
        let outcomes = runtime.watcher().outcomes(HASTY, Event::RunPodSandbox);
        assert_eq!(outcomes, [CallOutcome::Late], "{to_runtime}");
        gate.open();
        runtime.wait_for_plugins(&[HASTY]).await;
        runtime.run_pod("b").await;
        plugin.wait_for("RunPodSandbox b").await;
    }
}
