//! The scheduler of an instance and those who wait for it, under one short lock.
//!
//! [`Dispatch::tell`] tells the scheduler something and returns what it wants to be done; nothing
//! is done here, so neither a plugin nor a domain nor an observer is ever called under the lock.
//!
//! What may not enter: turns, order, lateness, who is asked (the scheduler's), what a plugin is and
//! how it is reached, anything that is awaited.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use nri_core::flow::{Reply, Report, Roster};
use nri_core::lifecycle::ObjectKey;
use nri_core::schedule::{
    CallId, CloseReason, Config, Effect, RequestId, RequestOutcome, Scheduler, Submission,
};
use nri_core::{Ctx, EncodedRequest, Error, Event, EventMask, RegisteredPlugin, Settlement};
use tokio::sync::{Notify, oneshot, watch};
use tracing::Span;

use crate::clock::now;
use crate::engine::call::{CallRecord, Outgoing};
use crate::engine::side_effects::CarriedOut;
use crate::engine::target::Keys;
use crate::engine::unlisted::Unlisted;
use crate::lock::Lock;
use crate::plugin::connected::ConnectedPlugin;
use crate::telemetry::plugin_info::{PluginInfo, PluginState};

/// What came of a request, and of its plugins.
pub(crate) type Ended = Result<Report<RequestOutcome>, Error>;

/// A plugin that the scheduler knows.
pub(crate) struct PluginEntry {
    pub(crate) connected: Arc<ConnectedPlugin>,
    /// Told when it is ready.
    pub(crate) joined: Option<oneshot::Sender<()>>,
}

/// A request that was submitted, and where its end is told.
pub(crate) struct Submitted {
    pub(crate) request: RequestId,
    pub(crate) message: Arc<EncodedRequest>,
    pub(crate) ended: oneshot::Receiver<Ended>,
}

/// A request that is not through the plugins.
struct InFlightRequest {
    message: Arc<EncodedRequest>,
    key: ObjectKey,
    cx: Ctx,
    span: Span,
    completion: Option<oneshot::Sender<Ended>>,
    /// Who carries out what its answers ask for.
    carried_out: CarriedOut,
    /// Whether it is an exit, which nobody waits for.
    exit: bool,
}

/// What is under the lock.
pub(crate) struct State {
    pub(crate) scheduler: Scheduler,
    pub(crate) plugins: BTreeMap<RegisteredPlugin, PluginEntry>,
    pub(crate) unlisted: Unlisted,
    requests: BTreeMap<RequestId, InFlightRequest>,
    /// Those who hear of events, as the last one who looked saw them.
    roster: Roster,
    /// The calls that were made and not answered.
    calls: BTreeMap<CallId, Arc<Outgoing>>,
    /// Of those calls, none is to be given up earlier.
    patience: Option<Instant>,
    given_up: Vec<Arc<Outgoing>>,
    /// What is to be told and nobody has told yet.
    news: VecDeque<News>,
    /// Whether somebody is telling.
    telling: bool,
    /// How many exits have been submitted and are not through.
    exits: usize,
    /// Whether no plugin is admitted any more.
    pub(crate) closed: bool,
    /// When the task that keeps the time looks by itself.
    armed: Option<Instant>,
    /// The scheduler's revision when it was last looked at.
    revision: u64,
}

/// The scheduler of an instance, with those who wait for it.
pub(crate) struct Dispatch {
    state: Lock<State>,
    /// The events that any plugin wants to hear of, those that join included, as a mask.
    heard: AtomicI32,
    /// The same, to be waited for.
    heard_anew: watch::Sender<EventMask>,
    /// Something is to happen earlier than it was.
    pub(crate) earlier: Arc<Notify>,
}

