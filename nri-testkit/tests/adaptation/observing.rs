//! What an instance tells about itself: metrics, introspection, records of who changed what,
//! readiness.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use nri_adaptation::{
    Ctx, ErrorClass, Event, EventMask, Metrics, PluginId, PluginKind, PluginState, RuntimeApi as _,
    api,
};
use nri_proto::transport::Code;
use nri_testkit::{Behavior, FakePlugin, PluginEvent, TEST_TIMEOUT, TestRuntime};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::values::{memory, patient};

/// Keeps what it is told, in words, but for how long things took.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn push(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    /// What was told since the last time.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Metrics for Told {
    fn record_invocation(
        &self,
        plugin: &PluginId,
        op: &'static str,
        result: Result<(), ErrorClass>,
    ) {
        let result = result.map_or_else(ErrorClass::as_str, |()| "ok");
        self.push(format!("{plugin} {op} {result}"));
    }
    fn record_latency(&self, plugin: &PluginId, op: &'static str, _: Duration) {
        self.push(format!("{plugin} {op} took"));
    }
    fn record_adjustments(
        &self,
        plugin: &PluginId,
        op: &'static str,
        adjustment: Option<&api::ContainerAdjustment>,
        updates: usize,
        evictions: usize,
    ) {
        let adjusts = adjustment.is_some();
        self.push(format!("{plugin} {op} {adjusts} {updates} {evictions}"));
    }
    fn set_plugin_count(&self, count: usize) {
        self.push(format!("{count} plugins"));
    }
}

/// An answer to a creation that asks for all there is.
fn full_answer() -> Behavior {
    let mut adjust = api::ContainerAdjustment::default();
    adjust
        .annotations
        .insert("colour".into(), "secret-blue".into());
    let eviction = api::ContainerEviction {
        container_id: "c2".into(),
        reason: "room".into(),
    };
    Behavior::answer(api::CreateContainerResponse {
        adjust: Some(adjust),
        update: vec![memory("c1", 77_777)],
        evict: vec![eviction],
    })
}

fn adjusting(id: &str) -> FakePlugin {
    let events = [Event::CreateContainer, Event::StartContainer];
    FakePlugin::new(id)
        .subscribe(events.into_iter().collect::<EventMask>())
        .on(Event::CreateContainer, full_answer())
        .on(Event::StartContainer, Behavior::fail(Code::NotFound, "no"))
}

/// A pod with two containers that the domain lists, which plugins were not asked about.
async fn with_two(runtime: &TestRuntime) -> api::PodSandbox {
    let pod = runtime.run_pod("p").await;
    for id in ["c1", "c2"] {
        let container = runtime.container(&pod, id);
        runtime.domain().put_container(container);
    }
    pod
}

#[tokio::test]
async fn calls_are_counted_as_the_reference_counts_them() {
    let told = Arc::new(Told::default());
    let metrics = Arc::clone(&told);
    let builder = patient().with(|builder| builder.metrics(metrics));
    let runtime = builder.start().await;
    let connected = runtime.join(&adjusting("10-a")).await;
    assert_eq!(
        told.take(),
        [
            "10-a Synchronize took",
            "10-a Synchronize ok",
            "10-a Synchronize false 0 0",
            "1 plugins"
        ]
    );
    let pod = with_two(&runtime).await;
    assert_eq!(told.take(), [""; 0], "it is not subscribed");
    let container = runtime.try_create(&pod, "c").await.unwrap();
    assert_eq!(
        told.take(),
        [
            "10-a CreateContainer true 1 1",
            "10-a CreateContainer took",
            "10-a CreateContainer ok"
        ]
    );
    let nri = runtime.nri();
    let failed = nri.start_container(&Ctx::new(), &pod, &container).await;
    assert!(failed.is_err());
    assert_eq!(
        told.take(),
        ["10-a StartContainer took", "10-a StartContainer not_found"]
    );
    connected.exit();
    runtime.watcher().wait_for("gone 10-a").await;
    assert_eq!(told.take(), ["0 plugins"]);
}

/// Metrics that block once a pod was run by a plugin, until they are let go.
struct Blocking {
    entered: mpsc::Sender<()>,
    go: Mutex<mpsc::Receiver<()>>,
}

