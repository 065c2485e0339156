//! Status, metrics and probes over HTTP, at the control socket and where the configuration says.
//! Nothing can be changed here, but for this: at the control socket, which is for the hub's own
//! user alone, another hub can ask to take its place. Nothing is read of a request but its line.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nri_adaptation::SocketFile;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::listen::Listeners;
use crate::shared::Shared;
use crate::upgrade;

/// How many connections are served at a time, at each place: with one more the oldest gives way.
/// Nobody who holds connections open keeps a probe out, or at an address the control socket.
const MOST: usize = 32;
/// How long a connection may take to send its request, and to take its answer.
const TIME: Duration = Duration::from_secs(10);
/// How long nothing is accepted when that fails and no connection ends.
const CROWDED: Duration = Duration::from_millis(100);

/// The type of what Prometheus reads.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PAGE: &str = include_str!("page.html");

type Answer = Response<Full<Bytes>>;

/// Serves at all that is open, until dropped or until `closing` is done: everything is closed when
/// this returns, so that another hub can open it.
pub(crate) async fn serve(
    listeners: Listeners,
    shared: Arc<Shared>,
    closing: impl Future<Output = ()>,
) {
    let mut accepting = JoinSet::new();
    let control = shared.settings().control_socket;
    for (socket, file) in listeners.sockets {
        let is_control = file.path() == control;
        let shared = Arc::clone(&shared);
        let serve = move |stream| one(stream, is_control, Arc::clone(&shared));
        accepting.spawn(accept_all(socket, Some(file), serve));
    }
    for address in listeners.addresses {
        let shared = Arc::clone(&shared);
        let serve = move |stream| one(stream, false, Arc::clone(&shared));
        accepting.spawn(accept_all(address, None, serve));
    }
    let all_over = async { while accepting.join_next().await.is_some() {} };
    tokio::select! {
        () = all_over => {}
        () = closing => {}
    }
    accepting.shutdown().await;
}

/// What connections come from.
trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Serves whoever connects. The file, if there is one, goes with it.
async fn accept_all<A: Accept, F>(
    listener: A,
    _file: Option<SocketFile>,
    serve: impl Fn(A::Stream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    // From the oldest on.
    let mut places: VecDeque<AbortHandle> = VecDeque::with_capacity(MOST);
    loop {
        let stream = match listener.next().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of descriptors, usually: until a connection ends, or elsewhere something, of
                // which nobody is told.
                tokio::select! {
                    Some(_) = connections.join_next() => {}
                    () = tokio::time::sleep(CROWDED) => {}
                }
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        places.retain(|place| !place.is_finished());
        if places.len() >= MOST
            && let Some(oldest) = places.pop_front()
        {
            oldest.abort();
        }
        places.push_back(connections.spawn(serve(stream)));
    }
}

/// Serves one request, if it comes in time.
async fn one<S>(stream: S, is_control: bool, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let respond = service_fn(move |request: Request<Incoming>| {
        let wanted = (request.method(), request.uri().path());
        let answer = match is_control && wanted == (&Method::POST, upgrade::PATH) {
            true => take_over(request, &shared),
            false => respond(request.method(), request.uri().path(), &shared),
        };
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIME)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), respond)
        .with_upgrades();
    // Whoever goes away early has seen enough.
    let _ = tokio::time::timeout(2 * TIME, connection).await;
}

/// Has the connection be that of another hub, which is to take the place of this one.
fn take_over(request: Request<Incoming>, shared: &Arc<Shared>) -> Answer {
    let asked = request.headers().get(UPGRADE);
    if asked.is_none_or(|asked| asked != upgrade::PROTOCOL) {
        let advice = format!("to take this hub's place, speak {}\n", upgrade::PROTOCOL);
        return text(StatusCode::UPGRADE_REQUIRED, advice);
    }
    let successors = shared.successors.clone();
    tokio::spawn(async move {
        let successor = async {
            let upgraded = hyper::upgrade::on(request).await;
            upgrade::successor(upgraded.map_err(io::Error::other)?).await
        };
        match successor.await {
            // The hub may be about to end.
            Ok(stream) => drop(successors.try_send(stream)),
            Err(error) => tracing::warn!(%error, "who wants to take the hub's place has gone"),
        }
    });
    let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, String::new());
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(upgrade::PROTOCOL));
    answer
}

fn respond(method: &Method, path: &str, shared: &Shared) -> Answer {
    if ![Method::GET, Method::HEAD].contains(method) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
    }
    match path {
        "/" => page(),
        "/status.json" => match serde_json::to_string(&shared.status()) {
            Ok(json) => answer(StatusCode::OK, "application/json", json),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        "/metrics" => answer(StatusCode::OK, METRICS, shared.metrics_text()),
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match shared.not_ready().as_slice() {
            [] => text(StatusCode::OK, "ready\n".to_owned()),
            why => text(StatusCode::SERVICE_UNAVAILABLE, why.join("\n") + "\n"),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /, /status.json, /metrics, /healthz and /readyz\n".to_owned(),
        ),
    }
}

fn page() -> Answer {
    let mut page = answer(StatusCode::OK, "text/html; charset=utf-8", PAGE.to_owned());
    // It needs its own script and style, and the status.
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";
    let headers = page.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    page
}

fn text(status: StatusCode, text: String) -> Answer {
    answer(status, "text/plain; charset=utf-8", text)
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::sync::{Mutex, mpsc};

    /// Connections as a test makes them; none comes after the last.
    struct Coming(Mutex<mpsc::Receiver<DuplexStream>>);

    impl Accept for Coming {
        type Stream = DuplexStream;

        async fn next(&self) -> io::Result<DuplexStream> {
            match self.0.lock().await.recv().await {
                Some(stream) => Ok(stream),
                None => std::future::pending().await,
            }
        }
    }

    /// Law: however many connections are held open, the newest is served, and no more are served at
    /// a time than there are places.
    #[tokio::test]
    async fn the_oldest_connection_gives_way() {
        static SERVED: AtomicUsize = AtomicUsize::new(0);
        struct Place;
        impl Drop for Place {
            fn drop(&mut self) {
                SERVED.fetch_sub(1, Ordering::SeqCst);
            }
        }
        // Says hello to each, and keeps it for ever.
        let serve = |mut stream: DuplexStream| async move {
            SERVED.fetch_add(1, Ordering::SeqCst);
            let _place = Place;
            stream.write_all(b"hello").await.unwrap();
            std::future::pending().await
        };
        let (connect, coming) = mpsc::channel(1);
        tokio::spawn(accept_all(Coming(Mutex::new(coming)), None, serve));
        let mut held = Vec::new();
        for _ in 0..3 * MOST {
            let (mut ours, theirs) = tokio::io::duplex(64);
            connect.send(theirs).await.unwrap();
            let mut hello = [0; 5];
            ours.read_exact(&mut hello).await.unwrap();
            assert!(SERVED.load(Ordering::SeqCst) <= MOST + 1);
            held.push(ours);
        }
        // The oldest have heard of it, and the newest are there.
        for old in &mut held[..2 * MOST] {
            assert_eq!(old.read(&mut [0]).await.unwrap(), 0);
        }
        assert_eq!(SERVED.load(Ordering::SeqCst), MOST);
    }
}
