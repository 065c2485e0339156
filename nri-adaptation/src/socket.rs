//! The socket file: opened without taking it from another runtime, and removed only while it is ours.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{Error as IoError, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::error::Error;

/// The longest path that a unix socket can have on Linux, in bytes.
pub(crate) const LONGEST_PATH: usize = 107;
/// How many connections may wait to be accepted.
const BACKLOG: i32 = 128;
/// How long another runtime may take to accept, before it counts as one that is there.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// The socket file that an instance has made.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Keeps the file's number from being given to another file.
    _held: OwnedFd,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> Result<Self, IoError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&held)?;
        Ok(Self {
            path: path.to_owned(),
            _held: held,
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    /// Removes the file, unless the path leads to another one by now.
    pub(crate) fn remove(self) {
        match fs::symlink_metadata(&self.path) {
            Ok(now) if (now.dev(), now.ino()) == (self.device, self.inode) => {
                if let Err(error) = fs::remove_file(&self.path) {
                    tracing::warn!(path = %self.path.display(), %error, "cannot remove the NRI socket");
                }
            }
            Ok(_) => {
                tracing::warn!(path = %self.path.display(), "the NRI socket was replaced by someone; leaving it alone");
            }
            Err(_) => {}
        }
    }
}

/// Opens the socket: its directory is made (0700) if it is missing, a stale socket is replaced, and nobody but our own user
/// can ever connect (0600).
pub(crate) async fn open(path: &Path) -> Result<(UnixListener, SocketFile), Error> {
    let failed = |reason: String| Error::Socket {
        path: path.to_owned(),
        reason,
    };
    let length = path.as_os_str().as_bytes().len();
    if length > LONGEST_PATH {
        return Err(failed(format!(
            "the path has {length} bytes, and the system takes {LONGEST_PATH} at most: choose a shorter `socket_path`"
        )));
    }
    make_directory(path).map_err(failed)?;
    make_room(path).await.map_err(failed)?;
    listening(path).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => failed("another runtime has just opened it".to_owned()),
        _ => failed(error.to_string()),
    })
}

fn make_directory(path: &Path) -> Result<(), String> {
    let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    else {
        return Ok(());
    };
    match fs::metadata(parent) {
        Ok(meta) if !meta.is_dir() => Err(format!("{} is not a directory", parent.display())),
        Ok(meta) => {
            let mode = meta.permissions().mode();
            if mode & 0o022 != 0 {
                tracing::warn!(
                    directory = %parent.display(), mode = format_args!("{:o}", mode & 0o7777),
                    "others can write to the directory of the NRI socket, so they can replace the socket"
                );
            }
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|error| format!("cannot make the directory {}: {error}", parent.display())),
        Err(error) => Err(format!("cannot look into {}: {error}", parent.display())),
    }
}

/// Removes a socket that nobody listens on. Anything else in the way stays and is an error.
async fn make_room(path: &Path) -> Result<(), String> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    if !meta.file_type().is_socket() {
        return Err(
            "there is a file in its place that is not a socket: remove it or choose another `socket_path`"
                .to_owned(),
        );
    }
    let nobody = match timeout(PROBE_TIME, UnixStream::connect(path)).await {
        Ok(Err(error)) => error.kind() == ErrorKind::ConnectionRefused,
        Ok(Ok(_)) | Err(_) => false,
    };
    if !nobody {
        return Err(
            "another runtime is listening on it: stop that one or choose another `socket_path`"
                .to_owned(),
        );
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("cannot remove the stale socket: {error}"))
        }
        _ => Ok(()),
    }
}

/// Binds, narrows the mode, and only then listens: before that, nobody can connect.
fn listening(path: &Path) -> Result<(UnixListener, SocketFile), IoError> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &address)?;
    let file = SocketFile::of(path)?;
    let result = fs::set_permissions(path, Permissions::from_mode(0o600))
        .and_then(|()| Ok(listen(&socket, BACKLOG)?));
    match result {
        Ok(()) => Ok((UnixListener::from(socket), file)),
        Err(error) => {
            file.remove();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(result: Result<(UnixListener, SocketFile), Error>) -> String {
        result.map(|_| ()).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn directory_and_socket_are_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/nri.sock");
        let (listener, file) = open(&path).await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(mode(&dir.path().join("a")), 0o700);
        UnixStream::connect(&path).await.unwrap();
        drop(listener);
        file.remove();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_live_socket_is_not_stolen_and_a_stale_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nri.sock");
        let (listener, old) = open(&path).await.unwrap();
        assert!(reason(open(&path).await).contains("another runtime is listening on it"));
        drop(listener);
        let (_listener, _new) = open(&path).await.unwrap();
        // The file of before is gone; what is there now is not its own.
        old.remove();
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nri.sock");
        fs::write(&path, "precious").unwrap();
        assert!(reason(open(&path).await).contains("not a socket"));
        let link = dir.path().join("link.sock");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(reason(open(&link).await).contains("not a socket"));
        assert!(reason(open(&path.join("nri.sock")).await).contains("cannot"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x".repeat(200));
        let text = reason(open(&path).await);
        assert!(
            text.contains("107 at most") && !text.contains('\n'),
            "{text}"
        );
    }
}
