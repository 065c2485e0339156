//! What a peer may say before it is a plugin, and after: the service that it calls, and the one
//! registration it has. What it asks for is counted and let through, or not, before the request is
//! built.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use nri_core::{
    InvalidIdentity, PluginId, RegisteredPlugin, RuntimeHandle as _, UpdateFailure, api,
};
use nri_proto::transport::{CallContext, Code, RuntimeServer, RuntimeService, Service, Status};
use nri_proto::{Method as _, rpc};
use tokio::sync::{oneshot, watch};

use crate::engine::unsolicited::UnsolicitedUpdates;
use crate::lock::Lock;
use crate::plugin::credentials::Credentials;
use crate::plugin::end_reason::EndReason;
use crate::session::admission::may_register_as;
use crate::text::sanitized;

/// A peer that has said who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) plugin: PluginId,
    pub(crate) nri_version: String,
}

/// Who a peer may be.
#[derive(Debug, Clone)]
pub(crate) enum Claim {
    /// Whatever it says, if it may.
    SelfDeclared(Credentials),
    /// What its file is called, whatever it says.
    Assigned(PluginId),
}

/// The service of one connection.
#[derive(Debug)]
pub(crate) struct RegistrationService {
    /// Weakly: the engine holds the plugin, which holds its connection, which holds this.
    unsolicited: Weak<UnsolicitedUpdates>,
    claim: Claim,
    state: Lock<State>,
    /// Which registration it became.
    registered: OnceLock<RegisteredPlugin>,
    /// How many updates and evictions it has asked for that are not done.
    asked: AtomicUsize,
    /// Why the connection must be closed, once it must.
    violation: watch::Sender<Option<String>>,
}

#[derive(Debug)]
enum State {
    Waiting(oneshot::Sender<Result<Registration, EndReason>>),
    Registered(PluginId),
    Refused,
}

impl RegistrationService {
    /// A service, and what comes of the registration there.
    pub(crate) fn new(
        unsolicited: &Arc<UnsolicitedUpdates>,
        claim: Claim,
    ) -> (
        Arc<Self>,
        oneshot::Receiver<Result<Registration, EndReason>>,
    ) {
        let (introduce, introduced) = oneshot::channel();
        let state = Lock::new(State::Waiting(introduce));
        let violation = watch::Sender::new(None);
        (
            Arc::new(Self {
                unsolicited: Arc::downgrade(unsolicited),
                claim,
                state,
                registered: OnceLock::new(),
                asked: AtomicUsize::new(0),
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
            Claim::Assigned(plugin) => return Ok(plugin.clone()),
            Claim::SelfDeclared(peer) => peer,
        };
        let plugin = PluginId::from_parts(&request.plugin_idx, &request.plugin_name)
            .map_err(|error| Status::unknown(wire_message(&error)))?;
        let us = rustix::process::geteuid().as_raw();
        let may = |door: Arc<UnsolicitedUpdates>| {
            may_register_as(&door.shared().config(), &plugin, peer, us)
        };
        if self.unsolicited.upgrade().is_some_and(may) {
            return Ok(plugin);
        }
        Err(Status::new(
            Code::PermissionDenied,
            format!("user {} may not register plugin {plugin}", peer.uid),
        ))
    }

    /// Takes note of which registration the connection became.
    pub(crate) fn registered(&self, plugin: RegisteredPlugin) {
        // It registers once.
        let _ = self.registered.set(plugin);
    }

    /// Lets a plugin ask for unsolicited updates and evictions, by what its request comes
    /// to.
    fn check_request(&self, payload: &[u8]) -> Result<Passing<'_>, Status> {
        let early = |text: String| Status::new(Code::FailedPrecondition, text);
        let plugin = match &*self.state.lock() {
            State::Registered(plugin) => plugin.clone(),
            State::Waiting(_) | State::Refused => return Err(early("register first".to_owned())),
        };
        let open = |door: &Arc<UnsolicitedUpdates>| door.shared().is_enabled();
        let Some(unsolicited) = self.unsolicited.upgrade().filter(open) else {
            return Err(Status::new(
                Code::Unavailable,
                "the runtime has stopped NRI",
            ));
        };
        let registered = self.registered.get();
        if !registered.is_some_and(|registered| unsolicited.is_admitted(registered)) {
            return Err(early(format!(
                "plugin {plugin} is not ready: it may ask for updates once it is shown what exists (Synchronize)"
            )));
        }
        let exhausted = |text: String| Status::new(Code::ResourceExhausted, text);
        let limits = unsolicited.shared().config().item_limits();
        let count = limits
            .check::<api::UpdateContainersRequest>(payload)
            .map_err(|error| {
                exhausted(format!(
                    "plugin {plugin} asks for too much at once: {error} (`max_updates`, `max_items`)"
                ))
            })?
            .asked;
        let passing = Passing::begin(&self.asked, count, limits.asked).ok_or_else(|| {
            exhausted(format!(
                "plugin {plugin} asks for updates while more than {} would not be done (`max_updates`): wait for the \
                 answers to the requests before",
                limits.asked
            ))
        })?;
        let rate = unsolicited.check_rate(&plugin, count);
        rate.map_err(|error| exhausted(error.to_string()))?;
        Ok(passing)
    }
}

/// So many updates and evictions that are being carried out for a connection.
struct Passing<'a> {
    asked: &'a AtomicUsize,
    count: usize,
}

