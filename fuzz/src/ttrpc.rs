//! A peer that sends anything: the connection ends, and everything it began with it.

use std::sync::Arc;

use nri_proto::frame::append_message;
use nri_proto::transport::{
    Connection, PluginServer, PluginService, Role, RuntimeServer, RuntimeService,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Answers every call with code 12.
struct Nothing;

impl PluginService for Nothing {}
impl RuntimeService for Nothing {}

/// Sends the input as it is, and as one message to each service, to a runtime's end and to a
/// plugin's.
///
/// # Panics
/// A law does not hold.
pub fn check(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime can be built");
    let mut wires = vec![input.to_vec()];
    for id in [1, 2] {
        let mut wire = Vec::new();
        append_message(id, input, &mut wire).expect("a short message fits");
        wires.push(wire);
    }
    for wire in &wires {
        for role in [Role::Runtime, Role::Plugin] {
            runtime.block_on(end_of(role, wire));
        }
    }
}

/// Waits for the end of a connection whose peer sends this and no more.
async fn end_of(role: Role, wire: &[u8]) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let builder = Connection::builder(role);
    let nothing = Arc::new(Nothing);
    let connection = match role {
        Role::Runtime => builder.serve(RuntimeServer::new(nothing)).start(ours),
        Role::Plugin => builder.serve(PluginServer::new(nothing)).start(ours),
    };
    let (mut read, mut write) = tokio::io::split(theirs);
    let send = async {
        // It may have closed before it has read all.
        let _ = write.write_all(wire).await;
        let _ = write.shutdown().await;
    };
    let receive = async {
        let mut answers = Vec::new();
        let _ = read.read_to_end(&mut answers).await;
        answers
    };
    let ((), answers, _) = tokio::join!(send, receive, connection.closed());
    // A header of frame and message and a refusal for each message, which has a header at least.
    assert!(
        answers.len() <= 256 * (wire.len() + 1),
        "answers are in proportion"
    );
}
