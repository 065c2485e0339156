//! Files that somebody names on a command line or in a scenario. What may not enter: what is in
//! them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// As large as such a file may be, in bytes: none that a person writes comes near it.
const LARGEST: u64 = 64 << 20;
/// Where descriptors are that the program was given, as a shell writes `<(command)`; and nothing.
const GIVEN: [&str; 4] = ["/dev/stdin", "/dev/fd/", "/proc/self/fd/", "/dev/null"];

/// Opens a regular file, and nothing else: to open a pipe is to wait for somebody who writes into
/// it, and who waits in a call of the system hears no signal.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        // So that a pipe opens at once.
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    match kind.is_file() {
        true => Ok(file),
        false if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// The text of a file that somebody has named, of at most 64 MiB. It is a regular one, or a
/// descriptor that the program was given (`/dev/stdin`, `<(command)`).
///
/// ```
/// let error = nri_testkit::read_file("/dev/zero".as_ref()).unwrap_err();
/// assert_eq!(error.to_string(), "it is no regular file");
/// ```
///
/// # Errors
/// It cannot be read, is a pipe or a device, is too large, or no text.
pub fn read_file(path: &Path) -> io::Result<String> {
    let is_given = path
        .to_str()
        .is_some_and(|path| GIVEN.iter().any(|given| path.starts_with(given)));
    let file = match is_given {
        true => File::open(path)?,
        false => open(path)?,
    };
    let mut text = String::new();
    let length = file.take(LARGEST + 1).read_to_string(&mut text)?;
    match length as u64 > LARGEST {
        true => Err(io::Error::other(format!(
            "it has more than {LARGEST} bytes"
        ))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use std::os::fd::AsRawFd as _;
    use std::process::{Command, Stdio};

    /// Law: what cannot be read to its end is refused at once.
    #[test]
    fn what_is_no_file_or_has_no_end_is_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        mkfifoat(CWD, &pipe, Mode::RWXU).unwrap();
        let large = directory.path().join("large");
        File::create(&large).unwrap().set_len(LARGEST + 1).unwrap();
        for (path, part) in [
            (pipe.as_path(), "no regular file"),
            (Path::new("/dev/zero"), "no regular file"),
            (directory.path(), "directory"),
            (large.as_path(), "more than 67108864 bytes"),
        ] {
            let error = read_file(path).unwrap_err().to_string();
            assert!(error.contains(part), "{}: {error}", path.display());
        }
        let small = directory.path().join("small");
        std::fs::write(&small, "a = 1").unwrap();
        assert_eq!(read_file(&small).unwrap(), "a = 1");
    }

    #[test]
    fn a_pipe_that_the_program_was_given_is_read_to_its_end() {
        let mut echo = Command::new("echo");
        let mut echo = echo.arg("a = 1").stdout(Stdio::piped()).spawn().unwrap();
        let path = format!("/dev/fd/{}", echo.stdout.as_ref().unwrap().as_raw_fd());
        assert_eq!(read_file(Path::new(&path)).unwrap(), "a = 1\n");
        assert!(echo.wait().unwrap().success());
    }
}
