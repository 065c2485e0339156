//! Plugins that come, are synchronised, take over, retire and go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::active::{Active, Stage};
use super::instance::{Instance, Phase};
use super::state::{Timing, Work};
use super::timers::Timer;
use super::{CloseReason, Effect, Job, PluginLimits, RequestId, Scheduler, SyncPlan};
use crate::flow::{Member, Reply};
use crate::lifecycle::ObjectKey;
use crate::model::State;
use crate::{Event, EventMask, PluginId, RegisteredPlugin};

impl<J: Job> Scheduler<J> {
    /// Lets a plugin in.
    pub(super) fn admit(&mut self, member: Member, limits: PluginLimits, now: Instant) {
        let plugin = member.plugin.clone();
        if self.plugins.contains_key(&plugin) {
            return;
        }
        let until = now + self.config.block_limit;
        let instance = Instance::new(member, limits, Phase::Held { until });
        self.plugins.insert(plugin.clone(), instance);
        if self.blocks == 0 {
            self.join(&plugin, now);
        } else {
            self.timers.set(until, Timer::Phase(plugin));
        }
    }

    /// Lets those join that were kept from it.
    pub(super) fn release_held(&mut self, now: Instant) {
        let held: Vec<RegisteredPlugin> = self
            .plugins
            .iter()
            .filter(|(_, instance)| instance.is_held())
            .map(|(plugin, _)| plugin.clone())
            .collect();
        for plugin in held {
            self.join(&plugin, now);
        }
    }

    /// Makes requests that begin from now on include a plugin and wait for it, until it is
    /// synchronised: for the first time, or again.
    pub(super) fn join(&mut self, plugin: &RegisteredPlugin, now: Instant) {
        let number = self.next_number();
        match self.plugins.get_mut(plugin) {
            Some(instance) if instance.admitted == 0 => instance.admitted = number,
            _ => {}
        }
        let until = now + self.config.settle_timeout;
        let before = BTreeSet::new();
        self.set_phase(plugin, Phase::Settling { until, before });
        let older: Vec<RegisteredPlugin> = self
            .same_identity(plugin)
            .filter(|other| !other.opened && other.member.plugin.registration < plugin.registration)
            .map(|other| other.member.plugin.clone())
            .collect();
        for older in older {
            let by = plugin.clone();
            self.close(&older, CloseReason::Replaced { by }, now);
        }
        let under_way: BTreeSet<RequestId> = self
            .requests
            .iter()
            .filter(|(_, active)| self.comes_before(active, plugin))
            .map(|(id, _)| *id)
            .collect();
        if let Some(Phase::Settling { before, .. }) = self.phase(plugin) {
            *before = under_way;
        }
        self.update_roster();
        self.work.push_back(Work::Phases);
    }

    /// Has all plugins synchronised again that were shown something before, or are about to be.
    pub(super) fn synchronize_again(&mut self, now: Instant) -> Vec<RegisteredPlugin> {
        let (mut open, mut all) = (Vec::new(), Vec::new());
        for (plugin, instance) in &mut self.plugins {
            match instance.phase {
                Phase::Open => open.push(plugin.clone()),
                Phase::Synchronize { .. } | Phase::Synchronizing { .. } => instance.again = true,
                // It is not shown anything yet, or not any more.
                Phase::Held { .. } | Phase::Settling { .. } | Phase::Retiring { .. } => continue,
            }
            all.push(plugin.clone());
        }
        for plugin in open {
            self.join(&plugin, now);
        }
        all
    }

    /// Whether a plugin that joins has to wait for a request: it is under way, and neither will the
    /// plugin hear of it, nor does the request wait for the plugin to judge it.
    fn comes_before(&self, active: &Active<J>, plugin: &RegisteredPlugin) -> bool {
        let judges = || {
            matches!(
                active.event,
                Event::CreateContainer | Event::UpdateContainer | Event::StopContainer
            ) && self.will_get(active, Event::ValidateContainerAdjustment, plugin)
        };
        !matches!(active.stage, Stage::Queued)
            && !active.exists
            && !self.will_hear(active, plugin)
            && !judges()
    }

    /// Whether a request that has begun will still be brought to a plugin, to be answered.
    fn will_hear(&self, active: &Active<J>, plugin: &RegisteredPlugin) -> bool {
        self.will_get(active, active.event, plugin)
    }

