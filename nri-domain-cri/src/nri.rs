//! The calls of NRI for the handlers of a CRI server.

use std::sync::Arc;

use nri_core::oci::{ApplyError, Warning, apply, resources::InvalidResource};
use nri_core::{Creation, Ctx, PluginSyncBlock, RuntimeApi};

use crate::cri::LinuxContainerResources;
use crate::resources::{self, InvalidResources};
use crate::{
    ContainerRecord, CriActions, CriState, CriStore, PodRecord, ResolvedUpdate, SpecHooks,
};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CriError {
    /// NRI or a plugin says no.
    #[error(transparent)]
    Nri(#[from] nri_core::Error),
    /// The adjustment cannot be applied to the container's spec. The creation has been undone
    /// towards the plugins.
    #[error("container {container:?}: {source}")]
    Apply {
        /// The container.
        container: String,
        /// Why it cannot be applied.
        source: ApplyError,
    },
    /// The orchestrator's resources make no sense.
    #[error(transparent)]
    Resources(#[from] InvalidResources),
    /// What plugins made of the resources cannot be applied.
    #[error(
        "container {container:?}: the resources that plugins ask for cannot be applied: {source}"
    )]
    PluginResources {
        /// The container.
        container: String,
        /// The value, and the rule that it breaks.
        source: InvalidResource,
    },
}

/// NRI for the handlers of a CRI server: one method per place in a pod's or container's life.
///
/// All methods are cheap no-ops while NRI is off. They take records as they are at that place, read
/// them before anything is awaited, and hold no lock.
pub struct CriNri<R> {
    api: Arc<dyn RuntimeApi>,
    runtime: Arc<R>,
}

impl<R> Clone for CriNri<R> {
    fn clone(&self) -> Self {
        Self {
            api: self.api.clone(),
            runtime: self.runtime.clone(),
        }
    }
}

impl<R: CriStore + CriActions + SpecHooks> CriNri<R> {
    /// The calls of `api` for a runtime, whose [`CriDomain`](crate::CriDomain) is registered there.
    pub fn new(api: Arc<dyn RuntimeApi>, runtime: Arc<R>) -> Self {
        Self { api, runtime }
    }

    /// The embedding API below.
    pub fn api(&self) -> &Arc<dyn RuntimeApi> {
        &self.api
    }

    /// The pod's sandbox is up, and not yet marked ready.
    ///
    /// # Errors
    /// A plugin refused the pod. Those that saw it hear that it is stopped and removed.
    pub async fn run_pod_sandbox(&self, cx: &Ctx, pod: &PodRecord) -> Result<(), CriError> {
        let Err(error) = self.api.run_pod_sandbox(cx, pod).await else {
            return Ok(());
        };
        if let Err(error) = self.api.remove_pod_sandbox(cx, pod).await {
            tracing::warn!(pod = pod.id, %error, "plugins did not hear of the end of a refused pod");
        }
        Err(error.into())
    }

    /// The pod's resources are about to change to these.
    ///
    /// # Errors
    /// Resources that make no sense; a plugin refused them.
    pub async fn update_pod_sandbox(
        &self,
        cx: &Ctx,
        pod: &PodRecord,
        overhead: Option<&LinuxContainerResources>,
        resources: Option<&LinuxContainerResources>,
    ) -> Result<(), CriError> {
        let overhead = overhead.map(resources::to_nri).transpose()?;
        let resources = resources.map(resources::to_nri).transpose()?;
        Ok(self
            .api
            .update_pod_sandbox(cx, pod, overhead, resources)
            .await?)
    }

    /// The pod's resources have changed; `pod` has the new ones.
    ///
    /// # Errors
    /// What plugins said; nothing that has to be undone.
    pub async fn post_update_pod_sandbox(&self, cx: &Ctx, pod: &PodRecord) -> Result<(), CriError> {
        Ok(self.api.post_update_pod_sandbox(cx, pod).await?)
    }

