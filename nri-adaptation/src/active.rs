//! A plugin that takes part: who it is, how it is reached, and its turns.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nri_core::flow::{Member, Reply};
use nri_core::{Event, EventMask, RegisteredPlugin};
use nri_proto::transport::Code;

use crate::config::PluginSettings;
use crate::endpoint::{Endpoint, Subscription};
use crate::observer::{PluginInfo, PluginKind, PluginState};
use crate::turns::Turns;

/// What is known of a plugin from outside.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) kind: PluginKind,
    pub(crate) pid: Option<i32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) nri_version: String,
}

/// A plugin that takes part.
pub(crate) struct Active {
    pub(crate) plugin: RegisteredPlugin,
    settings: Mutex<Arc<PluginSettings>>,
    pub(crate) subscription: Subscription,
    pub(crate) endpoint: Arc<dyn Endpoint>,
    pub(crate) turns: Arc<Turns>,
    origin: Origin,
    synchronized: AtomicBool,
    /// The events that it has said it does not know, as a mask.
    unknown_events: AtomicI32,
    /// Why we closed it, if we did; or else why it went.
    closed: Mutex<Option<String>>,
    /// The instance of the same identity that it takes over from, while it is not sure that it can.
    predecessor: Mutex<Option<Arc<Active>>>,
}

impl fmt::Debug for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Active")
            .field("info", &self.info())
            .finish_non_exhaustive()
    }
}

impl Active {
    pub(crate) fn new(
        plugin: RegisteredPlugin,
        settings: PluginSettings,
        subscription: Subscription,
        endpoint: Arc<dyn Endpoint>,
        origin: Origin,
    ) -> Self {
        let turns = Arc::new(Turns::new(settings.max_in_flight));
        Self {
            plugin,
            settings: Mutex::new(Arc::new(settings)),
            subscription,
            endpoint,
            turns,
            origin,
            synchronized: AtomicBool::new(false),
            unknown_events: AtomicI32::new(0),
            closed: Mutex::default(),
            predecessor: Mutex::default(),
        }
    }

    /// Whether this answer is the first one that says that it does not know an event to which it is subscribed only because
    /// it named none. `None` if the answer says nothing of the kind.
    pub(crate) fn does_not_know(&self, event: Event, reply: &Reply) -> Option<bool> {
        let newer = matches!(
            event,
            Event::ValidateContainerAdjustment | Event::UpdatePodSandbox
        );
        let unknown =
            matches!(reply, Reply::Error { code, .. } if *code == Code::Unimplemented.value());
        (self.subscription.implicit && newer && unknown).then(|| {
            let bit = EventMask::from(event).bits();
            self.unknown_events.fetch_or(bit, Ordering::Relaxed) & bit == 0
        })
    }

    /// The settings in force for it.
    pub(crate) fn settings(&self) -> Arc<PluginSettings> {
        Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other settings in force. How many requests it gets at a time is settled when it connects.
    pub(crate) fn set_settings(&self, settings: PluginSettings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Its part in requests.
    pub(crate) fn member(&self) -> Member {
        let Subscription { events, implicit } = self.subscription;
        let member = Member::new(self.plugin.clone(), events).with_policy(self.settings().policy);
        if implicit {
            member.implicitly_subscribed()
        } else {
            member
        }
    }

    pub(crate) fn info(&self) -> PluginInfo {
        let state = match self {
            _ if self.close_reason().is_some() => PluginState::Closed,
            _ if !self.is_synchronized() => PluginState::Synchronizing,
            _ if self.turns.is_late() => PluginState::Late,
            _ => PluginState::Ready,
        };
        let plugin = self.plugin.clone();
        let events = self.subscription.events;
        let mut info = PluginInfo::new(plugin, self.origin.kind, events, state);
        info.pid = self.origin.pid;
        info.uid = self.origin.uid;
        info.gid = self.origin.gid;
        info.nri_version = self.origin.nri_version.clone();
        info
    }

    pub(crate) fn kind(&self) -> PluginKind {
        self.origin.kind
    }

    pub(crate) fn is_built_in(&self) -> bool {
        self.kind() == PluginKind::BuiltIn
    }

    /// It knows what exists.
    pub(crate) fn set_synchronized(&self) {
        self.synchronized.store(true, Ordering::Release);
    }

    pub(crate) fn is_synchronized(&self) -> bool {
        self.synchronized.load(Ordering::Acquire)
    }

    /// Cuts it off; the first reason counts. Requests that wait for it, or for their turn, hear of it at once.
    pub(crate) fn close(&self, reason: impl Into<String>) {
        self.closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(reason.into());
        self.turns.close();
        self.endpoint.close();
    }

    /// Why it is cut off or gone, if it is.
    pub(crate) fn close_reason(&self) -> Option<String> {
        self.closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Remembers whose place it takes; or, with `None`, that it has taken it.
    pub(crate) fn set_predecessor(&self, predecessor: Option<Arc<Active>>) -> Option<Arc<Active>> {
        let mut place = self
            .predecessor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, predecessor)
    }

    /// Who stands in for it, if it never came to take part.
    pub(crate) fn stand_in(&self) -> Option<Arc<Active>> {
        let place = self
            .predecessor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        place.clone().filter(|_| !self.is_synchronized())
    }
}
