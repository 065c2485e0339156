//! Calls: order of ids, cancellation, deadlines, queues.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nri_proto::frame;
use nri_proto::transport::{
    CallError, CallOptions, Client, CloseReason, Connection, Limits, MAX_MESSAGE, Role,
};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{
    ECHO, Message, Numbers, Peer, REQUEST, RESPONSE, Serve, echo, request, success, within,
};

async fn call(client: &Client, payload: impl Into<Bytes>) -> Result<Bytes, CallError> {
    client
        .call_encoded(ECHO, "m", payload.into(), CallOptions::default())
        .await
}

/// Law: ids leave in increasing order, whoever calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_concurrent_calls_keep_increasing_ids() {
    within(async {
        for role in [Role::Runtime, Role::Plugin] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let connection = Connection::builder(role).start(ours);
            let mut peer = Peer::new(theirs);
            let start = Arc::new(tokio::sync::Barrier::new(200));
            let mut calls = JoinSet::new();
            for i in 0..200_u32 {
                let client = connection.client();
                let start = Arc::clone(&start);
                calls.spawn(async move {
                    let payload = Bytes::from(vec![i as u8; 1 + 50 * i as usize]);
                    start.wait().await;
                    assert_eq!(call(&client, payload.clone()).await, Ok(payload));
                });
            }
            for expected in (1..400).step_by(2) {
                let message = peer.expect().await;
                assert_eq!(message.stream, expected);
                let reply = success(&message.request().payload);
                peer.send(&Message::new(message.id, message.stream, RESPONSE, reply))
                    .await;
            }
            while let Some(call) = calls.join_next().await {
                call.unwrap();
            }
        }
    })
    .await;
}

/// Law: a request refused for its size uses up its id, and the connection lives.
#[tokio::test]
async fn a_request_refused_for_its_size_uses_up_its_id() {
    within(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let connection = Connection::builder(Role::Runtime).start(ours);
        let client = connection.client();
        let mut peer = Peer::new(theirs);
        for expected in [1, 5, 9] {
            let begin = client.begin("s", "m", Bytes::new(), CallOptions::default());
            let (pending, message) = tokio::join!(begin, peer.expect());
            pending.unwrap();
            assert_eq!(message.stream, expected);
            let large = vec![0; MAX_MESSAGE].into();
            let refused = client.begin("s", "m", large, CallOptions::default()).await;
            assert!(matches!(refused, Err(CallError::TooLarge { .. })));
        }
    })
    .await;
}

/// Law: whatever point a call is given up at, the connection stays whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_calls_leave_the_connection_whole() {
    within(async {
        // A narrow pipe, so that most calls are given up while they are written.
        let (ours, theirs) = tokio::io::duplex(700);
        let runtime = Connection::builder(Role::Runtime).serve(echo()).start(ours);
        let plugin = Connection::builder(Role::Plugin)
            .serve(echo())
            .start(theirs);
        let mut numbers = Numbers::new(1);
        let mut given_up = 0;
        for round in 0..60_u64 {
            let mut calls = JoinSet::new();
            for _ in 0..10 {
                let client = if numbers.below(2) == 0 {
                    runtime.client()
                } else {
                    plugin.client()
                };
                let size = [0, 10, 700, 4096, 30_000][numbers.below(5) as usize];
                let patience = numbers.below(40);
                calls.spawn(async move {
                    let payload = Bytes::from(vec![round as u8; size]);
                    let mut polls = 0;
                    let mut call = std::pin::pin!(call(&client, payload.clone()));
                    std::future::poll_fn(|cx| match call.as_mut().poll(cx) {
                        std::task::Poll::Ready(reply) => {
                            assert_eq!(reply, Ok(payload.clone()));
                            std::task::Poll::Ready(false)
                        }
                        std::task::Poll::Pending if polls == patience => {
                            std::task::Poll::Ready(true)
                        }
                        std::task::Poll::Pending => {
                            polls += 1;
                            cx.waker().wake_by_ref();
                            std::task::Poll::Pending
                        }
                    })
                    .await
                });
            }
            while let Some(cancelled) = calls.join_next().await {
                given_up += u32::from(cancelled.unwrap());
            }
        }
        assert!(given_up > 50, "only {given_up} calls were given up");
        for connection in [&runtime, &plugin] {
            let payload = Bytes::from(vec![9; 100_000]);
            assert_eq!(
                call(&connection.client(), payload.clone()).await,
                Ok(payload)
            );
            assert_eq!(connection.close_reason(), None);
            assert_eq!(connection.stats().calls, 0);
        }
    })
    .await;
}

