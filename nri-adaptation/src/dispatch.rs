//! Dispatch: drives the core's scheduler, which decides who is asked what and when.
//!
//! Everything that happens is told to the scheduler under one short lock; what it wants to be done is carried out after the
//! lock is free, so neither a plugin nor a domain nor an observer is ever called under it. A call has a task that waits for
//! its answer, however late, and goes on with the next call of the chain; one more task keeps the time.
//!
//! What may not enter: turns, order, lateness, who is asked (the scheduler's), what a plugin is and how it is reached.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use nri_core::flow::Report;
use nri_core::lifecycle::ObjectKey;
use nri_core::schedule::{
    CloseReason, Config, Effect, RequestId, RequestOutcome, Scheduler, Submission,
};
use nri_core::{Ctx, Error, RegisteredPlugin, Request, Settlement};
use tokio::sync::{Notify, oneshot};
use tracing::Span;

use crate::active::Active;
use crate::call::{Outgoing, Told};
use crate::instance::{Instance, good_bye};
use crate::prepared::Preparation;
use crate::subject::Keys;
use crate::unlisted::Unlisted;

/// What came of a request, and of its plugins.
pub(crate) type Ended = Result<Report<RequestOutcome>, Error>;

/// A plugin that the scheduler knows.
pub(crate) struct Seat {
    pub(crate) active: Arc<Active>,
    /// Told when it takes part.
    pub(crate) joined: Option<oneshot::Sender<()>>,
}

/// A request that somebody waits for.
pub(crate) struct Ticket {
    pub(crate) request: RequestId,
    pub(crate) message: Arc<Request>,
    pub(crate) ended: oneshot::Receiver<Ended>,
}

/// A request that is not through the plugins.
struct Asked {
    message: Arc<Request>,
    key: ObjectKey,
    cx: Ctx,
    span: Span,
    preparation: Preparation,
    tell: Option<oneshot::Sender<Ended>>,
    /// Whether it is an exit, which nobody waits for.
    exit: bool,
}

/// What is under the lock.
pub(crate) struct State {
    pub(crate) scheduler: Scheduler,
    pub(crate) seats: BTreeMap<RegisteredPlugin, Seat>,
    pub(crate) unlisted: Unlisted,
    asked: BTreeMap<RequestId, Asked>,
    /// What is to be told and nobody has told yet.
    news: VecDeque<News>,
    /// Whether somebody is telling.
    telling: bool,
    /// How many exits have been handed in and are not through.
    exits: usize,
    /// Whether no plugin is admitted any more.
    pub(crate) closed: bool,
    /// When the task that keeps the time looks by itself.
    armed: Option<Instant>,
}

/// The scheduler of an instance, with those who wait for it.
pub(crate) struct Dispatch {
    state: Mutex<State>,
    /// Something is to happen earlier than it was.
    earlier: Arc<Notify>,
}

/// What is to be done once the lock is free.
#[allow(clippy::large_enum_variant)] // short-lived
enum Action {
    Call(Box<Outgoing>),
    Synchronize(Arc<Active>),
    Opened(Arc<Active>),
    News(News),
}

/// What is told in the order in which it came about, whoever comes to tell it: a caller has its result when what became of the
/// plugin calls before it is on record.
enum News {
    Told(Told),
    Close(Arc<Active>, CloseReason),
    Tell(Option<oneshot::Sender<Ended>>, Box<Ended>),
    /// A container was stopped: what the plugins asked for is to be done before anybody is told.
    Stopped(
        Option<oneshot::Sender<Ended>>,
        Box<Report<RequestOutcome>>,
        Option<Arc<Request>>,
        Ctx,
        Span,
    ),
}

