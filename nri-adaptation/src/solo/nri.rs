//! What happens to containers without pods, as NRI is told it.

use std::fmt;
use std::sync::Arc;

use nri_core::model::{Container, PodSnapshot};
use nri_core::{Ctx, Error, InstanceError, RuntimeApi, StopResult, UpdateResult, api};
use tokio::sync::OwnedMutexGuard;

use super::creation::SoloCreation;
use super::domain::SoloDomain;
use super::source::Source;
use super::undo::{Undo, Way, carry_out, in_order};

/// NRI for a runtime whose containers have no pods: one method for each thing that happens to a
/// container. See [the module](super) for an example.
///
/// What concerns the containers of one pod is told in order, also when it is called from several
/// tasks. The futures may be dropped at any time, as those of [`RuntimeApi`]: what plugins may
/// refuse is taken back then, what has happened goes on.
pub struct SoloNri<S> {
    nri: Arc<dyn RuntimeApi>,
    domain: Arc<SoloDomain<S>>,
}

impl<S> Clone for SoloNri<S> {
    fn clone(&self) -> Self {
        Self {
            nri: Arc::clone(&self.nri),
            domain: Arc::clone(&self.domain),
        }
    }
}

impl<S> fmt::Debug for SoloNri<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoloNri")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

impl<S: Source> SoloNri<S> {
    /// Tells an instance, in which the domain is registered.
    pub fn new(nri: Arc<dyn RuntimeApi>, domain: Arc<SoloDomain<S>>) -> Self {
        Self { nri, domain }
    }

    /// The instance, to start and to stop it.
    pub fn nri(&self) -> &Arc<dyn RuntimeApi> {
        &self.nri
    }

    /// The domain.
    pub fn domain(&self) -> &Arc<SoloDomain<S>> {
        &self.domain
    }

    /// A container's spec is complete and nothing is created yet: RunPodSandbox, unless it shares a
    /// pod that runs, and CreateContainer. Apply the adjustment, create the container, then
    /// [`commit`](SoloCreation::commit); dropping it undoes both.
    ///
    /// # Errors
    /// A plugin refused the pod or the container, and plugins hear of the end of both; or the
    /// container was created before and not removed.
    pub async fn create(&self, cx: &Ctx, container: &dyn Container) -> Result<SoloCreation, Error> {
        self.recover().await?;
        let mut shown = container.to_message();
        let pod = self.domain.source.pod_of(container).await;
        let _turn = self.domain.pods.order(&pod.id).await;
        let Some(begins) = self.domain.pods.create(&shown.id, pod.clone()) else {
            return Err(Error::Lifecycle(format!(
                "container {:?} was created already: remove it first, or give the new one another id",
                shown.id
            )));
        };
        shown.pod_sandbox_id.clone_from(&pod.id);
        let pod = self.domain.named(pod);
        let undo = self.undo(&shown.id, Way::Leave);
        if begins {
            self.nri.run_pod_sandbox(cx, &pod).await?;
        }
        let creation = self.nri.create_container(cx, &pod, &shown).await?;
        Ok(SoloCreation::new(creation, undo))
    }

    /// A container was created; `container` shows it as adjusted.
    ///
    /// # Errors
    /// A plugin failed; all have heard of it.
    pub async fn created(&self, cx: &Ctx, container: &dyn Container) -> Result<(), Error> {
        let (pod, shown) = self.look(container).await?;
        self.nri.post_create_container(cx, &pod, &shown).await
    }

    /// A container is about to be started, for the first time or again: StartContainer, after
    /// RunPodSandbox if its pod has stopped meanwhile.
    ///
    /// # Errors
    /// A plugin refused it; plugins hear that it does not run.
    pub async fn start(&self, cx: &Ctx, container: &dyn Container) -> Result<(), Error> {
        let (_turn, mut pod, shown) = self.take(container).await?;
        let id = shown.id.clone();
        // It may have other addresses than when it ran before.
        let anew = self.domain.source.pod_of(container).await;
        let runs = self.domain.pods.get(&anew.id).is_some_and(|(_, runs)| runs);
        if !runs && anew.id == shown.pod_sandbox_id {
            pod = self.domain.named(anew);
        }
        let mut undo = self.undo(&id, Way::End(Box::new(shown.clone())));
        if self.domain.pods.start(&id, pod.message.clone()) {
            self.nri.run_pod_sandbox(cx, &pod).await?;
        }
        self.nri.start_container(cx, &pod, &shown).await?;
        undo.disarm();
        Ok(())
    }

