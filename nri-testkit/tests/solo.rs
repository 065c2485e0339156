//! Containers without pods: which events of pods are made of what happens to containers.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nri_adaptation::solo::{SoloDomain, SoloNri, Source, own_pod};
use nri_core::api::{self, ContainerState, PodSandbox};
use nri_core::model::Container;
use nri_core::{Ctx, DomainError, Event};
use nri_proto::transport::Code;
use nri_testkit::{Behavior, FakePlugin, Gate, MemoryDomain, TestRuntime};

/// Containers in memory, some of which share the network of others.
#[derive(Default)]
struct Daemon {
    containers: Mutex<BTreeMap<String, api::Container>>,
    networks: Mutex<BTreeMap<String, String>>,
}

impl Daemon {
    fn put(&self, id: &str, state: ContainerState) -> api::Container {
        let mut container = api::Container {
            id: id.into(),
            name: format!("{id}-name"),
            ..Default::default()
        };
        container.set_state(state);
        let mut all = self.containers.lock().unwrap();
        all.insert(id.into(), container.clone());
        container
    }

    fn share(&self, id: &str, other: &str) {
        self.networks
            .lock()
            .unwrap()
            .insert(id.into(), other.into());
    }
}

#[async_trait]
impl Source for Daemon {
    async fn all(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let all = self.containers.lock().unwrap();
        let shown = all.values().cloned();
        Ok(shown.map(|c| Arc::new(c) as Arc<dyn Container>).collect())
    }

    async fn get(&self, id: &str) -> Option<Arc<dyn Container>> {
        let container = self.containers.lock().unwrap().get(id).cloned()?;
        Some(Arc::new(container))
    }

    async fn pod_of(&self, container: &dyn Container) -> PodSandbox {
        let other = self.networks.lock().unwrap().get(&container.id()).cloned();
        let Some(other) = other else {
            return own_pod(container);
        };
        match self.containers.lock().unwrap().get(&other) {
            Some(other) => own_pod(other),
            None => PodSandbox {
                id: other,
                ..Default::default()
            },
        }
    }

    async fn update(&self, _: &Ctx, update: &api::ContainerUpdate) -> Result<(), DomainError> {
        Err(DomainError::NotFound(update.container_id.clone()))
    }

    async fn evict(&self, _: &Ctx, eviction: &api::ContainerEviction) -> Result<(), DomainError> {
        Err(DomainError::NotFound(eviction.container_id.clone()))
    }
}

struct World {
    runtime: TestRuntime,
    daemon: Arc<Daemon>,
    solo: SoloNri<Daemon>,
    cx: Ctx,
}

impl World {
    async fn with(daemon: Daemon) -> Self {
        let daemon = Arc::new(daemon);
        let domain = Arc::new(SoloDomain::new("toy", Arc::clone(&daemon)));
        let registered = Arc::clone(&domain);
        let builder = TestRuntime::builder().with(|builder| builder.domain(registered));
        let runtime = builder.start().await;
        let solo = SoloNri::new(Arc::new(runtime.nri().clone()), domain);
        Self {
            runtime,
            daemon,
            solo,
            cx: Ctx::new(),
        }
    }

    async fn new() -> Self {
        Self::with(Daemon::default()).await
    }

    async fn create(&self, id: &str) -> api::Container {
        let container = self.daemon.put(id, ContainerState::ContainerCreated);
        self.solo
            .create(&self.cx, &container)
            .await
            .unwrap()
            .commit();
        container
    }

    async fn start(&self, container: &api::Container) {
        self.solo.start(&self.cx, container).await.unwrap();
        self.daemon
            .put(&container.id, ContainerState::ContainerRunning);
    }

    async fn exit(&self, container: &api::Container) {
        self.daemon
            .put(&container.id, ContainerState::ContainerStopped);
        self.solo.exited(&self.cx, container).await.unwrap();
    }

