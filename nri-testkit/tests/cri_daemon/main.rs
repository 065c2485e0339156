//! NRI in a CRI daemon that is built as daemons in Rust are: an async store, a type of its own for
//! specs, no CRI configuration kept. What an author copies is `nri.rs`, and this test counts it.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod daemon;
mod nri;
mod spec;
mod store;

use std::path::Path;

use nri_adaptation::build::{Adjust as _, SetResources as _};
use nri_adaptation::{Config, Event, RuntimeApi as _, api};
use nri_testkit::{Behavior, FakePlugin};

use daemon::{Daemon, LinuxContainerResources};
use store::Phase;

/// Most lines of the file that is NRI's.
const MOST_GLUE: usize = 150;

/// Most lines of NRI in the handlers.
const MOST_CALLS: usize = 30;

fn config(directory: &Path) -> Config {
    Config::default().with(|config| {
        config.socket_path = directory.join("nri.sock");
        config.plugin_path = directory.join("plugins");
        config.plugin_config_path = directory.join("conf.d");
    })
}

async fn start(directory: &Path) -> Daemon {
    Daemon::start(directory, config(directory)).await.unwrap()
}

fn adjusting() -> FakePlugin {
    let mut adjustment = api::ContainerAdjustment::default();
    adjustment
        .add_env("B", "2")
        .unwrap()
        .add_annotation("seen", "yes")
        .unwrap()
        .set_memory_limit(4096)
        .set_pids_limit(7);
    let mut resources = api::LinuxResources::default();
    resources.set_memory_limit(8192);
    let update = api::UpdateContainerResponse {
        update: vec![api::ContainerUpdate {
            container_id: "c1".into(),
            linux: Some(api::LinuxContainerUpdate {
                resources: Some(resources),
            }),
            ..Default::default()
        }],
        ..Default::default()
    };
    FakePlugin::new("10-adjust")
        .on(Event::CreateContainer, Behavior::adjust(adjustment))
        .on(Event::UpdateContainer, Behavior::answer(update))
}

#[test]
fn the_glue_is_short() {
    let glue = include_str!("nri.rs").lines().count();
    assert!(glue <= MOST_GLUE, "nri.rs has {glue} lines");
    // Beside it: what the handlers call, and the import.
    let is_call = |line: &&str| line.contains("nri") || line.contains("seen_");
    let calls = include_str!("daemon.rs").lines().filter(is_call).count();
    assert!(
        calls <= MOST_CALLS,
        "the handlers have {calls} lines of NRI"
    );
}

#[tokio::test]
async fn pods_and_containers_live_and_plugins_take_part() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = start(directory.path()).await;
    let plugin = adjusting();
    let _connected = plugin.join(&daemon.instance).await;

    daemon.run_pod_sandbox("p1").await.unwrap();
    let mut bundle = None;
    let made = daemon.create_container("p1", "c1", |spec| {
        bundle = Some(spec.clone());
        Ok(())
    });
    made.await.unwrap();
    let bundle = bundle.unwrap();
    assert_eq!(bundle.process.env, ["A=1", "B=2"]);
    assert_eq!(bundle.annotations["seen"], "yes");
    assert_eq!(bundle.linux.resources.memory.unwrap().limit, Some(4096));

    daemon.start_container("c1").await.unwrap();
    let wanted = LinuxContainerResources {
        cpu_shares: 512,
        memory_limit_in_bytes: 5000,
    };
    daemon
        .update_container_resources("c1", wanted)
        .await
        .unwrap();
    let resources = daemon
        .store
        .place("c1")
        .await
        .unwrap()
        .container
        .spec
        .linux
        .resources;
    assert_eq!(resources.memory.unwrap().limit, Some(8192));
    assert_eq!(resources.cpu.unwrap().shares, Some(512));

    daemon.process_ended("c1").await.unwrap();
    daemon.stop_container("c1").await.unwrap();
    daemon.remove_container("c1").await.unwrap();
    daemon.stop_pod_sandbox("p1").await.unwrap();
    daemon.remove_pod_sandbox("p1").await.unwrap();
    plugin.assert_events(&[
        "RunPodSandbox p1",
        "CreateContainer c1",
        "PostCreateContainer c1",
        "StartContainer c1",
        "PostStartContainer c1",
        "UpdateContainer c1",
        "StopContainer c1",
        "RemoveContainer c1",
        "StopPodSandbox p1",
        "RemovePodSandbox p1",
    ]);
    daemon.instance.stop().await;
}