/// What is to be done once the lock is free.
#[derive(Default)]
pub(crate) struct Actions {
    pub(crate) calls: Vec<Arc<Outgoing>>,
    /// Calls for whose answers nobody waits any more.
    pub(crate) given_up: Vec<Arc<Outgoing>>,
    /// Plugins that are to be synchronised, and those that are ready.
    pub(crate) members: Vec<MemberAction>,
    /// Whether others are included in requests than before, or others are late.
    pub(crate) plugins_changed: bool,
    /// Not empty only for the one who is to tell it, and all that comes up meanwhile:
    /// [`Dispatch::more_news`].
    pub(crate) news: VecDeque<News>,
}

/// What is to be done about a plugin.
pub(crate) enum MemberAction {
    Synchronize(Arc<ConnectedPlugin>),
    Ready(Arc<ConnectedPlugin>),
}

/// What is told in the order in which it came about, whoever comes to tell it: a caller has its
/// result when what became of the plugin calls before it is on record.
#[allow(clippy::large_enum_variant)] // short-lived
pub(crate) enum News {
    ReportCall(CallRecord),
    Close(Arc<ConnectedPlugin>, CloseReason),
    /// An observer has missed so many events.
    FellBehind(Arc<ConnectedPlugin>, usize),
    Complete(Option<oneshot::Sender<Ended>>, Box<Ended>),
    /// A container was stopped: what the plugins asked for is to be done before anybody is told.
    Stopped(Box<Stopped>),
}

/// The stop of a container in which plugins asked for something.
pub(crate) struct Stopped {
    pub(crate) completion: Option<oneshot::Sender<Ended>>,
    pub(crate) report: Report<RequestOutcome>,
    /// Absent where it is part of an undoing, which is nobody's request.
    pub(crate) message: Option<Arc<EncodedRequest>>,
    pub(crate) cx: Ctx,
    pub(crate) span: Span,
    pub(crate) carried_out: CarriedOut,
}

#[allow(clippy::large_enum_variant)] // short-lived
enum Action {
    Call(Arc<Outgoing>),
    Member(MemberAction),
    News(News),
}

impl Dispatch {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            state: Lock::new(State {
                scheduler: Scheduler::new(config),
                plugins: BTreeMap::new(),
                unlisted: Unlisted::default(),
                requests: BTreeMap::new(),
                roster: Roster::default(),
                calls: BTreeMap::new(),
                patience: None,
                given_up: Vec::new(),
                news: VecDeque::new(),
                telling: false,
                exits: 0,
                closed: false,
                armed: None,
                revision: 0,
            }),
            heard: AtomicI32::new(0),
            heard_anew: watch::Sender::new(EventMask::default()),
            earlier: Arc::default(),
        }
    }

    /// Whether any plugin wants to hear of an event. Takes no lock.
    pub(crate) fn is_heard(&self, event: Event) -> bool {
        self.heard.load(Ordering::Acquire) & EventMask::from(event).bits() != 0
    }

    /// The events that any plugin wants to hear of, to be waited for.
    pub(crate) fn watch_events(&self) -> watch::Receiver<EventMask> {
        self.heard_anew.subscribe()
    }

    /// Not to be held while anything is awaited. What is told to the scheduler goes through
    /// [`Dispatch::tell`].
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Tells the scheduler something; what it wants to be done then is the caller's to do.
    #[must_use]
    pub(crate) fn tell<R>(&self, tell: impl FnOnce(&mut State, Instant) -> R) -> (R, Actions) {
        let mut actions = Actions::default();
        let mut state = self.lock();
        let result = tell(&mut state, now());
        while let Some(effect) = state.scheduler.poll_effect() {
            match state.action(effect) {
                Some(Action::Call(call)) => actions.calls.push(call),
                Some(Action::Member(member)) => actions.members.push(member),
                Some(Action::News(news)) => state.news.push_back(news),
                None => {}
            }
        }
        if let Some(heard) = state.heard_anew() {
            self.heard.store(heard.bits(), Ordering::Release);
            self.heard_anew.send_if_modified(|before| {
                let changed = *before != heard;
                *before = heard;
                changed
            });
        }
        actions.given_up = std::mem::take(&mut state.given_up);
        let next = state.next_time();
        if next.is_some_and(|next| state.armed.is_none_or(|armed| next < armed)) {
            state.armed = next;
            self.earlier.notify_one();
        }
        let revision = state.scheduler.revision();
        actions.plugins_changed = std::mem::replace(&mut state.revision, revision) != revision;
        actions.news = state.take_news();
        (result, actions)
    }

    /// What came up to be told while somebody told. Nothing ends the telling.
    pub(crate) fn more_news(&self) -> VecDeque<News> {
        let mut state = self.lock();
        // Under the lock, so that nobody who adds to them takes us for telling.
        state.telling = !state.news.is_empty();
        std::mem::take(&mut state.news)
    }

    /// Leaves what is not told to somebody else.
    pub(crate) fn stop_telling(&self, untold: VecDeque<News>) {
        let mut state = self.lock();
        for news in untold.into_iter().rev() {
            state.news.push_front(news);
        }
        state.telling = false;
    }

    /// Has the task that keeps the time look whether the instance lives.
    pub(crate) fn wake_timekeeper(&self) {
        self.earlier.notify_one();
    }
}

