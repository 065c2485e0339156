//! ttrpc messages: their header, their envelope, and how they are encoded without copying payloads.
//!
//! The envelope's messages are generated from `proto/ttrpc.proto`. No I/O may enter.

use bytes::{BufMut, Bytes};
use prost::Message as _;

use self::wire::{KeyValue, Request, Response};
use super::envelope;
use super::limits::MAX_MESSAGE;
use super::status::Status;

/// The messages in which a call and its answer travel.
#[allow(clippy::all, clippy::pedantic, unreachable_pub)]
mod wire {
    include!("../generated/envelope.rs");
}

/// Type of a message that begins a call.
pub(super) const REQUEST: u8 = 1;
/// Type of a message that answers a call.
pub(super) const RESPONSE: u8 = 2;
/// Type of a message inside a stream, which NRI has none of.
pub(super) const DATA: u8 = 3;

/// Length of a message's header.
pub(super) const HEADER_LEN: usize = 10;

/// What a message's header says. Its flags mean nothing where there are no streams: none are sent,
/// any are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) stream: u32,
    /// [`REQUEST`], [`RESPONSE`], [`DATA`] or something unknown.
    pub(super) kind: u8,
    /// Length of the data, as announced.
    pub(super) len: usize,
}

impl Head {
    pub(super) fn decode(header: &[u8; HEADER_LEN]) -> Self {
        let [a, b, c, d, e, f, g, h, kind, _flags] = *header;
        Self {
            stream: u32::from_be_bytes([e, f, g, h]),
            kind,
            len: u32::from_be_bytes([a, b, c, d]) as usize,
        }
    }

    pub(super) fn encode(self) -> [u8; HEADER_LEN] {
        // Whoever builds a message has checked its length against MAX_MESSAGE.
        let [a, b, c, d] = (self.len as u32).to_be_bytes();
        let [e, f, g, h] = self.stream.to_be_bytes();
        [a, b, c, d, e, f, g, h, self.kind, 0]
    }
}

/// A ttrpc message, payload apart: it goes out as head, payload, tail.
#[derive(Debug)]
pub(super) struct Message {
    header: Head,
    head: Vec<u8>,
    payload: Bytes,
    tail: Vec<u8>,
}

impl Message {
    fn new(stream: u32, kind: u8, head: Vec<u8>, payload: Bytes, tail: Vec<u8>) -> Self {
        let len = head.len() + payload.len() + tail.len();
        Self {
            header: Head { stream, kind, len },
            head,
            payload,
            tail,
        }
    }

    /// Length of the message with its header.
    pub(super) fn len(&self) -> usize {
        HEADER_LEN + self.header.len
    }

    /// The message's bytes: its header, and the runs that follow it.
    pub(super) fn into_runs(self) -> ([u8; HEADER_LEN], [Bytes; 3]) {
        let runs = [self.head.into(), self.payload, self.tail.into()];
        (self.header.encode(), runs)
    }
}

/// Tag of `service` in a `Request`: field 1, length-delimited.
const REQUEST_SERVICE: u8 = 1 << 3 | 2;
/// Tag of `method` in a `Request`: field 2, length-delimited.
const REQUEST_METHOD: u8 = 2 << 3 | 2;
/// Tag of `payload` in a `Request`: field 3, length-delimited.
const REQUEST_PAYLOAD: u8 = 3 << 3 | 2;
/// Tag of `payload` in a `Response`: field 2, length-delimited.
const RESPONSE_PAYLOAD: u8 = 2 << 3 | 2;

/// Appends the tag and length of a string or bytes field; an empty field is left out.
fn put_field_head(tag: u8, len: usize, out: &mut Vec<u8>) {
    if len > 0 {
        out.put_u8(tag);
        // It fails for want of room only, and a `Vec` always has room.
        let _ = prost::encode_length_delimiter(len, out);
    }
}

/// A request that is encoded except for its stream id and the time it has left.
#[derive(Debug, Clone)]
pub(super) struct PreparedRequest {
    /// Service, method, and the head of the payload field.
    head: Vec<u8>,
    payload: Bytes,
    metadata: Vec<u8>,
}

