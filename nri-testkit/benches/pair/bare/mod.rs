//! The least possible at either end: blocking reads and writes of bytes that were encoded before,
//! with no library's runtime and no event loop around them. Beside such an end the other one is
//! measured alone: what it costs whoever calls it, or whoever it calls.

mod plugin;
mod runtime;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use nri_proto::frame::{self, Decoder, HEADER_LEN};
use prost::Message as _;

pub(crate) use plugin::join;
pub(crate) use runtime::serve;

use crate::Failure;

/// In front of each message of ttrpc: length, stream, type, flags.
const TTRPC_LEN: usize = 10;
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
/// The two logical connections.
const LOGICAL: [u32; 2] = [frame::PLUGIN_ID, frame::RUNTIME_ID];
const BUFFER: usize = 64 << 10;

/// The envelope of a call.
#[derive(Clone, PartialEq, prost::Message)]
struct Call {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "vec", tag = "3")]
    payload: Vec<u8>,
    #[prost(int64, tag = "4")]
    timeout_nano: i64,
}

/// The envelope of an answer.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(bytes = "vec", optional, tag = "1")]
    status: Option<Vec<u8>>,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

/// A call as it goes out, apart from its stream.
fn call(id: u32, service: &str, method: &str, payload: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let call = Call {
        service: service.to_owned(),
        method: method.to_owned(),
        payload,
        timeout_nano: 20_000_000_000,
    };
    framed(id, REQUEST, &call.encode_to_vec())
}

/// An answer as it goes out, apart from its stream.
fn answer(id: u32, payload: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let answer = Answer {
        status: None,
        payload,
    };
    framed(id, RESPONSE, &answer.encode_to_vec())
}

fn framed(id: u32, kind: u8, data: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut message = u32::try_from(data.len())?.to_be_bytes().to_vec();
    message.extend([0, 0, 0, 0, kind, 0]);
    message.extend_from_slice(data);
    let mut frames = Vec::new();
    frame::append_message(id, &message, &mut frames)?;
    Ok(frames)
}

/// A message that has come whole.
struct Arrived {
    stream: u32,
    data: Vec<u8>,
}

impl Arrived {
    /// The payload of an answer that is none of an error.
    fn payload(&self) -> Result<Vec<u8>, Failure> {
        let answer = Answer::decode(&*self.data)?;
        match answer.status {
            None => Ok(answer.payload),
            Some(status) => Err(format!("refused: {}", String::from_utf8_lossy(&status)).into()),
        }
    }
}

/// A connection, and what has come of each logical one.
struct Line {
    stream: UnixStream,
    frames: Decoder,
    buffer: Vec<u8>,
    come: [Vec<u8>; 2],
    calls: u32,
}

impl Line {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            frames: Decoder::default(),
            buffer: vec![0; BUFFER],
            come: Default::default(),
            calls: 0,
        }
    }

    /// Writes a message, on this stream.
    fn write(&mut self, stream: u32, message: &mut [u8]) -> Result<(), Failure> {
        message[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&stream.to_be_bytes());
        Ok(self.stream.write_all(message)?)
    }

    /// The next message on a logical connection; `None` if the peer has closed.
    fn next(&mut self, id: u32) -> Result<Option<Arrived>, Failure> {
        loop {
            let come = &mut self.come[usize::from(id != LOGICAL[0])];
            if let Some((head, data)) = come.split_first_chunk::<TTRPC_LEN>() {
                let [a, b, c, d, e, f, g, h, ..] = *head;
                let len = u32::from_be_bytes([a, b, c, d]) as usize;
                if data.len() >= len {
                    let message = Arrived {
                        stream: u32::from_be_bytes([e, f, g, h]),
                        data: data[..len].to_vec(),
                    };
                    come.drain(..TTRPC_LEN + len);
                    return Ok(Some(message));
                }
            }
            let count = self.stream.read(&mut self.buffer)?;
            if count == 0 {
                return Ok(None);
            }
            let mut input = &self.buffer[..count];
            while let Some(piece) = self.frames.next(&mut input)? {
                self.come[usize::from(piece.id != LOGICAL[0])].extend_from_slice(piece.data);
            }
        }
    }

    /// Calls the peer, and returns its answer.
    fn call(&mut self, id: u32, message: &mut [u8]) -> Result<Arrived, Failure> {
        let stream = self.calls * 2 + 1;
        self.calls += 1;
        self.write(stream, message)?;
        let answer = self.next(id)?.ok_or("the peer has closed")?;
        if answer.stream != stream {
            return Err("this answers another call".into());
        }
        Ok(answer)
    }
}
