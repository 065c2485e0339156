//! Plugins that come when there is something already, and a runtime that was away.

use nri_core::Event;
use nri_core::api::ContainerState;

use super::super::driver::Played;
use crate::FakePlugin;
use crate::runtime_conformance::bench::{Bench, heard, shown, times};
use crate::runtime_conformance::driver::DriverError;
use crate::runtime_conformance::report::Check;

/// Expects a container to be shown once, in its state; or not at all.
fn expect_shown(
    bench: &Bench<'_>,
    check: Check,
    plugin: &FakePlugin,
    id: &str,
    wanted: &[ContainerState],
) {
    let (_, containers) = shown(plugin);
    let its = containers.iter().filter(|container| container.id == id);
    let states: Vec<ContainerState> = its.map(|container| container.state()).collect();
    bench.expect(check, states == wanted, || {
        format!("container {id:?} was to be shown as {wanted:?}, and was as {states:?}")
    });
}

fn expect_pod_shown(bench: &Bench<'_>, check: Check, plugin: &FakePlugin, id: &str) {
    let (pods, _) = shown(plugin);
    let count = pods.iter().filter(|pod| pod.id == id).count();
    bench.expect(check, count == 1, || {
        format!("pod {id:?} was to be shown once, and was {count} times")
    });
}

pub(super) async fn late(bench: &Bench<'_>) -> Played {
    use ContainerState::{ContainerCreated, ContainerRunning};
    let check = Check::LateJoiner;
    let pod = bench.pod().await?;
    let created = bench.create(&pod).await?;
    let running = bench.started(&pod).await?;
    let removed = bench.started(&pod).await?;
    bench.driver.stop_container(&removed).await?;
    bench.driver.remove_container(&removed).await?;
    let plugin = FakePlugin::new("20-conformance-late");
    let _connected = bench.join(&plugin).await?;
    expect_pod_shown(bench, check, &plugin, &pod);
    expect_shown(bench, check, &plugin, &created, &[ContainerCreated]);
    expect_shown(bench, check, &plugin, &running, &[ContainerRunning]);
    expect_shown(bench, check, &plugin, &removed, &[]);
    Ok(())
}

pub(super) async fn during(bench: &Bench<'_>) -> Played {
    /// How many containers are created meanwhile, and how many plugins come.
    const CONTAINERS: usize = 8;
    const PLUGINS: usize = 4;
    let check = Check::JoinDuring;
    let pod = bench.pod().await?;
    let creating = async {
        let mut ids = Vec::new();
        for _ in 0..CONTAINERS {
            ids.push(bench.create(&pod).await?);
        }
        Ok::<_, DriverError>(ids)
    };
    let joining = async {
        let mut joined = Vec::new();
        for number in 0..PLUGINS {
            let plugin = FakePlugin::new(format!("2{number}-conformance-joins"));
            let connected = bench.join(&plugin).await?;
            joined.push((plugin, connected));
        }
        Ok::<_, DriverError>(joined)
    };
    let (ids, joined) = tokio::join!(creating, joining);
    let (ids, joined) = (ids?, joined?);
    for (plugin, _connected) in &joined {
        let (_, containers) = shown(plugin);
        for id in &ids {
            let shown = containers.iter().filter(|it| it.id == *id).count();
            let created = times(plugin, Event::CreateContainer, id);
            bench.expect(check, shown + created == 1, || {
                format!("container {id:?} was shown {shown} times and created {created} times")
            });
        }
    }
    Ok(())
}

pub(super) async fn restart(bench: &Bench<'_>) -> Played {
    let check = Check::RuntimeRestart;
    let pod = bench.pod().await?;
    let id = bench.started(&pod).await?;
    bench.driver.restart_runtime().await?;
    let plugin = FakePlugin::new("20-conformance");
    let _connected = bench.join(&plugin).await?;
    expect_pod_shown(bench, check, &plugin, &pod);
    let running = [ContainerState::ContainerRunning];
    expect_shown(bench, check, &plugin, &id, &running);
    bench.driver.stop_container(&id).await?;
    bench.driver.remove_container(&id).await?;
    bench.end_pod(&pod, &plugin).await?;
    let order = heard(&plugin, &[&pod, &id]);
    let expected = [
        "StopContainer",
        "RemoveContainer",
        "StopPodSandbox",
        "RemovePodSandbox",
    ];
    bench.expect(check, order == expected, || {
        format!("of what was there before, a plugin was to hear {expected:?}, and heard {order:?}")
    });
    Ok(())
}
