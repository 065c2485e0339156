//! The calls for a CRI server's handlers.

use nri_core::build::SetResources;
use nri_core::merge::{Owner, Owners};
use nri_core::model::{Container, PodSnapshot};
use nri_core::oci::values::Family;
use nri_core::oci::{ApplyOptions, read};
use nri_core::{Ctx, api};
use nri_domain_cri::cri::LinuxContainerResources;
use nri_domain_cri::{CriError, CriState, ResolvedUpdate};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn an_adjustment_is_applied_to_the_record_and_committed() {
    let (cri, log) = cri(Nri {
        adjustment: adjustment(&[("-team", ""), ("extra", "1")]),
        ..Default::default()
    });
    let (cx, pod) = (Ctx::new(), pod("pod-1"));
    let mut record = container("new", "pod-1", CriState::Created);
    let mut token = cri.create_container(&cx, &pod, &record).await.unwrap();
    token.apply_to_record(&mut record).unwrap();
    assert_eq!(record.spec["process"]["env"], json!(["A=1", "B=2"]));
    let seen = record.to_message();
    assert_eq!(seen.annotations["extra"], "1");
    assert!(!seen.annotations.contains_key("team"));
    assert_eq!(record.config.annotations["team"], "blue");
    assert!(token.warnings().is_empty() && token.creation().adjustment().is_some());
    token.commit(&cx, &pod, &record).await;
    assert_eq!(
        take(&log),
        [
            "create_container new",
            "committed new",
            "post_create_container new"
        ]
    );
}

#[tokio::test]
async fn a_dropped_token_undoes_the_creation_once() {
    let (cri, log) = cri(Nri::default());
    let record = container("new", "pod-1", CriState::Created);
    let token = cri
        .create_container(&Ctx::new(), &pod("pod-1"), &record)
        .await
        .unwrap();
    drop(token);
    assert_eq!(take(&log), ["create_container new", "abandoned new"]);
}

#[tokio::test]
async fn plugins_cannot_change_who_a_container_is() {
    let key = "io.kubernetes.cri.sandbox-id";
    let mut owners = Owners::default();
    let owner = Owner::Set("10-thief".parse().unwrap());
    owners.insert("new", api::Field::Annotations, Some(key), owner);
    let (cri, log) = cri(Nri {
        adjustment: adjustment(&[(key, "pod-2")]),
        owners,
        ..Default::default()
    });
    let mut record = container("new", "pod-1", CriState::Created);
    let before = record.spec.clone();
    let mut token = cri
        .create_container(&Ctx::new(), &pod("pod-1"), &record)
        .await
        .unwrap();
    let mut spec = (*before).clone();
    token.apply(&mut spec).unwrap_err();
    assert_eq!(spec, *before);
    let error = token.apply_to_record(&mut record).unwrap_err();
    drop(token);
    assert_eq!(error.code(), 9);
    assert_eq!(
        error.to_string(),
        format!(
            "container \"new\": cannot apply Annotations \"{key}\" (of plugin 10-thief): \
             the runtime keeps this annotation to itself"
        )
    );
    assert_eq!(record.spec, before);
    assert_eq!(record.to_message().pod_sandbox_id, "pod-1");
    assert_eq!(take(&log), ["create_container new", "abandoned new"]);
}

#[tokio::test]
async fn a_refused_pod_is_removed() {
    let (cri, log) = cri(Nri {
        refuses: Some("run_pod_sandbox"),
        ..Default::default()
    });
    let error = cri
        .run_pod_sandbox(&Ctx::new(), &pod("pod-1"))
        .await
        .unwrap_err();
    assert!(matches!(error, CriError::Nri(_)), "{error}");
    assert_eq!(
        take(&log),
        ["run_pod_sandbox pod-1", "remove_pod_sandbox pod-1"]
    );
}

#[tokio::test]
async fn the_containers_of_a_pod_stop_before_it() {
    let (cri, log) = cri(Nri::default());
    cri.stop_pod_sandbox(&Ctx::new(), &pod("pod-1")).await;
    assert_eq!(
        take(&log),
        [
            "stop_container ctr-created",
            "stop_container ctr-running",
            "stop_pod_sandbox pod-1",
        ]
    );
    // Whatever plugins say of one, the others are told.
    let (cri, log) = self::cri(Nri {
        refuses: Some("stop_container"),
        ..Default::default()
    });
    cri.stop_pod_sandbox(&Ctx::new(), &pod("pod-1")).await;
    assert_eq!(take(&log).len(), 3);
}

#[tokio::test]
async fn a_container_that_was_created_stays_whatever_plugins_say_of_it() {
    let (cri, log) = cri(Nri {
        refuses: Some("post_create_container"),
        ..Default::default()
    });
    let (cx, pod) = (Ctx::new(), pod("pod-1"));
    let record = container("new", "pod-1", CriState::Created);
    let token = cri.create_container(&cx, &pod, &record).await.unwrap();
    token.commit(&cx, &pod, &record).await;
    assert_eq!(
        take(&log),
        [
            "create_container new",
            "committed new",
            "post_create_container new"
        ]
    );
}