    /// The pod's containers are stopped and its sandbox is about to be. Plugins that have not heard
    /// of the containers' stop hear of it first.
    ///
    /// # Errors
    /// What plugins said, of the pod or the first of its containers; nothing that has to be undone.
    pub async fn stop_pod_sandbox(&self, cx: &Ctx, pod: &PodRecord) -> Result<(), CriError> {
        if !self.api.is_enabled() {
            return Ok(());
        }
        let mut result = Ok(());
        for container in self.runtime.containers() {
            if container.pod_id == pod.id {
                let stopped = self.api.stop_container(cx, pod, &container).await;
                result = result.and(stopped.map(drop));
            }
        }
        Ok(result.and(self.api.stop_pod_sandbox(cx, pod).await)?)
    }

    /// The pod is removed.
    ///
    /// # Errors
    /// What plugins said; nothing that has to be undone.
    pub async fn remove_pod_sandbox(&self, cx: &Ctx, pod: &PodRecord) -> Result<(), CriError> {
        Ok(self.api.remove_pod_sandbox(cx, pod).await?)
    }

    /// The container's spec is complete, and nothing is created yet: asks the plugins, and adjusts
    /// `container.spec`.
    ///
    /// Create the container from the spec, then [`commit`](CreateToken::commit) the token. Dropping
    /// the token tells the plugins that the container never came to be.
    ///
    /// # Errors
    /// A plugin refused, or what they ask for cannot be combined or applied. The record is as it
    /// was, and the plugins know.
    pub async fn adjust_container(
        &self,
        cx: &Ctx,
        pod: &PodRecord,
        container: &mut ContainerRecord,
    ) -> Result<CreateToken, CriError> {
        let creation = self.api.create_container(cx, pod, container).await?;
        let mut warnings = Vec::new();
        if let Some(adjustment) = creation.adjustment() {
            let mut options = self.runtime.apply_options(pod);
            let protected = self.runtime.protected_annotations();
            options.protected_annotations.extend(protected);
            let owners = (creation.owners(), &container.id);
            let applied =
                apply(&container.spec, adjustment, &options, owners).map_err(|source| {
                    CriError::Apply {
                        container: container.id.clone(),
                        source,
                    }
                })?;
            let annotations = &applied.spec["annotations"];
            container.removed_annotations = adjustment
                .annotations
                .keys()
                .filter_map(|key| key.strip_prefix('-'))
                .filter(|key| annotations.get(key).is_none())
                .map(str::to_owned)
                .collect();
            container.spec = Arc::new(applied.spec);
            warnings = applied.warnings;
        }
        Ok(CreateToken {
            api: self.api.clone(),
            creation,
            warnings,
        })
    }

    /// The container is about to be started.
    ///
    /// # Errors
    /// A plugin refused: do not start the container, and call
    /// [`start_failed`](CriNri::start_failed).
    pub async fn start_container(
        &self,
        cx: &Ctx,
        pod: &PodRecord,
        container: &ContainerRecord,
    ) -> Result<(), CriError> {
        Ok(self.api.start_container(cx, pod, container).await?)
    }

    /// The container was started.
    ///
    /// # Errors
    /// What plugins said; nothing that has to be undone.
    pub async fn post_start_container(
        &self,
        cx: &Ctx,
        pod: &PodRecord,
        container: &ContainerRecord,
    ) -> Result<(), CriError> {
        Ok(self.api.post_start_container(cx, pod, container).await?)
    }

    /// The container could not be started, and its process (if there was one) is gone.
    ///
    /// # Errors
    /// What plugins said; nothing that has to be undone.
    pub async fn start_failed(
        &self,
        cx: &Ctx,
        pod: &PodRecord,
        container: &ContainerRecord,
    ) -> Result<(), CriError> {
        self.api.stop_container(cx, pod, container).await?;
        Ok(())
    }