impl State {
    /// Submits a request; its place in its pod's order is that of this moment.
    pub(crate) fn submit(
        &mut self,
        cx: &Ctx,
        keys: &Keys,
        request: EncodedRequest,
        carried_out: CarriedOut,
        now: Instant,
    ) -> Submitted {
        let (completion, ended) = oneshot::channel();
        let message = Arc::new(request);
        let waiting = Some((completion, carried_out));
        let request = self.begin(cx, keys, Arc::clone(&message), waiting, now);
        Submitted {
            request,
            message,
            ended,
        }
    }

    /// Submits an exit, for which nobody waits; false if too many are under way.
    pub(crate) fn submit_exit(
        &mut self,
        keys: &Keys,
        request: EncodedRequest,
        most: usize,
        now: Instant,
    ) -> bool {
        let room = self.exits < most;
        if room {
            self.exits += 1;
            self.begin(&Ctx::new(), keys, Arc::new(request), None, now);
        }
        room
    }

    /// Says what became of a creation that succeeded; one that did not, or is settled, is ignored.
    pub(crate) fn settle(
        &mut self,
        request: RequestId,
        key: &ObjectKey,
        settlement: Settlement,
        now: Instant,
    ) {
        self.scheduler.handle_settled(request, settlement, now);
        self.unlisted.forget_dead(self.scheduler.lifecycles(), key);
    }

    /// Looks what is due, and when the time has to be looked at next.
    pub(crate) fn keep_time(&mut self, now: Instant) -> Option<Instant> {
        self.scheduler.handle_timeout(now);
        if self.patience.is_some_and(|patience| patience <= now) {
            self.give_up(now);
        }
        self.armed = self.next_time();
        self.armed
    }

    /// The events that plugins want to hear of, if these plugins are not those of the last time.
    fn heard_anew(&mut self) -> Option<EventMask> {
        let roster = self.scheduler.roster();
        if std::ptr::eq(self.roster.members(), roster.members()) {
            return None;
        }
        self.roster = roster.clone();
        let members = self.roster.members().iter().chain(self.roster.observers());
        Some(members.fold(EventMask::NONE, |heard, member| heard | member.events))
    }

    /// When something is due.
    fn next_time(&self) -> Option<Instant> {
        let times = self.scheduler.poll_timeout().into_iter();
        times.chain(self.patience).min()
    }

    /// Keeps a call that is going to be made.
    fn under_way(&mut self, call: Outgoing) -> Arc<Outgoing> {
        let call = Arc::new(call);
        let patience = self.patience.into_iter().chain([call.patience]).min();
        self.patience = patience;
        self.calls.insert(call.call, Arc::clone(&call));
        call
    }

