//! Hand-made peers and a domain that a test holds in its hands.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use nri_adaptation::model::{Container, PodSandbox};
use nri_adaptation::{Config, Ctx, Domain, DomainError, Nri, RuntimeApi};
use nri_core::{Event, Request, Response, api};
use nri_proto::rpc;
use nri_proto::transport::{
    CallContext, CallError, CallOptions, Connection, Limits, Role, RuntimeClient, Service, Status,
};
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::recorder::Recorder;

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How long a test waits for what must happen before it fails.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A list that grows, and that one can wait for.
#[derive(Debug)]
pub(crate) struct Log<T>(watch::Sender<Vec<T>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}

impl<T: Clone + std::fmt::Debug> Log<T> {
    pub(crate) fn push(&self, entry: T) {
        self.0.send_modify(|entries| entries.push(entry));
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0.borrow().clone()
    }

    pub(crate) async fn wait(&self, what: &str, until: impl FnMut(&Vec<T>) -> bool) -> Vec<T> {
        let mut entries = self.0.subscribe();
        let waited = tokio::time::timeout(TEST_TIMEOUT, entries.wait_for(until)).await;
        match waited {
            Ok(entries) => entries.unwrap().clone(),
            Err(_) => panic!("waited in vain for {what}; there is {:?}", self.all()),
        }
    }
}

/// What a plugin got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) method: String,
    pub(crate) payload: Bytes,
}

impl Got {
    pub(crate) fn request(&self) -> Request {
        let event = Event::ALL
            .into_iter()
            .find(|event| event.name() == self.method)
            .unwrap();
        Request::decode(event, &self.payload).unwrap()
    }

    /// `CreateContainer c1`, `RunPodSandbox p1`.
    pub(crate) fn brief(&self) -> String {
        if self.method == "StateChange" {
            let change = api::StateChangeEvent::decode(&*self.payload).unwrap();
            let id = change
                .container
                .map_or(change.pod.unwrap().id, |container| container.id);
            return format!(
                "StateChange:{} {id}",
                Event::from_number(change.event).unwrap()
            );
        }
        if !Event::ALL.iter().any(|event| event.name() == self.method) {
            return self.method.clone();
        }
        let request = self.request();
        let id = request
            .container()
            .map_or(request.pod().map(|p| &p.id), |c| Some(&c.id));
        format!("{} {}", self.method, id.cloned().unwrap_or_default())
    }
}

/// What a plugin does with a call: `None` is the usual answer.
pub(crate) type Act = Arc<dyn Fn(Got) -> Boxed<Option<Result<Vec<u8>, Status>>> + Send + Sync>;

/// A plugin made by hand.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) index: String,
    pub(crate) name: String,
    pub(crate) events: i32,
    pub(crate) wish: Option<api::FailurePolicy>,
    pub(crate) act: Act,
    pub(crate) got: Arc<Log<Got>>,
    pub(crate) limits: Limits,
}

/// A plugin's end of a connection.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    pub(crate) runtime: RuntimeClient,
    pub(crate) fake: Fake,
}

struct Served(Fake);

#[async_trait]
impl Service for Served {
    fn name(&self) -> &'static str {
        rpc::plugin::SERVICE
    }

    async fn call(&self, _: CallContext, method: &str, payload: Bytes) -> Result<Vec<u8>, Status> {
        let got = Got {
            method: method.to_owned(),
            payload: payload.clone(),
        };
        self.0.got.push(got.clone());
        if let Some(answer) = (self.0.act)(got).await {
            return answer;
        }
        match method {
            "Configure" => Ok(api::ConfigureResponse {
                events: self.0.events,
                failure_policy: self.0.wish,
            }
            .encode_to_vec()),
            "Synchronize" => {
                let more = api::SynchronizeRequest::decode(payload).unwrap().more;
                Ok(api::SynchronizeResponse {
                    more,
                    update: Vec::new(),
                }
                .encode_to_vec())
            }
            "Shutdown" | "StateChange" => Ok(Vec::new()),
            event => Event::ALL
                .into_iter()
                .find(|known| known.name() == event)
                .map(|event| Response::empty(event).encode())
                .ok_or_else(|| Status::unknown_method(event)),
        }
    }
}

pub(crate) fn usual() -> Act {
    Arc::new(|_| Box::pin(async { None }))
}