    async fn remove(&self, container: &api::Container) {
        self.solo.remove(&self.cx, container).await.unwrap();
        self.daemon.containers.lock().unwrap().remove(&container.id);
    }
}

/// What plugins are to be shown of pods and containers, with the pods that these name.
fn shown(plugin: &FakePlugin) -> (Vec<String>, Vec<String>) {
    let seen = plugin.seen();
    let parts = seen.iter().filter_map(|call| call.synchronization());
    let (mut pods, mut containers) = (Vec::new(), Vec::new());
    for part in parts {
        pods.extend(part.pods.into_iter().map(|pod| pod.id));
        let named = |c: api::Container| format!("{} in {}", c.id, c.pod_sandbox_id);
        containers.extend(part.containers.into_iter().map(named));
    }
    (pods, containers)
}

#[tokio::test]
async fn a_container_has_a_pod_that_runs_and_ends_with_it() {
    let world = World::new().await;
    let plugin = FakePlugin::new("10-all");
    let _connected = world.runtime.join(&plugin).await;
    let c1 = world.create("c1").await;
    world.solo.created(&world.cx, &c1).await.unwrap();
    for _ in 0..2 {
        world.start(&c1).await;
        world.solo.started(&world.cx, &c1).await.unwrap();
        world.exit(&c1).await;
        world.exit(&c1).await;
    }
    world.remove(&c1).await;
    plugin.assert_events(&[
        "RunPodSandbox c1",
        "CreateContainer c1",
        "PostCreateContainer c1",
        "StartContainer c1",
        "PostStartContainer c1",
        "StopContainer c1",
        "StopPodSandbox c1",
        "RunPodSandbox c1",
        "StartContainer c1",
        "PostStartContainer c1",
        "StopContainer c1",
        "StopPodSandbox c1",
        "RemoveContainer c1",
        "RemovePodSandbox c1",
    ]);
    let request = plugin.seen()[3].request().unwrap();
    assert_eq!(request.container().unwrap().pod_sandbox_id, "c1");
    assert_eq!(request.pod().unwrap().name, "c1-name");
}

#[tokio::test]
async fn containers_that_share_a_network_are_in_one_pod() {
    let world = World::new().await;
    let plugin = FakePlugin::new("10-all");
    let _connected = world.runtime.join(&plugin).await;
    let web = world.create("web").await;
    world.start(&web).await;
    world.daemon.share("side", "web");
    let side = world.create("side").await;
    world.exit(&web).await;
    world.remove(&web).await;
    world.start(&side).await;
    // Who comes now is shown the pod as it was, though its first container is gone.
    let late = FakePlugin::new("20-late");
    let _late = world.runtime.join(&late).await;
    assert_eq!(
        shown(&late),
        (vec!["web".to_owned()], vec!["side in web".to_owned()])
    );
    // All that is due: that it stopped, too.
    world.remove(&side).await;
    plugin.assert_events(&[
        "RunPodSandbox web",
        "CreateContainer web",
        "StartContainer web",
        "CreateContainer side",
        "StopContainer web",
        "RemoveContainer web",
        "StartContainer side",
        "StopContainer side",
        "RemoveContainer side",
        "StopPodSandbox web",
        "RemovePodSandbox web",
    ]);
}

#[tokio::test]
async fn a_creation_that_is_dropped_or_refused_is_undone_with_its_pod() {
    let world = World::new().await;
    let plugin = FakePlugin::new("10-all");
    let _connected = world.runtime.join(&plugin).await;
    let c1 = world.daemon.put("c1", ContainerState::ContainerCreated);
    drop(world.solo.create(&world.cx, &c1).await.unwrap());
    plugin.wait_for("RemovePodSandbox c1").await;

    let refusal = Behavior::fail(Code::Unknown, "no");
    plugin.change(Event::CreateContainer, refusal);
    let error = world.solo.create(&world.cx, &c1).await.unwrap_err();
    assert!(error.to_string().contains("no"), "{error}");
    plugin.wait_for_nth("RemovePodSandbox c1", 2).await;
    let once = [
        "RunPodSandbox c1",
        "CreateContainer c1",
        "StopContainer c1",
        "RemoveContainer c1",
        "StopPodSandbox c1",
        "RemovePodSandbox c1",
    ];
    plugin.assert_events(&[once, once].concat());
}