    /// Takes in what came of a call. What is returned must not be dropped under the lock.
    pub(crate) fn handle_reply(
        &mut self,
        call: CallId,
        reply: Reply,
        now: Instant,
    ) -> Option<Arc<Outgoing>> {
        let outgoing = self.calls.remove(&call);
        if self.calls.is_empty() {
            self.patience = None;
        }
        self.scheduler.handle_reply(call, reply, now);
        outgoing
    }

    /// Gives up the calls that were waited for long enough.
    fn give_up(&mut self, now: Instant) {
        let calls = std::mem::take(&mut self.calls);
        let (given_up, waited): (Vec<_>, Vec<_>) = calls
            .into_iter()
            .partition(|(_, call)| call.patience <= now);
        self.calls.extend(waited);
        self.patience = self.calls.values().map(|call| call.patience).min();
        for (call, outgoing) in given_up {
            let gone = Reply::Gone { delivered: true };
            self.scheduler.handle_reply(call, gone, now);
            self.given_up.push(outgoing);
        }
    }

    /// The plugins that a request that begins now includes, in order, those that observe it among
    /// them.
    pub(crate) fn active_plugins(&self) -> impl Iterator<Item = &Arc<ConnectedPlugin>> {
        let roster = self.scheduler.roster();
        let mut members: Vec<_> = roster.members().iter().chain(roster.observers()).collect();
        members.sort_by(|a, b| a.plugin.cmp(&b.plugin));
        members
            .into_iter()
            .filter_map(|member| self.plugins.get(&member.plugin))
            .map(|entry| &entry.connected)
    }

    /// The last that is known of a container by its id alone, as long as no list has it.
    pub(crate) fn unlisted_container(&self, id: &str) -> Option<(ObjectKey, Arc<EncodedRequest>)> {
        self.unlisted.container(id)
    }

    /// All plugins that the scheduler knows, those among them that join or give way to another
    /// instance.
    pub(crate) fn all_plugins(&self) -> impl Iterator<Item = &Arc<ConnectedPlugin>> {
        self.plugins.values().map(|entry| &entry.connected)
    }

    /// What is known of those that requests include, in order.
    pub(crate) fn plugin_infos(&self) -> Vec<PluginInfo> {
        self.active_plugins()
            .map(|connected| {
                let mut info = connected.info();
                info.queued = self.scheduler.backlog(&info.plugin);
                if info.state == PluginState::Ready && self.scheduler.is_late(&info.plugin) {
                    info.state = PluginState::Late;
                }
                info
            })
            .collect()
    }

    fn begin(
        &mut self,
        cx: &Ctx,
        keys: &Keys,
        message: Arc<EncodedRequest>,
        waiting: Option<(oneshot::Sender<Ended>, CarriedOut)>,
        now: Instant,
    ) -> RequestId {
        let (completion, carried_out) = waiting.unzip();
        let mut submission = Submission::new(Arc::clone(&message), keys.pod.clone());
        if let Some(container) = &keys.container {
            submission = submission.with_container(container.clone());
        }
        let mut submission = submission
            .with_deadline(cx.deadline())
            .with_budget(cx.budget());
        if !cx.validates_creations() {
            submission = submission.without_validation();
        }
        let id = self.scheduler.handle_request(submission, now);
        let request = InFlightRequest {
            key: keys.object().clone(),
            cx: cx.clone(),
            span: keys.span(message.event(), cx),
            message,
            exit: completion.is_none(),
            completion,
            carried_out: carried_out.unwrap_or_default(),
        };
        self.requests.insert(id, request);
        id
    }

    fn connected(&self, plugin: &RegisteredPlugin) -> Option<Arc<ConnectedPlugin>> {
        let entry = self.plugins.get(plugin)?;
        Some(Arc::clone(&entry.connected))
    }

