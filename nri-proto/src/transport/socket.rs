//! A unix socket that wakes its connection for what there is to read, and for room to write only
//! while a write waits for it.
//!
//! A socket that is watched for both is woken each time its peer reads, which is once per message:
//! for nothing, as there nearly always is room.

use std::fmt;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::runtime::Handle;

/// A unix socket for a [`Connection`](super::Connection): it costs one wake-up per message less
/// than tokio's own.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use nri_proto::transport::{Connection, Role, Socket};
/// let (ours, _theirs) = tokio::net::UnixStream::pair()?;
/// let connection = Connection::builder(Role::Runtime).start(Socket::new(ours));
/// assert_eq!(connection.close_reason(), None);
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Socket(io::Result<Quiet>);

struct Quiet {
    socket: AsyncFd<StdStream>,
    /// The same socket, watched for room to write: there from when a write has to wait until all
    /// is written.
    room: Option<AsyncFd<StdStream>>,
    runtime: Handle,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

impl Socket {
    /// Takes a socket over. If it cannot be watched, the connection ends with that error.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, or in one without I/O enabled.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        let watched = stream.into_std().and_then(|socket| {
            Ok(Quiet {
                socket: watch(socket, Interest::READABLE)?,
                room: None,
                runtime: Handle::current(),
            })
        });
        Self(watched)
    }

    fn quiet(&mut self) -> io::Result<&mut Quiet> {
        // It is told as often as it is asked for.
        let told = |error: &mut io::Error| io::Error::new(error.kind(), error.to_string());
        self.0.as_mut().map_err(told)
    }
}

/// Has a socket watched, which stays open as long as that.
#[allow(
    deprecated,
    reason = "the lowest tokio that will do has no other name for it"
)]
fn watch(socket: StdStream, interest: Interest) -> io::Result<AsyncFd<StdStream>> {
    AsyncFd::with_interest(socket, interest)
}

impl Quiet {
    /// Writes now, or when there is room.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&StdStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = match &self.room {
                Some(room) => Some(ready!(room.poll_write_ready(cx))?),
                None => None,
            };
            match write(self.socket.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match &mut guard {
                    Some(guard) => guard.clear_ready(),
                    None => {
                        let same = self.socket.get_ref().try_clone()?;
                        // Whoever writes need not be in the runtime.
                        let _entered = self.runtime.enter();
                        self.room = Some(watch(same, Interest::WRITABLE)?);
                    }
                },
                result => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let quiet = self.quiet()?;
        loop {
            let mut guard = ready!(quiet.socket.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            let most = room.len();
            match guard.get_inner().read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    // There was no more, so the next one has to wait; 0 is the end, which stays.
                    if count > 0 && count < most {
                        guard.clear_ready();
                    }
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.quiet()?
            .poll_write(cx, |mut socket| socket.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.quiet()?
            .poll_write(cx, |mut socket| socket.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// All that was written is with the kernel, and nothing waits for room any more.
    fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.quiet()?.room = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.quiet()?.socket.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Law: what does not fit waits for room, and arrives whole; then the end does.
    #[tokio::test]
    async fn more_than_fits_arrives_whole_and_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut ours, mut theirs) = (Socket::new(ours), Socket::new(theirs));
        let sent: Vec<u8> = (0..5_000_000_u32).map(|number| number as u8).collect();
        let expected = sent.clone();
        let writing = async move {
            ours.write_all(&sent).await.unwrap();
            assert!(ours.0.as_ref().unwrap().room.is_some(), "it had to wait");
            ours.flush().await.unwrap();
            assert!(
                ours.0.as_ref().unwrap().room.is_none(),
                "it is watched no more"
            );
            ours.shutdown().await.unwrap();
            ours
        };
        let reading = async {
            let mut received = Vec::new();
            theirs.read_to_end(&mut received).await.unwrap();
            received
        };
        let (_ours, received) = tokio::join!(writing, reading);
        assert!(received == expected, "{} bytes", received.len());
    }
}
