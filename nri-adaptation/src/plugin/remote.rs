//! A plugin over a connection, with the old form of events for plugins that were built before
//! v0.12.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use nri_core::flow::SynchronizeFlow;
use nri_core::{Configuration, EncodedRequest, Event, EventMask, PluginId, Response, api};
use nri_proto::transport::{
    CallEnd, CallError, CallOptions, Client, Code, Connection, PluginClient, StartError, Started,
};
use nri_proto::{Method as _, Wire as _, items, rpc};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use crate::lock::Lock;
use crate::plugin::end_reason::EndReason;
use crate::plugin::endpoint::{
    Again, Answered, Caller, Endpoint, Relaying, Subscription, UnderWay,
};
use crate::plugin::failure::Failure;
use crate::plugin::inventory::{Inventory, Progress, read_on};
use crate::plugin::places::Place;
use crate::telemetry::observer::Observer;
use crate::text::{one_line, sanitized};

/// How large a part of what exists is, for plugins that take parts: many plugins that join at once
/// have two each in memory, one on its way and one that is being made.
const PART: usize = 256 << 10;

/// A plugin at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Remote {
    connection: Connection,
    client: PluginClient,
    old: Arc<OldForm>,
    /// Whether it is known to take what exists in parts.
    takes_parts: bool,
    /// Its place among those that are not admitted, until it is.
    place: Lock<Option<Place>>,
}

/// How many items an answer may have, now.
pub(crate) type LimitsNow = Box<dyn Fn() -> items::Limits + Send + Sync>;

impl Remote {
    pub(crate) fn new(
        plugin: PluginId,
        connection: Connection,
        observer: Arc<dyn Observer>,
        limits: LimitsNow,
        takes_parts: bool,
        place: Option<Place>,
    ) -> Self {
        let client = PluginClient::new(connection.client());
        let old = Arc::new(OldForm {
            plugin,
            observer,
            limits,
            in_use: AtomicBool::new(false),
            warned: AtomicU32::new(0),
        });
        Self {
            connection,
            client,
            old,
            takes_parts,
            place: Lock::new(place),
        }
    }
}

/// What a connection's calls have in common: what an answer may have, and whether a plugin gets
/// events as `StateChange`. Once it does, it does for the rest of the connection.
struct OldForm {
    plugin: PluginId,
    observer: Arc<dyn Observer>,
    limits: LimitsNow,
    in_use: AtomicBool,
    /// The events that were warned about, as a mask.
    warned: AtomicU32,
}

impl fmt::Debug for OldForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OldForm")
            .field("plugin", &self.plugin)
            .field("in_use", &self.in_use)
            .finish_non_exhaustive()
    }
}

impl OldForm {
    /// Warns that the plugin lacks the method of an event; once per event.
    fn warn(&self, event: Event) {
        let bit = EventMask::from(event).bits() as u32;
        if self.warned.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            tracing::warn!(
                plugin = %self.plugin, %event,
                "the plugin was built against an NRI older than v0.12 and gets this event as StateChange (deprecated): \
                 rebuild it against a newer one"
            );
            self.observer.plugin_deprecated(&self.plugin, event);
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Closed(reason) => Self::Closed(reason.to_string()),
            CallError::DeadlineExceeded { .. } => Self::Late,
            CallError::Status(status) => Self::Status {
                code: status.code.value(),
                message: one_line(&status.message),
            },
            other => Self::Status {
                code: other.code().value(),
                message: other.to_string(),
            },
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Call(error) => error.into(),
            other => Self::Status {
                code: Code::ResourceExhausted.value(),
                message: other.to_string(),
            },
        }
    }
}

/// Writes a request by the deadline, then waits for the reply without one.
async fn call(
    client: &Client,
    method: &'static str,
    payload: Bytes,
    deadline: Instant,
) -> Result<Bytes, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    let options = CallOptions::timeout(left);
    let pending = client
        .begin(rpc::plugin::SERVICE, method, payload, options)
        .await?;
    Ok(pending.await?)
}

/// A request on its way to a plugin, in one form or the other.
#[derive(Clone)]
struct Relay {
    client: Client,
    old: Arc<OldForm>,
    request: Arc<EncodedRequest>,
    deadline: Instant,
    caller: Arc<dyn Caller>,
    /// Absent for events that have one form only.
    again: Option<Again>,
}

