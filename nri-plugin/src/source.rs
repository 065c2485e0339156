//! Where the connection comes from: a stream that the program gives, a socket that the runtime left
//! us, or a path.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nri_proto::SocketPath;
use nri_proto::transport::{self, Socket};
use rustix::net::{AddressFamily, Shutdown, SocketType, shutdown, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::Error;
use crate::hand_over::Handed;

/// Where runtimes listen by default.
pub const DEFAULT_SOCKET: &str = "/var/run/nri/nri.sock";

/// Set by a runtime that launched the plugin: the number of the inherited descriptor.
pub(crate) const SOCKET_VARIABLE: &str = "NRI_PLUGIN_SOCKET";

/// A stream that a connection can run on.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Where the connection comes from.
pub(crate) enum Source {
    /// Given by the program; good for one connection.
    Stream(Box<dyn Duplex>),
    /// Inherited, by the variable's value; good for one connection.
    Inherited(String),
    /// Handed over by another process, and the socket to connect to after that.
    HandedOver(Box<(OwnedFd, Handed)>, PathBuf),
    /// A socket to connect to, as often as needed.
    Path(PathBuf),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(_) => f.write_str("Stream"),
            Self::Inherited(value) => f.debug_tuple("Inherited").field(value).finish(),
            Self::HandedOver(_, path) => f.debug_tuple("HandedOver").field(path).finish(),
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
        }
    }
}

/// A socket file, not just its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    inode: (u64, u64),
    made: (i64, i64),
}

/// An open stream.
pub(crate) struct Opened {
    pub(crate) stream: Box<dyn Duplex>,
    /// Ends an inherited connection for the peer, too.
    pub(crate) ender: Option<ShutdownGuard>,
    /// The same socket, to be handed over.
    pub(crate) socket: Option<OwnedFd>,
    /// How another process left it.
    pub(crate) before: Option<Handed>,
}

impl Opened {
    fn new(stream: Box<dyn Duplex>) -> Self {
        Self {
            stream,
            ender: None,
            socket: None,
            before: None,
        }
    }

    /// A connection to a socket's path, which may be handed over.
    fn of(stream: UnixStream) -> Self {
        let socket = stream.as_fd().try_clone_to_owned().ok();
        Self {
            socket,
            ..Self::new(Box::new(Socket::new(stream)))
        }
    }
}

/// Shuts a socket down when it goes.
///
/// The descriptor that the runtime left us stays open beside our copy of it, so closing the copy
/// alone would not show.
pub(crate) struct ShutdownGuard(OwnedFd);

impl Drop for ShutdownGuard {
    fn drop(&mut self) {
        // It fails if the peer was first.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

impl Source {
    /// The socket that a text names.
    pub(crate) fn socket(text: &Path) -> Result<Self, Error> {
        match SocketPath::parse(text) {
            Ok(path) => Ok(Self::Path(path.into_path_buf())),
            Err(source) => Err(Error::Socket { source }),
        }
    }

    /// A connection that another process had, and then this socket.
    pub(crate) fn handed_over(socket: OwnedFd, handed: Handed, path: &Path) -> Result<Self, Error> {
        match SocketPath::parse(path) {
            Ok(path) => Ok(Self::HandedOver(
                Box::new((socket, handed)),
                path.into_path_buf(),
            )),
            Err(source) => Err(Error::Socket { source }),
        }
    }

    /// The source of the connection after this one's; `None` if there can be none.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Stream(_) | Self::Inherited(_) => None,
            Self::HandedOver(_, path) | Self::Path(path) => Some(Self::Path(path.clone())),
        }
    }

    /// The socket, where it is one that is connected to.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stream(_) | Self::Inherited(_) => None,
            Self::HandedOver(_, path) | Self::Path(path) => Some(path),
        }
    }

    /// What tells this runtime's socket from the next one's; `None` if it is not there.
    pub(crate) fn place(&self) -> Option<Place> {
        let of = fs::metadata(self.path()?).ok()?;
        Some(Place {
            inode: (of.dev(), of.ino()),
            // Inodes are used again; the time of creation is not.
            made: (of.mtime(), of.mtime_nsec()),
        })
    }

    /// Opens the stream.
    pub(crate) async fn open(self, timeout: Duration) -> Result<Opened, Error> {
        match self {
            Self::Stream(stream) => Ok(Opened::new(stream)),
            Self::HandedOver(handed, _) => {
                let (socket, before) = *handed;
                go_on(socket, before).map_err(|error| Error::HandedOver {
                    reason: error.to_string(),
                })
            }
            Self::Inherited(value) => {
                inherit(&value).map_err(|reason| Error::Inherited { value, reason })
            }
            Self::Path(path) => connect(path, timeout).await,
        }
    }
}

async fn connect(path: PathBuf, timeout: Duration) -> Result<Opened, Error> {
    match tokio::time::timeout(timeout, transport::connect(&path)).await {
        Ok(Ok(stream)) => Ok(Opened::of(stream)),
        Ok(Err(source)) => {
            let advice = advice(&path, &source);
            Err(Error::Connect {
                path,
                source,
                advice,
            })
        }
        Err(_) => Err(Error::ConnectTimedOut {
            path,
            after: timeout,
        }),
    }
}

