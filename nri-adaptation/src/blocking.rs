//! NRI for runtimes that are not asynchronous: every call returns when it is done.
//!
//! [`Nri`] has the methods of [`RuntimeApi`](crate::RuntimeApi) under the same names. It has a
//! tokio runtime of its own, or uses one that there is. [`Domain`] is the domain of such a runtime.
//!
//! ```
//! use nri_adaptation::{Config, Ctx, api, blocking};
//!
//! let mut config = Config::default();
//! # (config.disable_connections, config.plugin_path) = (true, "/nonexistent".into());
//! let nri = blocking::Nri::new(nri_adaptation::Nri::builder(config).build()?)?;
//! nri.start()?;
//! let (cx, pod) = (Ctx::new(), api::PodSandbox { id: "p1".into(), ..Default::default() });
//! nri.run_pod_sandbox(&cx, &pod)?;
//! nri.remove_pod_sandbox(&cx, &pod)?;
//! nri.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! May not enter: anything but waiting.

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use nri_core::model::{Container, PodSandbox};
use nri_core::{
    Creation, Ctx, DomainError, Error, Outline, PluginSyncBlock, RuntimeApi as _, StopResult,
    UpdateResult, api,
};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::config::Config;
use crate::instance::reconfigure::Reconfigured;

/// How many threads serve plugins where there is no other runtime.
const THREADS: usize = 2;

/// An NRI instance for a container runtime that is not asynchronous. Cheap to clone.
///
/// Its methods wait, and can be called from any thread. What they are to do stands at the methods
/// of [`RuntimeApi`](crate::RuntimeApi). A call that a thread is in cannot be dropped: give it a
/// [deadline](Ctx::with_deadline).
#[derive(Clone)]
pub struct Nri(Arc<Inner>);

struct Inner {
    // First, so that it is gone before what runs it.
    nri: crate::Nri,
    handle: Handle,
    own: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.own.take() {
            // A runtime that waits for its threads must not be dropped everywhere.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Nri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.nri.fmt(f)
    }
}

impl Nri {
    /// An instance with a tokio runtime of its own, of two threads.
    ///
    /// # Errors
    /// The threads cannot be made.
    pub fn new(nri: crate::Nri) -> std::io::Result<Self> {
        let own = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("nri")
            .enable_all()
            .build()?;
        Ok(Self(Arc::new(Inner {
            nri,
            handle: own.handle().clone(),
            own: Some(own),
        })))
    }

    /// An instance on a tokio runtime that there is: one with several threads, or one that another
    /// thread drives.
    pub fn on(nri: crate::Nri, runtime: Handle) -> Self {
        Self(Arc::new(Inner {
            nri,
            handle: runtime,
            own: None,
        }))
    }

    /// The instance itself, for what does not wait: its plugins, its configuration, its readiness.
    #[must_use]
    pub fn nri(&self) -> &crate::Nri {
        &self.0.nri
    }

    fn wait<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        let handle = &self.0.handle;
        if Handle::try_current().is_err() {
            return handle.block_on(future);
        }
        // A thread of a tokio runtime may not wait for one.
        thread::scope(|scope| {
            let waiting = scope.spawn(|| handle.block_on(future));
            waiting.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Whether plugins can be there at all.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.nri.is_enabled()
    }

    /// As [`RuntimeApi::start`](crate::RuntimeApi::start).
    ///
    /// # Errors
    /// As there.
    pub fn start(&self) -> Result<(), Error> {
        self.wait(self.0.nri.start())
    }

    /// As [`RuntimeApi::stop`](crate::RuntimeApi::stop).
    pub fn stop(&self) {
        self.wait(self.0.nri.stop());
    }

    /// As [`Nri::reconfigure`](crate::Nri::reconfigure).
    ///
    /// # Errors
    /// As there.
    pub fn reconfigure(&self, config: Config) -> Result<Reconfigured, crate::Error> {
        self.wait(self.0.nri.reconfigure(config))
    }

    /// As [`RuntimeApi::update_pod_sandbox`](crate::RuntimeApi::update_pod_sandbox).
    ///
    /// # Errors
    /// As there.
    pub fn update_pod_sandbox(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        overhead: Option<api::LinuxResources>,
        resources: Option<api::LinuxResources>,
    ) -> Result<(), Error> {
        let nri = &self.0.nri;
        self.wait(nri.update_pod_sandbox(cx, pod, overhead, resources))
    }

    /// As [`RuntimeApi::update_container`](crate::RuntimeApi::update_container).
    ///
    /// # Errors
    /// As there.
    pub fn update_container(
        &self,
        cx: &Ctx,
        pod: &dyn PodSandbox,
        container: &dyn Container,
        request: Option<api::LinuxResources>,
    ) -> Result<UpdateResult, Error> {
        let nri = &self.0.nri;
        self.wait(nri.update_container(cx, pod, container, request))
    }

    /// As [`RuntimeApi::notify_container_exit`](crate::RuntimeApi::notify_container_exit), which
    /// never waits.
    pub fn notify_container_exit(&self, pod: &dyn PodSandbox, container: &dyn Container) {
        self.0.nri.notify_container_exit(pod, container);
    }

    /// As [`RuntimeApi::block_plugin_sync`](crate::RuntimeApi::block_plugin_sync).
    pub fn block_plugin_sync(&self) -> PluginSyncBlock {
        self.wait(self.0.nri.block_plugin_sync())
    }
}

/// The calls that are about a pod, or about a container of it, and take nothing else.
macro_rules! calls {
    ($($name:ident($($about:ident: $kind:ident),+) -> $answer:ty;)+) => {
        impl Nri {
            $(
                #[doc = concat!(
                    "As [`RuntimeApi::", stringify!($name), "`](crate::RuntimeApi::", stringify!($name), ")."
                )]
                ///
                /// # Errors
                /// As there.
                pub fn $name(&self, cx: &Ctx, $($about: &dyn $kind),+) -> Result<$answer, Error> {
                    self.wait(self.0.nri.$name(cx, $($about),+))
                }
            )+
        }
    };
}

