//! Calls to the peer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::assembler::Incoming;
use super::error::{CallError, CloseReason};
use super::limits::MAX_MESSAGE;
use super::message::{self, PreparedRequest, RESPONSE};
use super::outbound::{CallEnd, Done, Queued, Reply, Waiter};
use super::shared::{Admission, Shared};
use super::writer::{self, timeout_nano};
use crate::{Method, Wire as _};

/// What a call may say beside its request.
///
/// ```
/// use std::time::Duration;
/// use nri_proto::transport::CallOptions;
/// let options = CallOptions::timeout(Duration::from_secs(2)).with_metadata("traceparent", "00-...");
/// assert_eq!(options.timeout, Some(Duration::from_secs(2)));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallOptions {
    /// Time for the call as a whole: queue, write and reply. The peer is told what is left of it.
    /// Default unlimited.
    pub timeout: Option<Duration>,
    /// Key and value pairs for the peer; a key may occur several times. Default none.
    pub metadata: Vec<(String, String)>,
}

impl CallOptions {
    /// Options with a timeout.
    #[must_use]
    pub fn timeout(timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            metadata: Vec::new(),
        }
    }

    /// Adds one pair of metadata.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }
}

/// Calls methods of the peer; cheap to clone, and any number of calls may run at once.
///
/// A client does not keep its connection open: the [`Connection`](super::Connection) does.
///
/// Dropping the future of a call at any point gives the call up and does the connection no harm: a
/// request that is still queued is not sent, one whose write has begun is written to its end, and
/// the reply is dropped.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.shared.client_id)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Calls a method and waits for its reply, all within `options.timeout`.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn call<M: Method>(
        &self,
        request: &M::Request,
        options: CallOptions,
    ) -> Result<M::Response, CallError> {
        let payload = request.to_wire().into();
        let reply = self
            .call_encoded(M::SERVICE, M::NAME, payload, options)
            .await?;
        M::Response::from_wire(&reply)
            .map_err(|error| CallError::Decode(format!("{}: {error}", M::NAME)))
    }

    /// Calls a method with an encoded request and returns the encoded reply, all within
    /// `options.timeout`.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn call_encoded(
        &self,
        service: &'static str,
        method: &'static str,
        payload: Bytes,
        options: CallOptions,
    ) -> Result<Bytes, CallError> {
        let deadline = Deadline::of(&options);
        let request = PreparedRequest::new(service, method, payload, &options.metadata);
        let pending = self.begin_by(request, deadline).await?;
        deadline.bound(pending).await?
    }

    /// Queues and writes a request, within `options.timeout`. When this returns, the request was
    /// handed to the transport whole, and the reply, however late, is the [`Pending`]'s.
    ///
    /// # Errors
    ///
    /// [`CallError::TooLarge`], [`CallError::DeadlineExceeded`] or [`CallError::Closed`]. In the
    /// last two cases the peer may have got the request nevertheless if its write had begun.
    ///
    /// ```no_run
    /// # async fn example(client: nri_proto::transport::Client) -> Result<(), nri_proto::transport::CallError> {
    /// use std::time::Duration;
    /// use nri_proto::transport::CallOptions;
    /// use nri_proto::{Method as _, rpc::plugin::RunPodSandbox};
    ///
    /// let two_seconds = Duration::from_secs(2);
    /// let options = CallOptions::timeout(two_seconds);
    /// let payload = bytes::Bytes::new();
    /// let mut pending = client.begin(RunPodSandbox::SERVICE, RunPodSandbox::NAME, payload, options).await?;
    /// match tokio::time::timeout(two_seconds, &mut pending).await {
    ///     Ok(reply) => println!("answered: {} bytes", reply?.len()),
    ///     // Late is not lost: whoever keeps `pending` still gets the reply.
    ///     Err(_) => println!("late"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn begin(
        &self,
        service: &'static str,
        method: &'static str,
        payload: Bytes,
        options: CallOptions,
    ) -> Result<Pending, CallError> {
        let deadline = Deadline::of(&options);
        let request = PreparedRequest::new(service, method, payload, &options.metadata);
        self.begin_by(request, deadline).await
    }

    async fn begin_by(
        &self,
        request: PreparedRequest,
        deadline: Deadline,
    ) -> Result<Pending, CallError> {
        let shared = &self.shared;
        let size = self.size_of(&request, deadline)?;
        let (place, room) = deadline.bound(shared.admit(size)).await??;

        let (reply, reply_here) = oneshot::channel();
        let (written, written_here) = oneshot::channel();
        let waiter = Waiter::new(Done::Wake(reply), Some(written), place);
        let queued = Queued {
            request,
            deadline: deadline.at,
            bytes: size,
            room,
        };
        let registered = self.enqueue(queued, waiter).map_err(|(error, _)| error)?;
        writer::write_in_this_poll(shared).await;
        let pending = Pending {
            reply: reply_here,
            registered,
        };
        match deadline.bound(written_here).await? {
            Ok(()) => Ok(pending),
            // Given up by the connection: closed, or too late when its turn came.
            Err(_) => Err(match shared.close_reason() {
                Some(reason) => CallError::Closed(reason),
                None => deadline.exceeded(),
            }),
        }
    }

    /// Begins a call without waiting for anything, and has `then` run with what comes of it: by the
    /// connection's reader where the reply is read, or by whoever closes the connection. The
    /// request is written at once if the socket takes it.
    ///
    /// `then` runs at most once, with no lock held, and must not block: nothing more is read from
    /// this connection until it returns. It may begin further calls in this way, on this
    /// connection and on others. It does not run after the returned [`Started`] is dropped,
    /// except if it has begun to run already.
    ///
    /// `options.timeout` bounds queue and write, and is told to the peer; who waits for the reply
    /// bounds that wait, as with [`Pending`].
    ///
    /// # Errors
    ///
    /// [`StartError::Crowded`] where [`begin`](Self::begin) would wait for a place; nothing was
    /// sent, and `then` never runs. So it is with the other errors.
    ///
    /// ```no_run
    /// # fn example(client: nri_proto::transport::Client) -> Result<(), nri_proto::transport::StartError> {
    /// use nri_proto::transport::CallOptions;
    /// use nri_proto::{Method as _, rpc::plugin::RunPodSandbox};
    ///
    /// let (replies, _receiver) = std::sync::mpsc::channel();
    /// let options = CallOptions::default();
    /// let payload = bytes::Bytes::new();
    /// let started = client.start(RunPodSandbox::SERVICE, RunPodSandbox::NAME, payload, options, move |end| {
    ///     let _ = replies.send(end.reply);
    /// })?;
    /// # drop(started);
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(
        &self,
        service: &'static str,
        method: &'static str,
        payload: Bytes,
        options: CallOptions,
        then: impl FnOnce(CallEnd) + Send + 'static,
    ) -> Result<Started, StartError> {
        let deadline = Deadline::of(&options);
        let request = PreparedRequest::new(service, method, payload, &options.metadata);
        let size = self.size_of(&request, deadline)?;
        let admission = self.shared.admit_now(size);
        let admission = admission.ok_or_else(|| match self.shared.close_reason() {
            Some(reason) => StartError::Call(CallError::Closed(reason)),
            None => StartError::Crowded,
        })?;
        Ok(self.started(request, deadline, size, admission, then)?)
    }

    /// The same where [`start`](Self::start) is crowded: waits for a place, within
    /// `options.timeout`, and begins the call then.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; `then` never runs.
    pub async fn start_in_turn(
        &self,
        service: &'static str,
        method: &'static str,
        payload: Bytes,
        options: CallOptions,
        then: impl FnOnce(CallEnd) + Send + 'static,
    ) -> Result<Started, CallError> {
        let deadline = Deadline::of(&options);
        let request = PreparedRequest::new(service, method, payload, &options.metadata);
        let size = self.size_of(&request, deadline)?;
        let admission = deadline.bound(self.shared.admit(size)).await??;
        self.started(request, deadline, size, admission, then)
    }

    fn started(
        &self,
        request: PreparedRequest,
        deadline: Deadline,
        size: usize,
        (place, room): Admission,
        then: impl FnOnce(CallEnd) + Send + 'static,
    ) -> Result<Started, CallError> {
        let done = Done::Run {
            then: Box::new(then),
            after: deadline.after,
        };
        let queued = Queued {
            request,
            deadline: deadline.at,
            bytes: size,
            room,
        };
        let waiter = Waiter::new(done, None, place);
        let registered = self.enqueue(queued, waiter).map_err(|(error, _)| error)?;
        // What the socket does not take is the writer task's, which is told.
        writer::write_now(&self.shared, &mut Context::from_waker(Waker::noop()));
        Ok(Started { registered })
    }

    /// The length of the message; too long a one uses up its id, as with Go peers.
    fn size_of(&self, request: &PreparedRequest, deadline: Deadline) -> Result<usize, CallError> {
        let size = request.data_len(deadline.timeout_nano());
        if size <= MAX_MESSAGE {
            return Ok(size);
        }
        let mut queues = self.shared.queues();
        if let Some(reason) = queues.closed() {
            return Err(CallError::Closed(reason.clone()));
        }
        queues.calls.take_id();
        Err(CallError::TooLarge {
            size,
            limit: MAX_MESSAGE,
        })
    }

    /// Assigns the stream id and queues the request under one lock, so that ids increase in the
    /// order of sending. Whoever calls it has it written then.
    fn enqueue(&self, queued: Queued, waiter: Waiter) -> Result<Registered, (CallError, Waiter)> {
        let shared = &self.shared;
        let mut queues = shared.queues();
        if let Some(reason) = queues.closed() {
            return Err((CallError::Closed(reason.clone()), waiter));
        }
        let Some(stream) = queues.calls.take_id() else {
            drop(queues);
            shared.close(CloseReason::IdsExhausted);
            return Err((CallError::Closed(CloseReason::IdsExhausted), waiter));
        };
        queues.calls.push(stream, queued, waiter);
        shared.count_queued(&queues);
        Ok(Registered {
            shared: Arc::clone(shared),
            stream,
        })
    }
}