/// Acts on one method only.
pub(crate) fn on<F, R>(method: &str, act: F) -> Act
where
    F: Fn(Got) -> R + Send + Sync + 'static,
    R: Future<Output = Option<Result<Vec<u8>, Status>>> + Send + 'static,
{
    let method = method.to_owned();
    Arc::new(move |got| {
        if got.method == method {
            Box::pin(act(got))
        } else {
            Box::pin(async { None })
        }
    })
}

impl Fake {
    pub(crate) fn new(id: &str, events: &[Event]) -> Self {
        let (index, name) = id.split_once('-').unwrap();
        Self {
            index: index.to_owned(),
            name: name.to_owned(),
            events: events
                .iter()
                .copied()
                .collect::<nri_core::EventMask>()
                .bits(),
            wish: None,
            act: usual(),
            got: Arc::default(),
            limits: Limits::default(),
        }
    }

    /// With other bounds on its end of the connection.
    pub(crate) fn limited(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Says what is to happen when it does not answer.
    pub(crate) fn wishing(mut self, fail_request: bool, keep_connected: bool) -> Self {
        self.wish = Some(api::FailurePolicy {
            fail_request,
            keep_connected,
        });
        self
    }

    pub(crate) fn all_events(id: &str) -> Self {
        // Without validation: it makes a creation two calls.
        let events = Event::ALL
            .into_iter()
            .filter(|e| *e != Event::ValidateContainerAdjustment);
        Self::new(id, &events.collect::<Vec<_>>())
    }

    pub(crate) fn acting(mut self, act: Act) -> Self {
        self.act = act;
        self
    }

    pub(crate) fn on<F, R>(self, method: &str, act: F) -> Self
    where
        F: Fn(Got) -> R + Send + Sync + 'static,
        R: Future<Output = Option<Result<Vec<u8>, Status>>> + Send + 'static,
    {
        self.acting(on(method, act))
    }

    /// Connects without registering.
    pub(crate) async fn connect(&self, world: &World) -> Peer {
        let stream = UnixStream::connect(world.socket()).await.unwrap();
        self.over(stream)
    }

    pub(crate) fn over(&self, stream: UnixStream) -> Peer {
        let connection = Connection::builder(Role::Plugin)
            .limits(self.limits.clone())
            .serve(Served(self.clone()))
            .start(stream);
        let runtime = RuntimeClient::new(connection.client());
        Peer {
            connection,
            runtime,
            fake: self.clone(),
        }
    }

    /// Connects and registers, and waits until it is ready.
    pub(crate) async fn join(&self, world: &World) -> Peer {
        let notice = format!("synchronized {}-{}", self.index, self.name);
        // It may have been there before.
        let notices = world.observer.notices.all();
        let before = notices.iter().filter(|n| n.starts_with(&notice)).count();
        let peer = self.connect(world).await;
        peer.register().await.unwrap();
        world.observer.wait_for_count(&notice, before + 1).await;
        peer
    }

    /// What it got beside the handshake, briefly.
    pub(crate) fn events_seen(&self) -> Vec<String> {
        let handshake = ["Configure", "Synchronize", "Shutdown"];
        let got = self.got.all();
        got.iter()
            .map(Got::brief)
            .filter(|brief| !handshake.contains(&brief.as_str()))
            .collect()
    }

    /// What it was shown when it joined.
    pub(crate) fn shown(&self) -> (Vec<String>, Vec<String>) {
        let (mut pods, mut containers) = (Vec::new(), Vec::new());
        for got in self
            .got
            .all()
            .iter()
            .filter(|got| got.method == "Synchronize")
        {
            let part = api::SynchronizeRequest::decode(&*got.payload).unwrap();
            pods.extend(part.pods.into_iter().map(|pod| pod.id));
            containers.extend(part.containers.into_iter().map(|container| container.id));
        }
        (pods, containers)
    }
}

impl Peer {
    pub(crate) async fn register(&self) -> Result<api::Empty, CallError> {
        let request = api::RegisterPluginRequest {
            plugin_name: self.fake.name.clone(),
            plugin_idx: self.fake.index.clone(),
            nri_version: "v0.12.5".into(),
        };
        self.runtime
            .register_plugin(&request, CallOptions::timeout(TEST_TIMEOUT))
            .await
    }