impl<'a> Passing<'a> {
    /// Begins with `count` more, if there are not more than `most` then. What is asked for alone is
    /// never too many.
    fn begin(asked: &'a AtomicUsize, count: usize, most: usize) -> Option<Self> {
        // Asking for nothing costs something as well.
        let count = count.max(1);
        let more = |before: usize| {
            let after = before.saturating_add(count);
            (before == 0 || after <= most).then_some(after)
        };
        let begun = asked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        begun.ok().map(|_| Self { asked, count })
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.asked.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// The service of a connection, with its service behind it: a request that is too much gets no
/// further than its bytes.
pub(crate) struct Gate {
    service: Arc<RegistrationService>,
    server: RuntimeServer<RegistrationService>,
}

impl Gate {
    pub(crate) fn before(service: &Arc<RegistrationService>) -> Self {
        Self {
            service: Arc::clone(service),
            server: RuntimeServer::new(Arc::clone(service)),
        }
    }
}

#[async_trait]
impl Service for Gate {
    fn name(&self) -> &'static str {
        rpc::runtime::SERVICE
    }

    async fn call(
        &self,
        context: CallContext,
        method: &str,
        payload: Bytes,
    ) -> Result<Vec<u8>, Status> {
        let _passing = match method {
            rpc::runtime::UpdateContainers::NAME => Some(self.service.check_request(&payload)?),
            _ => None,
        };
        self.server.call(context, method, payload).await
    }
}

/// In the words of the protocol's other implementations.
fn wire_message(error: &InvalidIdentity) -> String {
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
impl RuntimeService for RegistrationService {
    async fn register_plugin(
        &self,
        _: CallContext,
        request: api::RegisterPluginRequest,
    ) -> Result<api::Empty, Status> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Refused) {
            State::Waiting(introduce) => match self.identify(&request) {
                Ok(plugin) => {
                    *state = State::Registered(plugin.clone());
                    let nri_version = sanitized(&request.nri_version);
                    // Nobody hears it if its time was over at this very moment; the connection is
                    // closed then.
                    let _ = introduce.send(Ok(Registration {
                        plugin,
                        nri_version,
                    }));
                    Ok(api::Empty::default())
                }
                Err(status) => {
                    let _ =
                        introduce.send(Err(EndReason::RegistrationRefused(status.message.clone())));
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
        // What does not pass the gate does not come here.
        let (Some(unsolicited), Some(plugin)) = (self.unsolicited.upgrade(), self.registered.get())
        else {
            return Err(Status::new(Code::FailedPrecondition, "register first"));
        };
        let door = unsolicited.door(plugin.id.clone());
        drop(unsolicited);
        let failed = door
            .update_containers(request.update, request.evict)
            .await
            .map_err(|error| match error {
                UpdateFailure::Refused(reason) => Status::new(Code::PermissionDenied, reason),
                error => Status::new(Code::Unavailable, error.to_string()),
            })?;
        Ok(api::UpdateContainersResponse { failed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_carried_out_is_bounded_and_a_single_request_is_not() {
        let asked = AtomicUsize::new(0);
        let large = Passing::begin(&asked, 100, 10).unwrap();
        assert!(Passing::begin(&asked, 0, 10).is_none());
        drop(large);
        let first = Passing::begin(&asked, 6, 10).unwrap();
        assert!(Passing::begin(&asked, 5, 10).is_none());
        let second = Passing::begin(&asked, 4, 10).unwrap();
        drop((first, second));
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }
}