    fn will_get(&self, active: &Active<J>, event: Event, plugin: &RegisteredPlugin) -> bool {
        active.awaited(event).any(|member| {
            member.id == plugin.id && self.addressee(active, member, event).as_ref() == Some(plugin)
        })
    }

    /// Goes on with those that have what they waited for.
    pub(super) fn check_phases(&mut self, now: Instant) {
        let mut settled = Vec::new();
        let mut retired = Vec::new();
        for plugin in &self.awaiting {
            let Some(instance) = self.plugins.get(plugin) else {
                continue;
            };
            match &instance.phase {
                // Joining takes a turn, and all of them: no call that is waited for crosses it.
                // Late ones, which may never be answered, have the time that all
                // others have.
                Phase::Settling { until, before }
                    if before.is_empty()
                        && (instance.turns.is_empty()
                            || (*until <= now
                                && instance.turns.values().all(|turn| turn.late))) =>
                {
                    settled.push(plugin.clone());
                }
                Phase::Retiring { by, .. }
                    if !instance.is_working()
                        && !self
                            .requests
                            .values()
                            .any(|active| self.will_hear(active, plugin)) =>
                {
                    retired.push((plugin.clone(), by.clone()));
                }
                _ => {}
            }
        }
        for plugin in settled {
            let until = now + self.config.snapshot_timeout;
            self.set_phase(&plugin, Phase::Synchronize { until });
            self.effects.push_back(Effect::Synchronize { plugin });
        }
        for (plugin, by) in retired {
            self.close(&plugin, CloseReason::Replaced { by }, now);
        }
    }

    /// What a plugin waits for did not come in time.
    pub(super) fn phase_is_over(&mut self, plugin: &RegisteredPlugin, now: Instant) {
        match self.phase(plugin) {
            Some(Phase::Held { .. }) => self.join(plugin, now),
            Some(Phase::Settling { before, .. }) => {
                before.clear();
                self.work.push_back(Work::Phases);
            }
            Some(Phase::Synchronize { .. }) => self.close(plugin, CloseReason::SnapshotLate, now),
            Some(Phase::Synchronizing { .. }) => {
                self.close(plugin, CloseReason::SynchronizeLate, now)
            }
            Some(Phase::Retiring { by, .. }) => {
                let by = by.clone();
                self.close(plugin, CloseReason::Replaced { by }, now);
            }
            Some(Phase::Open) | None => {}
        }
    }

    /// Begins to show a plugin what the runtime has listed.
    pub(super) fn show(&mut self, plugin: &RegisteredPlugin, now: Instant) -> Option<SyncPlan> {
        let instance = self.plugins.get(plugin)?;
        if !matches!(instance.phase, Phase::Synchronize { .. }) {
            return None;
        }
        let deadline = now + instance.limits.request_timeout;
        let events = instance.member.events;
        let exclude = self
            .requests
            .values()
            .filter(|active| self.appears(active) && self.is_hidden(active, plugin, events))
            .map(|active| active.object.clone())
            .chain(instance.backlog.appearances().cloned())
            .collect();
        self.set_phase(plugin, Phase::Synchronizing { until: deadline });
        Some(SyncPlan { deadline, exclude })
    }

    /// Whether a request makes its object appear; a pod that runs again has been there all along,
    /// and so have its containers.
    fn appears(&self, active: &Active<J>) -> bool {
        let again = match active.stage {
            Stage::Queued => self.lives.runs_again(&active.object),
            Stage::Running(_) | Stage::Unsettled(_) => active.restarts,
        };
        active.is_appearance() && !again
    }

    /// Takes note of what a plugin gets to know, and what it does not.
    pub(super) fn note_shown(&mut self, plugin: &RegisteredPlugin, shown: &BTreeSet<ObjectKey>) {
        let listed = self.lives.learnt_since(self.looked_through);
        self.looked_through = self.lives.now();
        let under_way: BTreeSet<&ObjectKey> = self
            .requests
            .values()
            .map(|active| &active.object)
            .collect();
        for instance in self.plugins.values_mut() {
            // What the runtime has lost comes to no end.
            instance
                .strange
                .retain(|key| self.lives.state(key) != State::Removed || under_way.contains(key));
            if instance.shown && instance.member.plugin != *plugin {
                instance.strange.extend(listed.iter().cloned());
            }
        }
        let unknown = |key: &ObjectKey| !shown.contains(key);
        // What only lists told of has a past, in which the plugin may have known it: its end is due
        // to everybody.
        let announced = self.lives.announced();
        let strange = announced.filter(|key| unknown(key)).cloned().collect();
        self.note_strange(plugin, strange, unknown);
    }

