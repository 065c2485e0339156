//! What happens at once, without a task in between: callers that write, handlers that do not wait,
//! replies that go on by themselves; and code that blocks in one of these places.

use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use nri_proto::transport::{
    CallEnd, CallError, CallOptions, Client, CloseReason, Connection, Limits, Role, Service,
    StartError, Started,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};

use crate::support::{
    ECHO, Message, Pair, REQUEST, RESPONSE, Serve, echo, request, success, within,
};

type Reply = Result<Bytes, CallError>;

/// A call whose reply comes out of a channel.
fn start(client: &Client, payload: &'static [u8]) -> (Started, oneshot::Receiver<Reply>) {
    let (sender, reply) = oneshot::channel();
    let then = move |end: CallEnd| drop(sender.send(end.reply));
    let payload = Bytes::from_static(payload);
    let started = client.start(ECHO, "m", payload, CallOptions::default(), then);
    (started.unwrap(), reply)
}

/// Law: a request is written in the poll that begins the call, when nothing is in its way.
#[tokio::test]
async fn the_caller_writes() {
    within(async {
        let mut pair = Pair::new(Role::Runtime, echo());
        let client = pair.connection.client();
        let mut call =
            pin!(client.call_encoded(ECHO, "m", Bytes::from_static(b"x"), CallOptions::default()));
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        // No other task has run.
        assert_eq!(pair.connection.stats().messages_out, 1);
        let asked = pair.peer.expect().await;
        let reply = Message::new(asked.id, asked.stream, RESPONSE, success(b"y"));
        pair.peer.send(&reply).await;
        assert_eq!(call.await, Ok(Bytes::from_static(b"y")));
    })
    .await;
}

/// Law: a request that comes alone, and whose handler does not wait, is answered before anything
/// else happens.
#[tokio::test]
async fn a_handler_that_does_not_wait_is_answered_at_once() {
    within(async {
        let mut pair = Pair::new(Role::Plugin, echo());
        pair.works(1).await;
        for stream in [3, 5, 7] {
            pair.ask(stream, REQUEST, request(ECHO, "m", b"ping")).await;
            let asked = u64::from(stream.div_ceil(2));
            while pair.connection.stats().messages_in < asked {
                tokio::task::yield_now().await;
            }
            assert_eq!(pair.connection.stats().messages_out, asked);
            assert_eq!(pair.answer(stream).await, Ok(b"ping".to_vec()));
        }
    })
    .await;
}

/// Law: a handler that waits is completed by a task of its own, and others are answered meanwhile.
#[tokio::test]
async fn a_handler_that_waits_goes_on() {
    within(async {
        let go = Arc::new(Notify::new());
        let service = {
            let go = Arc::clone(&go);
            Serve(ECHO, move |_, method: String, payload: Bytes| {
                let go = Arc::clone(&go);
                async move {
                    if method == "wait" {
                        tokio::task::yield_now().await;
                        go.notified().await;
                    }
                    Ok(payload.to_vec())
                }
            })
        };
        let mut pair = Pair::new(Role::Plugin, service);
        pair.works(1).await;
        pair.ask(3, REQUEST, request(ECHO, "wait", b"late")).await;
        pair.works(5).await;
        go.notify_one();
        assert_eq!(pair.answer(3).await, Ok(b"late".to_vec()));
    })
    .await;
}

/// A service whose method `block` blocks until it is let go, in the way that tokio has for that:
/// its other tasks go on.
fn blocking(entered: mpsc::Sender<()>, go: mpsc::Receiver<()>) -> impl Service {
    let entered = Mutex::new(entered);
    let go = Arc::new(Mutex::new(go));
    Serve(ECHO, move |_, method: String, payload: Bytes| {
        let blocks = method == "block";
        if blocks {
            entered.lock().unwrap().send(()).unwrap();
        }
        let go = Arc::clone(&go);
        async move {
            if blocks {
                // Until it is let go, or the test is over.
                let _ = tokio::task::block_in_place(|| go.lock().unwrap().recv());
            }
            Ok(payload.to_vec())
        }
    })
}

/// Waits for what happens in another thread.
async fn happened(what: &mpsc::Receiver<()>) {
    while what.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
}

