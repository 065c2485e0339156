//! Starting and stopping, and instances that do nothing.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nri_adaptation::{
    Config, Configuration, Ctx, Event, EventMask, HandlerError, InstanceError, Nri, Plugin,
    PluginCtx, PluginId, PluginKind, RuntimeApi as _, api,
};
use nri_testkit::{Behavior, FakePlugin, Journal, MemoryDomain, TEST_TIMEOUT, TestRuntime, When};

use crate::values::{memory, patient};

async fn every_call_is_a_no_op(runtime: &TestRuntime) {
    let nri = runtime.nri();
    let cx = Ctx::new();
    let pod = runtime.pod("p");
    let c = runtime.container(&pod, "c");
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
    let updated = nri.update_container(&cx, &pod, &c, asked).await.unwrap();
    assert_eq!(updated.resources, None);
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
    let runtime = patient().config(|config| config.disable = true).build();
    let files = || std::fs::read_dir(runtime.directory()).unwrap().count();
    let before = files();
    runtime.nri().start().await.unwrap();
    every_call_is_a_no_op(&runtime).await;
    assert_eq!(files(), before);
}

#[tokio::test]
async fn a_stopped_instance_does_nothing_any_more_and_leaves_nothing_behind() {
    let runtime = patient().start().await;
    let plugin = FakePlugin::new("10-plugin");
    let connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p").await;
    let open = runtime
        .ask_to_create(&pod, &runtime.container(&pod, "c"))
        .await
        .unwrap();
    assert!(runtime.socket().exists());
    runtime.nri().stop().await;
    assert!(!runtime.socket().exists());
    plugin.wait_for("Shutdown").await;
    connected.closed().await;
    let notice = "gone 10-plugin: the runtime stops NRI";
    runtime.watcher().wait_for(notice).await;
    drop(open);
    every_call_is_a_no_op(&runtime).await;
    assert!(runtime.nri().plugins().is_empty());
    let again = runtime.nri().start().await;
    assert_eq!(again, Err(InstanceError::Stopped.into()));
    let late = Arc::new(MemoryDomain::new("late"));
    assert!(runtime.nri().register_domain(late).is_err());
}

#[tokio::test]
async fn stopping_is_bounded_whatever_plugins_do() {
    let runtime = patient().start().await;
    let deaf = FakePlugin::new("10-deaf").on(When::method("Shutdown"), Behavior::hang());
    let _connected = runtime.join(&deaf).await;
    let begun = Instant::now();
    tokio::join!(runtime.nri().stop(), runtime.nri().stop());
    let took = begun.elapsed();
    assert!(took < TEST_TIMEOUT, "{took:?}");
}