/// Law: a message whose write has begun is completed, though its caller is gone; one that is queued
/// is not sent.
#[tokio::test(start_paused = true)]
async fn a_message_that_was_begun_is_completed() {
    within(async {
        let (ours, theirs) = tokio::io::duplex(100);
        let connection = Connection::builder(Role::Runtime).start(ours);
        let client = connection.client();
        let timeout = |seconds| CallOptions::timeout(Duration::from_secs(seconds));

        let large = Bytes::from(vec![7; 100_000]);
        let error = client
            .call_encoded("s", "Begun", large, timeout(1))
            .await
            .unwrap_err();
        assert_eq!(
            error,
            CallError::DeadlineExceeded {
                after: Duration::from_secs(1)
            }
        );
        let error = client
            .call_encoded("s", "Queued", Bytes::new(), timeout(2))
            .await
            .unwrap_err();
        assert_eq!(
            error,
            CallError::DeadlineExceeded {
                after: Duration::from_secs(2)
            }
        );
        let stats = connection.stats();
        assert_eq!((stats.calls, stats.queued_bytes), (0, 0));

        let mut peer = Peer::new(theirs);
        let begun = peer.expect().await.request();
        assert_eq!((&*begun.method, begun.payload.len()), ("Begun", 100_000));
        let call = client.call_encoded("s", "Next", Bytes::new(), timeout(1));
        let answer = async {
            let message = peer.expect().await;
            // The id of the request that was never sent is left out.
            assert_eq!((&*message.request().method, message.stream), ("Next", 5));
            peer.send(&Message::new(1, message.stream, RESPONSE, Vec::new()))
                .await;
        };
        assert_eq!(tokio::join!(call, answer).0, Ok(Bytes::new()));
    })
    .await;
}

