//! ttrpc messages: what they say, and how they are encoded without copying payloads.
//!
//! Here, and nowhere else, the types of the `ttrpc` crate's protocol layer are used. No I/O may enter.

use bytes::{BufMut, Bytes};
use protobuf::{EnumOrUnknown, MessageField};
use ttrpc::proto::{
    Codec as _, KeyValue, MESSAGE_HEADER_LENGTH, MessageHeader, Request, Response,
    Status as WireStatus,
};
pub(super) use ttrpc::proto::{
    MESSAGE_TYPE_DATA as DATA, MESSAGE_TYPE_REQUEST as REQUEST, MESSAGE_TYPE_RESPONSE as RESPONSE,
};

use super::envelope;
use super::limits::MAX_MESSAGE;
use super::status::Status;

/// A ttrpc message, payload apart: it goes out as head, payload, tail.
#[derive(Debug)]
pub(super) struct Message {
    header: MessageHeader,
    head: Vec<u8>,
    payload: Bytes,
    tail: Vec<u8>,
}

impl Message {
    fn new(header: MessageHeader, head: Vec<u8>, payload: Bytes, tail: Vec<u8>) -> Self {
        let mut message = Self {
            header,
            head,
            payload,
            tail,
        };
        // Whoever builds a message has checked it against MAX_MESSAGE.
        message.header.length = message.data_len() as u32;
        message
    }

    /// Length of the message without its header.
    fn data_len(&self) -> usize {
        self.head.len() + self.payload.len() + self.tail.len()
    }

    /// Length of the message with its header.
    pub(super) fn len(&self) -> usize {
        HEADER_LEN + self.data_len()
    }

    /// The message's bytes, in runs that follow each other.
    pub(super) fn into_runs(self) -> [Bytes; 4] {
        [
            Vec::from(self.header).into(),
            self.head.into(),
            self.payload,
            self.tail.into(),
        ]
    }
}

/// Tag of `payload` in a `Request`: field 3, length-delimited.
const REQUEST_PAYLOAD: u8 = 3 << 3 | 2;
/// Tag of `payload` in a `Response`: field 2, length-delimited.
const RESPONSE_PAYLOAD: u8 = 2 << 3 | 2;

/// Appends the tag and length of a bytes field; an empty field is left out.
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
        let names = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            ..Request::default()
        };
        let mut head = encode_request(&names);
        put_field_head(REQUEST_PAYLOAD, payload.len(), &mut head);
        let metadata = metadata
            .iter()
            .map(|(key, value)| KeyValue {
                key: key.clone(),
                value: value.clone(),
                ..KeyValue::default()
            })
            .collect();
        let metadata = encode_request(&Request {
            metadata,
            ..Request::default()
        });
        Self {
            head,
            payload,
            metadata,
        }
    }

    /// Length of the message without its header, with this much time left (0: unlimited).
    pub(super) fn data_len(&self, timeout_nano: i64) -> usize {
        let timeout = Request {
            timeout_nano,
            ..Request::default()
        };
        self.head.len() + self.payload.len() + timeout.size() as usize + self.metadata.len()
    }

    pub(super) fn into_message(self, stream: u32, timeout_nano: i64) -> Message {
        let mut tail = encode_request(&Request {
            timeout_nano,
            ..Request::default()
        });
        tail.extend_from_slice(&self.metadata);
        Message::new(
            MessageHeader::new_request(stream, 0),
            self.head,
            self.payload,
            tail,
        )
    }
}

fn encode_request(request: &Request) -> Vec<u8> {
    // Without required fields, and into memory, encoding does not fail.
    request.encode().unwrap_or_default()
}

/// The message that answers `stream`. An answer above the limit becomes code 8, as the peer could not receive it.
pub(super) fn response(stream: u32, result: Result<Vec<u8>, Status>) -> Message {
    let header = MessageHeader::new_response(stream, 0);
    let status = match result {
        Ok(payload) => {
            let mut head = Vec::new();
            put_field_head(RESPONSE_PAYLOAD, payload.len(), &mut head);
            let len = head.len() + payload.len();
            if len <= MAX_MESSAGE {
                return Message::new(header, head, payload.into(), Vec::new());
            }
            Status::too_large(len, MAX_MESSAGE)
        }
        Err(status) => status,
    };
    let mut head = encode_status(&status);
    if head.len() > MAX_MESSAGE {
        head = encode_status(&Status::too_large(head.len(), MAX_MESSAGE));
    }
    Message::new(header, head, Bytes::new(), Vec::new())
}