impl Metrics for Blocking {
    fn record_invocation(&self, _: &PluginId, op: &'static str, _: Result<(), ErrorClass>) {
        if op == "RunPodSandbox" {
            self.entered.send(()).unwrap();
            // Until they are let go, or the test is over.
            let _ = tokio::task::block_in_place(|| self.go.lock().unwrap().recv());
        }
    }
}

/// Law: whoever is told of a call, and blocks, keeps nothing from being read: neither from the
/// plugin that answered, nor from another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn metrics_that_block_hold_up_no_reading() {
    let (entered, is_in) = mpsc::channel();
    let (let_go, go) = mpsc::channel();
    let metrics = Arc::new(Blocking {
        entered,
        go: Mutex::new(go),
    });
    let builder = patient().with(|builder| builder.metrics(metrics));
    let runtime = builder.start().await;
    let runs = FakePlugin::new("10-a").subscribe(Event::RunPodSandbox);
    let other = FakePlugin::new("20-b").subscribe(Event::CreateContainer);
    let (runs, other) = (runtime.join(&runs).await, runtime.join(&other).await);
    runtime.domain().put_container(api::Container {
        id: "c1".into(),
        ..Default::default()
    });
    let (nri, pod) = (runtime.nri().clone(), runtime.pod("p"));
    let run = tokio::spawn(async move { nri.run_pod_sandbox(&Ctx::new(), &pod).await });
    while is_in.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    for plugin in [&runs, &other, &runs] {
        let failed = plugin.update(vec![memory("c1", 1 << 20)], Vec::new()).await;
        assert_eq!(failed.unwrap(), []);
    }
    assert!(!run.is_finished(), "it is told of the call first");
    let_go.send(()).unwrap();
    run.await.unwrap().unwrap();
}

#[tokio::test]
async fn plugins_can_be_looked_at() {
    let builder = patient().request_timeout(Duration::from_millis(100));
    let runtime = builder.start().await;
    let nri = runtime.nri();
    let plugin = adjusting("10-a").on(Event::StartContainer, Behavior::hang());
    let _connected = runtime.join(&plugin).await;
    let pod = with_two(&runtime).await;
    let c = runtime.try_create(&pod, "c").await.unwrap();
    let info = &nri.plugins()[0];
    assert_eq!(
        (info.kind, info.state),
        (PluginKind::External, PluginState::Ready)
    );
    assert_eq!(info.pid, Some(std::process::id() as i32));
    assert_eq!(info.uid, Some(rustix::process::geteuid().as_raw()));
    assert_eq!(info.gid, Some(rustix::process::getegid().as_raw()));
    assert_eq!(info.nri_version, "v0.12.5");
    assert!(
        info.events.contains(Event::StartContainer) && !info.events.contains(Event::StopContainer)
    );
    assert_eq!(
        (
            info.calls.calls,
            info.calls.latency.count,
            info.calls.in_flight
        ),
        (1, 1, 0)
    );
    assert_eq!((info.restarts, &info.last_error), (0, &None));

    nri.start_container(&Ctx::new(), &pod, &c).await.unwrap();
    let info = &nri.plugins()[0];
    assert_eq!(
        (
            info.calls.calls,
            info.calls.timeouts,
            info.calls.timeouts_in_a_row
        ),
        (2, 1, 1)
    );
    assert_eq!(info.state, PluginState::Late);
    let error = info.last_error.as_deref();
    assert_eq!(error, Some("StartContainer: it did not answer in time"));
}

