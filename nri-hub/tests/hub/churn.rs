//! A runtime that is killed and comes again, and plugins that come and go, while pods live and die:
//! a plugin that stays hears of every step of every container once, and in order.

use std::collections::BTreeMap;
use std::path::Path;

use nri_adaptation::api::{Container, PodSandbox};
use nri_testkit::{Connected, FakePlugin, TestRuntime};

use crate::stage::{Stage, Staged};

/// Numbers that look random, the same for a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

const STEPS: [&str; 6] = [
    "CreateContainer",
    "PostCreateContainer",
    "StartContainer",
    "PostStartContainer",
    "StopContainer",
    "RemoveContainer",
];

async fn runtime_with(socket: &Path, pods: &[PodSandbox], containers: &[Container]) -> TestRuntime {
    let socket = socket.to_owned();
    let builder = TestRuntime::builder().config(move |config| config.socket_path = socket);
    for pod in pods {
        builder.domain().put_pod(pod.clone());
    }
    for container in containers {
        builder.domain().put_container(container.clone());
    }
    builder.start().await
}

/// Waits until the hub is at this runtime and has told of what has changed.
async fn settled(hub: &Staged, connections: u64) {
    let told = async {
        while hub.handle.status().runtime.connections < connections {
            tokio::task::yield_now().await;
        }
    };
    crate::stage::within(told).await;
    hub.connected().await;
}

async fn churn(seed: u64) {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("nri.sock");
    let mut dice = Dice(seed);
    let mut runtime = runtime_with(&socket, &[], &[]).await;
    let hub = Stage::at(socket.clone()).run().await;
    let stays = FakePlugin::new("10-stays");
    let _stays = hub.join(&stays).await;
    let mut guest: Option<Connected> = None;
    let (mut connections, mut next) = (1, 0);
    let mut living: Vec<(PodSandbox, Vec<String>)> = Vec::new();
    for _ in 0..40 {
        match dice.below(8) {
            0 => {
                let there: Vec<Container> = living
                    .iter()
                    .flat_map(|(_, ids)| ids)
                    .filter_map(|id| runtime.domain().container(id))
                    .collect();
                drop(runtime);
                // One pod may have ended meanwhile.
                if !living.is_empty() && dice.below(2) == 0 {
                    living.remove(0);
                }
                let pods: Vec<_> = living.iter().map(|(pod, _)| pod.clone()).collect();
                let of_living = |c: &Container| pods.iter().any(|pod| pod.id == c.pod_sandbox_id);
                let there: Vec<_> = there.into_iter().filter(of_living).collect();
                runtime = runtime_with(&socket, &pods, &there).await;
                connections += 1;
                settled(&hub, connections).await;
            }
            1 => match guest.take() {
                Some(connected) => connected.exit(),
                None => guest = Some(hub.join(&FakePlugin::new("20-guest")).await),
            },
            2 | 3 if !living.is_empty() => {
                let (pod, ids) = living.remove(0);
                for id in ids {
                    runtime.stop_container(&pod, &id).await;
                    runtime.remove_container(&pod, &id).await;
                }
                runtime.stop_pod(&pod).await;
                runtime.remove_pod(&pod).await;
            }
            _ => {
                let pod = runtime.run_pod(&format!("p{next}")).await;
                let mut ids = Vec::new();
                for of_pod in 0..=dice.below(3) {
                    let id = format!("c{next}.{of_pod}");
                    runtime.create(&pod, &id).await;
                    runtime.start_container(&pod, &id).await;
                    ids.push(id);
                }
                next += 1;
                living.push((pod, ids));
            }
        }
    }
    for (pod, ids) in living {
        for id in ids {
            runtime.remove_container(&pod, &id).await;
        }
        runtime.remove_pod(&pod).await;
    }
    // Whatever was told before it is there by then.
    runtime.run_pod("last").await;
    stays.wait_for("RunPodSandbox last").await;

    let mut lives: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in stays.events() {
        let (step, id) = event.split_once(' ').unwrap();
        if id.starts_with('c') {
            lives
                .entry(id.to_owned())
                .or_default()
                .push(step.to_owned());
        }
    }
    assert!(!lives.is_empty());
    for (id, steps) in lives {
        assert_eq!(steps, STEPS, "{id} of seed {seed}");
    }
    let status = hub.handle.status();
    assert_eq!((status.pods, status.containers), (1, 0));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_stays_hears_of_every_step_once_whoever_dies() {
    for seed in 1..=4 {
        churn(seed).await;
    }
}
