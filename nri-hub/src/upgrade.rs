//! A hub takes the place of another one on its node: the runtime above notices nothing.
//!
//! The new hub asks at the control socket of the old one. The old one lets the requests run out
//! that have come, and then sends what it knows and the descriptor of its connection to the
//! runtime. What comes meanwhile waits in the socket. Plugins are told to go, and find the new hub.
//!
//! What may not enter: how a hub runs.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use nri_adaptation::PluginState;
use nri_adaptation::api::{Container, PodSandbox};
use nri_adaptation::model::PodSnapshot;
use nri_plugin::{HandOver, Handle};
use prost::Message as _;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;

use crate::error::Error;
use crate::shared::Shared;

/// Where it is asked for at the control socket.
pub(crate) const PATH: &str = "/take-over";
/// What the connection to the control socket becomes.
pub(crate) const PROTOCOL: &str = "nri-hub-take-over/1";

/// How long requests that have come may take to run out. The runtime waits that long for those that
/// come meanwhile, of the two seconds or so that it waits at all.
const PATIENCE: Duration = Duration::from_millis(800);
/// How long the plugins may take to go.
const GOODBYE: Duration = Duration::from_millis(300);
/// How long the other hub may take for anything.
const TIME: Duration = Duration::from_secs(10);
/// The most that a hub knows, in bytes.
const MOST: u64 = 512 << 20;

/// What a hub has been handed by the one whose place it takes.
#[derive(Debug)]
pub struct TakenOver {
    pub(crate) above: HandOver,
    pub(crate) pods: Vec<PodSnapshot>,
    pub(crate) containers: Vec<Container>,
    /// The plugins that were ready.
    pub(crate) plugins: Vec<String>,
    /// How long the runtime has been waiting.
    pub(crate) waited: Duration,
}

/// What is sent, beside the descriptor. Its numbers are those of a message: another version may
/// read it.
#[derive(Clone, PartialEq, prost::Message)]
struct Sent {
    #[prost(bytes = "vec", tag = "1")]
    above: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    pods: Vec<SentPod>,
    #[prost(message, repeated, tag = "3")]
    containers: Vec<Container>,
    #[prost(string, repeated, tag = "4")]
    plugins: Vec<String>,
    /// When the old hub began to read nothing more, in milliseconds since 1970.
    #[prost(uint64, tag = "5")]
    since_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SentPod {
    #[prost(message, optional, tag = "1")]
    pod: Option<PodSandbox>,
    #[prost(bool, optional, tag = "2")]
    ready: Option<bool>,
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl TakenOver {
    /// Takes the place of the hub at a control socket; `None` if there is none.
    ///
    /// # Errors
    /// It is there and stays: it has no runtime, what is under way takes too long, or it is another
    /// program.
    pub async fn from_hub(control_socket: &Path) -> Result<Option<Self>, Error> {
        let error = |source: io::Error| Error::TakeOver {
            socket: control_socket.to_owned(),
            reason: source.to_string(),
        };
        let stream = match UnixStream::connect(control_socket).await {
            Ok(stream) => stream,
            Err(there) => match there.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
                _ => return Err(error(there)),
            },
        };
        let taken = tokio::time::timeout(TIME, async {
            let stream = blocking(ask(stream).await?)?;
            spawn_blocking(move || receive(stream)).await?
        });
        let taken = taken
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        taken.map(Some).map_err(error)
    }
}

/// Asks the hub at the other end, which hands the connection to its runtime over on what is
/// returned.
async fn ask(stream: UnixStream) -> io::Result<UnixStream> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::post(PATH)
        .header(HOST, "nri-hub")
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, PROTOCOL)
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = answer.status();
        return Err(io::Error::other(format!(
            "the hub there answers {status}: it is older than this way to take its place; stop it first"
        )));
    }
    let upgraded = hyper::upgrade::on(answer).await;
    let (mut stream, read) = stream_of(upgraded.map_err(io::Error::other)?)?;
    if !read.is_empty() {
        return Err(io::Error::other("it does not speak as hubs do"));
    }
    stream.write_u8(1).await?;
    Ok(stream)
}

/// The socket below a connection that is none of HTTP any more, and what was read of it already.
fn stream_of(upgraded: Upgraded) -> io::Result<(UnixStream, Bytes)> {
    match upgraded.downcast::<TokioIo<UnixStream>>() {
        Ok(parts) => Ok((parts.io.into_inner(), parts.read_buf)),
        Err(_) => Err(io::Error::other("it is no unix socket")),
    }
}

