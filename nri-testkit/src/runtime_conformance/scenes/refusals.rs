//! Plugins that refuse, disagree or are lost, and creations that fail.

use nri_core::api::{ContainerAdjustment, ContainerState, KeyValue};
use nri_core::{Event, Request};
use nri_proto::transport::Code;

use super::super::driver::Played;
use crate::runtime_conformance::bench::{Bench, first_id, heard, times};
use crate::runtime_conformance::driver::DriverError;
use crate::runtime_conformance::report::Check;
use crate::{Behavior, FakePlugin};

fn refusing(event: Event) -> FakePlugin {
    let refuses = Behavior::fail(Code::Unknown, "refused by the conformance suite");
    FakePlugin::new("20-conformance").on(event, refuses)
}

/// That a creation which came to nothing is taken back towards a plugin that saw it.
async fn expect_undone(bench: &Bench<'_>, check: Check, plugin: &FakePlugin) {
    let Some(id) = first_id(plugin, Event::CreateContainer) else {
        bench.found(check, "a plugin was not asked about the container");
        return;
    };
    bench
        .expect_heard(check, plugin, Event::RemoveContainer, &id)
        .await;
    let heard = heard(plugin, &[&id]);
    let made = heard
        .iter()
        .any(|event| ["PostCreateContainer", "StartContainer"].contains(event));
    bench.expect(check, !made, || {
        format!("the container never came to be, and a plugin heard {heard:?}")
    });
    if let Ok(Some(state)) = bench.driver.state(&id).await {
        bench.found(
            check,
            format!("the container never came to be, and is {state:?}"),
        );
    }
}

pub(super) async fn conflict(bench: &Bench<'_>) -> Played {
    let check = Check::Conflict;
    let setting = |identity: &str| {
        let adjustment = ContainerAdjustment {
            env: vec![KeyValue {
                key: "NRI_CONFORMANCE_BOTH".to_owned(),
                value: identity.to_owned(),
            }],
            ..Default::default()
        };
        FakePlugin::new(identity).on(Event::CreateContainer, Behavior::adjust(adjustment))
    };
    let (one, other) = (
        setting("20-conformance-one"),
        setting("30-conformance-other"),
    );
    let _one = bench.join(&one).await?;
    let _other = bench.join(&other).await?;
    let pod = bench.pod().await?;
    let created = bench.create(&pod).await;
    bench.expect_refused(check, "a container on which two plugins disagree", created)?;
    expect_undone(bench, check, &one).await;
    Ok(())
}

pub(super) async fn creation(bench: &Bench<'_>) -> Played {
    let plugin = refusing(Event::CreateContainer);
    let _connected = bench.join(&plugin).await?;
    let pod = bench.pod().await?;
    let created = bench.create(&pod).await;
    bench.expect_refused(Check::CreateRefused, "the container", created)?;
    expect_undone(bench, Check::CreateRefused, &plugin).await;
    Ok(())
}

pub(super) async fn failure(bench: &Bench<'_>) -> Played {
    let plugin = FakePlugin::new("20-conformance");
    let _connected = bench.join(&plugin).await?;
    let pod = bench.pod().await?;
    let spec = bench.container_spec();
    bench.driver.fail_creation(&pod, &spec).await?;
    expect_undone(bench, Check::CreateUndone, &plugin).await;
    Ok(())
}

pub(super) async fn pod(bench: &Bench<'_>) -> Played {
    let check = Check::PodRefused;
    let plugin = refusing(Event::RunPodSandbox);
    let _connected = bench.join(&plugin).await?;
    let run = bench.pod().await;
    bench.expect_refused(check, "the pod", run)?;
    match first_id(&plugin, Event::RunPodSandbox) {
        Some(id) => {
            bench
                .expect_heard(check, &plugin, Event::RemovePodSandbox, &id)
                .await;
        }
        None => bench.found(check, "a plugin was not asked about the pod"),
    }
    Ok(())
}

pub(super) async fn start(bench: &Bench<'_>) -> Played {
    let check = Check::StartRefused;
    let plugin = refusing(Event::StartContainer);
    let _connected = bench.join(&plugin).await?;
    let pod = bench.pod().await?;
    let id = bench.create(&pod).await?;
    let started = bench.driver.start_container(&id).await;
    bench.expect_refused(check, "the start", started)?;
    match bench.driver.state(&id).await {
        Ok(Some(ContainerState::ContainerRunning)) => {
            bench.found(check, "its start was refused, and the container runs");
        }
        Ok(_) | Err(DriverError::Unsupported(_)) => {}
        Err(failed) => return Err(failed),
    }
    bench.driver.remove_container(&id).await?;
    bench.end_pod(&pod, &plugin).await?;
    let stops = times(&plugin, Event::StopContainer, &id);
    bench.expect(check, stops == 1, || {
        format!("its start was refused, and plugins heard of {stops} stops")
    });
    let posts = times(&plugin, Event::PostStartContainer, &id);
    bench.expect(check, posts == 0, || {
        "its start was refused, and plugins heard that it was started".to_owned()
    });
    Ok(())
}

pub(super) async fn lost_plugin(bench: &Bench<'_>) -> Played {
    let check = Check::LostPlugin;
    let lost = FakePlugin::new("20-conformance-lost").on(Event::CreateContainer, Behavior::exit());
    let stays = FakePlugin::new("80-conformance-stays");
    let _lost = bench.join(&lost).await?;
    let _stays = bench.join(&stays).await?;
    let pod = bench.pod().await?;
    match bench.create(&pod).await {
        Ok(id) => {
            let request = bench.request(check, &stays, Event::CreateContainer, &id);
            let shown = request.as_ref().and_then(Request::container);
            bench.expect(check, shown.is_some(), || "it has no container".to_owned());
        }
        Err(DriverError::Failed(reason)) => bench.found(
            check,
            format!("the container is not created when a plugin is lost: {reason}"),
        ),
        Err(unsupported) => return Err(unsupported),
    }
    Ok(())
}
