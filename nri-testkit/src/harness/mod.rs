//! Unit tests of plugins without a socket, a process or a clock: handlers are called as a runtime
//! would call them, and what they answer is merged as a runtime merges it.
//!
//! What may not enter: rules; those are the flows and merges of `nri-core`, which runtimes use.

mod changes;
mod realistic;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nri_core::flow::{
    Call, CreateFlow, Flow, Member, NotifyFlow, Reply, Roster, Step, StopFlow, UpdateFlow,
};
use nri_core::{
    Configuration, Error, EventMask, NRI_VERSION, Plugin, PluginCtx, RegisteredPlugin, Request,
    RuntimeHandle, RuntimeInfo, SyncPart, UpdateFailure, api, dispatch,
};
use tokio::sync::OnceCell;

pub use changes::Changes;
pub use realistic::{DescribeContainer, container, pod};

/// The code of an error that is not known, and that of a method without a handler.
const UNKNOWN: i32 = 2;
const UNIMPLEMENTED: i32 = 12;

/// One plugin or several, as a runtime has them, in this process and without a connection.
///
/// The plugin is configured before its first event, and gets the events that it subscribes to. It
/// is called `10-plugin`. An answer is merged, with an owner for each part, and judged by those
/// that validate; what a runtime would refuse is an error.
///
/// ```
/// use nri_plugin::prelude::*;
/// use nri_testkit::{Describe as _, Harness, container, pod};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let plugin = handlers()
/// #     .on_create_container(|_, pod, container| async move {
/// #         let mut adjust = Adjustment::new();
/// #         let mode = effective_annotation(&pod.annotations, "example.com/mode", &container.name);
/// #         if let Some((_, mode)) = mode {
/// #             adjust.add_env("MODE", mode)?;
/// #         }
/// #         Ok(adjust)
/// #     })
/// #     .build();
/// let harness = Harness::new(plugin);
/// let created = harness.create(pod("web-1").annotated("example.com/mode", "fast"), container("nginx")).await;
/// assert_eq!(created.env("MODE"), Some("fast"));
/// # assert_eq!(created.to_string(), "\
/// # adjust env: {\"key\":\"MODE\",\"value\":\"fast\"}
/// # owner  Env MODE: 10-plugin
/// # ");
/// # });
/// ```
#[derive(Debug)]
pub struct Harness {
    plugins: Vec<Harnessed>,
    configuration: Configuration,
    events: OnceCell<Vec<EventMask>>,
    updates: Arc<Unsolicited>,
}

struct Harnessed {
    id: RegisteredPlugin,
    plugin: Arc<dyn Plugin>,
}

impl std::fmt::Debug for Harnessed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.id.fmt(f)
    }
}

/// What plugins asked for outside of any request.
#[derive(Debug, Default)]
struct Unsolicited(Mutex<Vec<api::UpdateContainersRequest>>);

#[async_trait]
impl RuntimeHandle for Unsolicited {
    async fn update_containers(
        &self,
        update: Vec<api::ContainerUpdate>,
        evict: Vec<api::ContainerEviction>,
    ) -> Result<Vec<api::ContainerUpdate>, UpdateFailure> {
        let request = api::UpdateContainersRequest { update, evict };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
        Ok(Vec::new())
    }
}

impl Harness {
    /// One plugin, at a runtime that is as new as this crate.
    pub fn new(plugin: impl Plugin) -> Self {
        let mut configuration = Configuration::default();
        configuration.runtime = RuntimeInfo::new("harness", "v1.0.0", NRI_VERSION);
        configuration.registration_timeout = Duration::from_secs(5);
        configuration.request_timeout = Duration::from_secs(2);
        let harness = Self {
            plugins: Vec::new(),
            configuration,
            events: OnceCell::new(),
            updates: Arc::default(),
        };
        harness.and("10-plugin", plugin)
    }

    /// One more plugin. Plugins are called in the order of their identities.
    ///
    /// # Panics
    /// The identity is none.
    #[must_use]
    pub fn and(mut self, identity: &str, plugin: impl Plugin) -> Self {
        let id = match identity.parse() {
            Ok(id) => id,
            Err(error) => panic!("{identity:?}: {error}"),
        };
        self.plugins.push(Harnessed {
            id: RegisteredPlugin {
                id,
                registration: self.plugins.len() as u64 + 1,
            },
            plugin: Arc::new(plugin),
        });
        self
    }

    /// What the runtime sends the plugins as their configuration. Default: nothing.
    #[must_use]
    pub fn configured(mut self, text: impl Into<String>) -> Self {
        self.configuration.config = text.into();
        self
    }

    /// Who the runtime says it is.
    #[must_use]
    pub fn at_runtime(mut self, runtime: RuntimeInfo) -> Self {
        self.configuration.runtime = runtime;
        self
    }

    /// Has the plugins configured, which happens before the first event anyway.
    ///
    /// # Errors
    /// The text with which a plugin refuses its configuration.
    pub async fn try_configure(&self) -> Result<(), String> {
        self.events().await.map(drop)
    }

    async fn events(&self) -> Result<&[EventMask], String> {
        let events = self.events.get_or_try_init(|| async {
            let mut events = Vec::new();
            for Harnessed { id, plugin } in &self.plugins {
                let cx = self.cx();
                let chosen = plugin.configure(&cx, self.configuration.clone());
                match chosen.await {
                    Ok(chosen) => events.push(chosen.unwrap_or_else(|| plugin.events())),
                    Err(error) => return Err(format!("plugin {id}: {error}")),
                }
            }
            Ok(events)
        });
        events.await.map(Vec::as_slice)
    }

