//! `GET /healthz` over HTTP/1.1: whether the plugin is ready. What may not enter: any other answer;
//! who needs more of HTTP brings a server.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::state::State;

/// With one more at a time the oldest gives way, so that nobody keeps a probe out who holds
/// connections open.
const MOST_CONNECTIONS: usize = 16;
/// As much of a request as is read.
const MOST_BYTES: usize = 8 << 10;
/// As long as a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, state: watch::Receiver<State>) {
    // From the oldest on.
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::with_capacity(MOST_CONNECTIONS);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, for example: the next attempt may succeed.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= MOST_CONNECTIONS {
            if let Some(oldest) = open.pop_front() {
                oldest.abort();
            }
        }
        let state = state.clone();
        open.push_back(tokio::spawn(async move {
            // Whether or not the peer took the answer.
            let _ = timeout(PATIENCE, answer(stream, &state)).await;
        }));
    }
}

async fn answer<S>(mut stream: S, state: &watch::Receiver<State>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Vec::new();
    let mut part = [0; 1024];
    // The line is all that counts, but a peer may take an answer before its end for a fault.
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut part).await?;
        if count == 0 || request.len() > MOST_BYTES {
            return Ok(());
        }
        request.extend_from_slice(&part[..count]);
    }
    let line = request.split(|byte| *byte == b'\r').next();
    let (status, body) = respond(line.unwrap_or_default(), &state.borrow().clone());
    let with_body = !request.starts_with(b"HEAD ");
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if with_body {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

/// The status and the text for the first line of a request.
fn respond(line: &[u8], state: &State) -> (&'static str, String) {
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let path = target.split(|byte| *byte == b'?').next();
    if !matches!(method, Some(b"GET" | b"HEAD")) {
        return ("405 Method Not Allowed", "only GET and HEAD\n".to_owned());
    }
    if path != Some(b"/healthz") {
        return ("404 Not Found", "there is /healthz\n".to_owned());
    }
    let text = match state {
        State::Ready(registration) => {
            let plugin = &registration.plugin;
            return ("200 OK", format!("{plugin} is ready\n"));
        }
        State::Idle | State::Connecting => "connecting\n".to_owned(),
        State::Configured(_) => "waiting to be synchronised\n".to_owned(),
        State::Waiting { wait, reason } => {
            format!("connecting again every {wait:?} or so: {reason}\n")
        }
        State::Ended => "ended\n".to_owned(),
    };
    ("503 Service Unavailable", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(request: &str, state: State) -> String {
        let (mut ours, theirs) = tokio::io::duplex(64 << 10);
        let (_sender, state) = watch::channel(state);
        ours.write_all(request.as_bytes()).await.unwrap();
        ours.shutdown().await.unwrap();
        answer(theirs, &state).await.unwrap();
        let mut text = String::new();
        ours.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn it_says_why_the_plugin_is_not_ready() {
        let waiting = || State::Waiting {
            wait: Duration::from_secs(2),
            reason: "no socket".into(),
        };
        for (request, state, status, body) in [
            (
                "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n",
                State::Connecting,
                "503",
                "\r\n\r\nconnecting\n",
            ),
            (
                "GET /healthz?v=1 HTTP/1.0\r\n\r\n",
                waiting(),
                "503",
                ": no socket\n",
            ),
            (
                "HEAD /healthz HTTP/1.1\r\n\r\n",
                State::Ended,
                "503",
                "connection: close\r\n\r\n",
            ),
            (
                "GET /metrics HTTP/1.1\r\n\r\n",
                State::Ended,
                "404",
                "there is /healthz\n",
            ),
            (
                "POST /healthz HTTP/1.1\r\n\r\n",
                State::Ended,
                "405",
                "only GET and HEAD\n",
            ),
        ] {
            let answer = ask(request, state).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
            assert!(answer.ends_with(body), "{answer}");
        }
    }

    /// Law: a probe is answered beside any number of connections that ask nothing.
    #[tokio::test]
    async fn a_probe_is_answered_however_many_hold_connections_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_sender, state) = watch::channel(State::Connecting);
        let serving = tokio::spawn(serve(listener, state));
        let mut held = Vec::new();
        for _ in 0..4 * MOST_CONNECTIONS {
            held.push(tokio::net::TcpStream::connect(address).await.unwrap());
        }
        let mut probe = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\n\r\n";
        probe.write_all(request).await.unwrap();
        let mut answer = String::new();
        probe.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("connecting\n"), "{answer}");
        serving.abort();
    }

    /// Law: what is no request, or too long for one, is not answered, and not kept.
    #[tokio::test]
    async fn what_is_no_request_is_not_answered() {
        for request in ["", "GET /healthz", &"x".repeat(20_000)] {
            assert_eq!(ask(request, State::Ended).await, "");
        }
    }
}
