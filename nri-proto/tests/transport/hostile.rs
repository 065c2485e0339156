//! Peers that mean harm or are broken: memory stays bounded, nothing panics or hangs, and the
//! reason says what was wrong.

use std::time::Duration;

use bytes::Bytes;
use nri_proto::frame::Header;
use nri_proto::transport::{CallOptions, CloseReason, Code, Connection, Limits, Role, Stats};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use ttrpc::MessageHeader;

use crate::support::{
    DATA, ECHO, Message, Numbers, Peer, REQUEST, RESPONSE, Serve, echo, request, within,
};

fn start(limits: Limits) -> (Connection, Peer<UnixStream>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let connection = Connection::builder(Role::Runtime)
        .serve(echo())
        .limits(limits)
        .start(ours);
    (connection, Peer::new(theirs))
}

fn call(stream: u32) -> Message {
    Message::new(2, stream, REQUEST, request(ECHO, "m", b"ping"))
}

/// What a connection says of a peer that sends these bytes and goes.
async fn after(bytes: &[u8]) -> (CloseReason, Stats) {
    let (connection, mut peer) = start(Limits::default());
    // The connection may close before it has read all.
    let _ = peer.stream.write_all(bytes).await;
    let _ = peer.stream.shutdown().await;
    (connection.closed().await, connection.stats())
}

fn protocol(text: &str) -> CloseReason {
    CloseReason::Protocol(text.into())
}

#[tokio::test]
async fn truncated_frames_and_messages_are_named() {
    within(async {
        let wire = call(1).wire();
        let data = wire.len() - 18;
        for (cut, expected) in [
            (0, CloseReason::PeerClosed),
            (
                3,
                protocol("the stream ended inside a frame header, 3 of 8 bytes arrived"),
            ),
            (
                8,
                protocol(&format!(
                    "the stream ended inside a frame for id 2, {0} of {0} bytes are missing",
                    data + 10
                )),
            ),
            (
                20,
                protocol(&format!(
                    "the stream ended inside a frame for id 2, {} of {} bytes are missing",
                    data - 2,
                    data + 10
                )),
            ),
            (wire.len(), CloseReason::PeerClosed),
        ] {
            assert_eq!(after(&wire[..cut]).await.0, expected, "{cut}");
        }
        // Whole frames with broken messages in them.
        for id in [1, 2] {
            let cut = |len: usize| {
                let header = Header {
                    id,
                    len: len as u32,
                }
                .encode();
                [&header, &call(7).bytes()[..len]].concat()
            };
            let expected = "the stream ended inside a message header, 6 of 10 bytes arrived";
            assert_eq!(after(&cut(6)).await.0, protocol(expected));
            let expected = format!(
                "the stream ended inside the message on stream 7, 4 of {data} bytes arrived"
            );
            assert_eq!(after(&cut(14)).await.0, protocol(&expected));
        }
    })
    .await;
}

