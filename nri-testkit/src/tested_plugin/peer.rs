//! The runtime's end of a plugin's connection. What may not enter: any rule about what a plugin
//! must do.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use nri_core::{Event, Request, Response, api};
use nri_proto::rpc;
use nri_proto::transport::{
    CallContext, CallError, CallOptions, Client, Code, Connection, Pending, Role, RuntimeServer,
    RuntimeService, Status,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// How the runtime's end behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    /// How long the answer to a registration takes.
    pub(crate) delay: Duration,
    /// Registrations are refused with this text.
    pub(crate) refusal: Option<&'static str>,
    /// Unsolicited updates all fail.
    pub(crate) updates_fail: bool,
    /// So many bytes are written at a time; 0 is as many as there are.
    pub(crate) pieces: usize,
    /// What unsolicited updates are answered with, the first with the first.
    pub(crate) answers: Vec<api::UpdateContainersResponse>,
}

/// What the plugin asked of the runtime.
#[derive(Debug)]
struct Inbox {
    manner: Manner,
    registrations: watch::Sender<Vec<api::RegisterPluginRequest>>,
    updates: Mutex<Vec<api::UpdateContainersRequest>>,
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// In words.
    pub(crate) what: String,
    /// The plugin said no, in as many words: an error of its own.
    pub(crate) status: Option<Status>,
}

impl Fault {
    /// Whether it came of something that went wrong in the plugin, and not of its decision.
    pub(crate) fn is_breakdown(&self) -> bool {
        self.refusal().is_none_or(|code| code == Code::Internal)
    }

    /// The code of the plugin's own error.
    pub(crate) fn refusal(&self) -> Option<Code> {
        self.status.as_ref().map(|status| status.code)
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.what
    }
}

/// The runtime's end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    connection: Connection,
    client: Client,
    inbox: Arc<Inbox>,
    /// A second descriptor of the same stream.
    raw: StdStream,
    timeout: Duration,
}

impl Peer {
    /// On a stream, with so much time for each request.
    pub(crate) fn on(
        stream: UnixStream,
        manner: Manner,
        timeout: Duration,
    ) -> Result<Self, String> {
        Self::start(stream, manner, timeout).map_err(|error| format!("the connection: {error}"))
    }

    fn start(stream: UnixStream, manner: Manner, timeout: Duration) -> io::Result<Self> {
        let stream = stream.into_std()?;
        let raw = stream.try_clone()?;
        let stream = UnixStream::from_std(stream)?;
        let pieces = manner.pieces;
        let inbox = Arc::new(Inbox {
            manner,
            registrations: watch::Sender::new(Vec::new()),
            updates: Mutex::default(),
        });
        let builder =
            Connection::builder(Role::Runtime).serve(RuntimeServer::new(Arc::clone(&inbox)));
        let connection = match pieces {
            0 => builder.start(stream),
            size => builder.start(in_pieces(stream, size)),
        };
        Ok(Self {
            client: connection.client(),
            connection,
            inbox,
            raw,
            timeout,
        })
    }

    /// Waits for a registration.
    pub(crate) async fn registered(
        &self,
        within: Duration,
    ) -> Result<api::RegisterPluginRequest, String> {
        let mut registrations = self.inbox.registrations.subscribe();
        let comes = registrations.wait_for(|all| !all.is_empty());
        let came = tokio::select! {
            // One that registers, is refused and leaves at once has registered.
            biased;
            came = tokio::time::timeout(within, comes) => came,
            reason = self.connection.closed() => {
                return Err(format!("it did not register; the connection is {reason}"));
            }
        };
        match came {
            Ok(Ok(all)) => Ok(all[0].clone()),
            _ => Err(format!("it did not register within {within:?}")),
        }
    }

    /// How often it has registered.
    pub(crate) fn registrations(&self) -> usize {
        self.inbox.registrations.borrow().len()
    }

    /// What it asked for of its own accord.
    pub(crate) fn updates(&self) -> Vec<api::UpdateContainersRequest> {
        let updates = self.inbox.updates.lock();
        updates.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls a method.
    pub(crate) async fn call(
        &self,
        method: &'static str,
        payload: impl Into<Bytes>,
    ) -> Result<Bytes, Fault> {
        let options = CallOptions::timeout(self.timeout);
        let service = rpc::plugin::SERVICE;
        let called = self
            .client
            .call_encoded(service, method, payload.into(), options);
        called.await.map_err(|error| fault(method, &error))
    }

    /// Sends a request; the answer, however late, is the caller's.
    pub(crate) async fn begin(
        &self,
        method: &'static str,
        payload: Bytes,
    ) -> Result<Pending, Fault> {
        let options = CallOptions::timeout(self.timeout);
        let began = self
            .client
            .begin(rpc::plugin::SERVICE, method, payload, options);
        began.await.map_err(|error| fault(method, &error))
    }

    /// Waits for the answer to a request that was sent.
    pub(crate) async fn finish(
        &self,
        method: &str,
        pending: Pending,
        within: Duration,
    ) -> Result<Bytes, Fault> {
        let late = CallError::DeadlineExceeded { after: within };
        let answer = tokio::time::timeout(within, pending).await;
        answer
            .unwrap_or(Err(late))
            .map_err(|error| fault(method, &error))
    }

    /// Calls a method for a message.
    pub(crate) async fn get<M: prost::Message + Default>(
        &self,
        method: &'static str,
        request: &impl prost::Message,
    ) -> Result<M, Fault> {
        let answer = self.call(method, request.encode_to_vec()).await?;
        M::decode(answer).map_err(|error| no_message(method, &error))
    }

    /// Asks about an event.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Response, Fault> {
        let event = request.event();
        self.ask_encoded(event, request.encode())
            .await
            .map_err(|fault| Fault {
                what: format!("{} ({})", fault.what, request.subject()),
                ..fault
            })
    }

