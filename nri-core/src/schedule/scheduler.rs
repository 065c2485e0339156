//! The scheduler's doors: what happens comes in, effects come out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::active::Active;
use super::instance::Phase;
use super::slots::Slots;
use super::state::{OutputOf, Work};
use super::timers::{Timer, Timers};
use super::{
    CallId, Config, Effect, Job, PluginLimits, RequestId, Scheduler, Submission, SyncPlan,
};
use crate::flow::{Member, Reply, Roster};
use crate::lifecycle::{Lifecycles, ObjectKey};
use crate::policy::{KnownPods, Policy};
use crate::{RegisteredPlugin, Settlement};

impl<J: Job> Scheduler<J> {
    /// A scheduler without plugins and requests.
    pub fn new(config: Config) -> Self {
        let slots = Slots::new(config.serial);
        Self {
            config,
            lives: Lifecycles::new(),
            plugins: BTreeMap::new(),
            awaiting: BTreeSet::new(),
            roster: Roster::default(),
            requests: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            calls: BTreeMap::new(),
            slots,
            timers: Timers::default(),
            effects: VecDeque::new(),
            work: VecDeque::new(),
            last_number: 0,
            blocks: 0,
            known_pods: KnownPods::default(),
            looked_through: 0,
            revision: 0,
        }
    }

    /// A plugin is registered and configured: it joins. From now on every request that begins
    /// includes it, and waits for it.
    ///
    /// If it has the identity of a live one, it takes over from that once it is synchronised. A
    /// registration that is known already is ignored.
    pub fn handle_admitted(&mut self, member: Member, limits: PluginLimits, now: Instant) {
        self.admit(member, limits, now);
        self.run(now);
    }

    /// What holds for a plugin is another thing from now on: its policy for requests that begin
    /// later, its limits for calls that begin later. One that is not known is ignored.
    pub fn handle_changed(&mut self, member: Member, limits: PluginLimits, now: Instant) {
        let plugin = member.plugin.clone();
        if let Some(instance) = self.plugins.get_mut(&plugin) {
            let observed = std::mem::replace(&mut instance.member, member).observes;
            instance.limits = limits;
            if observed && !instance.member.observes {
                // Requests are not to wait for what it has not heard yet.
                self.forget_observer(&plugin.id);
                self.show_again(&plugin, now);
            }
            self.update_roster();
            // There may be more places than before.
            self.work.push_back(Work::Turns(plugin));
            self.run(now);
        }
    }

    /// Another [`settle_timeout`](Config::settle_timeout) holds for plugins that join later.
    pub fn set_settle_timeout(&mut self, time: Duration) {
        self.config.settle_timeout = time;
    }

    /// Another [policy](Config::policy) holds for requests that begin later.
    pub fn set_policy(&mut self, policy: Policy) {
        self.config.policy = policy;
        self.update_roster();
    }

    /// Which pods containers are in, as far as requests have told. Lists of the runtime are to be
    /// noted as well: a policy may have conditions on the pods of whatever plugins name.
    pub fn known_pods(&self) -> &KnownPods {
        &self.known_pods
    }

    /// A plugin's connection is lost, or was closed for another reason than [`Effect::Close`]. One
    /// that is not known is ignored.
    pub fn handle_lost(&mut self, plugin: &RegisteredPlugin, now: Instant) {
        self.remove(plugin, now);
        self.run(now);
    }

    /// The runtime has listed what it has, for [`Effect::Synchronize`]. The plugin's time begins.
    /// `None` if it is not waited for any more.
    #[must_use = "what it says must be hidden from the plugin"]
    pub fn handle_snapshot(&mut self, plugin: &RegisteredPlugin, now: Instant) -> Option<SyncPlan> {
        self.show(plugin, now)
    }

    /// What a plugin is shown, of the lists and beside them. What has been announced apart from
    /// that is unknown to the plugin, and so is, to those before it, what was learnt from the
    /// lists. A plugin does not hear the end of what it does not know; by any other event it
    /// gets to know it. What existed before this scheduler did counts as known: its end is due to
    /// all.
    pub fn handle_shown(&mut self, plugin: &RegisteredPlugin, shown: &BTreeSet<ObjectKey>) {
        self.note_shown(plugin, shown);
    }

