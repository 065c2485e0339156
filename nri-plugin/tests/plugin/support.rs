//! A runtime played by hand: it listens, and the test decides what it answers and asks, and when.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nri_plugin::{Builder, Event, Handlers, HandlersBuilder, Plugin, Runner, api, handlers};
use nri_proto::transport::{
    CallContext, CallError, CallOptions, Client, Connection, PluginClient, Role, RuntimeServer,
    RuntimeService, Status,
};
use prost::Message as _;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// Fails a test that hangs. Generous: the machine may be loaded.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("the test hangs")
}

pub(crate) fn soon() -> CallOptions {
    CallOptions::timeout(Duration::from_secs(60))
}

/// A socket that plugins connect to.
pub(crate) struct Socket {
    directory: TempDir,
    listener: UnixListener,
}

impl Socket {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("nri.sock")).unwrap();
        Self {
            directory,
            listener,
        }
    }

    /// Listens anew on the path, which must be free.
    pub(crate) fn listen_again(&mut self) {
        self.listener = UnixListener::bind(self.path()).unwrap();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("nri.sock")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The next plugin that connects.
    pub(crate) async fn accept(&self) -> Runtime {
        let (stream, _) = within(self.listener.accept()).await.unwrap();
        Runtime::on(stream)
    }

    /// Whether a plugin waits to be accepted now.
    pub(crate) async fn someone_waits(&self) -> bool {
        tokio::time::timeout(Duration::ZERO, self.listener.accept())
            .await
            .is_ok()
    }
}

/// A request of the plugin, to be answered.
pub(crate) struct Asked<Q, A> {
    pub(crate) request: Q,
    answer: oneshot::Sender<Result<A, Status>>,
}

impl<Q, A> Asked<Q, A> {
    pub(crate) fn answer(self, answer: Result<A, Status>) {
        let _ = self.answer.send(answer);
    }
}

/// The runtime's end of one connection.
pub(crate) struct Runtime {
    pub(crate) connection: Connection,
    pub(crate) plugin: PluginClient,
    registrations: mpsc::UnboundedReceiver<Asked<api::RegisterPluginRequest, api::Empty>>,
    updates:
        mpsc::UnboundedReceiver<Asked<api::UpdateContainersRequest, api::UpdateContainersResponse>>,
}

impl Runtime {
    pub(crate) fn on(stream: UnixStream) -> Self {
        let (register, registrations) = mpsc::unbounded_channel();
        let (update, updates) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk { register, update });
        let connection = Connection::builder(Role::Runtime)
            .serve(RuntimeServer::new(desk))
            .start(stream);
        Self {
            plugin: PluginClient::new(connection.client()),
            connection,
            registrations,
            updates,
        }
    }

    /// The plugin's registration, to be answered.
    pub(crate) async fn registration(&mut self) -> Asked<api::RegisterPluginRequest, api::Empty> {
        within(self.registrations.recv())
            .await
            .expect("the plugin registers")
    }

    /// The plugin's unsolicited update, to be answered.
    pub(crate) async fn update(
        &mut self,
    ) -> Asked<api::UpdateContainersRequest, api::UpdateContainersResponse> {
        within(self.updates.recv())
            .await
            .expect("the plugin updates")
    }

    pub(crate) async fn configure(
        &self,
        request: api::ConfigureRequest,
    ) -> Result<api::ConfigureResponse, CallError> {
        within(self.plugin.configure(&request, soon())).await
    }

    pub(crate) async fn synchronize(
        &self,
        request: api::SynchronizeRequest,
    ) -> Result<api::SynchronizeResponse, CallError> {
        within(self.plugin.synchronize(&request, soon())).await
    }

    /// Registration, Configure and an empty Synchronize; returns the plugin's event mask.
    pub(crate) async fn admit(&mut self) -> i32 {
        self.registration().await.answer(Ok(api::Empty {}));
        let events = self.configure(current("")).await.unwrap().events;
        self.synchronize(api::SynchronizeRequest::default())
            .await
            .unwrap();
        events
    }

    /// Sends a request with an event's method.
    pub(crate) async fn send(&self, event: Event, payload: Vec<u8>) -> Result<Vec<u8>, CallError> {
        let client: &Client = self.plugin.client();
        let service = nri_proto::rpc::plugin::SERVICE;
        let call = client.call_encoded(service, event.name(), payload.into(), soon());
        within(call).await.map(|payload| payload.to_vec())
    }
}

struct Desk {
    register: mpsc::UnboundedSender<Asked<api::RegisterPluginRequest, api::Empty>>,
    update:
        mpsc::UnboundedSender<Asked<api::UpdateContainersRequest, api::UpdateContainersResponse>>,
}

async fn ask<Q, A>(to: &mpsc::UnboundedSender<Asked<Q, A>>, request: Q) -> Result<A, Status> {
    let (answer, answered) = oneshot::channel();
    let _ = to.send(Asked { request, answer });
    match answered.await {
        Ok(answer) => answer,
        // The test does not answer this one.
        Err(_) => std::future::pending().await,
    }
}

#[async_trait]
impl RuntimeService for Desk {
    async fn register_plugin(
        &self,
        _: CallContext,
        request: api::RegisterPluginRequest,
    ) -> Result<api::Empty, Status> {
        ask(&self.register, request).await
    }

    async fn update_containers(
        &self,
        _: CallContext,
        request: api::UpdateContainersRequest,
    ) -> Result<api::UpdateContainersResponse, Status> {
        ask(&self.update, request).await
    }
}

/// The request of any event, about a pod and a container of which nothing is known.
pub(crate) fn of_nothing() -> Vec<u8> {
    let request = api::CreateContainerRequest {
        pod: Some(api::PodSandbox::default()),
        container: Some(api::Container::default()),
    };
    request.encode_to_vec()
}

/// What a current runtime says.
pub(crate) fn current(config: &str) -> api::ConfigureRequest {
    api::ConfigureRequest {
        config: config.into(),
        runtime_name: "by-hand".into(),
        runtime_version: "v1.2.3".into(),
        registration_timeout: 5000,
        request_timeout: 2000,
        nri_version: "v0.12.5".into(),
    }
}

/// A plugin that runs on a socket, without looking at the environment.
pub(crate) fn on(socket: &Socket, plugin: impl Plugin) -> Builder {
    Runner::builder(plugin)
        .identity("10-test")
        .use_environment(false)
        .socket(socket.path())
}

/// A plugin with one event.
pub(crate) fn simple() -> Handlers {
    one_event().build()
}

pub(crate) fn one_event() -> HandlersBuilder {
    handlers().on_run_pod_sandbox(|_, _| async { Ok(()) })
}

/// A plugin that runs, and the runtime's end of its connection.
pub(crate) async fn running(
    plugin: impl Plugin,
) -> (
    Runtime,
    tokio::task::JoinHandle<Result<nri_plugin::Ended, nri_plugin::Error>>,
) {
    let socket = Socket::new();
    let run = tokio::spawn(on(&socket, plugin).build().unwrap().run());
    let mut runtime = socket.accept().await;
    runtime.admit().await;
    (runtime, run)
}
