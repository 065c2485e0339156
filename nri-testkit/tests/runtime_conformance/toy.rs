//! A runtime in memory that keeps all promises, or breaks one of them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use nri_adaptation::{Config, Nri, RuntimeApi};
use nri_core::api::{self, ContainerState, LinuxResources, PodSandbox};
use nri_core::model::Container;
use nri_core::{Ctx, Domain, DomainError, merge, model};
use nri_testkit::MemoryDomain;
use nri_testkit::runtime_conformance::{ContainerSpec, Driver, DriverError, Inside, PodSpec};
use tempfile::TempDir;

/// How a runtime breaks a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    NotAtAll,
    Nameless,
    SkipsPost,
    HidesPod,
    HidesContainer,
    HidesState,
    IgnoresAdjustments,
    ShowsUnadjusted,
    HasTwoInstances,
    IgnoresRefusals,
    KeepsFailed,
    RunsRefusedPods,
    KeepsRefusedPods,
    StartsRefused,
    AppliesRequests,
    UpdatesRefused,
    DropsUpdates,
    UpdatesAnything,
    KeepsEvicted,
    EvictsInSilence,
    ListsAsCreated,
    HidesSome,
    StopsAnew,
    RemovesInSilence,
    ExitsInSilence,
    RecoversNothing,
    StartsInSilence,
    FailsOnLoss,
}

/// What the runtime has.
struct Store {
    how: How,
    memory: Arc<MemoryDomain>,
    /// Whether the runtime was restarted.
    again: bool,
    nri: OnceLock<Nri>,
}

#[async_trait]
impl Domain for Store {
    fn name(&self) -> &str {
        self.memory.name()
    }

    fn restartable(&self) -> bool {
        true
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn model::PodSandbox>>, DomainError> {
        match self.again && self.how == How::RecoversNothing {
            true => Ok(Vec::new()),
            false => self.memory.list_pod_sandboxes().await,
        }
    }

    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let mut all = self.memory.list_containers().await?;
        match self.how {
            How::RecoversNothing if self.again => all.clear(),
            How::ListsAsCreated => {
                for container in &mut all {
                    let mut message = container.to_message();
                    message.set_state(ContainerState::ContainerCreated);
                    *container = Arc::new(message);
                }
            }
            How::HidesSome => all.retain(|container| !is_hidden(&container.id())),
            _ => {}
        }
        Ok(all)
    }

    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn model::PodSandbox>> {
        self.memory.get_pod_sandbox(id).await
    }

    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        self.memory.get_container(id).await
    }

    async fn has_container(&self, id: &str) -> bool {
        self.how == How::UpdatesAnything || self.memory.has_container(id).await
    }

    async fn update_container(
        &self,
        cx: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        match self.how {
            How::DropsUpdates | How::UpdatesAnything => Ok(()),
            _ => self.memory.update_container(cx, update).await,
        }
    }

    async fn evict_container(
        &self,
        cx: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        if self.how == How::KeepsEvicted {
            return Ok(());
        }
        self.memory.evict_container(cx, eviction).await?;
        let container = self.memory.container(&eviction.container_id);
        if let (Some(nri), Some(container)) = (self.nri.get(), container)
            && let Some(pod) = self.memory.pod(&container.pod_sandbox_id)
            && self.how != How::EvictsInSilence
        {
            nri.notify_container_exit(&pod, &container);
        }
        Ok(())
    }
}

/// Every third id.
fn is_hidden(id: &str) -> bool {
    let number = id
        .rsplit('-')
        .next()
        .and_then(|it| it.parse::<usize>().ok());
    number.is_some_and(|number| number % 3 == 0)
}

pub(crate) struct Toy {
    how: How,
    running: Mutex<Vec<(Nri, Arc<Store>)>>,
    directory: TempDir,
    ids: AtomicUsize,
    connections: AtomicUsize,
    cx: Ctx,
}

fn failed(error: impl std::fmt::Display) -> DriverError {
    DriverError::Failed(error.to_string())
}

impl Toy {
    pub(crate) async fn start(how: How) -> Self {
        let toy = Self {
            how,
            running: Mutex::default(),
            directory: tempfile::tempdir().unwrap(),
            ids: AtomicUsize::new(1),
            connections: AtomicUsize::new(0),
            cx: Ctx::new(),
        };
        let memory = Arc::new(MemoryDomain::new("toy"));
        for instance in 0..toy.instances() {
            toy.launch(instance, Arc::clone(&memory), false).await;
        }
        toy
    }

    fn instances(&self) -> usize {
        if self.how == How::HasTwoInstances {
            2
        } else {
            1
        }
    }