#[tokio::test]
async fn a_creation_that_fails_is_undone() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = start(directory.path()).await;
    let plugin = adjusting();
    let _connected = plugin.join(&daemon.instance).await;
    daemon.run_pod_sandbox("p1").await.unwrap();
    let failed = daemon.create_container("p1", "c1", |_| Err("the disk is full".into()));
    assert_eq!(failed.await.unwrap_err().to_string(), "the disk is full");
    plugin.wait_for("RemoveContainer c1").await;
    plugin.assert_events(&[
        "RunPodSandbox p1",
        "CreateContainer c1",
        "StopContainer c1",
        "RemoveContainer c1",
    ]);
    daemon.instance.stop().await;
}

#[tokio::test]
async fn plugins_update_and_evict_containers() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = start(directory.path()).await;
    let plugin = FakePlugin::new("10-evict");
    let connected = plugin.join(&daemon.instance).await;
    daemon.run_pod_sandbox("p1").await.unwrap();
    daemon
        .create_container("p1", "c1", |_| Ok(()))
        .await
        .unwrap();
    daemon.start_container("c1").await.unwrap();
    let mut resources = api::LinuxResources::default();
    resources.set_cpu_shares(2048);
    let update = api::ContainerUpdate {
        container_id: "c1".into(),
        linux: Some(api::LinuxContainerUpdate {
            resources: Some(resources),
        }),
        ..Default::default()
    };
    let eviction = api::ContainerEviction {
        container_id: "c1".into(),
        reason: "noisy".into(),
    };
    connected.update(vec![update], Vec::new()).await.unwrap();
    connected.update(Vec::new(), vec![eviction]).await.unwrap();
    let container = daemon.store.place("c1").await.unwrap().container;
    assert_eq!(
        container.spec.linux.resources.cpu.unwrap().shares,
        Some(2048)
    );
    assert_eq!(
        (container.phase, &*container.reason),
        (Phase::Exited, "noisy")
    );
    daemon.instance.stop().await;
}

#[tokio::test]
async fn what_there_was_before_a_restart_is_shown_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = start(directory.path()).await;
    let plugin = adjusting();
    let connected = plugin.join(&daemon.instance).await;
    daemon.run_pod_sandbox("p1").await.unwrap();
    daemon
        .create_container("p1", "c1", |_| Ok(()))
        .await
        .unwrap();
    daemon.start_container("c1").await.unwrap();
    daemon.run_pod_sandbox("p2").await.unwrap();
    daemon.stop_pod_sandbox("p2").await.unwrap();
    daemon.instance.stop().await;
    drop((connected, daemon));

    let daemon = start(directory.path()).await;
    let plugin = FakePlugin::new("10-later");
    let _connected = plugin.join(&daemon.instance).await;
    let synchronized = plugin
        .wait_for("Synchronize")
        .await
        .synchronization()
        .unwrap();
    let container = &synchronized.containers[0];
    assert_eq!(container.env, ["A=1", "B=2"]);
    assert_eq!(container.state(), api::ContainerState::ContainerRunning);
    assert!(synchronized.pods.iter().any(|pod| pod.id == "p1"));

    daemon.stop_pod_sandbox("p1").await.unwrap();
    daemon.remove_container("c1").await.unwrap();
    daemon.remove_pod_sandbox("p1").await.unwrap();
    daemon.remove_pod_sandbox("p2").await.unwrap();
    plugin.assert_events(&[
        "StopContainer c1",
        "StopPodSandbox p1",
        "RemoveContainer c1",
        "RemovePodSandbox p1",
        "RemovePodSandbox p2",
    ]);
    daemon.instance.stop().await;
}