/// The socket of who wants to take over, once it waits for the descriptor: before that it would be
/// lost.
pub(crate) async fn successor(upgraded: Upgraded) -> io::Result<UnixStream> {
    let (mut stream, read) = stream_of(upgraded)?;
    if read.is_empty() {
        let waits = tokio::time::timeout(TIME, stream.read_u8()).await;
        waits.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    }
    Ok(stream)
}

fn blocking(stream: UnixStream) -> io::Result<StdStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIME))?;
    stream.set_write_timeout(Some(TIME))?;
    Ok(stream)
}

/// Lets go of the runtime above, and of the plugins. What is to be sent; `None` if that cannot be,
/// and the hub goes on.
pub(crate) async fn let_go(shared: &Arc<Shared>, above: &Handle) -> Option<Letting> {
    let since_ms = now_ms();
    let HandOver { socket, state } = above.hand_over(PATIENCE).await?;
    let plugins = shared.nri.plugins().into_iter();
    let ready = plugins.filter(|plugin| plugin.state == PluginState::Ready);
    let plugins = ready.map(|plugin| plugin.id().to_string()).collect();
    let pods = shared.mirror.pods().into_iter().map(|pod| SentPod {
        pod: Some(pod.message.clone()),
        ready: pod.ready,
    });
    let containers = shared.mirror.containers().into_iter();
    let containers = containers.map(|told| told.container());
    let sent = Sent {
        above: state,
        pods: pods.collect(),
        containers: containers.map(Arc::unwrap_or_clone).collect(),
        plugins,
        since_ms,
    };
    let stopping = {
        let shared = Arc::clone(shared);
        tokio::spawn(async move { nri_adaptation::RuntimeApi::stop(&shared.nri).await })
    };
    if tokio::time::timeout(GOODBYE, stopping).await.is_err() {
        tracing::warn!("some plugin takes its time to go");
    }
    Some(Letting {
        socket,
        state: sent.encode_to_vec(),
    })
}

/// What the other hub gets.
pub(crate) struct Letting {
    socket: OwnedFd,
    state: Vec<u8>,
}

impl Letting {
    /// Sends it, and waits until the other one has it.
    pub(crate) async fn send(self, to: UnixStream) -> io::Result<()> {
        let to = blocking(to)?;
        spawn_blocking(move || send(&self, to)).await?
    }
}

/// Says that the hub stays.
pub(crate) async fn refuse(to: UnixStream) -> io::Result<()> {
    let mut to = blocking(to)?;
    spawn_blocking(move || to.write_all(&[0])).await?
}

/// With the first byte goes the descriptor; then the length, and the state.
fn send(letting: &Letting, mut to: StdStream) -> io::Result<()> {
    let descriptors = [letting.socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    if !along.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("there is no room for a descriptor"));
    }
    sendmsg(&to, &[IoSlice::new(&[1])], &mut along, SendFlags::NOSIGNAL)?;
    to.write_all(&(letting.state.len() as u64).to_be_bytes())?;
    to.write_all(&letting.state)?;
    to.read_exact(&mut [0])
}

fn receive(mut from: StdStream) -> io::Result<TakenOver> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let mut first = [0];
    let received = recvmsg(
        &from,
        &mut [IoSliceMut::new(&mut first)],
        &mut along,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors = along.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let socket = match (first, descriptors.next()) {
        ([1], Some(socket)) => socket,
        _ => {
            return Err(io::Error::other(
                "the hub there stays: it is not connected to a runtime, or a request takes too long; try again",
            ));
        }
    };
    drop(descriptors);
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_be_bytes(length);
    if length > MOST {
        return Err(io::Error::other(format!(
            "it knows {length} bytes, of {MOST} at most"
        )));
    }
    let mut state = Vec::new();
    io::Read::by_ref(&mut from)
        .take(length)
        .read_to_end(&mut state)?;
    if state.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let sent = Sent::decode(&*state).map_err(io::Error::other)?;
    // From here on this one has it.
    from.write_all(&[1])?;
    let pods = sent.pods.into_iter().filter_map(|sent| {
        let pod = PodSnapshot::new(sent.pod?);
        Some(pod.with_ready(sent.ready))
    });
    Ok(TakenOver {
        above: HandOver {
            socket,
            state: sent.above,
        },
        pods: pods.collect(),
        containers: sent.containers,
        plugins: sent.plugins,
        waited: Duration::from_millis(now_ms().saturating_sub(sent.since_ms)),
    })
}