    pub(crate) async fn update(
        &self,
        update: Vec<api::ContainerUpdate>,
        evict: Vec<api::ContainerEviction>,
    ) -> Result<Vec<api::ContainerUpdate>, CallError> {
        let request = api::UpdateContainersRequest { update, evict };
        let response = self
            .runtime
            .update_containers(&request, CallOptions::timeout(TEST_TIMEOUT))
            .await?;
        Ok(response.failed)
    }

    /// Waits until the runtime has closed the connection.
    pub(crate) async fn closed(&self) -> String {
        tokio::time::timeout(TEST_TIMEOUT, self.connection.closed())
            .await
            .unwrap()
            .to_string()
    }
}

/// A plugin's way back to the runtime, for use inside its handlers: known once it has connected.
#[derive(Clone, Default)]
pub(crate) struct Way(Arc<Mutex<Option<RuntimeClient>>>);

impl Way {
    pub(crate) fn lead_to(&self, peer: &Peer) {
        *self.0.lock().unwrap() = Some(peer.runtime.clone());
    }

    pub(crate) async fn update(
        &self,
        update: Vec<api::ContainerUpdate>,
    ) -> Result<Vec<api::ContainerUpdate>, CallError> {
        let client = self.0.lock().unwrap().clone().unwrap();
        let request = api::UpdateContainersRequest {
            update,
            evict: Vec::new(),
        };
        let response = client
            .update_containers(&request, CallOptions::timeout(TEST_TIMEOUT))
            .await?;
        Ok(response.failed)
    }
}

pub(crate) type OnUpdate =
    Arc<dyn Fn(api::ContainerUpdate) -> Boxed<Result<(), DomainError>> + Send + Sync>;
pub(crate) type OnEvict =
    Arc<dyn Fn(api::ContainerEviction) -> Boxed<Result<(), DomainError>> + Send + Sync>;

/// A domain that a test holds in its hands.
#[derive(Default)]
pub(crate) struct DomainState {
    pub(crate) pods: Mutex<BTreeMap<String, api::PodSandbox>>,
    pub(crate) containers: Mutex<BTreeMap<String, api::Container>>,
    pub(crate) updates: Log<api::ContainerUpdate>,
    pub(crate) evictions: Log<api::ContainerEviction>,
    pub(crate) on_update: Mutex<Option<OnUpdate>>,
    pub(crate) on_evict: Mutex<Option<OnEvict>>,
    /// How often it was asked what there is.
    listed: Log<()>,
    listing: Arc<tokio::sync::RwLock<()>>,
}

impl DomainState {
    /// Has it list nothing as long as the guard lives.
    pub(crate) fn hold_lists(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.listing).try_write_owned().unwrap()
    }

    /// Waits until it was asked what there is.
    pub(crate) async fn asked_for_lists(&self) {
        self.listed.wait("a list", |asked| !asked.is_empty()).await;
    }
}

pub(crate) struct TestDomain(pub(crate) Arc<DomainState>);

#[async_trait]
impl Domain for TestDomain {
    fn name(&self) -> &str {
        "test"
    }
    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        self.0.listed.push(());
        let _may_list = self.0.listing.read().await;
        let pods = self.0.pods.lock().unwrap();
        Ok(pods
            .values()
            .map(|pod| Arc::new(pod.clone()) as Arc<dyn PodSandbox>)
            .collect())
    }
    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let containers = self.0.containers.lock().unwrap();
        Ok(containers
            .values()
            .map(|c| Arc::new(c.clone()) as Arc<dyn Container>)
            .collect())
    }
    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        let pods = self.0.pods.lock().unwrap();
        pods.get(id)
            .map(|pod| Arc::new(pod.clone()) as Arc<dyn PodSandbox>)
    }
    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        let containers = self.0.containers.lock().unwrap();
        containers
            .get(id)
            .map(|c| Arc::new(c.clone()) as Arc<dyn Container>)
    }
    async fn update_container(
        &self,
        _: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        self.0.updates.push(update.clone());
        let act = self.0.on_update.lock().unwrap().clone();
        match act {
            Some(act) => act(update.clone()).await,
            None => Ok(()),
        }
    }
    async fn evict_container(
        &self,
        _: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        self.0.evictions.push(eviction.clone());
        let act = self.0.on_evict.lock().unwrap().clone();
        match act {
            Some(act) => act(eviction.clone()).await,
            None => Ok(()),
        }
    }
}

