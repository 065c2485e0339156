//! What a peer may say before it is a plugin, and after: the service that it calls, and the one registration it has.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use nri_core::{InvalidIdentity, PluginId, api};
use nri_proto::transport::{CallContext, Code, RuntimeService, Status};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::admission::may_be;
use crate::instance::Instance;
use crate::rate::{Bucket, Rate};
use crate::session::Credentials;
use crate::text::sanitized;

/// A peer that has said who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Introduction {
    pub(crate) plugin: PluginId,
    pub(crate) nri_version: String,
}

/// Who a peer may be.
#[derive(Debug, Clone)]
pub(crate) enum Claim {
    /// Whatever it says, if it may.
    Own(Credentials),
    /// What its file is called, whatever it says.
    Given(PluginId),
}

/// The service of one connection.
#[derive(Debug)]
pub(crate) struct Desk {
    instance: Weak<Instance>,
    claim: Claim,
    state: Mutex<State>,
    since: Instant,
    asking: Mutex<Asking>,
    /// Why the connection must be closed, once it must.
    violation: watch::Sender<Option<String>>,
}

#[derive(Debug)]
enum State {
    Waiting(oneshot::Sender<Result<Introduction, String>>),
    Registered(PluginId),
    Refused,
}

impl Desk {
    /// A desk, and what comes of the registration there.
    pub(crate) fn new(
        instance: Weak<Instance>,
        claim: Claim,
    ) -> (Arc<Self>, oneshot::Receiver<Result<Introduction, String>>) {
        let (introduce, introduced) = oneshot::channel();
        let state = Mutex::new(State::Waiting(introduce));
        let violation = watch::Sender::new(None);
        (
            Arc::new(Self {
                instance,
                claim,
                state,
                since: Instant::now(),
                asking: Mutex::default(),
                violation,
            }),
            introduced,
        )
    }

    /// Resolves when the peer has broken the protocol so that it must go, once it has been told.
    pub(crate) async fn violated(&self) -> String {
        let mut violation = self.violation.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        let reason = violation
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }

    /// Who the peer is, by what it says and what it may say.
    fn identify(&self, request: &api::RegisterPluginRequest) -> Result<PluginId, Status> {
        let peer = match &self.claim {
            Claim::Given(plugin) => return Ok(plugin.clone()),
            Claim::Own(peer) => peer,
        };
        let plugin = PluginId::from_parts(&request.plugin_idx, &request.plugin_name)
            .map_err(|error| Status::unknown(in_words(&error)))?;
        let us = rustix::process::geteuid().as_raw();
        let may = |i: Arc<Instance>| may_be(&i.config(), &plugin, peer, us);
        if self.instance.upgrade().is_some_and(may) {
            return Ok(plugin);
        }
        Err(Status::new(
            Code::PermissionDenied,
            format!("user {} may not register plugin {plugin}", peer.uid),
        ))
    }

    /// Lets a plugin ask for so many updates and evictions on its own account.
    fn let_through(
        &self,
        instance: &Instance,
        plugin: &PluginId,
        count: usize,
    ) -> Result<(), Status> {
        let config = instance.config();
        let rate = Rate {
            per_second: config.update_rate_limit,
            burst: config.update_burst,
        };
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        // Asking for nothing costs something as well.
        let taken = asking.bucket.take(rate, count.max(1), self.since.elapsed());
        let refused = taken.is_err();
        if refused && !asking.refused {
            tracing::warn!(
                %plugin, per_second = rate.per_second, burst = rate.burst,
                "the plugin asks for more updates than it may, and is refused for now"
            );
        }
        asking.refused = refused;
        taken.map_err(|wait| {
            let (per_second, burst) = (rate.per_second, rate.burst);
            Status::new(
                Code::ResourceExhausted,
                format!(
                    "plugin {plugin} asks for too many updates: {per_second} per second and {burst} at once are allowed \
                     (`update_rate_limit`, `update_burst`); try again in {wait:?}"
                ),
            )
        })
    }
}

/// What a plugin has asked for on its own account.
#[derive(Debug, Default)]
struct Asking {
    bucket: Bucket,
    /// Whether the last request was refused.
    refused: bool,
}

/// In the words of the protocol's other implementations.
fn in_words(error: &InvalidIdentity) -> String {
    match error {
        InvalidIdentity::Index(index) => {
            format!(
                "invalid plugin index: {:?} must be two digits, 00 to 99",
                sanitized(index)
            )
        }
        InvalidIdentity::Name(name) => format!(
            "invalid plugin name: {:?} must be made of the characters A-Z a-z 0-9 . _ + -",
            sanitized(name)
        ),
        other => sanitized(&other.to_string()),
    }
}

#[async_trait]
impl RuntimeService for Desk {
    async fn register_plugin(
        &self,
        _: CallContext,
        request: api::RegisterPluginRequest,
    ) -> Result<api::Empty, Status> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Refused) {
            State::Waiting(introduce) => match self.identify(&request) {
                Ok(plugin) => {
                    *state = State::Registered(plugin.clone());
                    let nri_version = sanitized(&request.nri_version);
                    // Nobody hears it if its time was over at this very moment; the connection is closed then.
                    let _ = introduce.send(Ok(Introduction {
                        plugin,
                        nri_version,
                    }));
                    Ok(api::Empty::default())
                }
                Err(status) => {
                    let _ = introduce.send(Err(status.message.clone()));
                    Err(status)
                }
            },
            State::Registered(plugin) => {
                let text = format!("the connection is registered as plugin {plugin} already");
                *state = State::Registered(plugin);
                self.violation.send_replace(Some(text.clone()));
                Err(Status::new(Code::FailedPrecondition, text))
            }
            State::Refused => Err(Status::new(
                Code::FailedPrecondition,
                "the registration was refused",
            )),
        }
    }

    async fn update_containers(
        &self,
        _: CallContext,
        request: api::UpdateContainersRequest,
    ) -> Result<api::UpdateContainersResponse, Status> {
        let plugin = match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Registered(plugin) => plugin.clone(),
            State::Waiting(_) | State::Refused => {
                return Err(Status::new(Code::FailedPrecondition, "register first"));
            }
        };
        let Some(instance) = self.instance.upgrade().filter(|i| i.is_enabled()) else {
            return Err(Status::new(
                Code::Unavailable,
                "the runtime has stopped NRI",
            ));
        };
        let count = request.update.len() + request.evict.len();
        self.let_through(&instance, &plugin, count)?;
        let failed = instance
            .unsolicited(&plugin, request.update, request.evict)
            .await;
        Ok(api::UpdateContainersResponse { failed })
    }
}