#[tokio::test]
async fn a_frame_that_announces_4_gib_is_a_protocol_error() {
    within(async {
        for id in [0, 1, 2, 77] {
            for len in [u32::MAX, (16 << 20) + 1] {
                let (reason, stats) = after(&Header { id, len }.encode()).await;
                let expected = format!(
                    "a frame for id {id} announces {len} bytes, above the limit of 16777216"
                );
                assert_eq!(reason, protocol(&expected));
                assert_eq!(stats.partial_bytes_high, 0);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_message_that_announces_4_gib_is_discarded_as_it_comes() {
    within(async {
        for id in [1, 2] {
            let header = MessageHeader {
                length: u32::MAX,
                stream_id: 1,
                type_: if id == 1 { RESPONSE } else { REQUEST },
                flags: 0,
            };
            let mut message = Vec::from(header);
            message.resize(3 << 20, 0);
            let mut wire = Vec::from(
                Header {
                    id,
                    len: message.len() as u32,
                }
                .encode(),
            );
            wire.extend(message);
            let (reason, stats) = after(&wire).await;
            let got = (3 << 20) - 10;
            let expected = format!(
                "the stream ended inside the message on stream 1, {got} of 4294967295 bytes arrived"
            );
            assert_eq!(reason, protocol(&expected));
            assert_eq!(stats.partial_bytes_high, 0);
        }
    })
    .await;
}

/// Frames of the size that the oldest peers may send are streamed through, for ids in use and for
/// others.
#[tokio::test]
async fn unknown_ids_are_dropped_and_counted() {
    within(async {
        let (connection, mut peer) = start(Limits::default());
        for id in [0, 3, 77, u32::MAX] {
            peer.send_frame(id, &[]).await;
            peer.send_frame(id, &call(1).bytes()).await;
            peer.send_frame(id, &vec![0xff; 16 << 20]).await;
        }
        peer.send(&call(1)).await;
        assert_eq!(peer.expect().await.result(), Ok(b"ping".to_vec()));
        let stats = connection.stats();
        assert_eq!((stats.dropped_frames, stats.frames_in), (12, 13));
        assert!(stats.partial_bytes_high < 1000, "{stats:?}");
    })
    .await;
}

#[tokio::test]
async fn empty_frames_add_nothing() {
    within(async {
        let (connection, mut peer) = start(Limits::default());
        let bytes = call(1).bytes();
        for portion in bytes.chunks(7) {
            for id in [1, 2, 2] {
                peer.send_frame(id, &[]).await;
            }
            peer.send_frame(2, portion).await;
        }
        assert_eq!(peer.expect().await.result(), Ok(b"ping".to_vec()));
        assert_eq!(connection.close_reason(), None);
    })
    .await;
}

#[tokio::test]
async fn one_byte_at_a_time() {
    within(async {
        let (connection, mut peer) = start(Limits::default());
        for stream in [1, 3, 5] {
            for byte in call(stream).wire() {
                peer.send_bytes(&[byte]).await;
            }
            assert_eq!(peer.expect().await.result(), Ok(b"ping".to_vec()));
        }
        // And a frame per byte.
        for byte in call(7).bytes() {
            peer.send_frame(2, &[byte]).await;
        }
        assert_eq!(peer.expect().await.result(), Ok(b"ping".to_vec()));
        assert_eq!(connection.stats().messages_in, 4);
    })
    .await;
}

#[tokio::test]
async fn many_messages_in_one_frame() {
    within(async {
        let (_connection, mut peer) = start(Limits::default());
        let frame: Vec<u8> = (1..400)
            .step_by(2)
            .flat_map(|stream| call(stream).bytes())
            .collect();
        peer.send_frame(2, &frame).await;
        let mut streams = Vec::new();
        for _ in 0..200 {
            let answer = peer.expect().await;
            assert_eq!(answer.result(), Ok(b"ping".to_vec()));
            streams.push(answer.stream);
        }
        streams.sort_unstable();
        assert!(streams.into_iter().eq((1..400).step_by(2)));
    })
    .await;
}

#[tokio::test]
async fn lengths_inside_a_request_are_held_against_the_request() {
    within(async {
        let (connection, mut peer) = start(Limits::default());
        // A payload of 2^31 - 1 bytes, of which none are there; and nested groups.
        for (stream, data) in [
            (1, vec![0x1a, 0xff, 0xff, 0xff, 0xff, 0x07]),
            (3, vec![0x33; 1 << 20]),
        ] {
            peer.send(&Message::new(2, stream, REQUEST, data)).await;
            assert_eq!(peer.expect().await.code(), Code::InvalidArgument);
        }
        peer.send(&call(5)).await;
        assert_eq!(peer.expect().await.result(), Ok(b"ping".to_vec()));
        assert_eq!(connection.close_reason(), None);
    })
    .await;
}

/// Bounds that a flood of small requests must keep; the same for every flood below.
fn assert_bounded(stats: &Stats) {
    assert!(
        stats.handlers_high <= Limits::default().max_handlers as u64,
        "{stats:?}"
    );
    assert!(stats.queued_bytes_high < 1 << 20, "{stats:?}");
    assert!(stats.partial_bytes_high < 64 << 10, "{stats:?}");
}

/// Law: a flood gets an answer each, in bounded memory, though its sender reads only afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_requests_at_once() {
    within(async {
        let (connection, mut peer) = start(Limits::default());
        let flood: Vec<u8> = (0..20_000).flat_map(|i| call(2 * i + 1).wire()).collect();
        peer.send_bytes(&flood).await;
        let mut answered = vec![false; 40_000];
        let mut served = 0;
        for _ in 0..20_000 {
            let answer = peer.expect().await;
            assert!(!std::mem::replace(
                &mut answered[answer.stream as usize],
                true
            ));
            match answer.result() {
                Ok(payload) => {
                    assert_eq!(payload, b"ping");
                    served += 1;
                }
                Err(status) => assert_eq!(status.code, Code::ResourceExhausted),
            }
        }
        let stats = connection.stats();
        assert!(
            served >= Limits::default().max_handlers,
            "{served} of 20,000"
        );
        assert_eq!(stats.refused_busy, 20_000 - served as u64);
        assert_bounded(&stats);
        // And the connection is as good as new.
        peer.send(&call(99_999)).await;
        assert_eq!(peer.expect().await.result(), Ok(b"ping".to_vec()));
    })
    .await;
}

/// Law: bad messages that each deserve an answer cost no more than good ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_bad_messages() {
    within(async {
        for (stream, kind) in [(2, REQUEST), (1, DATA), (0, DATA), (1, 9), (1, RESPONSE)] {
            let (connection, mut peer) = start(Limits::default());
            let one = Message::new(2, stream, kind, Vec::new()).wire();
            peer.send_bytes(&one.repeat(20_000)).await;
            if [REQUEST, DATA].contains(&kind) {
                for _ in 0..20_000 {
                    assert_eq!(peer.expect().await.code(), Code::InvalidArgument);
                }
            }
            peer.send(&call(1)).await;
            assert_eq!(peer.expect().await.result(), Ok(b"ping".to_vec()));
            assert_bounded(&connection.stats());
        }
    })
    .await;
}

/// Law: replies to our calls come through a flood.
#[tokio::test]
async fn a_call_of_ours_is_answered_in_the_middle_of_a_flood() {
    within(async {
        let (connection, mut peer) = start(Limits::default());
        let client = connection.client();
        let pending = client
            .begin("s", "m", Bytes::new(), CallOptions::default())
            .await
            .unwrap();
        let mut flood: Vec<u8> = (0..10_000).flat_map(|i| call(2 * i + 1).wire()).collect();
        flood.extend(Message::new(1, 1, RESPONSE, Vec::new()).wire());
        // It reads nothing until its flood is over.
        peer.send_bytes(&flood).await;
        assert_eq!(pending.await, Ok(Bytes::new()));
        assert_bounded(&connection.stats());
    })
    .await;
}

/// Law: a peer that floods and never reads is closed, with a reason, before it costs much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_floods_and_never_reads_overflows() {
    within(async {
        let (connection, mut peer) = start(Limits::default());
        let flood = Message::new(2, 2, REQUEST, Vec::new())
            .wire()
            .repeat(10_000);
        let write = async {
            // It ends with an error, when the connection is closed.
            while peer.stream.write_all(&flood).await.is_ok() {}
        };
        let (reason, ()) = tokio::join!(connection.closed(), write);
        assert_eq!(
            reason,
            CloseReason::Overflow {
                waiting: 65_537,
                limit: 65_536
            }
        );
        let text = "65537 refused requests wait to be answered, above the limit of 65536";
        assert_eq!(reason.to_string(), text);
        assert_bounded(&connection.stats());
    })
    .await;
}

/// Law: a peer that stops reading is closed, and until then costs what its requests may cost.
#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_is_stuck() {
    within(async {
        let (ours, theirs) = tokio::io::duplex(10_000);
        let large = Serve(ECHO, |_, _, _| async { Ok(vec![0; 100_000]) });
        let mut limits = Limits::default();
        limits.max_handlers = 20;
        let connection = Connection::builder(Role::Runtime)
            .serve(large)
            .limits(limits)
            .start(ours);
        let mut peer = Peer::new(theirs);
        for stream in (1..2000).step_by(2) {
            peer.send(&call(stream)).await;
        }
        assert_eq!(
            connection.closed().await,
            CloseReason::StuckWrite {
                after: Duration::from_secs(5)
            }
        );
        let stats = connection.stats();
        assert!(
            stats.handlers_high <= 20 && stats.queued_bytes_high < 20 * 101_000,
            "{stats:?}"
        );
    })
    .await;
}

/// Law: large requests in progress are bounded in bytes, whatever their number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_are_bounded_in_bytes() {
    within(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let forever = Serve(ECHO, |_, _, _: Bytes| std::future::pending());
        let connection = Connection::builder(Role::Runtime)
            .serve(forever)
            .start(ours);
        let mut peer = Peer::new(theirs);
        let data = request(ECHO, "m", &vec![0; 3 << 20]);
        for stream in (1..60).step_by(2) {
            peer.send(&Message::new(2, stream, REQUEST, data.clone()))
                .await;
        }
        // Ten of 3 MiB are in progress within 32 MiB, the others are refused.
        for _ in 0..20 {
            assert_eq!(peer.expect().await.code(), Code::ResourceExhausted);
        }
        assert_eq!(connection.stats().handlers, 10);
    })
    .await;
}

