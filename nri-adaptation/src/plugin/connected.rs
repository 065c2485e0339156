//! A plugin that is connected and configured: who it is and how it is reached.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use nri_core::flow::Member;
use nri_core::schedule::PluginLimits;
use nri_core::{Event, EventMask, RegisteredPlugin};
use nri_proto::transport::Code;

use crate::config::PluginSettings;
use crate::lock::Lock;
use crate::plugin::busy_poll::{BusyPoll, Expected};
use crate::plugin::credentials::Credentials;
use crate::plugin::end_reason::EndReason;
use crate::plugin::endpoint::{Endpoint, Subscription};
use crate::telemetry::plugin_info::{PluginInfo, PluginKind, PluginState};
use crate::telemetry::statistics::Statistics;

/// How long a plugin may take for its `Shutdown`.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known of a plugin from outside.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) kind: PluginKind,
    pub(crate) pid: Option<i32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) nri_version: String,
}

/// A plugin that is connected and configured.
pub(crate) struct ConnectedPlugin {
    pub(crate) plugin: RegisteredPlugin,
    settings: Lock<Arc<PluginSettings>>,
    pub(crate) subscription: Subscription,
    pub(crate) endpoint: Arc<dyn Endpoint>,
    pub(crate) statistics: Statistics,
    origin: Origin,
    synchronized: AtomicBool,
    /// Whether it answered its last call soon enough for that to be looked for.
    is_quick: AtomicBool,
    /// The events that it has said it does not know, as a mask.
    unknown_events: AtomicI32,
    /// Why we closed it, if we did; or else why it went.
    closed: Lock<Option<EndReason>>,
}

impl fmt::Debug for ConnectedPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectedPlugin")
            .field("info", &self.info())
            .finish_non_exhaustive()
    }
}

/// While it lives, a call of the plugin is under way.
pub(crate) struct InFlight(Arc<ConnectedPlugin>, Option<Expected>);

impl InFlight {
    pub(crate) fn new(connected: Arc<ConnectedPlugin>) -> Self {
        connected.statistics.begin();
        Self(connected, None)
    }

    /// Has its answer looked for, if the plugin is one for which that is worth while.
    pub(crate) fn look(mut self, busy_poll: &Arc<BusyPoll>) -> Self {
        if !self.0.is_built_in() {
            self.1 = busy_poll.expect(self.0.is_quick.load(Ordering::Relaxed));
        }
        self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Self(connected, expected) = self;
        connected.statistics.end();
        if let Some(expected) = expected {
            let is_quick = expected.is_quick();
            connected.is_quick.store(is_quick, Ordering::Relaxed);
        }
    }
}

impl ConnectedPlugin {
    pub(crate) fn new(
        plugin: RegisteredPlugin,
        settings: PluginSettings,
        subscription: Subscription,
        endpoint: Arc<dyn Endpoint>,
        origin: Origin,
    ) -> Self {
        Self {
            plugin,
            settings: Lock::new(Arc::new(settings)),
            subscription,
            endpoint,
            statistics: Statistics::default(),
            origin,
            synchronized: AtomicBool::new(false),
            is_quick: AtomicBool::new(true),
            unknown_events: AtomicI32::new(0),
            closed: Lock::default(),
        }
    }

    /// Whether this error is the first one that says that it does not know an event to which it is
    /// subscribed only because it named none. `None` if the error says nothing of the kind.
    pub(crate) fn note_unimplemented(&self, event: Event, code: i32) -> Option<bool> {
        let newer = matches!(
            event,
            Event::ValidateContainerAdjustment | Event::UpdatePodSandbox
        );
        let unknown = code == Code::Unimplemented.value();
        (self.subscription.implicit && newer && unknown).then(|| {
            let bit = EventMask::from(event).bits();
            self.unknown_events.fetch_or(bit, Ordering::Relaxed) & bit == 0
        })
    }

    /// The settings in force for it.
    pub(crate) fn settings(&self) -> Arc<PluginSettings> {
        self.settings.get()
    }

    /// Puts other settings in force. The scheduler has to be told too.
    pub(crate) fn set_settings(&self, settings: PluginSettings) {
        self.settings.set(Arc::new(settings));
    }

    /// What holds for its turns.
    pub(crate) fn limits(&self) -> PluginLimits {
        let settings = self.settings();
        let mut limits = PluginLimits::default();
        limits.request_timeout = settings.request_timeout;
        limits.max_in_flight = settings.max_in_flight;
        limits.strikes = settings.strikes;
        limits.after_late = settings.after_late;
        limits
    }

    /// Its part in requests.
    pub(crate) fn member(&self) -> Member {
        let Subscription {
            events, implicit, ..
        } = self.subscription;
        let settings = self.settings();
        let mut member = Member::new(self.plugin.clone(), events).with_policy(settings.policy);
        if implicit {
            member = member.implicitly_subscribed();
        }
        // What is part of the runtime's program was written for it; others know of creations only,
        // unless it is said.
        if self.is_built_in() || settings.validate_updates {
            member = member.validating_updates();
        }
        if settings.observe {
            member = member.observing();
        }
        member
    }

    /// What is known of it here. Whether it is late is known to the scheduler.
    pub(crate) fn info(&self) -> PluginInfo {
        let state = match self {
            _ if self.close_reason().is_some() => PluginState::Closed,
            _ if !self.is_synchronized() => PluginState::Synchronizing,
            _ => PluginState::Ready,
        };
        let plugin = self.plugin.clone();
        let events = self.subscription.events;
        let mut info = PluginInfo::new(plugin, self.origin.kind, events, state);
        info.pid = self.origin.pid;
        info.uid = self.origin.uid;
        info.gid = self.origin.gid;
        info.nri_version = self.origin.nri_version.clone();
        info.failure_policy = self.subscription.wish;
        info.observes = self.settings().observe;
        (info.calls, info.last_error) = self.statistics.snapshot();
        info
    }

    /// Whose process it is, where it is another one.
    pub(crate) fn peer(&self) -> Option<Credentials> {
        Some(Credentials {
            pid: self.origin.pid,
            uid: self.origin.uid?,
            gid: self.origin.gid?,
        })
    }

    pub(crate) fn kind(&self) -> PluginKind {
        self.origin.kind
    }

    pub(crate) fn is_built_in(&self) -> bool {
        self.kind() == PluginKind::BuiltIn
    }

    /// Whether it is synchronised and not disconnected.
    pub(crate) fn is_available(&self) -> bool {
        self.is_synchronized() && self.close_reason().is_none()
    }

    /// It knows what exists.
    pub(crate) fn set_synchronized(&self) {
        self.synchronized.store(true, Ordering::Release);
    }

    pub(crate) fn is_synchronized(&self) -> bool {
        self.synchronized.load(Ordering::Acquire)
    }

    /// Cuts it off; the first reason counts, and is returned.
    pub(crate) fn close(&self, reason: EndReason) -> EndReason {
        let reason = self.closed.lock().get_or_insert(reason).clone();
        self.endpoint.close();
        reason
    }

    /// Sends it `Shutdown`, and cuts it off when it has answered or its time for that is over.
    pub(crate) async fn shut_down(self: Arc<Self>, reason: EndReason) {
        self.endpoint.shutdown(SHUTDOWN_TIMEOUT).await;
        self.close(reason);
    }

    /// Why it is cut off or disconnected, if it is.
    pub(crate) fn close_reason(&self) -> Option<EndReason> {
        self.closed.get()
    }
}
