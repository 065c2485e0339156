//! What plugins see and change, as the plugins' runtime needs it: the mirror to look at, and the
//! runtime above to update and evict.
//!
//! Here arrives what plugins ask for outside of any request; what they ask for in answers is handed
//! to the runtime above in the hub's own answers.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use nri_adaptation::model::{Container, PodSandbox};
use nri_adaptation::{Ctx, Domain, DomainError, RuntimeHandle, RuntimeInfo, UpdateFailure, api};
use tokio::task::yield_now;

use crate::mirror::Mirror;

/// Runtimes that embed the reference answer evictions that nobody asked for with success, and do
/// nothing, up to this protocol level.
const IGNORES_EVICTIONS: &str =
    "this runtime does not carry out evictions that are asked for outside of a request";

/// After so many containers others have their turn.
const AT_ONCE: usize = 16;

/// The runtime above, as long as there is one.
#[derive(Debug, Default)]
pub(crate) struct Above(Mutex<Option<(Arc<dyn RuntimeHandle>, RuntimeInfo)>>);

impl Above {
    pub(crate) fn set(&self, runtime: Arc<dyn RuntimeHandle>, info: RuntimeInfo) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((runtime, info));
    }

    fn get(&self) -> Result<(Arc<dyn RuntimeHandle>, RuntimeInfo), DomainError> {
        let above = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        above
            .clone()
            .ok_or_else(|| DomainError::Failed("no runtime is connected".to_owned()))
    }
}

/// The domain of the plugins' runtime.
#[derive(Debug)]
pub(crate) struct Mirrored {
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) above: Arc<Above>,
}

/// The domain's name. There is no other, so plugins never see it.
pub(crate) const DOMAIN: &str = "nri-hub";

fn not_asked(error: UpdateFailure) -> DomainError {
    DomainError::Failed(format!("the runtime above was asked: {error}"))
}

#[async_trait]
impl Domain for Mirrored {
    fn name(&self) -> &str {
        DOMAIN
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        let pods = self.mirror.pods().into_iter();
        Ok(pods.map(|pod| pod as Arc<dyn PodSandbox>).collect())
    }

    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let mut containers: Vec<Arc<dyn Container>> = Vec::new();
        for (number, told) in self.mirror.containers().into_iter().enumerate() {
            containers.push(told.container());
            // Some of them are made of bytes first: requests go on meanwhile.
            if number % AT_ONCE == AT_ONCE - 1 {
                yield_now().await;
            }
        }
        Ok(containers)
    }

    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        self.mirror.pod(id).map(|pod| pod as Arc<dyn PodSandbox>)
    }

    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        let container = self.mirror.container(id);
        container.map(|container| container as Arc<dyn Container>)
    }

    async fn has_container(&self, id: &str) -> bool {
        self.mirror.has_container(id)
    }

    async fn update_container(
        &self,
        _: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        let id = &update.container_id;
        let (runtime, _) = self.above.get()?;
        let failed = runtime.update_containers(vec![update.clone()], Vec::new());
        match failed.await.map_err(not_asked)?.is_empty() {
            true => Ok(()),
            false => Err(DomainError::Failed(format!(
                "the runtime above could not update container {id:?}"
            ))),
        }
    }

    async fn evict_container(
        &self,
        _: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        let (runtime, info) = self.above.get()?;
        let is_go = ["containerd", "cri-o"].contains(&info.name.as_str());
        let asked = runtime.update_containers(Vec::new(), vec![eviction.clone()]);
        asked.await.map_err(not_asked)?;
        // It says success and does nothing: a plugin has to know.
        match is_go {
            true => Err(DomainError::Failed(IGNORES_EVICTIONS.to_owned())),
            false => Ok(()),
        }
    }
}
