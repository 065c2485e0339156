//! Updates and evictions, asked for by the runtime and by plugins.

use nri_core::api::{ContainerEviction, ContainerState, CreateContainerResponse};
use nri_core::api::{UpdateContainerRequest, UpdateContainerResponse};
use nri_core::{Event, Request};
use nri_proto::transport::Code;

use super::super::driver::Played;
use crate::runtime_conformance::bench::{Bench, MEMORY, memory, memory_update, times};
use crate::runtime_conformance::driver::DriverError;
use crate::runtime_conformance::report::Check;
use crate::{Behavior, FakePlugin};

const ASKED: i64 = 40 << 20;
const ANSWERED: i64 = 56 << 20;

pub(super) async fn update(bench: &Bench<'_>) -> Played {
    let check = Check::Updated;
    let plugin = FakePlugin::new("20-conformance");
    let _connected = bench.join(&plugin).await?;
    let pod = bench.pod().await?;
    let id = bench.started(&pod).await?;
    let answer = UpdateContainerResponse {
        update: vec![memory_update(&id, ANSWERED)],
        ..Default::default()
    };
    plugin.change(Event::UpdateContainer, Behavior::answer(answer));
    bench.driver.update_container(&id, &memory(ASKED)).await?;
    let request = bench.request(check, &plugin, Event::UpdateContainer, &id);
    if let Some(Request::UpdateContainer(UpdateContainerRequest {
        linux_resources, ..
    })) = request
    {
        let limit = linux_resources.and_then(|it| it.memory?.limit);
        let limit = limit.map(|limit| limit.value);
        bench.expect(check, limit == Some(ASKED), || {
            format!("a memory limit of {ASKED} was asked for, and is shown as {limit:?}")
        });
    }
    let when = "when a plugin has changed what was asked for";
    bench.expect_memory(check, &id, ANSWERED, when).await?;
    bench
        .expect_heard(check, &plugin, Event::PostUpdateContainer, &id)
        .await;
    Ok(())
}

pub(super) async fn refused_update(bench: &Bench<'_>) -> Played {
    let check = Check::UpdateRefused;
    let refuses = Behavior::fail(Code::Unknown, "refused by the conformance suite");
    let plugin = FakePlugin::new("20-conformance").on(Event::UpdateContainer, refuses);
    let _connected = bench.join(&plugin).await?;
    let pod = bench.pod().await?;
    let id = bench.started(&pod).await?;
    let updated = bench.driver.update_container(&id, &memory(ASKED)).await;
    bench.expect_refused(check, "the update", updated)?;
    bench
        .expect_memory(check, &id, MEMORY, "when a plugin has refused the update")
        .await?;
    let told = times(&plugin, Event::PostUpdateContainer, &id);
    bench.expect(check, told == 0, || {
        "the update was refused, and plugins heard that it was made".to_owned()
    });
    Ok(())
}

pub(super) async fn side_update(bench: &Bench<'_>) -> Played {
    let check = Check::SideUpdate;
    let plugin = FakePlugin::new("20-conformance");
    let _connected = bench.join(&plugin).await?;
    let pod = bench.pod().await?;
    let id = bench.started(&pod).await?;
    let answer = CreateContainerResponse {
        update: vec![memory_update(&id, ASKED)],
        ..Default::default()
    };
    plugin.change(Event::CreateContainer, Behavior::answer(answer));
    bench.create(&pod).await?;
    let when = "when a plugin has asked for it as another container was created";
    bench.expect_memory(check, &id, ASKED, when).await
}

pub(super) async fn unsolicited(bench: &Bench<'_>) -> Played {
    let check = Check::Unsolicited;
    let plugin = FakePlugin::new("20-conformance");
    let connected = bench.join(&plugin).await?;
    let pod = bench.pod().await?;
    let id = bench.started(&pod).await?;
    let unknown = "nri-conformance-no-such-container";
    let updates = vec![memory_update(&id, ASKED), memory_update(unknown, ASKED)];
    match connected.update(updates, Vec::new()).await {
        Ok(failed) => {
            let failed: Vec<String> = failed.into_iter().map(|it| it.container_id).collect();
            bench.expect(check, failed == [unknown], || {
                format!("only {unknown:?} was to fail, and {failed:?} did")
            });
        }
        Err(error) => bench.found(check, format!("a plugin cannot ask for updates: {error}")),
    }
    let when = "when a plugin has asked for it on its own account";
    bench.expect_memory(check, &id, ASKED, when).await
}

pub(super) async fn eviction(bench: &Bench<'_>) -> Played {
    let check = Check::Evicted;
    let plugin = FakePlugin::new("20-conformance");
    let _connected = bench.join(&plugin).await?;
    let (pod, other) = (bench.pod().await?, bench.pod().await?);
    let id = bench.started(&pod).await?;
    let answer = CreateContainerResponse {
        evict: vec![ContainerEviction {
            container_id: id.clone(),
            reason: "asked for by the conformance suite".to_owned(),
        }],
        ..Default::default()
    };
    plugin.change(Event::CreateContainer, Behavior::answer(answer));
    bench.create(&other).await?;
    match bench.driver.state(&id).await {
        Ok(None | Some(ContainerState::ContainerStopped)) | Err(DriverError::Unsupported(_)) => {}
        Ok(Some(state)) => {
            bench.found(check, format!("it was evicted, and is {state:?}"));
        }
        Err(failed) => return Err(failed),
    }
    bench
        .expect_heard(check, &plugin, Event::StopContainer, &id)
        .await;
    bench.driver.remove_container(&id).await?;
    bench.end_pod(&pod, &plugin).await?;
    let stops = times(&plugin, Event::StopContainer, &id);
    bench.expect(check, stops <= 1, || {
        format!("it was evicted once, and plugins heard of {stops} stops")
    });
    Ok(())
}
