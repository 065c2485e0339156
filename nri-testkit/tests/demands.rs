//! What users of the reference complained about, and what was measured there, as it is here: each
//! of these tests would fail with the reference's behaviour, which its comment tells.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is the report of a test"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nri_adaptation::config::{FailureAction, PluginConfig};
use nri_adaptation::{CallOutcome, PluginState, RuntimeApi as _};
use nri_core::{Ctx, Error, Event, PluginCtx, api};
use nri_plugin::{HandlerError, Plugin, Runner};
use nri_proto::frame::Header;
use nri_proto::transport::{
    CallContext, CallError, Code, Connection, Role, RuntimeServer, RuntimeService, Status,
};
use nri_testkit::{
    Behavior, FakePlugin, Gate, TEST_TIMEOUT, TestRuntime, TestRuntimeBuilder, When,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// The deadline of a plugin that is to miss it.
const SHORT: Duration = Duration::from_millis(500);

fn runtime() -> TestRuntimeBuilder {
    TestRuntime::builder().request_timeout(TEST_TIMEOUT)
}

/// One plugin has little time; the others have what they need.
fn with_hasty(name: &'static str, change: fn(&mut PluginConfig)) -> TestRuntimeBuilder {
    runtime().config(move |config| {
        let mut hasty = PluginConfig::default();
        hasty.request_timeout = Some(SHORT);
        change(&mut hasty);
        config.plugins.insert(name.into(), hasty);
    })
}

fn requiring(name: &'static str) -> TestRuntimeBuilder {
    with_hasty(name, |_| {}).config(move |config| {
        config.default_validator.enable = true;
        config.default_validator.required_plugins = vec![name.to_owned()];
    })
}

/// A container that takes so many bytes to be told of.
fn fat(pod: &str, id: &str, bytes: usize) -> api::Container {
    api::Container {
        id: id.to_owned(),
        pod_sandbox_id: pod.to_owned(),
        state: api::ContainerState::ContainerRunning.into(),
        env: vec!["x".repeat(bytes)],
        ..Default::default()
    }
}

/// A2 (containerd/nri#316): a required plugin that timed out still counts as consulted in the
/// reference, so the container is created without it; only the next one is refused.
#[tokio::test]
async fn a_required_plugin_that_was_late_has_not_processed_the_container() {
    let runtime = requiring("must").start().await;
    let gate = Gate::new();
    let plugin = FakePlugin::new("10-must").on(
        When::from(Event::CreateContainer).nth(1),
        Behavior::usual().behind(&gate),
    );
    let _connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p").await;
    let error = runtime.try_create(&pod, "c1").await.unwrap_err();
    assert!(matches!(error, Error::Rejected { .. }), "{error:?}");
    assert!(error.to_string().contains("must"), "{error}");
    // Late is not dead: once it has answered it counts again.
    gate.open();
    runtime
        .wait_for_states("the plugin to be back", |plugins| {
            plugins.iter().any(|info| {
                info.plugin.to_string() == "10-must" && info.state == PluginState::Ready
            })
        })
        .await;
    runtime.create(&pod, "c2").await;
}

/// A2, second half: the reference's requirement does not cover pods at all.
#[tokio::test]
async fn a_required_plugin_is_required_for_pods_too() {
    let runtime = requiring("must").start().await;
    let error = runtime.try_run_pod("without").await.unwrap_err();
    assert!(error.to_string().contains("must"), "{error}");
    let plugin = FakePlugin::new("10-must").on(Event::RunPodSandbox, Behavior::hang());
    let _connected = runtime.join(&plugin).await;
    let error = runtime.try_run_pod("late").await.unwrap_err();
    assert!(error.to_string().contains("must"), "{error}");
}

/// The same by the plugin's own policy, without a validator.
#[tokio::test]
async fn a_plugins_lateness_can_be_made_to_refuse_a_pod() {
    let runtime = with_hasty("must", |hasty| hasty.on_late = Some(FailureAction::Fail))
        .start()
        .await;
    let plugin = FakePlugin::new("10-must").on(Event::RunPodSandbox, Behavior::hang());
    let _connected = runtime.join(&plugin).await;
    let error = runtime.try_run_pod("p").await.unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error:?}");
}