    /// Of what a plugin was to be [shown](Self::handle_shown), this was left out: it was gone, or
    /// had begun another life, when it was its turn. It is unknown to the plugin, as what it is
    /// not shown is.
    ///
    /// To be told before [`handle_synchronized`](Self::handle_synchronized).
    pub fn handle_left_out(&mut self, plugin: &RegisteredPlugin, left_out: &BTreeSet<ObjectKey>) {
        self.note_left_out(plugin, left_out);
    }

    /// What the runtime has is other than events have told: all plugins are synchronised again that
    /// were shown what it had before. Returns them.
    pub fn handle_missed(&mut self, now: Instant) -> Vec<RegisteredPlugin> {
        let plugins = self.synchronize_again(now);
        self.run(now);
        plugins
    }

    /// A plugin has answered a part of its synchronisation, and gets the time for another one.
    pub fn handle_progress(&mut self, plugin: &RegisteredPlugin, now: Instant) {
        self.progress(plugin, now);
    }

    /// A plugin has answered all parts of its synchronisation. One that failed it is lost instead.
    pub fn handle_synchronized(&mut self, plugin: &RegisteredPlugin, now: Instant) {
        if let Some(Phase::Synchronizing { .. }) =
            self.plugins.get(plugin).map(|instance| &instance.phase)
        {
            self.open(plugin, now);
        }
        self.run(now);
    }

    /// A caller has a request. It begins when those of the same pod before it are through the
    /// plugins.
    pub fn handle_request(&mut self, order: Submission<J>, now: Instant) -> RequestId {
        let id = RequestId(self.next_number());
        let active = Active::new(order, Some(now));
        if let Some(budget) = active.budget {
            self.timers.set(budget, Timer::Budget(id));
        }
        if let Some(deadline) = active.deadline {
            self.timers.set(deadline, Timer::Request(id));
        }
        self.slots.enqueue(&active.pod, id);
        self.work.push_back(Work::Slot(active.pod.clone()));
        self.requests.insert(id, Box::new(active));
        self.run(now);
        id
    }

    /// A caller does not wait any more. What may be refused ends; a notification goes on, since it
    /// has happened. A creation that has succeeded is not concerned: it has to be settled.
    pub fn handle_abandoned(&mut self, request: RequestId, now: Instant) {
        self.abandon(request);
        self.run(now);
    }

    /// What became of a creation that succeeded. One that came to nothing is undone towards the
    /// plugins that saw it, unless its removal was announced meanwhile; towards all, if it
    /// existed for a time. Requests that are no creations, and those that are settled, are
    /// ignored.
    pub fn handle_settled(&mut self, request: RequestId, settlement: Settlement, now: Instant) {
        self.settle(request, settlement);
        self.run(now);
    }

    /// What came of a call, at whatever time. Replies to calls that are not under way are ignored.
    ///
    /// A reply counts as in time if it comes before [`handle_timeout`](Scheduler::handle_timeout)
    /// has found it late. Leave it to the scheduler to find replies late or plugins busy.
    pub fn handle_reply(&mut self, call: CallId, reply: Reply, now: Instant) {
        self.take_reply(call, reply, now);
        self.run(now);
    }

