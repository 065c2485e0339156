//! The socket file: opened without taking it from another process, and removed only while it is
//! ours.
//!
//! Who opens or removes it holds a lock beside it, so that of two processes that start at the same
//! time one wins. Its mode is that of the socket before it has a name, so nothing is changed by its
//! name afterwards.
//!
//! What may not enter: who is accepted on it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Error as IoError, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nri_proto::SocketPath;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use crate::error::Error;
use crate::way::{Trust, weaknesses};

/// The longest path that a unix socket can have on Linux, in bytes.
pub(crate) const LONGEST_PATH: usize = 107;
/// How many connections may wait to be accepted: as many as the system lets (`net.core.somaxconn`).
const BACKLOG: i32 = i32::MAX;
/// How long another runtime may take to accept, before it counts as one that is there.
const PROBE_TIME: Duration = Duration::from_secs(1);
/// How long another runtime may hold the lock: it probes once, and then it is done.
const LOCK_TIME: Duration = PROBE_TIME.saturating_mul(3);
/// How often the lock is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// What is appended to the socket's name for the file that is locked.
const LOCK_SUFFIX: &str = ".lock";
/// The socket's mode: our own user's alone.
const MODE: u32 = 0o600;

/// The file of a unix socket for our own user alone, opened without taking it from another process.
/// Dropping it removes the file, while it is still that one.
///
/// An instance opens the plugins' socket so; it is here for the other sockets of a program.
///
/// ```
/// use nri_adaptation::SocketFile;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let directory = std::env::temp_dir().join(format!("nri-socket-{}", std::process::id()));
/// let path = directory.join("control.sock");
/// let (listener, file) = SocketFile::open(&path).await?;
/// assert!(SocketFile::open(&path).await.is_err(), "somebody listens there");
/// drop((listener, file));
/// assert!(!path.exists());
/// # std::fs::remove_dir(&directory).unwrap();
/// # Ok::<(), nri_adaptation::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "dropping it removes the file"]
pub struct SocketFile(Bound);

impl SocketFile {
    /// Opens a socket, and its file. The directory is made (0700) if it is missing; a socket that
    /// nobody listens on any more is replaced; the mode (0600) is there before anybody can
    /// connect. Of two processes that open one at the same time one wins.
    ///
    /// Needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// [`Error::Socket`]: somebody listens there, there is something else in its place, which
    /// stays, or the system says why.
    pub async fn open(path: &Path) -> Result<(tokio::net::UnixListener, Self), Error> {
        let (listener, bound) = open(path).await?;
        let file = Self(bound);
        let listener = tokio::net::UnixListener::from_std(listener);
        let listener = listener.map_err(|error| Error::Socket {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok((listener, file))
    }

    /// Where it is, without a scheme.
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// A socket's file that this process has made.
#[derive(Debug)]
struct Bound {
    path: PathBuf,
    /// Keeps the file's number from being given to another file.
    _held: OwnedFd,
    device: u64,
    inode: u64,
}

impl Bound {
    /// What was bound just now. It is looked at without following a link, and has to be what was
    /// bound.
    fn of(path: &Path) -> Result<Self, IoError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&held)?;
        let us = rustix::process::geteuid().as_raw();
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket || stat.st_uid != us {
            return Err(IoError::other(
                "someone has replaced it while it was opened",
            ));
        }
        let file = Self {
            path: path.to_owned(),
            _held: held,
            device: stat.st_dev,
            inode: stat.st_ino,
        };
        let mode = stat.st_mode & 0o7777;
        if mode != MODE {
            file.unlink();
            return Err(IoError::other(format!(
                "it got the mode {mode:o} instead of {MODE:o}: look at the umask of this process, and whether the file \
                 system of its directory keeps modes"
            )));
        }
        Ok(file)
    }

    /// Removes the file, unless the path leads to another one by now, or another runtime is about
    /// to open it.
    fn remove(&self) {
        // Whoever has the lock looks at what is there, and replaces it if it is stale.
        match Lock::try_take(&self.path) {
            Ok(Some(_lock)) => self.unlink(),
            _ => {
                tracing::debug!(path = %self.path.display(), "leaving the socket to whoever opens it now");
            }
        }
    }

    /// The same for whoever has the lock.
    fn unlink(&self) {
        match fs::symlink_metadata(&self.path) {
            Ok(now) if (now.dev(), now.ino()) == (self.device, self.inode) => {
                if let Err(error) = fs::remove_file(&self.path) {
                    tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
                }
            }
            Ok(_) => {
                tracing::warn!(path = %self.path.display(), "the socket was replaced by someone; leaving it alone");
            }
            Err(_) => {}
        }
    }
}

/// A lock on a socket's name. Dropping it removes the file that is locked, and gives it free.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock if it is free.
    fn try_take(socket: &Path) -> Result<Option<Self>, IoError> {
        let mut path = socket.as_os_str().to_owned();
        path.push(LOCK_SUFFIX);
        let path = PathBuf::from(path);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .custom_flags(flags.bits() as i32)
            .open(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
            result => result?,
        }
        // Whoever had the lock has removed the file, so somebody may have locked the next one.
        let ours = file.metadata()?;
        match fs::symlink_metadata(&path) {
            Ok(now) if (now.dev(), now.ino()) == (ours.dev(), ours.ino()) => {
                Ok(Some(Self { path, _file: file }))
            }
            _ => Ok(None),
        }
    }

