//! A runtime and an NRI that only write down what they are told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nri_core::merge::{CreateOutcome, Owners};
use nri_core::model::{Container, PodSandbox};
use nri_core::oci::ApplyOptions;
use nri_core::{
    ContainerOutline, Creation, Ctx, Error, Outline, PluginSyncBlock, PodOutline, RuntimeApi,
    Settlement, StopResult, UpdateResult, api,
};
use nri_domain_cri::cri::{ContainerConfig, PodSandboxConfig};
use nri_domain_cri::{
    ActionError, ContainerRecord, CriActions, CriNri, CriState, CriStore, PodRecord, PodState,
    ResolvedUpdate, SpecHooks, StoreError, host,
};
use serde_json::json;

pub(crate) type Log = Arc<Mutex<Vec<String>>>;

pub(crate) fn take(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

#[derive(Default)]
pub(crate) struct Runtime {
    pub(crate) pods: BTreeMap<String, PodRecord>,
    pub(crate) containers: BTreeMap<String, ContainerRecord>,
    pub(crate) fails: bool,
    pub(crate) store_fails: bool,
    pub(crate) minimum_memory: i64,
    pub(crate) log: Log,
    pub(crate) updates: Mutex<Vec<ResolvedUpdate>>,
}

impl Runtime {
    fn answer(&self) -> Result<(), StoreError> {
        match self.store_fails {
            true => Err("the disk is gone".into()),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl CriStore for Runtime {
    async fn pods(&self) -> Result<Vec<Arc<dyn PodSandbox>>, StoreError> {
        self.answer()?;
        let pods = self.pods.values().cloned();
        Ok(pods
            .map(|pod| Arc::new(pod) as Arc<dyn PodSandbox>)
            .collect())
    }
    async fn containers(&self) -> Result<Vec<Arc<dyn Container>>, StoreError> {
        self.answer()?;
        let containers = self.containers.values().cloned();
        Ok(containers
            .map(|container| Arc::new(container) as Arc<dyn Container>)
            .collect())
    }
    async fn outline(&self) -> Result<Option<Outline>, StoreError> {
        self.answer()?;
        let pods = self.pods.values().map(|pod| PodOutline::of(pod));
        let containers = self.containers.values();
        let containers = containers.map(|it| ContainerOutline::of(it));
        Ok(Some(Outline::new(pods.collect(), containers.collect())))
    }
    /// By prefix, as runtimes look up what a person types.
    async fn pod(&self, id: &str) -> Result<Option<Arc<dyn PodSandbox>>, StoreError> {
        let mut pods = self.pods().await?.into_iter();
        Ok(pods.find(|pod| pod.id().starts_with(id)))
    }
    async fn container(&self, id: &str) -> Result<Option<Arc<dyn Container>>, StoreError> {
        let mut containers = self.containers().await?.into_iter();
        Ok(containers.find(|container| container.id().starts_with(id)))
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
            return Err(ActionError::failed("the cgroup is busy"));
        }
        self.log.lock().unwrap().push(format!("update {id}"));
        self.updates.lock().unwrap().push(update.clone());
        Ok(())
    }

    async fn stop_container(&self, _: &Ctx, id: &str, reason: &str) -> Result<(), ActionError> {
        if self.fails {
            return Err(ActionError::WrongState("being removed".into()));
        }
        let line = format!("stop {id}: {reason}");
        self.log.lock().unwrap().push(line);
        Ok(())
    }
}

impl SpecHooks for Runtime {
    fn apply_options(&self, _: &dyn PodSandbox) -> ApplyOptions {
        let mut options = ApplyOptions::default();
        if self.minimum_memory > 0 {
            let checker = host::resource_checker(self.minimum_memory, true);
            options.resource_checker = Some(checker);
        }
        options
    }
}

pub(crate) fn pod(id: &str) -> PodRecord {
    let config = PodSandboxConfig::from_json(
        r#"{"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}}"#,
    );
    PodRecord::new(id, Arc::new(config.unwrap()))
}

pub(crate) fn container(id: &str, pod: &str, state: CriState) -> ContainerRecord {
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

pub(crate) fn runtime() -> Runtime {
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

pub(crate) fn update(id: &str, resources: Option<api::LinuxResources>) -> api::ContainerUpdate {
    api::ContainerUpdate {
        container_id: id.into(),
        linux: Some(api::LinuxContainerUpdate { resources }),
        ignore_failure: false,
    }
}

pub(crate) fn memory(limit: i64) -> api::LinuxResources {
    api::LinuxResources {
        memory: Some(api::LinuxMemory {
            limit: Some(api::OptionalInt64 { value: limit }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// An NRI that writes down its calls, and answers as it is told.
#[derive(Default)]
pub(crate) struct Nri {
    pub(crate) log: Log,
    pub(crate) disabled: bool,
    pub(crate) refuses: Option<&'static str>,
    pub(crate) adjustment: Option<api::ContainerAdjustment>,
    pub(crate) owners: Owners,
    pub(crate) resources: Option<api::LinuxResources>,
    pub(crate) asked: Mutex<Option<api::LinuxResources>>,
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
        impl RuntimeApi for Nri {
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
                let mut asked = CreateOutcome::default();
                asked.adjustment = self.adjustment.clone();
                asked.owners = self.owners.clone();
                Ok(Creation::new(asked, Vec::new(), move |settlement| {
                    let word = match settlement {
                        Settlement::Committed => "committed",
                        Settlement::Abandoned => "abandoned",
                    };
                    log.lock().unwrap().push(format!("{word} {id}"));
                }))
            }
            async fn stop_container(
                &self, _: &Ctx, _: &dyn PodSandbox, container: &dyn Container,
            ) -> Result<StopResult, Error> {
                self.note("stop_container", container.id())?;
                Ok(StopResult::default())
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
    remove_container
}

pub(crate) fn cri(nri: Nri) -> (CriNri<Runtime>, Log) {
    cri_of(nri, runtime())
}

pub(crate) fn cri_of(nri: Nri, runtime: Runtime) -> (CriNri<Runtime>, Log) {
    let log = nri.log.clone();
    (CriNri::new(Arc::new(nri), Arc::new(runtime)), log)
}

pub(crate) fn adjustment(annotations: &[(&str, &str)]) -> Option<api::ContainerAdjustment> {
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
