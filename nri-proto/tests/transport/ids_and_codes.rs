//! Stream ids and status codes: one test per rule, each from both roles.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nri_proto::rpc;
use nri_proto::transport::{
    CallContext, CallOptions, Client, Code, Limits, PluginServer, PluginService, Role,
    RuntimeServer, RuntimeService, Status,
};
use tokio::sync::Notify;
use tokio::sync::mpsc;
use ttrpc::proto::Codec as _;

use crate::support::{
    DATA, ECHO, Message, Pair, REQUEST, RESPONSE, ROLES, Serve, echo, request, success, within,
};

fn code(result: Result<Vec<u8>, Status>) -> Code {
    result.expect_err("an error is expected").code
}

#[tokio::test]
async fn even_ids_and_zero_get_code_3() {
    within(async {
        for role in ROLES {
            let mut pair = Pair::new(role, echo());
            for stream in [0, 2, 4, 0, u32::MAX - 1] {
                pair.ask(stream, REQUEST, request(ECHO, "m", b"")).await;
                let status = pair.answer(stream).await.unwrap_err();
                assert_eq!(status.code, Code::InvalidArgument);
                assert_eq!(
                    status.message,
                    "StreamID must be odd for client initiated streams"
                );
            }
            pair.works(1).await;
        }
    })
    .await;
}

#[tokio::test]
async fn ids_not_above_the_highest_get_code_3() {
    within(async {
        for role in ROLES {
            let mut pair = Pair::new(role, echo());
            pair.works(5).await;
            for stream in [5, 3, 1] {
                pair.ask(stream, REQUEST, request(ECHO, "m", b"")).await;
                let status = pair.answer(stream).await.unwrap_err();
                assert_eq!(status.code, Code::InvalidArgument);
                assert_eq!(
                    status.message,
                    "StreamID cannot be re-used and must increment"
                );
            }
            // Gaps are legal.
            pair.works(99).await;
            assert_eq!(pair.connection.stats().refused_invalid, 3);
        }
    })
    .await;
}

#[tokio::test]
async fn an_unknown_service_gets_code_12() {
    within(async {
        for role in ROLES {
            let mut pair = Pair::new(role, echo());
            pair.ask(1, REQUEST, request("no.Service", "m", b"")).await;
            let status = pair.answer(1).await;
            assert_eq!(
                status,
                Err(Status::new(Code::Unimplemented, "service no.Service"))
            );
            pair.works(3).await;
        }
    })
    .await;
}

struct Nothing;
impl PluginService for Nothing {}
impl RuntimeService for Nothing {}

