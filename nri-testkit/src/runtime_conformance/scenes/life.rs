//! A pod and a container from their first to their last step.

use nri_core::api::{
    ContainerAdjustment, ContainerState, KeyValue, LinuxContainerAdjustment, Mount,
};
use nri_core::{Event, Request};

use super::super::driver::Played;
use crate::runtime_conformance::bench::{Bench, heard, memory};
use crate::runtime_conformance::report::Check;
use crate::{Behavior, FakePlugin};

const VARIABLE: (&str, &str) = ("NRI_CONFORMANCE_ADJUSTED", "1");
const ANNOTATION: &str = "nri.conformance/adjusted";
const MOUNT: &str = "/nri-conformance";
const LIMIT: i64 = 48 << 20;

fn set(name: &str, value: &str) -> ContainerAdjustment {
    ContainerAdjustment {
        env: vec![KeyValue {
            key: name.to_owned(),
            value: value.to_owned(),
        }],
        ..Default::default()
    }
}

/// An adjustment of each kind that every runtime can apply.
fn adjustment() -> ContainerAdjustment {
    ContainerAdjustment {
        annotations: [(ANNOTATION.to_owned(), "yes".to_owned())].into(),
        mounts: vec![Mount {
            destination: MOUNT.to_owned(),
            r#type: "tmpfs".to_owned(),
            source: "tmpfs".to_owned(),
            options: vec!["nosuid".to_owned()],
        }],
        linux: Some(LinuxContainerAdjustment {
            resources: Some(memory(LIMIT)),
            ..Default::default()
        }),
        ..set(VARIABLE.0, VARIABLE.1)
    }
}

fn variable((name, value): (&str, &str)) -> String {
    format!("{name}={value}")
}

pub(super) async fn whole(bench: &Bench<'_>) -> Played {
    let adjusts = Behavior::adjust(adjustment());
    let plugin = FakePlugin::new("20-conformance").on(Event::CreateContainer, adjusts);
    let _connected = bench.join(&plugin).await?;
    let (pod_spec, spec) = (bench.pod_spec(), bench.container_spec());
    let pod = bench.run(&pod_spec).await?;
    let id = bench.create_as(&pod, &spec).await?;
    bench.driver.start_container(&id).await?;
    applied(bench, &id).await?;
    bench.driver.stop_container(&id).await?;
    bench.driver.remove_container(&id).await?;
    bench.end_pod(&pod, &plugin).await?;

    synchronised(bench, &plugin);
    let order = heard(&plugin, &[&pod, &id]);
    let expected = [
        "RunPodSandbox",
        "CreateContainer",
        "PostCreateContainer",
        "StartContainer",
        "PostStartContainer",
        "StopContainer",
        "RemoveContainer",
        "StopPodSandbox",
        "RemovePodSandbox",
    ];
    bench.expect(Check::Order, order == expected, || {
        format!("a plugin was to hear {expected:?}, and heard {order:?}")
    });

    let run = bench.request(Check::PodShown, &plugin, Event::RunPodSandbox, &pod);
    if let Some(shown) = run.as_ref().and_then(Request::pod) {
        let wanted = pod_spec.to_message();
        for (field, is, wanted) in [
            ("name", &shown.name, &wanted.name),
            ("namespace", &shown.namespace, &wanted.namespace),
            ("uid", &shown.uid, &wanted.uid),
        ] {
            bench.expect(Check::PodShown, is == wanted, || {
                format!("the pod's {field} is {wanted:?}, and is shown as {is:?}")
            });
        }
        for (field, is, wanted) in [
            ("labels", &shown.labels, &wanted.labels),
            ("annotations", &shown.annotations, &wanted.annotations),
        ] {
            let has = wanted.iter().all(|(key, value)| is.get(key) == Some(value));
            bench.expect(Check::PodShown, has, || {
                format!("the pod's {field} are {wanted:?}, and are shown as {is:?}")
            });
        }
    }
    container_shown(bench, &plugin, &pod, &id, &spec.to_message());
    let post = bench.request(
        Check::AdjustedShown,
        &plugin,
        Event::PostCreateContainer,
        &id,
    );
    if let Some(shown) = post.as_ref().and_then(Request::container) {
        let has = shown.env.contains(&variable(VARIABLE));
        bench.expect(Check::AdjustedShown, has, || {
            let env = &shown.env;
            format!(
                "{} was set, and the variables are shown as {env:?}",
                variable(VARIABLE)
            )
        });
    }
    let started = bench.request(Check::StateShown, &plugin, Event::PostStartContainer, &id);
    if let Some(shown) = started.as_ref().and_then(Request::container) {
        let (state, pid) = (shown.state(), shown.pid);
        let runs = state == ContainerState::ContainerRunning && pid > 0;
        bench.expect(Check::StateShown, runs, || {
            format!("it was started, and is shown as {state:?} with process {pid}")
        });
    }
    Ok(())
}