/// Law: the deadline covers queue, write and reply, and the peer is told what is left when its
/// request is encoded.
#[tokio::test(start_paused = true)]
async fn the_peer_learns_what_is_left_of_the_time() {
    within(async {
        let (ours, theirs) = tokio::io::duplex(100);
        let mut limits = Limits::default();
        limits.write_timeout = Duration::from_secs(60);
        let connection = Connection::builder(Role::Runtime)
            .limits(limits)
            .start(ours);
        let client = connection.client();
        let begin = async |method, payload: usize, options| {
            client
                .begin("s", method, Bytes::from(vec![0; payload]), options)
                .await
        };
        let mut peer = Peer::new(theirs);
        let reader = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let first = peer.expect().await.request();
            let second = peer.expect().await.request();
            (first.timeout_nano, second.timeout_nano)
        };
        let ten = CallOptions::timeout(Duration::from_secs(10));
        let (first, second, times) = tokio::join!(
            begin("1", 100_000, CallOptions::default()),
            begin("2", 0, ten),
            reader
        );
        assert_eq!(times, (0, 7_000_000_000));
        // And of that, ten seconds in all, it has seven for the reply.
        drop(first.unwrap());
        let start = Instant::now();
        let second = tokio::time::timeout(Duration::from_secs(7), second.unwrap()).await;
        second.expect_err("nobody answers");
        assert_eq!(start.elapsed(), Duration::from_secs(7));
        drop(peer);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_time_at_all_sends_nothing() {
    within(async {
        let (ours, theirs) = tokio::io::duplex(1000);
        let connection = Connection::builder(Role::Plugin).start(ours);
        let options = CallOptions::timeout(Duration::ZERO);
        let reply = connection
            .client()
            .call_encoded("s", "m", Bytes::new(), options)
            .await;
        assert_eq!(
            reply,
            Err(CallError::DeadlineExceeded {
                after: Duration::ZERO
            })
        );
        connection.close();
        assert_eq!(Peer::new(theirs).receive().await, None);
        assert_eq!(connection.stats().messages_out, 0);
    })
    .await;
}

/// Law: a peer that does not answer costs its caller the deadline, and the connection nothing.
#[tokio::test(start_paused = true)]
async fn an_unanswered_call_ends_at_its_deadline_and_its_late_reply_is_dropped() {
    within(async {
        let (ours, theirs) = tokio::io::duplex(1000);
        let connection = Connection::builder(Role::Runtime).start(ours);
        let mut peer = Peer::new(theirs);
        let client = connection.client();
        let options = CallOptions::timeout(Duration::from_secs(2));
        let start = Instant::now();
        let reply = client
            .call_encoded("s", "m", Bytes::new(), options.clone())
            .await;
        assert_eq!(
            reply,
            Err(CallError::DeadlineExceeded {
                after: Duration::from_secs(2)
            })
        );
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        let late = peer.expect().await;

        // Who keeps the pending reply gets it, however late.
        let pending = client.begin("s", "m", Bytes::new(), options).await.unwrap();
        tokio::time::advance(Duration::from_secs(20)).await;
        peer.send(&Message::new(1, late.stream, RESPONSE, success(b"late")))
            .await;
        let message = peer.expect().await;
        peer.send(&Message::new(
            1,
            message.stream,
            RESPONSE,
            success(b"later"),
        ))
        .await;
        assert_eq!(pending.await, Ok(Bytes::from_static(b"later")));
        assert_eq!(connection.stats().late_replies, 1);
        assert_eq!(connection.close_reason(), None);
    })
    .await;
}

/// Law: only a write that stays stuck past its time closes the connection.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_closed_after_the_write_timeout() {
    within(async {
        for role in [Role::Runtime, Role::Plugin] {
            let (ours, theirs) = tokio::io::duplex(1000);
            let connection = Connection::builder(role).start(ours);
            let client = connection.client();
            let start = Instant::now();
            let timed = CallOptions::timeout(Duration::from_secs(1));
            let large = Bytes::from(vec![0; 1 << 20]);
            let begun = client.begin("s", "m", large.clone(), timed.clone());
            let behind = client.begin("s", "m", Bytes::new(), timed);
            let (begun, behind) = tokio::join!(begun, behind);
            let after = Duration::from_secs(1);
            assert_eq!(begun.unwrap_err(), CallError::DeadlineExceeded { after });
            assert_eq!(behind.unwrap_err(), CallError::DeadlineExceeded { after });
            assert_eq!(connection.close_reason(), None, "late is not dead");
            let waiting = client.begin("s", "m", Bytes::new(), CallOptions::default());
            let (waiting, reason) = tokio::join!(waiting, connection.closed());
            assert_eq!(
                reason,
                CloseReason::StuckWrite {
                    after: Duration::from_secs(5)
                }
            );
            assert_eq!(start.elapsed(), Duration::from_secs(5));
            assert_eq!(waiting.unwrap_err(), CallError::Closed(reason));
            drop(theirs);
        }
    })
    .await;
}

/// A peer that is slow and reads nevertheless keeps its connection.
#[tokio::test(start_paused = true)]
async fn a_slow_peer_is_not_stuck() {
    within(async {
        let (ours, theirs) = tokio::io::duplex(1000);
        let connection = Connection::builder(Role::Runtime).start(ours);
        let mut peer = Peer::new(theirs);
        let client = connection.client();
        for _ in 0..5 {
            let large = Bytes::from(vec![0; 100_000]);
            let begin = client.begin("s", "m", large, CallOptions::default());
            let read = async {
                tokio::time::sleep(Duration::from_secs(4)).await;
                peer.expect().await
            };
            tokio::join!(begin, read).0.unwrap();
        }
        assert_eq!(connection.close_reason(), None);
    })
    .await;
}

/// Law: calls in flight are bounded, since a Go peer dies of 257 unread frames; the next one waits
/// for its place.
#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_bounded() {
    within(async {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let mut limits = Limits::default();
        limits.max_calls = 3;
        let connection = Connection::builder(Role::Runtime)
            .limits(limits)
            .start(ours);
        let client = connection.client();
        let mut peer = Peer::new(theirs);
        let begin = |options| client.begin("s", "m", Bytes::new(), options);
        let first = begin(CallOptions::default()).await.unwrap();
        let second = begin(CallOptions::default()).await.unwrap();
        let third = begin(CallOptions::default()).await.unwrap();
        let after = Duration::from_secs(2);
        let refused = begin(CallOptions::timeout(after)).await.unwrap_err();
        assert_eq!(refused, CallError::DeadlineExceeded { after });
        // A reply frees a place even before it is picked up, and so does giving up.
        peer.send(&Message::new(1, 1, RESPONSE, Vec::new())).await;
        let fourth = begin(CallOptions::timeout(after)).await.unwrap();
        drop(second);
        let fifth = begin(CallOptions::timeout(after)).await.unwrap();
        assert_eq!(connection.stats().calls, 3);
        assert_eq!(first.await, Ok(Bytes::new()));
        drop((third, fourth, fifth));
        assert_eq!(connection.stats().calls, 0);
    })
    .await;
}