#[tokio::test]
async fn an_unknown_method_gets_code_12_and_so_does_one_without_handler() {
    within(async {
        for method in ["NoMethod", "Configure", "RegisterPlugin"] {
            let expected = Err(Status::new(Code::Unimplemented, format!("method {method}")));
            let service = PluginServer::new(Arc::new(Nothing));
            let mut pair = Pair::new(Role::Plugin, service);
            pair.ask(1, REQUEST, request(rpc::plugin::SERVICE, method, b""))
                .await;
            assert_eq!(pair.answer(1).await, expected);
            let service = RuntimeServer::new(Arc::new(Nothing));
            let mut pair = Pair::new(Role::Runtime, service);
            pair.ask(1, REQUEST, request(rpc::runtime::SERVICE, method, b""))
                .await;
            assert_eq!(pair.answer(1).await, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn an_undecodable_request_gets_code_3() {
    within(async {
        for role in ROLES {
            let mut pair = Pair::new(role, echo());
            pair.ask(1, REQUEST, vec![0xff; 20]).await;
            let status = pair.answer(1).await.unwrap_err();
            assert_eq!(status.code, Code::InvalidArgument);
            assert!(
                status.message.starts_with("unmarshal request error: "),
                "{status}"
            );
            pair.works(3).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_undecodable_payload_gets_code_13() {
    within(async {
        let mut pair = Pair::new(Role::Plugin, PluginServer::new(Arc::new(Nothing)));
        pair.ask(
            1,
            REQUEST,
            request(rpc::plugin::SERVICE, "Configure", &[0xff; 9]),
        )
        .await;
        let status = pair.answer(1).await.unwrap_err();
        assert_eq!(status.code, Code::Internal);
        assert!(
            status
                .message
                .starts_with("ttrpc: error unmarshalling payload: "),
            "{status}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_data_message_for_an_unknown_stream_gets_code_3() {
    within(async {
        for role in ROLES {
            let mut pair = Pair::new(role, echo());
            pair.works(1).await;
            for stream in [1, 7] {
                pair.ask(stream, DATA, b"data".to_vec()).await;
                let status = pair.answer(stream).await.unwrap_err();
                assert_eq!(status.code, Code::InvalidArgument);
                assert_eq!(status.message, "StreamID is no longer active");
            }
            pair.works(9).await;
        }
    })
    .await;
}

/// A Go server dies of this one.
#[tokio::test]
async fn a_data_message_for_a_request_in_progress_changes_nothing() {
    within(async {
        for role in ROLES {
            let go = Arc::new(Notify::new());
            let wait = Arc::clone(&go);
            let service = Serve(ECHO, move |_, _, payload: Bytes| {
                let wait = Arc::clone(&wait);
                async move {
                    wait.notified().await;
                    Ok(payload.to_vec())
                }
            });
            let mut pair = Pair::new(role, service);
            pair.ask(1, REQUEST, request(ECHO, "m", b"one")).await;
            for flags in [0, 1, 4, 5] {
                let mut data = Message::new(pair.server, 1, DATA, b"more".to_vec());
                data.flags = flags;
                pair.peer.send(&data).await;
            }
            // An even id is answered at once, so all before it has been taken.
            pair.ask(2, REQUEST, Vec::new()).await;
            assert_eq!(code(pair.answer(2).await), Code::InvalidArgument);
            go.notify_one();
            assert_eq!(pair.answer(1).await, Ok(b"one".to_vec()));
            assert_eq!(pair.connection.stats().ignored_messages, 4);
        }
    })
    .await;
}

#[tokio::test]
async fn responses_and_unknown_types_where_requests_belong_are_ignored() {
    within(async {
        for role in ROLES {
            let mut pair = Pair::new(role, echo());
            for (stream, kind) in [(1, RESPONSE), (2, RESPONSE), (1, 0), (3, 4), (5, 255)] {
                pair.ask(stream, kind, request(ECHO, "m", b"")).await;
            }
            pair.works(1).await;
            assert_eq!(pair.connection.stats().ignored_messages, 5);
        }
    })
    .await;
}

#[tokio::test]
async fn flags_of_a_request_are_ignored() {
    within(async {
        for role in ROLES {
            let mut pair = Pair::new(role, echo());
            for (stream, flags) in [(1, 1), (3, 2), (5, 4), (7, 0xff)] {
                let data = request(ECHO, "m", b"x");
                let mut message = Message::new(pair.server, stream, REQUEST, data);
                message.flags = flags;
                pair.peer.send(&message).await;
                assert_eq!(pair.answer(stream).await, Ok(b"x".to_vec()));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn more_requests_than_places_get_code_8_and_places_come_back() {
    within(async {
        for role in ROLES {
            let (started, mut starts) = mpsc::unbounded_channel();
            let go = Arc::new(Notify::new());
            let wait = Arc::clone(&go);
            let service = Serve(ECHO, move |_, _, _| {
                let wait = Arc::clone(&wait);
                started.send(()).unwrap();
                async move {
                    wait.notified().await;
                    Ok(Vec::new())
                }
            });
            let mut limits = Limits::default();
            limits.max_handlers = 2;
            let mut pair = Pair::limited(role, service, limits);
            for stream in [1, 3] {
                pair.ask(stream, REQUEST, request(ECHO, "m", b"")).await;
                starts.recv().await.unwrap();
            }
            pair.ask(5, REQUEST, request(ECHO, "m", b"")).await;
            assert_eq!(code(pair.answer(5).await), Code::ResourceExhausted);
            go.notify_one();
            let freed = pair.peer.expect().await;
            assert!([1, 3].contains(&freed.stream));
            assert_eq!(freed.result(), Ok(Vec::new()));
            // The place is free once the answer is written, which is before this side can know of
            // it.
            let mut stream = 7;
            loop {
                pair.ask(stream, REQUEST, request(ECHO, "m", b"")).await;
                tokio::select! {
                    Some(()) = starts.recv() => break,
                    refused = pair.answer(stream) => assert_eq!(code(refused), Code::ResourceExhausted),
                }
                stream += 2;
            }
            assert_eq!(pair.connection.stats().handlers_high, 2);
        }
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_panics_is_answered_with_code_13() {
    within(async {
        for role in ROLES {
            let service = Serve(ECHO, |_, method: String, payload: Bytes| async move {
                assert!(method != "Panic", "on purpose");
                Ok(payload.to_vec())
            });
            let mut pair = Pair::new(role, service);
            pair.ask(1, REQUEST, request(ECHO, "Panic", b"")).await;
            let status = pair.answer(1).await.unwrap_err();
            assert_eq!(status.code, Code::Internal);
            assert!(status.message.contains("on purpose"), "{status}");
            pair.works(3).await;
            assert_eq!(pair.connection.stats().handler_panics, 1);
        }
    })
    .await;
}

#[tokio::test]
async fn errors_of_handlers_arrive_as_they_are() {
    within(async {
        let service = Serve(ECHO, |_, method: String, _| async move {
            Err(Status::new(
                Code::from(method.parse::<i32>().unwrap()),
                "why",
            ))
        });
        let mut pair = Pair::new(Role::Plugin, service);
        for (stream, value) in [
            (1, 1),
            (3, 2),
            (5, 4),
            (7, 5),
            (9, 6),
            (11, 7),
            (13, 12),
            (15, 77),
        ] {
            pair.ask(stream, REQUEST, request(ECHO, &value.to_string(), b""))
                .await;
            assert_eq!(
                pair.answer(stream).await,
                Err(Status::new(Code::from(value), "why"))
            );
        }
    })
    .await;
}

/// Law: requests are never queued behind each other; answers come as they are ready.
#[tokio::test]
async fn answers_come_in_any_order() {
    within(async {
        for role in ROLES {
            let gate = Arc::new(Notify::new());
            let wait = Arc::clone(&gate);
            let service = Serve(ECHO, move |_, method: String, _| {
                let wait = Arc::clone(&wait);
                async move {
                    match method.as_str() {
                        "Wait" => wait.notified().await,
                        _ => wait.notify_one(),
                    }
                    Ok(Vec::new())
                }
            });
            let mut pair = Pair::new(role, service);
            pair.ask(1, REQUEST, request(ECHO, "Wait", b"")).await;
            pair.ask(3, REQUEST, request(ECHO, "Go", b"")).await;
            let mut streams = [
                pair.peer.expect().await.stream,
                pair.peer.expect().await.stream,
            ];
            streams.sort_unstable();
            assert_eq!(streams, [1, 3]);
        }
    })
    .await;
}

/// Law: the trunk is read while handlers run, so a handler may call the peer, even with no place
/// left.
#[tokio::test]
async fn replies_are_read_while_all_handlers_are_busy() {
    within(async {
        for role in ROLES {
            let (hand_over, given) = tokio::sync::watch::channel(None);
            let service = Serve(ECHO, move |_, _, _| {
                let mut given = given.clone();
                async move {
                    let client: Client = given
                        .wait_for(Option::is_some)
                        .await
                        .unwrap()
                        .clone()
                        .unwrap();
                    let options = CallOptions::default();
                    let reply = client
                        .call_encoded("s", "Back", Bytes::new(), options)
                        .await;
                    Ok(reply.unwrap().to_vec())
                }
            });
            let mut limits = Limits::default();
            limits.max_handlers = 1;
            let mut pair = Pair::limited(role, service, limits);
            hand_over.send_replace(Some(pair.connection.client()));
            pair.ask(1, REQUEST, request(ECHO, "m", b"")).await;
            let back = pair.peer.expect().await;
            assert_eq!(
                (back.id, back.request().method.as_str()),
                (pair.client, "Back")
            );
            pair.ask(3, REQUEST, request(ECHO, "m", b"")).await;
            assert_eq!(code(pair.answer(3).await), Code::ResourceExhausted);
            pair.peer
                .send(&Message::new(
                    back.id,
                    back.stream,
                    RESPONSE,
                    success(b"yes"),
                ))
                .await;
            assert_eq!(pair.answer(1).await, Ok(b"yes".to_vec()));
        }
    })
    .await;
}

#[tokio::test]
async fn handlers_learn_deadline_and_metadata() {
    within(async {
        let (send, mut contexts) = mpsc::unbounded_channel::<CallContext>();
        let service = Serve(ECHO, move |context, _, _| {
            send.send(context).unwrap();
            async { Ok(Vec::new()) }
        });
        let mut pair = Pair::new(Role::Plugin, service);
        let mut stream = 1;
        let mut context = async |timeout_nano, metadata: &[(&str, &str)]| {
            let request = ttrpc::Request {
                service: ECHO.into(),
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
            pair.ask(stream, REQUEST, request.encode().unwrap()).await;
            assert_eq!(pair.answer(stream).await, Ok(Vec::new()));
            stream += 2;
            contexts.recv().await.unwrap()
        };
        let none = context(0, &[]).await;
        assert_eq!(
            (none.deadline(), none.time_left(), none.metadata()),
            (None, None, &[][..])
        );
        let expired = context(-1, &[]).await;
        assert_eq!(
            expired.time_left(),
            Some(Duration::ZERO),
            "and the handler ran"
        );
        let expired = context(i64::MIN, &[]).await;
        assert_eq!(expired.time_left(), Some(Duration::ZERO));
        let hour = context(3_600_000_000_000, &[]).await.time_left().unwrap();
        assert!(hour > Duration::from_secs(3000) && hour <= Duration::from_secs(3600));
        assert!(
            context(i64::MAX, &[])
                .await
                .time_left()
                .is_none_or(|left| left > hour)
        );
        let pairs = [("traceparent", "00-1"), ("k", "1"), ("k", "2"), ("", "")];
        let expected: Vec<_> = pairs
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        assert_eq!(context(0, &pairs).await.metadata(), &expected[..]);
    })
    .await;
}
