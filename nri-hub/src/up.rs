//! The hub as the runtime above sees it: one plugin, which treats all events alike.
//!
//! What may not enter: what becomes of a request.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nri_adaptation::{
    Configuration, Event, EventMask, HandlerError, Plugin, PluginCtx, PluginId, ReceivedRequest,
    Request, Response, api,
};
use nri_plugin::RuntimeLevel;
use tokio::sync::{OwnedRwLockWriteGuard, watch};
use tokio::time::timeout;

use crate::config::HubSettings;
use crate::domain::Above;
use crate::down::{Down, Terms};
use crate::narrow;

/// How the hub answers, whatever it is asked.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) down: Down,
    pub(crate) above: Arc<Above>,
    /// Who the hub is to the runtime; known once the runner is built.
    pub(crate) identity: Arc<OnceLock<PluginId>>,
    /// Which events it subscribes to, how much sooner than the runtime's deadline it answers, and
    /// what it says of requests that it does not answer.
    pub(crate) settings: HubSettings,
    /// Synchronisations, to be told of below once they are answered.
    pub(crate) synchronized: watch::Sender<Vec<Synchronized>>,
    /// The events that the runtime knows.
    pub(crate) known: watch::Sender<EventMask>,
    pub(crate) configured: Mutex<Configured>,
    /// Until when requests have been waiting already, and how long.
    pub(crate) waited: Option<(Instant, Duration)>,
}

/// A synchronisation that is about to be answered. No event is relayed before it is told below.
#[derive(Debug)]
pub(crate) struct Synchronized {
    /// All pods that there are.
    pub(crate) pods: Vec<api::PodSandbox>,
    /// All containers that there are.
    pub(crate) containers: Vec<api::Container>,
    /// The plugins that are waited for, for a while, before events go on.
    pub(crate) expected: Vec<String>,
    /// Whether the mirror has it already.
    pub(crate) is_known: bool,
    /// Holds the events back that come after it.
    pub(crate) _barrier: Option<OwnedRwLockWriteGuard<()>>,
}

/// How long a synchronisation waits for requests from before it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known from the runtime's configuration.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Configured {
    /// How long the runtime waits for an answer; zero if it does not say.
    request_timeout: Duration,
    /// Whether it has what it merged validated by the hub.
    validates: bool,
}

impl Up {
    fn terms(&self, cx: &PluginCtx) -> Terms {
        let configured = *self
            .configured
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let timeout = configured.request_timeout;
        let usual = (!timeout.is_zero()).then(|| Instant::now() + timeout);
        let deadline = cx.deadline().or(usual);
        let waited = self.waited.filter(|(until, _)| Instant::now() < *until);
        let deadline = match waited {
            // They waited in the socket for this hub to take the place of another one.
            Some((_, waited)) => deadline.map(|at| at.checked_sub(waited).unwrap_or(at)),
            None => deadline,
        };
        Terms {
            deadline: deadline.map(|at| self.sooner(at)),
            validated_as: self
                .identity
                .get()
                .filter(|_| configured.validates)
                .cloned(),
        }
    }

    /// When to answer if the runtime stops waiting then.
    fn sooner(&self, deadline: Instant) -> Instant {
        let left = deadline.saturating_duration_since(Instant::now());
        let margin = self.settings.margin.min(left / 2);
        deadline.checked_sub(margin).unwrap_or(deadline)
    }
}

#[async_trait]
impl Plugin for Up {
    fn events(&self) -> EventMask {
        self.settings.events
    }

    fn failure_policy(&self) -> Option<api::FailurePolicy> {
        Some(api::FailurePolicy {
            fail_request: self.settings.fail_request,
            keep_connected: true,
        })
    }

    async fn configure(
        &self,
        cx: &PluginCtx,
        configuration: Configuration,
    ) -> Result<Option<EventMask>, HandlerError> {
        let below = *self.down.nri.watch_events().borrow();
        let known = RuntimeLevel::of(&configuration).events();
        let events = narrow::wanted(&self.settings, below) & known;
        *self
            .configured
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Configured {
            request_timeout: configuration.request_timeout,
            validates: events.contains(Event::ValidateContainerAdjustment),
        };
        self.known.send_replace(known);
        self.above.set(cx.runtime(), configuration.runtime);
        Ok(self.settings.narrow.then_some(events))
    }

    async fn synchronize(
        &self,
        _: &PluginCtx,
        pods: Vec<api::PodSandbox>,
        containers: Vec<api::Container>,
    ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
        let barrier = timeout(PATIENCE, Arc::clone(&self.down.barrier).write_owned()).await;
        let synchronized = Synchronized {
            pods,
            containers,
            expected: Vec::new(),
            is_known: false,
            _barrier: barrier.ok(),
        };
        self.synchronized.send_modify(|all| all.push(synchronized));
        Ok(Vec::new())
    }

    fn takes_undecoded(&self, _: Event) -> bool {
        true
    }

    async fn receive(
        &self,
        cx: &PluginCtx,
        request: ReceivedRequest,
    ) -> Result<Response, HandlerError> {
        Ok(self.down.relay(request, self.terms(cx)).await?)
    }

    /// From runtimes before v0.12 alone, which tell most events in another form.
    async fn relay(&self, cx: &PluginCtx, request: Request) -> Result<Response, HandlerError> {
        self.receive(cx, ReceivedRequest::from(&request)).await
    }
}
