//! What plugins do to real containers.

use std::fs;

use nri_core::build::{Adjust as _, SetResources as _};
use nri_core::{Event, api};
use nri_proto::transport::Code;
use nri_testkit::{Behavior, FakePlugin, When};

use crate::crictl::{container, pod};
use crate::effects;
use crate::expect::{is, until};
use crate::life::memory;
use crate::stage::Stage;

/// Lets plugins adjust, update, evict and refuse.
///
/// # Errors
/// What does not come out as it should.
pub(crate) async fn run(stage: &mut Stage) -> Result<(), String> {
    let pod_id = stage.crictl.run_pod(&pod("plugins"))?;
    effects::run(stage, &pod_id).await?;
    println!("e2e: plugins: adjustments are in effect");
    updated(stage, &pod_id).await?;
    println!("e2e: plugins: updates and evictions are carried out");
    refused(stage, &pod_id).await?;
    println!("e2e: plugins: what is refused leaves nothing");
    stage.crictl.run(&["rmp", "--force", &pod_id])?;
    stage.is_clean()
}

fn create(stage: &Stage, pod_id: &str, name: &str) -> Result<String, String> {
    stage
        .crictl
        .create(pod_id, &pod("plugins"), &container(name))
}

async fn updated(stage: &Stage, pod_id: &str) -> Result<(), String> {
    // Whatever is asked for, it becomes 40 MiB.
    let plugin = FakePlugin::new("20-update").on(
        Event::UpdateContainer,
        Behavior::decide(|seen| async move {
            let id = seen.id().unwrap_or_default();
            Behavior::answer(api::UpdateContainerResponse {
                update: vec![limited(id, 40 << 20)],
                ..Default::default()
            })
        }),
    );
    let connected = stage.join(&plugin).await?;
    let id = create(stage, pod_id, "updated")?;
    stage.crictl.run(&["start", &id])?;
    stage
        .crictl
        .run(&["update", "--memory", &(32 << 20).to_string(), &id])?;
    is(
        "the limit of memory",
        memory(stage, &id)?,
        (40 << 20).to_string(),
    )?;

    let failed = |e: nri_proto::transport::CallError| e.to_string();
    let left = connected
        .update(vec![limited(id.clone(), 44 << 20)], Vec::new())
        .await
        .map_err(failed)?;
    is("updates that failed", left.len(), 0)?;
    is(
        "the limit of memory",
        memory(stage, &id)?,
        (44 << 20).to_string(),
    )?;

    let eviction = api::ContainerEviction {
        container_id: id.clone(),
        reason: "noisy".into(),
    };
    connected
        .update(Vec::new(), vec![eviction])
        .await
        .map_err(failed)?;
    let (_, reason, message) = stage.crictl.ended(&id)?;
    is("why it ended", (&*reason, &*message), ("Evicted", "noisy"))?;
    plugin.wait_for(&format!("StopContainer {id}")).await;
    stage.crictl.run(&["rm", &id]).map(drop)
}

fn limited(container_id: String, bytes: i64) -> api::ContainerUpdate {
    let mut resources = api::LinuxResources::default();
    resources.set_memory_limit(bytes);
    api::ContainerUpdate {
        container_id,
        linux: Some(api::LinuxContainerUpdate {
            resources: Some(resources),
        }),
        ..Default::default()
    }
}

async fn refused(stage: &Stage, pod_id: &str) -> Result<(), String> {
    let mut unappliable = api::ContainerAdjustment::default();
    unappliable.set_pids_limit(-5);
    let refusing = Behavior::fail(Code::Unknown, "not this one");
    let mut failing_hook = api::ContainerAdjustment::default();
    failing_hook.add_hooks(api::Hooks {
        create_runtime: vec![api::Hook {
            path: "/bin/false".into(),
            ..Default::default()
        }],
        ..Default::default()
    });
    let plugin = FakePlugin::new("30-refuse")
        .on(When::from(Event::CreateContainer).nth(1), refusing.clone())
        .on(
            When::from(Event::CreateContainer).nth(2),
            Behavior::adjust(unappliable),
        )
        .on(
            When::from(Event::CreateContainer).nth(3),
            Behavior::adjust(failing_hook),
        )
        .on(Event::StartContainer, refusing.clone())
        .on(Event::RunPodSandbox, refusing);
    let _connected = stage.join(&plugin).await?;
    for (what, part) in [
        ("a plugin's refusal", "not this one"),
        ("an adjustment that cannot be applied", "-5"),
        ("a hook that fails", "runc"),
    ] {
        let error = create(stage, pod_id, "refused").err().unwrap_or_default();
        is(&format!("{what} in {error:?}"), error.contains(part), true)?;
        let left = stage.crictl.run(&["ps", "--all", "--quiet"])?;
        is("the containers that are left", &*left, "")?;
        let left = fs::read_dir("/run/e2e/root/containers").map(Iterator::count);
        is("the directories that are left", left.ok(), Some(0))?;
    }
    // Plugins that saw a creation that came to nothing hear of its end.
    until("the ends of two creations", || {
        let events = plugin.events();
        Ok(events
            .iter()
            .filter(|event| event.starts_with("RemoveContainer "))
            .count()
            >= 2)
    })?;

    let id = create(stage, pod_id, "unstarted")?;
    is(
        "a start that is refused",
        stage.crictl.run(&["start", &id]).is_err(),
        true,
    )?;
    let (code, reason, _) = stage.crictl.ended(&id)?;
    is("how it ended", (code, &*reason), (128, "StartError"))?;
    stage.crictl.run(&["rm", &id])?;

    is(
        "a pod that is refused",
        stage.crictl.run_pod(&pod("refused")).is_err(),
        true,
    )?;
    until("the pods that are left", || {
        Ok(stage.crictl.run(&["pods", "--quiet"])? == pod_id)
    })
}