#[tokio::test]
async fn in_a_pod_that_runs_only_the_container_is_undone() {
    let world = World::new().await;
    let web = world.create("web").await;
    world.daemon.share("side", "web");
    let plugin = FakePlugin::new("10-all");
    let _connected = world.runtime.join(&plugin).await;
    let side = world.daemon.put("side", ContainerState::ContainerCreated);
    drop(world.solo.create(&world.cx, &side).await.unwrap());
    world.remove(&web).await;
    plugin.assert_events(&[
        "CreateContainer side",
        "StopContainer side",
        "RemoveContainer side",
        "StopContainer web",
        "RemoveContainer web",
        "StopPodSandbox web",
        "RemovePodSandbox web",
    ]);
}

#[tokio::test]
async fn a_start_that_is_refused_leaves_the_container_stopped_and_can_be_tried_again() {
    let world = World::new().await;
    let plugin = FakePlugin::new("10-all");
    let _connected = world.runtime.join(&plugin).await;
    let c1 = world.create("c1").await;
    let refusal = Behavior::fail(Code::Unknown, "no");
    plugin.change(Event::StartContainer, refusal);
    assert!(world.solo.start(&world.cx, &c1).await.is_err());
    plugin.wait_for("StopPodSandbox c1").await;
    plugin.change(Event::StartContainer, Behavior::usual());
    world.start(&c1).await;
    plugin.assert_events(&[
        "RunPodSandbox c1",
        "CreateContainer c1",
        "StartContainer c1",
        "StopContainer c1",
        "StopPodSandbox c1",
        "RunPodSandbox c1",
        "StartContainer c1",
    ]);
}

#[tokio::test]
async fn an_exit_that_nobody_waits_for_is_told_all_the_same() {
    let world = World::new().await;
    let gate = Gate::default();
    let plugin = FakePlugin::new("10-all");
    let _connected = world.runtime.join(&plugin).await;
    let web = world.create("web").await;
    world.start(&web).await;
    world.daemon.share("side", "web");
    let side = world.daemon.put("side", ContainerState::ContainerCreated);
    // The creation has the pod while the plugin thinks about it.
    plugin.change(Event::CreateContainer, Behavior::usual().behind(&gate));
    let (solo, cx) = (world.solo.clone(), world.cx.clone());
    let creating = tokio::spawn(async move { solo.create(&cx, &side).await });
    plugin.wait_for("CreateContainer side").await;
    {
        let exit = world.solo.exited(&world.cx, &web);
        let waited = tokio::time::timeout(std::time::Duration::ZERO, exit).await;
        assert!(waited.is_err(), "it waits for the creation");
    }
    gate.open();
    drop(creating.await.unwrap().unwrap());
    plugin.wait_for("StopPodSandbox web").await;
    plugin.assert_events(&[
        "RunPodSandbox web",
        "CreateContainer web",
        "StartContainer web",
        "CreateContainer side",
        "StopContainer web",
        "StopContainer side",
        "RemoveContainer side",
        "StopPodSandbox web",
    ]);
}

