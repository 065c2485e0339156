//! The runtime itself: what it does at each step. What may not enter: how it is built.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nri_adaptation::{Nri, PluginInfo, PluginState, RuntimeApi, UpdateResult};
use nri_core::api::{Container, ContainerState, LinuxResources, PodSandbox};
use nri_core::merge;
use nri_core::{Creation, Ctx, Error, Event, Plugin};
use tempfile::TempDir;

use super::joined::Joined;
use crate::ready::ready;
use crate::{Connected, FakePlugin, MemoryDomain, TEST_TIMEOUT, Watcher};

/// A container runtime without containers: an NRI instance with a socket, a domain in memory, and
/// an observer to wait for, all in a temporary directory. Dropping it cuts off the plugins and
/// removes the directory, also when the test panics.
///
/// Its methods are what a runtime does at each step: they call the API and keep the domain as it
/// must be. They panic where NRI refuses; those that begin with `try_` return the error. Whatever
/// else is needed goes through [`nri`](Self::nri).
///
/// ```
/// use nri_testkit::{FakePlugin, TestRuntime};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let runtime = TestRuntime::start().await;
/// let plugin = FakePlugin::new("10-watch");
/// let _connected = runtime.join(&plugin).await;
/// runtime.whole_life("p1", "c1").await;
/// assert_eq!(plugin.events().first().unwrap(), "RunPodSandbox p1");
/// assert_eq!(plugin.events().last().unwrap(), "RemovePodSandbox p1");
/// # });
/// ```
pub struct TestRuntime {
    pub(super) nri: Nri,
    pub(super) domain: Arc<MemoryDomain>,
    pub(super) watcher: Arc<Watcher>,
    pub(super) cx: Ctx,
    // Last, so that it is there until all else is gone.
    pub(super) directory: TempDir,
}

impl fmt::Debug for TestRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRuntime")
            .field("directory", &self.directory.path())
            .field("plugins", &self.plugins())
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

impl TestRuntime {
    /// The instance.
    pub fn nri(&self) -> &Nri {
        &self.nri
    }

    /// What the runtime has, and what plugins did to it.
    pub fn domain(&self) -> &Arc<MemoryDomain> {
        &self.domain
    }

    /// What the instance told about its plugins.
    pub fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    /// Where plugins connect.
    pub fn socket(&self) -> PathBuf {
        self.nri.config().socket_path.clone()
    }

    /// The runtime's own directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Makes every further call of its methods with this context.
    pub fn set_context(&mut self, cx: Ctx) {
        self.cx = cx;
    }

    /// Connects and registers a plugin, and waits until it is ready.
    ///
    /// # Panics
    /// It does not.
    pub async fn join(&self, plugin: &FakePlugin) -> Connected {
        plugin.join(&self.nri).await
    }

    /// Runs any plugin in this process, connected as one of its own would be, and waits until it is
    /// ready. What the runtime has for it as its configuration is the file
    /// `conf.d/NN-name.conf` in [`directory`](Self::directory), if there is one.
    ///
    /// ```
    /// use nri_plugin::prelude::*;
    /// use nri_testkit::{Describe as _, TestRuntime};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let plugin = handlers()
    ///     .on_create_container(|_, pod, _| async move {
    ///         let mut adjust = Adjustment::new();
    ///         if let Some(value) = pod.annotations.get("example.com/mode") {
    ///             adjust.add_annotation("mode", value)?;
    ///         }
    ///         Ok(adjust)
    ///     })
    ///     .build();
    /// let runtime = TestRuntime::start().await;
    /// let _joined = runtime.join_plugin("10-mine", plugin).await;
    /// let pod = runtime.run(runtime.pod("p1").annotated("example.com/mode", "fast")).await;
    /// assert_eq!(runtime.create(&pod, "c1").await.annotations["mode"], "fast");
    /// # });
    /// ```
    ///
    /// # Panics
    /// The identity is none, or the plugin does not become ready; the message says why.
    pub async fn join_plugin(&self, identity: &str, plugin: impl Plugin) -> Joined {
        let ready = ready(&self.nri, identity);
        let runner = nri_plugin::Runner::builder(plugin)
            .identity(identity)
            .socket(self.socket())
            .use_environment(false)
            .build();
        let runner = match runner {
            Ok(runner) => runner,
            Err(error) => panic!("{identity} cannot be run: {error}"),
        };
        let handle = runner.handle();
        let mut task = tokio::spawn(runner.run());
        tokio::select! {
            Ok(()) = ready => {}
            ended = &mut task => panic!("{identity} ended before it was ready: {ended:?}"),
            () = tokio::time::sleep(TEST_TIMEOUT) => {
                panic!("waited {TEST_TIMEOUT:?} in vain for {identity} to be ready; there were {:#?}", self.watcher.notices())
            }
        }
        Joined { handle, task }
    }

