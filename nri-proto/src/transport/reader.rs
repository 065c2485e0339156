//! The reader task: keeps reading, whatever the handlers do, and hands each message to where it belongs.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::assembler::Assembler;
use super::client;
use super::error::CloseReason;
use super::server::Server;
use super::shared::{Alive, Shared};
use super::writer::reason;
use crate::frame::Decoder;

/// The most that is read at once.
const BUFFER: usize = 64 << 10;

struct Incoming {
    frames: Decoder,
    replies: Assembler,
    requests: Assembler,
}

pub(super) async fn run<R: AsyncRead + Unpin>(mut stream: R, server: Server, alive: Arc<Alive>) {
    let shared = &alive.0;
    let mut incoming = Incoming {
        frames: Decoder::new(shared.limits.max_frame),
        replies: Assembler::default(),
        requests: Assembler::default(),
    };
    let mut buffer = vec![0; BUFFER];
    let mut total: u64 = 0;
    let reason = loop {
        // With a budget: no byte more than it allows is accepted, and one byte tells that it is exceeded.
        let left = shared
            .budget()
            .map_or(u64::MAX, |limit| limit.saturating_sub(total));
        let portion = usize::try_from(left).unwrap_or(BUFFER).clamp(1, BUFFER);
        let read = tokio::select! {
            biased;
            reason = shared.closing() => break reason,
            read = stream.read(&mut buffer[..portion]) => read,
        };
        let count = match read {
            Ok(0) => break incoming.end(),
            Ok(count) => count,
            Err(error) => break reason(&error),
        };
        total += count as u64;
        shared.counters.bytes_in.add(count);
        if let Some(limit) = shared.budget()
            && total > limit
        {
            break CloseReason::Budget { limit };
        }
        if let Err(reason) = incoming.take(&buffer[..count], shared, &server) {
            break reason;
        }
    };
    shared.close(reason);
}

impl Incoming {
    /// Takes what was read apart and hands on the messages that are complete.
    fn take(
        &mut self,
        mut input: &[u8],
        shared: &Arc<Shared>,
        server: &Server,
    ) -> Result<(), CloseReason> {
        let counters = &shared.counters;
        let broken = |error: crate::frame::FrameError| CloseReason::Protocol(error.to_string());
        while let Some(mut piece) = self.frames.next(&mut input).map_err(broken)? {
            counters.frames_in.add(usize::from(piece.first));
            if piece.id == shared.client_id {
                while let Some(message) = self.replies.next(&mut piece.data) {
                    counters.messages_in.add(1);
                    client::take(shared, message)?;
                }
            } else if piece.id == shared.server_id {
                while let Some(message) = self.requests.next(&mut piece.data) {
                    counters.messages_in.add(1);
                    server.take(shared, message)?;
                }
            } else {
                counters.dropped_frames.add(usize::from(piece.first));
            }
        }
        counters
            .partial_bytes_high
            .reach(self.replies.held() + self.requests.held());
        Ok(())
    }

    /// The peer has closed: between messages, or not.
    fn end(&self) -> CloseReason {
        if let Err(error) = self.frames.finish() {
            return CloseReason::Protocol(error.to_string());
        }
        match self.replies.cut_off().or_else(|| self.requests.cut_off()) {
            Some(what) => CloseReason::Protocol(format!("the stream ended inside {what}")),
            None => CloseReason::PeerClosed,
        }
    }
}
