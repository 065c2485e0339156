//! The engine: performs what the scheduler wants, and feeds back what came of it.
//!
//! Whatever happens is told to the scheduler ([`Engine::update`]); what it wants to be done then is
//! done with the lock free, by rooms below that return what came of it. A call has a task that
//! waits for its answer, however late, and goes on with the next call of the chain; one more task
//! keeps the time.
//!
//! What may not enter: turns, order, lateness, who is asked (the scheduler's), how a plugin is
//! reached.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use nri_core::flow::Reply;
use nri_core::merge::Support;
use nri_core::schedule::{self, CloseReason, RequestOutcome};
use nri_core::{Domain, PluginId, RegisteredPlugin};
use tokio::sync::Notify;
use tracing::Instrument as _;

use crate::config::Config;
use crate::engine::call::Outgoing;
use crate::engine::domains::Domains;
use crate::engine::side_effects::SideEffects;
use crate::engine::state::{Actions, Dispatch, Ended, MemberAction, News, State, Stopped};
use crate::engine::synchronize;
use crate::engine::unsolicited::UnsolicitedUpdates;
use crate::error::Error;
use crate::plugin::connected::ConnectedPlugin;
use crate::plugin::end_reason::EndReason;
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
    registrations: AtomicU64,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine. What it keeps of the configuration and can change is told to it by
    /// [`Engine::configure`].
    pub(crate) fn new(shared: Arc<Shared>, domains: Domains, support: Support) -> Self {
        let mut scheduling = schedule::Config::default();
        scheduling.serial = shared.config().serial;
        scheduling.support = support;
        let dispatch = Arc::new(Dispatch::new(scheduling));
        let domains = Arc::new(domains);
        let side_effects = Arc::new(SideEffects::new(Arc::clone(&shared), Arc::clone(&domains)));
        let unsolicited =
            UnsolicitedUpdates::new(Arc::clone(&dispatch), Arc::clone(&side_effects), support);
        let engine = Self {
            shared,
            dispatch,
            domains,
            side_effects,
            unsolicited: Arc::new(unsolicited),
            registrations: AtomicU64::new(1),
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
        let (result, actions) = self.dispatch.tell(tell);
        for call in self.perform(actions) {
            self.begin_call(call);
        }
        result
    }

    /// The same; the first call that is to be made is left to whoever asks.
    fn update_inline(
        self: &Arc<Self>,
        tell: impl FnOnce(&mut State, Instant),
    ) -> Option<Box<Outgoing>> {
        let ((), actions) = self.dispatch.tell(tell);
        let mut calls = self.perform(actions).into_iter();
        let mine = calls.next();
        for call in calls {
            self.begin_call(call);
        }
        mine
    }

    /// Performs everything but the calls that are to be made.
    #[allow(
        clippy::vec_box,
        reason = "calls stay in their boxes, whoever makes them"
    )]
    fn perform(self: &Arc<Self>, actions: Actions) -> Vec<Box<Outgoing>> {
        let Actions {
            calls,
            members,
            plugins_changed,
            news,
        } = actions;
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
        calls
    }

    fn begin_call(self: &Arc<Self>, call: Box<Outgoing>) {
        let engine = Arc::clone(self);
        self.shared.tasks.spawn(engine.drive_call(call));
    }

    /// Makes a call, waits for what comes of it, and goes on with the call that follows from that.
    async fn drive_call(self: Arc<Self>, first: Box<Outgoing>) {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            let call = outgoing.call;
            let mut reply = outgoing.reply(&self.shared.reporter).await;
            if let Reply::Late { .. } = reply {
                // The request is told, and the plugin's turn is over: nothing will come.
                self.update(|state, now| state.scheduler.handle_reply(call, reply, now));
                reply = Reply::Gone { delivered: false };
            }
            next = self.update_inline(|state, now| state.scheduler.handle_reply(call, reply, now));
        }
    }

    /// Synchronises a plugin, when it joins or after it was late, and does what it asks for then.
    async fn synchronize(self: Arc<Self>, connected: Arc<ConnectedPlugin>) {
        let plugin = &connected.plugin;
        let inventory = match synchronize::list_domains(&self.dispatch, &self.domains).await {
            Ok((listing, lists)) => self.update(|state, now| {
                state.absorb_listing(listing, &lists);
                let plan = state.scheduler.handle_snapshot(plugin, now)?;
                let (inventory, shown) = state.inventory(lists, &plan);
                state.scheduler.handle_shown(plugin, &shown);
                Some(inventory)
            }),
            Err(error) => return self.reject(&connected, error.into()),
        };
        // It is not waited for any more.
        let Some(inventory) = inventory else { return };
        let (pods, containers) = (inventory.pods.len(), inventory.containers.len());
        let progress = || self.update(|state, now| state.scheduler.handle_progress(plugin, now));
        let reporter = &self.shared.reporter;
        let answer = synchronize::send_snapshot(&connected, inventory, &progress, reporter).await;
        let updates = match answer {
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
            // While a plugin takes over, the one before it is there too.
            let ready = state.all_plugins().filter(|plugin| plugin.is_available());
            let ready = ready.map(|connected| connected.plugin.id.clone()).collect();
            (state.active_plugins().count(), ready)
        });
    }

    fn notify(self: &Arc<Self>, news: News) {
        match news {
            News::ReportCall(record) => record.report(&self.shared.reporter),
            News::Close(connected, reason) => self.close(connected, reason),
            News::Complete(Some(completion), ended) => {
                // Whoever asked may have stopped waiting.
                let _ = completion.send(*ended);
            }
            News::Complete(None, ended) => log_unheard(&ended),
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

    /// Does what plugins asked for when a container was stopped, whoever waits for that, and tells
    /// them then.
    fn stopped(self: &Arc<Self>, stopped: Stopped) {
        let Stopped {
            completion,
            mut report,
            message,
            cx,
            span,
        } = stopped;
        let mut updates = Vec::new();
        if let Ok(RequestOutcome::Stop(stop)) = &report.result {
            if let Some(message) = message {
                let reporter = &self.shared.reporter;
                reporter.record_requested_changes(&message, &stop.owners, &[]);
                reporter.omitted(&stop.omissions);
            }
            updates.clone_from(&stop.updates);
        }
        let side_effects = Arc::clone(&self.side_effects);
        let work = async move {
            if let Err(error) = side_effects.apply(&cx, &[], &updates).await {
                report.result = Err(error);
            }
            let ended = Ok(report);
            match completion {
                Some(completion) => {
                    let _ = completion.send(ended);
                }
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