/// A3 (containerd/nri#152): in the reference a registered plugin may register again under a
/// required plugin's name, and containers that were refused are accepted from then on; a third
/// registration blocks.
#[tokio::test]
async fn a_plugin_cannot_take_another_name() {
    let runtime = requiring("trusted").start().await;
    let connected = runtime.join(&FakePlugin::new("10-nobody")).await;
    // Pods as well as containers.
    assert!(runtime.try_run_pod("refused").await.is_err());
    let pod = runtime.pod("p");
    assert!(runtime.try_create(&pod, "c1").await.is_err());
    for _ in 0..2 {
        match connected.register_as("10-trusted").await {
            Err(CallError::Status(status)) => assert_eq!(status.code, Code::FailedPrecondition),
            // The first repetition ends the connection.
            Err(CallError::Closed(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    connected.closed().await;
    runtime.watcher().wait_for("gone 10-nobody").await;
    assert!(runtime.try_create(&pod, "c2").await.is_err());
}

/// A4: in the reference eight bytes from a peer that has not registered make the runtime allocate
/// what they announce; 3 GiB were measured.
#[tokio::test]
async fn an_announced_length_costs_nothing() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        let kilobytes = line.split_whitespace().nth(1).unwrap();
        kilobytes.parse::<u64>().unwrap() << 10
    };
    let runtime = runtime().start().await;
    let before = resident();
    let mut peers = Vec::new();
    for len in [u32::MAX, 3 << 30, 16 << 20, 16 << 20, 16 << 20, 16 << 20] {
        let mut peer = UnixStream::connect(runtime.socket()).await.unwrap();
        peer.write_all(&Header { id: 2, len }.encode())
            .await
            .unwrap();
        // What is announced and cannot be is the end; what can be is waited for.
        if len > 16 << 20 {
            let mut rest = Vec::new();
            let end = tokio::time::timeout(TEST_TIMEOUT, peer.read_to_end(&mut rest)).await;
            end.unwrap().unwrap();
        }
        peers.push(peer);
    }
    runtime.watcher().wait_for_nth("refused", 2).await;
    let _good = runtime.join(&FakePlugin::new("10-good")).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 256 << 20, "grown by {grown} bytes");
}

/// A5: the reference accepts one connection after the other, so one that says nothing holds
/// everybody up for 5 s.
#[tokio::test]
async fn silent_connections_hold_nobody_up() {
    let runtime = runtime()
        .config(|config| config.plugin_registration_timeout = Duration::from_secs(3600))
        .start()
        .await;
    let mut silent = Vec::new();
    for _ in 0..15 {
        silent.push(UnixStream::connect(runtime.socket()).await.unwrap());
    }
    let _good = runtime.join(&FakePlugin::new("10-good")).await;
    assert_eq!(
        runtime.watcher().count("refused"),
        0,
        "none had to go first"
    );
}

/// A5: more silent connections than there are places cost no more than the time that a registration
/// may take.
#[tokio::test]
async fn no_number_of_silent_connections_keeps_a_plugin_out() {
    let runtime = runtime()
        .config(|config| config.plugin_registration_timeout = Duration::from_millis(300))
        .start()
        .await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(UnixStream::connect(runtime.socket()).await.unwrap());
    }
    let good = FakePlugin::new("10-good");
    let connected = good.connect(runtime.socket()).await.unwrap();
    connected.register().await.unwrap();
    runtime.watcher().wait_for("synchronized 10-good").await;
}

/// A7 (containerd/ttrpc#174): the reference's deadline does not cover the write, so a plugin that
/// reads no more blocks the event for ever, and with it every other.
#[tokio::test]
async fn a_plugin_that_reads_no_more_is_late_like_any_other() {
    // What bounds a single write is the general time for requests.
    let runtime = with_hasty("deaf", |_| {})
        .request_timeout(Duration::from_secs(2))
        .start()
        .await;
    let other = FakePlugin::new("20-other");
    let deaf = runtime.join(&FakePlugin::new("10-deaf")).await;
    let _other = runtime.join(&other).await;
    deaf.wire().stop_reading();
    let begun = Instant::now();
    let mut large = runtime.pod("large");
    large.annotations.insert("a".into(), "x".repeat(3 << 20));
    let nri = runtime.nri();
    nri.run_pod_sandbox(&Ctx::new(), &large).await.unwrap();
    runtime.run_pod("small").await;
    assert!(begun.elapsed() < TEST_TIMEOUT, "{:?}", begun.elapsed());
    other.assert_events(&["RunPodSandbox large", "RunPodSandbox small"]);
    // What is stuck in the middle of a message cannot be gone on with.
    runtime.watcher().wait_for("gone 10-deaf").await;
}

