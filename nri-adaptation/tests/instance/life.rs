//! Starting and stopping, and instances that do nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nri_adaptation::{Config, Ctx, Nri, PluginKind, RuntimeApi};
use nri_core::{Event, EventMask, HandlerError, Plugin, PluginCtx, api};

use crate::support::*;

async fn every_call_is_a_no_op(nri: &Nri) {
    let cx = Ctx::new();
    let pod = pod("p");
    let c = container(&pod, "c");
    assert!(!nri.is_enabled());
    nri.run_pod_sandbox(&cx, &pod).await.unwrap();
    nri.update_pod_sandbox(&cx, &pod, None, None).await.unwrap();
    nri.post_update_pod_sandbox(&cx, &pod).await.unwrap();
    let creation = nri.create_container(&cx, &pod, &c).await.unwrap();
    assert!(creation.adjustment().is_none() && creation.outcomes().is_empty());
    creation.commit();
    nri.post_create_container(&cx, &pod, &c).await.unwrap();
    nri.start_container(&cx, &pod, &c).await.unwrap();
    nri.post_start_container(&cx, &pod, &c).await.unwrap();
    let asked = memory("c", 1).linux.unwrap().resources;
    assert_eq!(
        nri.update_container(&cx, &pod, &c, asked)
            .await
            .unwrap()
            .resources,
        None
    );
    nri.post_update_container(&cx, &pod, &c).await.unwrap();
    nri.notify_container_exit(&pod, &c);
    nri.stop_container(&cx, &pod, &c).await.unwrap();
    nri.remove_container(&cx, &pod, &c).await.unwrap();
    nri.stop_pod_sandbox(&cx, &pod).await.unwrap();
    nri.remove_pod_sandbox(&cx, &pod).await.unwrap();
    drop(nri.block_plugin_sync().await);
    nri.stop().await;
}

