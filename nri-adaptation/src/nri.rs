//! The facade: what a runtime holds in its hands.

use std::convert::identity;
use std::sync::Arc;

use async_trait::async_trait;
use nri_core::api::ContainerState;
use nri_core::model::{Container, PodSandbox};
use nri_core::{
    Creation, Ctx, Domain, DomainError, Error, Event, PluginSyncBlock, RuntimeApi, StopResult,
    UpdateResult, api,
};
use tokio::sync::watch;

use crate::config::Config;
use crate::engine::driver::Engine;
use crate::engine::target::{RequestTarget, created};
use crate::instance::lifecycle::Instance;
use crate::instance::plugin_watch::PluginWatch;
use crate::instance::reconfigure::Reconfigured;
use crate::pending::{HeldCreations, Pending};
use crate::telemetry::plugin_info::PluginInfo;
use crate::telemetry::readiness::Readiness;

/// An NRI instance, for a container runtime to embed. Cheap to clone; its methods are those of
/// [`RuntimeApi`].
///
/// Dropping the last clone cuts the plugins off; [`stop`](RuntimeApi::stop) shuts them down before.
///
/// Its futures may be dropped at any time: see [cancel safety](RuntimeApi#cancel-safety). The
/// caller's deadline ([`Ctx::with_deadline`]) has the effect of dropping, and is told as
/// [`Error::OutOfTime`].
#[derive(Debug, Clone)]
pub struct Nri(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    // First, so that what is held is undone while the instance is there.
    held: HeldCreations,
    instance: Arc<Instance>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        drop(self.held.take_all());
        self.instance.abort();
    }
}

impl Nri {
    pub(crate) fn new(instance: Instance) -> Self {
        Self(Arc::new(Handle {
            held: HeldCreations::default(),
            instance: Arc::new(instance),
        }))
    }

    fn instance(&self) -> &Arc<Instance> {
        &self.0.instance
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.instance().engine
    }