/// Law: queued bytes are bounded; a request that finds no room waits, and one larger than the queue
/// gets all of it.
#[tokio::test(start_paused = true)]
async fn queued_requests_are_bounded_in_bytes() {
    within(async {
        let (ours, theirs) = tokio::io::duplex(1000);
        let mut limits = Limits::default();
        limits.queue_bytes = 100_000;
        let connection = Connection::builder(Role::Runtime)
            .limits(limits)
            .start(ours);
        let mut calls = JoinSet::new();
        for size in [60_000; 20].into_iter().chain([300_000]) {
            let client = connection.client();
            calls.spawn(async move { call(&client, vec![0; size]).await });
        }
        let mut peer = Peer::new(theirs);
        for _ in 0..21 {
            let message = peer.expect().await;
            peer.send(&Message::new(1, message.stream, RESPONSE, Vec::new()))
                .await;
        }
        while let Some(reply) = calls.join_next().await {
            assert_eq!(reply.unwrap(), Ok(Bytes::new()));
        }
        let high = connection.stats().queued_bytes_high;
        assert!((60_000..=300_100).contains(&high), "{high}");
    })
    .await;
}

/// Law: the two logical connections share the trunk fairly.
#[tokio::test(start_paused = true)]
async fn requests_and_answers_leave_in_turn() {
    within(async {
        let (ours, theirs) = tokio::io::duplex(100_000);
        let connection = Connection::builder(Role::Runtime)
            .serve(Serve(ECHO, |_, _, _| async { Ok(vec![0; 30_000]) }))
            .start(ours);
        let mut peer = Peer::new(theirs);
        let mut calls = JoinSet::new();
        for _ in 0..50 {
            let client = connection.client();
            calls.spawn(async move { call(&client, vec![0; 30_000]).await });
        }
        for stream in (1..100).step_by(2) {
            peer.send(&Message::new(2, stream, REQUEST, request(ECHO, "m", b"")))
                .await;
        }
        // Until all of it is queued or stuck in the pipe.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut ids = Vec::new();
        for _ in 0..100 {
            ids.push(peer.expect().await.id);
        }
        // What came first may have filled the pipe alone.
        let from = ids.iter().position(|id| *id != ids[0]).unwrap();
        assert!(from < 10, "{ids:?}");
        for window in ids[from..90].windows(4) {
            assert!(window.contains(&1) && window.contains(&2), "{ids:?}");
        }
    })
    .await;
}

/// Law: when `begin` returns, the request has been handed over whole.
#[tokio::test(start_paused = true)]
async fn begin_returns_when_all_is_written() {
    within(async {
        let (ours, theirs) = tokio::io::duplex(4096);
        let connection = Connection::builder(Role::Runtime).start(ours);
        let client = connection.client();
        let payload = Bytes::from(vec![1; 50_000]);
        let mut begin = std::pin::pin!(client.begin("s", "m", payload, CallOptions::default()));
        let mut peer = Peer::new(theirs);
        tokio::select! {
            biased;
            _ = &mut begin => panic!("the pipe holds a tenth of it"),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        let (pending, message) = tokio::join!(begin, peer.expect());
        assert_eq!(message.request().payload.len(), 50_000);
        drop(pending.unwrap());
        let (first, second) = frame::segments(message.bytes().len());
        assert_eq!(
            connection.stats().bytes_out as usize,
            first + second.unwrap() + 16
        );
    })
    .await;
}