/// Takes the descriptor that the variable names.
fn inherit(value: &str) -> Result<Opened, String> {
    let number: i32 = value
        .parse()
        .ok()
        .filter(|number| *number >= 0)
        .ok_or("it must be the decimal number of a file descriptor")?;
    let fd = own_copy(number).map_err(|error| match error {
        rustix::io::Errno::BADF => format!("there is no file descriptor {number}"),
        rustix::io::Errno::NOSYS => "taking over a file descriptor needs Linux 5.6 or later".into(),
        error => format!("file descriptor {number} cannot be taken over: {error}"),
    })?;
    let is_unix = sockopt::socket_domain(&fd).map(|domain| domain == AddressFamily::UNIX);
    let is_stream = sockopt::socket_type(&fd).map(|kind| kind == SocketType::STREAM);
    if (is_unix, is_stream) != (Ok(true), Ok(true)) {
        return Err(format!("file descriptor {number} is no unix stream socket"));
    }
    let unusable = |error: io::Error| format!("file descriptor {number} is not usable: {error}");
    let ender = ShutdownGuard(fd.try_clone().map_err(unusable)?);
    let stream = StdStream::from(fd);
    stream.set_nonblocking(true).map_err(unusable)?;
    let stream = UnixStream::from_std(stream).map_err(unusable)?;
    Ok(Opened {
        ender: Some(ender),
        ..Opened::new(Box::new(Socket::new(stream)))
    })
}

/// Goes on where another process was.
fn go_on(socket: OwnedFd, before: Handed) -> io::Result<Opened> {
    let stream = StdStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(Opened {
        before: Some(before),
        ..Opened::of(UnixStream::from_std(stream)?)
    })
}

/// An owned copy of one of our own descriptors, closed on exec; nothing here can tell who else may
/// hold the number.
fn own_copy(number: i32) -> rustix::io::Result<OwnedFd> {
    let ourselves = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(ourselves, number, PidfdGetfdFlags::empty())
}

/// What to do when a socket cannot be connected to.
fn advice(path: &Path, error: &io::Error) -> String {
    let directory = path.parent().unwrap_or(Path::new("/")).display();
    let mounted = fs::read_to_string("/proc/self/mountinfo")
        .is_ok_and(|mounts| is_mount_point(&mounts, path));
    let is_other = || fs::metadata(path).is_ok_and(|of| !of.file_type().is_socket());
    match error.kind() {
        io::ErrorKind::ConnectionRefused if is_other() => {
            "it is no socket: the path names another file".to_owned()
        }
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused if mounted => format!(
            "the socket file itself is mounted here, which lasts until the runtime restarts: mount the directory \
             {directory} instead"
        ),
        io::ErrorKind::NotFound => format!(
            "is the runtime up, and is NRI enabled in it? In a container, mount the directory {directory} of the host, \
             not the socket file"
        ),
        io::ErrorKind::ConnectionRefused => format!(
            "the socket was left by a runtime that is gone. In a container, mount the directory {directory} of the host, \
             not the socket file, which a restarted runtime replaces"
        ),
        io::ErrorKind::PermissionDenied => {
            "the plugin may not: runtimes reserve the socket for root".into()
        }
        _ => "is this the runtime's NRI socket?".into(),
    }
}

/// Whether `path` is a mount point, by the text of a `mountinfo` file: its fifth field, with octal
/// escapes.
fn is_mount_point(mountinfo: &str, path: &Path) -> bool {
    mountinfo.lines().any(|line| {
        line.split(' ')
            .nth(4)
            .is_some_and(|point| unescaped(point.as_bytes()) == path.as_os_str().as_bytes())
    })
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_socket_file_is_recognised() {
        let mounts = "22 1 0:20 / / rw - ext4 /dev/root rw\n\
                      36 22 0:32 /nri.sock /var/run/nri/nri.sock rw shared:1 - tmpfs tmpfs rw\n\
                      37 22 0:33 / /a\\040b\\134c rw - tmpfs tmpfs rw\n";
        assert!(is_mount_point(mounts, Path::new(DEFAULT_SOCKET)));
        assert!(is_mount_point(mounts, Path::new("/a b\\c")));
        assert!(!is_mount_point(mounts, Path::new("/var/run/nri")));
        assert!(!is_mount_point("", Path::new("/")));
    }

    #[test]
    fn a_socket_may_have_the_scheme_unix_and_no_other() {
        for text in ["/run/x.sock", "unix:///run/x.sock"] {
            let source = Source::socket(Path::new(text)).unwrap();
            assert!(matches!(source, Source::Path(path) if path == Path::new("/run/x.sock")));
        }
        for text in ["tcp://127.0.0.1:80", "unix://run/x.sock", ""] {
            let error = Source::socket(Path::new(text)).unwrap_err();
            assert!(matches!(error, Error::Socket { .. }), "{error}");
        }
    }

    #[test]
    fn values_that_are_no_descriptor_are_errors() {
        for (value, says) in [
            ("three", "decimal"),
            ("-1", "decimal"),
            ("3x", "decimal"),
            ("99999999999", "decimal"),
            ("1000000", "no file descriptor 1000000"),
        ] {
            let reason = inherit(value).err().unwrap();
            assert!(reason.contains(says), "{value}: {reason}");
        }
    }

    #[test]
    fn a_descriptor_that_is_no_unix_stream_is_an_error() {
        use std::os::fd::AsRawFd as _;
        let file = fs::File::open("/dev/null").unwrap();
        let datagram = std::os::unix::net::UnixDatagram::unbound().unwrap();
        for number in [file.as_raw_fd(), datagram.as_raw_fd()] {
            let reason = inherit(&number.to_string()).err().unwrap();
            assert!(reason.contains("no unix stream socket"), "{reason}");
        }
    }
}
