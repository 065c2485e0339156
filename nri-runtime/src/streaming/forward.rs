//! Port forwarding, as `portforward.k8s.io` has it: each connection is two streams, one for what
//! goes wrong, and each is made to the loopback device of the pod.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::spdy::{Headers, Session, Stream};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::record::Pod;

/// How long a client may take for the second stream of a connection.
const PAIRING: Duration = Duration::from_secs(30);
/// How long a connection may take to be made.
const CONNECTING: Duration = Duration::from_secs(10);

/// The streams of connections of which one is not there yet.
#[derive(Debug, Default)]
struct Halves(BTreeMap<String, (Instant, Stream)>);

/// A connection that a client wants.
#[derive(Debug)]
struct Wanted {
    port: u16,
    error: Stream,
    data: Stream,
}

impl Halves {
    /// Takes a stream; the connection, if it is complete by it.
    fn add(&mut self, now: Instant, stream: Stream) -> Option<Wanted> {
        self.0
            .retain(|_, (since, _)| now.duration_since(*since) < PAIRING);
        let is_error = |stream: &Stream| header(&stream.headers, "streamtype") == "error";
        // Clients older than the header number their streams.
        let request = header(&stream.headers, "requestid").to_owned();
        let Some((since, other)) = self.0.remove(&request) else {
            self.0.insert(request, (now, stream));
            return None;
        };
        let (error, data) = match (is_error(&other), is_error(&stream)) {
            (true, false) => (other, stream),
            (false, true) => (stream, other),
            // Twice the same: the first one counts.
            _ => {
                self.0.insert(request, (since, other));
                return None;
            }
        };
        // Nothing listens at port 0, and a client is told so.
        let port = header(&data.headers, "port").parse().unwrap_or(0);
        Some(Wanted { port, error, data })
    }
}

fn header<'a>(headers: &'a Headers, name: &str) -> &'a str {
    headers.get(name).map(String::as_str).unwrap_or_default()
}

/// Connects the client to ports of a pod, until it leaves.
///
/// # Errors
/// The pod is not there, or not ready.
pub(super) async fn forward(engine: &Engine, mut session: Session, pod: &str) -> Result<()> {
    let pod: Pod = engine.store.find(pod)?;
    if !pod.ready {
        return Err(Error::precondition(format!("pod {} is not ready", pod.id)));
    }
    let (mut halves, mut connections) = (Halves::default(), JoinSet::new());
    while let Some(stream) = session.accept().await {
        while connections.try_join_next().is_some() {}
        let Some(wanted) = halves.add(Instant::now(), stream) else {
            continue;
        };
        let namespace = pod
            .has_own_network()
            .then(|| File::open(engine.network_namespace(&pod.id)));
        let (namespace, id) = (namespace.transpose(), pod.id.clone());
        connections.spawn(async move {
            let Wanted {
                port,
                error,
                mut data,
            } = wanted;
            let done = match namespace {
                Ok(namespace) => copy(namespace, port, &mut data).await,
                Err(error) => Err(error),
            };
            if let Err(why) = done {
                let why = format!("port {port} of pod {id}: {why}");
                // A client that has left does not want to know.
                let _ = error.output.write(why.as_bytes()).await;
            }
            // A client waits for the end of both, also of a connection that was never made.
            data.output.finish().await;
            error.output.finish().await;
        });
    }
    Ok(())
}

/// Makes a connection and copies both ways until both sides have said all.
async fn copy(namespace: Option<File>, port: u16, data: &mut Stream) -> io::Result<()> {
    let Stream { input, output, .. } = data;
    let connection = tokio::net::TcpStream::from_std(connect(namespace, port).await?)?;
    let (mut reader, mut writer) = connection.into_split();
    let there = async {
        while let Some(piece) = input.read().await {
            writer.write_all(&piece).await?;
        }
        writer.shutdown().await
    };
    let back = async {
        let mut piece = vec![0; 32 << 10];
        loop {
            match reader.read(&mut piece).await? {
                0 => break,
                read => output
                    .write(&piece[..read])
                    .await
                    .map_err(io::Error::other)?,
            }
        }
        Ok(())
    };
    // Who answers and closes has done what it was asked for, whatever is still being sent to it.
    let mut back = std::pin::pin!(back);
    tokio::select! {
        done = &mut back => done,
        sent = there => sent.and(back.await),
    }
}