    async fn launch(&self, instance: usize, memory: Arc<MemoryDomain>, again: bool) {
        let policy = match self.how {
            How::FailsOnLoss => "[plugins.conformance-lost]\non_absent = 'fail'",
            _ => "",
        };
        let mut config = Config::from_toml(policy).unwrap();
        config.socket_path = self.socket_of(instance);
        config.plugin_path = self.directory.path().join("none");
        let store = Arc::new(Store {
            how: self.how,
            memory,
            again,
            nri: OnceLock::new(),
        });
        let (name, version) = match self.how {
            How::Nameless => ("", ""),
            _ => ("toy", "1.0"),
        };
        let builder = Nri::builder(config).runtime(name, version);
        let nri = builder.domain(Arc::clone(&store) as _).build().unwrap();
        nri.start().await.unwrap();
        let _ = store.nri.set(nri.clone());
        self.running.lock().unwrap().push((nri, store));
    }

    fn socket_of(&self, instance: usize) -> PathBuf {
        self.directory.path().join(format!("nri-{instance}.sock"))
    }

    fn is(&self, how: How) -> bool {
        self.how == how
    }

    fn nri(&self) -> Nri {
        self.running.lock().unwrap()[0].0.clone()
    }

    fn memory(&self) -> Arc<MemoryDomain> {
        Arc::clone(&self.running.lock().unwrap()[0].1.memory)
    }