fn encode_status(status: &Status) -> Vec<u8> {
    let status = WireStatus {
        code: EnumOrUnknown::from_i32(status.code.value()),
        message: status.message.clone(),
        ..WireStatus::default()
    };
    let response = Response {
        status: MessageField::some(status),
        ..Response::default()
    };
    response.encode().unwrap_or_default()
}

/// A request as it arrived.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) service: String,
    pub(super) method: String,
    pub(super) payload: Bytes,
    pub(super) timeout_nano: i64,
    pub(super) metadata: Vec<(String, String)>,
}

pub(super) fn decode_request(data: &[u8]) -> Result<Call, String> {
    envelope::check_request(data)?;
    let request = Request::decode(data).map_err(|error| error.to_string())?;
    Ok(Call {
        service: request.service,
        method: request.method,
        payload: request.payload.into(),
        timeout_nano: request.timeout_nano,
        metadata: request
            .metadata
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect(),
    })
}

/// The payload or the error that a response carries; a missing status and code 0 both mean success.
pub(super) fn decode_response(data: &[u8]) -> Result<Result<Bytes, Status>, String> {
    envelope::check_response(data)?;
    let response = Response::decode(data).map_err(|error| error.to_string())?;
    Ok(match response.status.into_option() {
        Some(status) if status.code.value() != 0 => {
            Err(Status::new(status.code.value().into(), status.message))
        }
        _ => Ok(response.payload.into()),
    })
}

/// Length of a message's header.
pub(super) const HEADER_LEN: usize = MESSAGE_HEADER_LENGTH;

/// What a message's header says.
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
        let header = MessageHeader::from(header);
        Self {
            stream: header.stream_id,
            kind: header.type_,
            len: header.length as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        [Vec::from(header), head, payload.to_vec(), tail].concat()
    }

    /// Law: a request in parts is byte for byte the request that the protocol layer encodes.
    #[test]
    fn a_request_in_parts_is_the_request() {
        for payload in [&b""[..], b"x", &[7; 300]] {
            for timeout_nano in [0, 1, 1_999_961_433, i64::MAX] {
                for metadata in [&[][..], &[("traceparent", "00"), ("a", ""), ("a", "b")]] {
                    let expected = Request {
                        service: "a.Service".into(),
                        method: "Method".into(),
                        payload: payload.to_vec(),
                        timeout_nano,
                        metadata: metadata
                            .iter()
                            .map(|(key, value)| KeyValue {
                                key: (*key).into(),
                                value: (*value).into(),
                                ..KeyValue::default()
                            })
                            .collect(),
                        ..Request::default()
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
    fn responses_are_those_of_the_protocol_layer() {
        let success = Response {
            payload: vec![1; 200],
            ..Response::default()
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
        assert_eq!(decode_response(&bytes[10..]), Ok(Err(status)));
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
            let status = decode_response(&bytes[10..])
                .expect("decodes")
                .expect_err("a status");
            assert_eq!(status.code, Code::ResourceExhausted);
        }
    }

    #[test]
    fn a_missing_status_and_code_0_are_success() {
        for status in [
            MessageField::none(),
            MessageField::some(WireStatus::default()),
        ] {
            let response = Response {
                status,
                payload: vec![5],
                ..Response::default()
            };
            let data = response.encode().expect("encodes");
            assert_eq!(decode_response(&data), Ok(Ok(Bytes::from_static(&[5]))));
        }
    }

    /// Law: lengths inside a message are held against the message, not against memory.
    #[test]
    fn announced_lengths_inside_a_message_are_errors() {
        // Field 3 of 2^31 - 1 bytes; a string of 2^60 bytes; a group that never ends; bytes that are not UTF-8.
        for data in [
            &[0x1a, 0xff, 0xff, 0xff, 0xff, 0x07, 1][..],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0x33; 5000],
            &[0x0a, 0x02, 0xff, 0xfe],
        ] {
            decode_request(data).expect_err("not a request");
        }
    }

    proptest! {
        /// Law: garbage is an error or a message, never a panic.
        #[test]
        fn garbage_decodes_to_something(garbage in prop::collection::vec(any::<u8>(), 0..3000)) {
            let _ = decode_request(&garbage);
            let _ = decode_response(&garbage);
        }
    }
}
