//! From the connection to the first event: who may become a plugin, and what becomes of the others.

use std::time::Duration;

use nri_adaptation::config::PluginConfig;
use nri_adaptation::{Ctx, Event, EventMask, PluginKind, PluginState, RuntimeApi as _};
use nri_proto::transport::{CallError, Code};
use nri_testkit::{Behavior, FakePlugin, TEST_TIMEOUT, When};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::values::{memory, patient};

fn status(result: Result<(), CallError>) -> (Code, String) {
    match result {
        Err(CallError::Status(status)) => (status.code, status.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plugin_registers_is_configured_synchronised_and_gets_events() {
    let builder = patient().request_timeout(TEST_TIMEOUT * 2);
    let builder = builder.with(|builder| builder.runtime("test-runtime", "1.2.3"));
    let runtime = builder.start().await;
    let early = runtime.run_pod("p0").await;
    runtime.create(&early, "c0").await;
    let plugin = FakePlugin::new("10-good");
    let _connected = runtime.join(&plugin).await;

    let request = plugin.seen()[0].configuration().unwrap();
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
    let shown = (vec!["p0".to_owned()], vec!["c0".to_owned()]);
    assert_eq!(plugin.shown(), shown);

    let info = runtime.nri().plugins();
    assert_eq!(info.len(), 1);
    assert_eq!(info[0].plugin.to_string(), "10-good");
    assert_eq!(
        (info[0].kind, info[0].state),
        (PluginKind::External, PluginState::Ready)
    );
    assert_eq!(info[0].pid, Some(std::process::id() as i32));
    assert_eq!(info[0].nri_version, "v0.12.5");

    runtime.run_pod("p1").await;
    plugin.assert_events(&["RunPodSandbox p1"]);
}

#[tokio::test]
async fn configure_does_not_wait_for_the_answer_to_the_registration_nor_come_before_it() {
    let runtime = patient().start().await;
    let plugin = FakePlugin::new("10-plugin");
    let connected = plugin.connect(runtime.socket()).await.unwrap();
    // The runtime never speaks first.
    tokio::task::yield_now().await;
    assert!(plugin.record().is_empty());
    connected.register().await.unwrap();
    plugin.wait_for("Configure").await;
}

#[tokio::test]
async fn invalid_identities_are_refused_with_the_reason_and_closed() {
    let runtime = patient().start().await;
    for (identity, text) in [
        ("1-x", "invalid plugin index: "),
        ("aa-x", "invalid plugin index: "),
        ("-x", "invalid plugin index: "),
        ("10-", "invalid plugin name: "),
        ("10-a/b", "invalid plugin name: "),
        ("10-a\nb", "invalid plugin name: "),
    ] {
        let plugin = FakePlugin::new(identity);
        let connected = plugin.connect(runtime.socket()).await.unwrap();
        let (code, message) = status(connected.register().await);
        assert_eq!(code, Code::Unknown);
        assert!(message.starts_with(text), "{message}");
        assert_eq!(connected.closed().await, "closed by the peer");
        assert!(plugin.record().is_empty(), "nothing was asked of it");
    }
    runtime.watcher().wait_for_nth("refused", 6).await;
    assert!(runtime.nri().plugins().is_empty());
}

#[tokio::test]
async fn a_second_registration_is_an_error_and_the_end() {
    let runtime = patient().start().await;
    let connected = runtime.join(&FakePlugin::new("10-nobody")).await;
    let (code, message) = status(connected.register_as("10-trusted").await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains("10-nobody"), "{message}");
    connected.closed().await;
    runtime.watcher().wait_for("gone 10-nobody").await;
    assert!(runtime.nri().plugins().is_empty());
}

#[tokio::test]
async fn silent_and_garbage_peers_do_not_hold_up_a_good_one() {
    let time = Duration::from_secs(3600);
    let builder = patient();
    let builder = builder.config(move |config| config.plugin_registration_timeout = time);
    let runtime = builder.start().await;
    let connect = async || UnixStream::connect(runtime.socket()).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(connect().await);
    }
    let mut garbage = connect().await;
    garbage.write_all(&[0xff; 4096]).await.unwrap();
    let mut flood = connect().await;
    // A frame for nobody that announces much and goes on and on.
    let header = [0, 0, 0, 9, 0, 0xff, 0xff, 0xff];
    flood.write_all(&header).await.unwrap();
    while flood.write_all(&[0; 4096]).await.is_ok() {}

    let good = FakePlugin::new("10-good");
    let _connected = runtime.join(&good).await;
    runtime.run_pod("p1").await;
    good.assert_events(&["RunPodSandbox p1"]);

    // Garbage ends its connection, and so do too many bytes.
    let mut rest = Vec::new();
    let _ = garbage.read_to_end(&mut rest).await;
    runtime.watcher().wait_for_nth("refused", 2).await;
    let notices = runtime.watcher().notices().all();
    let why = "before registration";
    let told = notices
        .iter()
        .any(|notice| notice.to_string().contains(why));
    assert!(told, "{notices:?}");
    assert_eq!(runtime.nri().plugins().len(), 1);
}

#[tokio::test]
async fn silent_peers_are_closed_when_their_time_is_over() {
    let time = Duration::from_millis(300);
    let builder = patient();
    let builder = builder.config(move |config| config.plugin_registration_timeout = time);
    let runtime = builder.start().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(UnixStream::connect(runtime.socket()).await.unwrap());
    }
    runtime.watcher().wait_for_nth("refused", 20).await;
    let mut rest = Vec::new();
    for mut silent in silent {
        let end = silent.read_to_end(&mut rest);
        let end = tokio::time::timeout(TEST_TIMEOUT, end).await.unwrap();
        assert_eq!(end.unwrap(), 0);
    }
    let notices = runtime.watcher().notices().all();
    let late = "did not register within 300ms";
    let all = notices
        .iter()
        .all(|notice| notice.to_string().contains(late));
    assert!(all, "{notices:?}");
}

#[tokio::test]
async fn event_masks_are_checked() {
    let runtime = patient().start().await;
    let nri = runtime.nri();
    let all = FakePlugin::new("10-all").subscribe_bits(0);
    let _all = runtime.join(&all).await;
    assert_eq!(nri.plugins()[0].events, EventMask::ALL);
    for bits in [0x4000, -1, i32::MIN] {
        let bad = FakePlugin::new("20-bad").subscribe_bits(bits);
        let connected = bad.connect(runtime.socket()).await.unwrap();
        connected.register().await.unwrap();
        connected.closed().await;
    }
    let notice = "refused 20-bad: it cannot be configured: ";
    runtime.watcher().wait_for_nth(notice, 3).await;
    assert_eq!(nri.plugins().len(), 1);
    // What such a plugin does not know is not held against it.
    let pod = runtime.run_pod("p1").await;
    runtime.create(&pod, "c1").await;
    let updated = nri.update_pod_sandbox(&Ctx::new(), &pod, None, None).await;
    updated.unwrap();
}

#[tokio::test]
async fn implicit_subscribers_may_not_know_validation_and_pod_updates() {
    let runtime = patient().start().await;
    let mut old = FakePlugin::new("10-old").subscribe_bits(0);
    for newer in [Event::UpdatePodSandbox, Event::ValidateContainerAdjustment] {
        old = old.on(newer, Behavior::unimplemented());
    }
    let _connected = runtime.join(&old).await;
    let pod = runtime.run_pod("p1").await;
    runtime.create(&pod, "c1").await;
    let nri = runtime.nri();
    let updated = nri.update_pod_sandbox(&Ctx::new(), &pod, None, None).await;
    updated.unwrap();
}

#[tokio::test]
async fn a_plugin_may_crash_at_any_step() {
    let runtime = patient().start().await;
    // Before registering, and while it does.
    drop(UnixStream::connect(runtime.socket()).await.unwrap());
    for step in [
        "Configure",
        "Synchronize",
        "RunPodSandbox",
        "CreateContainer",
    ] {
        let plugin = FakePlugin::new("10-crash").on(When::method(step), Behavior::hang());
        let handshake = matches!(step, "Configure" | "Synchronize");
        let connected = match handshake {
            true => {
                let connected = plugin.connect(runtime.socket()).await.unwrap();
                connected.register().await.unwrap();
                connected
            }
            false => runtime.join(&plugin).await,
        };
        let (nri, cx) = (runtime.nri().clone(), Ctx::new());
        let pod = runtime.pod(&format!("pod-{step}"));
        let container = runtime.container(&pod, step);
        let life = tokio::spawn(async move {
            if handshake {
                return Ok(());
            }
            nri.run_pod_sandbox(&cx, &pod).await?;
            let creation = nri.create_container(&cx, &pod, &container).await?;
            creation.commit();
            nri.remove_container(&cx, &pod, &container).await
        });
        let asked =
            |seen: &[nri_testkit::ReceivedCall]| seen.iter().any(|seen| seen.method() == step);
        plugin.record().wait_for(step, asked).await;
        connected.exit();
        life.await.unwrap().unwrap();
    }
    runtime.watcher().wait_for_nth("gone 10-crash", 3).await;
    runtime.wait_for_plugins(&[]).await;
    let good = FakePlugin::new("20-good");
    let _connected = runtime.join(&good).await;
    runtime.run_pod("last").await;
    good.assert_events(&["RunPodSandbox last"]);
}

#[tokio::test]
async fn updates_before_the_registration_are_refused() {
    let runtime = patient().start().await;
    let eager = FakePlugin::new("10-eager");
    let connected = eager.connect(runtime.socket()).await.unwrap();
    let updated = connected.update(vec![memory("c1", 1)], Vec::new()).await;
    assert_eq!(status(updated.map(drop)).0, Code::FailedPrecondition);
    assert!(runtime.domain().updates().is_empty());
    connected.register().await.unwrap();
}

#[tokio::test]
async fn a_name_can_be_bound_to_users() {
    let own = rustix::process::geteuid().as_raw();
    let builder = patient().config(move |config| {
        let mut bound = PluginConfig::default();
        bound.allowed_uids = Some(vec![own + 1]);
        config.plugins.insert("trusted".into(), bound);
    });
    let runtime = builder.start().await;
    let trusted = FakePlugin::new("10-trusted");
    let connected = trusted.connect(runtime.socket()).await.unwrap();
    let (code, message) = status(connected.register().await);
    assert_eq!(code, Code::PermissionDenied, "{message}");
    connected.closed().await;
    let _other = runtime.join(&FakePlugin::new("10-other")).await;
}

#[tokio::test]
async fn users_that_are_not_listed_cannot_connect() {
    let own = rustix::process::geteuid().as_raw();
    let builder = patient();
    let builder = builder.config(move |config| config.allowed_uids = vec![own + 1]);
    let runtime = builder.start().await;
    let plugin = FakePlugin::new("10-plugin");
    let connected = plugin.connect(runtime.socket()).await.unwrap();
    assert!(connected.register().await.is_err());
    runtime.watcher().wait_for("refused process").await;
}

#[tokio::test]
async fn there_can_be_too_many_plugins() {
    let builder = patient().config(|config| config.max_plugins = 1);
    let runtime = builder.start().await;
    let _one = runtime.join(&FakePlugin::new("10-one")).await;
    let two = FakePlugin::new("20-two");
    let two = two.connect(runtime.socket()).await.unwrap();
    two.register().await.unwrap();
    two.closed().await;
    let notice = "gone 20-two: there are 1 plugins already";
    runtime.watcher().wait_for(notice).await;
}

#[tokio::test]
async fn a_new_instance_takes_over_from_an_old_one() {
    let runtime = patient().start().await;
    let old = FakePlugin::new("10-twin");
    let old_connected = runtime.join(&old).await;
    let new = FakePlugin::new("10-twin");
    let _new_connected = runtime.join(&new).await;
    runtime.run_pod("p1").await;
    new.assert_events(&["RunPodSandbox p1"]);
    old.assert_events(&[]);
    old.wait_for("Shutdown").await;
    old_connected.closed().await;
    assert_eq!(runtime.nri().plugins().len(), 1);
}

#[tokio::test]
async fn an_instance_that_cannot_take_over_leaves_the_old_one_in_place() {
    let runtime = patient().start().await;
    let old = FakePlugin::new("10-twin");
    let _old_connected = runtime.join(&old).await;
    let new = FakePlugin::new("10-twin").on(When::method("Synchronize"), Behavior::hang());
    let new_connected = new.connect(runtime.socket()).await.unwrap();
    new_connected.register().await.unwrap();
    new.wait_for("Synchronize").await;
    let (nri, pod) = (runtime.nri().clone(), runtime.pod("p1"));
    let waiting = tokio::spawn(async move { nri.run_pod_sandbox(&Ctx::new(), &pod).await });
    tokio::task::yield_now().await;
    new_connected.exit();
    waiting.await.unwrap().unwrap();
    runtime.watcher().wait_for("gone 10-twin").await;
    runtime.run_pod("p2").await;
    old.assert_events(&["RunPodSandbox p1", "RunPodSandbox p2"]);
}

#[tokio::test]
async fn a_part_of_the_runtime_cannot_be_replaced() {
    let inner = FakePlugin::new("10-inner");
    let runtime = patient().built_in(&inner).start().await;
    let outer = FakePlugin::new("10-inner");
    let connected = outer.connect(runtime.socket()).await.unwrap();
    connected.register().await.unwrap();
    connected.closed().await;
    let gone = runtime
        .watcher()
        .wait_for("gone 10-inner")
        .await
        .to_string();
    assert!(gone.contains("part of the runtime"), "{gone}");
    assert_eq!(runtime.nri().plugins()[0].kind, PluginKind::BuiltIn);
}
