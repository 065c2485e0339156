//! The engine: performs what the scheduler wants, and feeds back what came of it.
//!
//! Whatever happens is told to the scheduler ([`Engine::update`]); what it wants to be done then is
//! done with the lock free, by rooms below that return what came of it. A call is written by
//! whoever submits the request; what reads the answer, however late, goes on with the next call of
//! the chain, and wakes the caller at its end. One task keeps the time.
//!
//! What may not enter: turns, order, lateness, who is asked (the scheduler's), how a plugin is
//! reached.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use nri_core::flow::Reply;
use nri_core::merge::Support;
use nri_core::schedule::{self, CallId, CloseReason, RequestOutcome};
use nri_core::{Domain, PluginId, RegisteredPlugin};
use tokio::sync::Notify;
use tokio::time::timeout_at;
use tracing::Instrument as _;

use crate::config::Config;
use crate::engine::call::{Began, Outgoing};
use crate::engine::domains::Domains;
use crate::engine::listed::Catalogue;
use crate::engine::listings::Listings;
use crate::engine::showing::Showing;
use crate::engine::side_effects::{CarriedOut, SideEffects, out_of_time};
use crate::engine::state::{Actions, Dispatch, Ended, MemberAction, News, State, Stopped};
use crate::engine::synchronize;
use crate::engine::unsolicited::UnsolicitedUpdates;
use crate::error::Error;
use crate::plugin::busy_poll::BusyPoll;
use crate::plugin::connected::ConnectedPlugin;
use crate::plugin::end_reason::{EndReason, ListingError};
use crate::plugin::endpoint::{Answered, Caller, Relaying, UnderWay};
use crate::plugin::failure::Failure;
use crate::shared::Shared;

/// How many request deadlines a joining plugin waits for requests from before.
const SETTLE_DEADLINES: u32 = 2;

