//! SPDY/3.1, the server's side of it that exec, attach and port forwarding need: streams that a
//! client opens on one connection. What streams are for may not enter.
//!
//! By hand, as the one library there is drops what a process does not read fast enough. There is no
//! flow control of streams, as clients have none: a stream that nobody reads holds up the
//! connection.

mod frame;
mod headers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::{Error, Result};
use frame::{Frame, Ours, Reader, Writer};
pub(super) use headers::Headers;

/// The most streams at a time: two for each connection that is forwarded.
const MOST_STREAMS: usize = 256;
/// The most bytes that are sent, or handed on, at once.
const PIECE: usize = 32 << 10;
/// How many pieces of a stream may wait to be read, and how many frames to be sent.
const WAITING: usize = 4;
/// How long a client may take to end a connection on which everything is said.
const LEAVING: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    opened: Receiver<Stream>,
    frames: Sender<Ours>,
    /// The last stream that was opened.
    last: Arc<AtomicU32>,
    /// Reads and writes, until we are dropped.
    tasks: JoinSet<()>,
}

/// A stream that the client has opened.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) headers: Headers,
    pub(super) input: Input,
    pub(super) output: Output,
}

/// What the client sends on a stream.
#[derive(Debug)]
pub(super) struct Input(Receiver<Bytes>);

/// What the client is sent on a stream.
#[derive(Debug)]
pub(super) struct Output {
    id: u32,
    frames: Sender<Ours>,
    reset: Arc<AtomicBool>,
}

impl Session {
    /// Begins to read and write.
    pub(super) fn new(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (reader, writer) = split(io);
        let (frames, to_send) = channel(WAITING);
        let (to_open, opened) = channel(1);
        let last = Arc::new(AtomicU32::new(0));
        let mut tasks = JoinSet::new();
        let hears = Hears {
            reader: Reader::new(reader),
            frames: frames.clone(),
            opened: to_open,
            last: last.clone(),
            streams: BTreeMap::new(),
        };
        tasks.spawn(hears.run());
        tasks.spawn(say(Writer::new(writer), to_send));
        Self {
            opened,
            frames,
            last,
            tasks,
        }
    }

    /// The next stream that the client opens; `None` once it is gone.
    pub(super) async fn accept(&mut self) -> Option<Stream> {
        self.opened.recv().await
    }

    /// Says that there is no more, and waits until the client has gone, for a while.
    pub(super) async fn close(mut self) {
        let id = self.last.load(Ordering::Relaxed);
        if self.frames.send(Ours::GoAway { id }).await.is_err() {
            return;
        }
        let left = async { while self.accept().await.is_some() {} };
        let _ = timeout(LEAVING, left).await;
        self.tasks.abort_all();
    }
}

impl Input {
    /// The next bytes; `None` at the end.
    pub(super) async fn read(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}

impl Output {
    /// Sends bytes.
    ///
    /// # Errors
    /// The client does not want them, or is gone.
    pub(super) async fn write(&self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(PIECE) {
            if self.is_reset() {
                return Err(Error::internal("the client does not want a stream"));
            }
            self.send(Bytes::copy_from_slice(piece), false).await?;
        }
        Ok(())
    }

    /// Whether the client does not want the stream any more.
    pub(super) fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Relaxed)
    }

    /// Says that there is no more.
    pub(super) async fn finish(self) {
        // Who is gone needs no end.
        let _ = self.send(Bytes::new(), true).await;
    }

    async fn send(&self, data: Bytes, last: bool) -> Result<()> {
        let id = self.id;
        let sent = self.frames.send(Ours::Data { id, data, last }).await;
        sent.map_err(|_| Error::internal("the client is gone"))
    }
}

/// Sends frames, until nobody has any or the client is gone.
async fn say(mut writer: Writer<WriteHalf<impl AsyncWrite>>, mut frames: Receiver<Ours>) {
    while let Some(frame) = frames.recv().await {
        if writer.send(frame).await.is_err() {
            return;
        }
    }
}

/// A stream whose client may send more.
struct Open {
    to: Sender<Bytes>,
    reset: Arc<AtomicBool>,
}

/// What hears the client.
struct Hears<R> {
    reader: Reader<ReadHalf<R>>,
    frames: Sender<Ours>,
    opened: Sender<Stream>,
    last: Arc<AtomicU32>,
    streams: BTreeMap<u32, Open>,
}