impl Dispatch {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            state: Mutex::new(State {
                scheduler: Scheduler::new(config),
                seats: BTreeMap::new(),
                unlisted: Unlisted::default(),
                asked: BTreeMap::new(),
                news: VecDeque::new(),
                telling: false,
                exits: 0,
                closed: false,
                armed: None,
            }),
            earlier: Arc::default(),
        }
    }

    /// Not to be held while anything is awaited. What is told to the scheduler goes through [`Instance::act`].
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock, so a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hands a request in; its place in its pod's order is that of this moment.
    pub(crate) fn hand_in(
        &mut self,
        cx: &Ctx,
        keys: &Keys,
        request: Request,
        now: Instant,
    ) -> Ticket {
        let (tell, ended) = oneshot::channel();
        let message = Arc::new(request);
        let request = self.submit(cx, keys, Arc::clone(&message), Some(tell), now);
        Ticket {
            request,
            message,
            ended,
        }
    }

    /// Hands in an exit, for which nobody waits; false if too many are under way.
    pub(crate) fn hand_in_exit(
        &mut self,
        keys: &Keys,
        request: Request,
        most: usize,
        now: Instant,
    ) -> bool {
        let room = self.exits < most;
        if room {
            self.exits += 1;
            self.submit(&Ctx::new(), keys, Arc::new(request), None, now);
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

    fn submit(
        &mut self,
        cx: &Ctx,
        keys: &Keys,
        message: Arc<Request>,
        tell: Option<oneshot::Sender<Ended>>,
        now: Instant,
    ) -> RequestId {
        let mut order = Submission::new(Arc::clone(&message), keys.pod.clone());
        if let Some(container) = &keys.container {
            order = order.with_container(container.clone());
        }
        let order = order.with_deadline(cx.deadline());
        let id = self.scheduler.handle_request(order, now);
        let asked = Asked {
            key: keys.object().clone(),
            cx: cx.clone(),
            span: keys.span(message.event(), cx),
            message,
            preparation: Preparation::default(),
            exit: tell.is_none(),
            tell,
        };
        self.asked.insert(id, asked);
        id
    }

    /// Everything that the scheduler wants to be done now.
    fn take_effects(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(effect) = self.scheduler.poll_effect() {
            actions.extend(self.action(effect));
        }
        actions
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
            } => {
                let active = Arc::clone(&self.seats.get(&plugin)?.active);
                let (span, request) = match self.asked.get_mut(&request) {
                    Some(asked) => (asked.span.clone(), asked.preparation.of(message)),
                    // Undoing is nobody's request.
                    None => (Span::none(), Preparation::default().of(message)),
                };
                Action::Call(Box::new(Outgoing {
                    call,
                    active,
                    request,
                    deadline,
                    patience,
                    span,
                }))
            }
            Effect::Came {
                request,
                plugin,
                event,
                pod,
                object,
                came,
                since,
                took,
            } => Action::News(News::Told(Told {
                active: self.seats.get(&plugin).map(|seat| Arc::clone(&seat.active)),
                plugin,
                event,
                pod,
                object,
                came,
                since,
                took,
                span: self
                    .asked
                    .get(&request)
                    .map_or_else(Span::none, |asked| asked.span.clone()),
                tag: self.asked.get(&request).and_then(|asked| asked.cx.tag()),
            })),
            Effect::Synchronize { plugin } => {
                Action::Synchronize(Arc::clone(&self.seats.get(&plugin)?.active))
            }
            Effect::PluginReady { plugin } => {
                Action::Opened(Arc::clone(&self.seats.get(&plugin)?.active))
            }
            Effect::Close { plugin, reason } => {
                Action::News(News::Close(self.seats.remove(&plugin)?.active, reason))
            }
            Effect::OutOfTime { request } => {
                let asked = self.asked.get_mut(&request)?;
                let error = Error::OutOfTime {
                    event: asked.message.event(),
                    subject: asked.message.subject(),
                };
                Action::News(News::Tell(asked.tell.take(), Box::new(Err(error))))
            }
            Effect::Finished {
                request, report, ..
            } => Action::News(self.finished(request, report)),
            _ => return None,
        })
    }

    fn finished(&mut self, id: RequestId, report: Report<RequestOutcome>) -> News {
        let Some(asked) = self.asked.remove(&id) else {
            // Undoing is nobody's request.
            return told(None, report, None, Ctx::new(), Span::none());
        };
        self.exits -= usize::from(asked.exit);
        let event = asked.message.event();
        if report.result.is_ok() || event.is_notification() {
            let lives = self.scheduler.lifecycles();
            self.unlisted.note(lives, &asked.key, &asked.message);
        }
        let message = Some(asked.message);
        told(asked.tell, report, message, asked.cx, asked.span)
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

/// How a request that is through the plugins ends: with what was asked for by the way, if it is a stop.
fn told(
    tell: Option<oneshot::Sender<Ended>>,
    report: Report<RequestOutcome>,
    message: Option<Arc<Request>>,
    cx: Ctx,
    span: Span,
) -> News {
    match &report.result {
        Ok(RequestOutcome::Stop(stop))
            if !stop.updates.is_empty() || !stop.omissions.is_empty() =>
        {
            News::Stopped(tell, Box::new(report), message, cx, span)
        }
        _ => News::Tell(tell, Box::new(Ok(report))),
    }
}

impl Instance {
    /// Tells the scheduler something, and carries out what it wants to be done then.
    pub(crate) fn act<R>(self: &Arc<Self>, tell: impl FnOnce(&mut State, Instant) -> R) -> R {
        let (result, calls) = self.tell_scheduler(tell);
        for call in calls {
            self.begin_call(call);
        }
        result
    }

    /// The same; the first call that is to be made is left to whoever asks.
    pub(crate) fn act_and_go_on(
        self: &Arc<Self>,
        tell: impl FnOnce(&mut State, Instant),
    ) -> Option<Box<Outgoing>> {
        let ((), calls) = self.tell_scheduler(tell);
        let mut calls = calls.into_iter();
        let mine = calls.next();
        for call in calls {
            self.begin_call(call);
        }
        mine
    }

    /// Carries out everything but the calls that are to be made.
    #[allow(
        clippy::vec_box,
        reason = "they stay in their boxes, whoever makes them"
    )]
    fn tell_scheduler<R>(
        self: &Arc<Self>,
        tell: impl FnOnce(&mut State, Instant) -> R,
    ) -> (R, Vec<Box<Outgoing>>) {
        let mut calls = Vec::new();
        let mut others = Vec::new();
        let (result, news) = {
            let mut state = self.dispatch.lock();
            let result = tell(&mut state, now());
            for action in state.take_effects() {
                match action {
                    Action::Call(call) => calls.push(call),
                    Action::News(news) => state.news.push_back(news),
                    Action::Synchronize(_) | Action::Opened(_) => others.push(action),
                }
            }
            let next = state.scheduler.poll_timeout();
            if next.is_some_and(|next| state.armed.is_none_or(|armed| next < armed)) {
                state.armed = next;
                self.dispatch.earlier.notify_one();
            }
            (result, state.take_news())
        };
        for other in others {
            match other {
                Action::Opened(active) => self.opened(&active),
                Action::Synchronize(active) => {
                    self.tasks.spawn(Arc::clone(self).synchronize(active));
                }
                Action::Call(_) | Action::News(_) => {}
            }
        }
        if !news.is_empty() {
            Telling {
                instance: self,
                news,
                over: false,
            }
            .tell_all();
        }
        (result, calls)
    }

    fn begin_call(self: &Arc<Self>, call: Box<Outgoing>) {
        let instance = Arc::clone(self);
        self.tasks.spawn(crate::call::carry(instance, call));
    }

    fn tell_news(self: &Arc<Self>, news: News) {
        match news {
            News::Told(told) => self.report(&told),
            News::Close(active, reason) => self.close(active, &reason),
            News::Tell(Some(tell), ended) => {
                // Whoever asked may have stopped waiting.
                let _ = tell.send(*ended);
            }
            News::Tell(None, ended) => log_unheard(&ended),
            News::Stopped(tell, report, message, cx, span) => {
                if let (Ok(RequestOutcome::Stop(stop)), Some(message)) = (&report.result, message) {
                    self.asked(&message, &stop.owners, &[]);
                    self.omitted(&stop.omissions);
                }
                self.stopped(tell, report, cx, span);
            }
        }
    }

    fn close(self: &Arc<Self>, active: Arc<Active>, reason: &CloseReason) {
        if let CloseReason::Replaced { .. } = reason {
            tracing::info!(plugin = %active.plugin, "another instance of the plugin takes over");
            self.tasks.spawn(good_bye(
                active,
                "another instance of the plugin has taken over",
            ));
            return;
        }
        tracing::warn!(plugin = %active.plugin, %reason, "closing a plugin");
        active.close(reason.to_string());
    }

    /// Does what plugins asked for when a container was stopped, whoever waits for that, and tells them then.
    fn stopped(
        self: &Arc<Self>,
        tell: Option<oneshot::Sender<Ended>>,
        mut report: Box<Report<RequestOutcome>>,
        cx: Ctx,
        span: Span,
    ) {
        let instance = Arc::clone(self);
        let updates = match &report.result {
            Ok(RequestOutcome::Stop(stop)) => stop.updates.clone(),
            _ => Vec::new(),
        };
        let work = async move {
            if let Err(error) = instance.side_effects(&cx, &[], &updates).await {
                report.result = Err(error);
            }
            let ended = Ok(*report);
            match tell {
                Some(tell) => {
                    let _ = tell.send(ended);
                }
                None => log_unheard(&ended),
            }
        };
        self.tasks
            .spawn(tracing::Instrument::instrument(work, span));
    }

    /// Keeps the scheduler's time as long as the instance lives.
    pub(crate) fn keep_time(self: &Arc<Self>) {
        let (instance, earlier) = (Arc::downgrade(self), Arc::clone(&self.dispatch.earlier));
        self.tasks.spawn_uncounted(keep_time(instance, earlier));
    }

    /// Has the task that keeps the time look whether the instance lives.
    pub(crate) fn wake_timekeeper(&self) {
        self.dispatch.earlier.notify_one();
    }
}