calls! {
    run_pod_sandbox(pod: PodSandbox) -> ();
    post_update_pod_sandbox(pod: PodSandbox) -> ();
    stop_pod_sandbox(pod: PodSandbox) -> ();
    remove_pod_sandbox(pod: PodSandbox) -> ();
    create_container(pod: PodSandbox, container: Container) -> Creation;
    post_create_container(pod: PodSandbox, container: Container) -> ();
    start_container(pod: PodSandbox, container: Container) -> ();
    post_start_container(pod: PodSandbox, container: Container) -> ();
    post_update_container(pod: PodSandbox, container: Container) -> ();
    stop_container(pod: PodSandbox, container: Container) -> StopResult;
    remove_container(pod: PodSandbox, container: Container) -> ();
}

/// The domain of a runtime that is not asynchronous: as [`nri_core::Domain`], with methods that may
/// wait. They are called on threads of their own.
pub trait Domain: Send + Sync + 'static {
    /// As [`name`](nri_core::Domain::name).
    fn name(&self) -> &str;

    /// As [`restartable`](nri_core::Domain::restartable).
    fn restartable(&self) -> bool {
        false
    }

    /// As [`list_pod_sandboxes`](nri_core::Domain::list_pod_sandboxes).
    ///
    /// # Errors
    /// The runtime cannot say.
    fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError>;

    /// As [`list_containers`](nri_core::Domain::list_containers).
    ///
    /// # Errors
    /// The runtime cannot say.
    fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError>;

    /// As [`outline`](nri_core::Domain::outline).
    ///
    /// # Errors
    /// The runtime cannot say.
    fn outline(&self) -> Result<Option<Outline>, DomainError> {
        Ok(None)
    }

    /// As [`get_pod_sandboxes`](nri_core::Domain::get_pod_sandboxes): all of them on one thread,
    /// one after the other.
    ///
    /// # Errors
    /// The runtime cannot say.
    fn get_pod_sandboxes(&self, ids: &[String]) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        Ok(ids
            .iter()
            .filter_map(|id| self.get_pod_sandbox(id))
            .collect())
    }

    /// As [`get_containers`](nri_core::Domain::get_containers), in the same way.
    ///
    /// # Errors
    /// The runtime cannot say.
    fn get_containers(&self, ids: &[String]) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        Ok(ids.iter().filter_map(|id| self.get_container(id)).collect())
    }

    /// As [`get_pod_sandbox`](nri_core::Domain::get_pod_sandbox).
    fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>>;

    /// As [`get_container`](nri_core::Domain::get_container).
    fn get_container(&self, id: &str) -> Option<Arc<dyn Container>>;

    /// As [`update_container`](nri_core::Domain::update_container).
    ///
    /// # Errors
    /// As there.
    fn update_container(&self, cx: &Ctx, update: &api::ContainerUpdate) -> Result<(), DomainError>;

    /// As [`evict_container`](nri_core::Domain::evict_container).
    ///
    /// # Errors
    /// As there.
    fn evict_container(
        &self,
        cx: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError>;
}

/// A domain that waits, as [`Builder::domain`](crate::Builder::domain) takes it.
#[derive(Debug)]
pub struct Waiting<D>(Arc<D>);

impl<D: Domain> Waiting<D> {
    /// The domain.
    pub fn new(domain: Arc<D>) -> Self {
        Self(domain)
    }

    /// Makes a call on a thread on which it may wait.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&D) -> T + Send + 'static,
    ) -> Result<T, DomainError> {
        let domain = Arc::clone(&self.0);
        let called = tokio::task::spawn_blocking(move || call(&domain));
        called
            .await
            .map_err(|error| DomainError::Failed(format!("the domain did not answer: {error}")))
    }
}

#[async_trait]
impl<D: Domain> nri_core::Domain for Waiting<D> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn restartable(&self) -> bool {
        self.0.restartable()
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        self.call(D::list_pod_sandboxes).await?
    }

    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        self.call(D::list_containers).await?
    }

    async fn outline(&self) -> Result<Option<Outline>, DomainError> {
        self.call(D::outline).await?
    }

    async fn get_pod_sandboxes(
        &self,
        ids: &[String],
    ) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        let ids = ids.to_vec();
        self.call(move |domain| domain.get_pod_sandboxes(&ids))
            .await?
    }

    async fn get_containers(&self, ids: &[String]) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let ids = ids.to_vec();
        self.call(move |domain| domain.get_containers(&ids)).await?
    }

    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        let id = id.to_owned();
        self.call(move |domain| domain.get_pod_sandbox(&id))
            .await
            .unwrap_or(None)
    }

    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        let id = id.to_owned();
        self.call(move |domain| domain.get_container(&id))
            .await
            .unwrap_or(None)
    }

    async fn update_container(
        &self,
        cx: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        let (cx, update) = (cx.clone(), update.clone());
        self.call(move |domain| domain.update_container(&cx, &update))
            .await?
    }

    async fn evict_container(
        &self,
        cx: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        let (cx, eviction) = (cx.clone(), eviction.clone());
        self.call(move |domain| domain.evict_container(&cx, &eviction))
            .await?
    }
}