/// Law: no bytes make us panic or hang; they are understood, or closed with a reason.
#[test]
fn garbage() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        // Frames of garbage for ids in use.
        (1u32..4, prop::collection::vec(any::<u8>(), 0..100)).prop_map(|(id, payload)| {
            [
                &Header {
                    id,
                    len: payload.len() as u32,
                }
                .encode()[..],
                &payload,
            ]
            .concat()
        }),
        // Messages of garbage, and of good requests with strange heads.
        (
            1u32..3,
            0u32..9,
            0u8..5,
            prop::collection::vec(any::<u8>(), 0..100)
        )
            .prop_map(|(id, stream, kind, data)| Message::new(id, stream, kind, data).wire()),
        (0u32..9, 0u8..5)
            .prop_map(|(stream, kind)| Message::new(2, stream, kind, call(1).data).wire()),
    ];
    proptest!(ProptestConfig::with_cases(300), |(pieces in prop::collection::vec(piece, 0..12))| {
        let reason = runtime.block_on(within(async {
            let (connection, mut peer) = start(Limits::default());
            let _pending = connection.client().begin("s", "m", Bytes::new(), CallOptions::default()).await;
            let bytes = pieces.concat();
            let _ = peer.stream.write_all(&bytes).await;
            let _ = peer.stream.shutdown().await;
            let reason = connection.closed().await;
            assert!(connection.stats().partial_bytes_high <= 2 * bytes.len() as u64);
            let mut rest = Vec::new();
            let _ = peer.stream.read_to_end(&mut rest).await;
            reason
        }));
        prop_assert!(
            matches!(reason, CloseReason::PeerClosed | CloseReason::Protocol(_)),
            "{reason:?}"
        );
    });
}

/// Law: whatever comes in between, a valid request between valid messages is answered.
#[tokio::test]
async fn strange_messages_between_good_ones() {
    within(async {
        let (connection, mut peer) = start(Limits::default());
        let mut numbers = Numbers::new(5);
        for stream in (1..400).step_by(2) {
            let mut strange = Message::new(
                numbers.below(3) as u32,
                2 * numbers.below(1000) as u32,
                numbers.below(6) as u8,
                vec![numbers.below(256) as u8; numbers.below(300) as usize],
            );
            strange.flags = numbers.below(256) as u8;
            peer.send(&strange).await;
            peer.send(&call(stream)).await;
            loop {
                let answer = peer.expect().await;
                if answer.stream == stream {
                    assert_eq!(answer.result(), Ok(b"ping".to_vec()));
                    break;
                }
                assert_eq!(
                    (answer.stream, answer.code()),
                    (strange.stream, Code::InvalidArgument)
                );
            }
        }
        assert_eq!(connection.close_reason(), None);
    })
    .await;
}