/// When a call must be over.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Option<Instant>,
    after: Duration,
}

impl Deadline {
    fn of(options: &CallOptions) -> Self {
        // A timeout beyond what the clock can say is none.
        let at = options
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        Self {
            at,
            after: options.timeout.unwrap_or_default(),
        }
    }

    fn timeout_nano(self) -> i64 {
        self.at.map_or(0, |at| {
            timeout_nano(at.saturating_duration_since(Instant::now()))
        })
    }

    fn exceeded(self) -> CallError {
        CallError::DeadlineExceeded { after: self.after }
    }

    async fn bound<F: Future>(self, future: F) -> Result<F::Output, CallError> {
        match self.at {
            Some(at) => timeout_at(at, future).await.map_err(|_| self.exceeded()),
            None => Ok(future.await),
        }
    }
}

/// A call known to the connection; dropping it gives the call up.
#[derive(Debug)]
struct Registered {
    shared: Arc<Shared>,
    stream: u32,
}

impl Drop for Registered {
    fn drop(&mut self) {
        // What it holds is dropped without the lock.
        let forgotten = self.shared.queues().calls.forget(self.stream);
        drop(forgotten);
    }
}

/// A call that [`Client::start`] has begun; dropping it gives the call up.
pub struct Started {
    registered: Registered,
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started")
            .field("stream", &self.registered.stream)
            .finish_non_exhaustive()
    }
}

