//! Files and directories: written atomically, locked, removed whole.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{UnmountFlags, unmount};

use crate::error::{Error, Result};

/// Writes a file such that whoever reads it sees the old or the new contents, also when we die
/// meanwhile.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn write(path: &Path, contents: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    let failed = |error| Error::file("write", path, error);
    let mut file = File::create(&new).map_err(failed)?;
    file.write_all(contents).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}

/// Writes a file that only we can read.
///
/// # Errors
/// Those of the operating system; that there is one of the name.
pub(crate) fn write_secret(path: &Path, contents: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    let file = options.create_new(true).write(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(contents))
        .map_err(|error| Error::file("write", path, error))
}

/// The contents of a file, if there is one.
///
/// # Errors
/// Those of the operating system; a file of more than `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let failed = |error: std::io::Error| Error::file("read", path, error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut contents = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut contents);
    read.map_err(failed)?;
    if contents.len() as u64 > limit {
        let message = format!("it has more than {limit} bytes");
        return Err(Error::file("read", path, message));
    }
    Ok(Some(contents))
}

/// Makes a directory and those above it.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::file("make the directory", path, error))
}

/// Whether there is nothing of a name, because what is above it is no directory or not there.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Removes a directory and everything in it; that there is none is fine, and that it is a file too.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => remove_file(path),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::file("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Removes a file; that there is none is fine.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if !is_absent(&error) => Err(Error::file("remove", path, error)),
        _ => Ok(()),
    }
}

/// Takes what is mounted at `path` away; that nothing is mounted there is fine.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn unmount_all(path: &Path) -> Result<()> {
    use rustix::io::Errno;
    loop {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(Error::file("unmount", path, error)),
        }
    }
}

/// Takes away what is mounted at the files and directories in a directory; that there are none is
/// fine.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn unmount_all_in(path: &Path) -> Result<()> {
    let mut result = Ok(());
    for name in names(path)? {
        result = result.and(unmount_all(&path.join(name)));
    }
    result
}

/// The names in a directory, in their order; none if it is not there.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn names(path: &Path) -> Result<Vec<String>> {
    let failed = |error| Error::file("list", path, error);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// A file that one process at a time holds.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// Somebody else has it.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(path);
        let file = file.map_err(|error| Error::file("open", path, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::precondition(format!(
                "another instance uses {}: stop it, or configure another `root`",
                path.display()
            ))),
            Err(error) => Err(Error::file("lock", path, error)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// Writes a program that is run next. Another process writes it: if we did, a child that is
    /// forked meanwhile by another test could have it open for writing when it is run.
    pub(crate) fn write_program(path: &Path, contents: &[u8]) {
        let mut shell = Command::new("sh");
        shell.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]);
        let mut shell = shell.arg(path).stdin(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(contents).unwrap();
        assert!(shell.wait().unwrap().success());
    }

    #[test]
    fn a_file_is_replaced_whole_and_read_up_to_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        assert_eq!(read(&path, 10).unwrap(), None);
        write(&path, b"old and long").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"new");
        assert!(
            read(&path, 2)
                .unwrap_err()
                .to_string()
                .contains("more than 2 bytes")
        );
        assert_eq!(names(dir.path()).unwrap(), ["record.json"]);
    }

    #[test]
    fn what_is_not_there_is_removed_already() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none");
        remove_dir(&path).unwrap();
        remove_file(&path).unwrap();
        assert_eq!(names(&path).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_second_instance_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err();
        assert!(error.to_string().contains("another instance"), "{error}");
        drop(first);
        Lock::take(&path).unwrap();
    }
}
