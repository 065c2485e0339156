//! Where status, metrics and probes are served: sockets and loopback addresses.

use std::io;

use nri_adaptation::SocketFile;
use tokio::net::{TcpListener, UnixListener};

use crate::error::Error;
use crate::place::Place;

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
                self.addresses.push(listener.map_err(|error| {
                    Error::Listen {
                        place: address.to_string(),
                        reason: match error.kind() {
                            io::ErrorKind::AddrInUse => {
                                "another process is listening on it: stop that one or choose \
                             another address for `hub.http`"
                                    .to_owned()
                            }
                            _ => format!("{error}: it is what `hub.http` says"),
                        },
                    }
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