    /// Takes note of what a plugin does not get to know although it was to be shown it.
    pub(super) fn note_left_out(
        &mut self,
        plugin: &RegisteredPlugin,
        left_out: &BTreeSet<ObjectKey>,
    ) {
        let instance = self.plugins.get(plugin);
        let Some(instance) = instance.filter(|_| !left_out.is_empty()) else {
            return;
        };
        let lives = |key: &&ObjectKey| self.lives.state(key) != State::Removed;
        let left_alive = left_out.iter().filter(lives);
        let strange = instance.strange.iter().chain(left_alive).cloned().collect();
        self.note_strange(plugin, strange, |key| left_out.contains(key));
    }

    /// Takes note of what is strange to a plugin: this, and what is ending and unknown to it.
    fn note_strange(
        &mut self,
        plugin: &RegisteredPlugin,
        strange: BTreeSet<ObjectKey>,
        unknown: impl Fn(&ObjectKey) -> bool,
    ) {
        let Some(instance) = self.plugins.get_mut(plugin) else {
            return;
        };
        instance.strange = strange;
        for active in self.requests.values() {
            let ends = active.event.is_end()
                && matches!(active.stage, Stage::Running(_))
                && self.lives.state(&active.object) == State::Removed;
            if ends && unknown(&active.object) {
                instance.strange.insert(active.object.clone());
            }
            // What appears since it was let in reaches it by events, or it does not want them.
            if active.is_appearance() && active.began > instance.admitted {
                instance.strange.remove(&active.object);
            }
        }
        let lives = &self.lives;
        instance.forget_ends(unknown, |key| lives.state(key) == State::Removed);
        instance.shown = true;
    }

    /// Gives a plugin that is synchronised the time for another part.
    pub(super) fn progress(&mut self, plugin: &RegisteredPlugin, now: Instant) {
        let Some(instance) = self.plugins.get(plugin) else {
            return;
        };
        if let Phase::Synchronizing { .. } = instance.phase {
            let until = now + instance.limits.request_timeout;
            self.set_phase(plugin, Phase::Synchronizing { until });
        }
    }

    /// Whether what a request makes appear is not shown to a plugin that is synchronised while the
    /// request is under way: it will hear of it, or it would not hear of it if a creation that
    /// may still fail were undone.
    fn is_hidden(&self, active: &Active<J>, plugin: &RegisteredPlugin, events: EventMask) -> bool {
        let was_delivered = || active.seen_by().any(|seen| seen == plugin);
        let will_hear = match active.stage {
            Stage::Queued => events.contains(active.event),
            Stage::Running(_) | Stage::Unsettled(_) => self.will_hear(active, plugin),
        };
        will_hear || (active.event == Event::CreateContainer && !active.exists && !was_delivered())
    }

    /// A plugin is synchronised: it gets requests, and older instances of it retire.
    pub(super) fn open(&mut self, plugin: &RegisteredPlugin, now: Instant) {
        self.set_phase(plugin, Phase::Open);
        if let Some(instance) = self.plugins.get_mut(plugin) {
            instance.opened = true;
        }
        self.effects.push_back(Effect::PluginReady {
            plugin: plugin.clone(),
        });
        let older: Vec<(RegisteredPlugin, Instant)> = self
            .same_identity(plugin)
            .filter(|other| {
                other.member.plugin.registration < plugin.registration && !other.is_retiring()
            })
            .map(|other| {
                (
                    other.member.plugin.clone(),
                    now + other.limits.request_timeout,
                )
            })
            .collect();
        for (other, until) in older {
            let by = plugin.clone();
            if let Some(Phase::Synchronizing { .. }) = self.phase(&other) {
                // It is not to get calls in the middle of that.
                self.close(&other, CloseReason::Replaced { by }, now);
                continue;
            }
            self.set_phase(&other, Phase::Retiring { until, by });
            self.work.push_back(Work::Turns(other));
        }
        self.update_roster();
        self.work.push_back(Work::Turns(plugin.clone()));
        self.work.push_back(Work::Phases);
        let instance = self.plugins.get_mut(plugin);
        if instance.is_some_and(|instance| std::mem::take(&mut instance.again)) {
            self.join(plugin, now);
        }
    }

