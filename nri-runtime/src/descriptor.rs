//! A descriptor that is waited for: a pipe, a terminal, a socket that tokio has no type for.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, write};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that can be waited for.
#[derive(Debug)]
pub(crate) struct Descriptor(AsyncFd<OwnedFd>);

impl Descriptor {
    /// To read from and write to.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Self::with(fd, Interest::READABLE | Interest::WRITABLE)
    }

    /// To be waited for in one of the two ways only.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn with(fd: OwnedFd, interest: Interest) -> io::Result<Self> {
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        #[allow(
            deprecated,
            reason = "what is to be used in its place is newer than the tokio that we ask for; \
                      a descriptor of our own has the safety that the old one relies on"
        )]
        AsyncFd::with_interest(fd, interest).map(Self)
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        self.0.get_ref()
    }

    /// Waits until there is something to read, or the other side is gone.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await.map(drop)
    }

    /// Reads what there is; 0 bytes at the end, of which that of a terminal is one.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| Ok(read(fd.get_ref(), &mut *into)?)) {
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                    return Ok(0);
                }
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(done) => return done,
                Err(_not_yet) => {}
            }
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Those of the operating system, of which one is that nobody reads.
    pub(crate) async fn write_all(&self, mut from: &[u8]) -> io::Result<()> {
        while !from.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| Ok(write(fd.get_ref(), from)?)) {
                Ok(Ok(written)) => from = &from[written.min(from.len())..],
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_not_yet) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_goes_into_a_pipe_comes_out_of_it() {
        let (reader, writer) = io::pipe().unwrap();
        let reader = Descriptor::with(reader.into(), Interest::READABLE).unwrap();
        let writer = Descriptor::with(writer.into(), Interest::WRITABLE).unwrap();
        // More than a pipe holds.
        let sent = vec![7; 1 << 20];
        let all = async {
            let (mut all, mut some) = (Vec::new(), [0; 5000]);
            loop {
                match reader.read(&mut some).await.unwrap() {
                    0 => return all,
                    read => all.extend_from_slice(&some[..read]),
                }
            }
        };
        let send = async {
            writer.write_all(&sent).await.unwrap();
            drop(writer);
        };
        let ((), received) = tokio::join!(send, all);
        assert!(received == sent);
    }

    #[tokio::test]
    async fn a_terminal_that_is_closed_is_at_its_end() {
        use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ioctl_tiocgptpeer(&ours, flags).unwrap();
        let ours = Descriptor::new(ours).unwrap();
        write(&theirs, b"end").unwrap();
        drop(theirs);
        let mut some = [0; 10];
        assert_eq!(ours.read(&mut some).await.unwrap(), 3);
        assert_eq!(ours.read(&mut some).await.unwrap(), 0);
    }
}
