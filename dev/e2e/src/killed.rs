//! The runtime is killed between any two steps of a life, and the life goes on.

use std::fs;

use nri_testkit::FakePlugin;

use crate::crictl::{LOGS, container, pod};
use crate::expect::{is, until};
use crate::life::{Life, STEPS};
use crate::stage::Stage;

/// Kills it at every place.
///
/// # Errors
/// Where what comes after does not work.
pub(crate) async fn run(stage: &mut Stage) -> Result<(), String> {
    between_steps(stage, false).await?;
    while_dead(stage)
}

/// Kills it between any two steps of a life, of a pod with a user namespace of its own or with the
/// host's.
///
/// # Errors
/// Where what comes after does not work.
pub(crate) async fn between_steps(stage: &mut Stage, own_users: bool) -> Result<(), String> {
    for (cut, (before, _)) in STEPS.iter().enumerate().skip(1) {
        let mut life = Life {
            own_users,
            ..Life::default()
        };
        let mut listener = None;
        for (at, (name, step)) in STEPS.iter().enumerate() {
            if at == cut {
                stage.kill()?;
                stage.start()?;
                let plugin = FakePlugin::new("10-listener");
                let connected = stage.join(&plugin).await?;
                let (pods, containers) = plugin.shown();
                is(
                    "the pods that a plugin is shown",
                    pods,
                    vec![life.pod.clone()],
                )?;
                // One that has ended is not shown, and its removal is told all the same.
                let there = (2..=5).contains(&cut);
                is(
                    "whether it is shown the container",
                    containers.contains(&life.container),
                    there,
                )?;
                listener = Some((plugin, connected));
            }
            step(stage, &mut life).map_err(|error| {
                format!(
                    "killed before {before:?}, {name}: {error}\n{}",
                    stage.said()
                )
            })?;
        }
        if let Some((plugin, _)) = listener {
            if cut <= 6 {
                let removed = format!("RemoveContainer {}", life.container);
                is(
                    "whether it hears of the removal",
                    plugin.events().contains(&removed),
                    true,
                )?;
            }
            let last = format!("RemovePodSandbox {}", life.pod);
            is("the last that it hears", plugin.events().pop(), Some(last))?;
        }
        stage.is_clean()?;
        println!("e2e: killed before: {before}");
    }
    Ok(())
}

/// A container that ends while nobody looks: its exit and its output are there afterwards.
fn while_dead(stage: &mut Stage) -> Result<(), String> {
    let pod_id = stage.crictl.run_pod(&pod("dead"))?;
    let mut short = container("short");
    short["command"] = serde_json::json!([
        "sh",
        "-c",
        "while [ ! -e /tmp/end ]; do sleep 0.1; done; echo last; exit 5"
    ]);
    let id = stage.crictl.create(&pod_id, &pod("dead"), &short)?;
    stage.crictl.run(&["start", &id])?;
    let end = format!("/run/e2e/root/containers/{id}");
    stage.kill()?;
    fs::write(format!("{end}/rootfs/tmp/end"), "").map_err(|e| format!("{end}: {e}"))?;
    until("the exit of a container", || {
        Ok(fs::exists(format!("/run/e2e/run/exits/{id}/{id}")).unwrap_or(false))
    })?;
    stage.start()?;
    is("the exit code", stage.crictl.ended(&id)?.0, 5)?;
    let log = fs::read_to_string(format!("{LOGS}/short.log")).unwrap_or_default();
    is("the log", log.contains(" stdout F last\n"), true)?;
    stage.crictl.run(&["rmp", "--force", &pod_id])?;
    stage.is_clean()?;
    println!("e2e: killed while a container ends");
    Ok(())
}