impl PreparedRequest {
    pub(super) fn new(
        service: &str,
        method: &str,
        payload: Bytes,
        metadata: &[(String, String)],
    ) -> Self {
        let mut head = Vec::with_capacity(service.len() + method.len() + 16);
        for (tag, name) in [(REQUEST_SERVICE, service), (REQUEST_METHOD, method)] {
            put_field_head(tag, name.len(), &mut head);
            head.extend_from_slice(name.as_bytes());
        }
        put_field_head(REQUEST_PAYLOAD, payload.len(), &mut head);
        let metadata = metadata
            .iter()
            .map(|(key, value)| KeyValue {
                key: key.clone(),
                value: value.clone(),
            })
            .collect();
        let metadata = Request {
            metadata,
            ..Request::default()
        };
        Self {
            head,
            payload,
            metadata: metadata.encode_to_vec(),
        }
    }

    /// Length of the message without its header, with this much time left (0: unlimited).
    pub(super) fn data_len(&self, timeout_nano: i64) -> usize {
        let timeout = time_left(timeout_nano).encoded_len();
        self.head.len() + self.payload.len() + timeout + self.metadata.len()
    }

    pub(super) fn into_message(self, stream: u32, timeout_nano: i64) -> Message {
        let mut tail = time_left(timeout_nano).encode_to_vec();
        tail.extend_from_slice(&self.metadata);
        Message::new(stream, REQUEST, self.head, self.payload, tail)
    }
}

/// A request that says nothing but how much time is left.
fn time_left(timeout_nano: i64) -> Request {
    Request {
        timeout_nano,
        ..Request::default()
    }
}

/// The message that answers `stream`. An answer above the limit becomes code 8, as the peer could
/// not receive it.
pub(super) fn response(stream: u32, result: Result<Vec<u8>, Status>) -> Message {
    let status = match result {
        Ok(payload) => {
            let mut head = Vec::new();
            put_field_head(RESPONSE_PAYLOAD, payload.len(), &mut head);
            let len = head.len() + payload.len();
            if len <= MAX_MESSAGE {
                return Message::new(stream, RESPONSE, head, payload.into(), Vec::new());
            }
            Status::too_large(len, MAX_MESSAGE)
        }
        Err(status) => status,
    };
    let mut head = encode_status(&status);
    if head.len() > MAX_MESSAGE {
        head = encode_status(&Status::too_large(head.len(), MAX_MESSAGE));
    }
    Message::new(stream, RESPONSE, head, Bytes::new(), Vec::new())
}

/// The data of a response that is this error.
pub(super) fn encode_status(status: &Status) -> Vec<u8> {
    let status = wire::Status {
        code: status.code.value(),
        message: status.message.clone(),
    };
    let response = Response {
        status: Some(status),
        payload: Bytes::new(),
    };
    response.encode_to_vec()
}

/// A request as it arrived. Its payload shares the bytes that arrived.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) service: String,
    pub(super) method: String,
    pub(super) payload: Bytes,
    pub(super) timeout_nano: i64,
    pub(super) metadata: Vec<(String, String)>,
}

pub(super) fn decode_request(data: Bytes) -> Result<Call, String> {
    envelope::check_request(&data)?;
    let request = Request::decode(data).map_err(|error| error.to_string())?;
    Ok(Call {
        service: request.service,
        method: request.method,
        payload: request.payload,
        timeout_nano: request.timeout_nano,
        metadata: request
            .metadata
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect(),
    })
}

