//! Plugins without a socket: what the harness does is what a runtime does.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use nri_core::merge::Owner;
use nri_core::{Error, Request, RuntimeInfo};
use nri_plugin::api::Field;
use nri_plugin::prelude::*;
use nri_plugin::{Configuration, Handlers};
use nri_testkit::{Describe as _, DescribeContainer as _, Harness, TestRuntime, container, pod};

/// Gives a container a mode by annotation, and takes shares from another one.
fn modes() -> Handlers {
    handlers()
        .on_create_container(|_, pod, container| async move {
            let mut adjust = Adjustment::new();
            let key = "example.com/mode";
            if let Some((_, mode)) = effective_annotation(&pod.annotations, key, &container.name) {
                adjust.add_env("MODE", mode)?.set_memory_limit(1 << 30);
                let mut other = api::ContainerUpdate::of_container("c2")?;
                other.set_cpu_shares(512);
                let victim = api::ContainerEviction::of_container("c3", "in the way")?;
                adjust.also_update(other).also_evict(victim);
            }
            Ok(adjust)
        })
        .on_update_container(|_, _, container, resources| async move {
            let mut own = api::ContainerUpdate::of_container(container.id)?;
            let limit = resources.memory.and_then(|memory| memory.limit);
            own.set_memory_limit(limit.map_or(0, |limit| limit.value * 2));
            Ok(vec![own])
        })
        .on_stop_container(|_, _, _| async { Ok(vec![api::ContainerUpdate::of_container("c2")?]) })
        .on_run_pod_sandbox(|_, pod| async move {
            match pod.name.as_str() {
                "unwanted" => Err("not here".into()),
                _ => Ok(()),
            }
        })
        .build()
}

const SNAPSHOT: &str = r#"adjust env: {"key":"MODE","value":"fast"}
adjust linux.resources.memory.limit.value: "1073741824"
update c2 linux.resources.cpu.shares.value: "512"
evict  c3: in the way (10-plugin)
owner  Env MODE: 10-plugin
owner  MemLimit: 10-plugin
owner  c2 CPUShares: 10-plugin
"#;

#[tokio::test]
async fn a_handler_is_tested_in_three_lines() {
    let harness = Harness::new(modes());
    let pod = pod("web-1").annotated("example.com/mode", "fast");
    let created = harness.create(pod, container("nginx")).await;
    assert_eq!(created.env("MODE"), Some("fast"));
    assert_eq!(created.env("HOSTNAME"), Some("web-1"));
    let owner = created.owner(Field::Env, Some("MODE")).unwrap();
    assert_eq!(owner.to_string(), "10-plugin");
    assert!(created.update("c2").is_some() && created.update("c9").is_none());
    assert_eq!(created.to_string(), SNAPSHOT);
}

#[tokio::test]
async fn what_is_not_asked_for_is_empty() {
    let harness = Harness::new(modes());
    let created = harness.create(pod("web-1"), container("nginx")).await;
    assert!(created.is_empty());
    assert_eq!(created.to_string(), "");
    assert!(created.mount("/proc").is_some());
}

/// Law: it is what a runtime makes of the same plugin, pod and container.
#[tokio::test]
async fn a_runtime_makes_the_same_of_it() {
    let harness = Harness::new(modes());
    let runtime = TestRuntime::start().await;
    let _joined = runtime.join_plugin("10-plugin", modes()).await;
    let pod = pod("web-1").annotated("example.com/mode/container.nginx", "slow");
    let pod = runtime.run(pod).await;
    let mut nginx = container("nginx").with_args(["nginx", "-g"]);
    nginx.pod_sandbox_id.clone_from(&pod.id);
    let cx = nri_core::Ctx::new();
    let creation = nri_core::RuntimeApi::create_container(runtime.nri(), &cx, &pod, &nginx);
    let creation = creation.await.unwrap();
    let created = harness.create(pod, nginx).await;
    assert_eq!(creation.adjustment(), created.adjustment.as_ref());
    assert_eq!(creation.owners(), &created.owners);
}

