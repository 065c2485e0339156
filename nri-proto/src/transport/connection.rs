//! A connection: both logical connections over one stream.

use std::fmt;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::client::Client;
use super::error::CloseReason;
use super::incomplete::IncompleteBytes;
use super::limits::{Limits, Stats};
use super::pen::Pen;
use super::reader::{self, Turn, Turns};
use super::server::Server;
use super::service::Service;
use super::shared::{Alive, Shared};
use super::writer;
use crate::frame;

/// Which end of a connection this side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Calls the `Plugin` service and serves the `Runtime` service.
    Runtime,
    /// Calls the `Runtime` service and serves the `Plugin` service.
    Plugin,
}

/// How a connection will be; made by [`Connection::builder`].
pub struct ConnectionBuilder {
    role: Role,
    limits: Limits,
    incomplete: Option<IncompleteBytes>,
    services: Vec<Box<dyn Service>>,
}

impl fmt::Debug for ConnectionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: Vec<_> = self.services.iter().map(|service| service.name()).collect();
        f.debug_struct("ConnectionBuilder")
            .field("role", &self.role)
            .field("limits", &self.limits)
            .field("services", &services)
            .finish()
    }
}

impl ConnectionBuilder {
    /// Sets the bounds of the connection; without it they are [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Bounds what this connection and others hold together of messages that have not arrived
    /// whole; without it, each connection may hold two of the greatest length.
    #[must_use]
    pub fn incomplete(mut self, bytes: &IncompleteBytes) -> Self {
        self.incomplete = Some(bytes.clone());
        self
    }

    /// Serves a service. Without any, every request is answered with code 12.
    #[must_use]
    pub fn serve(mut self, service: impl Service) -> Self {
        self.services.push(Box::new(service));
        self
    }

    /// Starts to read and write `stream`, in three tasks: two take turns at reading.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, or in one without time enabled.
    #[must_use = "dropping the connection closes it"]
    pub fn start<S>(self, stream: S) -> Connection
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (client_id, server_id) = match self.role {
            Role::Runtime => (frame::PLUGIN_ID, frame::RUNTIME_ID),
            Role::Plugin => (frame::RUNTIME_ID, frame::PLUGIN_ID),
        };
        let (read, write) = tokio::io::split(stream);
        let pen = Pen::new(Box::new(write));
        let shared = Arc::new(Shared::new(client_id, server_id, self.limits, pen));
        let alive = Arc::new(Alive(Arc::clone(&shared)));
        let server = Server(self.services.into());
        let part = self.incomplete.map(|bytes| bytes.part(&shared));
        let turns = Arc::new(Turns::new(Box::new(read), Arc::clone(&alive), part));
        for turn in [Turn::First, Turn::Second] {
            let (turns, shared) = (Arc::clone(&turns), Arc::clone(&shared));
            tokio::spawn(reader::run(turns, turn, shared, server.clone()));
        }
        tokio::spawn(writer::run(alive));
        Connection {
            handle: Arc::new(Handle(shared)),
        }
    }
}

/// One connection between a runtime and a plugin: a client for the peer's service, and the peer
/// served.
///
/// Cheap to clone. Dropping the last clone closes it, as [`close`](Self::close) does.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use nri_proto::api;
/// use nri_proto::transport::{
///     CallContext, CallOptions, CloseReason, Connection, PluginClient, PluginServer, PluginService, Role, Status,
/// };
///
/// struct Quiet;
///
/// #[async_trait::async_trait]
/// impl PluginService for Quiet {
///     async fn configure(
///         &self,
///         _: CallContext,
///         _: api::ConfigureRequest,
///     ) -> Result<api::ConfigureResponse, Status> {
///         Ok(api::ConfigureResponse { events: 1, ..Default::default() })
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let (ours, theirs) = tokio::io::duplex(4096);
/// let plugin = Connection::builder(Role::Plugin).serve(PluginServer::new(Arc::new(Quiet))).start(theirs);
/// let runtime = Connection::builder(Role::Runtime).start(ours);
///
/// let client = PluginClient::new(runtime.client());
/// let options = CallOptions::timeout(Duration::from_secs(2));
/// let response = client.configure(&api::ConfigureRequest::default(), options).await?;
/// assert_eq!(response.events, 1);
///
/// runtime.close();
/// assert_eq!(plugin.closed().await, CloseReason::PeerClosed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Connection {
    handle: Arc<Handle>,
}

/// Closes the connection with the last clone of it.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close(CloseReason::Local);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("stats", &self.stats())
            .field("close_reason", &self.close_reason())
            .finish()
    }
}

impl Connection {
    /// Begins to describe a connection.
    #[must_use]
    pub fn builder(role: Role) -> ConnectionBuilder {
        ConnectionBuilder {
            role,
            limits: Limits::default(),
            incomplete: None,
            services: Vec::new(),
        }
    }

    /// A client for the peer's service; see [`PluginClient`](super::PluginClient) and
    /// [`RuntimeClient`](super::RuntimeClient) for typed ones.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(Arc::clone(&self.handle.0))
    }

    /// Closes the connection: calls under way fail with [`CloseReason::Local`], requests that are
    /// queued are dropped, handlers are dropped, reading stops. A message whose write has
    /// begun, and the answers that are ready, are still written, for at most a second. Returns
    /// at once; [`closed`](Self::closed) waits for the end.
    pub fn close(&self) {
        self.handle.0.close(CloseReason::Local);
    }

    /// Waits until no request of the peer is in progress: every answer is written, or the
    /// connection closes. To close without cutting off an answer, wait for this first, for a
    /// bounded time: a handler may never be done. May be dropped at any time.
    pub async fn answered(&self) {
        self.handle.0.answered().await;
    }

    /// Waits until the connection is closed and both directions are down, and says why. Any number
    /// of tasks may wait, and may stop waiting.
    pub async fn closed(&self) -> CloseReason {
        self.handle.0.closed().await
    }

    /// Why the connection is closed or closing; `None` while it works.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.handle.0.close_reason()
    }

    /// From now on the peer may send any number of bytes; see [`Limits::byte_budget`].
    pub fn lift_budget(&self) {
        self.handle.0.lift_budget();
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.0.stats()
    }
}
