//! Handing the connection to the runtime over to another process: what goes along, and how a runner
//! is asked for it.
//!
//! What may not enter: how it gets to the other process.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nri_core::{EventMask, PluginId, api};
use nri_proto::transport::Detached;
use prost::Message as _;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::error::Error;

/// A plugin's connection to its runtime, for another process to go on with: that runtime notices
/// nothing.
///
/// [`Handle::hand_over`](crate::Handle::hand_over) makes it, and
/// [`Builder::go_on`](crate::Builder::go_on) takes it. On its way between the processes the socket
/// is a descriptor that is sent along, and the state bytes.
pub struct HandOver {
    /// The connection's socket.
    pub socket: OwnedFd,
    /// All else that is needed to go on: who the plugin is, how it was configured, and where the
    /// connection is.
    pub state: Vec<u8>,
}

impl fmt::Debug for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandOver")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// The state. Its numbers are those of a message: another version may read it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Handed {
    /// Who the plugin is to the runtime.
    #[prost(string, tag = "1")]
    pub(crate) plugin: String,
    /// What the runtime has configured it with.
    #[prost(message, optional, tag = "2")]
    pub(crate) configure: Option<api::ConfigureRequest>,
    /// The events that it gets.
    #[prost(int32, tag = "3")]
    pub(crate) events: i32,
    #[prost(bytes = "vec", tag = "4")]
    unread: Vec<u8>,
    #[prost(uint32, tag = "5")]
    calls: u32,
    #[prost(uint32, tag = "6")]
    requests: u32,
}

impl Handed {
    /// A plugin that is configured so and gets these events, and where its connection is.
    pub(crate) fn new(
        plugin: &PluginId,
        configure: Option<api::ConfigureRequest>,
        events: EventMask,
        before: Detached,
    ) -> Self {
        let Detached {
            unread,
            calls,
            requests,
        } = before;
        Self {
            plugin: plugin.to_string(),
            configure,
            events: events.bits(),
            unread,
            calls,
            requests,
        }
    }

    /// Where the connection is.
    pub(crate) fn detached(&mut self) -> Detached {
        Detached {
            unread: std::mem::take(&mut self.unread),
            calls: self.calls,
            requests: self.requests,
        }
    }

    pub(crate) fn read(state: &[u8]) -> Result<Self, Error> {
        Self::decode(state).map_err(|error| Error::HandedOver {
            reason: error.to_string(),
        })
    }
}

/// Somebody wants the connection.
pub(crate) struct Wanted {
    /// How long what is under way may take.
    pub(crate) patience: Duration,
    /// Whether for nobody: it is closed, and another one is made.
    pub(crate) anew: bool,
    /// Gets the connection, or nothing once it is closed.
    pub(crate) answer: oneshot::Sender<Option<HandOver>>,
}

/// Where a runner asks its session.
pub(crate) type Ask = mpsc::Sender<Wanted>;

/// Where a session is asked. There is one session at a time.
#[derive(Debug, Clone)]
pub(crate) struct Asked(Arc<Mutex<mpsc::Receiver<Wanted>>>);

pub(crate) fn channel() -> (Ask, Asked) {
    let (ask, asked) = mpsc::channel(1);
    (ask, Asked(Arc::new(Mutex::new(asked))))
}

impl Asked {
    /// The next who asks. May be dropped at any time.
    pub(crate) async fn next(&self) -> Wanted {
        loop {
            match self.0.lock().await.recv().await {
                Some(wanted) if wanted.answer.is_closed() => {}
                Some(wanted) => return wanted,
                None => std::future::pending().await,
            }
        }
    }
}