/// A8: with one pod and 40 containers of 200 KiB, the reference never comes to the end of a
/// synchronisation.
#[tokio::test]
async fn few_pods_with_large_containers_are_synchronised() {
    let builder = runtime();
    builder.domain().put_pod(api::PodSandbox {
        id: "p".into(),
        ..Default::default()
    });
    for n in 0..40 {
        let container = fat("p", &format!("c{n:02}"), 200 << 10);
        builder.domain().put_container(container);
    }
    let runtime = builder.start().await;
    let plugin = FakePlugin::new("10-hungry");
    let _connected = runtime.join(&plugin).await;
    let (pods, containers) = plugin.shown();
    assert_eq!(pods, ["p"]);
    let expected: Vec<String> = (0..40).map(|n| format!("c{n:02}")).collect();
    assert_eq!(containers, expected);
}

/// A9: with one pod and 9 containers of 1 MiB, the reference panics the runtime.
#[tokio::test]
async fn one_pod_with_huge_containers_is_synchronised() {
    let builder = runtime();
    builder.domain().put_pod(api::PodSandbox {
        id: "p".into(),
        ..Default::default()
    });
    for n in 0..9 {
        let container = fat("p", &format!("c{n}"), 1 << 20);
        builder.domain().put_container(container);
    }
    let runtime = builder.start().await;
    let plugin = FakePlugin::new("10-hungry");
    let _connected = runtime.join(&plugin).await;
    assert_eq!(plugin.shown().1.len(), 9);
}

/// A11 (containerd/nri#165, containerd/containerd#11671): the reference handles one request at a
/// time in the whole runtime; 50 pods at once with one plugin that takes 100 ms took up to 5 s.
#[tokio::test]
async fn pods_do_not_wait_for_each_other() {
    const PODS: usize = 50;
    let runtime = runtime()
        .config(|config| {
            let mut parallel = PluginConfig::default();
            parallel.max_in_flight = Some(PODS);
            config.plugins.insert("parallel".into(), parallel);
        })
        .start()
        .await;
    let gate = Gate::new();
    let plugin =
        FakePlugin::new("10-parallel").on(Event::RunPodSandbox, Behavior::usual().behind(&gate));
    let _connected = runtime.join(&plugin).await;
    let mut pods = JoinSet::new();
    for n in 0..PODS {
        let (nri, pod) = (runtime.nri().clone(), runtime.pod(&format!("p{n}")));
        pods.spawn(async move { nri.run_pod_sandbox(&Ctx::new(), &pod).await });
    }
    // All are there at the same time: none is answered before.
    gate.visitors(PODS).await;
    gate.open();
    while let Some(pod) = pods.join_next().await {
        pod.unwrap().unwrap();
    }
}

/// A11: also with one request at a time per plugin, which is the default, a slow plugin holds up
/// only those that need it.
#[tokio::test]
async fn a_pod_at_one_plugin_does_not_keep_another_from_the_next() {
    let runtime = runtime().start().await;
    let gate = Gate::new();
    let first = FakePlugin::new("10-first");
    let slow = FakePlugin::new("20-slow")
        .subscribe(Event::RunPodSandbox)
        .on(Event::RunPodSandbox, Behavior::usual().behind(&gate));
    let _connected = (runtime.join(&first).await, runtime.join(&slow).await);
    let old = runtime.pod("old");
    let nri = runtime.nri().clone();
    let mut pods = JoinSet::new();
    for id in ["a", "b"] {
        let (nri, pod) = (nri.clone(), runtime.pod(id));
        pods.spawn(async move { nri.run_pod_sandbox(&Ctx::new(), &pod).await });
        first.wait_for(&format!("RunPodSandbox {id}")).await;
    }
    // Who does not need the slow one is done.
    nri.update_pod_sandbox(&Ctx::new(), &old, None, None)
        .await
        .unwrap();
    gate.visitors(1).await;
    gate.open();
    while let Some(pod) = pods.join_next().await {
        pod.unwrap().unwrap();
    }
}