    async fn take(socket: &Path) -> Result<Self, String> {
        let limit = Instant::now() + LOCK_TIME;
        loop {
            match Self::try_take(socket) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() < limit => sleep(LOCK_PAUSE).await,
                Ok(None) => {
                    return Err(format!(
                        "another process has locked {}{LOCK_SUFFIX}, as is done while the socket is opened",
                        socket.display()
                    ));
                }
                Err(error) => {
                    return Err(format!(
                        "cannot lock {}{LOCK_SUFFIX}: {error}",
                        socket.display()
                    ));
                }
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is locked, and only while it is, the file may be removed.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens the socket: its directory is made (0700) if it is missing, a stale socket is replaced, and
/// nobody but our own user can ever connect (0600).
async fn open(path: &Path) -> Result<(UnixListener, Bound), Error> {
    let failed = |reason: String| Error::Socket {
        path: path.to_owned(),
        reason,
    };
    let socket = SocketPath::parse(path).map_err(|error| failed(error.to_string()))?;
    let path = socket.as_path();
    let length = path.as_os_str().as_bytes().len();
    if length > LONGEST_PATH {
        return Err(failed(format!(
            "the path has {length} bytes, and the system takes {LONGEST_PATH} at most: choose a shorter one"
        )));
    }
    make_directory(path).map_err(failed)?;
    let _lock = Lock::take(path).await.map_err(failed)?;
    make_room(path).await.map_err(failed)?;
    listening(path).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => failed("another process has just opened it".to_owned()),
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
        Ok(meta) if !meta.is_dir() => {
            return Err(format!("{} is not a directory", parent.display()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut directory = DirBuilder::new();
            let made = directory.recursive(true).mode(0o700).create(parent);
            made.map_err(|error| {
                format!("cannot make the directory {}: {error}", parent.display())
            })?;
        }
        Err(error) => return Err(format!("cannot look into {}: {error}", parent.display())),
    }
    for weakness in weaknesses(parent, Trust::here()) {
        tracing::warn!(
            path = %path.display(), weakness,
            "others can change the way to the socket, so they can replace it"
        );
    }
    Ok(())
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
            "there is a file in its place that is not a socket: remove it or choose another path"
                .to_owned(),
        );
    }
    let nobody = match timeout(PROBE_TIME, UnixStream::connect(path)).await {
        Ok(Err(error)) => error.kind() == ErrorKind::ConnectionRefused,
        Ok(Ok(_)) | Err(_) => false,
    };
    if !nobody {
        return Err(
            "another process is listening on it: stop that one or choose another path".to_owned(),
        );
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("cannot remove the stale socket: {error}"))
        }
        _ => Ok(()),
    }
}

/// Binds a socket that has its mode already, makes sure that it is there as it should be, and only
/// then listens: before that, nobody can connect.
fn listening(path: &Path) -> Result<(UnixListener, Bound), IoError> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The name gets the mode that the socket has.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(MODE))?;
    bind(&socket, &address)?;
    let file = Bound::of(path)?;
    listen(&socket, BACKLOG)?;
    Ok((UnixListener::from(socket), file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn reason(result: Result<(UnixListener, Bound), Error>) -> String {
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
        assert!(reason(open(&path).await).contains("another process is listening on it"));
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
    async fn a_link_in_its_place_is_not_followed_however_it_comes_there() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
        let path = dir.path().join("nri.sock");
        // There is a link before, and, as far as the code can tell, a moment after it looked.
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(reason(open(&path).await).contains("not a socket"));
        assert!(listening(&path).is_err());
        // What was bound is not what is there now.
        assert!(Bound::of(&path).is_err());
        let mode = fs::metadata(&victim).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode, fs::read_to_string(&victim).unwrap().as_str()),
            (0o644, "precious")
        );
        // Nor is a link with the name of the lock.
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("nri.sock.lock")).unwrap();
        assert!(reason(open(&path).await).contains("cannot lock"));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[tokio::test]
    async fn the_scheme_unix_is_understood_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nri.sock");
        let name = format!("unix://{}", path.display());
        let (_listener, file) = open(Path::new(&name)).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
        file.remove();
        assert!(!path.exists());
        assert!(reason(open(Path::new("tcp://127.0.0.1:1")).await).contains("unix:///path"));
        assert!(!Path::new("tcp:").exists());
    }

    /// Law: of runtimes that start at the same time on one path, exactly one wins, and it is heard.
    #[test]
    fn of_two_that_start_at_once_on_a_stale_socket_one_wins() {
        const ROUNDS: usize = 200;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nri.sock");
        let barrier = std::sync::Barrier::new(2);
        let start = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            barrier.wait();
            runtime.block_on(open(&path))
        };
        for round in 0..ROUNDS {
            let (one, two) = std::thread::scope(|threads| {
                let other = threads.spawn(start);
                (start(), other.join().unwrap())
            });
            let (won, lost) = match (one, two) {
                (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost.to_string()),
                both => panic!("round {round}: {both:?}"),
            };
            assert!(lost.contains("another process"), "{lost}");
            std::os::unix::net::UnixStream::connect(&path).unwrap();
            let (listener, file) = won;
            listener.accept().unwrap();
            drop(listener);
            // Stale for the next round, or gone.
            if round % 2 == 1 {
                file.remove();
            }
        }
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[tokio::test]
    async fn nothing_is_opened_or_removed_while_another_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nri.sock");
        let (listener, file) = open(&path).await.unwrap();
        let lock = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        file.remove();
        assert!(path.exists());
        drop(listener);
        tokio::time::pause();
        assert!(reason(open(&path).await).contains("another process has locked"));
        drop(lock);
        open(&path).await.unwrap().1.remove();
        assert!(!path.exists());
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