    /// The identities of the plugins that are ready and not late, in the order in which they are
    /// called.
    pub fn plugins(&self) -> Vec<String> {
        let ready = self.nri.plugins().into_iter();
        ready
            .filter(|info| info.state == PluginState::Ready)
            .map(|info| info.plugin.to_string())
            .collect()
    }

    /// Waits until exactly these plugins are ready, and none of them is late.
    ///
    /// # Panics
    /// That did not happen within [`TEST_TIMEOUT`].
    pub async fn wait_for_plugins(&self, expected: &[&str]) {
        let what = format!("the plugins to be {expected:?}");
        self.wait_for_states(&what, |plugins| {
            let ready = plugins.iter().map(|info| match info.state {
                PluginState::Ready => info.plugin.to_string(),
                _ => String::new(),
            });
            ready.eq(expected.iter().copied())
        })
        .await;
    }

    /// Waits until the plugins are as `holds` wants them: who is there, and how far each is.
    ///
    /// # Panics
    /// They were not within [`TEST_TIMEOUT`], or the instance was stopped; `what` says what was
    /// waited for.
    pub async fn wait_for_states(&self, what: &str, holds: impl FnMut(&[PluginInfo]) -> bool) {
        let mut watch = self.nri.watch_plugins();
        let waited = tokio::time::timeout(TEST_TIMEOUT, watch.wait_for(holds)).await;
        if !matches!(waited, Ok(Ok(_))) {
            panic!(
                "waited up to {TEST_TIMEOUT:?} in vain for {what}; the plugins are {:#?}, and there were {:#?}",
                self.nri.plugins(),
                self.watcher.notices()
            );
        }
    }

    /// A pod as its methods make it, which is not run.
    pub fn pod(&self, id: &str) -> PodSandbox {
        PodSandbox {
            id: id.to_owned(),
            name: format!("{id}-name"),
            namespace: "default".to_owned(),
            uid: format!("{id}-uid"),
            ..Default::default()
        }
    }

    /// A container as its methods make it, which is not created.
    pub fn container(&self, pod: &PodSandbox, id: &str) -> Container {
        Container {
            id: id.to_owned(),
            pod_sandbox_id: pod.id.clone(),
            name: format!("{id}-name"),
            state: ContainerState::ContainerCreated.into(),
            ..Default::default()
        }
    }

    /// Runs a pod. One that is refused is not kept.
    ///
    /// # Errors
    /// NRI's.
    pub async fn try_run_pod(&self, id: &str) -> Result<PodSandbox, Error> {
        self.try_run(self.pod(id)).await
    }

    /// Runs a pod that the caller has described. One that is refused is torn down and not kept:
    /// plugins that heard of it hear that it is stopped and removed.
    ///
    /// # Errors
    /// NRI's.
    pub async fn try_run(&self, pod: PodSandbox) -> Result<PodSandbox, Error> {
        // Unlike a creation, running a pod has no commit: a plugin that came between the event and
        // the book-keeping would neither hear of the pod nor be shown it.
        let _block = self.nri.block_plugin_sync().await;
        match self.nri.run_pod_sandbox(&self.cx, &pod).await {
            Ok(()) => {
                self.domain.put_pod(pod.clone());
                Ok(pod)
            }
            Err(error) => {
                // What it was refused for is what the caller is told.
                let _ = self.nri.remove_pod_sandbox(&self.cx, &pod).await;
                Err(error)
            }
        }
    }

    /// As [`try_run`](Self::try_run).
    ///
    /// # Panics
    /// The pod is refused.
    pub async fn run(&self, pod: PodSandbox) -> PodSandbox {
        accepted(self.try_run(pod).await)
    }

    /// As [`try_run_pod`](Self::try_run_pod).
    ///
    /// # Panics
    /// The pod is refused.
    pub async fn run_pod(&self, id: &str) -> PodSandbox {
        accepted(self.try_run_pod(id).await)
    }

    /// Creates a container as plugins want it; the domain has it as adjusted. One that is refused
    /// never was.
    ///
    /// # Errors
    /// NRI's.
    pub async fn try_create(&self, pod: &PodSandbox, id: &str) -> Result<Container, Error> {
        self.try_create_as(pod, self.container(pod, id)).await
    }

    /// The same with a container that the caller has described.
    ///
    /// # Errors
    /// NRI's.
    pub async fn try_create_as(
        &self,
        pod: &PodSandbox,
        container: Container,
    ) -> Result<Container, Error> {
        let creation = self.ask_to_create(pod, &container).await?;
        let adjusted = match creation.adjustment() {
            Some(adjustment) => merge::apply(&container, adjustment),
            None => container,
        };
        self.domain.put_container(adjusted.clone());
        creation.commit();
        Ok(adjusted)
    }

    /// Only asks for the creation of a container: what becomes of it is the caller's business.
    ///
    /// # Errors
    /// NRI's.
    pub async fn ask_to_create(
        &self,
        pod: &PodSandbox,
        container: &Container,
    ) -> Result<Creation, Error> {
        self.nri.create_container(&self.cx, pod, container).await
    }

