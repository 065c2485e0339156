//! The socket that is open, if one is: opened before the one before it is closed.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use crate::error::Error;
use crate::instance::Instance;
use crate::listener::accept;
use crate::socket::{SocketFile, open};
use crate::text::printable_path;

/// A socket on which plugins are accepted. Dropping it ends that, and removes its file.
#[derive(Debug)]
pub(crate) struct Listening {
    _file: Option<File>,
    _stop: oneshot::Sender<()>,
}

/// A socket on which nobody is accepted yet. Dropping it closes it, and removes its file.
#[derive(Debug)]
pub(crate) struct Opened {
    listener: tokio::net::UnixListener,
    file: Option<File>,
}

/// The file of a socket, where it is ours. Dropping it removes it.
#[derive(Debug)]
struct File(Option<SocketFile>);

impl Drop for File {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            file.remove();
        }
    }
}

impl Instance {
    /// Opens the socket, or takes the listener that the runtime brought along.
    pub(crate) async fn open_socket(&self, path: &Path) -> Result<Opened, Error> {
        let given = self
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (listener, file) = match given {
            Some(listener) => (listener, None),
            None => {
                let (listener, file) = open(path).await?;
                (listener, Some(File(Some(file))))
            }
        };
        let failed = |error: std::io::Error| Error::Socket {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(failed)?;
        Ok(Opened { listener, file })
    }

    /// Accepts plugins on this socket from now on, and on none from before.
    pub(crate) fn listen(self: &Arc<Self>, opened: Opened) {
        let Opened { listener, file } = opened;
        if let Ok(address) = listener.local_addr() {
            let socket = address.as_pathname().map(printable_path);
            let socket = socket.unwrap_or_else(|| "without a path".to_owned());
            tracing::info!(%socket, "NRI plugins can connect");
        }
        let (stop, stopped) = oneshot::channel();
        self.tasks
            .spawn(accept(Arc::clone(self), listener, stopped));
        let now = Listening {
            _file: file,
            _stop: stop,
        };
        drop(self.swap_listening(Some(now)));
    }

    /// Accepts plugins no more.
    pub(crate) fn listen_no_more(&self) {
        drop(self.swap_listening(None));
    }

    fn swap_listening(&self, now: Option<Listening>) -> Option<Listening> {
        let mut place = self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, now)
    }
}
