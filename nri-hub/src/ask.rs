//! Asking a running hub, at its control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::error::Error;
use crate::status::Status;

/// How long a hub may take.
const TIME: Duration = Duration::from_secs(10);
/// The most that it may answer.
const MOST: usize = 64 << 20;

/// Asks the hub behind a control socket how it is.
///
/// # Errors
/// There is none, or it does not answer in 10 s.
pub async fn status(socket: &Path) -> Result<Status, Error> {
    let ask = |source: io::Error| Error::Ask {
        socket: socket.to_owned(),
        source,
    };
    let answer = tokio::time::timeout(TIME, get(socket, "/status.json")).await;
    let body = answer
        .unwrap_or_else(|_| Err(io::Error::other(format!("no answer within {TIME:?}"))))
        .map_err(ask)?;
    serde_json::from_slice(&body).map_err(|error| Error::Answer {
        socket: socket.to_owned(),
        reason: error.to_string(),
    })
}

async fn get(socket: &Path, path: &str) -> io::Result<Bytes> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let request = Request::get(path)
        .header(HOST, "nri-hub")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let exchange = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        if !answer.status().is_success() {
            return Err(io::Error::other(format!("it answers {}", answer.status())));
        }
        let body = Limited::new(answer.into_body(), MOST).collect().await;
        Ok(body.map_err(io::Error::other)?.to_bytes())
    };
    // The connection is over when the answer is there; an error of it is one of the exchange.
    let drive = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        biased;
        body = exchange => body,
        () = drive => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
