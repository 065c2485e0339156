//! Exec, attach and port forwarding: what a CRI client gets the URL of, and then streams over
//! SPDY/3.1 on a loopback address.

mod channels;
mod forward;
mod process;
mod spdy;
mod tickets;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cri;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::record::{Container, Pod};
use spdy::Session;
use tickets::Tickets;

/// How long a client may take to say what it wants.
const ASKING: Duration = Duration::from_secs(10);
/// The most that it may say of that.
const MOST_HEAD: usize = 16 << 10;
/// The most connections at a time; more wait.
const MOST_CONNECTIONS: usize = 500;
/// How long nothing is accepted when that fails and no connection ends.
const CROWDED: Duration = Duration::from_millis(100);
const VERSION: &str = "X-Stream-Protocol-Version";

/// What a URL is for.
#[derive(Debug)]
enum Wanted {
    Exec(cri::ExecRequest),
    Attach(cri::AttachRequest),
    /// Ports of the pod with this id.
    Forward(String),
}

impl Wanted {
    /// The first part of its path, and the protocol of its streams.
    fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Exec(_) => ("exec", "v4.channel.k8s.io"),
            Self::Attach(_) => ("attach", "v4.channel.k8s.io"),
            Self::Forward(_) => ("portforward", "portforward.k8s.io"),
        }
    }
}

/// The server. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Streaming {
    engine: Arc<Engine>,
    address: SocketAddr,
    tickets: Arc<Tickets<Wanted>>,
    _server: JoinSet<()>,
}

impl Streaming {
    /// Begins to serve.
    ///
    /// # Errors
    /// The address cannot be used.
    pub(crate) async fn start(engine: Arc<Engine>) -> Result<Self> {
        let wanted = engine.config.streaming;
        let failed = |error| Error::internal(format!("cannot listen on {wanted}: {error}"));
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let tickets = Arc::new(Tickets::new());
        let mut server = JoinSet::new();
        server.spawn(serve(listener, engine.clone(), tickets.clone()));
        Ok(Self {
            engine,
            address,
            tickets,
            _server: server,
        })
    }

    /// The URL of a command in a container.
    ///
    /// # Errors
    /// The container does not run; the request makes no sense; too many URLs are not used yet.
    pub(crate) fn exec(&self, mut request: cri::ExecRequest) -> Result<String> {
        let (stdin, stdout, stderr) = (request.stdin, request.stdout, request.stderr);
        streams(stdin, stdout, stderr, request.tty)?;
        if request.cmd.is_empty() {
            return Err(Error::invalid("the command is empty"));
        }
        let Container { id, .. } = self.engine.running(&request.container_id)?;
        request.container_id = id;
        self.url(Wanted::Exec(request))
    }

    /// The URL of a container's own process.
    ///
    /// # Errors
    /// As [`exec`](Self::exec).
    pub(crate) fn attach(&self, mut request: cri::AttachRequest) -> Result<String> {
        let (stdin, stdout, stderr) = (request.stdin, request.stdout, request.stderr);
        streams(stdin, stdout, stderr, request.tty)?;
        let Container { id, .. } = self.engine.running(&request.container_id)?;
        request.container_id = id;
        self.url(Wanted::Attach(request))
    }

    /// The URL of a pod's ports.
    ///
    /// # Errors
    /// The pod is not ready; too many URLs are not used yet.
    pub(crate) fn port_forward(&self, request: &cri::PortForwardRequest) -> Result<String> {
        let Pod { id, ready, .. } = self.engine.store.find(&request.pod_sandbox_id)?;
        if !ready {
            return Err(Error::precondition(format!("pod {id} is not ready")));
        }
        self.url(Wanted::Forward(id))
    }

    fn url(&self, wanted: Wanted) -> Result<String> {
        let (path, _) = wanted.names();
        let ticket = self.tickets.put(Instant::now(), wanted)?;
        Ok(format!("http://{}/{path}/{ticket}", self.address))
    }
}

/// Whether CRI allows a request for these streams.
fn streams(stdin: bool, stdout: bool, stderr: bool, tty: bool) -> Result<()> {
    match (stdin || stdout || stderr, tty && stderr) {
        (false, _) => Err(Error::invalid(
            "one of stdin, stdout and stderr must be asked for",
        )),
        (_, true) => Err(Error::invalid("a tty has no stderr: ask for one of them")),
        _ => Ok(()),
    }
}

async fn serve(listener: TcpListener, engine: Arc<Engine>, tickets: Arc<Tickets<Wanted>>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MOST_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((client, _)) => {
                connections.spawn(converse(client, engine.clone(), tickets.clone()));
            }
            // Out of descriptors, usually: until a connection ends, or elsewhere something, of
            // which nobody is told.
            Err(error) => {
                tracing::warn!(%error, "a streaming connection cannot be taken");
                tokio::select! {
                    Some(_) = connections.join_next() => {}
                    () = tokio::time::sleep(CROWDED) => {}
                }
            }
        }
    }
}