impl Relay {
    fn event(&self) -> Event {
        self.request.event()
    }

    /// Whether it is asked in the old form from the beginning.
    fn is_old(&self) -> bool {
        self.again.is_some() && self.old.in_use.load(Ordering::Relaxed)
    }

    fn options(&self) -> CallOptions {
        CallOptions::timeout(self.deadline.saturating_duration_since(Instant::now()))
    }

    fn message(&self, old: bool) -> (&'static str, Bytes) {
        match old {
            true => (
                rpc::plugin::StateChange::NAME,
                self.request.old_bytes().unwrap_or_default(),
            ),
            // The method of an event has its name.
            false => (self.event().name(), self.request.bytes()),
        }
    }

    /// Writes it if there is a place for it in the connection.
    fn start(self, old: bool) -> Result<Started, StartError> {
        let (client, options) = (self.client.clone(), self.options());
        let (method, payload) = self.message(old);
        let then = move |end| self.ended(old, end);
        client.start(rpc::plugin::SERVICE, method, payload, options, then)
    }

    /// Waits for a place, and writes it then.
    async fn start_in_turn(self) -> Relaying {
        let (client, options, old) = (self.client.clone(), self.options(), self.is_old());
        let (method, payload) = self.message(old);
        let again = self.again.clone();
        let then = move |end| self.ended(old, end);
        let started = client.start_in_turn(rpc::plugin::SERVICE, method, payload, options, then);
        match started.await {
            Ok(started) => Relaying::Begun(UnderWay::new(started, again)),
            Err(error) => over(error.into()),
        }
    }

    /// Takes in what came of it. A plugin that does not know the method is asked in the old form.
    fn ended(self, old: bool, end: CallEnd) {
        let (event, delivered) = (self.event(), end.written);
        let caller = Arc::clone(&self.caller);
        let answer = match (end.reply, self.again.clone()) {
            (Ok(_), _) if old => {
                self.old.warn(event);
                Ok(Response::empty(event))
            }
            (Ok(bytes), _) => self.decode(event, &bytes),
            (Err(CallError::Status(status)), Some(again))
                if !old && status.code == Code::Unimplemented =>
            {
                self.old.in_use.store(true, Ordering::Relaxed);
                match self.start(true) {
                    Ok(started) => *again.lock() = Some(started),
                    Err(error) => caller.answered(Answered {
                        answer: Err(error.into()),
                        delivered,
                    }),
                }
                return;
            }
            (Err(error), _) => Err(error.into()),
        };
        // Whoever takes the answer may change the request in place then.
        drop(self);
        caller.answered(Answered { answer, delivered });
    }

    fn decode(&self, event: Event, bytes: &[u8]) -> Result<Response, Failure> {
        // It is counted before it is built.
        Response::check(event, bytes, &(self.old.limits)()).map_err(too_many)?;
        Response::decode(event, bytes)
            .map(printable)
            .map_err(undecodable)
    }
}

/// Nothing was handed over.
fn over(failure: Failure) -> Relaying {
    Relaying::Over(Answered {
        answer: Err(failure),
        delivered: false,
    })
}

/// An answer that is too much to be taken.
fn too_many(error: items::TooMany) -> Failure {
    Failure::Status {
        code: Code::ResourceExhausted.value(),
        message: format!("its answer is too much: {error} (`max_updates`, `max_items`)"),
    }
}

fn undecodable(error: prost::DecodeError) -> Failure {
    impossible(format!("its answer cannot be decoded: {error}"))
}

/// An answer whose texts for people are fit for a log.
fn printable(mut response: Response) -> Response {
    if let Response::ValidateContainerAdjustment(verdict) = &mut response {
        verdict.reason = sanitized(&verdict.reason);
    }
    response
}

