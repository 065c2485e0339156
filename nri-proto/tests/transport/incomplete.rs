//! What many connections hold together of messages that have not arrived whole.

use nri_proto::transport::{CloseReason, Connection, IncompleteBytes, Role};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::support::{ECHO, Message, Peer, REQUEST, echo, request, within};

/// A connection, its peer, and what that has not sent yet of a message.
struct Sender {
    connection: Connection,
    peer: Peer<UnixStream>,
    rest: Vec<u8>,
    payload: Vec<u8>,
}

impl Sender {
    /// Sends a tenth less than the whole of a message.
    async fn begin(bytes: &IncompleteBytes, size: usize) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let connection = Connection::builder(Role::Runtime)
            .serve(echo())
            .incomplete(bytes)
            .start(ours);
        let payload = vec![7; size];
        let message = Message::new(2, 1, REQUEST, request(ECHO, "m", &payload));
        let mut wire = message.wire();
        let rest = wire.split_off(wire.len() - size / 10);
        let mut peer = Peer::new(theirs);
        // Whoever is closed does not read all of it.
        let _ = peer.stream.write_all(&wire).await;
        Self {
            connection,
            peer,
            rest,
            payload,
        }
    }

    async fn finish(mut self) {
        self.peer.send_bytes(&self.rest).await;
        assert_eq!(self.peer.expect().await.result(), Ok(self.payload));
    }
}

async fn until(bytes: &IncompleteBytes, is_so: impl Fn(usize) -> bool) {
    while !is_so(bytes.held()) {
        tokio::task::yield_now().await;
    }
}

/// Law: together no more than the bound, and who holds most is closed, whoever sent the last.
#[tokio::test]
async fn who_holds_most_is_closed_when_all_hold_too_much() {
    within(async {
        let bytes = IncompleteBytes::new(900_000);
        let greedy = Sender::begin(&bytes, 600_000).await;
        until(&bytes, |held| held >= 540_000).await;
        let first = Sender::begin(&bytes, 100_000).await;
        let second = Sender::begin(&bytes, 150_000).await;
        until(&bytes, |held| held >= 540_000 + 90_000 + 135_000).await;
        assert_eq!(greedy.connection.close_reason(), None);

        let third = Sender::begin(&bytes, 300_000).await;
        match greedy.connection.closed().await {
            CloseReason::Incomplete { held, total, limit } => {
                assert!((540_000..=601_000).contains(&held), "{held}");
                assert!(total > limit && limit == 900_000, "{total}");
            }
            other => panic!("{other}"),
        }
        // The others have done nothing wrong.
        for sender in [first, second, third] {
            sender.finish().await;
        }
        until(&bytes, |held| held == 0).await;
    })
    .await;
}

#[tokio::test]
async fn what_a_connection_held_is_free_when_it_ends() {
    within(async {
        let bytes = IncompleteBytes::new(1 << 20);
        for _ in 0..20 {
            let sender = Sender::begin(&bytes, 100_000).await;
            until(&bytes, |held| held >= 90_000).await;
            drop(sender.peer);
            sender.connection.closed().await;
            until(&bytes, |held| held == 0).await;
        }
    })
    .await;
}

#[tokio::test]
async fn another_bound_counts_from_what_arrives_next() {
    within(async {
        let bytes = IncompleteBytes::new(10_000);
        bytes.set_limit(1 << 20);
        let sender = Sender::begin(&bytes, 100_000).await;
        until(&bytes, |held| held >= 90_000).await;
        bytes.set_limit(10_000);
        let small = Sender::begin(&bytes, 20_000).await;
        assert!(matches!(
            sender.connection.closed().await,
            CloseReason::Incomplete { .. }
        ));
        drop(small);
    })
    .await;
}