/// An instance with a directory, a domain and an observer of its own.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) nri: Nri,
    pub(crate) domain: Arc<DomainState>,
    pub(crate) observer: Arc<Recorder>,
}

impl World {
    pub(crate) fn config(dir: &tempfile::TempDir) -> Config {
        let mut config = Config::default();
        config.socket_path = dir.path().join("nri.sock");
        config.plugin_path = dir.path().join("plugins");
        config.plugin_config_path = dir.path().join("conf.d");
        // Nobody is late, on a machine however busy, unless a test says so.
        config.plugin_registration_timeout = TEST_TIMEOUT;
        config.plugin_request_timeout = TEST_TIMEOUT;
        config
    }

    pub(crate) fn built(configure: impl FnOnce(&mut Config)) -> Self {
        Self::with(configure, |builder| builder)
    }

    pub(crate) fn with(
        configure: impl FnOnce(&mut Config),
        build: impl FnOnce(nri_adaptation::Builder) -> nri_adaptation::Builder,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Self::config(&dir);
        configure(&mut config);
        let domain = Arc::new(DomainState::default());
        let observer = Arc::new(Recorder::default());
        let builder = Nri::builder(config)
            .runtime("test-runtime", "1.2.3")
            .domain(Arc::new(TestDomain(Arc::clone(&domain))))
            .observer(observer.clone());
        let nri = build(builder).build().unwrap();
        Self {
            dir,
            nri,
            domain,
            observer,
        }
    }

    pub(crate) async fn started() -> Self {
        Self::started_with(|_| {}).await
    }

    pub(crate) async fn started_with(configure: impl FnOnce(&mut Config)) -> Self {
        let world = Self::built(configure);
        world.nri.start().await.unwrap();
        world
    }

    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.nri.config().socket_path.clone()
    }

    /// Runs a pod, and has the domain list it.
    pub(crate) async fn pod(&self, id: &str) -> api::PodSandbox {
        let pod = pod(id);
        self.nri.run_pod_sandbox(&Ctx::new(), &pod).await.unwrap();
        self.domain
            .pods
            .lock()
            .unwrap()
            .insert(id.to_owned(), pod.clone());
        pod
    }

    /// Creates a container, and has the domain list it.
    pub(crate) async fn container(&self, pod: &api::PodSandbox, id: &str) -> api::Container {
        let container = container(pod, id);
        let creation = self
            .nri
            .create_container(&Ctx::new(), pod, &container)
            .await
            .unwrap();
        self.list(&container);
        creation.commit();
        container
    }

    pub(crate) fn list(&self, container: &api::Container) {
        let mut containers = self.domain.containers.lock().unwrap();
        containers.insert(container.id.clone(), container.clone());
    }

    /// Waits until a plugin has got something, briefly.
    pub(crate) async fn seen(&self, fake: &Fake, brief: &str) {
        fake.got
            .wait(brief, |got| got.iter().any(|got| got.brief() == brief))
            .await;
    }
}

pub(crate) fn pod(id: &str) -> api::PodSandbox {
    api::PodSandbox {
        id: id.into(),
        name: format!("{id}-name"),
        namespace: "default".into(),
        ..Default::default()
    }
}

pub(crate) fn container(pod: &api::PodSandbox, id: &str) -> api::Container {
    api::Container {
        id: id.into(),
        pod_sandbox_id: pod.id.clone(),
        name: format!("{id}-name"),
        state: api::ContainerState::ContainerCreated.into(),
        ..Default::default()
    }
}

/// An update of a container's memory limit.
pub(crate) fn memory(id: &str, limit: i64) -> api::ContainerUpdate {
    let memory = api::LinuxMemory {
        limit: Some(api::OptionalInt64 { value: limit }),
        ..Default::default()
    };
    api::ContainerUpdate {
        container_id: id.into(),
        linux: Some(api::LinuxContainerUpdate {
            resources: Some(api::LinuxResources {
                memory: Some(memory),
                ..Default::default()
            }),
        }),
        ignore_failure: false,
    }
}

/// An adjustment with one annotation.
pub(crate) fn annotate(key: &str, value: &str) -> Vec<u8> {
    let mut adjust = api::ContainerAdjustment::default();
    adjust.annotations.insert(key.into(), value.into());
    api::CreateContainerResponse {
        adjust: Some(adjust),
        ..Default::default()
    }
    .encode_to_vec()
}