/// Law: a handler that blocks stops neither the answers to others nor the replies to own calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_stops_no_reading() {
    within(async {
        let (entered, is_in) = mpsc::channel();
        let (let_go, go) = mpsc::channel();
        let mut pair = Pair::new(Role::Plugin, blocking(entered, go));
        pair.works(1).await;
        for stream in [3, 9, 15] {
            pair.ask(stream, REQUEST, request(ECHO, "block", b"late"))
                .await;
            happened(&is_in).await;
            pair.works(stream + 2).await;
            pair.works(stream + 4).await;
            let (_started, reply) = start(&pair.connection.client(), b"x");
            let asked = pair.peer.expect().await;
            let message = Message::new(asked.id, asked.stream, RESPONSE, success(b"y"));
            pair.peer.send(&message).await;
            assert_eq!(reply.await.unwrap(), Ok(Bytes::from_static(b"y")));
            let_go.send(()).unwrap();
            assert_eq!(pair.answer(stream).await, Ok(b"late".to_vec()));
        }
    })
    .await;
}

/// Law: a handler that blocks does not hold up the end of its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_does_not_hold_up_the_end() {
    within(async {
        for by_us in [true, false] {
            let (entered, is_in) = mpsc::channel();
            let (let_go, go) = mpsc::channel();
            let mut pair = Pair::new(Role::Plugin, blocking(entered, go));
            pair.works(1).await;
            pair.ask(3, REQUEST, request(ECHO, "block", b"late")).await;
            happened(&is_in).await;
            if by_us {
                pair.connection.close();
                assert_eq!(pair.connection.closed().await, CloseReason::Local);
                // The socket is closed, whatever the handler does.
                assert_eq!(pair.peer.receive().await, None);
            } else {
                drop(pair.peer);
                assert_eq!(pair.connection.closed().await, CloseReason::PeerClosed);
            }
            drop(let_go);
        }
    })
    .await;
}

/// Law: what runs with a reply should not block, but if it does, its connection is read all the
/// same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reply_whose_code_blocks_stops_no_reading() {
    within(async {
        let mut pair = Pair::new(Role::Runtime, echo());
        pair.works(1).await;
        let (entered, is_in) = mpsc::channel();
        let (let_go, go) = mpsc::channel::<()>();
        let then = move |_: CallEnd| {
            entered.send(()).unwrap();
            let _ = tokio::task::block_in_place(|| go.recv());
        };
        let client = pair.connection.client();
        let options = CallOptions::default();
        let _started = client
            .start(ECHO, "m", Bytes::from_static(b"a"), options, then)
            .unwrap();
        let asked = pair.peer.expect().await;
        let reply = Message::new(asked.id, asked.stream, RESPONSE, success(b"b"));
        pair.peer.send(&reply).await;
        happened(&is_in).await;
        pair.works(3).await;
        let (_other, reply) = start(&client, b"c");
        let asked = pair.peer.expect().await;
        let message = Message::new(asked.id, asked.stream, RESPONSE, success(b"d"));
        pair.peer.send(&message).await;
        assert_eq!(reply.await.unwrap(), Ok(Bytes::from_static(b"d")));
        drop(let_go);
    })
    .await;
}

/// Law: a reply goes on by itself: it begins the next call on another connection, and no task waits
/// for it in between.
#[tokio::test]
async fn replies_begin_the_next_call() {
    within(async {
        let mut first = Pair::new(Role::Runtime, echo());
        let mut second = Pair::new(Role::Runtime, echo());
        let next = second.connection.client();
        let (sender, end) = oneshot::channel();
        let kept = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&kept);
        let then = move |end: CallEnd| {
            let last = move |end: CallEnd| drop(sender.send(end.reply));
            let started = next.start(ECHO, "m", end.reply.unwrap(), CallOptions::default(), last);
            *keep.lock().unwrap() = Some(started.unwrap());
        };
        let client = first.connection.client();
        let options = CallOptions::default();
        let _started = client
            .start(ECHO, "m", Bytes::from_static(b"a"), options, then)
            .unwrap();
        for (pair, reply) in [(&mut first, b"b"), (&mut second, b"c")] {
            let asked = pair.peer.expect().await;
            let reply = Message::new(asked.id, asked.stream, RESPONSE, success(reply));
            pair.peer.send(&reply).await;
        }
        assert_eq!(end.await.unwrap(), Ok(Bytes::from_static(b"c")));
        assert!(kept.lock().unwrap().is_some());
    })
    .await;
}