impl<R: AsyncRead> Hears<R> {
    /// Until the client is gone, or nobody hears what it says.
    async fn run(mut self) {
        loop {
            let done = match self.reader.next().await {
                Ok(Some(frame)) => self.take(frame).await,
                Ok(None) => break,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                tracing::debug!(%error, "a streaming connection ends");
                break;
            }
        }
        // Nobody reads what is still to be sent.
        for stream in self.streams.values() {
            stream.reset.store(true, Ordering::Relaxed);
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<()> {
        match frame {
            Frame::Open { id, last, headers } => self.open(id, last, headers).await,
            Frame::Data { id, last, length } => self.data(id, last, length).await,
            Frame::Reset { id } => {
                if let Some(stream) = self.streams.remove(&id) {
                    stream.reset.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
            // Even numbers are ours, and we send none.
            Frame::Ping { id } if !id.is_multiple_of(2) => self.send(Ours::Ping { id }).await,
            Frame::Ping { .. } | Frame::Other => Ok(()),
        }
    }

    async fn open(&mut self, id: u32, last: bool, headers: Headers) -> Result<()> {
        if id.is_multiple_of(2) || id <= self.last.load(Ordering::Relaxed) {
            return Err(Error::invalid(format!("stream {id} of SPDY is no new one")));
        }
        if self.streams.len() >= MOST_STREAMS {
            return self.send(Ours::Refuse { id }).await;
        }
        self.last.store(id, Ordering::Relaxed);
        let (to, input) = channel(WAITING);
        let reset = Arc::new(AtomicBool::new(false));
        let stream = Stream {
            headers,
            input: Input(input),
            output: Output {
                id,
                frames: self.frames.clone(),
                reset: reset.clone(),
            },
        };
        if !last {
            self.streams.insert(id, Open { to, reset });
        }
        self.send(Ours::Reply { id }).await?;
        let opened = self.opened.send(stream).await;
        opened.map_err(|_| Error::internal("nobody wants streams"))
    }

    async fn data(&mut self, id: u32, last: bool, mut length: usize) -> Result<()> {
        while length > 0 {
            let mut piece = vec![0; length.min(PIECE)];
            self.reader.fill(&mut piece).await?;
            length -= piece.len();
            // What nobody wants is read and forgotten.
            if let Some(stream) = self.streams.get(&id) {
                let _ = stream.to.send(piece.into()).await;
            }
        }
        if last {
            self.streams.remove(&id);
        }
        Ok(())
    }

    async fn send(&mut self, frame: Ours) -> Result<()> {
        let sent = self.frames.send(frame).await;
        sent.map_err(|_| Error::internal("the client does not read"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    pub(crate) use frame::tests::{data, open, ping, reset};
    pub(crate) use headers::tests::Writer as Blocks;

    fn pair() -> (DuplexStream, Session) {
        let (client, server) = duplex(1 << 20);
        (client, Session::new(server))
    }

    /// Reads frames of ours of a kind that has as many bytes as it says, until the one with data.
    pub(crate) async fn read_data(client: &mut DuplexStream) -> (u32, Vec<u8>, bool) {
        loop {
            let mut head = [0; 8];
            client.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[5], head[6], head[7]]);
            let mut payload = vec![0; length as usize];
            client.read_exact(&mut payload).await.unwrap();
            if head[0] & 0x80 == 0 {
                let id = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
                return (id, payload, head[4] == 1);
            }
        }
    }

    #[tokio::test]
    async fn bytes_go_both_ways() {
        let (mut client, mut session) = pair();
        let mut blocks = Blocks::new();
        for id in [1, 3] {
            let frame = open(&mut blocks, id, &[("Kind", "x")]);
            client.write_all(&frame).await.unwrap();
        }
        let mut first = session.accept().await.unwrap();
        let second = session.accept().await.unwrap();
        assert_eq!(second.headers["kind"], "x");
        client.write_all(&data(1, b"in", true)).await.unwrap();
        assert_eq!(first.input.read().await.unwrap(), &b"in"[..]);
        assert_eq!(first.input.read().await, None);
        second.output.write(b"out").await.unwrap();
        second.output.finish().await;
        assert_eq!(read_data(&mut client).await, (3, b"out".to_vec(), false));
        assert_eq!(read_data(&mut client).await, (3, Vec::new(), true));
    }

    #[tokio::test]
    async fn a_large_frame_comes_whole_and_in_pieces() {
        let (mut client, mut session) = pair();
        let sent: Vec<u8> = (0..1_000_000).map(|n| n as u8).collect();
        let frames = [open(&mut Blocks::new(), 1, &[]), data(1, &sent, true)].concat();
        let send = async { client.write_all(&frames).await.unwrap() };
        let receive = async {
            let mut stream = session.accept().await.unwrap();
            let mut received = Vec::new();
            while let Some(piece) = stream.input.read().await {
                assert!(piece.len() <= PIECE);
                received.extend_from_slice(&piece);
            }
            received
        };
        let ((), received) = tokio::join!(send, receive);
        assert!(received == sent);
    }

    #[tokio::test]
    async fn a_stream_that_was_reset_takes_nothing() {
        let (mut client, mut session) = pair();
        let frames = [open(&mut Blocks::new(), 1, &[]), reset(1)].concat();
        client.write_all(&frames).await.unwrap();
        let mut stream = session.accept().await.unwrap();
        assert_eq!(stream.input.read().await, None);
        assert!(stream.output.write(b"x").await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_its_streams() {
        let (mut client, mut session) = pair();
        let frame = open(&mut Blocks::new(), 1, &[]);
        client.write_all(&frame).await.unwrap();
        let mut stream = session.accept().await.unwrap();
        drop(client);
        assert!(session.accept().await.is_none());
        assert_eq!(stream.input.read().await, None);
    }

    #[tokio::test]
    async fn a_number_that_was_there_ends_the_connection() {
        for id in [1, 2] {
            let (mut client, mut session) = pair();
            let mut blocks = Blocks::new();
            let frames = [open(&mut blocks, 1, &[]), open(&mut blocks, id, &[])].concat();
            client.write_all(&frames).await.unwrap();
            assert!(session.accept().await.is_some());
            assert!(session.accept().await.is_none());
        }
    }

    #[tokio::test]
    async fn there_are_not_more_streams_than_may_be() {
        let (mut client, mut session) = pair();
        let mut blocks = Blocks::new();
        let most = MOST_STREAMS as u32;
        let frames: Vec<u8> = (0..most + 5)
            .flat_map(|number| open(&mut blocks, 2 * number + 1, &[]))
            .chain(ping(1))
            .collect();
        client.write_all(&frames).await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..most {
            streams.push(session.accept().await.unwrap());
        }
        client.shutdown().await.unwrap();
        assert!(session.accept().await.is_none());
    }
}
