//! Where status, metrics and probes are served: sockets and loopback addresses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nri_adaptation::SocketFile;
use nri_plugin::SocketPath;
use tokio::net::{TcpListener, UnixListener};

use crate::error::Error;

/// A place to serve at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Socket(PathBuf),
    Address(SocketAddr),
}

impl Place {
    pub(crate) fn socket(path: &Path) -> Self {
        Self::Socket(path.to_owned())
    }

    /// `127.0.0.1:9464`, or `unix:///path`, or the path alone.
    pub(crate) fn parse(text: &str, public: bool) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Listen {
            place: text.to_owned(),
            reason,
        };
        let address: SocketAddr = match (text.parse(), SocketPath::parse(text)) {
            (Ok(address), _) => address,
            (Err(_), Ok(path)) if path.as_path().is_absolute() => {
                return Ok(Self::Socket(path.into_path_buf()));
            }
            (Err(error), _) => {
                return Err(wrong(format!(
                    "{error}: write an address with a port, such as 127.0.0.1:9464, or unix:///path"
                )));
            }
        };
        if !address.ip().is_loopback() && !public {
            return Err(wrong(
                "others than this node can reach it, and nobody has to say who they are: set `hub.http_public = true` if \
                 that is meant"
                    .to_owned(),
            ));
        }
        Ok(Self::Address(address))
    }
}

/// What is open.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) sockets: Vec<(UnixListener, SocketFile)>,
    pub(crate) addresses: Vec<TcpListener>,
}

impl Listeners {
    pub(crate) async fn open(&mut self, place: &Place) -> Result<(), Error> {
        match place {
            Place::Address(address) => {
                let listener = TcpListener::bind(address).await;
                self.addresses.push(listener.map_err(|error| Error::Listen {
                    place: address.to_string(),
                    reason: error.to_string(),
                })?);
            }
            Place::Socket(path) => {
                let opened = SocketFile::open(path).await;
                self.sockets.push(opened.map_err(|error| Error::Listen {
                    place: path.display().to_string(),
                    reason: match error {
                        nri_adaptation::Error::Socket { reason, .. } => reason,
                        other => other.to_string(),
                    },
                })?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_place_that_others_can_reach_has_to_be_meant() {
        assert!(Place::parse("127.0.0.1:9464", false).is_ok());
        assert!(Place::parse("[::1]:9464", false).is_ok());
        let error = Place::parse("0.0.0.0:9464", false).unwrap_err().to_string();
        assert!(error.contains("hub.http_public = true"), "{error}");
        assert!(Place::parse("0.0.0.0:9464", true).is_ok());
        assert!(Place::parse("localhost", false).is_err());
        assert_eq!(
            Place::parse("unix:///x", false).unwrap(),
            Place::socket(Path::new("/x"))
        );
    }

    /// Law: a path that was mistaken costs nobody a file.
    #[tokio::test]
    async fn what_is_no_socket_stays_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        fs::write(&path, "precious").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [&path, &link] {
            let refused = Listeners::default().open(&Place::socket(path)).await;
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("not a socket: remove it"), "{error}");
        }
        assert_eq!(fs::read_to_string(&link).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_socket_in_use_is_left_alone_and_a_dead_one_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::socket(&directory.path().join("below/control.sock"));
        let mut first = Listeners::default();
        first.open(&place).await.unwrap();
        let error = Listeners::default().open(&place).await.unwrap_err();
        assert!(
            error.to_string().contains("another process is listening"),
            "{error}"
        );
        // As after a crash: the file stays.
        let (listener, file) = first.sockets.pop().unwrap();
        drop(listener);
        std::mem::forget(file);
        Listeners::default().open(&place).await.unwrap();
    }
}