/// Why [`Client::start`] has begun nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// All places for calls, or all room for their bytes, are taken: [`Client::begin`] waits for
    /// them.
    #[error("too many calls are under way on this connection")]
    Crowded,
    /// What the call would have failed with.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The reply to a request that was written; a future.
///
/// It has no deadline of its own: whoever waits bounds the wait, and may go on waiting for a late
/// reply. Dropping it gives the call up.
pub struct Pending {
    reply: oneshot::Receiver<Reply>,
    registered: Registered,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("stream", &self.registered.stream)
            .finish_non_exhaustive()
    }
}

impl Future for Pending {
    type Output = Result<Bytes, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.reply)
            .poll(cx)
            .map(|reply| reply.unwrap_or_else(|_| Err(self.registered.shared.closed_error())))
    }
}

/// Takes a message that arrived on the logical connection of this side's calls: whose reply it is,
/// and the reply.
pub(super) fn on_message(
    shared: &Shared,
    message: Incoming,
) -> Result<Option<(Waiter, Reply)>, CloseReason> {
    let head = message.head;
    let mut queues = shared.queues();
    if !queues.calls.expects(head.stream) {
        let counter = match head.kind {
            RESPONSE => &shared.counters.late_replies,
            _ => &shared.counters.ignored_messages,
        };
        counter.add(1);
        return Ok(None);
    }
    if message.data.is_some() && head.kind != RESPONSE {
        return Err(CloseReason::Protocol(format!(
            "a message of type {} where stream {} awaits its response",
            head.kind, head.stream
        )));
    }
    let waiter = queues.calls.replied(head.stream);
    drop(queues);
    let reply = match message.data {
        None => {
            shared.counters.oversized_in.add(1);
            Err(CallError::ReplyTooLarge {
                size: head.len,
                limit: MAX_MESSAGE,
            })
        }
        Some(data) => message::decode_response(data)
            .map_err(CallError::Decode)
            .and_then(|result| result.map_err(CallError::Status)),
    };
    Ok(waiter.map(|waiter| (waiter, reply)))
}