/// Connects to a port of a network namespace's loopback device.
async fn connect(namespace: Option<File>, port: u16) -> io::Result<TcpStream> {
    let (made, connection) = oneshot::channel();
    // A thread that has gone into a namespace is of no use for anything else.
    std::thread::Builder::new()
        .name("forward".to_owned())
        .spawn(move || {
            let connect = || {
                if let Some(namespace) = namespace {
                    let kind = Some(LinkNameSpaceType::Network);
                    move_into_link_name_space(namespace.as_fd(), kind)?;
                }
                let to = |address: IpAddr| {
                    TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECTING)
                };
                let connection = to(Ipv4Addr::LOCALHOST.into())
                    .or_else(|first| to(Ipv6Addr::LOCALHOST.into()).map_err(|_| first))?;
                connection.set_nonblocking(true)?;
                Ok(connection)
            };
            // Nobody waits for it any more if the client has left.
            let _ = made.send(connect());
        })?;
    connection
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::net::TcpListener;

    use super::*;
    use crate::streaming::spdy::tests::{Blocks, data, open, read_data};

    const HEADERS: [&str; 3] = ["StreamType", "Port", "RequestID"];

    fn opened(blocks: &mut Blocks, id: u32, values: [&str; 3]) -> Vec<u8> {
        let headers: Vec<_> = HEADERS.into_iter().zip(values).collect();
        open(blocks, id, &headers)
    }

    #[tokio::test]
    async fn two_streams_of_a_request_are_a_connection() {
        let (mut client, server) = duplex(1 << 20);
        let mut session = Session::new(server);
        let (mut blocks, mut halves, now) = (Blocks::new(), Halves::default(), Instant::now());
        for (id, values) in [
            (1, ["error", "80", "0"]),
            (3, ["data", "81", "1"]),
            (5, ["error", "80", "0"]),
            (7, ["data", "80", "0"]),
            (9, ["error", "81", "1"]),
        ] {
            let frame = opened(&mut blocks, id, values);
            client.write_all(&frame).await.unwrap();
        }
        let mut ports = Vec::new();
        for number in 0..5 {
            let stream = session.accept().await.unwrap();
            // The last one comes when its other half is given up.
            let at = now + if number == 4 { PAIRING } else { Duration::ZERO };
            ports.extend(halves.add(at, stream).map(|wanted| wanted.port));
        }
        assert_eq!(ports, [80]);
    }

    #[tokio::test]
    async fn bytes_go_to_a_port_and_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mut client, server) = duplex(1 << 20);
        let mut session = Session::new(server);
        let mut blocks = Blocks::new();
        let frames = [
            opened(&mut blocks, 1, ["data", &port.to_string(), "0"]),
            data(1, b"question", true),
        ];
        client.write_all(&frames.concat()).await.unwrap();
        let mut stream = session.accept().await.unwrap();
        let answer = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut question = String::new();
            connection.read_to_string(&mut question).await.unwrap();
            assert_eq!(question, "question");
            connection.write_all(b"answer").await.unwrap();
        };
        let (copied, ()) = tokio::join!(copy(None, port, &mut stream), answer);
        copied.unwrap();
        stream.output.finish().await;
        assert_eq!(read_data(&mut client).await, (1, b"answer".to_vec(), false));
        assert_eq!(read_data(&mut client).await, (1, Vec::new(), true));
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_at_is_an_error() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        let error = connect(None, port).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