    /// Asks about an event with these bytes; by `StateChange`, as runtimes do, where the plugin is
    /// older than the event's own method.
    pub(crate) async fn ask_encoded(
        &self,
        event: Event,
        payload: Vec<u8>,
    ) -> Result<Response, Fault> {
        let payload = Bytes::from(payload);
        let answer = match self.call(event.name(), payload.clone()).await {
            Err(fault) if fault.refusal() == Some(Code::Unimplemented) => {
                let request = Request::decode(event, &payload).ok();
                let Some(change) = request.and_then(|request| request.to_state_change()) else {
                    return Err(fault);
                };
                self.get::<api::Empty>("StateChange", &change).await?;
                return Ok(Response::empty(event));
            }
            answer => answer?,
        };
        Response::decode(event, &answer).map_err(|error| no_message(event.name(), &error))
    }

    /// Closes the connection.
    pub(crate) fn close(&self) {
        self.connection.close();
        // The second descriptor keeps the stream open. It fails if the plugin was first.
        let _ = self.raw.shutdown(std::net::Shutdown::Both);
    }

    /// Whether the connection is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    /// Writes bytes as they are, when nothing else is written, and ends the stream.
    pub(crate) fn tear(&self, bytes: &[u8]) -> io::Result<()> {
        let mut raw = &self.raw;
        io::Write::write_all(&mut raw, bytes)?;
        self.raw.shutdown(std::net::Shutdown::Both)
    }
}

/// Why a call has no answer.
fn fault(method: &str, error: &CallError) -> Fault {
    let status = match error {
        CallError::Status(status) => Some(status.clone()),
        _ => None,
    };
    let what = match error {
        CallError::Status(status) => format!("{method} was answered with an error: {status}"),
        CallError::DeadlineExceeded { after } => {
            format!("{method} was not answered within {after:?}")
        }
        other => format!("{method} was not answered: {other}"),
    };
    Fault { what, status }
}

fn no_message(method: &str, error: &prost::DecodeError) -> Fault {
    Fault {
        what: format!("{method} was answered with what is no message of it: {error}"),
        status: None,
    }
}

#[async_trait]
impl RuntimeService for Inbox {
    async fn register_plugin(
        &self,
        _: CallContext,
        request: api::RegisterPluginRequest,
    ) -> Result<api::Empty, Status> {
        tokio::time::sleep(self.manner.delay).await;
        self.registrations.send_modify(|all| {
            // One that registers for ever is not to be remembered for ever.
            if all.len() < 16 {
                all.push(request);
            }
        });
        match self.manner.refusal {
            None => Ok(api::Empty {}),
            Some(why) => Err(Status::unknown(why)),
        }
    }

    async fn update_containers(
        &self,
        _: CallContext,
        request: api::UpdateContainersRequest,
    ) -> Result<api::UpdateContainersResponse, Status> {
        let failed = match self.manner.updates_fail {
            true => request.update.clone(),
            false => Vec::new(),
        };
        let mut updates = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.manner.answers.get(updates.len()).cloned();
        if updates.len() < 1024 {
            updates.push(request);
        }
        Ok(told.unwrap_or(api::UpdateContainersResponse { failed }))
    }
}

/// A stream whose bytes are written a few at a time.
fn in_pieces(stream: UnixStream, size: usize) -> impl AsyncRead + AsyncWrite + Send + Unpin {
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        let (mut plugin_reads, mut plugin_writes) = stream.into_split();
        let (mut reads, mut writes) = tokio::io::split(far);
        let up = tokio::io::copy(&mut plugin_reads, &mut writes);
        let down = async {
            let mut piece = vec![0; size];
            while let Ok(read @ 1..) = reads.read(&mut piece).await {
                if plugin_writes.write_all(&piece[..read]).await.is_err() {
                    break;
                }
                // So that the peer may read it by itself.
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = up => {}
            () = down => {}
        }
    });
    near
}
