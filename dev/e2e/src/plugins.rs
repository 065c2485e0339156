//! What plugins do to real containers.

use std::fs;

use nri_core::build::{Adjust as _, SetResources as _};
use nri_core::{Event, api};
use nri_proto::transport::Code;
use nri_testkit::{Behavior, FakePlugin, When};

use crate::crictl::{container, pod};
use crate::expect::{is, until};
use crate::life::memory;
use crate::stage::Stage;

/// Lets plugins adjust, update, evict and refuse.
///
/// # Errors
/// What does not come out as it should.
pub(crate) async fn run(stage: &mut Stage) -> Result<(), String> {
    let pod_id = stage.crictl.run_pod(&pod("plugins"))?;
    adjusted(stage, &pod_id).await?;
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

fn adjustment() -> Result<api::ContainerAdjustment, String> {
    let failed = |e: nri_core::build::BuildError| e.to_string();
    let mut adjust = api::ContainerAdjustment::default();
    adjust.add_env("FROM_PLUGIN", "yes").map_err(failed)?;
    adjust.remove_env("OWN");
    let mount = api::Mount {
        destination: "/from-plugin".into(),
        r#type: "bind".into(),
        source: "/run/e2e/given".into(),
        options: vec!["rbind".into(), "ro".into()],
    };
    adjust.add_mount(mount).map_err(failed)?;
    let null = api::LinuxDevice {
        path: "/dev/from-plugin".into(),
        r#type: "c".into(),
        major: 1,
        minor: 3,
        ..Default::default()
    };
    adjust.add_device(null).map_err(failed)?;
    adjust
        .add_rlimit("RLIMIT_NOFILE", 123, 99)
        .map_err(failed)?;
    adjust
        .add_annotation("e2e/plugin", "was here")
        .map_err(failed)?;
    adjust.add_hooks(api::Hooks {
        create_runtime: vec![api::Hook {
            path: "/bin/sh".into(),
            args: ["sh", "-c", "cat > /run/e2e/hook"]
                .map(str::to_owned)
                .to_vec(),
            ..Default::default()
        }],
        ..Default::default()
    });
    adjust.set_oom_score_adj(Some(777));
    adjust
        .set_memory_limit(48 << 20)
        .set_cpu_shares(333)
        .set_pids_limit(55);
    Ok(adjust)
}

async fn adjusted(stage: &Stage, pod_id: &str) -> Result<(), String> {
    fs::create_dir_all("/run/e2e/given").map_err(|e| format!("/run/e2e/given: {e}"))?;
    fs::write("/run/e2e/given/file", "given").map_err(|e| format!("/run/e2e/given: {e}"))?;
    let plugin =
        FakePlugin::new("10-adjust").on(Event::CreateContainer, Behavior::adjust(adjustment()?));
    let _connected = stage.join(&plugin).await?;
    let id = create(stage, pod_id, "adjusted")?;
    stage.crictl.run(&["start", &id])?;
    let inside = |script: &str| stage.crictl.script(&id, script);
    is(
        "the environment",
        &*inside("echo $FROM_PLUGIN $OWN")?,
        "yes",
    )?;
    is("a mount", &*inside("cat /from-plugin/file")?, "given")?;
    is(
        "a read-only mount",
        inside("touch /from-plugin/new").is_err(),
        true,
    )?;
    is(
        "a device",
        &*inside("echo x > /dev/from-plugin; echo $?")?,
        "0",
    )?;
    is(
        "a limit",
        &*inside("grep 'open files' /proc/1/limits | tr -s ' ' | cut -d' ' -f4,5")?,
        "99 123",
    )?;
    is(
        "the OOM score",
        &*inside("cat /proc/1/oom_score_adj")?,
        "777",
    )?;
    is(
        "the limit of memory",
        memory(stage, &id)?,
        (48 << 20).to_string(),
    )?;
    let cgroup = |v1: &str, v2: &str| {
        inside(&format!(
            "cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}"
        ))
    };
    is(
        "the limit of processes",
        &*cgroup("pids/pids.max", "pids.max")?,
        "55",
    )?;
    let hook = fs::read_to_string("/run/e2e/hook").unwrap_or_default();
    is("what a hook was told", hook.contains(&id), true)?;
    let status = stage.crictl.json(&["inspect", &id])?;
    let annotation = &status["info"]["runtimeSpec"]["annotations"]["e2e/plugin"];
    is("an annotation", annotation.as_str(), Some("was here"))?;
    let resources = &status["status"]["resources"]["linux"];
    is(
        "the shares that are shown",
        resources["cpuShares"].as_str(),
        Some("333"),
    )?;
    stage.crictl.run(&["rm", "--force", &id]).map(drop)
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
