//! Calls: whom one is for, the queue it waits in, what its request hears of it, and the turn that
//! it frees.
//!
//! Joining and relaying stand on this. What may not enter: when a plugin comes or goes, when a
//! request begins or ends.

use super::active::Active;
use super::instance::Phase;
use super::instance::{Instance, Purpose, Turn, Waiting};
use super::state::{Timing, Work};
use super::timers::Timer;
use super::{CallId, CallOutcome, Effect, Job, RequestId, Scheduler};
use crate::flow::{Flow, Reply};
use crate::{Event, RegisteredPlugin, Response};

impl<J: Job> Scheduler<J> {
    /// The instance that gets an event of a request that is meant for a plugin.
    pub(super) fn addressee(
        &self,
        active: &Active<J>,
        asked_as: &RegisteredPlugin,
        event: Event,
    ) -> Option<RegisteredPlugin> {
        let alive = |plugin: &RegisteredPlugin| self.plugins.contains_key(plugin);
        if active.undoes.is_some() {
            // Only who saw what is undone.
            return Some(asked_as.clone()).filter(alive);
        }
        // What a request itself tells comes before what else is asked because of it.
        let before = match event == active.event {
            true => &[],
            false => active.records(),
        };
        let before = before
            .iter()
            .find(|record| record.asked_as == *asked_as && record.event != event);
        match before {
            // Who was asked about a creation judges it.
            Some(record) => Some(record.actual.clone()).filter(alive),
            None => self.stand_in(asked_as, event, active.began),
        }
    }

    /// A plugin itself, or else the instance of the same identity that has taken over from it, or
    /// from which it has not (yet) taken over. Never one that came after the request had begun:
    /// that one waits for the request, and is synchronised with what came of it. So waiting always
    /// goes back in time, and nobody waits in a circle.
    fn stand_in(
        &self,
        asked_as: &RegisteredPlugin,
        event: Event,
        began: u64,
    ) -> Option<RegisteredPlugin> {
        let meant = self.plugins.get(asked_as);
        let stands_in = |instance: &&Instance| match meant {
            None => !instance.is_held() && instance.admitted < began,
            // Until it has taken over, the older one gets what it does not ask for.
            Some(meant) => {
                !meant.opened
                    && !meant.member.events.contains(event)
                    && instance.opened
                    && !instance.is_retiring()
                    && instance.member.events.contains(event)
            }
        };
        self.same_identity(asked_as)
            .filter(stands_in)
            .max_by_key(|instance| {
                (
                    !instance.is_retiring(),
                    instance.opened,
                    instance.member.plugin.registration,
                )
            })
            .or(meant)
            .map(|instance| instance.member.plugin.clone())
    }

    /// The same for a call that is on record already.
    pub(super) fn queue(&mut self, mut waiting: Waiting) {
        let event = waiting.message.event();
        let untimed = Timing {
            since: waiting.since,
            took: None,
        };
        let Some(active) = self.requests.get(&waiting.purpose.request) else {
            return;
        };
        let hurried = active.hurried;
        let target = self.addressee(active, &waiting.purpose.asked_as, event);
        let record = self
            .requests
            .get_mut(&waiting.purpose.request)
            .and_then(|active| active.running())
            .and_then(|running| running.record(&waiting.purpose.asked_as, event));
        let Some(instance) = target
            .as_ref()
            .and_then(|target| self.plugins.get_mut(target))
        else {
            let gone = Reply::Gone { delivered: false };
            return self.answer(&waiting.purpose, event, gone, untimed);
        };
        let subscribed = instance.member.events.contains(event);
        if let Some(record) = record {
            record.actual = instance.member.plugin.clone();
            record.unsubscribed = !subscribed;
        }
        if !subscribed {
            let nothing = Reply::Answer(Response::empty(event));
            return self.answer(&waiting.purpose, event, nothing, untimed);
        }
        if hurried {
            let purpose = waiting.purpose.clone();
            instance.leave_to_itself(waiting);
            self.work
                .push_back(Work::Turns(instance.member.plugin.clone()));
            return self.answer(&purpose, event, Reply::Busy, untimed);
        }
        if !instance.is_busy_for(&waiting.purpose.pod) {
            self.work
                .push_back(Work::Turns(instance.member.plugin.clone()));
            instance.waiting.push_back(waiting);
            return;
        }
        let purpose = waiting.purpose.clone();
        if purpose.undoes {
            // It hears of it once its late answer has come; nobody waits for that.
            waiting.purpose.awaited = false;
            instance.waiting.push_back(waiting);
        }
        self.answer(&purpose, event, Reply::Busy, untimed);
    }

    /// Tells a request what came of one of its calls.
    pub(super) fn answer(&mut self, purpose: &Purpose, event: Event, reply: Reply, timing: Timing) {
        let id = purpose.request;
        if !purpose.awaited {
            return;
        }
        let Some(active) = self.requests.get_mut(&id) else {
            return;
        };
        let (pod, object) = (active.pod.clone(), active.object.clone());
        let Some(running) = active.running() else {
            return;
        };
        if let Some(record) = running.record(&purpose.asked_as, event) {
            record.resolved = true;
            record.took = timing.took;
            if !record.unsubscribed && !record.unaware {
                self.effects.push_back(Effect::CallResolved {
                    request: id,
                    plugin: record.actual.clone(),
                    event,
                    pod,
                    object,
                    outcome: CallOutcome::from(&reply),
                    since: timing.since,
                    took: timing.took,
                });
            }
            if let Reply::Gone { delivered } = reply {
                record.handed = delivered;
            }
        }
        running.flow.answer(&purpose.asked_as, reply);
        self.work.push_back(Work::Advance(id));
    }

    /// Frees the turn of a call, and what hangs on it.
    pub(super) fn end_turn(&mut self, call: CallId) -> Option<Turn> {
        let plugin = self.calls.remove(&call)?;
        let turn = self.plugins.get_mut(&plugin)?.turns.remove(&call)?;
        self.cancel_timers(call, &turn);
        self.revision += u64::from(turn.late);
        self.work.push_back(Work::Turns(plugin));
        self.work.push_back(Work::Phases);
        Some(turn)
    }

    pub(super) fn cancel_timers(&mut self, call: CallId, turn: &Turn) {
        self.timers.cancel(turn.deadline, Timer::Call(call));
        if let Some(until) = turn.owed_until {
            self.timers.cancel(until, Timer::Owed(call));
        }
    }

    /// A request is settled, so nobody waits for that any more.
    pub(super) fn no_longer_before(&mut self, id: RequestId) {
        for instance in self.plugins.values_mut() {
            if let Phase::Settling { before, .. } = &mut instance.phase {
                before.remove(&id);
            }
        }
        self.work.push_back(Work::Phases);
    }

    pub(super) fn same_identity(
        &self,
        plugin: &RegisteredPlugin,
    ) -> impl Iterator<Item = &Instance> {
        let first = RegisteredPlugin {
            id: plugin.id.clone(),
            registration: 0,
        };
        let id = plugin.id.clone();
        self.plugins
            .range(first..)
            .map(|(_, instance)| instance)
            .take_while(move |instance| instance.member.plugin.id == id)
    }
}
