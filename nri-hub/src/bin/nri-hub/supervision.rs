//! Telling systemd how the hub is (`Type=notify`): a datagram to the socket that it names.

use std::env;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;

use nri_hub::HubHandle;

/// Who started the hub, if it wants to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Supervisor(Option<Arc<UnixDatagram>>);

impl Supervisor {
    /// The one that the variable `NOTIFY_SOCKET` names: a path, or an abstract name after an `@`.
    pub(crate) fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
        };
        let socket = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        match socket {
            Ok(socket) => Self(Some(Arc::new(socket))),
            Err(error) => {
                tracing::warn!(%error, ?name, "NOTIFY_SOCKET cannot be told anything");
                Self::default()
            }
        }
    }

    pub(crate) fn tell(&self, state: &str) {
        if let Some(socket) = &self.0
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::debug!(%error, "the supervisor does not listen");
        }
    }

    /// Says that the hub is up, and from then on what it waits for. It is up without a runtime:
    /// that is what it waits for. Never resolves.
    pub(crate) async fn follow(&self, hub: &HubHandle) {
        let (mut runtime, mut open) = (hub.watch_runtime(), hub.watch_open());
        self.tell("READY=1");
        loop {
            let why = hub.status().not_ready;
            self.tell(&match why.is_empty() {
                true => "STATUS=ready".to_owned(),
                false => format!("STATUS=not ready: {}", why.join("; ").replace('\n', " ")),
            });
            tokio::select! {
                Ok(()) = runtime.changed() => {}
                Ok(()) = open.changed() => {}
                else => std::future::pending().await,
            }
        }
    }
}
