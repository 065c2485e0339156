//! The script and the record of a fake plugin.
//!
//! What may not enter: how it is played.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use nri_core::{Event, EventMask, NRI_VERSION, api};
use nri_proto::transport::Limits;

use super::behavior::{Behavior, When};
use super::seen::ReceivedCall;
use crate::Journal;

/// A plugin that does what a test wants, and writes down what it was asked.
///
/// Without being told otherwise it answers everything as a plugin that has nothing to say, and it
/// wants all events but validation (which makes a creation two requests). Clones are the same
/// plugin: one script, one record, however often it connects.
///
/// ```
/// use nri_core::{Ctx, Event};
/// use nri_proto::transport::Code;
/// use nri_testkit::{Behavior, FakePlugin, TestRuntime};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let runtime = TestRuntime::start().await;
/// let plugin = FakePlugin::new("10-picky").on(Event::CreateContainer, Behavior::fail(Code::Unknown, "too big"));
/// let _connected = runtime.join(&plugin).await;
///
/// let pod = runtime.run_pod("p1").await;
/// let error = runtime.try_create(&pod, "c1").await.unwrap_err();
/// assert!(error.to_string().contains("too big"));
/// // It saw the request, so it hears that nothing came of it.
/// plugin.wait_for("RemoveContainer c1").await;
/// plugin.assert_events(&["RunPodSandbox p1", "CreateContainer c1", "StopContainer c1", "RemoveContainer c1"]);
/// # });
/// ```
#[derive(Clone)]
pub struct FakePlugin {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    identity: String,
    pub(super) events: i32,
    pub(super) nri_version: String,
    pub(super) failure_policy: Option<api::FailurePolicy>,
    pub(super) is_old: bool,
    keeps_record: bool,
    pub(super) limits: Limits,
    script: Arc<Mutex<Vec<(When, Behavior)>>>,
    record: Arc<Journal<ReceivedCall>>,
}

impl fmt::Debug for FakePlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakePlugin")
            .field("identity", &self.inner.identity)
            .field("seen", &self.inner.record)
            .finish_non_exhaustive()
    }
}

impl FakePlugin {
    /// A plugin that registers as `identity`, `NN-name`. It is not checked: a runtime must be able
    /// to take anything.
    pub fn new(identity: impl Into<String>) -> Self {
        let mut all: Vec<Event> = Event::ALL.into();
        all.retain(|event| *event != Event::ValidateContainerAdjustment);
        Self {
            inner: Arc::new(Inner {
                identity: identity.into(),
                events: EventMask::from_iter(all).bits(),
                nri_version: NRI_VERSION.to_owned(),
                failure_policy: None,
                is_old: false,
                keeps_record: true,
                limits: Limits::default(),
                script: Arc::default(),
                record: Arc::default(),
            }),
        }
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let inner = &self.inner;
        let mut changed = Inner {
            identity: inner.identity.clone(),
            events: inner.events,
            nri_version: inner.nri_version.clone(),
            failure_policy: inner.failure_policy,
            is_old: inner.is_old,
            keeps_record: inner.keeps_record,
            limits: inner.limits.clone(),
            script: Arc::clone(&inner.script),
            record: Arc::clone(&inner.record),
        };
        change(&mut changed);
        Self {
            inner: Arc::new(changed),
        }
    }

    /// Asks for these events.
    #[must_use]
    pub fn subscribe(self, events: impl Into<EventMask>) -> Self {
        let events = events.into();
        self.subscribe_bits(events.bits())
    }

    /// Asks for events by the bits of the mask, whether events have them or not; 0 stands for all
    /// events on the wire.
    #[must_use]
    pub fn subscribe_bits(self, events: i32) -> Self {
        self.with(|inner| inner.events = events)
    }

    /// Registers with this protocol level.
    #[must_use]
    pub fn nri_version(self, version: impl Into<String>) -> Self {
        self.with(|inner| inner.nri_version = version.into())
    }

    /// Says what is to happen when it does not answer: whether the request fails, and whether it
    /// stays connected. Without this it does not say.
    #[must_use]
    pub fn failure_policy(self, fail_request: bool, keep_connected: bool) -> Self {
        let policy = api::FailurePolicy {
            fail_request,
            keep_connected,
        };
        self.with(|inner| inner.failure_policy = Some(policy))
    }

    /// Behaves as one built against protocol v0.2: most events have no method of their own, so they
    /// come as `StateChange`, a synchronisation in several messages is not understood, and the
    /// level is not said. It asks for the events that it knows.
    #[must_use]
    pub fn old_protocol(self) -> Self {
        self.with(|inner| {
            inner.is_old = true;
            inner.nri_version = String::new();
            inner.failure_policy = None;
            inner.events = EventMask::BEFORE_V0_10.bits();
        })
    }

