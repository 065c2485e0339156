//! What becomes of our calls, whatever the peer makes of them.

use std::time::Duration;

use bytes::Bytes;
use nri_proto::transport::{CallError, CallOptions, CloseReason, Code, Role, Status};
use nri_proto::{api, rpc};
use prost::Message as _;
use ttrpc::proto::Codec as _;

use crate::support::{DATA, Message, Pair, REQUEST, RESPONSE, ROLES, echo, success, within};

#[tokio::test]
async fn metadata_of_a_call_reaches_the_peer() {
    within(async {
        let mut pair = Pair::new(Role::Runtime, echo());
        let client = pair.connection.client();
        let options = CallOptions::timeout(Duration::from_secs(50))
            .with_metadata("k", "1")
            .with_metadata("k", "2");
        let call = client.call_encoded("s", "m", Bytes::from_static(b"p"), options);
        let peer = async {
            let message = pair.peer.expect().await;
            let request = message.request();
            assert_eq!((&*request.service, &*request.method), ("s", "m"));
            assert_eq!(request.payload, b"p");
            let metadata: Vec<_> = request
                .metadata
                .iter()
                .map(|pair| (&*pair.key, &*pair.value))
                .collect();
            assert_eq!(metadata, [("k", "1"), ("k", "2")]);
            assert!(request.timeout_nano > 0 && request.timeout_nano <= 50_000_000_000);
            pair.peer
                .send(&Message::new(1, message.stream, RESPONSE, success(b"r")))
                .await;
        };
        let (reply, ()) = tokio::join!(call, peer);
        assert_eq!(reply, Ok(Bytes::from_static(b"r")));
    })
    .await;
}

#[tokio::test]
async fn late_and_unknown_replies_are_dropped() {
    within(async {
        for role in ROLES {
            let mut pair = Pair::new(role, echo());
            let client = pair.connection.client();
            let begin = |method| client.begin("s", method, Bytes::new(), CallOptions::default());
            let given_up = begin("1").await.unwrap();
            let kept = begin("2").await.unwrap();
            drop(given_up);
            let id = pair.client;
            // Given up; never asked; not asked yet; even; and then the one that counts, twice.
            for stream in [1, 99, 5, 2, 3, 3] {
                pair.peer
                    .send(&Message::new(
                        id,
                        stream,
                        RESPONSE,
                        success(&[stream as u8]),
                    ))
                    .await;
            }
            assert_eq!(kept.await, Ok(Bytes::from_static(&[3])));
            pair.peer.expect().await;
            pair.peer.expect().await;
            pair.works(1).await;
            assert_eq!(pair.connection.stats().late_replies, 5);
            assert_eq!(pair.connection.stats().calls, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_reply_of_another_type_is_a_protocol_error() {
    within(async {
        for role in ROLES {
            for kind in [REQUEST, DATA, 0, 77] {
                let mut pair = Pair::new(role, echo());
                let client = pair.connection.client();
                let pending = client
                    .begin("s", "m", Bytes::new(), CallOptions::default())
                    .await
                    .unwrap();
                pair.peer.expect().await;
                // To one that nobody waits for it does nothing.
                pair.peer
                    .send(&Message::new(pair.client, 3, kind, Vec::new()))
                    .await;
                pair.works(1).await;
                pair.peer
                    .send(&Message::new(pair.client, 1, kind, Vec::new()))
                    .await;
                let reason = pair.connection.closed().await;
                let expected =
                    format!("a message of type {kind} where stream 1 awaits its response");
                assert_eq!(reason, CloseReason::Protocol(expected));
                assert_eq!(pending.await, Err(CallError::Closed(reason)));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_status_becomes_the_error_and_an_undecodable_reply_its_own() {
    within(async {
        let mut pair = Pair::new(Role::Runtime, echo());
        let client = pair.connection.client();
        let status = ttrpc::get_status(ttrpc::Code::NOT_FOUND, "none such");
        let response = ttrpc::Response {
            status: protobuf::MessageField::some(status),
            payload: b"lost".to_vec(),
            ..ttrpc::Response::default()
        };
        let not_a_message = api::ConfigureResponse {
            events: 1,
            ..Default::default()
        }
        .encode_to_vec();
        for (data, expected) in [
            (
                response.encode().unwrap(),
                Some(Status::new(Code::NotFound, "none such")),
            ),
            (vec![0xff; 12], None),
            (success(&not_a_message[..1]), None),
        ] {
            let request = api::ConfigureRequest::default();
            let call = client.call::<rpc::plugin::Configure>(&request, CallOptions::default());
            let answer = async {
                let stream = loop {
                    let message = pair.peer.expect().await;
                    if message.kind == REQUEST {
                        break message.stream;
                    }
                };
                pair.peer
                    .send(&Message::new(1, stream, RESPONSE, data))
                    .await;
            };
            let error = tokio::join!(call, answer).0.unwrap_err();
            match expected {
                Some(status) => assert_eq!(error, CallError::Status(status)),
                None => {
                    assert!(matches!(error, CallError::Decode(_)), "{error}");
                    assert_eq!(error.code(), Code::Internal);
                }
            }
        }
        pair.works(1).await;
    })
    .await;
}
