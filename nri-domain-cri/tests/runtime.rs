//! The domain and the calls for a CRI server's handlers, on a runtime and an NRI that only write down what they are told.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use nri_core::merge::{Owner, Owners};
use nri_core::model::{Container, PodSandbox};
use nri_core::oci::ApplyOptions;
use nri_core::{
    Api, Creation, Ctx, Domain, DomainError, Error, PluginSyncBlock, Settlement, UpdateResult, api,
};
use nri_domain_cri::cri::{ContainerConfig, LinuxContainerResources, PodSandboxConfig};
use nri_domain_cri::{
    ActionError, ContainerRecord, CriActions, CriDomain, CriError, CriNri, CriState, CriStore,
    PodRecord, PodState, ResolvedUpdate, SpecHooks,
};
use serde_json::json;

type Log = Arc<Mutex<Vec<String>>>;

fn take(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

#[derive(Default)]
struct Runtime {
    pods: BTreeMap<String, PodRecord>,
    containers: BTreeMap<String, ContainerRecord>,
    fails: bool,
    log: Log,
    updates: Mutex<Vec<ResolvedUpdate>>,
}

impl CriStore for Runtime {
    fn pods(&self) -> Vec<PodRecord> {
        self.pods.values().cloned().collect()
    }
    fn containers(&self) -> Vec<ContainerRecord> {
        self.containers.values().cloned().collect()
    }
    /// By prefix, as runtimes look up what a person types.
    fn pod(&self, id: &str) -> Option<PodRecord> {
        self.pods
            .values()
            .find(|pod| pod.id.starts_with(id))
            .cloned()
    }
    fn container(&self, id: &str) -> Option<ContainerRecord> {
        let mut containers = self.containers.values();
        containers
            .find(|container| container.id.starts_with(id))
            .cloned()
    }
}

#[async_trait]
impl CriActions for Runtime {
    async fn update_container(
        &self,
        _: &Ctx,
        id: &str,
        update: &ResolvedUpdate,
    ) -> Result<(), ActionError> {
        if self.fails {
            return Err(ActionError::Failed("the cgroup is busy".into()));
        }
        self.log.lock().unwrap().push(format!("update {id}"));
        self.updates.lock().unwrap().push(update.clone());
        Ok(())
    }

    async fn stop_container(
        &self,
        _: &Ctx,
        id: &str,
        grace: Duration,
        reason: &str,
    ) -> Result<(), ActionError> {
        if self.fails {
            return Err(ActionError::WrongState("being removed".into()));
        }
        self.log
            .lock()
            .unwrap()
            .push(format!("stop {id} after {grace:?}: {reason}"));
        Ok(())
    }
}

impl SpecHooks for Runtime {
    fn apply_options(&self, _: &PodRecord) -> ApplyOptions {
        ApplyOptions::default()
    }
}

fn pod(id: &str) -> PodRecord {
    let config = PodSandboxConfig::from_json(
        r#"{"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}}"#,
    );
    PodRecord::new(id, Arc::new(config.unwrap()))
}

fn container(id: &str, pod: &str, state: CriState) -> ContainerRecord {
    let config = ContainerConfig::from_json(
        r#"{"metadata": {"name": "app"}, "image": {"image": "i"}, "annotations": {"team": "blue"}}"#,
    );
    let spec = json!({
        "process": {"env": ["A=1"]},
        "annotations": {"io.kubernetes.cri.sandbox-id": pod, "team": "blue"},
        "linux": {"resources": {"memory": {"limit": 100, "swap": 100}}},
    });
    let mut record = ContainerRecord::new(id, pod, Arc::new(config.unwrap()), Arc::new(spec));
    record.state = state;
    record
}

fn runtime() -> Runtime {
    let mut runtime = Runtime::default();
    for (id, state) in [
        ("pod-1", PodState::Ready),
        ("pod-2", PodState::NotReady),
        ("pod-3", PodState::Unknown),
    ] {
        let mut pod = pod(id);
        pod.state = state;
        runtime.pods.insert(id.into(), pod);
    }
    for (id, pod, state) in [
        ("ctr-created", "pod-1", CriState::Created),
        ("ctr-running", "pod-1", CriState::Running),
        ("ctr-exited", "pod-2", CriState::Exited),
        ("ctr-unknown", "pod-2", CriState::Unknown),
        ("ctr-unlisted", "pod-3", CriState::Running),
        ("ctr-dangling", "pod-9", CriState::Running),
    ] {
        runtime
            .containers
            .insert(id.into(), container(id, pod, state));
    }
    runtime
}

fn update(id: &str, resources: Option<api::LinuxResources>) -> api::ContainerUpdate {
    api::ContainerUpdate {
        container_id: id.into(),
        linux: Some(api::LinuxContainerUpdate { resources }),
        ignore_failure: false,
    }
}

fn memory(limit: i64) -> api::LinuxResources {
    api::LinuxResources {
        memory: Some(api::LinuxMemory {
            limit: Some(api::OptionalInt64 { value: limit }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

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

#[tokio::test]
async fn a_prefix_is_no_id() {
    let domain = CriDomain::new(Arc::new(runtime()));
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
    assert_eq!(take(&runtime.log), ["stop ctr-running after 0ns: noisy"]);
    assert!(matches!(
        evict("no-such").await,
        Err(DomainError::NotFound(_))
    ));
}

/// An NRI that writes down its calls, and answers as it is told.
#[derive(Default)]
struct Nri {
    log: Log,
    disabled: bool,
    refuses: Option<&'static str>,
    adjustment: Option<api::ContainerAdjustment>,
    owners: Owners,
    resources: Option<api::LinuxResources>,
    asked: Mutex<Option<api::LinuxResources>>,
}

impl Nri {
    fn note(&self, call: &str, id: String) -> Result<(), Error> {
        self.log.lock().unwrap().push(format!("{call} {id}"));
        match self.refuses {
            Some(refused) if refused == call => Err(Error::Invalid(format!("{call} refused"))),
            _ => Ok(()),
        }
    }
}

macro_rules! noting {
    ($($method:ident)*; $($container_method:ident)*) => {
        #[async_trait]
        impl Api for Nri {
            $(async fn $method(&self, _: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error> {
                self.note(stringify!($method), pod.id())
            })*
            $(async fn $container_method(
                &self, _: &Ctx, _: &dyn PodSandbox, container: &dyn Container,
            ) -> Result<(), Error> {
                self.note(stringify!($container_method), container.id())
            })*
            fn is_enabled(&self) -> bool {
                !self.disabled
            }
            async fn start(&self) -> Result<(), Error> {
                Ok(())
            }
            async fn stop(&self) {}
            async fn update_pod_sandbox(
                &self, _: &Ctx, pod: &dyn PodSandbox, _: Option<api::LinuxResources>,
                resources: Option<api::LinuxResources>,
            ) -> Result<(), Error> {
                *self.asked.lock().unwrap() = resources;
                self.note("update_pod_sandbox", pod.id())
            }
            async fn create_container(
                &self, _: &Ctx, _: &dyn PodSandbox, container: &dyn Container,
            ) -> Result<Creation, Error> {
                let id = container.id();
                self.note("create_container", id.clone())?;
                let log = self.log.clone();
                Ok(Creation::new(
                    self.adjustment.clone(),
                    self.owners.clone(),
                    Vec::new(),
                    move |settlement| {
                        let word = match settlement {
                            Settlement::Committed => "committed",
                            Settlement::Abandoned => "abandoned",
                        };
                        log.lock().unwrap().push(format!("{word} {id}"));
                    },
                ))
            }
            async fn update_container(
                &self, _: &Ctx, _: &dyn PodSandbox, container: &dyn Container,
                request: Option<api::LinuxResources>,
            ) -> Result<UpdateResult, Error> {
                self.note("update_container", container.id())?;
                *self.asked.lock().unwrap() = request;
                let mut result = UpdateResult::default();
                result.resources = self.resources.clone();
                Ok(result)
            }
            fn notify_container_exit(&self, pod: &dyn PodSandbox, container: &dyn Container) {
                let message = container.to_message();
                let call = format!(
                    "exit of {:?} {} in {}", message.state(), message.exit_code, pod.id(),
                );
                let _ = self.note(&call, message.id);
            }
            async fn block_plugin_sync(&self) -> PluginSyncBlock {
                PluginSyncBlock::inert()
            }
        }
    };
}

noting! {
    run_pod_sandbox post_update_pod_sandbox stop_pod_sandbox remove_pod_sandbox;
    post_create_container start_container post_start_container post_update_container
    stop_container remove_container
}

fn cri(nri: Nri) -> (CriNri<Runtime>, Log) {
    let log = nri.log.clone();
    (CriNri::new(Arc::new(nri), Arc::new(runtime())), log)
}

fn adjustment(annotations: &[(&str, &str)]) -> Option<api::ContainerAdjustment> {
    Some(api::ContainerAdjustment {
        annotations: annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        env: vec![api::KeyValue {
            key: "B".into(),
            value: "2".into(),
        }],
        ..Default::default()
    })
}

#[tokio::test]
async fn an_adjustment_is_applied_to_the_record_and_committed() {
    let (cri, log) = cri(Nri {
        adjustment: adjustment(&[("-team", ""), ("extra", "1")]),
        ..Default::default()
    });
    let (cx, pod) = (Ctx::new(), pod("pod-1"));
    let mut record = container("new", "pod-1", CriState::Created);
    let token = cri.adjust_container(&cx, &pod, &mut record).await.unwrap();
    assert_eq!(record.spec["process"]["env"], json!(["A=1", "B=2"]));
    let seen = record.to_message();
    assert_eq!(seen.annotations["extra"], "1");
    assert!(!seen.annotations.contains_key("team"));
    assert_eq!(record.config.annotations["team"], "blue");
    assert!(token.warnings().is_empty() && token.creation().adjustment().is_some());
    token.commit(&cx, &pod, &record).await.unwrap();
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
    let mut record = container("new", "pod-1", CriState::Created);
    let token = cri
        .adjust_container(&Ctx::new(), &pod("pod-1"), &mut record)
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
    let result = cri
        .adjust_container(&Ctx::new(), &pod("pod-1"), &mut record)
        .await;
    let error = result.err().unwrap();
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
    cri.stop_pod_sandbox(&Ctx::new(), &pod("pod-1"))
        .await
        .unwrap();
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
    cri.stop_pod_sandbox(&Ctx::new(), &pod("pod-1"))
        .await
        .unwrap_err();
    assert_eq!(take(&log).len(), 3);
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
    cri.post_update_pod_sandbox(&cx, &pod).await.unwrap();
    cri.start_container(&cx, &pod, &record).await.unwrap();
    cri.post_start_container(&cx, &pod, &record).await.unwrap();
    cri.post_update_container(&cx, &pod, &record).await.unwrap();
    cri.notify_exit(record.clone(), 3, 5);
    cri.stop_container(&cx, &record).await.unwrap();
    cri.remove_container(&cx, &record).await.unwrap();
    cri.remove_pod_sandbox(&cx, &pod).await.unwrap();
    drop(cri.guard().await);
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
    cri.start_failed(&Ctx::new(), &pod("pod-1"), &record)
        .await
        .unwrap();
    cri.stop_container(&Ctx::new(), &record).await.unwrap();
    cri.notify_exit(record, 0, 0);
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
    cri.stop_pod_sandbox(&cx, &pod).await.unwrap();
    assert_eq!(
        cri.update_container(&cx, &pod, &record, &nonsense)
            .await
            .unwrap(),
        None
    );
    assert_eq!(take(&log), Vec::<String>::new());
}
