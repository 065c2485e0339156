//! Bytes of a connection, in both directions, to what was said. It reads along, and changes
//! nothing. What may not enter: I/O and time.

use std::collections::HashMap;

use bytes::Bytes;
use nri_proto::frame::{Decoder, PLUGIN_ID, RUNTIME_ID};
use nri_proto::transport::MAX_MESSAGE;
use prost::Message as _;

use super::entry::{Side, What};

/// The length of a message's header, and its kinds.
const HEADER: usize = 10;
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
/// How many requests without an answer are remembered, to name the method of the answer.
const UNANSWERED: usize = 4096;

#[derive(Clone, PartialEq, prost::Message)]
struct Call {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "bytes", tag = "3")]
    payload: Bytes,
    #[prost(int64, tag = "4")]
    timeout_ns: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reply {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(bytes = "bytes", tag = "2")]
    payload: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// What one side has sent of a message on one logical connection.
#[derive(Debug, Default)]
struct Partial {
    header: Vec<u8>,
    data: Vec<u8>,
    /// How much of a message that is too long has gone by.
    skipped: usize,
}

/// One direction.
#[derive(Debug, Default)]
struct Direction {
    frames: Decoder,
    partial: [Partial; 2],
    is_lost: bool,
}

/// Reads along with one connection.
#[derive(Debug, Default)]
pub(super) struct Trace {
    from_runtime: Direction,
    from_plugin: Direction,
    /// Methods by who serves them and the number of the request.
    unanswered: HashMap<(u32, u32), String>,
}

impl Trace {
    /// Bytes that one side has sent; `say` gets what is whole with them.
    pub(super) fn read(&mut self, from: Side, mut bytes: &[u8], mut say: impl FnMut(What)) {
        let direction = match from {
            Side::Runtime => &mut self.from_runtime,
            Side::Plugin => &mut self.from_plugin,
        };
        while !direction.is_lost {
            let piece = match direction.frames.next(&mut bytes) {
                Ok(Some(piece)) => piece,
                Ok(None) => return,
                Err(error) => {
                    direction.is_lost = true;
                    let who = from.word();
                    say(What::Lost {
                        why: format!("what the {who} sends from here on cannot be read: {error}"),
                    });
                    return;
                }
            };
            let partial = match piece.id {
                PLUGIN_ID => &mut direction.partial[0],
                RUNTIME_ID => &mut direction.partial[1],
                // Nobody listens there.
                _ => continue,
            };
            let mut data = piece.data;
            while let Some(message) = partial.next(&mut data) {
                say(understand(&mut self.unanswered, from, piece.id, message));
            }
        }
    }
}

/// A message: its kind, its stream, and its data or, if it was too long, how long it was.
type Whole = (u8, u32, Result<Bytes, usize>);