#[tokio::test]
async fn dropping_the_last_handle_cuts_plugins_off() {
    let runtime = patient().start().await;
    let connected = runtime.join(&FakePlugin::new("10-plugin")).await;
    let socket = runtime.socket();
    drop(runtime);
    connected.closed().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn an_instance_starts_once() {
    let runtime = patient().start().await;
    let again = runtime.nri().start().await.unwrap_err();
    assert_eq!(again, InstanceError::AlreadyStarted.into());
    assert!(again.to_string().contains("started already"), "{again}");
    let late = Arc::new(MemoryDomain::new("late"));
    let late = runtime.nri().register_domain(late).unwrap_err();
    let text = late.to_string();
    assert!(text.contains("before the instance is started"), "{text}");
}

#[tokio::test]
async fn names_stand_for_one_thing() {
    let runtime = patient().build();
    let twin = Arc::new(MemoryDomain::new("test"));
    let error = runtime.nri().register_domain(twin).unwrap_err();
    assert!(
        error.to_string().contains("\"test\" is registered already"),
        "{error}"
    );
    let id: PluginId = "10-twin".parse().unwrap();
    let twin = FakePlugin::new("10-twin");
    let twins = Nri::builder(Config::default())
        .plugin(id.clone(), twin.plugin())
        .plugin(id, twin.plugin())
        .build();
    assert!(twins.unwrap_err().to_string().contains("10-twin"));
    let mut config = Config::default();
    config.plugin_strikes = 0;
    let error = Nri::builder(config).build().unwrap_err();
    assert!(error.to_string().contains("plugin_strikes"), "{error}");
}

#[tokio::test]
async fn sockets_that_cannot_be_opened_fail_the_start_in_one_line() {
    let runtime = patient().start().await;
    for path in [
        runtime.socket(),
        runtime.directory().join("x".repeat(150)),
        "/proc/nri/nri.sock".into(),
    ] {
        let builder = patient().config(|config| config.socket_path = path);
        let other = builder.build();
        let text = other.nri().start().await.unwrap_err().to_string();
        assert!(
            text.contains("cannot open the socket") && !text.contains('\n'),
            "{text}"
        );
        every_call_is_a_no_op(&other).await;
    }
    // The first one is as it was.
    runtime.join(&FakePlugin::new("10-plugin")).await;
}

/// What went wrong with a start is the error of this implementation.
#[tokio::test]
async fn why_a_start_fails_can_be_matched() {
    let builder = patient().config(|c| c.socket_path = "/proc/nri/nri.sock".into());
    let error = builder.build().nri().start().await.unwrap_err();
    let nri_adaptation::EventError::Instance(InstanceError::Start(failure)) = error else {
        panic!("{error}");
    };
    let source = failure.downcast_ref::<nri_adaptation::Error>();
    assert!(
        matches!(source, Some(nri_adaptation::Error::Socket { .. })),
        "{failure}"
    );
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_replaced_one_is_left_alone() {
    let builder = patient();
    let path = builder.directory().join("nri.sock");
    drop(UnixListener::bind(&path).unwrap());
    let runtime = builder.start().await;
    let _connected = runtime.join(&FakePlugin::new("10-plugin")).await;
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    runtime.nri().stop().await;
    assert!(path.exists());
}

#[tokio::test]
async fn a_listener_can_be_brought_along() {
    let builder = patient();
    let path = builder.directory().join("own.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let at = path.clone();
    let builder = builder.config(|config| config.socket_path = at);
    let runtime = builder
        .with(|builder| builder.listener(listener))
        .start()
        .await;
    let _connected = runtime.join(&FakePlugin::new("10-plugin")).await;
    runtime.nri().stop().await;
    assert!(path.exists(), "it is the caller's");
}

#[tokio::test]
async fn connections_can_be_disabled() {
    let builder = patient().config(|config| config.disable_connections = true);
    let runtime = builder.start().await;
    assert!(runtime.nri().is_enabled());
    assert!(!runtime.socket().exists());
    runtime.run_pod("p").await;
}

/// A built-in plugin that annotates, and does odd things on demand.
#[derive(Default)]
struct Annotator {
    synchronized: Journal<usize>,
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
        assert_eq!(cx.runtime_info().name, "nri-testkit");
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
        let updates = vec![memory("c", 3), memory("unknown", 3)];
        let failed = cx.runtime().update_containers(updates, vec![]).await?;
        assert_eq!(failed.len(), 1);
        Ok(())
    }
}

#[tokio::test]
async fn built_in_plugins_are_plugins_like_others() {
    let plugin = Arc::new(Annotator::default());
    let (id, own) = ("05-built-in".parse().unwrap(), Arc::clone(&plugin));
    let builder = patient()
        .request_timeout(Duration::from_millis(200))
        .with(|builder| builder.plugin(id, own));
    let runtime = builder.build();
    let pod = runtime.pod("p");
    let before = runtime.container(&pod, "before");
    runtime.domain().put_pod(pod.clone());
    runtime.domain().put_container(before);
    runtime.nri().start().await.unwrap();
    assert_eq!(plugin.synchronized.all(), [1]);
    assert_eq!(runtime.nri().plugins()[0].kind, PluginKind::BuiltIn);

    let c = runtime.try_create(&pod, "c").await.unwrap();
    assert_eq!(c.annotations["built"], "in");
    runtime.start_container(&pod, "c").await;
    assert_eq!(runtime.domain().updates(), [memory("c", 3)]);

    for id in ["panics", "fails"] {
        let error = runtime.try_create(&pod, id).await.unwrap_err();
        assert!(error.to_string().contains("as planned"), "{error}");
    }
    let hangs = runtime.container(&pod, "hangs");
    let creation = runtime.ask_to_create(&pod, &hangs).await.unwrap();
    assert!(creation.adjustment().is_none());
    drop(creation);
    runtime.watcher().wait_for("gone 05-built-in").await;
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
        _: Configuration,
    ) -> Result<Option<EventMask>, HandlerError> {
        Err("not today".into())
    }
}

#[tokio::test]
async fn a_built_in_plugin_that_cannot_start_fails_the_start() {
    let id = "05-refuses".parse().unwrap();
    let builder = patient().with(|builder| builder.plugin(id, Arc::new(Refuses)));
    let text = builder.build().nri().start().await.unwrap_err().to_string();
    assert!(
        text.contains("05-refuses") && text.contains("not today"),
        "{text}"
    );
}