/// A14 (containerd/containerd#8426): after a restart of the runtime, the reference does not tell
/// plugins of the stop and the removal of pods from before.
#[tokio::test]
async fn pods_from_before_a_restart_are_stopped_and_removed_for_plugins() {
    let before = TestRuntime::start().await;
    let pod = before.run_pod("p").await;
    let container = before.create(&pod, "c").await;
    before.nri().stop().await;

    let builder = TestRuntime::builder();
    builder.domain().put_pod(pod.clone());
    builder.domain().put_container(container);
    let after = builder.start().await;
    let plugin = FakePlugin::new("10-watch");
    let _connected = after.join(&plugin).await;
    assert_eq!(plugin.shown(), (vec!["p".to_owned()], vec!["c".to_owned()]));
    after.stop_container(&pod, "c").await;
    after.remove_container(&pod, "c").await;
    after.stop_pod(&pod).await;
    after.remove_pod(&pod).await;
    plugin.assert_events(&[
        "StopContainer c",
        "RemoveContainer c",
        "StopPodSandbox p",
        "RemovePodSandbox p",
    ]);
}

/// What a runtime answers to a registration.
struct Accepting;

#[async_trait]
impl RuntimeService for Accepting {
    async fn register_plugin(
        &self,
        _: CallContext,
        _: api::RegisterPluginRequest,
    ) -> Result<api::Empty, Status> {
        Ok(api::Empty::default())
    }
}

/// A plugin that has nothing to do.
struct Idle;

#[async_trait]
impl Plugin for Idle {
    fn events(&self) -> nri_core::EventMask {
        Event::RunPodSandbox.into()
    }

    async fn run_pod_sandbox(
        &self,
        _: &PluginCtx,
        _: api::RunPodSandboxRequest,
    ) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// A22: the reference's plugin library hangs for ever if the runtime drops the connection between
/// the registration and the configuration, whatever deadline it was given.
#[tokio::test]
async fn a_plugin_does_not_wait_for_a_runtime_that_has_gone() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nri.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let runner = Runner::builder(Idle)
        .identity("10-idle")
        .socket(&socket)
        .use_environment(false)
        .configure_timeout(Duration::from_secs(3600))
        .build()
        .unwrap();
    let run = tokio::spawn(runner.run());
    let (stream, _) = listener.accept().await.unwrap();
    let connection = Connection::builder(Role::Runtime)
        .serve(RuntimeServer::new(Arc::new(Accepting)))
        .start(stream);
    // Gone as soon as the registration is answered.
    while connection.stats().messages_out == 0 {
        tokio::task::yield_now().await;
    }
    drop(connection);
    let ended = tokio::time::timeout(TEST_TIMEOUT, run).await;
    let error = ended.expect("it does not hang").unwrap().unwrap_err();
    assert!(error.to_string().contains("connection"), "{error}");
}

/// A1 (containerd/nri#114, containerd/nri#90, containerd/containerd#10773): one late answer is the
/// end of a plugin in the reference.
#[tokio::test]
async fn a_plugin_that_was_late_once_takes_part_in_the_next_event() {
    let runtime = with_hasty("slow", |_| {}).start().await;
    let gate = Gate::new();
    let plugin = FakePlugin::new("10-slow").on(
        When::from(Event::RunPodSandbox).of("a"),
        Behavior::usual().behind(&gate),
    );
    let _connected = runtime.join(&plugin).await;
    runtime.run_pod("a").await;
    let outcomes = runtime.watcher().outcomes("10-slow", Event::RunPodSandbox);
    assert_eq!(outcomes, [CallOutcome::Late]);
    gate.open();
    runtime.wait_for_plugins(&["10-slow"]).await;
    runtime.run_pod("b").await;
    plugin.assert_events(&["RunPodSandbox a", "RunPodSandbox b"]);
    let registrations: BTreeSet<u64> = runtime
        .nri()
        .plugins()
        .iter()
        .map(|info| info.plugin.registration)
        .collect();
    assert_eq!(registrations, [1].into(), "it never had to come again");
}