#[async_trait]
impl Endpoint for Remote {
    fn relay(
        &self,
        request: Arc<EncodedRequest>,
        time: Duration,
        caller: Arc<dyn Caller>,
    ) -> Relaying {
        let old_form = request.event().has_state_change_form();
        let again = old_form.then(Again::default);
        let relay = Relay {
            client: self.connection.client(),
            old: Arc::clone(&self.old),
            request,
            deadline: Instant::now() + time,
            caller,
            again: again.clone(),
        };
        let old = relay.is_old();
        match relay.clone().start(old) {
            Ok(started) => Relaying::Begun(UnderWay::new(started, again)),
            Err(StartError::Crowded) => Relaying::Waits(Box::pin(relay.start_in_turn())),
            Err(error) => over(error.into()),
        }
    }

    async fn configure(
        &self,
        configuration: Configuration,
        time: Duration,
    ) -> Result<Subscription, Failure> {
        let request = api::ConfigureRequest {
            config: configuration.config,
            runtime_name: configuration.runtime.name,
            runtime_version: configuration.runtime.version,
            registration_timeout: milliseconds(configuration.registration_timeout),
            request_timeout: milliseconds(configuration.request_timeout),
            nri_version: configuration.runtime.nri_version,
        };
        let api::ConfigureResponse {
            events,
            failure_policy: wish,
        } = self
            .client
            .configure(&request, CallOptions::timeout(time))
            .await?;
        match EventMask::from_bits(events) {
            Ok(EventMask::NONE) => Ok(Subscription {
                events: EventMask::ALL,
                implicit: true,
                wish,
            }),
            Ok(events) => Ok(Subscription {
                events,
                implicit: false,
                wish,
            }),
            Err(error) => Err(impossible(error)),
        }
    }

    async fn synchronize(
        &self,
        inventory: &mut dyn Inventory,
        time: Duration,
        progress: Progress<'_>,
    ) -> Result<Vec<api::ContainerUpdate>, Failure> {
        let mut flow = SynchronizeFlow::of_added();
        if self.takes_parts {
            flow = flow.in_parts_of(PART);
        }
        fill(&mut flow, inventory, time, progress).await?;
        while let Some(part) = flow.next_part().map_err(impossible)? {
            // The deadline is for progress: every part has its own.
            let (deadline, payload) = (Instant::now() + time, part.bytes.into());
            let (client, name) = (self.client.client(), rpc::plugin::Synchronize::NAME);
            let answer = timeout_at(deadline, call(client, name, payload, deadline));
            // While the plugin takes this one in, the next one is made.
            let next = fill(&mut flow, inventory, time, progress);
            let (answer, next) = tokio::join!(answer, next);
            let bytes = answer.map_err(|_| Failure::Late)??;
            (self.old.limits)()
                .check::<api::SynchronizeResponse>(&bytes)
                .map_err(too_many)?;
            let answer = api::SynchronizeResponse::from_wire(&bytes).map_err(undecodable)?;
            if let Some(updates) = flow.answer(answer).map_err(impossible)? {
                return Ok(updates);
            }
            progress();
            next?;
        }
        Ok(Vec::new())
    }

    async fn shutdown(&self, time: Duration) {
        let result = self
            .client
            .shutdown(&api::Empty::default(), CallOptions::timeout(time))
            .await;
        if let Err(error) = result {
            tracing::debug!(plugin = %self.old.plugin, %error, "the plugin did not take the `Shutdown`");
        }
    }

    fn admitted(&self) {
        self.connection.lift_budget();
        let place = self.place.lock().take();
        drop(place);
    }

    fn close(&self) {
        self.connection.close();
    }

    async fn closed(&self) -> EndReason {
        self.connection.closed().await.into()
    }
}

/// Makes the next message.
async fn fill(
    flow: &mut SynchronizeFlow,
    inventory: &mut dyn Inventory,
    time: Duration,
    progress: Progress<'_>,
) -> Result<(), Failure> {
    while flow.wants_more() {
        let objects = read_on(inventory, time, progress).await?;
        if objects.is_empty() {
            flow.end();
        }
        for object in objects {
            flow.add(object);
        }
        // Others have their turn.
        yield_now().await;
    }
    Ok(())
}

/// What the plugin answered cannot be worked with.
fn impossible(error: impl std::fmt::Display) -> Failure {
    Failure::Status {
        code: Code::Internal.value(),
        message: error.to_string(),
    }
}

/// Whole milliseconds, rounded up: never 0 for what is not.
fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_never_told_as_none() {
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_secs(2)), 2000);
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::MAX), i64::MAX);
    }
}