#[tokio::test]
async fn what_there_was_before_a_restart_of_the_runtime_is_known() {
    let daemon = Daemon::default();
    daemon.put("web", ContainerState::ContainerRunning);
    daemon.put("over", ContainerState::ContainerStopped);
    daemon.put("side", ContainerState::ContainerStopped);
    daemon.share("side", "web");
    let world = World::with(daemon).await;
    let plugin = FakePlugin::new("10-all");
    let _connected = world.runtime.join(&plugin).await;
    let (pods, containers) = shown(&plugin);
    assert_eq!(pods, ["over", "web"]);
    assert_eq!(containers, ["over in over", "side in web", "web in web"]);
    let get = |id: &str| world.daemon.containers.lock().unwrap()[id].clone();
    let (web, over, side) = (get("web"), get("over"), get("side"));
    world.exit(&web).await;
    world.start(&over).await;
    world.remove(&side).await;
    world.remove(&web).await;
    plugin.assert_events(&[
        "StopContainer web",
        "StopPodSandbox web",
        "RunPodSandbox over",
        "StartContainer over",
        "RemoveContainer side",
        "RemoveContainer web",
        "RemovePodSandbox web",
    ]);
}

#[tokio::test]
async fn an_id_that_is_there_cannot_be_created_again() {
    let world = World::new().await;
    let c1 = world.create("c1").await;
    let plugin = FakePlugin::new("10-all");
    let _connected = world.runtime.join(&plugin).await;
    let error = world.solo.create(&world.cx, &c1).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("\"c1\" was created already: remove it first"),
        "{error}"
    );
    assert!(plugin.events().is_empty());
    world.start(&c1).await;
}

#[tokio::test]
async fn it_keeps_the_rules_of_a_domain() {
    use nri_testkit::domain_conformance::{Adapter, check};

    /// A source over a domain in memory, in which every container is a pod.
    struct InMemory(MemoryDomain, Mutex<usize>);

    #[async_trait]
    impl Source for InMemory {
        async fn all(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
            nri_core::Domain::list_containers(&self.0).await
        }
        async fn get(&self, id: &str) -> Option<Arc<dyn Container>> {
            nri_core::Domain::get_container(&self.0, id).await
        }
        async fn pod_of(&self, container: &dyn Container) -> PodSandbox {
            let id = container.pod_sandbox_id();
            PodSandbox {
                id,
                ..Default::default()
            }
        }
        async fn update(&self, cx: &Ctx, update: &api::ContainerUpdate) -> Result<(), DomainError> {
            nri_core::Domain::update_container(&self.0, cx, update).await
        }
        async fn evict(&self, cx: &Ctx, it: &api::ContainerEviction) -> Result<(), DomainError> {
            nri_core::Domain::evict_container(&self.0, cx, it).await
        }
    }

    impl InMemory {
        fn put(&self, id: &str, pod: &str) {
            self.0.put_container(api::Container {
                id: id.into(),
                pod_sandbox_id: pod.into(),
                state: ContainerState::ContainerRunning.into(),
                ..Default::default()
            });
        }
        fn id(&self) -> String {
            let mut last = self.1.lock().unwrap();
            *last += 1;
            format!("container-{last:08}")
        }
    }

    struct Made(Arc<InMemory>);

    #[async_trait]
    impl Adapter for Made {
        async fn create_pod(&self) -> Result<String, String> {
            let id = self.0.id();
            self.0.put(&id, &id);
            Ok(id)
        }
        async fn create_container(&self, pod: &str) -> Result<String, String> {
            let id = self.0.id();
            self.0.put(&id, pod);
            Ok(id)
        }
        async fn remove_container(&self, id: &str) -> Result<(), String> {
            self.0.0.remove_container(id);
            Ok(())
        }
        async fn remove_pod(&self, id: &str) -> Result<(), String> {
            self.0.0.remove_container(id);
            Ok(())
        }
        async fn start_again(&self, id: &str) -> Result<(), String> {
            let container = self.0.0.container(id).ok_or("it is gone")?;
            self.0.put(id, &container.pod_sandbox_id);
            Ok(())
        }
    }

    let source = Arc::new(InMemory(MemoryDomain::new("inner"), Mutex::default()));
    let domain = Arc::new(SoloDomain::new("toy", Arc::clone(&source)));
    check(domain, &Made(source)).await.unwrap().assert_ok();
}
