//! The socket that is open, if one is: opened before the one before it is closed.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::engine::driver::Engine;
use crate::error::Error;
use crate::listen::accept::accept;
use crate::listen::socket::SocketFile;
use crate::lock::Lock;
use crate::plugin::places::{Places, most_unadmitted};
use crate::text::printable_path;

/// A socket on which plugins are accepted. Dropping it ends that, and removes its file.
#[derive(Debug)]
pub(crate) struct Listening {
    _file: Option<SocketFile>,
    _stop: oneshot::Sender<()>,
}

/// A socket on which nobody is accepted yet. Dropping it closes it, and removes its file.
#[derive(Debug)]
pub(crate) struct Opened {
    listener: tokio::net::UnixListener,
    file: Option<SocketFile>,
}

/// Where plugins connect.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Whether the runtime brought a listener along.
    pub(crate) is_given: bool,
    /// That listener, until it is used.
    given: Lock<Option<UnixListener>>,
    listening: Lock<Option<Listening>>,
    /// The places of connections that are not admitted.
    places: Arc<Places>,
}

impl Listener {
    /// `given` is a listener that the runtime brought along.
    pub(crate) fn new(given: Option<UnixListener>) -> Self {
        Self {
            is_given: given.is_some(),
            given: Lock::new(given),
            listening: Lock::default(),
            places: Places::new(most_unadmitted()),
        }
    }

    /// Opens the socket, or takes the listener that the runtime brought along.
    pub(crate) async fn open(&self, path: &Path) -> Result<Opened, Error> {
        let given = self.given.lock().take();
        let Some(listener) = given else {
            let (listener, file) = SocketFile::open(path).await?;
            return Ok(Opened {
                listener,
                file: Some(file),
            });
        };
        let failed = |error: std::io::Error| Error::Socket {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(failed)?;
        Ok(Opened {
            listener,
            file: None,
        })
    }

    /// Accepts plugins on this socket from now on, and on none from before.
    pub(crate) fn listen(&self, engine: &Arc<Engine>, opened: Opened) {
        let Opened { listener, file } = opened;
        if let Ok(address) = listener.local_addr() {
            let socket = address.as_pathname().map(printable_path);
            let socket = socket.unwrap_or_else(|| "without a path".to_owned());
            tracing::info!(%socket, "NRI plugins can connect");
        }
        let (stop, stopped) = oneshot::channel();
        let places = Arc::clone(&self.places);
        let accepting = accept(Arc::clone(engine), places, listener, stopped);
        engine.shared.tasks.spawn(accepting);
        let now = Listening {
            _file: file,
            _stop: stop,
        };
        drop(self.swap_listening(Some(now)));
    }

    /// Accepts plugins no more.
    pub(crate) fn stop_listening(&self) {
        drop(self.swap_listening(None));
    }

    fn swap_listening(&self, now: Option<Listening>) -> Option<Listening> {
        let mut place = self.listening.lock();
        std::mem::replace(&mut *place, now)
    }
}
