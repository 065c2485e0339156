//! What hostile peers cost this process, as the operating system sees it. Alone in its binary, so
//! that nothing else counts.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic in a test or in what serves it is its report"
)]

use std::time::Duration;

use bytes::Bytes;
use nri_proto::frame::{Header, append_message};
use nri_proto::transport::{CallContext, Connection, Limits, Role, Service, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use ttrpc::MessageHeader;
use ttrpc::proto::{Codec as _, Request};

struct Echo;

#[async_trait::async_trait]
impl Service for Echo {
    fn name(&self) -> &'static str {
        "test.Echo"
    }

    async fn call(&self, _: CallContext, _: &str, payload: Bytes) -> Result<Vec<u8>, Status> {
        Ok(payload.to_vec())
    }
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn start() -> (Connection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (
        Connection::builder(Role::Runtime).serve(Echo).start(ours),
        theirs,
    )
}

fn message(length: u32, stream_id: u32, data: &[u8]) -> Vec<u8> {
    let header = MessageHeader {
        length,
        stream_id,
        type_: 1,
        flags: 0,
    };
    [Vec::from(header), data.to_vec()].concat()
}

/// Law: neither what a peer announces nor how much it asks at once is what we allocate.
#[tokio::test]
async fn announcements_and_floods_cost_little() {
    let test = async {
        // One of each, so that what is allocated once and for all does not count.
        flood(100).await;
        announce(10).await;
        let before = resident();

        // 200 connections that announce 4 MiB in a message and 16 MiB in a frame would be 4 GiB.
        announce(200).await;
        // 20,000 requests at once, read afterwards; as long as each waits it costs bytes, not
        // tasks.
        flood(20_000).await;

        let grown = resident().saturating_sub(before);
        assert!(grown < 48 << 20, "memory grew by {grown} bytes");
    };
    tokio::time::timeout(Duration::from_secs(60), test)
        .await
        .expect("the test hangs");
}

/// Connections that announce much and send little, all open at once.
async fn announce(count: usize) {
    let mut open = Vec::new();
    for _ in 0..count {
        let (connection, mut peer) = start();
        let frame = Header {
            id: 2,
            len: 16 << 20,
        }
        .encode();
        peer.write_all(&[&frame[..], &message(4 << 20, 1, b"little")].concat())
            .await
            .unwrap();
        open.push((connection, peer));
    }
    for (connection, _peer) in &open {
        while connection.stats().bytes_in < 24 {
            tokio::task::yield_now().await;
        }
        assert!(connection.stats().partial_bytes_high < 4096);
    }
}

/// So many requests at once, from a peer that reads when all are written.
async fn flood(count: u32) {
    let (connection, mut peer) = start();
    let request = Request {
        service: "test.Echo".into(),
        ..Request::default()
    };
    let data = request.encode().unwrap();
    let mut wire = Vec::new();
    for i in 0..count {
        let message = message(data.len() as u32, 2 * i + 1, &data);
        append_message(2, &message, &mut wire).unwrap();
    }
    peer.write_all(&wire).await.unwrap();
    let mut buffer = vec![0; 65_536];
    // Each is answered, and the last to be answered frees the last place.
    loop {
        let stats = connection.stats();
        let done = stats.messages_out == u64::from(count);
        if done {
            break;
        }
        tokio::select! {
            read = peer.read(&mut buffer) => assert!(read.unwrap() > 0),
            () = tokio::task::yield_now() => {}
        }
    }
    let stats = connection.stats();
    assert!(stats.handlers_high <= Limits::default().max_handlers as u64);
    assert!(stats.queued_bytes_high < 1 << 20, "{stats:?}");
}