    fn id(&self, kind: &str) -> String {
        format!("{kind}-{:06}", self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn pod(&self, id: &str) -> Result<PodSandbox, DriverError> {
        let pod = self.memory().pod(id);
        Ok(pod.ok_or_else(|| format!("there is no pod {id:?}"))?)
    }

    fn container(&self, id: &str) -> Result<(PodSandbox, api::Container), DriverError> {
        let container = self.memory().container(id);
        let container = container.ok_or_else(|| format!("there is no container {id:?}"))?;
        Ok((self.pod(&container.pod_sandbox_id)?, container))
    }

    fn put(&self, id: &str, state: ContainerState) -> Result<api::Container, DriverError> {
        let (_, mut container) = self.container(id)?;
        container.set_state(state);
        container.pid = match state {
            ContainerState::ContainerRunning => 4711,
            _ => 0,
        };
        self.memory().put_container(container.clone());
        Ok(container)
    }

    async fn run_container(&self, id: &str, in_silence: bool) -> Result<(), DriverError> {
        let (pod, container) = self.container(id)?;
        let (nri, cx) = (self.nri(), &self.cx);
        if !in_silence
            && let Err(error) = nri.start_container(cx, &pod, &container).await
            && !self.is(How::StartsRefused)
        {
            nri.stop_container(cx, &pod, &container)
                .await
                .map_err(failed)?;
            return Err(failed(error));
        }
        let mut running = self.put(id, ContainerState::ContainerRunning)?;
        if self.is(How::HidesState) {
            running = container;
        }
        match in_silence || self.is(How::SkipsPost) {
            true => Ok(()),
            false => nri
                .post_start_container(cx, &pod, &running)
                .await
                .map_err(failed),
        }
    }
}

#[async_trait]
impl Driver for Toy {
    fn socket(&self) -> PathBuf {
        self.socket_of(self.connections.fetch_add(1, Ordering::Relaxed) % self.instances())
    }

    async fn run_pod(&self, spec: &PodSpec) -> Result<String, DriverError> {
        let mut pod = spec.to_message();
        pod.id = self.id("pod");
        if self.is(How::HidesPod) {
            pod.labels.clear();
        }
        let nri = self.nri();
        if let Err(error) = nri.run_pod_sandbox(&self.cx, &pod).await
            && !self.is(How::RunsRefusedPods)
        {
            if !self.is(How::KeepsRefusedPods) {
                nri.remove_pod_sandbox(&self.cx, &pod)
                    .await
                    .map_err(failed)?;
            }
            return Err(failed(error));
        }
        self.memory().put_pod(pod.clone());
        Ok(pod.id)
    }

    async fn create_container(
        &self,
        pod: &str,
        spec: &ContainerSpec,
    ) -> Result<String, DriverError> {
        let (pod, mut container) = (self.pod(pod)?, spec.to_message());
        container.id = self.id("container");
        container.pod_sandbox_id.clone_from(&pod.id);
        if self.is(How::HidesSome) && is_hidden(&container.id) {
            self.memory().put_container(container.clone());
            return Ok(container.id);
        }
        let mut shown = container.clone();
        if self.is(How::HidesContainer) {
            shown.env.clear();
        }
        let instances: Vec<Nri> = {
            let running = self.running.lock().unwrap();
            running.iter().map(|(nri, _)| nri.clone()).collect()
        };
        let mut adjusted = container.clone();
        for nri in &instances {
            match nri.create_container(&self.cx, &pod, &shown).await {
                Ok(creation) => {
                    if let Some(adjustment) = creation.adjustment()
                        && !self.is(How::IgnoresAdjustments)
                    {
                        adjusted = merge::apply(&adjusted, adjustment);
                    }
                    self.memory().put_container(adjusted.clone());
                    creation.commit();
                }
                Err(_) if self.is(How::IgnoresRefusals) => {
                    self.memory().put_container(adjusted.clone());
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let told = if self.is(How::ShowsUnadjusted) {
            &container
        } else {
            &adjusted
        };
        if !self.is(How::SkipsPost) {
            let told = self.nri().post_create_container(&self.cx, &pod, told).await;
            told.map_err(failed)?;
        }
        Ok(container.id)
    }

    async fn start_container(&self, id: &str) -> Result<(), DriverError> {
        self.run_container(id, false).await
    }

    async fn stop_container(&self, id: &str) -> Result<(), DriverError> {
        let (pod, before) = self.container(id)?;
        let again = before.state() == ContainerState::ContainerStopped;
        let stopped = self.put(id, ContainerState::ContainerStopped)?;
        let nri = self.nri();
        if again && self.is(How::StopsAnew) {
            nri.start_container(&self.cx, &pod, &stopped)
                .await
                .map_err(failed)?;
        }
        let told = nri.stop_container(&self.cx, &pod, &stopped).await;
        told.map(drop).map_err(failed)
    }

    async fn remove_container(&self, id: &str) -> Result<(), DriverError> {
        let (pod, container) = self.container(id)?;
        self.memory().remove_container(id);
        if self.is(How::RemovesInSilence) {
            return Ok(());
        }
        let told = self
            .nri()
            .remove_container(&self.cx, &pod, &container)
            .await;
        told.map_err(failed)
    }

    async fn stop_pod(&self, id: &str) -> Result<(), DriverError> {
        let told = self.nri().stop_pod_sandbox(&self.cx, &self.pod(id)?).await;
        told.map_err(failed)
    }

    async fn remove_pod(&self, id: &str) -> Result<(), DriverError> {
        let pod = self.pod(id)?;
        self.memory().remove_pod(id);
        let told = self.nri().remove_pod_sandbox(&self.cx, &pod).await;
        told.map_err(failed)
    }

    async fn update_container(
        &self,
        id: &str,
        resources: &LinuxResources,
    ) -> Result<(), DriverError> {
        let (pod, container) = self.container(id)?;
        let (nri, asked) = (self.nri(), Some(resources.clone()));
        let result = nri
            .update_container(&self.cx, &pod, &container, asked)
            .await;
        let answered = match result {
            Ok(result) => result.resources,
            Err(_) if self.is(How::UpdatesRefused) => None,
            Err(error) => return Err(failed(error)),
        };
        let answered = answered.filter(|_| !self.is(How::AppliesRequests));
        let applied = answered.unwrap_or_else(|| resources.clone());
        self.memory().overlay(id, applied);
        let (pod, container) = self.container(id)?;
        let told = nri.post_update_container(&self.cx, &pod, &container).await;
        told.map_err(failed)
    }

    async fn exit_container(&self, id: &str) -> Result<(), DriverError> {
        let (pod, _) = self.container(id)?;
        let stopped = self.put(id, ContainerState::ContainerStopped)?;
        if !self.is(How::ExitsInSilence) {
            self.nri().notify_container_exit(&pod, &stopped);
        }
        Ok(())
    }

    async fn start_again(&self, id: &str) -> Result<(), DriverError> {
        self.run_container(id, self.is(How::StartsInSilence)).await
    }

    async fn fail_creation(&self, pod: &str, spec: &ContainerSpec) -> Result<(), DriverError> {
        let (pod, mut container) = (self.pod(pod)?, spec.to_message());
        container.id = self.id("container");
        container.pod_sandbox_id.clone_from(&pod.id);
        let nri = self.nri();
        let creation = nri.create_container(&self.cx, &pod, &container).await;
        let creation = creation.map_err(failed)?;
        if self.is(How::KeepsFailed) {
            creation.commit();
        }
        Ok(())
    }

    async fn restart_runtime(&self) -> Result<(), DriverError> {
        let running = std::mem::take(&mut *self.running.lock().unwrap());
        for (instance, (nri, store)) in running.into_iter().enumerate() {
            nri.stop().await;
            self.launch(instance, Arc::clone(&store.memory), true).await;
        }
        Ok(())
    }

    async fn state(&self, id: &str) -> Result<Option<ContainerState>, DriverError> {
        Ok(self.memory().container(id).map(|it| it.state()))
    }

    async fn inspect(&self, id: &str) -> Result<Inside, DriverError> {
        let (_, container) = self.container(id)?;
        let mut inside = Inside::default();
        let memory = container.linux.and_then(|it| it.resources?.memory?.limit);
        inside.memory_limit = memory.map(|limit| limit.value);
        inside.env = Some(container.env);
        inside.annotations = Some(container.annotations);
        let mounts = container.mounts.into_iter();
        inside.mounts = Some(mounts.map(|mount| mount.destination).collect());
        Ok(inside)
    }
}
