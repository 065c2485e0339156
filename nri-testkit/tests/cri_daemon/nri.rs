//! NRI in the daemon: what plugins see, what they may do, and where more than one line is needed.
//! The handlers call [`CriNri`] at each place in the life of a pod or a container.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use nri_adaptation::model::{Container, PodSandbox, PodSnapshot};
use nri_adaptation::oci::{ApplyOptions, read};
use nri_adaptation::{Config, Ctx, Nri, RuntimeApi as _, api};
use nri_domain_cri::cri::LinuxContainerResources;
use nri_domain_cri::{
    ActionError, CreateToken, CriActions, CriDomain, CriNri, CriStore, ResolvedUpdate, SpecHooks,
    StoreError,
};
use serde_json::Value;

use crate::store::{self, Phase, Place, Pod, Store};

/// What plugins see of a pod.
pub(crate) fn seen_pod(pod: &Pod) -> PodSnapshot {
    let linux = api::LinuxPodSandbox {
        cgroup_parent: pod.cgroup_parent.clone(),
        ..Default::default()
    };
    let message = api::PodSandbox {
        id: pod.id.clone(),
        name: pod.name.clone(),
        namespace: pod.namespace.clone(),
        annotations: pod.annotations.clone(),
        linux: Some(linux),
        ..Default::default()
    };
    PodSnapshot::new(message).with_ready(pod.ready)
}

/// What plugins see of a container: what its spec says, and what the daemon knows besides.
pub(crate) fn seen_container(container: &store::Container) -> api::Container {
    let state = match container.phase {
        Phase::Created => api::ContainerState::ContainerCreated,
        Phase::Running => api::ContainerState::ContainerRunning,
        Phase::Exited => api::ContainerState::ContainerStopped,
    };
    api::Container {
        id: container.id.clone(),
        pod_sandbox_id: container.pod_id.clone(),
        name: container.name.clone(),
        state: state.into(),
        exit_code: container.exit_code,
        ..read::container(&serde_json::to_value(&container.spec).unwrap_or_default())
    }
}

#[async_trait]
impl CriStore for Store {
    async fn pods(&self) -> Result<Vec<Arc<dyn PodSandbox>>, StoreError> {
        let state = self.lock().await;
        let pods = state.pods.values().map(seen_pod);
        Ok(pods
            .map(|pod| Arc::new(pod) as Arc<dyn PodSandbox>)
            .collect())
    }

    async fn containers(&self) -> Result<Vec<Arc<dyn Container>>, StoreError> {
        let state = self.lock().await;
        let all = state.containers.values().map(seen_container);
        Ok(all.map(|one| Arc::new(one) as Arc<dyn Container>).collect())
    }
}

#[async_trait]
impl CriActions for Store {
    async fn update_container(
        &self,
        _: &Ctx,
        id: &str,
        update: &ResolvedUpdate,
    ) -> Result<(), ActionError> {
        let applied = self.set_resources(id, &update.oci).await;
        applied.map_err(ActionError::failed)
    }

    async fn stop_container(&self, _: &Ctx, id: &str, reason: &str) -> Result<(), ActionError> {
        let killed = self.kill(id, reason).await;
        killed.map_err(ActionError::failed)
    }
}

impl SpecHooks for Store {}

/// Starts NRI for what is in the store.
pub(crate) async fn start(
    store: &Arc<Store>,
    config: Config,
) -> Result<(Nri, CriNri<Store>), Box<dyn Error>> {
    let nri = Nri::builder(config)
        .runtime("skeleton", "0.1")
        .domain(Arc::new(CriDomain::new(store.clone())))
        .build()?;
    nri.start().await?;
    let calls = CriNri::new(Arc::new(nri.clone()), store.clone());
    Ok((nri, calls))
}

/// Adjusts the spec of a container that is about to be created. Dropping the token, as an early
/// return does, tells the plugins that it never came to be.
pub(crate) async fn adjust(
    nri: &CriNri<Store>,
    at: &mut Place,
) -> Result<CreateToken, Box<dyn Error>> {
    let (pod, container) = (seen_pod(&at.pod), seen_container(&at.container));
    let mut token = nri.create_container(&Ctx::new(), &pod, &container).await?;
    token.apply_typed(&mut at.container.spec)?;
    Ok(token)
}

/// What to apply of the kubelet's resources, which come as bytes of CRI.
pub(crate) async fn resources(
    nri: &CriNri<Store>,
    at: &Place,
    wanted: &[u8],
) -> Result<Value, Box<dyn Error>> {
    let (pod, container) = (seen_pod(&at.pod), seen_container(&at.container));
    let wanted = LinuxContainerResources::decode(wanted)?;
    let answer = nri
        .update_container(&Ctx::new(), &pod, &container, &wanted)
        .await?;
    Ok(match answer {
        Some(update) => update.oci,
        None => ResolvedUpdate::requested(&wanted, &ApplyOptions::default())?.oci,
    })
}
