//! NRI in a runtime that is not asynchronous, and creations that the instance holds.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::sync::{Arc, Mutex};

use nri_adaptation::blocking::{self, Waiting};
use nri_adaptation::model::{Container, PodSandbox};
use nri_adaptation::{Config, ContainerOutline, Ctx, DomainError, Outline, PodOutline, api};
use nri_core::Event;
use nri_testkit::{Behavior, FakePlugin, TestRuntime};

/// A domain of one container, which waits for its lock.
#[derive(Default)]
struct One {
    updated: Mutex<Vec<String>>,
    has_outline: bool,
}

impl blocking::Domain for One {
    fn name(&self) -> &str {
        "one"
    }
    fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        Ok(vec![Arc::new(pod())])
    }
    fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        Ok(vec![Arc::new(container("old"))])
    }
    fn outline(&self) -> Result<Option<Outline>, DomainError> {
        let old = ContainerOutline::of(&container("old"));
        let outline = Outline::new(vec![PodOutline::of(&pod())], vec![old]);
        Ok(self.has_outline.then_some(outline))
    }
    fn get_pod_sandbox(&self, _: &str) -> Option<Arc<dyn PodSandbox>> {
        None
    }
    fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        (id == "old").then(|| Arc::new(container("old")) as _)
    }
    fn update_container(&self, _: &Ctx, update: &api::ContainerUpdate) -> Result<(), DomainError> {
        self.updated
            .lock()
            .unwrap()
            .push(update.container_id.clone());
        Ok(())
    }
    fn evict_container(&self, _: &Ctx, _: &api::ContainerEviction) -> Result<(), DomainError> {
        panic!("as planned");
    }
}

fn pod() -> api::PodSandbox {
    api::PodSandbox {
        id: "p1".into(),
        ..Default::default()
    }
}

fn container(id: &str) -> api::Container {
    api::Container {
        id: id.into(),
        pod_sandbox_id: "p1".into(),
        state: api::ContainerState::ContainerRunning.into(),
        ..Default::default()
    }
}

fn instance(plugin: &FakePlugin, domain: &Arc<One>) -> nri_adaptation::Nri {
    let mut config = Config::default();
    config.disable_connections = true;
    config.plugin_path = "/nonexistent".into();
    nri_adaptation::Nri::builder(config)
        .domain(Arc::new(Waiting::new(Arc::clone(domain))))
        .plugin(plugin.identity().parse().unwrap(), plugin.plugin())
        .build()
        .unwrap()
}

fn a_life(nri: &blocking::Nri) {
    let (cx, pod, new) = (Ctx::new(), pod(), container("new"));
    nri.start().unwrap();
    assert!(nri.is_enabled());
    nri.run_pod_sandbox(&cx, &pod).unwrap();
    nri.create_container(&cx, &pod, &new).unwrap().commit();
    nri.start_container(&cx, &pod, &new).unwrap();
    nri.notify_container_exit(&pod, &new);
    nri.remove_container(&cx, &pod, &new).unwrap();
    nri.remove_pod_sandbox(&cx, &pod).unwrap();
    nri.stop();
}

/// A plugin that wants something of the other container.
fn asking() -> FakePlugin {
    let answer = api::CreateContainerResponse {
        update: vec![api::ContainerUpdate {
            container_id: "old".into(),
            linux: Some(api::LinuxContainerUpdate {
                resources: Some(api::LinuxResources {
                    pids: Some(api::LinuxPids { limit: 7 }),
                    ..Default::default()
                }),
            }),
            ignore_failure: true,
        }],
        evict: vec![api::ContainerEviction {
            container_id: "old".into(),
            reason: "test".into(),
        }],
        ..Default::default()
    };
    FakePlugin::new("10-asks").on(Event::CreateContainer, Behavior::answer(answer))
}

#[test]
fn a_synchronous_runtime_has_a_runtime_of_its_own_and_its_domain_may_wait_and_even_panic() {
    let (plugin, domain) = (asking(), Arc::new(One::default()));
    a_life(&blocking::Nri::new(instance(&plugin, &domain)).unwrap());
    assert_eq!(*domain.updated.lock().unwrap(), ["old"]);
    plugin.assert_events(&[
        "RunPodSandbox p1",
        "CreateContainer new",
        "StartContainer new",
        "StopContainer new",
        "RemoveContainer new",
        "StopPodSandbox p1",
        "RemovePodSandbox p1",
    ]);
    assert_eq!(plugin.shown().1, ["old"]);
    // With an outline the container is looked up, and so is the pod, which is not found.
    let outlined = One {
        has_outline: true,
        ..One::default()
    };
    let plugin = asking();
    a_life(&blocking::Nri::new(instance(&plugin, &Arc::new(outlined))).unwrap());
    assert_eq!(plugin.shown(), (vec![], vec!["old".to_owned()]));
}

#[test]
fn it_can_be_called_and_dropped_from_within_any_tokio_runtime() {
    let (plugin, domain) = (asking(), Arc::new(One::default()));
    let other = tokio::runtime::Builder::new_current_thread();
    let other = { other }.enable_all().build().unwrap();
    other.block_on(async {
        a_life(&blocking::Nri::new(instance(&plugin, &domain)).unwrap());
    });
    let several = tokio::runtime::Runtime::new().unwrap();
    let nri = instance(&FakePlugin::new("10-b"), &Arc::default());
    a_life(&blocking::Nri::on(nri, several.handle().clone()));
}

#[tokio::test]
async fn a_creation_that_is_held_is_settled_once() {
    let runtime = TestRuntime::start().await;
    let plugin = FakePlugin::new("10-all");
    let _connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p1").await;
    let nri = runtime.nri();
    for id in ["kept", "failed"] {
        let container = runtime.container(&pod, id);
        let creation = runtime.ask_to_create(&pod, &container).await.unwrap();
        nri.hold(id, creation);
    }
    assert!(nri.pending("kept").commit());
    assert!(!nri.pending("kept").abandon(), "it is settled");
    assert!(nri.pending("failed").abandon());
    plugin.wait_for("RemoveContainer failed").await;
    plugin.assert_events(&[
        "RunPodSandbox p1",
        "CreateContainer kept",
        "CreateContainer failed",
        "StopContainer failed",
        "RemoveContainer failed",
    ]);
    // One under the same id takes the place of the one before, which comes to nothing.
    let container = runtime.container(&pod, "again");
    let creation = runtime.ask_to_create(&pod, &container).await.unwrap();
    nri.hold("again", creation);
    nri.hold("again", nri_adaptation::Creation::untouched());
    plugin.wait_for("RemoveContainer again").await;
    assert!(nri.pending("again").take().is_some());
}
