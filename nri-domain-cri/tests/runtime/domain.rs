//! The domain: what plugins see of a CRI runtime, and do to it.

use std::sync::Arc;

use nri_core::model::PodSandbox;
use nri_core::{ContainerOutline, Ctx, Domain, DomainError, Outline, PodOutline, api};
use nri_domain_cri::CriDomain;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn the_domain_lists_what_plugins_may_see() {
    let domain = CriDomain::new(Arc::new(runtime())).with_name("edge.io");
    assert_eq!(domain.name(), "edge.io");
    let pods = domain.list_pod_sandboxes().await.unwrap();
    let ids: Vec<String> = pods.iter().map(|pod| pod.id()).collect();
    assert_eq!(ids, ["pod-1", "pod-2"]);
    assert_eq!(pods[0].domain(), "edge.io");
    let containers = domain.list_containers().await.unwrap();
    let ids: Vec<String> = containers.iter().map(|container| container.id()).collect();
    assert_eq!(
        ids,
        ["ctr-created", "ctr-exited", "ctr-running", "ctr-unknown"]
    );
    assert_eq!(containers[0].domain(), "edge.io");
}

/// Law: the outline has what the listing has, and what it names is looked up whole.
#[tokio::test]
async fn the_outline_has_what_plugins_may_see() {
    let domain = CriDomain::new(Arc::new(runtime())).with_name("edge.io");
    let outline = domain.outline().await.unwrap().unwrap();
    let pods = domain.list_pod_sandboxes().await.unwrap();
    let containers = domain.list_containers().await.unwrap();
    let listed = Outline::new(
        pods.iter().map(|pod| PodOutline::of(&**pod)).collect(),
        containers
            .iter()
            .map(|it| ContainerOutline::of(&**it))
            .collect(),
    );
    assert_eq!(outline, listed);
    let ids: Vec<String> = outline.containers.into_iter().map(|it| it.id).collect();
    let read = domain.get_containers(&ids).await.unwrap();
    for (read, listed) in read.iter().zip(&containers) {
        assert_eq!(
            (read.domain(), read.to_message()),
            ("edge.io".into(), listed.to_message())
        );
    }
    let ids: Vec<String> = outline.pods.into_iter().map(|pod| pod.id).collect();
    let read = domain.get_pod_sandboxes(&ids).await.unwrap();
    let messages = |pods: &[Arc<dyn PodSandbox>]| -> Vec<_> {
        pods.iter().map(|pod| pod.to_message()).collect()
    };
    assert_eq!(messages(&read), messages(&pods));
}

#[tokio::test]
async fn a_prefix_is_no_id() {
    let domain = CriDomain::new(Arc::new(runtime()));
    let prefix = ["ctr-run".to_owned()];
    assert!(domain.get_containers(&prefix).await.unwrap().is_empty());
    assert!(domain.get_container("ctr-run").await.is_none());
    assert!(domain.get_pod_sandbox("pod").await.is_none());
    assert!(!domain.has_container("ctr-run").await);
    assert!(domain.has_container("ctr-running").await);
    assert_eq!(
        domain
            .update_container(&Ctx::new(), &update("ctr-run", Some(memory(1))))
            .await,
        Err(DomainError::NotFound("ctr-run".into()))
    );
}

#[tokio::test]
async fn an_update_comes_in_three_forms() {
    let runtime = Arc::new(runtime());
    let domain = CriDomain::new(runtime.clone());
    let mut resources = memory(4096);
    resources.pids = Some(api::LinuxPids { limit: 7 });
    let wanted = update("ctr-running", Some(resources.clone()));
    domain.update_container(&Ctx::new(), &wanted).await.unwrap();
    let updates = std::mem::take(&mut *runtime.updates.lock().unwrap());
    let [update] = &updates[..] else {
        panic!("{updates:?}")
    };
    assert_eq!(update.nri, resources);
    assert_eq!(
        update.oci,
        json!({"memory": {"limit": 4096, "swap": 4096}, "pids": {"limit": 7}})
    );
    assert_eq!(update.cri.memory_limit_in_bytes, 4096);
    assert_eq!(update.not_in_cri, ["pids"]);
    assert_eq!(
        update.require_cri().unwrap_err().to_string(),
        "this runtime cannot update pids: CRI has no fields for that"
    );
    let unified = update.clone().with_unified();
    unified.require_cri().unwrap();
    assert_eq!(unified.cri.unified["pids.max"], "7");
}

