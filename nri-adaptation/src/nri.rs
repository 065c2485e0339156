//! The facade: what a runtime holds in its hands.

use std::sync::Arc;

use async_trait::async_trait;
use nri_core::model::{Container, PodSandbox};
use nri_core::{
    Api, Creation, Ctx, Domain, Error, Event, PluginSyncBlock, Request, UpdateResult, api,
};

use crate::builder::Builder;
use crate::config::Config;
use crate::instance::Instance;
use crate::observer::PluginInfo;

/// An NRI instance, for a container runtime to embed. Cheap to clone; its methods are those of [`Api`].
///
/// Dropping the last clone cuts the plugins off; [`stop`](Api::stop) says good-bye to them before.
///
/// Events that plugins may refuse (running a pod, creating, starting and updating) end when their future is dropped: plugins
/// that were asked know of them, and a creation is undone towards those. Notifications (stop, remove and post events) go on
/// without the caller: all plugins hear of them.
#[derive(Debug, Clone)]
pub struct Nri(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Instance>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Nri {
    /// Begins to describe an instance.
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }

    pub(crate) fn new(instance: Instance) -> Self {
        Self(Arc::new(Handle(Arc::new(instance))))
    }

    fn instance(&self) -> &Arc<Instance> {
        &self.0.0
    }

    /// The configuration in force, with defaults in place.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.instance().config
    }

    /// Adds a domain. It must be there before the instance is started.
    ///
    /// # Errors
    /// There is one of this name, or the instance was started.
    pub fn register_domain(&self, domain: Arc<dyn Domain>) -> Result<(), crate::Error> {
        self.instance().domains.register(domain)
    }

    /// The plugins that take part, in the order in which they are called.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginInfo> {
        self.instance()
            .rosters
            .view()
            .iter()
            .map(|active| active.info())
            .collect()
    }

    /// Relays an event that is refused by an error and says no more than what it is about.
    async fn propose(
        &self,
        cx: &Ctx,
        subject: Result<crate::subject::Subject, Error>,
        event: Event,
    ) -> Result<(), Error> {
        let subject = subject?;
        let Some(request) = subject.plain_request(event) else {
            return Err(Error::Invalid(format!(
                "{event} says more than what it is about"
            )));
        };
        self.instance().propose(cx, &subject, request).await
    }
}

#[async_trait]
impl Api for Nri {
    fn is_enabled(&self) -> bool {
        self.instance().is_enabled()
    }

    async fn start(&self) -> Result<(), Error> {
        Ok(self.instance().start().await?)
    }

    async fn stop(&self) {
        self.instance().stop().await;
    }

    async fn run_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        let subject = self.instance().pod_subject(pod);
        self.propose(cx, subject, Event::RunPodSandbox).await
    }

    async fn update_pod_sandbox(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        overhead: Option<api::LinuxResources>,
        resources: Option<api::LinuxResources>,
    ) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        let subject = self.instance().pod_subject(pod)?;
        let request = Request::UpdatePodSandbox(api::UpdatePodSandboxRequest {
            pod: Some(subject.pod.clone()),
            overhead_linux_resources: overhead,
            linux_resources: resources,
        });
        self.instance().propose(cx, &subject, request).await
    }

    async fn post_update_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        let subject = self.instance().pod_subject(pod)?;
        self.instance()
            .announce(cx, Arc::new(subject), Event::PostUpdatePodSandbox)
            .await
    }

    async fn stop_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        let subject = self.instance().pod_subject(pod)?;
        self.instance().stop_pod(cx, Arc::new(subject)).await
    }

    async fn remove_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        let subject = self.instance().pod_subject(pod)?;
        self.instance().remove_pod(cx, Arc::new(subject)).await
    }

    async fn create_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<Creation, Error> {
        if !self.is_enabled() {
            return Ok(Creation::untouched());
        }
        let subject = self.instance().container_subject(pod, container)?;
        self.instance().create_container(cx, subject).await
    }

    async fn post_create_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        let subject = self.instance().container_subject(pod, container)?;
        self.instance()
            .announce(cx, Arc::new(subject), Event::PostCreateContainer)
            .await
    }

    async fn start_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        let subject = self.instance().container_subject(pod, container);
        self.propose(cx, subject, Event::StartContainer).await
    }

    async fn post_start_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        let subject = self.instance().container_subject(pod, container)?;
        self.instance()
            .announce(cx, Arc::new(subject), Event::PostStartContainer)
            .await
    }

    async fn update_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
        request: Option<api::LinuxResources>,
    ) -> Result<UpdateResult, Error> {
        if !self.is_enabled() {
            return Ok(UpdateResult::default());
        }
        let subject = self.instance().container_subject(pod, container)?;
        self.instance()
            .update_container(cx, &subject, request)
            .await
    }

    async fn post_update_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        let subject = self.instance().container_subject(pod, container)?;
        self.instance()
            .announce(cx, Arc::new(subject), Event::PostUpdateContainer)
            .await
    }

    async fn stop_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        let subject = self.instance().container_subject(pod, container)?;
        self.instance().stop_container(cx, Arc::new(subject)).await
    }

    fn notify_container_exit(&self, pod: &dyn PodSandbox, container: &dyn Container) {
        if self.is_enabled() {
            self.instance().notify_exit(pod, container);
        }
    }

    async fn remove_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        let subject = self.instance().container_subject(pod, container)?;
        self.instance()
            .remove_container(cx, Arc::new(subject))
            .await
    }

    async fn block_plugin_sync(&self) -> PluginSyncBlock {
        match self.is_enabled() {
            true => PluginSyncBlock::new(self.instance().rosters.block()),
            false => PluginSyncBlock::inert(),
        }
    }
}
