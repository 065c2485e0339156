//! Messages of every size that makes a difference to frames, both ways, on both logical
//! connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use nri_proto::transport::{
    CallError, CallOptions, CloseReason, Code, Connection, MAX_MESSAGE, Role,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use ttrpc::proto::Codec as _;

use crate::support::{LIMIT, Message, Peer, REQUEST, RESPONSE, Serve, echo, request, within};

/// Lengths of a message's data, by the method that is called with and answers that much.
const SIZES: [(&str, usize); 10] = [
    ("0", 0),
    ("3", 3),
    ("4085", 4085),
    ("4086", 4086),
    ("4087", 4087),
    ("5000", 5000),
    ("8182", 8182),
    ("102400", 100 << 10),
    ("1048576", 1 << 20),
    ("4194304", 4 << 20),
];

/// A payload such that `len` of it becomes `target`.
fn payload(target: usize, len: impl Fn(usize) -> usize) -> Vec<u8> {
    let size = (0..=8).map(|slack| target.saturating_sub(len(0) + slack));
    let size = size.filter(|size| len(*size) == target).max();
    let size = size.unwrap_or_else(|| panic!("no payload makes {target}"));
    (0..size).map(|i| (i % 253) as u8).collect()
}

fn request_payload(method: &str, target: usize) -> Vec<u8> {
    // Names alone are longer than the shortest message.
    let shortest = request("s", method, &[]).len();
    payload(target.max(shortest), |size| {
        let field = if size == 0 {
            0
        } else {
            1 + prost::length_delimiter_len(size) + size
        };
        shortest + field
    })
}

fn response_payload(target: usize) -> Vec<u8> {
    payload(target, |size| {
        if size == 0 {
            0
        } else {
            1 + prost::length_delimiter_len(size) + size
        }
    })
}

/// A service that checks what it gets and answers as much.
fn sized() -> impl nri_proto::transport::Service {
    Serve("s", |_, method: String, payload: Bytes| async move {
        let target = method.parse().unwrap();
        assert!(payload == request_payload(&method, target));
        Ok(response_payload(target))
    })
}

/// What passed in one direction: data lengths by id and message type.
type Seen = Arc<Mutex<BTreeMap<(u32, u8), Vec<usize>>>>;

/// Passes messages on and notes them; the reading peer checks their frames.
async fn tap<R, W>(from: R, mut to: W, seen: Seen)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut from = Peer::new(tokio::io::join(from, tokio::io::sink()));
    while let Some(message) = from.receive().await {
        let Message { id, kind, .. } = message;
        seen.lock()
            .unwrap()
            .entry((id, kind))
            .or_default()
            .push(message.data.len());
        to.write_all(&message.wire()).await.unwrap();
    }
}

/// Law: what is sent arrives, whatever its size and whatever else is on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sizes_both_ways_interleaved_on_both_ids() {
    within(async {
        let (runtime_end, runtime_tap) = UnixStream::pair().unwrap();
        let (plugin_end, plugin_tap) = UnixStream::pair().unwrap();
        let (from_runtime, to_runtime) = runtime_tap.into_split();
        let (from_plugin, to_plugin) = plugin_tap.into_split();
        let down = Seen::default();
        let up = Seen::default();
        tokio::spawn(tap(from_runtime, to_plugin, Arc::clone(&down)));
        tokio::spawn(tap(from_plugin, to_runtime, Arc::clone(&up)));
        let runtime = Connection::builder(Role::Runtime)
            .serve(sized())
            .start(runtime_end);
        let plugin = Connection::builder(Role::Plugin)
            .serve(sized())
            .start(plugin_end);

        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..2 {
            for (method, target) in SIZES {
                for client in [runtime.client(), plugin.client()] {
                    calls.spawn(async move {
                        let request = request_payload(method, target).into();
                        let options = CallOptions::default();
                        let reply = client.call_encoded("s", method, request, options).await;
                        assert!(reply.unwrap() == response_payload(target), "{method}");
                    });
                }
            }
        }
        while let Some(call) = calls.join_next().await {
            call.unwrap();
        }

        let expected: Vec<usize> = SIZES.iter().flat_map(|(_, size)| [*size; 2]).collect();
        for (seen, [requests, responses]) in [
            (down, [(1, REQUEST), (2, RESPONSE)]),
            (up, [(2, REQUEST), (1, RESPONSE)]),
        ] {
            let mut seen = seen.lock().unwrap();
            // No request with names is as short as the first two; the longer ones are exact.
            for (key, from) in [(requests, 4), (responses, 0)] {
                let mut lens = seen.remove(&key).unwrap();
                lens.sort_unstable();
                assert_eq!(lens.len(), expected.len());
                assert_eq!(lens[from..], expected[from..], "{key:?}");
            }
            assert!(seen.is_empty());
        }
        assert_eq!(runtime.stats().frames_in, plugin.stats().frames_out);
        assert_eq!(runtime.stats().bytes_out, plugin.stats().bytes_in);
    })
    .await;
}

