//! What all parts of an instance share: the configuration in force, what is known of the runtime,
//! how far the instance is in its life, its tasks, and to whom it reports.
//!
//! What may not enter: plugins, requests, sockets, processes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nri_core::RuntimeInfo;
use nri_proto::transport::IncompleteBytes;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::Config;
use crate::error::Error;
use crate::lock::Lock;
use crate::tasks::Tasks;
use crate::telemetry::reporter::Reporter;

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    New,
    Starting,
    Started,
    Stopping,
    Stopped,
}

/// What all parts of an instance share.
pub(crate) struct Shared {
    /// With defaults in place.
    config: Lock<Arc<Config>>,
    pub(crate) info: Arc<RuntimeInfo>,
    pub(crate) tasks: Tasks,
    pub(crate) reporter: Reporter,
    /// Bounds what all connections together hold of messages that have not arrived whole.
    pub(crate) incomplete: IncompleteBytes,
    phase: watch::Sender<Phase>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("phase", &*self.phase.borrow())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// `config` is the one in force from the beginning, with defaults in place.
    pub(crate) fn new(config: Arc<Config>, info: RuntimeInfo, reporter: Reporter) -> Self {
        Self {
            incomplete: IncompleteBytes::new(config.max_incomplete_bytes),
            config: Lock::new(config),
            info: Arc::new(info),
            tasks: Tasks::default(),
            reporter,
            phase: watch::Sender::new(Phase::New),
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.get()
    }

    /// Puts another configuration in force.
    pub(crate) fn set_config(&self, config: Arc<Config>) {
        self.incomplete.set_limit(config.max_incomplete_bytes);
        self.config.set(config);
    }

    /// Whether requests are to be relayed.
    pub(crate) fn is_enabled(&self) -> bool {
        !self.config().disable && *self.phase.borrow() < Phase::Stopping
    }

    /// Waits until the instance is not just about to be started. Whether it is up then; `None` if
    /// it is stopped.
    pub(crate) async fn is_up(&self) -> Option<bool> {
        let mut phase = self.phase.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        let phase = phase.wait_for(|phase| *phase != Phase::Starting).await;
        match phase.as_deref() {
            Ok(Phase::New) => Some(false),
            Ok(Phase::Started) => Some(true),
            _ => None,
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.phase.borrow() >= Phase::Stopping
    }

    /// Whether nothing happens any more.
    pub(crate) fn is_stopped(&self) -> bool {
        *self.phase.borrow() == Phase::Stopped
    }

    /// Resolves when the instance is to stop.
    pub(crate) async fn stopping(&self) {
        let mut phase = self.phase.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        let _ = phase.wait_for(|phase| *phase >= Phase::Stopping).await;
    }

    /// Resolves when nothing happens any more.
    pub(crate) async fn stopped(&self) {
        let mut phase = self.phase.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
    }

    /// Resolves when nothing happens any more, or after `time`.
    pub(crate) async fn stopped_within(&self, time: Duration) {
        let _ = timeout(time, self.stopped()).await;
    }

    /// The start begins.
    ///
    /// # Errors
    /// It has begun before, or the instance is stopped.
    pub(crate) fn begin_start(&self) -> Result<(), Error> {
        let mut begun = Err(Error::AlreadyStarted);
        self.phase.send_if_modified(|phase| {
            begun = match phase {
                Phase::New => Ok(()),
                Phase::Starting | Phase::Started => Err(Error::AlreadyStarted),
                Phase::Stopping | Phase::Stopped => Err(Error::Stopped),
            };
            let first = begun.is_ok();
            if first {
                *phase = Phase::Starting;
            }
            first
        });
        begun
    }

    /// The start is over, and everything is up, unless it is to stop already.
    pub(crate) fn set_started(&self) {
        self.advance(Phase::Started);
    }

    /// The instance is to stop; false if it was before.
    pub(crate) fn begin_stop(&self) -> bool {
        self.advance(Phase::Stopping)
    }

    /// Nothing happens any more.
    pub(crate) fn set_stopped(&self) {
        self.advance(Phase::Stopped);
    }

    /// Whether that is later than it was.
    fn advance(&self, to: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let later = *phase < to;
            *phase = (*phase).max(to);
            later
        })
    }
}