/// The one who tells the news. While it lives, others only add to them.
struct Telling<'a> {
    instance: &'a Arc<Instance>,
    news: VecDeque<News>,
    over: bool,
}

impl Telling<'_> {
    fn tell_all(mut self) {
        loop {
            while let Some(news) = self.news.pop_front() {
                self.instance.tell_news(news);
            }
            let mut state = self.instance.dispatch.lock();
            if state.news.is_empty() {
                // Under the lock, so that nobody takes us for telling who adds to them.
                state.telling = false;
                self.over = true;
                return;
            }
            self.news = std::mem::take(&mut state.news);
        }
    }
}

impl Drop for Telling<'_> {
    /// Somebody else is to tell what is left when an observer has panicked.
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut state = self.instance.dispatch.lock();
        let untold = std::mem::take(&mut self.news);
        for news in untold.into_iter().rev() {
            state.news.push_front(news);
        }
        state.telling = false;
    }
}

async fn keep_time(instance: Weak<Instance>, earlier: Arc<Notify>) {
    loop {
        let next = match instance.upgrade() {
            Some(instance) if !instance.is_stopped() => instance.act(|state, now| {
                state.scheduler.handle_timeout(now);
                state.armed = state.scheduler.poll_timeout();
                state.armed
            }),
            _ => return,
        };
        match next {
            Some(next) => {
                tokio::select! {
                    () = tokio::time::sleep_until(next.into()) => {}
                    () = earlier.notified() => {}
                }
            }
            None => earlier.notified().await,
        }
    }
}

/// The time, as tokio has it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Nobody waits for an exit, an undoing, or what its caller has left.
fn log_unheard(ended: &Ended) {
    if let Err(error) = ended
        .as_ref()
        .map_or_else(Err, |report| report.result.as_ref())
    {
        tracing::warn!(%error, "an event that nobody waits for went wrong");
    }
}