    fn action(&mut self, effect: Effect<RequestOutcome>) -> Option<Action> {
        Some(match effect {
            Effect::Call {
                call,
                plugin,
                request,
                message,
                deadline,
                patience,
                observed,
            } => {
                let connected = self.connected(&plugin)?;
                let event = message.event();
                let request = self.requests.get(&request);
                // Undoing is nobody's request.
                let span = request.map_or_else(Span::none, |request| request.span.clone());
                Action::Call(self.under_way(Outgoing {
                    call,
                    connected,
                    event,
                    observed: observed.then(|| Arc::clone(&message)),
                    request: Lock::new(Some(message)),
                    deadline,
                    patience,
                    span,
                    under_way: Lock::default(),
                }))
            }
            Effect::CallResolved {
                request,
                plugin,
                event,
                pod,
                object,
                outcome,
                since,
                took,
            } => {
                let request = self.requests.get(&request);
                Action::News(News::ReportCall(CallRecord {
                    connected: self.connected(&plugin),
                    plugin,
                    event,
                    pod,
                    object,
                    outcome,
                    since,
                    took,
                    span: request.map_or_else(Span::none, |request| request.span.clone()),
                    tag: request.and_then(|request| request.cx.tag()),
                }))
            }
            Effect::Synchronize { plugin } => {
                Action::Member(MemberAction::Synchronize(self.connected(&plugin)?))
            }
            Effect::PluginReady { plugin } => {
                Action::Member(MemberAction::Ready(self.connected(&plugin)?))
            }
            Effect::FellBehind { plugin, missed } => {
                Action::News(News::FellBehind(self.connected(&plugin)?, missed))
            }
            Effect::Close { plugin, reason } => {
                Action::News(News::Close(self.plugins.remove(&plugin)?.connected, reason))
            }
            Effect::OutOfTime { request } => {
                let request = self.requests.get_mut(&request)?;
                let error = Error::OutOfTime {
                    event: request.message.event(),
                    subject: request.message.subject(),
                };
                Action::News(News::Complete(
                    request.completion.take(),
                    Box::new(Err(error)),
                ))
            }
            Effect::Released { request } => {
                let request = self.requests.get_mut(&request)?;
                Action::News(News::Complete(
                    request.completion.take(),
                    Box::new(Ok(Report::new(Ok(RequestOutcome::Nothing)))),
                ))
            }
            Effect::Finished {
                request, report, ..
            } => Action::News(self.finished(request, report)),
            _ => return None,
        })
    }

    /// How a request that is through the plugins ends: with what was asked for by the way, if it is
    /// a stop.
    fn finished(&mut self, id: RequestId, report: Report<RequestOutcome>) -> News {
        let (completion, message, cx, span, carried_out) = match self.requests.remove(&id) {
            Some(request) => {
                self.exits -= usize::from(request.exit);
                let event = request.message.event();
                let tells = event != Event::ValidateContainerAdjustment;
                if tells && (report.result.is_ok() || event.is_notification()) {
                    let lifecycles = self.scheduler.lifecycles();
                    self.unlisted
                        .note(lifecycles, &request.key, &request.message);
                }
                let message = Some(request.message);
                let InFlightRequest {
                    completion,
                    cx,
                    span,
                    carried_out,
                    ..
                } = request;
                (completion, message, cx, span, carried_out)
            }
            // Undoing is nobody's request.
            None => (None, None, Ctx::new(), Span::none(), CarriedOut::default()),
        };
        match &report.result {
            Ok(RequestOutcome::Stop(stop))
                if !stop.updates.is_empty() || !stop.omissions.is_empty() =>
            {
                News::Stopped(Box::new(Stopped {
                    completion,
                    report,
                    message,
                    cx,
                    span,
                    carried_out,
                }))
            }
            _ => News::Complete(completion, Box::new(Ok(report))),
        }
    }

    /// What is to be told next; nothing if somebody else is telling.
    fn take_news(&mut self) -> VecDeque<News> {
        if self.telling || self.news.is_empty() {
            return VecDeque::new();
        }
        self.telling = true;
        std::mem::take(&mut self.news)
    }
}