    /// Has a plugin closed.
    pub(super) fn close(&mut self, plugin: &RegisteredPlugin, reason: CloseReason, now: Instant) {
        if !self.plugins.contains_key(plugin) {
            return;
        }
        self.effects.push_back(Effect::Close {
            plugin: plugin.clone(),
            reason,
        });
        self.remove(plugin, now);
    }

    /// Forgets a plugin. What it was asked is answered for it, what waits for it goes to whoever
    /// had its place when that began.
    pub(super) fn remove(&mut self, plugin: &RegisteredPlugin, now: Instant) {
        let Some(instance) = self.plugins.remove(plugin) else {
            return;
        };
        self.awaiting.remove(plugin);
        if let Some(until) = instance.phase.until() {
            self.timers.cancel(until, Timer::Phase(plugin.clone()));
        }
        self.update_roster();
        for (call, turn) in instance.turns {
            self.calls.remove(&call);
            self.cancel_timers(call, &turn);
            let delivered = turn.handed;
            let gone = Reply::Gone { delivered };
            let timing = Timing {
                since: turn.since,
                took: Some(now - turn.began),
            };
            self.answer(&turn.purpose, turn.message.event(), gone, timing);
        }
        for waiting in instance.waiting {
            if waiting.purpose.awaited {
                self.queue(waiting);
            }
        }
        self.reinstate(plugin, now);
        if instance.told_early && !instance.opened {
            // An older one that observes has missed what was kept for it.
            let older = self.same_identity(plugin).last();
            if let Some(older) = older.map(|older| older.member.plugin.clone()) {
                self.show_again(&older, now);
            }
        }
        self.work.push_back(Work::Phases);
    }

    /// Drops what a plugin would be told, and has it synchronised again; returns how much that was.
    pub(super) fn show_again(&mut self, plugin: &RegisteredPlugin, now: Instant) -> usize {
        let Some(instance) = self.plugins.get_mut(plugin) else {
            return 0;
        };
        let missed = instance.backlog.clear();
        match instance.phase {
            Phase::Open => self.join(plugin, now),
            Phase::Synchronize { .. } | Phase::Synchronizing { .. } => instance.again = true,
            // It is not shown anything yet, or not any more.
            Phase::Held { .. } | Phase::Settling { .. } | Phase::Retiring { .. } => {}
        }
        missed
    }

    /// When an instance that has taken over is disconnected before the older one is, that one
    /// stays. It is synchronised again, since it missed what went to the newer one.
    fn reinstate(&mut self, gone: &RegisteredPlugin, now: Instant) {
        let retiring = self
            .same_identity(gone)
            .filter(|other| matches!(&other.phase, Phase::Retiring { by, .. } if by == gone))
            .map(|other| other.member.plugin.clone())
            .last();
        if let Some(older) = retiring {
            self.join(&older, now);
        }
    }

    fn phase(&mut self, plugin: &RegisteredPlugin) -> Option<&mut Phase> {
        self.plugins
            .get_mut(plugin)
            .map(|instance| &mut instance.phase)
    }

    /// Changes a plugin's phase together with its timer.
    fn set_phase(&mut self, plugin: &RegisteredPlugin, phase: Phase) {
        let Some(instance) = self.plugins.get_mut(plugin) else {
            return;
        };
        if let Some(until) = instance.phase.until() {
            self.timers.cancel(until, Timer::Phase(plugin.clone()));
        }
        if let Some(until) = phase.until() {
            self.timers.set(until, Timer::Phase(plugin.clone()));
        }
        // Most plugins are open, and every call that ends looks at these.
        match phase {
            Phase::Settling { .. } | Phase::Retiring { .. } => self.awaiting.insert(plugin.clone()),
            _ => self.awaiting.remove(plugin),
        };
        instance.phase = phase;
    }

    /// One member per identity: the newest instance that joins or is open. While that one is not
    /// open, it stands for the older one as well, which takes its place if it fails.
    pub(super) fn update_roster(&mut self) {
        let mut members: BTreeMap<&PluginId, Member> = BTreeMap::new();
        for (plugin, instance) in &self.plugins {
            if instance.is_held() || instance.is_retiring() {
                continue;
            }
            let mut member = instance.member.clone();
            match members.get(&plugin.id) {
                Some(older) if !instance.opened => member.events |= older.events,
                _ => {}
            }
            members.insert(&plugin.id, member);
        }
        self.roster = self.config.roster(members.into_values(), &self.known_pods);
        self.revision += 1;
    }
}