impl Partial {
    fn next(&mut self, input: &mut &[u8]) -> Option<Whole> {
        let take = input.len().min(HEADER - self.header.len());
        self.header.extend(&input[..take]);
        *input = &input[take..];
        let [a, b, c, d, e, f, g, h, kind, _] = self.header[..] else {
            return None;
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let stream = u32::from_be_bytes([e, f, g, h]);
        let is_too_long = length > MAX_MESSAGE;
        let take = input.len().min(length - self.data.len() - self.skipped);
        match is_too_long {
            true => self.skipped += take,
            // It grows with what comes, never with what is announced.
            false => self.data.extend(&input[..take]),
        }
        *input = &input[take..];
        if self.data.len() + self.skipped < length {
            return None;
        }
        let Self { data, .. } = std::mem::take(self);
        let data = match is_too_long {
            true => Err(length),
            false => Ok(data.into()),
        };
        Some((kind, stream, data))
    }
}

fn understand(
    unanswered: &mut HashMap<(u32, u32), String>,
    from: Side,
    id: u32,
    (kind, stream, data): Whole,
) -> What {
    let lost = |why: String| What::Lost {
        why: format!("a message of the {} {why}", from.word()),
    };
    let data = match data {
        Ok(data) => data,
        Err(length) => {
            return lost(format!(
                "has {length} bytes, above the limit of {MAX_MESSAGE}"
            ));
        }
    };
    match kind {
        REQUEST => match Call::decode(data) {
            Ok(call) => {
                if unanswered.len() < UNANSWERED {
                    unanswered.insert((id, stream), call.method.clone());
                }
                What::Request {
                    from,
                    stream,
                    method: call.method,
                    payload: call.payload,
                    timeout_ns: call.timeout_ns,
                }
            }
            Err(error) => lost(format!("is no request: {error}")),
        },
        RESPONSE => match Reply::decode(data) {
            Ok(reply) => What::Answer {
                from,
                stream,
                method: unanswered.remove(&(id, stream)).unwrap_or_default(),
                payload: reply.payload,
                error: reply
                    .status
                    .filter(|status| status.code != 0)
                    .map(|status| (status.code, status.message)),
            },
            Err(error) => lost(format!("is no answer: {error}")),
        },
        kind => lost(format!("is of kind {kind}, which nobody uses")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(id: u32, kind: u8, stream: u32, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap();
        let mut message = length.to_be_bytes().to_vec();
        message.extend(stream.to_be_bytes());
        message.extend([kind, 0]);
        message.extend(data);
        let mut framed = Vec::new();
        nri_proto::frame::append_message(id, &message, &mut framed).unwrap();
        framed
    }

    fn said(trace: &mut Trace, from: Side, bytes: &[u8]) -> Vec<What> {
        let mut said = Vec::new();
        trace.read(from, bytes, |what| said.push(what));
        said
    }

    proptest! {
        #[test]
        fn messages_are_read_however_their_bytes_are_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6000), 1..6),
            cut in 1_usize..5000,
        ) {
            let mut bytes = Vec::new();
            for (number, payload) in (1..).zip(&payloads) {
                let call = Call { method: "Configure".into(), payload: payload.clone().into(), timeout_ns: 7 };
                bytes.extend(message(PLUGIN_ID, REQUEST, number, &call.encode_to_vec()));
            }
            let mut trace = Trace::default();
            let mut all = Vec::new();
            for piece in bytes.chunks(cut) {
                all.extend(said(&mut trace, Side::Runtime, piece));
            }
            prop_assert_eq!(all.len(), payloads.len());
            for (what, expected) in all.into_iter().zip(payloads) {
                let What::Request { payload, method, .. } = what else { panic!("a request") };
                prop_assert_eq!(&payload[..], &expected[..]);
                prop_assert_eq!(method, "Configure");
            }
        }

        #[test]
        fn whatever_comes_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            let mut trace = Trace::default();
            said(&mut trace, Side::Plugin, &bytes);
            said(&mut trace, Side::Runtime, &bytes);
        }
    }

    #[test]
    fn answers_are_named_by_their_requests_and_what_cannot_be_read_is_said() {
        let mut trace = Trace::default();
        let call = Call {
            method: "Shutdown".into(),
            ..Default::default()
        };
        said(
            &mut trace,
            Side::Runtime,
            &message(PLUGIN_ID, REQUEST, 1, &call.encode_to_vec()),
        );
        let answer = said(
            &mut trace,
            Side::Plugin,
            &message(PLUGIN_ID, RESPONSE, 1, &[]),
        );
        assert!(
            matches!(&answer[..], [What::Answer { method, error: None, .. }] if method == "Shutdown")
        );
        // The other service's requests have numbers of their own.
        let other = said(
            &mut trace,
            Side::Runtime,
            &message(RUNTIME_ID, RESPONSE, 1, &[]),
        );
        assert!(matches!(&other[..], [What::Answer { method, .. }] if method.is_empty()));
        let kind = said(&mut trace, Side::Runtime, &message(PLUGIN_ID, 3, 1, &[]));
        assert!(matches!(&kind[..], [What::Lost { .. }]), "{kind:?}");
        let lost = said(&mut trace, Side::Runtime, &[0xff; 64]);
        assert!(matches!(&lost[..], [What::Lost { .. }]), "{lost:?}");
        assert_eq!(said(&mut trace, Side::Runtime, &[0xff; 64]), []);
    }
}