#[tokio::test]
async fn a_disabled_instance_does_nothing_at_all() {
    let world = World::built(|config| config.disable = true);
    world.nri.start().await.unwrap();
    every_call_is_a_no_op(&world.nri).await;
    assert_eq!(std::fs::read_dir(world.dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_stopped_instance_does_nothing_any_more_and_leaves_nothing_behind() {
    let world = World::started().await;
    let fake = Fake::all_events("10-plugin");
    let peer = fake.join(&world).await;
    let pod = world.pod("p").await;
    let open = world
        .nri
        .create_container(&Ctx::new(), &pod, &container(&pod, "c"))
        .await
        .unwrap();
    assert!(world.socket().exists());
    world.nri.stop().await;
    assert!(!world.socket().exists());
    fake.got
        .wait("good-bye", |got| {
            got.iter().any(|got| got.method == "Shutdown")
        })
        .await;
    peer.closed().await;
    world
        .observer
        .wait_for("gone 10-plugin: the runtime stops NRI")
        .await;
    drop(open);
    every_call_is_a_no_op(&world.nri).await;
    assert!(world.nri.plugins().is_empty());
    assert!(
        world
            .nri
            .start()
            .await
            .unwrap_err()
            .to_string()
            .contains("stopped")
    );
    assert!(
        world
            .nri
            .register_domain(Arc::new(TestDomain(Arc::default())))
            .is_err()
    );
}

#[tokio::test]
async fn stopping_is_bounded_whatever_plugins_do() {
    let world = World::started().await;
    let fake = Fake::all_events("10-deaf").on("Shutdown", |_| std::future::pending());
    let _peer = fake.join(&world).await;
    let begun = std::time::Instant::now();
    tokio::join!(world.nri.stop(), world.nri.stop());
    assert!(begun.elapsed() < TEST_TIMEOUT, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn dropping_the_last_handle_cuts_plugins_off() {
    let world = World::started().await;
    let fake = Fake::all_events("10-plugin");
    let peer = fake.join(&world).await;
    let socket = world.socket();
    drop(world);
    peer.closed().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn an_instance_starts_once() {
    let world = World::started().await;
    assert!(
        world
            .nri
            .start()
            .await
            .unwrap_err()
            .to_string()
            .contains("started already")
    );
    let late = world
        .nri
        .register_domain(Arc::new(TestDomain(Arc::default())));
    assert!(
        late.unwrap_err()
            .to_string()
            .contains("before the instance is started")
    );
}

#[tokio::test]
async fn names_stand_for_one_thing() {
    let world = World::built(|_| {});
    let error = world
        .nri
        .register_domain(Arc::new(TestDomain(Arc::default())))
        .unwrap_err();
    assert!(
        error.to_string().contains("\"test\" is registered already"),
        "{error}"
    );
    let id: nri_core::PluginId = "10-twin".parse().unwrap();
    let twins = Nri::builder(Config::default())
        .plugin(id.clone(), Arc::new(Annotator::default()))
        .plugin(id, Arc::new(Annotator::default()))
        .build();
    assert!(twins.unwrap_err().to_string().contains("10-twin"));
    let mut config = Config::default();
    config.plugin_strikes = 0;
    assert!(
        Nri::builder(config)
            .build()
            .unwrap_err()
            .to_string()
            .contains("plugin_strikes")
    );
}

#[tokio::test]
async fn sockets_that_cannot_be_opened_fail_the_start_in_one_line() {
    let world = World::started().await;
    for path in [
        world.socket(),
        world.dir.path().join("x".repeat(150)),
        "/proc/nri/nri.sock".into(),
    ] {
        let other = World::built(|config| config.socket_path = path.clone());
        let text = other.nri.start().await.unwrap_err().to_string();
        assert!(
            text.contains("cannot open the NRI socket") && !text.contains('\n'),
            "{text}"
        );
        every_call_is_a_no_op(&other.nri).await;
    }
    // The first one is as it was.
    let _peer = Fake::all_events("10-plugin").join(&world).await;
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_replaced_one_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nri.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let world = World::started_with(|config| config.socket_path = path.clone()).await;
    let _peer = Fake::all_events("10-plugin").join(&world).await;
    std::fs::remove_file(&path).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    world.nri.stop().await;
    assert!(path.exists());
}

#[tokio::test]
async fn a_listener_can_be_brought_along() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let world = World::with(
        |config| config.socket_path = path.clone(),
        |builder| builder.listener(listener),
    );
    world.nri.start().await.unwrap();
    let _peer = Fake::all_events("10-plugin").join(&world).await;
    world.nri.stop().await;
    assert!(path.exists(), "it is the caller's");
}

#[tokio::test]
async fn connections_can_be_disabled() {
    let world = World::started_with(|config| config.disable_connections = true).await;
    assert!(world.nri.is_enabled());
    assert!(!world.socket().exists());
    world.pod("p").await;
}

/// A built-in plugin that annotates, and does odd things on demand.
#[derive(Default)]
struct Annotator {
    synchronized: Log<usize>,
}

#[async_trait]
impl Plugin for Annotator {
    fn events(&self) -> EventMask {
        [Event::CreateContainer, Event::StartContainer]
            .into_iter()
            .collect()
    }

    async fn synchronize(
        &self,
        _: &PluginCtx,
        _: Vec<api::PodSandbox>,
        containers: Vec<api::Container>,
    ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
        self.synchronized.push(containers.len());
        Ok(Vec::new())
    }

    async fn create_container(
        &self,
        cx: &PluginCtx,
        request: api::CreateContainerRequest,
    ) -> Result<api::CreateContainerResponse, HandlerError> {
        assert_eq!(cx.runtime_info().name, "test-runtime");
        assert!(cx.deadline().is_some());
        match request.container.unwrap().id.as_str() {
            "panics" => panic!("as planned"),
            "fails" => return Err("as planned".into()),
            "hangs" => std::future::pending().await,
            _ => {}
        }
        let mut adjust = api::ContainerAdjustment::default();
        adjust.annotations.insert("built".into(), "in".into());
        Ok(api::CreateContainerResponse {
            adjust: Some(adjust),
            ..Default::default()
        })
    }

    async fn start_container(
        &self,
        cx: &PluginCtx,
        _: api::StartContainerRequest,
    ) -> Result<(), HandlerError> {
        let failed = cx
            .runtime()
            .update_containers(vec![memory("c", 3), memory("unknown", 3)], vec![])
            .await?;
        assert_eq!(failed.len(), 1);
        Ok(())
    }
}

#[tokio::test]
async fn built_in_plugins_are_plugins_like_others() {
    let plugin = Arc::new(Annotator::default());
    let id = "05-built-in".parse().unwrap();
    let world = World::with(
        |config| config.plugin_request_timeout = Duration::from_millis(200),
        |builder| builder.plugin(id, plugin.clone()),
    );
    let pod = pod("p");
    world
        .domain
        .pods
        .lock()
        .unwrap()
        .insert("p".into(), pod.clone());
    world.list(&container(&pod, "before"));
    world.nri.start().await.unwrap();
    assert_eq!(plugin.synchronized.all(), [1]);
    assert_eq!(world.nri.plugins()[0].kind, PluginKind::BuiltIn);

    let cx = Ctx::new();
    let c = container(&pod, "c");
    let creation = world.nri.create_container(&cx, &pod, &c).await.unwrap();
    assert_eq!(creation.adjustment().unwrap().annotations["built"], "in");
    world.list(&c);
    creation.commit();
    world.nri.start_container(&cx, &pod, &c).await.unwrap();
    assert_eq!(world.domain.updates.all(), [memory("c", 3)]);

    for id in ["panics", "fails"] {
        let error = world
            .nri
            .create_container(&cx, &pod, &container(&pod, id))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("as planned"), "{error}");
    }
    let creation = world
        .nri
        .create_container(&cx, &pod, &container(&pod, "hangs"))
        .await
        .unwrap();
    assert!(creation.adjustment().is_none());
    drop(creation);
    world.observer.wait_for("gone 05-built-in").await;
    world.nri.stop().await;
}

struct Refuses;

#[async_trait]
impl Plugin for Refuses {
    fn events(&self) -> EventMask {
        EventMask::NONE
    }
    async fn configure(
        &self,
        _: &PluginCtx,
        _: nri_core::Configuration,
    ) -> Result<Option<EventMask>, HandlerError> {
        Err("not today".into())
    }
}

#[tokio::test]
async fn a_built_in_plugin_that_cannot_start_fails_the_start() {
    let id = "05-refuses".parse().unwrap();
    let world = World::with(|_| {}, |builder| builder.plugin(id, Arc::new(Refuses)));
    let text = world.nri.start().await.unwrap_err().to_string();
    assert!(
        text.contains("05-refuses") && text.contains("not today"),
        "{text}"
    );
}