fn synchronised(bench: &Bench<'_>, plugin: &FakePlugin) {
    let seen = plugin.seen();
    let first: Vec<&str> = seen.iter().take(2).map(|call| call.method()).collect();
    let order = ["Configure", "Synchronize"];
    bench.expect(Check::Synchronised, first == order, || {
        format!("a plugin was to get {order:?} first, and got {first:?}")
    });
    let configured = seen.iter().find_map(|call| call.configuration());
    if let Some(it) = configured {
        let (name, version) = (it.runtime_name, it.runtime_version);
        let told = !name.is_empty() && !version.is_empty();
        bench.expect(Check::Synchronised, told, || {
            format!("the runtime's name is {name:?}, and its version {version:?}")
        });
    }
}

/// What a container is shown as before it is created.
fn container_shown(
    bench: &Bench<'_>,
    plugin: &FakePlugin,
    pod: &str,
    id: &str,
    wanted: &nri_core::api::Container,
) {
    let check = Check::ContainerShown;
    let create = bench.request(check, plugin, Event::CreateContainer, id);
    let Some(shown) = create.as_ref().and_then(Request::container) else {
        return;
    };
    bench.expect(check, shown.pod_sandbox_id == pod, || {
        format!(
            "its pod is {pod:?}, and is shown as {:?}",
            shown.pod_sandbox_id
        )
    });
    bench.expect(check, shown.name == wanted.name, || {
        format!(
            "its name is {:?}, and is shown as {:?}",
            wanted.name, shown.name
        )
    });
    bench.expect(check, shown.args == wanted.args, || {
        format!(
            "its command line is {:?}, and is shown as {:?}",
            wanted.args, shown.args
        )
    });
    let has = wanted
        .env
        .iter()
        .all(|variable| shown.env.contains(variable));
    bench.expect(check, has, || {
        format!(
            "its variables are {:?}, and are shown as {:?}",
            wanted.env, shown.env
        )
    });
    for (field, is, wanted) in [
        ("labels", &shown.labels, &wanted.labels),
        ("annotations", &shown.annotations, &wanted.annotations),
    ] {
        let has = wanted.iter().all(|(key, value)| is.get(key) == Some(value));
        bench.expect(check, has, || {
            format!("its {field} are {wanted:?}, and are shown as {is:?}")
        });
    }
    let limit = |container: &nri_core::api::Container| {
        let memory = container.linux.clone()?.resources?.memory?;
        memory.limit.map(|limit| limit.value)
    };
    let (is, wanted) = (limit(shown), limit(wanted));
    bench.expect(check, is == wanted, || {
        format!("its memory limit is {wanted:?}, and is shown as {is:?}")
    });
}

async fn applied(bench: &Bench<'_>, id: &str) -> Played {
    let check = Check::Applied;
    let Some(inside) = bench.inside(check, id).await? else {
        return Ok(());
    };
    if let Some(env) = inside.env {
        bench.expect(check, env.contains(&variable(VARIABLE)), || {
            format!(
                "{} was set, and the container has {env:?}",
                variable(VARIABLE)
            )
        });
    }
    if let Some(annotations) = inside.annotations {
        bench.expect(check, annotations.contains_key(ANNOTATION), || {
            format!("{ANNOTATION} was set, and the container has {annotations:?}")
        });
    }
    if let Some(mounts) = inside.mounts {
        bench.expect(check, mounts.iter().any(|at| at == MOUNT), || {
            format!("something was to be mounted at {MOUNT}, and the mounts are {mounts:?}")
        });
    }
    if let Some(limit) = inside.memory_limit {
        bench.expect(check, limit == LIMIT, || {
            format!("the memory limit was set to {LIMIT}, and is {limit}")
        });
    }
    Ok(())
}

pub(super) async fn two_plugins(bench: &Bench<'_>) -> Played {
    let first = variable(("NRI_CONFORMANCE_FIRST", "1"));
    let adjusts = Behavior::adjust(set("NRI_CONFORMANCE_FIRST", "1"));
    // The one that comes first is asked last.
    let last = FakePlugin::new("80-conformance-last");
    let _last = bench.join(&last).await?;
    let earlier = FakePlugin::new("20-conformance-first").on(Event::CreateContainer, adjusts);
    let _earlier = bench.join(&earlier).await?;
    let pod = bench.pod().await?;
    let id = bench.create(&pod).await?;
    let request = bench.request(Check::PluginOrder, &last, Event::CreateContainer, &id);
    if let Some(shown) = request.as_ref().and_then(Request::container) {
        bench.expect(Check::PluginOrder, shown.env.contains(&first), || {
            let env = &shown.env;
            format!("plugin 20 set {first}, and plugin 80 sees {env:?}")
        });
    }
    Ok(())
}