#[tokio::test]
async fn plugins_are_called_in_their_order_and_conflicts_are_errors() {
    let sets = |value: &'static str| {
        handlers()
            .on_create_container(move |_, _, container| async move {
                let mut adjust = Adjustment::new();
                match container.env.contains(&"MODE=first".to_owned()) {
                    true => adjust.replace_env("MODE", value)?,
                    false => adjust.add_env("MODE", value)?,
                };
                Ok(adjust)
            })
            .build()
    };
    let harness = Harness::new(sets("second")).and("05-first", sets("first"));
    let created = harness.create(pod("p"), container("c")).await;
    assert_eq!(created.env("MODE"), Some("second"));
    let owner = created
        .owners
        .owner(&created.container.id, Field::Env, Some("MODE"));
    assert!(matches!(owner, Some(Owner::Set(plugin)) if plugin.to_string() == "10-plugin"));

    let harness = Harness::new(sets("second")).and("05-other", sets("other"));
    let error = harness
        .try_create(pod("p"), container("c"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Merge(_)), "{error:?}");
    assert!(error.to_string().contains("05-other"), "{error}");
}

#[tokio::test]
async fn a_validator_judges_what_the_others_ask_for() {
    let guard = handlers()
        .on_validate_container_adjustment(|_, _, container, proposal| async move {
            match proposal.adjust.env.is_empty() {
                true => Ok(()),
                false => Err(format!("{} keeps its environment", container.name).into()),
            }
        })
        .build();
    let harness = Harness::new(modes()).and("90-guard", guard);
    harness.create(pod("plain"), container("nginx")).await;
    let pod = pod("web-1").annotated("example.com/mode", "fast");
    let error = harness
        .try_create(pod, container("nginx"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("nginx keeps its environment"),
        "{error}"
    );
}

#[tokio::test]
async fn other_events_reach_the_plugin_too() {
    let harness = Harness::new(modes());
    let mut wanted = api::LinuxResources::default();
    wanted.set_memory_limit(100);
    let nginx = container("nginx").with_memory_limit(50).with_cpu_shares(7);
    let updated = harness.update(pod("p"), nginx.clone(), wanted).await;
    let memory = |update: &api::ContainerUpdate| {
        let resources = update.linux.as_ref()?.resources.as_ref()?;
        Some(resources.memory.as_ref()?.limit?.value)
    };
    assert_eq!(updated.update(&nginx.id).and_then(memory), Some(200));
    let stopped = harness.stop(pod("p"), nginx).await;
    assert_eq!(stopped.updates.len(), 1);
    let run = |name| {
        Request::RunPodSandbox(api::RunPodSandboxRequest {
            pod: Some(pod(name)),
        })
    };
    harness.notify(run("wanted")).await.unwrap();
    let error = harness.notify(run("unwanted")).await.unwrap_err();
    assert!(error.to_string().contains("not here"), "{error}");
}

#[tokio::test]
async fn the_plugin_is_configured_first_and_may_use_the_runtime() {
    let builder = stateful(String::new())
        .on_configure(|state, cx, configuration: Configuration| {
            *state = format!("{} at {}", configuration.config, cx.runtime_info().name);
            match configuration.config.as_str() {
                "bad" => Err("no such thing".into()),
                _ => Ok(None),
            }
        })
        .on_synchronize(|_, _, pods, _| {
            assert_eq!(pods.len(), 1);
            Ok(())
        });
    let state = builder.state();
    let harness = Harness::new(builder.build())
        .configured("good")
        .at_runtime(RuntimeInfo::new("containerd", "v2.1.0", ""));
    assert_eq!(harness.synchronize(vec![pod("p")], vec![]).await, [[]]);
    assert_eq!(state.with(|text| text.clone()), "good at containerd");

    let asks = handlers()
        .on_configure(|_, configuration| async move {
            match configuration.config.as_str() {
                "bad" => Err("no such thing".into()),
                _ => Ok(None),
            }
        })
        .on_start_container(|cx, _, container| async move {
            let update = api::ContainerUpdate::of_container(container.id)?;
            cx.runtime()
                .apply(Updates::from_iter([update]))
                .await?
                .all_applied()?;
            Ok(())
        });
    let harness = Harness::new(asks.build());
    let request = api::StartContainerRequest {
        pod: Some(pod("p")),
        container: Some(container("c")),
    };
    harness
        .notify(Request::StartContainer(request))
        .await
        .unwrap();
    assert_eq!(
        harness.unsolicited()[0].update[0].container_id,
        container("c").id
    );
    let bad = Harness::new(
        handlers()
            .on_configure(|_, _| async { Err("no such thing".into()) })
            .build(),
    );
    let error = bad.try_configure().await.unwrap_err();
    assert_eq!(error, "plugin 10-plugin: no such thing");
}
