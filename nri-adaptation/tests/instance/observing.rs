//! What an instance tells about itself: metrics, introspection, records of who changed what,
//! readiness.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nri_adaptation::{Ctx, ErrorClass, Metrics, PluginKind, PluginState, RuntimeApi as _};
use nri_core::{Event, PluginId, api};
use nri_proto::transport::{Code, Status};
use prost::Message as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::{Fake, TEST_TIMEOUT, World, container, memory, on, pod};

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
fn full_answer() -> Vec<u8> {
    let mut adjust = api::ContainerAdjustment::default();
    adjust
        .annotations
        .insert("colour".into(), "secret-blue".into());
    let eviction = api::ContainerEviction {
        container_id: "c2".into(),
        reason: "room".into(),
    };
    api::CreateContainerResponse {
        adjust: Some(adjust),
        update: vec![memory("c1", 77_777)],
        evict: vec![eviction],
    }
    .encode_to_vec()
}

fn adjusting(id: &str) -> Fake {
    let events = [Event::CreateContainer, Event::StartContainer];
    Fake::new(id, &events).acting(Arc::new(|got| {
        Box::pin(async move {
            match got.method.as_str() {
                "CreateContainer" => Some(Ok(full_answer())),
                "StartContainer" => Some(Err(Status::new(Code::NotFound, "no"))),
                _ => None,
            }
        })
    }))
}

#[tokio::test]
async fn calls_are_counted_as_the_reference_counts_them() {
    let told = Arc::new(Told::default());
    let world = World::with(|_| {}, |builder| builder.metrics(told.clone()));
    world.nri.start().await.unwrap();
    let peer = adjusting("10-a").join(&world).await;
    assert_eq!(
        told.take(),
        [
            "10-a Synchronize took",
            "10-a Synchronize ok",
            "10-a Synchronize false 0 0",
            "1 plugins"
        ]
    );
    let pod = world.pod("p").await;
    assert_eq!(told.take(), [""; 0], "it is not subscribed");
    for id in ["c1", "c2"] {
        world.list(&container(&pod, id));
    }
    let container = world.container(&pod, "c").await;
    assert_eq!(
        told.take(),
        [
            "10-a CreateContainer true 1 1",
            "10-a CreateContainer took",
            "10-a CreateContainer ok"
        ]
    );
    let failed = world
        .nri
        .start_container(&Ctx::new(), &pod, &container)
        .await;
    assert!(failed.is_err());
    assert_eq!(
        told.take(),
        ["10-a StartContainer took", "10-a StartContainer not_found"]
    );
    peer.connection.close();
    world.observer.wait_for("gone 10-a").await;
    assert_eq!(told.take(), ["0 plugins"]);
    world.nri.stop().await;
}

#[tokio::test]
async fn plugins_can_be_looked_at() {
    let world = World::started_with(|config| {
        config.plugin_request_timeout = Duration::from_millis(100);
    })
    .await;
    let fake = adjusting("10-a");
    let act = Arc::clone(&fake.act);
    let fake = fake.acting(Arc::new(move |got| {
        if got.method == "StartContainer" {
            return Box::pin(std::future::pending());
        }
        act(got)
    }));
    let _peer = fake.join(&world).await;
    let pod = world.pod("p").await;
    for id in ["c1", "c2"] {
        world.list(&container(&pod, id));
    }
    let c = world.container(&pod, "c").await;
    let info = &world.nri.plugins()[0];
    assert_eq!(
        (info.kind, info.state),
        (PluginKind::External, PluginState::Ready)
    );
    assert_eq!(info.pid, Some(std::process::id().cast_signed()));
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

    world
        .nri
        .start_container(&Ctx::new(), &pod, &c)
        .await
        .unwrap();
    let info = &world.nri.plugins()[0];
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
    world.nri.stop().await;
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
    let world = World::started().await;
    let peer = adjusting("10-a").join(&world).await;
    let pod = world.pod("p").await;
    for id in ["c1", "c2"] {
        world.list(&container(&pod, id));
    }
    world.container(&pod, "c").await;
    let line = "c: Annotations \"colour\" by 10-a; c1: MemLimit by 10-a; c2: evicted by 10-a";
    world.observer.wait_for(&format!("adjusted {line}")).await;
    peer.update(vec![memory("c1", 88_888)], Vec::new())
        .await
        .unwrap();
    world
        .observer
        .wait_for("adjusted c1: MemLimit by 10-a")
        .await;
    world.nri.stop().await;
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
    let world = World::started().await;
    let _peer = Fake::all_events("10-old")
        .acting(on("RunPodSandbox", |_| async {
            Some(Err(Status::unknown_method("RunPodSandbox")))
        }))
        .join(&world)
        .await;
    for id in ["p1", "p2"] {
        world
            .nri
            .run_pod_sandbox(&Ctx::new(), &pod(id))
            .await
            .unwrap();
    }
    world
        .nri
        .stop_pod_sandbox(&Ctx::new(), &pod("p1"))
        .await
        .unwrap();
    let mut told = world.observer.notices.all();
    told.retain(|notice| notice.starts_with("deprecated"));
    assert_eq!(
        told,
        [
            "deprecated 10-old RunPodSandbox",
            "deprecated 10-old StopPodSandbox"
        ]
    );
    world.nri.stop().await;
}

#[tokio::test]
async fn readiness_says_which_required_plugins_are_not_there() {
    let world = World::built(|config| {
        config.default_validator.required_plugins = vec!["policy".into(), "20-b".into()];
    });
    let mut readiness = world.nri.watch_readiness();
    let mut missing = async |names: &[&str]| {
        let there = readiness.wait_for(|readiness| readiness.missing == names);
        tokio::time::timeout(TEST_TIMEOUT, there)
            .await
            .unwrap()
            .unwrap();
    };
    missing(&["policy", "20-b"]).await;
    world.nri.start().await.unwrap();
    let b = Fake::new("20-b", &[]).join(&world).await;
    missing(&["policy"]).await;
    let first = Fake::new("10-policy", &[]).join(&world).await;
    missing(&[]).await;
    assert!(world.nri.readiness().is_ready());
    // Another one of this name is as good.
    let _second = Fake::new("30-policy", &[]).join(&world).await;
    first.connection.close();
    world.observer.wait_for("gone 10-policy").await;
    b.connection.close();
    missing(&["20-b"]).await;
    assert!(!world.nri.readiness().is_ready());
    world.nri.stop().await;
    missing(&["policy", "20-b"]).await;
}