    /// The time that [`poll_timeout`](Scheduler::poll_timeout) told has come. Calling it at other
    /// times does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.due(now) {
            match timer {
                Timer::Budget(request) => self.budget_is_over(request, now),
                Timer::Call(call) => self.call_is_late(call, now),
                Timer::Owed(call) => self.owed_too_long(call, now),
                Timer::Request(request) => self.request_is_out_of_time(request),
                Timer::Phase(plugin) => self.phase_is_over(&plugin, now),
            }
            self.run(now);
        }
    }

    /// Keeps plugins that are admitted from now on from joining, until
    /// [`unblock_joining`](Scheduler::unblock_joining) was called as often, but not longer than
    /// [`Config::block_limit`].
    pub fn block_joining(&mut self) {
        self.blocks += 1;
    }

    /// Takes one [`block_joining`](Scheduler::block_joining) back.
    pub fn unblock_joining(&mut self, now: Instant) {
        self.blocks = self.blocks.saturating_sub(1);
        if self.blocks == 0 {
            self.release_held(now);
        }
        self.run(now);
    }

    /// The next thing to do. A call counts as handed to the transport once it was returned here.
    pub fn poll_effect(&mut self) -> Option<Effect<OutputOf<J>>> {
        while let Some(effect) = self.effects.pop_front() {
            let stands = match &effect {
                Effect::Call { call, .. } => self.note_handed(*call),
                Effect::Synchronize { plugin } => self
                    .plugins
                    .get(plugin)
                    .is_some_and(|instance| matches!(instance.phase, Phase::Synchronize { .. })),
                Effect::PluginReady { .. }
                | Effect::FellBehind { .. }
                | Effect::Close { .. }
                | Effect::CallResolved { .. }
                | Effect::OutOfTime { .. }
                | Effect::Released { .. }
                | Effect::Finished { .. } => true,
            };
            if stands {
                return Some(effect);
            }
        }
        None
    }

    /// When [`handle_timeout`](Scheduler::handle_timeout) has to be called next, if nothing happens
    /// before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first()
    }

    /// Where all pods and containers are in their lives.
    pub fn lifecycles(&self) -> &Lifecycles {
        &self.lives
    }

    /// The same, to take in what the runtime [lists](Lifecycles::seed). Steps are begun by requests
    /// and by nothing else.
    pub fn lifecycles_mut(&mut self) -> &mut Lifecycles {
        &mut self.lives
    }

    /// Whether a plugin owes an answer whose time is over.
    pub fn is_late(&self, plugin: &RegisteredPlugin) -> bool {
        self.plugins
            .get(plugin)
            .is_some_and(|instance| instance.turns.values().any(|turn| turn.late))
    }

    /// How many events a plugin is still to be told as an observer.
    pub fn backlog(&self, plugin: &RegisteredPlugin) -> usize {
        let instance = self.plugins.get(plugin);
        instance.map_or(0, |instance| instance.backlog.len())
    }

    /// The plugins that a request that begins now includes, in order.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// A number that grows whenever the [roster](Self::roster) changes, or who is
    /// [late](Self::is_late): as long as it is the same, both are.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Goes on with everything that can go on.
    fn run(&mut self, now: Instant) {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Advance(request) => self.advance(request, now),
                Work::Turns(plugin) => self.give_turns(&plugin, now),
                Work::Slot(pod) => {
                    if let Some(request) = self.slots.next(&pod) {
                        self.begin(request, now);
                    }
                }
                Work::Phases => self.check_phases(now),
                Work::Behind(plugin) => self.fall_behind(&plugin, now),
            }
        }
    }

    /// Notes that a call goes to the transport; false if it is not to be made any more.
    fn note_handed(&mut self, call: CallId) -> bool {
        let turn = self
            .calls
            .get(&call)
            .and_then(|plugin| self.plugins.get_mut(plugin))
            .and_then(|instance| instance.turns.get_mut(&call));
        let Some(turn) = turn else {
            return false;
        };
        turn.handed = true;
        let (purpose, event) = (turn.purpose.clone(), turn.message.event());
        if let Some(record) = self
            .requests
            .get_mut(&purpose.request)
            .and_then(|active| active.running())
            .and_then(|running| running.record(&purpose.asked_as, event))
        {
            record.handed = true;
        }
        true
    }

    /// Whether nothing is under way and no memory is used for what was, for tests.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.requests.is_empty()
            && self.unsettled.is_empty()
            && self.slots.is_empty()
            && self.effects.is_empty()
            && self.calls.is_empty()
            && self
                .plugins
                .values()
                .all(|plugin| plugin.turns.is_empty() && !plugin.is_working())
            && self.timers.first().is_none()
    }
}