#[tokio::test]
async fn an_update_that_cannot_be_is_refused_with_the_reason() {
    let runtime = Arc::new(runtime());
    let domain = CriDomain::new(runtime.clone());
    let refused = async |update: api::ContainerUpdate| {
        domain
            .update_container(&Ctx::new(), &update)
            .await
            .unwrap_err()
            .to_string()
    };
    let mut nonsense = memory(1);
    nonsense.pids = Some(api::LinuxPids { limit: -5 });
    for (update, part) in [
        (update("ctr-exited", Some(memory(1))), "is stopped"),
        (update("ctr-unknown", Some(memory(1))), "unknown state"),
        (update("ctr-running", None), "no Linux resources"),
        (update("ctr-running", Some(nonsense)), "PidsLimit \"-5\""),
    ] {
        let error = refused(update).await;
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(take(&runtime.log), Vec::<String>::new());

    let mut small = self::runtime();
    small.minimum_memory = 4096;
    let domain = CriDomain::new(Arc::new(small));
    let wanted = update("ctr-running", Some(memory(1)));
    let refused = domain.update_container(&Ctx::new(), &wanted).await;
    assert!(refused.unwrap_err().to_string().contains("at least 4096"));

    let mut failing = self::runtime();
    failing.fails = true;
    let domain = CriDomain::new(Arc::new(failing));
    let error = domain
        .update_container(&Ctx::new(), &update("ctr-running", Some(memory(1))))
        .await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "container \"ctr-running\": the cgroup is busy"
    );
}

#[tokio::test]
async fn an_eviction_gives_no_grace() {
    let runtime = Arc::new(runtime());
    let domain = CriDomain::new(runtime.clone());
    let evict = async |id: &str| {
        let eviction = api::ContainerEviction {
            container_id: id.into(),
            reason: "noisy".into(),
        };
        domain.evict_container(&Ctx::new(), &eviction).await
    };
    evict("ctr-running").await.unwrap();
    evict("ctr-exited").await.unwrap();
    assert_eq!(take(&runtime.log), ["stop ctr-running: noisy"]);
    assert!(matches!(
        evict("no-such").await,
        Err(DomainError::NotFound(_))
    ));
}

#[tokio::test]
async fn a_store_that_does_not_answer_fails_what_can_fail() {
    let mut runtime = runtime();
    runtime.store_fails = true;
    let domain = CriDomain::new(Arc::new(runtime));
    let failed =
        DomainError::Failed("the runtime's store does not answer: the disk is gone".into());
    assert_eq!(
        domain.list_pod_sandboxes().await.err(),
        Some(failed.clone())
    );
    assert_eq!(domain.list_containers().await.err(), Some(failed.clone()));
    // What cannot be read is not taken for gone.
    assert_eq!(domain.outline().await, Err(failed.clone()));
    let ids = ["pod-1".to_owned()];
    let read = domain.get_pod_sandboxes(&ids).await;
    assert_eq!(read.err(), Some(failed.clone()));
    let ids = ["ctr-running".to_owned()];
    let read = domain.get_containers(&ids).await;
    assert_eq!(read.err(), Some(failed.clone()));
    let update = update("ctr-running", Some(memory(1)));
    assert_eq!(
        domain.update_container(&Ctx::new(), &update).await,
        Err(failed)
    );
    assert!(domain.get_container("ctr-running").await.is_none());
    assert!(domain.get_pod_sandbox("pod-1").await.is_none());
    assert!(!domain.has_container("ctr-running").await);
}