/// Everything that was logged in one test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn who_changed_what_is_recorded_without_values() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::DEBUG)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(log.clone())
        .finish();
    // With one subscriber only, tracing asks that of the thread that first comes to a place, which
    // may be another test's without any, and remembers that nobody wants to know.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let logging = tracing::subscriber::set_default(subscriber);
    let runtime = patient().start().await;
    let connected = runtime.join(&adjusting("10-a")).await;
    let pod = with_two(&runtime).await;
    runtime.try_create(&pod, "c").await.unwrap();
    let line = "c: Annotations \"colour\" by 10-a; c1: MemLimit by 10-a; c2: evicted by 10-a";
    let watcher = runtime.watcher();
    watcher.wait_for(&format!("adjusted {line}")).await;
    let asked = connected.update(vec![memory("c1", 88_888)], Vec::new());
    asked.await.unwrap();
    watcher.wait_for("adjusted c1: MemLimit by 10-a").await;
    runtime.nri().stop().await;
    drop(logging);

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let audited: Vec<&str> = log.lines().filter(|l| l.contains("nri::audit")).collect();
    assert_eq!(audited.len(), 2, "{log}");
    for part in [
        line,
        "event=\"CreateContainer\"",
        "pod=\"p\"",
        "container=\"c\"",
        "changes=2 evictions=1",
    ] {
        assert!(audited[0].contains(part), "no {part:?} in {}", audited[0]);
    }
    assert!(
        audited[1].contains("event=\"UpdateContainers\""),
        "{}",
        audited[1]
    );
    for secret in ["secret-blue", "77777", "88888"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    // The span of the call says what it was about, and what came of it.
    let mut spans = log.lines().filter(|line| line.contains(": close"));
    let call = spans.find(|line| line.contains("nri_plugin_call")).unwrap();
    for part in [
        "nri_event{event=CreateContainer pod=\"p\" container=\"c\"}",
        "nri_plugin_call{event=CreateContainer pod=\"p\" container=\"c\" plugin=10-a",
        "outcome=\"answered\"",
        "duration=",
    ] {
        assert!(call.contains(part), "no {part:?} in {call}");
    }
}

#[tokio::test]
async fn a_plugin_that_is_built_against_an_old_nri_is_told_of_once_per_event() {
    let runtime = patient().start().await;
    let unknown = Behavior::unimplemented();
    let plugin = FakePlugin::new("10-old").on(Event::RunPodSandbox, unknown);
    let _connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p1").await;
    runtime.run_pod("p2").await;
    runtime.stop_pod(&pod).await;
    let notices = runtime.watcher().notices().all().into_iter();
    let told = notices.filter(|notice| matches!(notice, PluginEvent::Deprecated { .. }));
    let told: Vec<String> = told.map(|notice| notice.to_string()).collect();
    assert_eq!(
        told,
        [
            "deprecated 10-old RunPodSandbox",
            "deprecated 10-old StopPodSandbox"
        ]
    );
}

#[tokio::test]
async fn readiness_says_which_required_plugins_are_not_there() {
    let builder = patient().config(|config| {
        config.default_validator.required_plugins = vec!["policy".into(), "20-b".into()];
    });
    let runtime = builder.build();
    let nri = runtime.nri();
    let mut readiness = nri.watch_readiness();
    let mut missing = async |names: &[&str]| {
        let there = readiness.wait_for(|readiness| readiness.missing == names);
        let there = tokio::time::timeout(TEST_TIMEOUT, there).await;
        there.unwrap().unwrap();
    };
    missing(&["policy", "20-b"]).await;
    nri.start().await.unwrap();
    let plugin = |id: &str| FakePlugin::new(id).subscribe(Event::RunPodSandbox);
    let b = runtime.join(&plugin("20-b")).await;
    missing(&["policy"]).await;
    let first = runtime.join(&plugin("10-policy")).await;
    missing(&[]).await;
    assert!(nri.readiness().is_ready());
    // Another one of this name is as good.
    let _second = runtime.join(&plugin("30-policy")).await;
    first.exit();
    runtime.watcher().wait_for("gone 10-policy").await;
    b.exit();
    missing(&["20-b"]).await;
    assert!(!nri.readiness().is_ready());
    nri.stop().await;
    missing(&["policy", "20-b"]).await;
}

/// What a disabled instance does not do, nobody misses, whatever is configured later.
#[tokio::test]
async fn a_disabled_instance_misses_no_plugin() {
    let builder = patient().config(|config| {
        config.disable = true;
        config.default_validator.required_plugins = vec!["policy".into()];
    });
    let runtime = builder.build();
    assert!(runtime.nri().readiness().is_ready());
    let mut config = (*runtime.nri().config()).clone();
    config
        .default_validator
        .required_plugins
        .push("other".into());
    runtime.nri().reconfigure(config).await.unwrap();
    assert!(runtime.nri().readiness().is_ready());
}