    /// The orchestrator wants these resources for the container. What to apply in their place;
    /// `None` to apply them.
    ///
    /// # Errors
    /// Resources that make no sense; a plugin refused them, or what plugins ask for cannot be
    /// combined or applied.
    pub async fn update_container(
        &self,
        cx: &Ctx,
        pod: &PodRecord,
        container: &ContainerRecord,
        request: &LinuxContainerResources,
    ) -> Result<Option<ResolvedUpdate>, CriError> {
        if !self.api.is_enabled() {
            return Ok(None);
        }
        let wanted = resources::to_nri(request)?;
        let result = self
            .api
            .update_container(cx, pod, container, Some(wanted))
            .await?;
        let Some(answer) = result.resources else {
            return Ok(None);
        };
        let options = self.runtime.apply_options(pod);
        ResolvedUpdate::with_options(request, answer, &options)
            .map(Some)
            .map_err(|source| CriError::PluginResources {
                container: container.id.clone(),
                source,
            })
    }

    /// The container's resources have changed; `container` has the new ones.
    ///
    /// # Errors
    /// What plugins said; nothing that has to be undone.
    pub async fn post_update_container(
        &self,
        cx: &Ctx,
        pod: &PodRecord,
        container: &ContainerRecord,
    ) -> Result<(), CriError> {
        Ok(self.api.post_update_container(cx, pod, container).await?)
    }

    /// The container was stopped.
    ///
    /// # Errors
    /// What plugins said; nothing that has to be undone.
    pub async fn stop_container(
        &self,
        cx: &Ctx,
        container: &ContainerRecord,
    ) -> Result<(), CriError> {
        let pod = self.pod_of(container);
        self.api.stop_container(cx, &pod, container).await?;
        Ok(())
    }

    /// The container is removed.
    ///
    /// # Errors
    /// What plugins said; nothing that has to be undone.
    pub async fn remove_container(
        &self,
        cx: &Ctx,
        container: &ContainerRecord,
    ) -> Result<(), CriError> {
        let pod = self.pod_of(container);
        Ok(self.api.remove_container(cx, &pod, container).await?)
    }

    /// The container's process ended by itself, at `exited_at` (nanoseconds since the epoch).
    /// Queued; never blocks.
    pub fn notify_exit(&self, mut container: ContainerRecord, exit_code: i32, exited_at: i64) {
        let pod = self.pod_of(&container);
        container.state = CriState::Exited;
        container.exit_code = exit_code;
        container.finished_at = exited_at;
        self.api.notify_container_exit(&pod, &container);
    }

    /// Keeps new plugins from being synchronised while it lives. For parity with other
    /// implementations: nothing needs it here.
    pub async fn block_plugin_sync(&self) -> PluginSyncBlock {
        self.api.block_plugin_sync().await
    }

    /// The container's pod. One that the runtime has forgotten is known by its id alone.
    fn pod_of(&self, container: &ContainerRecord) -> PodRecord {
        self.runtime.pod(&container.pod_id).unwrap_or_else(|| {
            let mut pod = PodRecord::new(container.pod_id.clone(), Arc::default());
            pod.domain.clone_from(&container.domain);
            pod
        })
    }
}

/// A container that plugins have adjusted and that does not exist yet.
///
/// Dropping it without [`commit`](CreateToken::commit) tells the plugins that the container never
/// came to be.
#[must_use = "dropping the token tells the plugins that the container never came to be"]
pub struct CreateToken {
    api: Arc<dyn RuntimeApi>,
    creation: Creation,
    warnings: Vec<Warning>,
}

impl CreateToken {
    /// What plugins asked for, and who asked for what.
    pub fn creation(&self) -> &Creation {
        &self.creation
    }

    /// What was applied but may not have the effect that was asked for.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Says that the container exists; `container` shows it as it is now.
    ///
    /// # Errors
    /// What plugins said; nothing that has to be undone.
    pub async fn commit(
        self,
        cx: &Ctx,
        pod: &PodRecord,
        container: &ContainerRecord,
    ) -> Result<(), CriError> {
        // First and without waiting, so that dropping this future does not undo what is there.
        self.creation.commit();
        Ok(self.api.post_create_container(cx, pod, container).await?)
    }
}
