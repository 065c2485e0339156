//! The bytes below a fake plugin's connection, for what no connection does by itself.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use nri_proto::transport;
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use crate::TEST_TIMEOUT;

/// Connects to a socket, however crowded it is.
pub(crate) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
    tokio::time::timeout(TEST_TIMEOUT, transport::connect(path))
        .await
        .map_err(timed_out)?
}

/// A hand on a stream that a connection runs on. Dropping it does nothing.
#[derive(Debug)]
pub struct Wire {
    /// A second descriptor of the same stream.
    stream: UnixStream,
    tap: Arc<Tap>,
}

/// Whether the connection gets what arrives.
#[derive(Debug, Default)]
struct Tap(Mutex<TapState>);

#[derive(Debug, Default)]
struct TapState {
    is_shut: bool,
    waker: Option<Waker>,
}

impl Tap {
    fn set(&self, is_shut: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_shut = is_shut;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Wire {
    /// A hand on `stream`, and the stream for the connection.
    pub(super) fn tap(stream: UnixStream) -> io::Result<(Self, TappedStream)> {
        let stream = stream.into_std()?;
        let second = stream.try_clone()?;
        let tap = Arc::new(Tap::default());
        let tapped = TappedStream {
            stream: UnixStream::from_std(stream)?,
            tap: Arc::clone(&tap),
        };
        let wire = Self {
            stream: UnixStream::from_std(second)?,
            tap,
        };
        Ok((wire, tapped))
    }

    /// Writes bytes as they are, between what the connection writes, or in the middle of it.
    ///
    /// # Errors
    /// The stream's.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// From now on the connection gets nothing, and nothing is read from the stream.
    pub fn stop_reading(&self) {
        self.tap.set(true);
    }

    /// Takes [`stop_reading`](Self::stop_reading) back.
    pub fn resume_reading(&self) {
        self.tap.set(false);
    }

    /// Closes the direction towards the runtime. What the runtime writes still arrives.
    pub fn half_close(&self) {
        // It fails if the peer was first.
        let _ = shutdown(&self.stream, Shutdown::Write);
    }

    /// Cuts the stream in both directions, as the end of the process would.
    pub fn cut(&self) {
        let _ = shutdown(&self.stream, Shutdown::Both);
        self.tap.set(false);
    }
}

/// A stream that can be made to look as if nothing arrived.
#[derive(Debug)]
pub(super) struct TappedStream {
    stream: UnixStream,
    tap: Arc<Tap>,
}

impl AsyncRead for TappedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        {
            let mut state = self.tap.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.waker = Some(cx.waker().clone());
            if state.is_shut {
                return Poll::Pending;
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TappedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