/// What relays requests to plugins.
pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) domains: Arc<Domains>,
    pub(crate) side_effects: Arc<SideEffects>,
    pub(crate) unsolicited: Arc<UnsolicitedUpdates>,
    listings: Listings<Result<Arc<Catalogue>, ListingError>>,
    registrations: AtomicU64,
    pub(crate) busy_poll: Arc<BusyPoll>,
    /// Creations that succeeded, and of which it is not known whether the container exists.
    pub(crate) unsettled: AtomicUsize,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine. What it keeps of the configuration and can change is told to it by
    /// [`Engine::configure`].
    pub(crate) fn new(
        shared: Arc<Shared>,
        domains: Domains,
        support: Support,
        carried_out: CarriedOut,
        busy_poll: Duration,
    ) -> Self {
        let mut scheduling = schedule::Config::default();
        scheduling.serial = shared.config().serial;
        scheduling.support = support;
        // Who asks for a listing while one is made waits for that one, and for its own.
        scheduling.snapshot_timeout *= 2;
        let dispatch = Arc::new(Dispatch::new(scheduling));
        let domains = Arc::new(domains);
        let side_effects = Arc::new(SideEffects::new(
            Arc::clone(&shared),
            Arc::clone(&domains),
            carried_out,
        ));
        let unsolicited =
            UnsolicitedUpdates::new(Arc::clone(&dispatch), Arc::clone(&side_effects), support);
        let engine = Self {
            shared,
            dispatch,
            domains,
            side_effects,
            unsolicited: Arc::new(unsolicited),
            listings: Listings::default(),
            registrations: AtomicU64::new(1),
            busy_poll: Arc::new(BusyPoll::new(busy_poll)),
            unsettled: AtomicUsize::new(0),
        };
        for domain in engine.domains.all() {
            engine.prepare_lives_of(&*domain);
        }
        engine
    }

    /// Adds a domain.
    ///
    /// # Errors
    /// There is one of its name, or plugins may have been synchronised already.
    pub(crate) fn register_domain(&self, domain: Arc<dyn Domain>) -> Result<(), Error> {
        self.domains.register(Arc::clone(&domain))?;
        self.prepare_lives_of(&*domain);
        Ok(())
    }

    fn prepare_lives_of(&self, domain: &dyn Domain) {
        if domain.restartable() {
            let mut state = self.dispatch.lock();
            let lifecycles = state.scheduler.lifecycles_mut();
            lifecycles.set_restartable(domain.name());
        }
    }

    /// Takes over what a configuration says of times. What holds for a plugin is told to it by its
    /// member.
    pub(crate) fn configure(&self, config: &Config) {
        self.domains.set_time(config.domain_timeout);
        let settling = config.plugin_request_timeout * SETTLE_DEADLINES;
        let mut state = self.dispatch.lock();
        state.scheduler.set_settle_timeout(settling);
        state.scheduler.set_policy(config.policy.clone());
    }

    /// A registration of a plugin, later than all before it.
    pub(crate) fn registration(&self, id: PluginId) -> RegisteredPlugin {
        RegisteredPlugin {
            id,
            registration: self.registrations.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Tells the scheduler something, and performs what it wants to be done then.
    pub(crate) fn update<R>(self: &Arc<Self>, tell: impl FnOnce(&mut State, Instant) -> R) -> R {
        let (result, mut actions) = self.dispatch.tell(tell);
        // Calls that end as they are made lead to further ones, and are told in one go.
        let mut calls = VecDeque::new();
        loop {
            calls.extend(std::mem::take(&mut actions.calls));
            let ended = self.make_calls(&mut calls);
            self.perform(actions);
            let Some((call, reply)) = ended else {
                return result;
            };
            let (outgoing, next) = self
                .dispatch
                .tell(|state, now| state.handle_reply(call, reply, now));
            drop(outgoing);
            actions = next;
        }
    }

    /// Performs everything but the calls that are to be made.
    fn perform(self: &Arc<Self>, actions: Actions) {
        let Actions {
            calls: _,
            given_up,
            members,
            plugins_changed,
            news,
        } = actions;
        for call in given_up {
            call.give_up();
        }
        for member in members {
            match member {
                MemberAction::Ready(connected) => {
                    connected.set_synchronized();
                    self.plugins_changed();
                }
                MemberAction::Synchronize(connected) => {
                    let synchronized = Arc::clone(self).synchronize(connected);
                    self.shared.tasks.spawn(synchronized);
                }
            }
        }
        if plugins_changed {
            self.shared.reporter.plugin_states_changed();
        }
        if !news.is_empty() {
            Telling {
                engine: self,
                news,
                over: false,
            }
            .tell_all();
        }
    }

    /// Makes calls, up to one that ends as it is made.
    fn make_calls(
        self: &Arc<Self>,
        calls: &mut VecDeque<Arc<Outgoing>>,
    ) -> Option<(CallId, Reply)> {
        while let Some(outgoing) = calls.pop_front() {
            let Some((began, request)) = outgoing.begin(&self.busy_poll) else {
                continue;
            };
            let calling = Arc::new(Calling {
                engine: Arc::clone(self),
                began,
                outgoing,
            });
            let Calling {
                outgoing, began, ..
            } = &*calling;
            let (caller, endpoint) = (Arc::clone(&calling), &outgoing.connected.endpoint);
            match endpoint.relay(request, began.time, caller) {
                Relaying::Begun(under_way) => calling.keep(under_way),
                Relaying::Over(answered) => return Some((outgoing.call, calling.end(answered))),
                Relaying::Waits(more) => {
                    self.shared.tasks.spawn(calling.wait(more));
                }
            }
        }
        None
    }

    /// Something came of a call.
    fn replied(self: &Arc<Self>, call: CallId, mut reply: Reply) {
        if let Reply::Late { .. } = reply {
            // The request is told, and the plugin's turn is over: nothing will come.
            self.update(|state, now| state.scheduler.handle_reply(call, reply, now));
            reply = Reply::Gone { delivered: false };
        }
        let outgoing = self.update(|state, now| state.handle_reply(call, reply, now));
        drop(outgoing);
    }

    /// Takes in what exists, and returns it.
    ///
    /// # Errors
    /// A domain cannot say.
    pub(crate) async fn list(&self) -> Result<Arc<Catalogue>, ListingError> {
        let (listing, lists) = synchronize::list_domains(&self.dispatch, &self.domains).await?;
        self.dispatch.lock().absorb_listing(listing, &lists);
        let recent = Arc::default();
        Ok(Arc::new(Catalogue { lists, recent }))
    }

    /// Synchronises a plugin, when it joins or after it was late, and does what it asks for then.
    async fn synchronize(self: Arc<Self>, connected: Arc<ConnectedPlugin>) {
        let plugin = &connected.plugin;
        let catalogue = match self.listings.list(self.list()).await {
            Ok(catalogue) => catalogue,
            Err(error) => return self.reject(&connected, error.into()),
        };
        let due = self.update(|state, now| {
            let plan = state.scheduler.handle_snapshot(plugin, now)?;
            let (due, shown) = state.inventory(&catalogue.lists, &plan);
            state.scheduler.handle_shown(plugin, &shown);
            Some(due)
        });
        // It is not waited for any more.
        let Some(due) = due else { return };
        let recent = Arc::clone(&catalogue.recent);
        // What is left of the list is in what is due.
        drop(catalogue);
        let mut showing = Showing::new(&self.dispatch, &self.domains, recent, due);
        let progress = || self.update(|state, now| state.scheduler.handle_progress(plugin, now));
        let reporter = &self.shared.reporter;
        let answer =
            synchronize::send_snapshot(&connected, &mut showing, &progress, reporter).await;
        if let Some(error) = showing.failed {
            return self.reject(&connected, error.into());
        }
        let ((pods, containers), left_out) = (showing.shown, showing.left_out);
        let updates = match answer {
            Ok(updates) if connected.settings().observe => {
                reporter.unsolicited_disregarded(&plugin.id, &updates, &[]);
                Ok(Vec::new())
            }
            Ok(updates) if updates.is_empty() || connected.is_built_in() => Ok(updates),
            Ok(updates) => {
                let rate = self.unsolicited.check_rate(&plugin.id, updates.len());
                rate.map(|()| updates).map_err(EndReason::TooManyUpdates)
            }
            Err(failure) => Err(EndReason::NotSynchronized(Box::new(failure))),
        };
        let updates = match updates {
            Ok(updates) => updates,
            Err(reason) => return self.reject(&connected, reason),
        };
        tracing::info!(
            %plugin, pods, containers, updates = updates.len(), "the plugin knows what exists"
        );
        // Requests go on: a domain may call back into the API from what follows.
        let ready = self.update(|state, now| {
            state.scheduler.handle_left_out(plugin, &left_out);
            state.scheduler.handle_synchronized(plugin, now);
            state.plugins.contains_key(plugin)
        });
        if ready && !updates.is_empty() {
            // Failures are logged.
            self.unsolicited
                .apply(&plugin.id, updates, Vec::new())
                .await;
        }
        let joined = {
            let mut state = self.dispatch.lock();
            let entry = state.plugins.get_mut(plugin);
            entry.and_then(|entry| entry.joined.take())
        };
        if let Some(joined) = joined {
            reporter.observer.plugin_synchronized(&connected.info());
            // Whoever waited for it may have stopped waiting.
            let _ = joined.send(());
        }
    }

    fn reject(self: &Arc<Self>, connected: &ConnectedPlugin, reason: EndReason) {
        connected.close(reason);
        self.leave(connected);
    }

    /// A plugin is disconnected: nobody waits for it any more. May be repeated.
    pub(crate) fn leave(self: &Arc<Self>, connected: &ConnectedPlugin) {
        self.update(|state, now| {
            state.plugins.remove(&connected.plugin);
            state.scheduler.handle_lost(&connected.plugin, now);
        });
        self.plugins_changed();
    }

    /// Reports that plugins are ready or disconnected, or that what is required has changed.
    pub(crate) fn plugins_changed(&self) {
        let config = self.shared.config();
        let required = match config.disable {
            true => &[][..],
            false => &config.default_validator.required_plugins,
        };
        self.shared.reporter.plugins_changed(required, || {
            let state = self.dispatch.lock();
            // While a plugin takes over, the one before it is ready too.
            let ready = state.all_plugins().filter(|plugin| plugin.is_available());
            let ready = ready.map(|connected| connected.plugin.id.clone()).collect();
            (state.active_plugins().count(), ready)
        });
    }

    fn notify(self: &Arc<Self>, news: News) {
        match news {
            News::ReportCall(record) => record.report(&self.shared.reporter),
            News::Close(connected, reason) => self.close(connected, reason),
            News::FellBehind(connected, missed) => {
                connected.statistics.missed(missed);
                self.shared.reporter.fell_behind(&connected.info(), missed);
            }
            News::Complete(completion, ended) => {
                if let Ok(report) = &*ended {
                    self.shared.reporter.judged(&report.verdicts);
                }
                let Some(completion) = completion else {
                    return log_unheard(&ended);
                };
                // Whoever asked may have stopped waiting.
                let _ = completion.send(*ended);
            }
            News::Stopped(stopped) => self.stopped(*stopped),
        }
    }

    fn close(self: &Arc<Self>, connected: Arc<ConnectedPlugin>, reason: CloseReason) {
        let plugin = &connected.plugin;
        if let CloseReason::Replaced { .. } = reason {
            tracing::info!(%plugin, "another instance of the plugin takes over");
            let replaced = connected.shut_down(EndReason::Replaced);
            self.shared.tasks.spawn(replaced);
            return;
        }
        tracing::warn!(%plugin, %reason, "closing a plugin");
        connected.close(EndReason::Scheduler(reason));
    }

    /// Hands what plugins asked for when a container was stopped to the caller, if that is to carry
    /// it out and waits for it; otherwise it is done here.
    fn stopped(self: &Arc<Self>, mut stopped: Stopped) {
        self.shared.reporter.judged(&stopped.report.verdicts);
        if let (Some(message), Ok(RequestOutcome::Stop(stop))) =
            (&stopped.message, &stopped.report.result)
        {
            let reporter = &self.shared.reporter;
            reporter.record_requested_changes(message, &stop.owners, &[]);
            reporter.omitted(&stop.omissions);
        }
        let waiting = match stopped.carried_out {
            CarriedOut::ByCaller => stopped.completion.take(),
            _ => None,
        };
        if let Some(completion) = waiting {
            match completion.send(Ok(stopped.report)) {
                Err(Ok(report)) => stopped.report = report,
                // It is there.
                Ok(()) | Err(Err(_)) => return,
            }
        }
        self.carry_out(stopped);
    }

    /// Does what plugins asked for when a container was stopped, whoever waits for that, and tells
    /// them then. A caller whose time is over is told so before.
    pub(crate) fn carry_out(self: &Arc<Self>, stopped: Stopped) {
        let Stopped {
            mut completion,
            mut report,
            message,
            cx,
            span,
            ..
        } = stopped;
        let updates = match &report.result {
            Ok(RequestOutcome::Stop(stop)) => stop.updates.clone(),
            _ => Vec::new(),
        };
        let side_effects = Arc::clone(&self.side_effects);
        let work = async move {
            let mut applying = pin!(side_effects.apply(&cx, &[], &updates));
            let in_time = match cx.deadline() {
                Some(deadline) => timeout_at(deadline.into(), &mut applying).await.ok(),
                None => None,
            };
            let late = in_time.is_none() && cx.deadline().is_some();
            if let Some(message) = message.filter(|_| late) {
                if let Some(completion) = completion.take() {
                    // Whoever asked may have stopped waiting.
                    let _ = completion.send(Err(out_of_time(&message)));
                }
            }
            let applied = match in_time {
                Some(applied) => applied,
                None => applying.await,
            };
            if let Err(error) = applied {
                report.result = Err(error);
            }
            let ended = Ok(report);
            match completion {
                Some(completion) => drop(completion.send(ended)),
                None => log_unheard(&ended),
            }
        };
        self.shared.tasks.spawn(work.instrument(span));
    }

    /// Keeps the scheduler's time as long as the engine lives.
    pub(crate) fn keep_time(self: &Arc<Self>) {
        let (engine, earlier) = (Arc::downgrade(self), Arc::clone(&self.dispatch.earlier));
        self.shared
            .tasks
            .spawn_uncounted(keep_time(engine, earlier));
    }
}

/// A call that was made, which is told what comes of it.
struct Calling {
    engine: Arc<Engine>,
    outgoing: Arc<Outgoing>,
    began: Began,
}

impl Calling {
    fn keep(&self, under_way: UnderWay) {
        *self.outgoing.under_way.lock() = Some(under_way);
    }

    fn end(&self, answered: Answered) -> Reply {
        let reporter = &self.engine.shared.reporter;
        self.outgoing.end(&self.began, answered, reporter)
    }

    /// Waits for what cannot be had at once.
    async fn wait(self: Arc<Self>, more: Pin<Box<dyn Future<Output = Relaying> + Send>>) {
        let patience = self.outgoing.patience.into();
        let work = async {
            let mut more = more;
            loop {
                match more.await {
                    Relaying::Begun(under_way) => break self.keep(under_way),
                    Relaying::Over(answered) => break self.answered(answered),
                    Relaying::Waits(again) => more = again,
                }
            }
        };
        let work = work.instrument(self.began.span.clone());
        if tokio::time::timeout_at(patience, work).await.is_err() {
            self.answered(Answered {
                answer: Err(Failure::Closed("given up".to_owned())),
                delivered: false,
            });
        }
    }
}

impl Caller for Calling {
    fn answered(&self, answered: Answered) {
        // Those who are told may panic, which is not to end what reads a connection.
        let told = catch_unwind(AssertUnwindSafe(|| {
            let reply = self.end(answered);
            self.engine.replied(self.outgoing.call, reply);
        }));
        if told.is_err() {
            let plugin = &self.outgoing.connected.plugin;
            tracing::error!(%plugin, "an observer has panicked when it was told of a call");
        }
    }
}

/// The one who tells the news. While it lives, others only add to them.
struct Telling<'a> {
    engine: &'a Arc<Engine>,
    news: VecDeque<News>,
    over: bool,
}

impl Telling<'_> {
    fn tell_all(mut self) {
        while !self.news.is_empty() {
            while let Some(news) = self.news.pop_front() {
                self.engine.notify(news);
            }
            self.news = self.engine.dispatch.more_news();
        }
        self.over = true;
    }
}

impl Drop for Telling<'_> {
    /// Somebody else is to tell what is left when an observer has panicked.
    fn drop(&mut self) {
        if !self.over {
            let untold = std::mem::take(&mut self.news);
            self.engine.dispatch.stop_telling(untold);
        }
    }
}

async fn keep_time(engine: Weak<Engine>, earlier: Arc<Notify>) {
    loop {
        let next = match engine.upgrade() {
            Some(engine) if !engine.shared.is_stopped() => engine.update(State::keep_time),
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

/// Nobody waits for an exit, an undoing, or what its caller has left.
fn log_unheard(ended: &Ended) {
    let result = ended.as_ref().map(|report| report.result.as_ref());
    if let Err(error) | Ok(Err(error)) = result {
        tracing::warn!(%error, "an event that nobody waits for went wrong");
    }
}