#[test]
fn a_request_alone_is_an_update_too() {
    let request = LinuxContainerResources {
        memory_limit_in_bytes: 1000,
        oom_score_adj: 900,
        ..Default::default()
    };
    let options = ApplyOptions::default();
    let update = ResolvedUpdate::requested(&request, &options).unwrap();
    assert_eq!(update.cri, request);
    assert_eq!(update.oci["memory"]["limit"], 1000);
    let error = |request: LinuxContainerResources| {
        let error = ResolvedUpdate::requested(&request, &options).unwrap_err();
        (error.code(), error.to_string())
    };
    let (code, negative) = error(LinuxContainerResources {
        cpu_period: -1,
        ..Default::default()
    });
    assert!(code == 3 && negative.contains("cpu_period"), "{negative}");
    let (code, broken) = error(LinuxContainerResources {
        memory_limit_in_bytes: -5,
        ..Default::default()
    });
    assert!(code == 3 && broken.contains("-5"), "{broken}");
}

#[tokio::test]
async fn an_answer_keeps_what_the_kubelet_asked_for() {
    let nri = Nri {
        resources: Some(memory(2000)),
        ..Default::default()
    };
    let (cri, _) = cri(nri);
    let (cx, pod) = (Ctx::new(), pod("pod-1"));
    let record = container("ctr-running", "pod-1", CriState::Running);
    let request = LinuxContainerResources {
        memory_limit_in_bytes: 1000,
        memory_swap_limit_in_bytes: 3000,
        oom_score_adj: 900,
        ..Default::default()
    };
    let update = cri
        .update_container(&cx, &pod, &record, &request)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(update.cri.memory_limit_in_bytes, 2000);
    assert_eq!(update.cri.memory_swap_limit_in_bytes, 3000);
    assert_eq!(update.cri.oom_score_adj, 900);
    assert_eq!(update.oci, json!({"memory": {"limit": 2000, "swap": 3000}}));

    let negative = LinuxContainerResources {
        cpu_period: -1,
        ..Default::default()
    };
    let error = cri
        .update_container(&cx, &pod, &record, &negative)
        .await
        .unwrap_err();
    assert!(matches!(error, CriError::Resources(_)), "{error}");

    let (cri, _) = self::cri(Nri::default());
    assert_eq!(
        cri.update_container(&cx, &pod, &record, &request)
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn a_total_of_memory_and_swap_grows_with_a_limit_that_plugins_raise() {
    const GIB: i64 = 1 << 30;
    let (cx, pod) = (Ctx::new(), pod("pod-1"));
    let record = container("ctr-running", "pod-1", CriState::Running);
    for (limit, swap, answer, total) in [
        (GIB, 2 * GIB, 3 * GIB, 4 * GIB),
        (GIB, -1, 3 * GIB, -1),
        (GIB, 2 * GIB, -1, -1),
    ] {
        let (cri, _) = cri(Nri {
            resources: Some(memory(answer)),
            ..Default::default()
        });
        let request = LinuxContainerResources {
            memory_limit_in_bytes: limit,
            memory_swap_limit_in_bytes: swap,
            ..Default::default()
        };
        let update = cri.update_container(&cx, &pod, &record, &request).await;
        let update = update.unwrap().unwrap();
        assert_eq!(
            update.oci,
            json!({"memory": {"limit": answer, "swap": total}})
        );
        assert_eq!(update.cri.memory_swap_limit_in_bytes, total);
        let memory = update.nri.memory.unwrap();
        assert_eq!(memory.swap.map(|swap| swap.value), Some(total));
    }
}

#[tokio::test]
async fn resources_that_cannot_work_are_refused_unless_the_low_level_runtime_takes_them() {
    let mut resources = api::LinuxResources::default();
    resources.set_memory_limit(-5);
    let (cri, _) = cri(Nri {
        resources: Some(resources.clone()),
        ..Default::default()
    });
    let record = container("ctr-running", "pod-1", CriState::Running);
    let request = LinuxContainerResources::default();
    let error = cri
        .update_container(&Ctx::new(), &pod("pod-1"), &record, &request)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "container \"ctr-running\": the resources that plugins ask for cannot be applied: MemLimit \"-5\": it must be -1 (unlimited) or more"
    );
    let mut options = ApplyOptions::default();
    options.left_to_runtime.insert(Family::Memory);
    let update = ResolvedUpdate::with_options(&request, resources, &options).unwrap();
    assert_eq!(update.oci, json!({"memory": {"limit": -5, "swap": -5}}));
}

#[tokio::test]
async fn the_plain_calls_reach_nri() {
    let (cri, log) = cri(Nri::default());
    let (cx, pod) = (Ctx::new(), pod("pod-1"));
    let record = container("c", "pod-1", CriState::Running);
    let resources = LinuxContainerResources {
        cpu_shares: 2,
        ..Default::default()
    };
    cri.run_pod_sandbox(&cx, &pod).await.unwrap();
    cri.update_pod_sandbox(&cx, &pod, None, Some(&resources))
        .await
        .unwrap();
    cri.post_update_pod_sandbox(&cx, &pod).await;
    cri.start_container(&cx, &pod, &record).await.unwrap();
    cri.post_start_container(&cx, &pod, &record).await;
    cri.post_update_container(&cx, &pod, &record).await;
    cri.notify_exit(&record, 3, 5).await;
    cri.stop_container(&cx, &record).await;
    cri.remove_container(&cx, &record).await;
    cri.remove_pod_sandbox(&cx, &pod).await;
    drop(cri.block_plugin_sync().await);
    assert_eq!(
        take(&log),
        [
            "run_pod_sandbox pod-1",
            "update_pod_sandbox pod-1",
            "post_update_pod_sandbox pod-1",
            "start_container c",
            "post_start_container c",
            "post_update_container c",
            "exit of ContainerStopped 3 in pod-1 c",
            "stop_container c",
            "remove_container c",
            "remove_pod_sandbox pod-1",
        ]
    );
}

#[tokio::test]
async fn a_container_whose_pod_is_forgotten_is_still_stopped() {
    let (cri, log) = cri(Nri::default());
    let record = container("c", "pod-gone", CriState::Exited);
    cri.start_failed(&Ctx::new(), &pod("pod-1"), &record).await;
    cri.stop_container(&Ctx::new(), &record).await;
    cri.notify_exit(&record, 0, 0).await;
    assert_eq!(
        take(&log),
        [
            "stop_container c",
            "stop_container c",
            "exit of ContainerStopped 0 in pod-gone c",
        ]
    );
}

#[tokio::test]
async fn the_runtimes_checker_sees_updates_too() {
    let mut runtime = runtime();
    runtime.minimum_memory = 4096;
    let nri = Nri {
        resources: Some(memory(100)),
        ..Default::default()
    };
    let (cri, _) = cri_of(nri, runtime);
    let record = container("ctr-running", "pod-1", CriState::Running);
    let request = LinuxContainerResources::default();
    let (cx, pod) = (Ctx::new(), pod("pod-1"));
    let update = cri.update_container(&cx, &pod, &record, &request);
    assert_eq!(
        update.await.unwrap_err().to_string(),
        "container \"ctr-running\": the runtime refuses the resources that plugins ask for: the memory limit is 100 bytes, \
         and must be at least 4096"
    );
}

#[tokio::test]
async fn a_store_that_does_not_answer_keeps_no_end_from_plugins() {
    let mut runtime = runtime();
    runtime.store_fails = true;
    let (cri, log) = cri_of(Nri::default(), runtime);
    let (cx, pod) = (Ctx::new(), pod("pod-1"));
    cri.stop_pod_sandbox(&cx, &pod).await;
    let record = container("c", "pod-1", CriState::Running);
    cri.notify_exit(&record, 0, 0).await;
    cri.stop_container(&cx, &record).await;
    cri.remove_container(&cx, &record).await;
    assert_eq!(
        take(&log),
        [
            "stop_pod_sandbox pod-1",
            "exit of ContainerStopped 0 in pod-1 c",
            "stop_container c",
            "remove_container c",
        ]
    );
}

#[tokio::test]
async fn pods_and_containers_are_of_whatever_types_the_runtime_has() {
    let (cri, log) = cri(Nri {
        adjustment: adjustment(&[("extra", "1")]),
        ..Default::default()
    });
    let cx = Ctx::new();
    let pod = PodSnapshot::new(api::PodSandbox {
        id: "pod-1".into(),
        ..Default::default()
    });
    let mut spec = json!({"process": {"args": ["/app"]}});
    let mut message = api::Container {
        id: "new".into(),
        pod_sandbox_id: "pod-1".into(),
        ..read::container(&spec)
    };
    let mut token = cri.create_container(&cx, &pod, &message).await.unwrap();
    token.apply(&mut spec).unwrap();
    assert_eq!(spec["annotations"], json!({"extra": "1"}));
    message.annotations = read::annotations(&spec);
    token.commit(&cx, &pod, &message).await;
    cri.notify_exit(&message, 137, 5).await;
    cri.remove_container(&cx, &message).await;
    assert_eq!(take(&log).len(), 5);
}

#[tokio::test]
async fn nothing_is_asked_while_nri_is_off() {
    let (cri, log) = cri(Nri {
        disabled: true,
        ..Default::default()
    });
    let (cx, pod) = (Ctx::new(), pod("pod-1"));
    let record = container("c", "pod-1", CriState::Running);
    let nonsense = LinuxContainerResources {
        cpu_period: -1,
        ..Default::default()
    };
    cri.stop_pod_sandbox(&cx, &pod).await;
    assert_eq!(
        cri.update_container(&cx, &pod, &record, &nonsense)
            .await
            .unwrap(),
        None
    );
    cri.notify_exit(&record, 0, 0).await;
    cri.stop_container(&cx, &record).await;
    cri.remove_container(&cx, &record).await;
    assert_eq!(take(&log), Vec::<String>::new());
}