    /// The configuration in force, with defaults in place.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.instance().shared.config()
    }

    /// Adds a domain. It must be there before the instance is started.
    ///
    /// # Errors
    /// There is one of this name, or the instance was started.
    pub fn register_domain(&self, domain: Arc<dyn Domain>) -> Result<(), crate::Error> {
        self.engine().register_domain(domain)
    }

    /// The domain of a name; with its [`Domain::get_pod_sandbox`] and [`Domain::get_container`]
    /// that is the look-up by domain and id.
    ///
    /// ```
    /// use nri_adaptation::{Config, Nri};
    /// let nri = Nri::builder(Config::default()).build()?;
    /// assert!(nri.domain("k8s.io").is_none(), "no domain is registered");
    /// # Ok::<(), nri_adaptation::Error>(())
    /// ```
    #[must_use]
    pub fn domain(&self, name: &str) -> Option<Arc<dyn Domain>> {
        self.engine().domains.named(name)
    }

    /// The domain that has a container of this full id.
    ///
    /// # Errors
    /// [`DomainError::NotFound`] if none has it, [`DomainError::Invalid`] if several have.
    pub async fn domain_of(&self, container: &str) -> Result<Arc<dyn Domain>, DomainError> {
        self.engine().domains.owner(container).await
    }

    /// Puts another configuration in force, from the next request on. Plugins stay connected,
    /// unless their user is not allowed any more.
    ///
    /// The plugin directory is looked at again: new plugins are launched, and those that were given
    /// up; those whose file or configuration has changed are stopped and launched again; those
    /// that are no longer installed are stopped. Another socket is opened before the one before it
    /// is closed. A plugin is told of another `request_timeout` when it connects the next time.
    ///
    /// Returns when the launched plugins are ready, or are known not to be, and the stopped ones
    /// have ended. Dropping the future ends the waiting, not the change.
    ///
    /// # Errors
    /// A value cannot be, the plugin directory is bad (with `strict_discovery`), the socket cannot
    /// be opened, the instance is stopped, or a key has changed that cannot: `disable`,
    /// `serial`, and, where the runtime brought a listener along, `socket_path` and
    /// `disable_connections`. Nothing has changed then.
    pub async fn reconfigure(&self, config: Config) -> Result<Reconfigured, crate::Error> {
        let instance = Arc::clone(self.instance());
        let work = async move { instance.reconfigure(config).await };
        match self.instance().shared.tasks.spawn(work) {
            Some(task) => task.await.unwrap_or(Err(crate::Error::Stopped)),
            None => Err(crate::Error::Stopped),
        }
    }

    /// Holds a creation until it is known what becomes of it, for runtimes in which it cannot
    /// travel along to where that is known: [`pending`](Nri::pending) settles it. A creation that
    /// is held under this id already is abandoned. Stopping the instance drops what is held.
    ///
    /// `container` is its full id; where there are several domains, whatever tells containers
    /// apart. Where it can, let a runtime keep the creation as a local: then no early return is
    /// without its undoing.
    ///
    /// ```
    /// use nri_adaptation::{Config, Ctx, Nri, RuntimeApi, api};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let mut config = Config::default();
    /// # (config.disable_connections, config.plugin_path) = (true, "/nonexistent".into());
    /// let nri = Nri::builder(config).build()?;
    /// # nri.start().await?;
    /// let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
    /// let container = api::Container { id: "c1".into(), ..Default::default() };
    /// let creation = nri.create_container(&Ctx::new(), &pod, &container).await?;
    /// let adjustment = creation.adjustment().cloned();
    /// nri.hold("c1", creation);
    /// // ... elsewhere, when the container exists (or `abandon`, when that failed):
    /// assert!(nri.pending("c1").commit());
    /// assert!(!nri.pending("c1").commit(), "it is settled");
    /// # let _ = adjustment;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn hold(&self, container: impl Into<String>, creation: Creation) {
        drop(self.0.held.put(container.into(), creation));
    }

    /// The creation that is [held](Nri::hold) under an id, to be settled.
    pub fn pending<'a>(&'a self, container: &'a str) -> Pending<'a> {
        let held = &self.0.held;
        Pending { held, container }
    }

    /// The plugins of the instance, in the order in which they are called. Launched ones that are
    /// down are among them.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginInfo> {
        self.instance().plugins()
    }

    /// The plugins of the instance, to be waited for: who comes and goes, and how far each is.
    #[must_use]
    pub fn watch_plugins(&self) -> PluginWatch {
        PluginWatch::new(self.instance())
    }

    /// Whether the required plugins are ready.
    ///
    /// ```
    /// use nri_adaptation::{Config, Nri};
    /// let config = Config::from_toml("[default_validator]\nrequired_plugins = ['policy']").unwrap();
    /// let nri = Nri::builder(config).build()?;
    /// assert_eq!(nri.readiness().missing, ["policy"]);
    /// # Ok::<(), nri_adaptation::Error>(())
    /// ```
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.watch_readiness().borrow().clone()
    }

    /// The same as a stream: it changes when a required plugin comes or goes, and ends with the
    /// instance. A runtime maps it to a condition of the node.
    #[must_use]
    pub fn watch_readiness(&self) -> watch::Receiver<Readiness> {
        self.instance().shared.reporter.readiness()
    }

    /// The engine, and what a call is about, read now. `None` while NRI is off: no event asks that
    /// by itself.
    fn enter(&self, pod: &dyn PodSandbox, container: Option<&dyn Container>) -> Entered<'_> {
        self.enter_as(pod, container, identity)
    }

    /// The same with the state in which the container is shown.
    fn enter_as(
        &self,
        pod: &dyn PodSandbox,
        container: Option<&dyn Container>,
        state: fn(ContainerState) -> ContainerState,
    ) -> Entered<'_> {
        if !self.is_enabled() {
            return Ok(None);
        }
        let engine = self.engine();
        let target = RequestTarget::read(&engine.domains, pod, container, state)?;
        Ok(Some((engine, target)))
    }

    /// Relays an event that says no more than what it is about.
    async fn notify(
        &self,
        cx: &Ctx,
        event: Event,
        pod: &dyn PodSandbox,
        container: Option<&dyn Container>,
    ) -> Result<(), Error> {
        if self.engine().is_unheard(event) {
            return Ok(());
        }
        let Some((engine, target)) = self.enter(pod, container)? else {
            return Ok(());
        };
        let request = target.request(event)?;
        engine.notify_plugins(cx, &target.keys, request).await
    }
}