/// Hears what a client wants and does it.
async fn converse(client: TcpStream, engine: Arc<Engine>, tickets: Arc<Tickets<Wanted>>) {
    if let Err(error) = client.set_nodelay(true) {
        tracing::debug!(%error, "a streaming connection may be slow");
    }
    // What a request has got, for the time after the answer.
    let got = Mutex::new(None);
    let answer = |request| {
        let (response, wanted) = answer(request, &tickets);
        if let (Some(wanted), Ok(mut got)) = (wanted, got.lock()) {
            *got = Some(wanted);
        }
        std::future::ready(Ok::<_, Infallible>(response))
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(ASKING)
        .max_buf_size(MOST_HEAD);
    let served = http
        .serve_connection(TokioIo::new(client), service_fn(answer))
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a streaming client says nothing useful");
    }
    let Ok(Some((upgrade, wanted))) = got.into_inner() else {
        return;
    };
    let done = async {
        let failed = |error| Error::internal(format!("a client does not upgrade: {error}"));
        let session = Session::new(TokioIo::new(upgrade.await.map_err(failed)?));
        match &wanted {
            Wanted::Exec(request) => process::exec(&engine, session, request).await,
            Wanted::Attach(request) => process::attach(&engine, session, request).await,
            Wanted::Forward(pod) => forward::forward(&engine, session, pod).await,
        }
    };
    if let Err(error) = done.await {
        tracing::info!(%error, kind = wanted.names().0, "streaming ends");
    }
}

type Got = Option<(OnUpgrade, Wanted)>;

/// The answer to a request, and what to do then.
fn answer(mut request: Request<Incoming>, tickets: &Tickets<Wanted>) -> (Response<String>, Got) {
    let upgrade = hyper::upgrade::on(&mut request);
    match wanted(&request, tickets) {
        Ok(wanted) => {
            let mut response = Response::new(String::new());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
            headers.insert(VERSION, HeaderValue::from_static(wanted.names().1));
            (response, Some((upgrade, wanted)))
        }
        Err((status, why)) => {
            let mut response = Response::new(format!("{why}\n"));
            *response.status_mut() = status;
            (response, None)
        }
    }
}

/// What a request has a ticket for. The ticket is used, whether the rest of the request is fine or
/// not.
fn wanted<T>(
    request: &Request<T>,
    tickets: &Tickets<Wanted>,
) -> std::result::Result<Wanted, (StatusCode, String)> {
    let refused = |status, why: &str| Err((status, why.to_owned()));
    let mut parts = request.uri().path().splitn(3, '/').skip(1);
    let (path, ticket) = (parts.next(), parts.next().unwrap_or_default());
    let wanted = tickets.take(Instant::now(), ticket);
    let Some(wanted) = wanted.filter(|wanted| path == Some(wanted.names().0)) else {
        return refused(
            StatusCode::NOT_FOUND,
            "this URL is not valid, or not any more",
        );
    };
    let all = |name: &str| -> Vec<String> {
        let values = request.headers().get_all(name).into_iter();
        let values = values.filter_map(|value| value.to_str().ok());
        let parts = values.flat_map(|value| value.split(','));
        parts.map(|part| part.trim().to_ascii_lowercase()).collect()
    };
    if !all("upgrade").iter().any(|protocol| protocol == "spdy/3.1") {
        return refused(StatusCode::BAD_REQUEST, "SPDY/3.1 is what is spoken here");
    }
    let (_, version) = wanted.names();
    let offered = all(VERSION);
    if !offered.iter().any(|offered| offered == version) {
        let why = format!("the protocol of streams is {version}, and {offered:?} are offered");
        return refused(StatusCode::FORBIDDEN, &why);
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str, upgrade: &str, version: &str) -> (StatusCode, String) {
        let tickets = Tickets::new();
        let wanted_pod = Wanted::Forward("p1".to_owned());
        let ticket = tickets.put(Instant::now(), wanted_pod).unwrap();
        let request = Request::post(format!("/{path}/{ticket}"))
            .header(UPGRADE, upgrade)
            .header(VERSION, "v9, v8")
            .header(VERSION, version)
            .body(())
            .unwrap();
        let answer = match wanted(&request, &tickets) {
            Ok(wanted) => (StatusCode::SWITCHING_PROTOCOLS, wanted.names().1.to_owned()),
            Err(refused) => refused,
        };
        // Once is all, also if it was in vain.
        assert_eq!(
            wanted(&request, &tickets).unwrap_err().0,
            StatusCode::NOT_FOUND
        );
        answer
    }

    #[test]
    fn a_request_must_name_a_ticket_and_the_protocols() {
        const V1: &str = "portforward.k8s.io";
        let (status, version) = asked("portforward", "SPDY/3.1", V1);
        assert_eq!((status, &*version), (StatusCode::SWITCHING_PROTOCOLS, V1));
        assert_eq!(asked("exec", "SPDY/3.1", V1).0, StatusCode::NOT_FOUND);
        assert_eq!(
            asked("portforward", "websocket", V1).0,
            StatusCode::BAD_REQUEST
        );
        let (status, why) = asked("portforward", "SPDY/3.1", "v7");
        assert!(
            status == StatusCode::FORBIDDEN && why.contains("v7"),
            "{why}"
        );
    }

    #[test]
    fn a_terminal_has_no_standard_error() {
        assert!(streams(false, false, false, false).is_err());
        assert!(streams(true, true, true, true).is_err());
        assert!(streams(true, true, false, true).is_ok());
        assert!(streams(false, false, true, false).is_ok());
    }
}
