//! From the connection to the first event: who may become a plugin, and what becomes of the others.

use std::time::Duration;

use nri_adaptation::{Ctx, PluginKind, PluginState, RuntimeApi};
use nri_core::api;
use nri_proto::transport::{CallError, Code};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::support::*;

fn status(result: Result<api::Empty, CallError>) -> (Code, String) {
    match result {
        Err(CallError::Status(status)) => (status.code, status.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plugin_registers_is_configured_synchronised_and_gets_events() {
    let world = World::started_with(|config| {
        config.plugin_registration_timeout = TEST_TIMEOUT;
        config.plugin_request_timeout = TEST_TIMEOUT * 2;
    })
    .await;
    let early = world.pod("p0").await;
    world.container(&early, "c0").await;
    let fake = Fake::all_events("10-good");
    let _peer = fake.join(&world).await;

    let configured = fake.got.all();
    let request = api::ConfigureRequest::decode(&*configured[0].payload).unwrap();
    let times = [request.registration_timeout, request.request_timeout].map(i64::from);
    let milliseconds = TEST_TIMEOUT.as_millis() as i64;
    assert_eq!(times, [milliseconds, 2 * milliseconds]);
    assert_eq!(
        (
            request.runtime_name.as_str(),
            request.runtime_version.as_str()
        ),
        ("test-runtime", "1.2.3")
    );
    assert_eq!(
        (request.nri_version.as_str(), request.config.as_str()),
        ("v0.12.5", "")
    );
    assert_eq!(fake.shown(), (vec!["p0".to_owned()], vec!["c0".to_owned()]));

    let info = world.nri.plugins();
    assert_eq!(info.len(), 1);
    assert_eq!(info[0].plugin.to_string(), "10-good");
    assert_eq!(
        (info[0].kind, info[0].state),
        (PluginKind::External, PluginState::Ready)
    );
    assert_eq!(info[0].pid, Some(std::process::id().cast_signed()));
    assert_eq!(info[0].nri_version, "v0.12.5");

    world.pod("p1").await;
    assert_eq!(fake.events_seen(), ["RunPodSandbox p1"]);
}

#[tokio::test]
async fn configure_does_not_wait_for_the_answer_to_the_registration_nor_come_before_it() {
    let world = World::started().await;
    let fake = Fake::all_events("10-plugin");
    let peer = fake.connect(&world).await;
    // The runtime never speaks first.
    tokio::task::yield_now().await;
    assert_eq!(fake.got.all().len(), 0);
    let registered = peer.register().await;
    assert!(registered.is_ok());
    fake.got
        .wait("configure", |got| {
            got.iter().any(|got| got.method == "Configure")
        })
        .await;
}

#[tokio::test]
async fn invalid_identities_are_refused_with_the_reason_and_closed() {
    let world = World::started().await;
    for (index, name, text) in [
        ("1", "x", "invalid plugin index: "),
        ("aa", "x", "invalid plugin index: "),
        ("", "x", "invalid plugin index: "),
        ("10", "", "invalid plugin name: "),
        ("10", "a/b", "invalid plugin name: "),
        ("10", "a\nb", "invalid plugin name: "),
    ] {
        let mut fake = Fake::all_events("10-x");
        (fake.index, fake.name) = (index.into(), name.into());
        let peer = fake.connect(&world).await;
        let (code, message) = status(peer.register().await);
        assert_eq!(code, Code::Unknown);
        assert!(message.starts_with(text), "{message}");
        assert_eq!(peer.closed().await, "closed by the peer");
        assert!(fake.got.all().is_empty(), "nothing was asked of it");
    }
    world.observer.wait_for_count("refused", 6).await;
    assert!(world.nri.plugins().is_empty());
}

#[tokio::test]
async fn a_second_registration_is_an_error_and_the_end() {
    let world = World::started().await;
    let fake = Fake::all_events("10-nobody");
    let mut peer = fake.join(&world).await;
    peer.fake.name = "trusted".into();
    let (code, message) = status(peer.register().await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains("10-nobody"), "{message}");
    peer.closed().await;
    world.observer.wait_for("gone 10-nobody").await;
    assert!(world.nri.plugins().is_empty());
}

#[tokio::test]
async fn silent_and_garbage_peers_do_not_hold_up_a_good_one() {
    let world = World::started_with(|config| {
        config.plugin_registration_timeout = Duration::from_secs(3600);
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(UnixStream::connect(world.socket()).await.unwrap());
    }
    let mut garbage = UnixStream::connect(world.socket()).await.unwrap();
    garbage.write_all(&[0xff; 4096]).await.unwrap();
    let mut flood = UnixStream::connect(world.socket()).await.unwrap();
    // A frame for nobody that announces much and goes on and on.
    flood
        .write_all(&[0, 0, 0, 9, 0, 0xff, 0xff, 0xff])
        .await
        .unwrap();
    while flood.write_all(&[0; 4096]).await.is_ok() {}

    let good = Fake::all_events("10-good");
    let peer = good.join(&world).await;
    world.pod("p1").await;
    assert_eq!(good.events_seen(), ["RunPodSandbox p1"]);

    // Garbage ends its connection, and so do too many bytes.
    let mut rest = Vec::new();
    let _ = garbage.read_to_end(&mut rest).await;
    world.observer.wait_for_count("refused", 2).await;
    let notices = world.observer.notices.all();
    assert!(
        notices.iter().any(|n| n.contains("before registration")),
        "{notices:?}"
    );
    assert_eq!(world.nri.plugins().len(), 1);
    drop(peer);
}

#[tokio::test]
async fn silent_peers_are_closed_when_their_time_is_over() {
    let world = World::started_with(|config| {
        config.plugin_registration_timeout = Duration::from_millis(300);
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(UnixStream::connect(world.socket()).await.unwrap());
    }
    world.observer.wait_for_count("refused", 20).await;
    let mut rest = Vec::new();
    for mut silent in silent {
        let end = silent.read_to_end(&mut rest);
        let end = tokio::time::timeout(TEST_TIMEOUT, end).await.unwrap();
        assert_eq!(end.unwrap(), 0);
    }
    let notices = world.observer.notices.all();
    let late = "did not register within 300ms";
    assert!(notices.iter().all(|n| n.contains(late)), "{notices:?}");
}

#[tokio::test]
async fn event_masks_are_checked() {
    let world = World::started().await;
    let mut all = Fake::new("10-all", &[]);
    all.events = 0;
    let _all = all.join(&world).await;
    assert_eq!(world.nri.plugins()[0].events, nri_core::EventMask::ALL);
    for bits in [0x4000, -1, i32::MIN] {
        let mut bad = Fake::new("20-bad", &[]);
        bad.events = bits;
        let peer = bad.connect(&world).await;
        peer.register().await.unwrap();
        peer.closed().await;
    }
    world
        .observer
        .wait_for_count("refused 20-bad: it cannot be configured: ", 3)
        .await;
    assert_eq!(world.nri.plugins().len(), 1);
    // What such a plugin does not know is not held against it.
    let pod = world.pod("p1").await;
    world.container(&pod, "c1").await;
    world
        .nri
        .update_pod_sandbox(&Ctx::new(), &pod, None, None)
        .await
        .unwrap();
}

#[tokio::test]
async fn implicit_subscribers_may_not_know_validation_and_pod_updates() {
    let world = World::started().await;
    let mut old = Fake::new("10-old", &[]).acting(std::sync::Arc::new(|got: Got| {
        let newer = ["UpdatePodSandbox", "ValidateContainerAdjustment"];
        let unknown = newer.contains(&got.method.as_str());
        Box::pin(async move {
            unknown.then(|| Err(nri_proto::transport::Status::unknown_method("newer")))
        })
    }));
    old.events = 0;
    let _peer = old.join(&world).await;
    let pod = world.pod("p1").await;
    world.container(&pod, "c1").await;
    world
        .nri
        .update_pod_sandbox(&Ctx::new(), &pod, None, None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_plugin_may_crash_at_any_step() {
    let world = World::started().await;
    // Before registering, and while it does.
    drop(UnixStream::connect(world.socket()).await.unwrap());
    for step in [
        "Configure",
        "Synchronize",
        "RunPodSandbox",
        "CreateContainer",
    ] {
        let fake = Fake::all_events("10-crash").on(step, |_| std::future::pending());
        let peer = fake.connect(&world).await;
        peer.register().await.unwrap();
        let handshake = matches!(step, "Configure" | "Synchronize");
        if !handshake {
            let ready = if step == "RunPodSandbox" { 1 } else { 2 };
            world
                .observer
                .wait_for_count("synchronized 10-crash", ready)
                .await;
        }
        let (pod, runtime) = (pod(&format!("pod-{step}")), world.nri.clone());
        let life = tokio::spawn(async move {
            if handshake {
                return Ok(());
            }
            runtime.run_pod_sandbox(&Ctx::new(), &pod).await?;
            let container = container(&pod, step);
            let creation = runtime
                .create_container(&Ctx::new(), &pod, &container)
                .await?;
            creation.commit();
            runtime
                .remove_container(&Ctx::new(), &pod, &container)
                .await
        });
        fake.got
            .wait(step, |got| got.iter().any(|got| got.method == step))
            .await;
        drop(peer);
        life.await.unwrap().unwrap();
    }
    let gone = |all: &Vec<String>| {
        all.iter()
            .filter(|n| n.starts_with("gone 10-crash"))
            .count()
            == 3
    };
    world
        .observer
        .notices
        .wait("three gone plugins", gone)
        .await;
    assert!(world.nri.plugins().is_empty());
    let good = Fake::all_events("20-good");
    let _peer = good.join(&world).await;
    world.pod("last").await;
    assert_eq!(good.events_seen(), ["RunPodSandbox last"]);
}

#[tokio::test]
async fn updates_before_the_registration_are_refused() {
    let world = World::started().await;
    let peer = Fake::all_events("10-eager").connect(&world).await;
    match peer.update(vec![memory("c1", 1)], Vec::new()).await {
        Err(CallError::Status(status)) => assert_eq!(status.code, Code::FailedPrecondition),
        other => panic!("{other:?}"),
    }
    assert!(world.domain.updates.all().is_empty());
    peer.register().await.unwrap();
}

#[tokio::test]
async fn a_name_can_be_bound_to_users() {
    let own = rustix::process::geteuid().as_raw();
    let world = World::started_with(|config| {
        let mut bound = nri_adaptation::config::PluginConfig::default();
        bound.allowed_uids = Some(vec![own + 1]);
        config.plugins.insert("trusted".into(), bound);
    })
    .await;
    let peer = Fake::all_events("10-trusted").connect(&world).await;
    let (code, message) = status(peer.register().await);
    assert_eq!(code, Code::PermissionDenied, "{message}");
    peer.closed().await;
    let _other = Fake::all_events("10-other").join(&world).await;
}

#[tokio::test]
async fn users_that_are_not_listed_cannot_connect() {
    let own = rustix::process::geteuid().as_raw();
    let world = World::started_with(|config| config.allowed_uids = vec![own + 1]).await;
    let peer = Fake::all_events("10-plugin").connect(&world).await;
    assert!(peer.register().await.is_err());
    world.observer.wait_for("refused process").await;
}

#[tokio::test]
async fn there_can_be_too_many_plugins() {
    let world = World::started_with(|config| config.max_plugins = 1).await;
    let _one = Fake::all_events("10-one").join(&world).await;
    let two = Fake::all_events("20-two").connect(&world).await;
    two.register().await.unwrap();
    two.closed().await;
    world
        .observer
        .wait_for("gone 20-two: there are 1 plugins already")
        .await;
}

#[tokio::test]
async fn a_new_instance_takes_over_from_an_old_one() {
    let world = World::started().await;
    let old = Fake::all_events("10-twin");
    let old_peer = old.join(&world).await;
    let new = Fake::all_events("10-twin");
    let new_peer = new.connect(&world).await;
    new_peer.register().await.unwrap();
    world
        .observer
        .wait_for_count("synchronized 10-twin", 2)
        .await;
    world.pod("p1").await;
    assert_eq!(new.events_seen(), ["RunPodSandbox p1"]);
    assert_eq!(old.events_seen(), [] as [&str; 0]);
    old.got
        .wait("good-bye", |got| {
            got.iter().any(|got| got.method == "Shutdown")
        })
        .await;
    old_peer.closed().await;
    assert_eq!(world.nri.plugins().len(), 1);
}

#[tokio::test]
async fn an_instance_that_cannot_take_over_leaves_the_old_one_in_place() {
    let world = World::started().await;
    let old = Fake::all_events("10-twin");
    let _old_peer = old.join(&world).await;
    let new = Fake::all_events("10-twin").on("Synchronize", |_| std::future::pending());
    let new_peer = new.connect(&world).await;
    new_peer.register().await.unwrap();
    new.got
        .wait("synchronize", |got| {
            got.iter().any(|got| got.method == "Synchronize")
        })
        .await;
    let runtime = world.nri.clone();
    let waiting =
        tokio::spawn(async move { runtime.run_pod_sandbox(&Ctx::new(), &pod("p1")).await });
    tokio::task::yield_now().await;
    drop(new_peer);
    waiting.await.unwrap().unwrap();
    world.observer.wait_for("gone 10-twin").await;
    world.pod("p2").await;
    assert_eq!(old.events_seen(), ["RunPodSandbox p1", "RunPodSandbox p2"]);
}

#[tokio::test]
async fn a_part_of_the_runtime_cannot_be_replaced() {
    struct Nothing;
    impl nri_core::Plugin for Nothing {
        fn events(&self) -> nri_core::EventMask {
            nri_core::EventMask::NONE
        }
    }
    let id = "10-inner".parse().unwrap();
    let world = World::with(
        |_| {},
        |builder| builder.plugin(id, std::sync::Arc::new(Nothing)),
    );
    world.nri.start().await.unwrap();
    let peer = Fake::all_events("10-inner").connect(&world).await;
    peer.register().await.unwrap();
    peer.closed().await;
    let notices = world.observer.wait_for("gone 10-inner").await;
    assert!(
        notices.iter().any(|n| n.contains("part of the runtime")),
        "{notices:?}"
    );
    assert_eq!(world.nri.plugins()[0].kind, PluginKind::BuiltIn);
}
