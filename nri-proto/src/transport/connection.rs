//! A connection: both logical connections over one stream.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

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
    before: Detached,
}

/// What [`Connection::detach`] leaves of a connection: with its stream, all that is needed to go on
/// with it in another process. The default is a connection that has just been made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detached {
    /// What was read and was no whole message: to be read again, before the stream.
    pub unread: Vec<u8>,
    /// How many ids this side has given to calls.
    pub calls: u32,
    /// The highest id that the peer has given to a call.
    pub requests: u32,
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

    /// Goes on with a connection that was [detached](Connection::detach), on its stream.
    #[must_use]
    pub fn go_on(mut self, before: Detached) -> Self {
        self.before = before;
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
        let Detached {
            unread,
            calls,
            requests,
        } = self.before;
        {
            let mut queues = shared.queues();
            queues.calls.go_on(calls);
            queues.answers.go_on(requests);
        }
        let read: Box<dyn AsyncRead + Send + Unpin> = match unread.is_empty() {
            true => Box::new(read),
            false => Box::new(Cursor::new(unread).chain(read)),
        };
        let alive = Arc::new(Alive(Arc::clone(&shared)));
        let server = Server(self.services.into());
        let part = self.incomplete.map(|bytes| bytes.part(&shared));
        let turns = Arc::new(Turns::new(read, Arc::clone(&alive), part));
        for turn in [Turn::First, Turn::Second] {
            let (turns, shared) = (Arc::clone(&turns), Arc::clone(&shared));
            tokio::spawn(reader::run(turns, turn, shared, server.clone()));
        }
        tokio::spawn(writer::run(alive));
        Connection {
            handle: Arc::new(Handle(shared, turns)),
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
struct Handle(Arc<Shared>, Arc<Turns>);

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
            before: Detached::default(),
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

    /// Ends the connection and leaves its stream open, for another process that has a descriptor of
    /// it to [go on](ConnectionBuilder::go_on): the peer notices nothing.
    ///
    /// It waits until this side's calls have ended, reads nothing more, and waits until the
    /// requests that have come are answered. Calls that are begun meanwhile wait, and fail with
    /// [`CloseReason::Local`] in the end. If it is dropped before it is done, the connection goes
    /// on as if nothing had been: give it a bounded time, as a handler may never be done.
    ///
    /// `None` if the connection is closed, or a message is arriving that is too long to be kept.
    ///
    /// ```
    /// use nri_proto::transport::{Connection, Role, Socket};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// let same = ours.try_clone()?; // goes to the other process
    /// let socket = |stream| tokio::net::UnixStream::from_std(stream).map(Socket::new);
    /// let connection = Connection::builder(Role::Plugin).start(socket(ours)?);
    /// let before = connection.detach().await.expect("nothing is under way");
    /// let connection = Connection::builder(Role::Plugin).go_on(before).start(socket(same)?);
    /// assert_eq!(connection.close_reason(), None);
    /// # Ok::<(), std::io::Error>(())
    /// # })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn detach(&self) -> Option<Detached> {
        let Handle(shared, turns) = &*self.handle;
        let _places = shared.no_calls().await?;
        let paused = turns.pause();
        shared.all_written().await;
        if shared.close_reason().is_some() {
            return None;
        }
        let unread = turns.let_go(shared)?;
        let before = {
            let queues = shared.queues();
            Detached {
                unread,
                calls: queues.calls.used(),
                requests: queues.answers.highest(),
            }
        };
        shared.detach();
        shared.closed().await;
        drop(paused);
        Some(before)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::transport::{CallContext, CallOptions, CloseReason, Status};

    /// Answers each call with what it is called with, and counts.
    struct Echo(Arc<AtomicUsize>);

    #[async_trait::async_trait]
    impl Service for Echo {
        fn name(&self) -> &'static str {
            "echo"
        }

        async fn call(&self, _: CallContext, _: &str, payload: Bytes) -> Result<Vec<u8>, Status> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(payload.to_vec())
        }
    }

    /// Calls of some lengths go to a connection that is detached once `cut` bytes have come: the
    /// next one answers what the first has not.
    async fn answered_across(lengths: Vec<usize>, cut: usize) {
        let (caller, mut sent) = tokio::io::duplex(8 << 20);
        let caller = Connection::builder(Role::Runtime).start(caller);
        let calls = lengths.iter().map(|length| {
            let (client, payload) = (caller.client(), vec![7; *length]);
            tokio::spawn(async move {
                let options = CallOptions::timeout(Duration::from_secs(60));
                client
                    .call_encoded("echo", "Echo", payload.into(), options)
                    .await
            })
        });
        let calls: Vec<_> = calls.collect();

        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let ours = ours.into_std().unwrap();
        let same = tokio::net::UnixStream::from_std(ours.try_clone().unwrap()).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        let counted = Arc::new(AtomicUsize::new(0));
        let builder = || Connection::builder(Role::Plugin).serve(Echo(Arc::clone(&counted)));
        let first = builder().start(ours);
        let (mut answers, mut requests) = theirs.into_split();
        let mut buffer = vec![0; cut];
        tokio::io::AsyncReadExt::read_exact(&mut sent, &mut buffer)
            .await
            .unwrap();
        requests.write_all(&buffer).await.unwrap();
        while first.stats().bytes_in < cut as u64 {
            tokio::task::yield_now().await;
        }
        let before = first.detach().await.unwrap();
        assert_eq!(first.close_reason(), Some(CloseReason::Local));
        let second = builder().go_on(before).start(same);
        let (mut from_caller, mut to_caller) = tokio::io::split(sent);
        let there = tokio::io::copy(&mut from_caller, &mut requests);
        let back = tokio::io::copy(&mut answers, &mut to_caller);
        let done = async {
            for (call, length) in calls.into_iter().zip(&lengths) {
                assert_eq!(call.await.unwrap().unwrap().len(), *length);
            }
        };
        tokio::select! {
            () = done => {}
            _ = there => panic!("the requests end"),
            _ = back => panic!("the answers end"),
        }
        assert_eq!(counted.load(Ordering::SeqCst), lengths.len());
        assert_eq!(second.close_reason(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Law: wherever a stream is cut, what comes is answered once, by the one connection or the
        /// other.
        #[test]
        fn a_connection_that_is_detached_goes_on_where_it_was(
            lengths in prop::collection::vec(prop_oneof![Just(0), 1_usize..300, 5_000_usize..40_000], 1..=3),
            at in 0.0..1.0,
        ) {
            // Of each call at least its payload is sent.
            let least: usize = lengths.iter().sum();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(answered_across(lengths, (least as f64 * at) as usize));
        }
    }

    #[tokio::test]
    async fn one_whose_detaching_is_given_up_goes_on() {
        let (ours, theirs) = tokio::io::duplex(4096);
        let (started, gate) = (
            Arc::new(tokio::sync::Notify::new()),
            Arc::new(tokio::sync::Notify::new()),
        );
        struct Waits(Arc<tokio::sync::Notify>, Arc<tokio::sync::Notify>);
        #[async_trait::async_trait]
        impl Service for Waits {
            fn name(&self) -> &'static str {
                "waits"
            }
            async fn call(
                &self,
                _: CallContext,
                method: &str,
                _: Bytes,
            ) -> Result<Vec<u8>, Status> {
                if method == "Long" {
                    self.0.notify_one();
                    self.1.notified().await;
                }
                Ok(Vec::new())
            }
        }
        let serving = Connection::builder(Role::Plugin)
            .serve(Waits(Arc::clone(&started), Arc::clone(&gate)))
            .start(ours);
        let caller = Connection::builder(Role::Runtime).start(theirs);
        let call = |method| {
            let client = caller.client();
            tokio::spawn(async move {
                let options = CallOptions::timeout(Duration::from_secs(60));
                client
                    .call_encoded("waits", method, Bytes::new(), options)
                    .await
            })
        };
        let long = call("Long");
        started.notified().await;
        let (short, given_up) = {
            let detaching = serving.detach();
            tokio::pin!(detaching);
            // It has begun.
            assert!(is_pending(detaching.as_mut()).await);
            let short = call("Short");
            (short, is_pending(detaching.as_mut()).await)
        };
        assert!(given_up);
        short.await.unwrap().unwrap();
        gate.notify_one();
        long.await.unwrap().unwrap();
        assert_eq!(serving.close_reason(), None);
    }

    async fn is_pending<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
        let mut future = Some(future);
        std::future::poll_fn(|cx| {
            let polled = future.take().map(|future| future.poll(cx).is_pending());
            std::task::Poll::Ready(polled == Some(true))
        })
        .await
    }
}