/// Law: who begins a call in this way never waits: without a place there is no call.
#[tokio::test]
async fn without_a_place_nothing_is_started() {
    within(async {
        let mut limits = Limits::default();
        limits.max_calls = 1;
        let mut pair = Pair::limited(Role::Runtime, echo(), limits);
        let client = pair.connection.client();
        let (started, reply) = start(&client, b"x");
        let never = |_: CallEnd| panic!("it was not started");
        let options = CallOptions::default();
        let crowded = client.start(ECHO, "m", Bytes::new(), options.clone(), never);
        assert_eq!(crowded.err(), Some(StartError::Crowded));
        let asked = pair.peer.expect().await;
        let message = Message::new(asked.id, asked.stream, RESPONSE, success(b"y"));
        pair.peer.send(&message).await;
        assert_eq!(reply.await.unwrap(), Ok(Bytes::from_static(b"y")));
        drop(started);
        let (_started, _reply) = start(&client, b"x");
        pair.connection.close();
        let closed = client.start(ECHO, "m", Bytes::new(), options, never);
        let expected = CallError::Closed(CloseReason::Local);
        assert_eq!(closed.err(), Some(StartError::Call(expected)));
    })
    .await;
}

/// Law: closing tells each call once; one that was given up is told nothing.
#[tokio::test]
async fn the_end_and_giving_up() {
    within(async {
        let pair = Pair::new(Role::Runtime, echo());
        let client = pair.connection.client();
        let (_started, told) = start(&client, b"x");
        let (given_up, untold) = start(&client, b"x");
        drop(given_up);
        untold.await.expect_err("what would have told is dropped");
        drop(pair.peer);
        let expected = CallError::Closed(CloseReason::PeerClosed);
        assert_eq!(told.await.unwrap(), Err(expected));
    })
    .await;
}

/// Law: a call whose time is over while it is queued is told so, and is never sent.
#[tokio::test(start_paused = true)]
async fn what_expires_in_the_queue_is_told() {
    let (ours, mut theirs) = tokio::io::duplex(64);
    let connection = Connection::builder(Role::Runtime).start(ours);
    let client = connection.client();
    let (_started, _reply) = start(&client, &[7; 1000]);
    let (sender, expired) = oneshot::channel();
    let then = move |end: CallEnd| drop(sender.send(end.reply));
    let second = Duration::from_secs(1);
    let options = CallOptions::timeout(second);
    let _late = client
        .start(ECHO, "late", Bytes::new(), options, then)
        .unwrap();
    tokio::time::advance(2 * second).await;
    let mut sent = vec![0; 1000];
    theirs.read_exact(&mut sent).await.unwrap();
    let expected = CallError::DeadlineExceeded { after: second };
    let read = async {
        let mut rest = [0; 64];
        while theirs.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    };
    tokio::select! {
        reply = expired => assert_eq!(reply.unwrap(), Err(expected)),
        () = read => panic!("the connection has ended"),
    }
    assert_eq!(connection.stats().messages_out, 1);
}

/// Law: callers of many threads that all write themselves lose nothing and mix nothing up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_write_at_once() {
    within(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let serving = Connection::builder(Role::Plugin)
            .serve(echo())
            .start(theirs);
        let calling = Connection::builder(Role::Runtime).start(ours);
        let mut calls = tokio::task::JoinSet::new();
        for i in 0..64_usize {
            let client = calling.client();
            calls.spawn(async move {
                for round in 0..50 {
                    let payload = Bytes::from(vec![i as u8; 1 + (i * 997 + round * 131) % 20_000]);
                    let options = CallOptions::default();
                    let reply = client
                        .call_encoded(ECHO, "m", payload.clone(), options)
                        .await;
                    assert_eq!(reply, Ok(payload));
                }
            });
        }
        while let Some(call) = calls.join_next().await {
            call.unwrap();
        }
        assert_eq!(calling.stats().messages_out, 64 * 50);
        // An answer can be here before its handler has gone.
        while serving.stats().handlers != 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
