//! A raw peer that speaks frames and messages by hand, and services made of closures.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use nri_proto::frame::{self, Decoder, Header};
use nri_proto::transport::{CallContext, Code, Connection, Limits, Role, Service, Status};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use ttrpc::proto::{Codec as _, MessageHeader, Request, Response};

pub(crate) const REQUEST: u8 = 1;
pub(crate) const RESPONSE: u8 = 2;
pub(crate) const DATA: u8 = 3;
pub(crate) const LIMIT: usize = 4 << 20;

/// Fails a test that hangs. Generous: the machine may be loaded.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("the test hangs")
}

/// A ttrpc message as a raw peer sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: u32,
    pub(crate) stream: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) data: Vec<u8>,
}

impl Message {
    pub(crate) fn new(id: u32, stream: u32, kind: u8, data: Vec<u8>) -> Self {
        Self {
            id,
            stream,
            kind,
            flags: 0,
            data,
        }
    }

    /// The message's bytes, without frames.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::from(MessageHeader {
            length: self.data.len() as u32,
            stream_id: self.stream,
            type_: self.kind,
            flags: self.flags,
        });
        bytes.extend_from_slice(&self.data);
        bytes
    }

    /// The message's bytes, in frames as the sender's rule says.
    pub(crate) fn wire(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        frame::append_message(self.id, &self.bytes(), &mut wire).unwrap();
        wire
    }

    pub(crate) fn request(&self) -> Request {
        assert_eq!(self.kind, REQUEST);
        Request::decode(&self.data).unwrap()
    }

    /// The payload or the error of a response.
    pub(crate) fn result(&self) -> Result<Vec<u8>, Status> {
        assert_eq!(self.kind, RESPONSE);
        let response = Response::decode(&self.data).unwrap();
        match response.status.into_option() {
            Some(status) if status.code.value() != 0 => {
                Err(Status::new(Code::from(status.code.value()), status.message))
            }
            _ => Ok(response.payload),
        }
    }

    pub(crate) fn code(&self) -> Code {
        self.result().expect_err("an error is expected").code
    }
}

/// The data of a request.
pub(crate) fn request(service: &str, method: &str, payload: &[u8]) -> Vec<u8> {
    let request = Request {
        service: service.into(),
        method: method.into(),
        payload: payload.to_vec(),
        ..Request::default()
    };
    request.encode().unwrap()
}

/// The data of a response that is a success.
pub(crate) fn success(payload: &[u8]) -> Vec<u8> {
    Response {
        payload: payload.to_vec(),
        ..Response::default()
    }
    .encode()
    .unwrap()
}