/// Data of no bytes and of one byte: the first is the empty message, the second can only be broken,
/// and is survived.
#[tokio::test]
async fn data_of_no_bytes_and_of_one_byte() {
    within(async {
        for role in [Role::Runtime, Role::Plugin] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let connection = Connection::builder(role)
                .serve(Serve("", |_, _, payload: Bytes| async move {
                    Ok(payload.to_vec())
                }))
                .start(ours);
            let client = connection.client();
            let (client_id, server_id) = if role == Role::Runtime {
                (1, 2)
            } else {
                (2, 1)
            };
            let mut peer = Peer::new(theirs);

            // Ours, without names, payload and timeout, is empty.
            for (stream, data) in [(1, vec![]), (3, vec![0x12])] {
                let call = client.call_encoded("", "", Bytes::new(), CallOptions::default());
                let answer = async {
                    assert_eq!(
                        peer.expect().await,
                        Message::new(client_id, stream, REQUEST, vec![])
                    );
                    peer.send(&Message::new(client_id, stream, RESPONSE, data.clone()))
                        .await;
                };
                let (reply, ()) = tokio::join!(call, answer);
                match data.len() {
                    0 => assert_eq!(reply, Ok(Bytes::new())),
                    _ => assert!(matches!(reply, Err(CallError::Decode(_))), "{reply:?}"),
                }
            }
            // Theirs.
            peer.send(&Message::new(server_id, 1, REQUEST, vec![]))
                .await;
            assert_eq!(
                peer.expect().await,
                Message::new(server_id, 1, RESPONSE, vec![])
            );
            peer.send(&Message::new(server_id, 3, REQUEST, vec![0x12]))
                .await;
            assert_eq!(peer.expect().await.code(), Code::InvalidArgument);
            assert_eq!(connection.close_reason(), None);
        }
    })
    .await;
}

/// Law: one byte above the limit never leaves, neither as a request nor as an answer, and harms
/// nothing.
#[tokio::test]
async fn one_byte_more_is_refused_here() {
    within(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let serve = || {
            Serve("s", |_, method: String, _| async move {
                Ok(response_payload(method.parse().unwrap()))
            })
        };
        let runtime = Connection::builder(Role::Runtime)
            .serve(serve())
            .start(ours);
        let plugin = Connection::builder(Role::Plugin)
            .serve(serve())
            .start(theirs);
        for client in [runtime.client(), plugin.client()] {
            let large = request_payload("m", MAX_MESSAGE + 1).into();
            let error = client
                .call_encoded("s", "m", large, CallOptions::default())
                .await
                .unwrap_err();
            assert_eq!(
                error,
                CallError::TooLarge {
                    size: LIMIT + 1,
                    limit: LIMIT
                }
            );
            assert_eq!(error.code(), Code::ResourceExhausted);

            let call =
                |method| client.call_encoded("s", method, Bytes::new(), CallOptions::default());
            let CallError::Status(status) = call("4194305").await.unwrap_err() else {
                panic!("the peer answers");
            };
            assert_eq!(status.code, Code::ResourceExhausted);
            assert_eq!(
                status.message,
                "message length 4194305 exceed maximum message size of 4194304"
            );
            assert_eq!(call("4194304").await.unwrap(), response_payload(LIMIT));
        }
        assert_eq!(runtime.close_reason().or(plugin.close_reason()), None);
    })
    .await;
}

/// Law: a request above the limit is discarded and answered with code 8, in whatever frames it
/// comes; a reply fails its call; and the next message is understood.
#[tokio::test]
async fn one_byte_more_is_discarded_on_arrival() {
    within(async {
        for frame_len in [512, 4096, 65_536, 8 << 20] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let runtime = Connection::builder(Role::Runtime).serve(echo()).start(ours);
            let mut peer = Peer::new(theirs);

            let send = async |peer: &mut Peer<UnixStream>, message: &Message| {
                for frame in message.bytes().chunks(frame_len) {
                    peer.send_frame(message.id, frame).await;
                }
            };
            send(&mut peer, &Message::new(2, 1, REQUEST, vec![0; LIMIT + 1])).await;
            let answer = peer.expect().await;
            assert_eq!(
                (answer.id, answer.stream, answer.code()),
                (2, 1, Code::ResourceExhausted)
            );

            let client = runtime.client();
            let call = client.call_encoded("s", "m", Bytes::new(), CallOptions::default());
            let reply = async {
                peer.expect().await;
                send(&mut peer, &Message::new(1, 1, RESPONSE, vec![0; LIMIT + 1])).await;
            };
            let (reply, ()) = tokio::join!(call, reply);
            let error = reply.unwrap_err();
            assert_eq!(
                error,
                CallError::ReplyTooLarge {
                    size: LIMIT + 1,
                    limit: LIMIT
                }
            );
            assert_eq!(error.code(), Code::ResourceExhausted);

            send(
                &mut peer,
                &Message::new(2, 3, REQUEST, request("test.Echo", "m", b"hi")),
            )
            .await;
            assert_eq!(peer.expect().await.result(), Ok(b"hi".to_vec()));
            let stats = runtime.stats();
            assert_eq!(stats.oversized_in, 2);
            assert!(
                stats.partial_bytes_high < 4096,
                "discarded as it came: {stats:?}"
            );
            drop(peer);
            assert_eq!(runtime.closed().await, CloseReason::PeerClosed);
        }
    })
    .await;
}

/// Law: an encoded request is what the protocol's own encoder makes of it.
#[test]
fn the_sizes_above_are_sizes_of_data() {
    for (method, target) in SIZES.into_iter().skip(2) {
        let request = ttrpc::Request {
            service: "s".into(),
            method: method.into(),
            payload: request_payload(method, target),
            ..ttrpc::Request::default()
        };
        assert_eq!(request.encode().unwrap().len(), target);
    }
}