    /// As [`try_create`](Self::try_create), and says afterwards that it was created.
    ///
    /// # Panics
    /// The container is refused.
    pub async fn create(&self, pod: &PodSandbox, id: &str) -> Container {
        self.create_as(pod, self.container(pod, id)).await
    }

    /// The same with a container that the caller has described.
    ///
    /// # Panics
    /// The container is refused.
    pub async fn create_as(&self, pod: &PodSandbox, container: Container) -> Container {
        let container = accepted(self.try_create_as(pod, container).await);
        let told = self
            .nri
            .post_create_container(&self.cx, pod, &container)
            .await;
        accepted(told);
        container
    }

    /// Starts a container, and says afterwards that it was started.
    ///
    /// # Panics
    /// The start is refused.
    pub async fn start_container(&self, pod: &PodSandbox, id: &str) {
        let container = self.known(id);
        accepted(self.nri.start_container(&self.cx, pod, &container).await);
        let running = self.in_state(id, ContainerState::ContainerRunning);
        accepted(self.nri.post_start_container(&self.cx, pod, &running).await);
    }

    /// Changes a container's resources as plugins want it. The answer is put into the domain;
    /// saying afterwards that it was changed is the caller's business.
    ///
    /// # Errors
    /// NRI's.
    pub async fn try_update(
        &self,
        pod: &PodSandbox,
        id: &str,
        resources: LinuxResources,
    ) -> Result<UpdateResult, Error> {
        let container = self.known(id);
        let asked = Some(resources.clone());
        let result = self
            .nri
            .update_container(&self.cx, pod, &container, asked)
            .await?;
        let resources = result.resources.clone().unwrap_or(resources);
        self.domain.overlay(id, resources);
        Ok(result)
    }

    /// Says that a container was stopped.
    ///
    /// # Panics
    /// A plugin fails it.
    pub async fn stop_container(&self, pod: &PodSandbox, id: &str) {
        let stopped = self.in_state(id, ContainerState::ContainerStopped);
        accepted(self.nri.stop_container(&self.cx, pod, &stopped).await);
    }

    /// Removes a container.
    ///
    /// # Panics
    /// A plugin fails it.
    pub async fn remove_container(&self, pod: &PodSandbox, id: &str) {
        let container = self.known(id);
        accepted(self.nri.remove_container(&self.cx, pod, &container).await);
        self.domain.remove_container(id);
    }

    /// Says that a pod was stopped.
    ///
    /// # Panics
    /// A plugin fails it.
    pub async fn stop_pod(&self, pod: &PodSandbox) {
        accepted(self.nri.stop_pod_sandbox(&self.cx, pod).await);
    }

    /// Removes a pod.
    ///
    /// # Panics
    /// A plugin fails it.
    pub async fn remove_pod(&self, pod: &PodSandbox) {
        accepted(self.nri.remove_pod_sandbox(&self.cx, pod).await);
        self.domain.remove_pod(&pod.id);
    }

    /// The events of the life of a pod with one container, in order: all but the validation, which
    /// comes with a creation.
    pub const LIFE: [Event; 13] = [
        Event::RunPodSandbox,
        Event::UpdatePodSandbox,
        Event::PostUpdatePodSandbox,
        Event::CreateContainer,
        Event::PostCreateContainer,
        Event::StartContainer,
        Event::PostStartContainer,
        Event::UpdateContainer,
        Event::PostUpdateContainer,
        Event::StopContainer,
        Event::RemoveContainer,
        Event::StopPodSandbox,
        Event::RemovePodSandbox,
    ];

    /// Runs a pod with one container through all of their lives: each event of
    /// [`LIFE`](Self::LIFE), once.
    ///
    /// # Panics
    /// A plugin refuses or fails something.
    pub async fn whole_life(&self, pod_id: &str, container_id: &str) {
        let pod = self.run_pod(pod_id).await;
        let updated = self.nri.update_pod_sandbox(&self.cx, &pod, None, None);
        accepted(updated.await);
        accepted(self.nri.post_update_pod_sandbox(&self.cx, &pod).await);
        self.create(&pod, container_id).await;
        self.start_container(&pod, container_id).await;
        let updated = self.try_update(&pod, container_id, LinuxResources::default());
        accepted(updated.await);
        let container = self.known(container_id);
        let told = self.nri.post_update_container(&self.cx, &pod, &container);
        accepted(told.await);
        self.stop_container(&pod, container_id).await;
        self.remove_container(&pod, container_id).await;
        self.stop_pod(&pod).await;
        self.remove_pod(&pod).await;
    }

    fn known(&self, id: &str) -> Container {
        match self.domain.container(id) {
            Some(container) => container,
            None => panic!("the test has no container {id:?}"),
        }
    }

    fn in_state(&self, id: &str, state: ContainerState) -> Container {
        let mut container = self.known(id);
        container.set_state(state);
        self.domain.put_container(container.clone());
        container
    }
}

#[track_caller]
fn accepted<T>(result: Result<T, Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("a plugin was in the way: {error}"),
    }
}