/// The other end of a connection, by hand. It checks that what it gets keeps the sender's rule.
pub(crate) struct Peer<S> {
    pub(crate) stream: S,
    frames: Decoder,
    /// Frames in order of arrival: id, payload, and whether all of it is there.
    arrived: VecDeque<(u32, Vec<u8>, bool)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            frames: Decoder::default(),
            arrived: VecDeque::new(),
        }
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn send(&mut self, message: &Message) {
        self.send_bytes(&message.wire()).await;
    }

    pub(crate) async fn send_frame(&mut self, id: u32, payload: &[u8]) {
        let header = Header {
            id,
            len: payload.len() as u32,
        };
        self.send_bytes(&[&header.encode(), payload].concat()).await;
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<(u32, Vec<u8>)> {
        while !self.arrived.front().is_some_and(|(_, _, whole)| *whole) {
            let mut buffer = vec![0; 65_536];
            let count = self.stream.read(&mut buffer).await.ok()?;
            if count == 0 {
                self.frames
                    .finish()
                    .expect("the connection ends between frames");
                return None;
            }
            let mut input = &buffer[..count];
            while let Some(piece) = self.frames.next(&mut input).unwrap() {
                if piece.first {
                    self.arrived.push_back((piece.id, Vec::new(), false));
                }
                let (_, payload, whole) = self.arrived.back_mut().unwrap();
                payload.extend_from_slice(piece.data);
                *whole = piece.last;
            }
        }
        self.arrived
            .pop_front()
            .map(|(id, payload, _)| (id, payload))
    }

    /// The next message; `None` at the end.
    pub(crate) async fn receive(&mut self) -> Option<Message> {
        let (id, mut bytes) = self.frame().await?;
        assert!(
            bytes.len() >= 10,
            "a message starts a frame, and its header is whole"
        );
        let header = MessageHeader::from(&bytes[..10]);
        let (first, second) = frame::segments(10 + header.length as usize);
        assert_eq!(bytes.len(), first, "the first frame of a message");
        if let Some(second) = second {
            let (next, rest) = self.frame().await?;
            assert_eq!(
                (next, rest.len()),
                (id, second),
                "the second frame of a message"
            );
            bytes.extend(rest);
        }
        assert!(
            [REQUEST, RESPONSE].contains(&header.type_),
            "never data messages"
        );
        assert_eq!(header.flags, 0);
        let data = bytes.split_off(10);
        Some(Message {
            id,
            stream: header.stream_id,
            kind: header.type_,
            flags: 0,
            data,
        })
    }

    /// The next message, which must come.
    pub(crate) async fn expect(&mut self) -> Message {
        self.receive().await.expect("another message is expected")
    }
}

/// A service that is a closure over context, method and payload.
pub(crate) struct Serve<F>(pub(crate) &'static str, pub(crate) F);

#[async_trait::async_trait]
impl<F, R> Service for Serve<F>
where
    F: Fn(CallContext, String, Bytes) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Vec<u8>, Status>> + Send,
{
    fn name(&self) -> &'static str {
        self.0
    }

    async fn call(
        &self,
        context: CallContext,
        method: &str,
        payload: Bytes,
    ) -> Result<Vec<u8>, Status> {
        (self.1)(context, method.to_owned(), payload).await
    }
}

pub(crate) const ROLES: [Role; 2] = [Role::Runtime, Role::Plugin];

/// A connection of ours and a raw peer; the ids on which we call and on which we serve.
pub(crate) struct Pair {
    pub(crate) connection: Connection,
    pub(crate) peer: Peer<UnixStream>,
    pub(crate) client: u32,
    pub(crate) server: u32,
}

impl Pair {
    pub(crate) fn new(role: Role, service: impl Service) -> Self {
        Self::limited(role, service, Limits::default())
    }

    pub(crate) fn limited(role: Role, service: impl Service, limits: Limits) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let connection = Connection::builder(role)
            .serve(service)
            .limits(limits)
            .start(ours);
        let (client, server) = if role == Role::Runtime {
            (1, 2)
        } else {
            (2, 1)
        };
        Self {
            connection,
            peer: Peer::new(theirs),
            client,
            server,
        }
    }

    pub(crate) async fn ask(&mut self, stream: u32, kind: u8, data: Vec<u8>) {
        self.peer
            .send(&Message::new(self.server, stream, kind, data))
            .await;
    }

    /// The next message must be the answer on `stream`.
    pub(crate) async fn answer(&mut self, stream: u32) -> Result<Vec<u8>, Status> {
        let answer = self.peer.expect().await;
        assert_eq!((answer.id, answer.stream), (self.server, stream));
        answer.result()
    }

    /// An ordinary request is served, and nothing else was sent before.
    pub(crate) async fn works(&mut self, stream: u32) {
        self.ask(stream, REQUEST, request(ECHO, "m", b"ping")).await;
        assert_eq!(self.answer(stream).await, Ok(b"ping".to_vec()));
    }
}

pub(crate) const ECHO: &str = "test.Echo";

/// A service whose every method returns its payload.
pub(crate) fn echo() -> impl Service {
    Serve(
        ECHO,
        |_, _, payload: Bytes| async move { Ok(payload.to_vec()) },
    )
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