    fn cx(&self) -> PluginCtx {
        let runtime = Arc::new(self.configuration.runtime.clone());
        let handle: Arc<dyn RuntimeHandle> = Arc::clone(&self.updates) as _;
        PluginCtx::new(runtime, handle)
            .with_deadline(Some(Instant::now() + self.configuration.request_timeout))
    }

    /// Creates a container.
    ///
    /// # Panics
    /// It is refused; the text says by whom and why.
    pub async fn create(&self, pod: api::PodSandbox, container: api::Container) -> Changes {
        accepted(self.try_create(pod, container).await)
    }

    /// Creates a container.
    ///
    /// # Errors
    /// A plugin failed or contradicts another one, or a validator refused the container.
    pub async fn try_create(
        &self,
        pod: api::PodSandbox,
        container: api::Container,
    ) -> Result<Changes, Error> {
        let container = of_pod(container, &pod);
        let request = api::CreateContainerRequest {
            pod: Some(pod),
            container: Some(container.clone()),
        };
        let flow = |roster: &Roster| CreateFlow::new(roster, request);
        let outcome = self.drive(flow).await?;
        Ok(Changes::of_creation(container, outcome))
    }

    /// Updates the resources of a container.
    ///
    /// # Errors
    /// As [`try_create`](Self::try_create).
    pub async fn try_update(
        &self,
        pod: api::PodSandbox,
        container: api::Container,
        resources: api::LinuxResources,
    ) -> Result<Changes, Error> {
        let container = of_pod(container, &pod);
        let request = api::UpdateContainerRequest {
            pod: Some(pod),
            container: Some(container.clone()),
            linux_resources: Some(resources),
        };
        let flow = |roster: &Roster| UpdateFlow::new(roster, request);
        let outcome = self.drive(flow).await?;
        Ok(Changes::of_update(container, outcome))
    }

    /// The same.
    ///
    /// # Panics
    /// It is refused.
    pub async fn update(
        &self,
        pod: api::PodSandbox,
        container: api::Container,
        resources: api::LinuxResources,
    ) -> Changes {
        accepted(self.try_update(pod, container, resources).await)
    }

    /// Stops a container.
    ///
    /// # Panics
    /// A plugin failed.
    pub async fn stop(&self, pod: api::PodSandbox, container: api::Container) -> Changes {
        let container = of_pod(container, &pod);
        let request = api::StopContainerRequest {
            pod: Some(pod),
            container: Some(container.clone()),
        };
        let flow = |roster: &Roster| StopFlow::new(roster, request);
        Changes::of_stop(container, accepted(self.drive(flow).await))
    }

    /// Any event to which there is no answer, such as `Request::RunPodSandbox`.
    ///
    /// # Errors
    /// A plugin failed.
    pub async fn notify(&self, request: Request) -> Result<(), Error> {
        let flow = |roster: &Roster| NotifyFlow::new(roster, request);
        self.drive(flow).await
    }

    /// Shows the plugins the pods and containers that exist, and returns the updates that each asks
    /// for, in the order of the plugins.
    ///
    /// # Panics
    /// A plugin failed.
    pub async fn synchronize(
        &self,
        pods: Vec<api::PodSandbox>,
        containers: Vec<api::Container>,
    ) -> Vec<Vec<api::ContainerUpdate>> {
        accepted(self.try_configure().await);
        let mut updates = Vec::new();
        for Harnessed { plugin, .. } in &self.plugins {
            let cx = self.cx();
            let (pods, containers) = (pods.clone(), containers.clone());
            let asked = match plugin.takes_parts() {
                false => plugin.synchronize(&cx, pods, containers),
                true => {
                    let mut part = SyncPart::new(pods, containers);
                    (part.first, part.last) = (true, true);
                    plugin.synchronize_part(&cx, part)
                }
            };
            updates.push(accepted(asked.await));
        }
        updates
    }

    /// What plugins have asked for outside of any request so far. All of it was granted.
    pub fn unsolicited(&self) -> Vec<api::UpdateContainersRequest> {
        let updates = self.updates.0.lock();
        updates.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a request through the plugins, as a runtime does.
    async fn drive<F: Flow>(&self, make: impl FnOnce(&Roster) -> F) -> Result<F::Output, Error> {
        let events = accepted(self.events().await);
        let members = self.plugins.iter().zip(events);
        let roster =
            Roster::new(members.map(|(plugin, events)| Member::new(plugin.id.clone(), *events)));
        let mut flow = make(&roster);
        // Each call is answered at once, so there is never one to wait for.
        while let Step::Call(call) = flow.next() {
            let reply = self.call(&call).await;
            flow.answer(&call.plugin, reply);
        }
        flow.finish().result
    }

    async fn call(&self, call: &Call) -> Reply {
        let mut plugins = self.plugins.iter();
        let Some(called) = plugins.find(|plugin| plugin.id == call.plugin) else {
            return Reply::Gone { delivered: false };
        };
        let request = Request::clone(&call.request);
        match dispatch(&*called.plugin, &self.cx(), request).await {
            Ok(response) => Reply::Answer(response),
            Err(error) => Reply::Error {
                code: match error.is_unimplemented() {
                    true => UNIMPLEMENTED,
                    false => UNKNOWN,
                },
                message: error.to_string(),
            },
        }
    }
}

fn of_pod(mut container: api::Container, pod: &api::PodSandbox) -> api::Container {
    if container.pod_sandbox_id.is_empty() {
        container.pod_sandbox_id.clone_from(&pod.id);
    }
    container
}

/// What a test takes for granted.
#[track_caller]
fn accepted<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => panic!("{error}"),
    }
}