    /// Has these bounds on its end of the connection.
    #[must_use]
    pub fn connection_limits(self, limits: Limits) -> Self {
        self.with(|inner| inner.limits = limits)
    }

    /// Writes nothing down, for tests that are so long that it would be too much.
    #[must_use]
    pub fn without_record(self) -> Self {
        self.with(|inner| inner.keeps_record = false)
    }

    /// Does something from now on. The latest of several rules that hold counts.
    #[must_use]
    pub fn on(self, when: impl Into<When>, behavior: Behavior) -> Self {
        self.change(when, behavior);
        self
    }

    /// As [`on`](Self::on), in the middle of a test.
    pub fn change(&self, when: impl Into<When>, behavior: Behavior) {
        self.script().push((when.into(), behavior));
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Vec<(When, Behavior)>> {
        // No foreign code runs under the lock, so a poisoned one is whole.
        self.inner
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Who it says it is.
    pub fn identity(&self) -> &str {
        &self.inner.identity
    }

    /// Everything that it was asked, in order.
    pub fn seen(&self) -> Vec<ReceivedCall> {
        self.inner.record.all()
    }

    /// The record itself, to wait for something in it.
    pub fn record(&self) -> &Journal<ReceivedCall> {
        &self.inner.record
    }

    /// The events that it was asked about, as `CreateContainer c1`.
    pub fn events(&self) -> Vec<String> {
        self.inner.record.look(|seen| {
            seen.iter()
                .filter(|seen| !seen.is_handshake())
                .map(ToString::to_string)
                .collect()
        })
    }

    /// The ids of the pods and containers that it was shown when it joined, all parts and all
    /// connections together.
    pub fn shown(&self) -> (Vec<String>, Vec<String>) {
        let (mut pods, mut containers) = (Vec::new(), Vec::new());
        for part in self.seen().iter().filter_map(ReceivedCall::synchronization) {
            pods.extend(part.pods.into_iter().map(|pod| pod.id));
            containers.extend(part.containers.into_iter().map(|container| container.id));
        }
        (pods, containers)
    }

    /// Waits until it was asked something, as it displays (`CreateContainer c1`, `Configure`), and
    /// returns the latest such request.
    ///
    /// # Panics
    /// That did not happen within [`TEST_TIMEOUT`](crate::TEST_TIMEOUT); the message says what came
    /// instead.
    pub async fn wait_for(&self, what: &str) -> ReceivedCall {
        self.wait_for_nth(what, 1).await
    }

    /// As [`wait_for`](Self::wait_for), until it has happened `count` times.
    ///
    /// # Panics
    /// As there.
    pub async fn wait_for_nth(&self, what: &str, count: usize) -> ReceivedCall {
        let what_for = format!("{} to see {what:?} ({count} times)", self.inner.identity);
        let matching = |seen: &&ReceivedCall| seen.to_string() == what;
        let all = self.inner.record.wait_for(&what_for, |all| {
            all.iter().filter(matching).count() >= count
        });
        let all = all.await;
        match all.into_iter().rfind(|seen| seen.to_string() == what) {
            Some(seen) => seen,
            None => panic!("{what:?} was not asked for: a count of 0 is no wait"),
        }
    }

    /// Asserts that it was asked about exactly these events, in this order.
    ///
    /// # Panics
    /// It was not; the message says what came instead.
    #[track_caller]
    pub fn assert_events(&self, expected: &[&str]) {
        let events = self.events();
        assert!(
            events == expected,
            "{} was to see\n  {expected:?}\nand saw\n  {events:?}",
            self.inner.identity
        );
    }

    /// Writes down what it was asked; returned is what it does.
    pub(super) fn saw(&self, seen: ReceivedCall) -> Behavior {
        if self.inner.keeps_record {
            self.inner.record.push(seen.clone());
        }
        let script = self.script();
        // All are asked: they count.
        let now = script.iter().filter(|(when, _)| when.is_now(&seen));
        now.last()
            .map_or_else(Behavior::usual, |(_, behavior)| behavior.clone())
    }

    /// Whether it has a method of this name.
    pub(super) fn knows(&self, method: &str) -> bool {
        !self.inner.is_old || is_old_method(method)
    }
}

/// Whether a plugin built before v0.12 has a method.
fn is_old_method(method: &str) -> bool {
    match method.parse::<Event>() {
        Ok(event) => matches!(
            event,
            Event::CreateContainer | Event::UpdateContainer | Event::StopContainer
        ),
        Err(_) => true,
    }
}
