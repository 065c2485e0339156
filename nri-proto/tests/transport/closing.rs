//! How connections end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nri_proto::transport::{
    CallError, CallOptions, CloseReason, Connection, Limits, Role, Service,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};

use crate::support::{
    ECHO, Message, Peer, REQUEST, RESPONSE, Serve, echo, request, success, within,
};

/// A handler that waits for ever and tells when it is dropped.
fn stuck(events: mpsc::UnboundedSender<&'static str>) -> impl Service {
    struct Dropped(mpsc::UnboundedSender<&'static str>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            // The test may be over.
            let _ = self.0.send("dropped");
        }
    }
    Serve(ECHO, move |_, _, _| {
        let events = events.clone();
        async move {
            events.send("started").unwrap();
            let _dropped = Dropped(events);
            std::future::pending().await
        }
    })
}

#[tokio::test]
async fn close_fails_pending_calls_drops_handlers_and_ends_the_stream() {
    within(async {
        for role in [Role::Runtime, Role::Plugin] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (send, mut events) = mpsc::unbounded_channel();
            let connection = Connection::builder(role).serve(stuck(send)).start(ours);
            let mut peer = Peer::new(theirs);
            let server = if role == Role::Runtime { 2 } else { 1 };
            peer.send(&Message::new(server, 1, REQUEST, request(ECHO, "m", b"")))
                .await;
            assert_eq!(events.recv().await, Some("started"));
            let client = connection.client();
            let pending = client
                .begin("s", "m", Bytes::new(), CallOptions::default())
                .await
                .unwrap();

            connection.close();
            connection.close();
            let closed = CallError::Closed(CloseReason::Local);
            assert_eq!(pending.await, Err(closed.clone()));
            assert_eq!(connection.close_reason(), Some(CloseReason::Local));
            let other = connection.clone();
            let (first, second) = tokio::join!(connection.closed(), other.closed());
            assert_eq!((first, second), (CloseReason::Local, CloseReason::Local));
            assert_eq!(events.recv().await, Some("dropped"));
            assert_eq!(peer.expect().await.kind, REQUEST);
            assert_eq!(peer.receive().await, None);

            let begin = client
                .begin("s", "m", Bytes::new(), CallOptions::default())
                .await;
            assert_eq!(begin.unwrap_err(), closed);
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_waits_for_the_answers_waits_until_they_are_written() {
    within(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let go = Arc::new(Notify::new());
        let waits = Arc::clone(&go);
        let service = Serve(ECHO, move |_, _, _| {
            let waits = Arc::clone(&waits);
            async move {
                waits.notified().await;
                Ok(b"done".to_vec())
            }
        });
        let connection = Connection::builder(Role::Runtime)
            .serve(service)
            .start(ours);
        connection.answered().await;

        let mut peer = Peer::new(theirs);
        peer.send(&Message::new(2, 1, REQUEST, request(ECHO, "m", b"")))
            .await;
        while connection.stats().handlers == 0 {
            tokio::task::yield_now().await;
        }
        let mut answered = Box::pin(connection.answered());
        tokio::select! {
            biased;
            () = &mut answered => panic!("the handler is not done"),
            () = tokio::task::yield_now() => {}
        }
        go.notify_one();
        answered.await;
        connection.close();
        assert_eq!(peer.expect().await.kind, RESPONSE);

        // A connection that closes has nothing to wait for either.
        connection.answered().await;
    })
    .await;
}

#[tokio::test]
async fn dropping_the_last_handle_closes_and_a_client_is_none() {
    within(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let connection = Connection::builder(Role::Runtime).start(ours);
        let other = connection.clone();
        let client = connection.client();
        drop(connection);
        assert_eq!(other.close_reason(), None);
        drop(other);
        assert_eq!(Peer::new(theirs).receive().await, None);
        let call = client
            .call_encoded("s", "m", Bytes::new(), CallOptions::default())
            .await;
        assert_eq!(call, Err(CallError::Closed(CloseReason::Local)));
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_trunk_fails_pending_calls() {
    within(async {
        for role in [Role::Runtime, Role::Plugin] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (send, mut events) = mpsc::unbounded_channel();
            let connection = Connection::builder(role).serve(stuck(send)).start(ours);
            let client = connection.client();
            let mut peer = Peer::new(theirs);
            let server = if role == Role::Runtime { 2 } else { 1 };
            peer.send(&Message::new(server, 1, REQUEST, request(ECHO, "m", b"")))
                .await;
            assert_eq!(events.recv().await, Some("started"));
            let pending = client
                .begin("s", "m", Bytes::new(), CallOptions::default())
                .await
                .unwrap();
            peer.expect().await;
            drop(peer);
            assert_eq!(
                pending.await,
                Err(CallError::Closed(CloseReason::PeerClosed))
            );
            assert_eq!(connection.closed().await, CloseReason::PeerClosed);
            assert_eq!(events.recv().await, Some("dropped"));
        }
    })
    .await;
}

/// Law: what the peer sent before it went counts, even if we were writing when it went.
#[tokio::test]
async fn replies_before_the_end_arrive() {
    within(async {
        for _ in 0..50 {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let connection = Connection::builder(Role::Runtime).start(ours);
            let client = connection.client();
            let begin = || client.begin("s", "m", Bytes::new(), CallOptions::default());
            let first = begin().await.unwrap();
            let mut peer = Peer::new(theirs);
            peer.expect().await;
            peer.send(&Message::new(1, 1, RESPONSE, success(b"last words")))
                .await;
            drop(peer);
            // It may be written into the void, or fail.
            let second = begin().await;
            assert_eq!(first.await, Ok(Bytes::from_static(b"last words")));
            assert_eq!(connection.closed().await, CloseReason::PeerClosed);
            let error = match second {
                Ok(pending) => pending.await.unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error, CallError::Closed(CloseReason::PeerClosed));
        }
    })
    .await;
}

/// Law: answers that are ready are written before a local close, as long as the peer reads.
#[tokio::test(start_paused = true)]
async fn ready_answers_leave_before_a_local_close() {
    within(async {
        let (ours, theirs) = tokio::io::duplex(1000);
        let done = Arc::new(Notify::new());
        let tell = Arc::clone(&done);
        let service = Serve(ECHO, move |_, _, _| {
            let tell = Arc::clone(&tell);
            async move {
                tell.notify_one();
                Ok(vec![1; 100_000])
            }
        });
        let connection = Connection::builder(Role::Plugin).serve(service).start(ours);
        let mut peer = Peer::new(theirs);
        peer.send(&Message::new(1, 1, REQUEST, request(ECHO, "m", b"")))
            .await;
        done.notified().await;
        // Until the answer fills the pipe.
        tokio::time::sleep(Duration::from_millis(1)).await;
        connection.close();
        assert_eq!(peer.expect().await.result(), Ok(vec![1; 100_000]));
        assert_eq!(peer.receive().await, None);
        assert_eq!(connection.closed().await, CloseReason::Local);
    })
    .await;
}

/// Law: a peer that does not read cannot hold up a close.
#[tokio::test(start_paused = true)]
async fn a_local_close_does_not_wait_for_a_peer_that_does_not_read() {
    within(async {
        let (ours, theirs) = tokio::io::duplex(1000);
        let connection = Connection::builder(Role::Runtime).start(ours);
        let client = connection.client();
        let large = Bytes::from(vec![0; 1 << 20]);
        let begin = client.begin(
            "s",
            "m",
            large,
            CallOptions::timeout(Duration::from_secs(1)),
        );
        begin.await.unwrap_err();
        let start = tokio::time::Instant::now();
        connection.close();
        assert_eq!(connection.closed().await, CloseReason::Local);
        assert!(
            start.elapsed() <= Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
        drop(theirs);
    })
    .await;
}

/// Law: before the budget is lifted no more than it is accepted, and after that anything is.
#[tokio::test]
async fn the_byte_budget_holds_until_it_is_lifted() {
    within(async {
        let mut limits = Limits::default();
        limits.byte_budget = Some(500);
        let start = || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let builder = Connection::builder(Role::Runtime)
                .serve(echo())
                .limits(limits.clone());
            (builder.start(ours), Peer::new(theirs))
        };
        let call =
            |stream, len| Message::new(2, stream, REQUEST, request(ECHO, "m", &vec![0; len]));

        let (connection, mut peer) = start();
        let exactly = 500 - call(1, 0).wire().len() - 2 - 1;
        let first = call(1, exactly);
        assert_eq!(first.wire().len(), 500);
        peer.send(&first).await;
        assert_eq!(
            peer.expect().await.stream,
            1,
            "all of the budget may be used"
        );
        peer.send_bytes(&[0]).await;
        assert_eq!(
            connection.closed().await,
            CloseReason::Budget { limit: 500 }
        );
        assert!(connection.stats().bytes_in <= 501);

        let (connection, mut peer) = start();
        peer.send(&call(1, 5)).await;
        peer.expect().await;
        connection.lift_budget();
        peer.send(&call(3, 100_000)).await;
        assert_eq!(
            peer.expect().await.result().map(|payload| payload.len()),
            Ok(100_000)
        );
        assert_eq!(connection.close_reason(), None);

        let (connection, mut peer) = start();
        // The peer may see the end while it still writes.
        let _ = peer.stream.write_all(&call(1, 100_000).wire()).await;
        assert_eq!(
            connection.closed().await,
            CloseReason::Budget { limit: 500 }
        );
        assert_eq!(connection.stats().bytes_in, 501, "one byte tells");
    })
    .await;
}

/// Law: both ends end, in whatever order things happen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_under_load_ends_both_ends() {
    within(async {
        for round in 0..20 {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let runtime = Connection::builder(Role::Runtime).serve(echo()).start(ours);
            let plugin = Connection::builder(Role::Plugin)
                .serve(echo())
                .start(theirs);
            let mut calls = tokio::task::JoinSet::new();
            for client in [runtime.client(), plugin.client()]
                .into_iter()
                .cycle()
                .take(40)
            {
                calls.spawn(async move {
                    let payload = Bytes::from(vec![0; 20_000]);
                    client
                        .call_encoded(ECHO, "m", payload, CallOptions::default())
                        .await
                });
            }
            for _ in 0..round {
                calls.join_next().await.unwrap().unwrap().unwrap();
            }
            plugin.close();
            while let Some(call) = calls.join_next().await {
                match call.unwrap() {
                    Ok(_)
                    | Err(CallError::Closed(CloseReason::Local | CloseReason::PeerClosed)) => {}
                    // The plugin gives up a request half-way only if the runtime does not read.
                    Err(other) => panic!("{other}"),
                }
            }
            assert_eq!(plugin.closed().await, CloseReason::Local);
            assert_eq!(runtime.closed().await, CloseReason::PeerClosed);
        }
    })
    .await;
}
