//! The calls of NRI for the handlers of a CRI server.

use std::sync::Arc;

use nri_core::api::{self, ContainerState};
use nri_core::model::{Container, ContainerSnapshot, PodSandbox, PodSnapshot};
use nri_core::{Ctx, PluginSyncBlock, RuntimeApi};

use crate::container_record::exit_reason;
use crate::cri::LinuxContainerResources;
use crate::error::noted;
use crate::resources;
use crate::{CreateToken, CriActions, CriError, CriStore, ResolvedUpdate, SpecHooks};

/// NRI for the handlers of a CRI server: one method per place in a pod's or container's life.
///
/// A method fails where plugins may refuse something, and only there: of what has happened already,
/// and of what happens whatever they say, they are told, and what goes wrong with that is logged as
/// a warning (who wants it as a value calls the [API below](CriNri::api)).
///
/// All methods are cheap no-ops while NRI is off. They take pods and containers as they are at that
/// place, whatever types the runtime has for them. No lock of the runtime's that its [`CriStore`]
/// or [`CriActions`] take may be held meanwhile.
///
/// ```
/// use nri_core::Ctx;
/// use nri_domain_cri::{
///     ContainerRecord, CriActions, CriError, CriNri, CriStore, PodRecord, SpecHooks,
/// };
///
/// /// The middle of a server's CreateContainer.
/// async fn create<R: CriStore + CriActions + SpecHooks>(
///     nri: &CriNri<R>,
///     pod: &PodRecord,
///     container: &mut ContainerRecord,
/// ) -> Result<(), CriError> {
///     let cx = Ctx::new();
///     let mut token = nri.create_container(&cx, pod, &*container).await?;
///     token.apply_to_record(container)?;
///     // ... create it from `container.spec`: an early return here tells the plugins ...
///     token.commit(&cx, pod, &*container).await;
///     Ok(())
/// }
/// ```
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
    pub async fn run_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), CriError> {
        let Err(error) = self.api.run_pod_sandbox(cx, pod).await else {
            return Ok(());
        };
        self.remove_pod_sandbox(cx, pod).await;
        Err(error.into())
    }

    /// The pod's resources are about to change to these.
    ///
    /// # Errors
    /// Resources that make no sense; a plugin refused them.
    pub async fn update_pod_sandbox(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
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
    pub async fn post_update_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) {
        let told = self.api.post_update_pod_sandbox(cx, pod).await;
        noted("PostUpdatePodSandbox", pod.id(), told);
    }

    /// The pod's containers are stopped and its sandbox is about to be. Plugins that have not heard
    /// of the containers' stop hear of it first.
    pub async fn stop_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) {
        if !self.api.is_enabled() {
            return;
        }
        let id = pod.id();
        let containers = self.runtime.containers().await.unwrap_or_else(|error| {
            let error = CriError::Store(error);
            tracing::warn!(pod = id, %error, "plugins may not hear of the stop of a pod's containers");
            Vec::new()
        });
        for container in containers {
            if container.pod_sandbox_id() == id {
                let told = self.api.stop_container(cx, pod, &*container).await;
                noted("StopContainer", container.id(), told);
            }
        }
        noted(
            "StopPodSandbox",
            id,
            self.api.stop_pod_sandbox(cx, pod).await,
        );
    }

    /// The pod is removed. Plugins that have not heard of its stop hear of that first.
    pub async fn remove_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) {
        let told = self.api.remove_pod_sandbox(cx, pod).await;
        noted("RemovePodSandbox", pod.id(), told);
    }

    /// The container's spec is complete, and nothing is created yet: asks the plugins.
    ///
    /// [Apply](CreateToken::apply) what they ask for, create the container, then
    /// [`commit`](CreateToken::commit) the token. Dropping the token, as an early return does,
    /// tells the plugins that the container never came to be.
    ///
    /// # Errors
    /// A plugin refused, or what they ask for cannot be combined. The plugins know.
    pub async fn create_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<CreateToken, CriError> {
        let id = container.id();
        let creation = self.api.create_container(cx, pod, container).await?;
        let options = creation.adjustment().map(|_| {
            let mut options = self.runtime.apply_options(pod);
            let protected = self.runtime.protected_annotations();
            options.protected_annotations.extend(protected);
            options
        });
        let api = self.api.clone();
        Ok(CreateToken::new(
            api,
            id,
            creation,
            options.unwrap_or_default(),
        ))
    }

    /// The container is about to be started.
    ///
    /// # Errors
    /// A plugin refused: do not start the container, and call
    /// [`start_failed`](CriNri::start_failed).
    pub async fn start_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), CriError> {
        Ok(self.api.start_container(cx, pod, container).await?)
    }

    /// The container was started.
    pub async fn post_start_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) {
        let told = self.api.post_start_container(cx, pod, container).await;
        noted("PostStartContainer", container.id(), told);
    }

    /// The container could not be started, and its process (if there was one) is gone.
    pub async fn start_failed(&self, cx: &Ctx, pod: &dyn PodSandbox, container: &dyn Container) {
        let told = self.api.stop_container(cx, pod, container).await;
        noted("StopContainer", container.id(), told);
    }

    /// The orchestrator wants these resources for the container. What to apply in their place;
    /// `None` to apply them: as the runtime does without NRI, or as
    /// [`ResolvedUpdate::requested`].
    ///
    /// # Errors
    /// Resources that make no sense; a plugin refused them, or what plugins ask for cannot be
    /// combined or applied.
    pub async fn update_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
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
        let resolved = ResolvedUpdate::with_options(request, answer, &options);
        let resolved = resolved.map_err(|source| CriError::PluginResources {
            container: container.id(),
            source,
        })?;
        let checked = resolved.checked(&options);
        checked
            .map(Some)
            .map_err(|source| CriError::ResourcesRefused {
                container: container.id(),
                source,
            })
    }

    /// The container's resources have changed; `container` has the new ones.
    pub async fn post_update_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) {
        let told = self.api.post_update_container(cx, pod, container).await;
        noted("PostUpdateContainer", container.id(), told);
    }

    /// The container was stopped.
    pub async fn stop_container(&self, cx: &Ctx, container: &dyn Container) {
        if !self.api.is_enabled() {
            return;
        }
        let pod = self.pod_of(container).await;
        let told = self.api.stop_container(cx, &*pod, container).await;
        noted("StopContainer", container.id(), told);
    }

    /// The container is removed.
    pub async fn remove_container(&self, cx: &Ctx, container: &dyn Container) {
        if !self.api.is_enabled() {
            return;
        }
        let pod = self.pod_of(container).await;
        let told = self.api.remove_container(cx, &*pod, container).await;
        noted("RemoveContainer", container.id(), told);
    }

    /// The container's process ended by itself, at `exited_at` (nanoseconds since the epoch).
    /// Queued: waits for the store, and for no plugin.
    pub async fn notify_exit(&self, container: &dyn Container, exit_code: i32, exited_at: i64) {
        if !self.api.is_enabled() {
            return;
        }
        let mut container = ContainerSnapshot::of(container);
        let message = &mut container.message;
        message.set_state(ContainerState::ContainerStopped);
        if message.status_reason.is_empty() {
            message.status_reason = exit_reason(exit_code).to_owned();
        }
        message.exit_code = exit_code;
        message.finished_at = exited_at;
        let pod = self.pod_of(&container).await;
        self.api.notify_container_exit(&*pod, &container);
    }

    /// Keeps new plugins from being synchronised while it lives. For parity with other
    /// implementations: nothing needs it here.
    pub async fn block_plugin_sync(&self) -> PluginSyncBlock {
        self.api.block_plugin_sync().await
    }

    /// The container's pod. One that the runtime has forgotten, or cannot look up, is known by its
    /// id alone.
    async fn pod_of(&self, container: &dyn Container) -> Arc<dyn PodSandbox> {
        let id = container.pod_sandbox_id();
        let found = self.runtime.pod(&id).await.unwrap_or_else(|error| {
            let container = container.id();
            tracing::warn!(container, pod = id, %error, "the pod of a container that ends cannot be looked up");
            None
        });
        found.unwrap_or_else(|| {
            let message = api::PodSandbox {
                id,
                ..Default::default()
            };
            Arc::new(PodSnapshot::new(message).with_domain(container.domain()))
        })
    }
}