    /// A container was started.
    ///
    /// # Errors
    /// A plugin failed; all have heard of it.
    pub async fn started(&self, cx: &Ctx, container: &dyn Container) -> Result<(), Error> {
        let (pod, shown) = self.look(container).await?;
        self.nri.post_start_container(cx, &pod, &shown).await
    }

    /// A container's resources are about to change. The result says what to apply instead of
    /// `request`, if anything.
    ///
    /// # Errors
    /// A plugin refused it.
    pub async fn update(
        &self,
        cx: &Ctx,
        container: &dyn Container,
        request: Option<api::LinuxResources>,
    ) -> Result<UpdateResult, Error> {
        let (pod, shown) = self.look(container).await?;
        let nri = &self.nri;
        nri.update_container(cx, &pod, &shown, request).await
    }

    /// A container's resources have changed.
    ///
    /// # Errors
    /// A plugin failed; all have heard of it.
    pub async fn updated(&self, cx: &Ctx, container: &dyn Container) -> Result<(), Error> {
        let (pod, shown) = self.look(container).await?;
        self.nri.post_update_container(cx, &pod, &shown).await
    }

    /// A container's process has ended, by itself or because it was stopped: StopContainer, and
    /// StopPodSandbox if no other container of its pod is created or runs. Repeating it has no
    /// effect.
    ///
    /// # Errors
    /// A plugin failed; all have heard of it.
    pub async fn exited(&self, cx: &Ctx, container: &dyn Container) -> Result<StopResult, Error> {
        let message = Box::new(container.to_message());
        let mut untold = self.undo(&container.id(), Way::End(message));
        let (_turn, pod, shown) = self.take(container).await?;
        untold.disarm();
        let domain = &self.domain;
        let stop = self.nri.stop_container(cx, &pod, &shown);
        let rest = async {
            let due = domain.pods.end(&shown.id);
            carry_out(&*self.nri, cx, &domain.name, due).await
        };
        let (stopped, pod) = in_order(stop, rest).await;
        stopped.and_then(|stopped| pod.map(|()| stopped))
    }

    /// A container is removed: RemoveContainer, and all that is due before and after it: that it
    /// stopped, and the stop and removal of its pod if it was the last one in that.
    ///
    /// # Errors
    /// A plugin failed; all have heard of it.
    pub async fn remove(&self, cx: &Ctx, container: &dyn Container) -> Result<(), Error> {
        let message = Box::new(container.to_message());
        let mut untold = self.undo(&container.id(), Way::Remove(message));
        let (_turn, pod, shown) = self.take(container).await?;
        untold.disarm();
        let domain = &self.domain;
        let remove = self.nri.remove_container(cx, &pod, &shown);
        let rest = async {
            let due = domain.pods.leave(&shown.id);
            carry_out(&*self.nri, cx, &domain.name, due).await
        };
        let (removed, pod) = in_order(remove, rest).await;
        removed.and(pod)
    }

    async fn recover(&self) -> Result<(), Error> {
        let recovered = self.domain.recover().await;
        recovered.map_err(|source| {
            let domain = self.domain.name.to_string();
            InstanceError::NotListed { domain, source }.into()
        })
    }

    /// A container as it is shown, and its pod.
    async fn look(
        &self,
        container: &dyn Container,
    ) -> Result<(PodSnapshot, api::Container), Error> {
        self.recover().await?;
        let mut shown = container.to_message();
        let pod = match self.domain.pods.of(&shown.id) {
            Some(pod) => pod,
            None => self.domain.source.pod_of(container).await,
        };
        shown.pod_sandbox_id.clone_from(&pod.id);
        Ok((self.domain.named(pod), shown))
    }

    /// The same, and the turn to change what is in the pod.
    async fn take(
        &self,
        container: &dyn Container,
    ) -> Result<(OwnedMutexGuard<()>, PodSnapshot, api::Container), Error> {
        let (mut pod, shown) = self.look(container).await?;
        let turn = self.domain.pods.order(&shown.pod_sandbox_id).await;
        // It may have changed while this waited.
        if let Some((changed, _)) = self.domain.pods.get(&shown.pod_sandbox_id) {
            pod = self.domain.named(changed);
        }
        Ok((turn, pod, shown))
    }

    fn undo(&self, container: &str, way: Way) -> Undo {
        Undo {
            nri: Arc::clone(&self.nri),
            pods: Arc::clone(&self.domain.pods),
            domain: Arc::clone(&self.domain.name),
            container: container.to_owned(),
            way: Some(way),
        }
    }
}