/// The payload or the error that a response carries; a missing status and code 0 both mean success.
/// A payload shares the bytes that arrived.
pub(super) fn decode_response(data: Bytes) -> Result<Result<Bytes, Status>, String> {
    envelope::check_response(&data)?;
    let response = Response::decode(data).map_err(|error| error.to_string())?;
    Ok(match response.status {
        Some(status) if status.code != 0 => Err(Status::new(status.code.into(), status.message)),
        _ => Ok(response.payload),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protobuf::{EnumOrUnknown, MessageField};
    use ttrpc::MessageHeader;
    use ttrpc::proto::Codec as _;

    use super::*;
    use crate::transport::status::Code;

    fn prepared(payload: &[u8], metadata: &[(&str, &str)]) -> PreparedRequest {
        let metadata: Vec<_> = metadata
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        PreparedRequest::new(
            "a.Service",
            "Method",
            Bytes::copy_from_slice(payload),
            &metadata,
        )
    }

    /// What a message looks like on the wire, its frames joined.
    fn bytes_of(message: Message) -> Vec<u8> {
        let Message {
            header,
            head,
            payload,
            tail,
        } = message;
        [header.encode().to_vec(), head, payload.to_vec(), tail].concat()
    }

    /// A message without its header.
    fn data_of(bytes: &[u8]) -> Bytes {
        Bytes::copy_from_slice(&bytes[HEADER_LEN..])
    }

    /// Law: a header is read as it was written, and it is the `ttrpc` crate's.
    #[test]
    fn headers_are_those_of_the_ttrpc_crate() {
        for (stream, kind, len) in [
            (1, REQUEST, 0),
            (0x0102_0304, RESPONSE, MAX_MESSAGE),
            (u32::MAX, DATA, 7),
            (2, 99, u32::MAX as usize),
        ] {
            let head = Head { stream, kind, len };
            assert_eq!(Head::decode(&head.encode()), head);
            let theirs = MessageHeader {
                length: len as u32,
                stream_id: stream,
                type_: kind,
                flags: 0,
            };
            assert_eq!(Vec::from(theirs), head.encode());
        }
        assert_eq!(HEADER_LEN, ttrpc::proto::MESSAGE_HEADER_LENGTH);
        assert_eq!(REQUEST, ttrpc::proto::MESSAGE_TYPE_REQUEST);
        assert_eq!(RESPONSE, ttrpc::proto::MESSAGE_TYPE_RESPONSE);
        assert_eq!(DATA, ttrpc::proto::MESSAGE_TYPE_DATA);
    }

    /// Law: what the `ttrpc` crate encodes is read: metadata, negative times, codes without a name,
    /// and details, which are skipped.
    #[test]
    fn what_the_ttrpc_crate_encodes_is_read() {
        let request = ttrpc::Request {
            service: "a.Service".into(),
            method: "Method".into(),
            payload: vec![9; 5000],
            timeout_nano: -5,
            metadata: vec![ttrpc::proto::KeyValue {
                key: "k".into(),
                value: "v".into(),
                ..ttrpc::proto::KeyValue::default()
            }],
            ..ttrpc::Request::default()
        };
        let data = Bytes::from(request.encode().expect("encodes"));
        let call = decode_request(data.clone()).expect("decodes");
        assert_eq!((&*call.service, &*call.method), ("a.Service", "Method"));
        assert_eq!(call.timeout_nano, -5);
        assert_eq!(call.metadata, [("k".to_owned(), "v".to_owned())]);
        assert_eq!(call.payload, vec![9; 5000]);
        assert!(
            data.as_ptr_range().contains(&call.payload.as_ptr()),
            "shared, not copied"
        );
        for code in [-1, 5, 99] {
            let status = ttrpc::Status {
                code: EnumOrUnknown::from_i32(code),
                message: "why".into(),
                details: vec![ttrpc::proto::Any {
                    type_url: "type.example/a.B".into(),
                    value: vec![1, 2, 3],
                    ..Default::default()
                }],
                ..ttrpc::Status::default()
            };
            let response = ttrpc::Response {
                status: MessageField::some(status),
                ..ttrpc::Response::default()
            };
            let data = Bytes::from(response.encode().expect("encodes"));
            let expected = Status::new(Code::from(code), "why");
            assert_eq!(decode_response(data), Ok(Err(expected)));
        }
    }

    /// Law: a request in parts is byte for byte the request that the `ttrpc` crate encodes.
    #[test]
    fn a_request_in_parts_is_the_request() {
        for payload in [&b""[..], b"x", &[7; 300]] {
            for timeout_nano in [0, 1, 1_999_961_433, i64::MAX] {
                for metadata in [&[][..], &[("traceparent", "00"), ("a", ""), ("a", "b")]] {
                    let expected = ttrpc::Request {
                        service: "a.Service".into(),
                        method: "Method".into(),
                        payload: payload.to_vec(),
                        timeout_nano,
                        metadata: metadata
                            .iter()
                            .map(|(key, value)| ttrpc::proto::KeyValue {
                                key: (*key).into(),
                                value: (*value).into(),
                                ..ttrpc::proto::KeyValue::default()
                            })
                            .collect(),
                        ..ttrpc::Request::default()
                    };
                    let expected = expected.encode().expect("encodes");
                    let request = prepared(payload, metadata);
                    assert_eq!(request.data_len(timeout_nano), expected.len());
                    let bytes = bytes_of(request.into_message(5, timeout_nano));
                    assert_eq!(bytes[10..], expected);
                    let header = MessageHeader::new_request(5, expected.len() as u32);
                    assert_eq!(bytes[..10], Vec::from(header));
                }
            }
        }
    }

    #[test]
    fn responses_are_those_of_the_ttrpc_crate() {
        let success = ttrpc::Response {
            payload: vec![1; 200],
            ..ttrpc::Response::default()
        };
        let bytes = bytes_of(response(7, Ok(vec![1; 200])));
        assert_eq!(bytes[10..], success.encode().expect("encodes"));
        assert_eq!(
            bytes_of(response(7, Ok(Vec::new()))).len(),
            10,
            "an empty success has no data"
        );
        let status = Status::new(Code::NotFound, "none such");
        let bytes = bytes_of(response(7, Err(status.clone())));
        let failure = ttrpc::Response {
            status: MessageField::some(ttrpc::get_status(ttrpc::Code::NOT_FOUND, "none such")),
            ..ttrpc::Response::default()
        };
        assert_eq!(bytes[10..], failure.encode().expect("encodes"));
        assert_eq!(decode_response(data_of(&bytes)), Ok(Err(status)));
    }

    /// Law: an answer that the peer could not receive becomes code 8.
    #[test]
    fn an_oversized_answer_becomes_a_status() {
        let overhead = 1 + 4;
        let largest = response(1, Ok(vec![0; MAX_MESSAGE - overhead]));
        assert_eq!(largest.len(), 10 + MAX_MESSAGE);
        for result in [
            Ok(vec![0; MAX_MESSAGE - overhead + 1]),
            Err(Status::unknown("x".repeat(MAX_MESSAGE))),
        ] {
            let bytes = bytes_of(response(1, result));
            let status = decode_response(data_of(&bytes))
                .expect("decodes")
                .expect_err("a status");
            assert_eq!(status.code, Code::ResourceExhausted);
        }
    }

    #[test]
    fn a_missing_status_and_code_0_are_success() {
        for status in [
            MessageField::none(),
            MessageField::some(ttrpc::Status::default()),
        ] {
            let response = ttrpc::Response {
                status,
                payload: vec![5],
                ..ttrpc::Response::default()
            };
            let data = response.encode().expect("encodes").into();
            assert_eq!(decode_response(data), Ok(Ok(Bytes::from_static(&[5]))));
        }
    }

    /// Law: lengths inside a message are held against the message, not against memory.
    #[test]
    fn announced_lengths_inside_a_message_are_errors() {
        // Field 3 of 2^31 - 1 bytes; a string of 2^60 bytes; a group that never ends; bytes that
        // are not UTF-8.
        for data in [
            &[0x1a, 0xff, 0xff, 0xff, 0xff, 0x07, 1][..],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0x33; 5000],
            &[0x0a, 0x02, 0xff, 0xfe],
        ] {
            decode_request(Bytes::from_static(data)).expect_err("not a request");
        }
    }

    proptest! {
        /// Law: garbage is an error or a message, never a panic.
        #[test]
        fn garbage_decodes_to_something(garbage in prop::collection::vec(any::<u8>(), 0..3000)) {
            let garbage = Bytes::from(garbage);
            let _ = decode_request(garbage.clone());
            let _ = decode_response(garbage);
        }
    }
}
