//! Where a socket is, as people write it: a path, or the same with the scheme `unix`. Pure: nothing
//! is looked up.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

/// The only scheme that there is.
const UNIX: &str = "unix";

/// The path of a unix socket, without a scheme.
///
/// ```
/// use nri_proto::SocketPath;
///
/// assert_eq!(SocketPath::parse("/run/nri/nri.sock")?.as_path().to_str(), Some("/run/nri/nri.sock"));
/// assert_eq!(SocketPath::parse("unix:///run/nri/nri.sock")?.as_path().to_str(), Some("/run/nri/nri.sock"));
/// assert!(SocketPath::parse("tcp://127.0.0.1:80").is_err());
/// # Ok::<(), nri_proto::InvalidSocketPath>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SocketPath(PathBuf);

/// Why a text does not say where a unix socket is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSocketPath {
    /// There is nothing, or nothing behind the scheme.
    #[error("the socket {0:?} has no path: give one, such as /var/run/nri/nri.sock")]
    Empty(String),
    /// It has a scheme that is not `unix`.
    #[error(
        "the socket {0:?} has the scheme {scheme:?}: only unix sockets can be used, as a path or as unix:///path \
         (a relative path with a colon begins with ./)",
        scheme = .0.split(':').next().unwrap_or_default()
    )]
    Scheme(String),
    /// Behind `unix://` comes a path that does not begin with a slash, so that its first part would
    /// be a host.
    #[error(
        "the socket {0:?} names a host: a unix socket has none, write unix:///path with three slashes"
    )]
    Host(String),
    /// It has a zero byte in it, which no path can have.
    #[error("the socket {0:?} has a zero byte in its path")]
    Zero(String),
}

impl SocketPath {
    /// Reads a path, or a path behind `unix://` or `unix:`. What it returns is read as itself
    /// again, if it is absolute.
    ///
    /// The scheme is read without regard to case, and what is behind it as it is: `%20` is three
    /// characters.
    ///
    /// # Errors
    /// Another scheme, a host, a zero byte, or no path at all. Whether there is such a path is not
    /// asked.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self, InvalidSocketPath> {
        let text = text.as_ref();
        let said = || text.to_string_lossy().into_owned();
        if text.as_encoded_bytes().contains(&0) {
            return Err(InvalidSocketPath::Zero(said()));
        }
        // What is not UTF-8 as a whole can still begin with a scheme.
        let path = match scheme(&text.to_string_lossy()) {
            None => PathBuf::from(text),
            Some(scheme) if !scheme.eq_ignore_ascii_case(UNIX) => {
                return Err(InvalidSocketPath::Scheme(said()));
            }
            Some(scheme) => {
                behind(text, scheme.len()).ok_or_else(|| InvalidSocketPath::Host(said()))?
            }
        };
        match path.as_os_str().is_empty() {
            true => Err(InvalidSocketPath::Empty(said())),
            false => Ok(Self(path)),
        }
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The path, owned.
    pub fn into_path_buf(self) -> PathBuf {
        self.0
    }
}

impl AsRef<Path> for SocketPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// The scheme of a URI (RFC 3986, 3.1): a letter, then letters, digits, `+`, `-` and `.`, up to the
/// first colon.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let is_scheme =
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(allowed);
    is_scheme.then_some(scheme)
}

/// The path behind a scheme of so many bytes and its colon; `None` if it is behind a host.
fn behind(text: &OsStr, scheme: usize) -> Option<PathBuf> {
    let path = tail(text, scheme + 1);
    let bytes = path.as_encoded_bytes();
    let authority = bytes.starts_with(b"//");
    match bytes.get(2) {
        _ if !authority => Some(PathBuf::from(path)),
        None => Some(PathBuf::new()),
        Some(b'/') => Some(PathBuf::from(tail(path, 2))),
        Some(_) => None,
    }
}

/// A text without its first so many bytes, all of them ASCII.
#[cfg(unix)]
fn tail(text: &OsStr, from: usize) -> &OsStr {
    use std::os::unix::ffi::OsStrExt as _;
    OsStr::from_bytes(text.as_bytes().get(from..).unwrap_or_default())
}

/// The same where there are no unix sockets.
#[cfg(not(unix))]
fn tail(text: &OsStr, from: usize) -> &OsStr {
    OsStr::new(
        text.to_str()
            .and_then(|text| text.get(from..))
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> String {
        SocketPath::parse(text).unwrap().to_string()
    }

    #[test]
    fn a_path_is_itself() {
        for text in [
            "/run/nri/nri.sock",
            "nri.sock",
            "./tcp:80",
            "../x",
            "/a:b/c",
            "a/b:c",
            "//run/x",
            "/run/a b",
            ".x:y",
            "1:2",
            "/",
        ] {
            assert_eq!(path(text), text);
        }
    }

    #[test]
    fn the_scheme_is_taken_off() {
        for (text, right) in [
            ("unix:///run/nri.sock", "/run/nri.sock"),
            ("UNIX:///run/nri.sock", "/run/nri.sock"),
            ("unix:/run/nri.sock", "/run/nri.sock"),
            ("unix:////run/nri.sock", "//run/nri.sock"),
            ("unix:nri.sock", "nri.sock"),
            ("unix:a/nri.sock", "a/nri.sock"),
            ("unix:///run/%20x", "/run/%20x"),
            ("unix:///run/a:b", "/run/a:b"),
        ] {
            assert_eq!(path(text), right, "{text}");
            // Once more changes nothing.
            assert_eq!(path(right), right);
        }
    }

    #[test]
    fn anything_else_is_refused_and_said_to_be() {
        for (text, part) in [
            ("tcp://127.0.0.1:80", "scheme \"tcp\""),
            ("http://x/y", "scheme \"http\""),
            ("vsock://2:1024", "scheme \"vsock\""),
            ("unix-abstract:nri", "scheme \"unix-abstract\""),
            ("file:///run/x", "scheme \"file\""),
            ("fd:3", "./"),
            ("unix://run/x.sock", "three slashes"),
            ("unix://localhost/run/x.sock", "three slashes"),
            ("", "no path"),
            ("unix://", "no path"),
            ("unix:", "no path"),
            ("/run/\0", "zero byte"),
        ] {
            let error = SocketPath::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains(['\n', '\0']), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_utf8_is_a_path_like_any_other() {
        use std::os::unix::ffi::OsStrExt as _;
        for (text, right) in [
            (&b"/run/\xff.sock"[..], &b"/run/\xff.sock"[..]),
            (b"unix:///run/\xff.sock", b"/run/\xff.sock"),
        ] {
            let path = SocketPath::parse(OsStr::from_bytes(text)).unwrap();
            assert_eq!(path.as_path().as_os_str().as_bytes(), right);
        }
    }
}