/// What [`Nri::enter`] comes to.
type Entered<'a> = Result<Option<(&'a Arc<Engine>, RequestTarget)>, Error>;

#[async_trait]
impl RuntimeApi for Nri {
    fn is_enabled(&self) -> bool {
        self.instance().shared.is_enabled()
    }

    async fn start(&self) -> Result<(), Error> {
        Ok(self.instance().start().await?)
    }

    async fn stop(&self) {
        drop(self.0.held.take_all());
        self.instance().stop().await;
    }

    async fn run_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error> {
        match self.enter(pod, None)? {
            Some((engine, target)) => engine.run_pod(cx, target).await,
            None => Ok(()),
        }
    }

    async fn update_pod_sandbox(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        overhead: Option<api::LinuxResources>,
        resources: Option<api::LinuxResources>,
    ) -> Result<(), Error> {
        if self.engine().is_unheard(Event::UpdatePodSandbox) {
            return Ok(());
        }
        let Some((engine, target)) = self.enter(pod, None)? else {
            return Ok(());
        };
        engine.update_pod(cx, target, overhead, resources).await
    }

    async fn post_update_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error> {
        self.notify(cx, Event::PostUpdatePodSandbox, pod, None)
            .await
    }

    async fn stop_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error> {
        self.notify(cx, Event::StopPodSandbox, pod, None).await
    }

    async fn remove_pod_sandbox(&self, cx: &Ctx, pod: &dyn PodSandbox) -> Result<(), Error> {
        match self.enter(pod, None)? {
            Some((engine, target)) => {
                let carried_out = engine.side_effects.carried_out;
                engine.remove_pod(cx, target, carried_out).await
            }
            None => Ok(()),
        }
    }

    async fn create_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<Creation, Error> {
        match self.enter_as(pod, Some(container), created)? {
            Some((engine, target)) => {
                let carried_out = engine.side_effects.carried_out;
                engine.create_container(cx, target, carried_out).await
            }
            None => Ok(Creation::untouched()),
        }
    }

    async fn post_create_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error> {
        self.notify(cx, Event::PostCreateContainer, pod, Some(container))
            .await
    }

    async fn start_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error> {
        self.notify(cx, Event::StartContainer, pod, Some(container))
            .await
    }

    async fn post_start_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error> {
        self.notify(cx, Event::PostStartContainer, pod, Some(container))
            .await
    }

    async fn update_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
        request: Option<api::LinuxResources>,
    ) -> Result<UpdateResult, Error> {
        match self.enter(pod, Some(container))? {
            Some((engine, target)) => {
                let carried_out = engine.side_effects.carried_out;
                engine
                    .update_container(cx, target, request, carried_out)
                    .await
            }
            None => Ok(UpdateResult::default()),
        }
    }

    async fn post_update_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error> {
        self.notify(cx, Event::PostUpdateContainer, pod, Some(container))
            .await
    }

    async fn stop_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<StopResult, Error> {
        match self.enter(pod, Some(container))? {
            Some((engine, target)) => {
                let carried_out = engine.side_effects.carried_out;
                engine.stop_container(cx, target, carried_out).await
            }
            None => Ok(StopResult::default()),
        }
    }

    fn notify_container_exit(&self, pod: &dyn PodSandbox, container: &dyn Container) {
        let stopped = |_| ContainerState::ContainerStopped;
        let notified = match self.enter_as(pod, Some(container), stopped) {
            Ok(Some((engine, target))) => engine.notify_exit(target),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = notified {
            tracing::error!(%error, "an exit cannot be relayed");
        }
    }

    async fn remove_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<(), Error> {
        match self.enter(pod, Some(container))? {
            Some((engine, target)) => {
                let carried_out = engine.side_effects.carried_out;
                engine.remove_container(cx, target, carried_out).await
            }
            None => Ok(()),
        }
    }

    async fn block_plugin_sync(&self) -> PluginSyncBlock {
        match self.is_enabled() {
            true => PluginSyncBlock::new(self.engine().block_joining()),
            false => PluginSyncBlock::inert(),
        }
    }
}
