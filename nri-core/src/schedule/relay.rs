//! Requests on their way, from the slot through the turns until they are through the plugins. How
//! they end is in `finish`.

use std::time::{Duration, Instant};

use super::active::{Record, Running, Stage};
use super::instance::{Phase, Purpose, Turn, Waiting};
use super::state::{Timing, Work};
use super::timers::Timer;
use super::{AfterLate, CallId, CloseReason, Effect, Job, RequestId, Scheduler};
use crate::flow::{Call, Flow, Reply, Roster, Step};
use crate::lifecycle::{Due, LifecycleError, ObjectKey};
use crate::{Error, Event, RegisteredPlugin, Response, Subject};

impl<J: Job> Scheduler<J> {
    /// Begins a request that has its pod's slot.
    pub(super) fn begin(&mut self, id: RequestId, now: Instant) {
        let Some(active) = self.requests.get(&id) else {
            return;
        };
        if active.is_over(now) {
            return self.request_is_out_of_time(id);
        }
        let step = self.step(id);
        self.note_pod(id);
        let began = self.next_number();
        let Some(active) = self.requests.get_mut(&id) else {
            return;
        };
        active.began = began;
        let roster = match &active.undoes {
            None if step == Ok(Due::Nothing) => Roster::default(),
            None if active.validated_elsewhere => self.roster.clone().without_validation(),
            None => self.roster.clone(),
            Some((_, seen)) => {
                let those = self.plugins.values().map(|instance| &instance.member);
                let those = those.filter(|member| seen.contains(&member.plugin));
                // What they ask for is judged by others as well.
                let judging = Event::ValidateContainerAdjustment;
                let judges = self.roster.members().iter().filter(|member| {
                    member.validates_updates
                        && member.events.contains(judging)
                        && !seen.contains(&member.plugin)
                });
                let judges = judges.cloned().map(|mut judge| {
                    judge.events = judging.into();
                    judge
                });
                self.config
                    .roster(those.cloned().chain(judges), &self.known_pods)
            }
        };
        let flow = active.job.begin(&roster);
        let event = active.event;
        let observers = roster.observers().iter();
        let observers = observers.filter(|member| member.events.contains(event));
        active.observers = match event {
            Event::ValidateContainerAdjustment => Vec::new(),
            _ => observers.map(|member| member.plugin.clone()).collect(),
        };
        active.stage = Stage::Running(Running {
            flow,
            roster,
            records: Vec::new(),
        });
        if let Err(error) = step {
            return self.finish(id, Some(error.into()));
        }
        self.work.push_back(Work::Advance(id));
    }

    /// Notes which pod the container of a request is in.
    fn note_pod(&self, id: RequestId) {
        let Some(active) = self.requests.get(&id) else {
            return;
        };
        let request = active.job.message();
        let request = request.filter(|_| active.object.subject() == Subject::Container);
        if let Some(request) = request {
            let known_pods = &self.known_pods;
            known_pods.note_encoded(&active.object, &active.pod, &request.pod_bytes());
            known_pods.prune(&self.lives);
        }
    }

    /// Begins the step in an object's life that a request is, and says what is due. An undoing is
    /// no step: it was taken when the creation came to nothing.
    fn step(&mut self, id: RequestId) -> Result<Due, LifecycleError> {
        let Some(active) = self.requests.get_mut(&id) else {
            return Ok(Due::Nothing);
        };
        // Nor is a validation one.
        if active.undoes.is_some() || active.event == Event::ValidateContainerAdjustment {
            return Ok(Due::Event);
        }
        if active.event == Event::CreateContainer {
            active.birth = Some(self.lives.create(&active.object)?);
            let object = active.object.clone();
            self.no_longer_strange(&object);
            return Ok(Due::Event);
        }
        let appears = active.is_appearance();
        active.restarts = self.lives.may_restart(&active.object);
        let due = self.lives.begin(&active.object, active.event)?;
        let (object, event) = (active.object.clone(), active.event);
        if appears {
            self.no_longer_strange(&object);
        }
        if event.shows_existence() {
            self.note_existence(&object);
        }
        Ok(due)
    }

    /// What is told of a container shows that its creation came to something, so joining plugins
    /// need not wait for that.
    fn note_existence(&mut self, object: &ObjectKey) {
        let unsettled = self.unsettled.get(object).copied();
        if let Some(active) = unsettled.and_then(|creation| self.requests.get_mut(&creation)) {
            active.exists = true;
        }
        if let Some(creation) = unsettled {
            self.tell_what_was_held(creation);
            self.no_longer_before(creation);
        }
    }

    /// Makes the calls that a request's flow wants, as far as it can go.
    pub(super) fn advance(&mut self, id: RequestId, now: Instant) {
        loop {
            let Some(running) = self
                .requests
                .get_mut(&id)
                .and_then(|active| active.running())
            else {
                return;
            };
            match running.flow.next() {
                Step::Call(call) => self.place(id, call, now),
                Step::Wait => return,
                Step::Done => return self.finish(id, None),
            }
        }
    }

    /// Puts a call in the queue of the plugin it is for, or answers it if there is no use in that.
    fn place(&mut self, id: RequestId, call: Call, now: Instant) {
        let Some(active) = self.requests.get_mut(&id) else {
            return;
        };
        let purpose = Purpose {
            request: id,
            awaited: true,
            asked_as: call.plugin,
            pod: active.pod.clone(),
            undoes: active.undoes.is_some(),
            observed: None,
        };
        if let Some(running) = active.running() {
            running.records.push(Record {
                asked_as: purpose.asked_as.clone(),
                event: call.request.event(),
                actual: purpose.asked_as.clone(),
                handed: false,
                unsubscribed: false,
                unaware: false,
                resolved: false,
                took: None,
            });
        }
        let waiting = Waiting {
            purpose,
            message: call.request,
            since: now,
        };
        self.queue(waiting);
    }

    /// Begins the calls that a plugin has places for.
    pub(super) fn give_turns(&mut self, plugin: &RegisteredPlugin, now: Instant) {
        while let Some(Waiting {
            purpose,
            message,
            since,
        }) = self
            .plugins
            .get_mut(plugin)
            .and_then(|instance| instance.next_turn(now))
        {
            // What an observer hears was looked at when it happened.
            if purpose.observed.is_none() && !self.may_hear(plugin, &purpose, message.event()) {
                let nothing = Reply::Answer(Response::empty(message.event()));
                let untimed = Timing { since, took: None };
                self.answer(&purpose, message.event(), nothing, untimed);
                self.work.push_back(Work::Phases);
                continue;
            }
            let call = CallId(self.next_number());
            let Some(instance) = self.plugins.get_mut(plugin) else {
                return;
            };
            let own = now + instance.limits.request_timeout;
            let left = self.requests.get(&purpose.request);
            let left = left.filter(|active| purpose.awaited && !active.event.is_notification());
            let left = left.and_then(|active| active.budget);
            let deadline = left.map_or(own, |left| own.min(left));
            // Longer than the scheduler itself waits, which says what that means.
            let patience = own + instance.limits.owed() + instance.limits.request_timeout;
            let (request, observed) = (purpose.request, purpose.observed.is_some());
            let turn = Turn {
                purpose,
                message: message.clone(),
                since,
                began: now,
                deadline,
                owed_until: None,
                late: false,
                blamed: false,
                handed: false,
            };
            instance.turns.insert(call, turn);
            self.calls.insert(call, plugin.clone());
            self.timers.set(deadline, Timer::Call(call));
            self.effects.push_back(Effect::Call {
                call,
                plugin: plugin.clone(),
                request,
                message,
                deadline,
                patience,
                observed,
            });
        }
    }

    /// Whether a plugin gets a call that has its turn; what it does not know is put on record.
    fn may_hear(&mut self, plugin: &RegisteredPlugin, purpose: &Purpose, event: Event) -> bool {
        let Some(instance) = self.plugins.get_mut(plugin) else {
            return true;
        };
        // Who hears of an undoing has been chosen before.
        if instance.strange.is_empty() || purpose.undoes {
            return true;
        }
        let Some(active) = self.requests.get_mut(&purpose.request) else {
            return true;
        };
        let state = self.lives.state(&active.object);
        if instance.may_hear(event, &active.object, state) {
            return true;
        }
        if let Some(record) = active
            .running()
            .and_then(|running| running.record(&purpose.asked_as, event))
        {
            record.unaware = true;
        }
        false
    }

    /// Takes the answer to a call in: towards the request, unless it is late, and towards the
    /// plugin.
    pub(super) fn take_reply(&mut self, call: CallId, reply: Reply, now: Instant) {
        let Some(plugin) = self.calls.get(&call).cloned() else {
            return;
        };
        if let Reply::Late { .. } | Reply::Busy = reply {
            // Only the answer itself, or the loss of the connection, frees the turn.
            self.call_is_late(call, now);
            return;
        }
        let Some(turn) = self.end_turn(call) else {
            return;
        };
        if turn.purpose.observed.is_some() {
            return self.observer_answered(&plugin, &turn, &reply, now);
        }
        let Some(instance) = self.plugins.get_mut(&plugin) else {
            return;
        };
        if turn.late {
            let caught_up = !instance.turns.values().any(|turn| turn.late);
            if caught_up
                && instance.limits.after_late == AfterLate::Resync
                && matches!(instance.phase, Phase::Open)
            {
                self.join(&plugin, now);
            }
            return;
        }
        if let Reply::Answer(_) | Reply::Error { .. } = reply {
            *instance.strikes.row(turn.message.event()) = 0;
        }
        let timing = Timing {
            since: turn.since,
            took: Some(now - turn.began),
        };
        self.answer(&turn.purpose, turn.message.event(), reply, timing);
    }

    /// Whether a caller waits for what is asked in a call, so that the plugin can be blamed for
    /// being late. Nobody does who has left, or whose time is over as well.
    fn is_waited_for(&mut self, purpose: &Purpose, now: Instant) -> bool {
        if purpose.observed.is_some() {
            return false;
        }
        let deadline = self
            .requests
            .get(&purpose.request)
            .and_then(|active| active.deadline);
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.request_is_out_of_time(purpose.request);
        }
        let active = self.requests.get(&purpose.request);
        purpose.undoes || active.is_some_and(|active| !active.left)
    }

    /// A plugin's time for a call is over: its request goes on, the plugin keeps the turn, and
    /// others do not wait for it.
    pub(super) fn call_is_late(&mut self, call: CallId, now: Instant) {
        let Some(plugin) = self.calls.get(&call).cloned() else {
            return;
        };
        let purpose = self
            .plugins
            .get(&plugin)
            .and_then(|instance| instance.turns.get(&call))
            .filter(|turn| !turn.late)
            .map(|turn| turn.purpose.clone());
        let Some(purpose) = purpose else {
            return;
        };
        let waited_for = self.is_waited_for(&purpose, now);
        let active = self.requests.get(&purpose.request);
        let allowance = active.map_or(Duration::ZERO, |active| active.allowance);
        let Some(instance) = self.plugins.get_mut(&plugin) else {
            return;
        };
        let limits = instance.limits.clone();
        let Some(turn) = instance.turns.get_mut(&call).filter(|turn| !turn.late) else {
            return;
        };
        turn.late = true;
        self.revision += 1;
        let took = now - turn.began;
        // One that was cut short is to blame if the others had less time than it.
        let blamed = waited_for && (took >= limits.request_timeout || took * 2 >= allowance);
        turn.blamed = blamed;
        self.timers.cancel(turn.deadline, Timer::Call(call));
        let until = now + limits.owed();
        turn.owed_until = Some(until);
        self.timers.set(until, Timer::Owed(call));
        let event = turn.message.event();
        let timing = Timing {
            since: turn.since,
            took: Some(now - turn.began),
        };
        let row = instance.strikes.row(event);
        *row += u32::from(blamed);
        let strikes = *row;
        let away = instance.turn_away();
        let late = Reply::Late {
            after: took.min(limits.request_timeout),
        };
        self.record_observed(&plugin, &purpose, event, &late, timing);
        self.answer(&purpose, event, late, timing);
        // Parted from its request: what comes is dropped.
        if let Some(turn) = self
            .plugins
            .get_mut(&plugin)
            .and_then(|instance| instance.turns.get_mut(&call))
        {
            turn.purpose.awaited = false;
        }
        for (purpose, event, since) in away {
            let timing = Timing { since, took: None };
            self.answer(&purpose, event, Reply::Busy, timing);
        }
        self.work.push_back(Work::Phases);
        if !blamed {
            return;
        }
        if limits.after_late == AfterLate::Close {
            self.close(&plugin, CloseReason::Late, now);
        } else if limits.strikes > 0 && strikes >= limits.strikes {
            self.close(&plugin, CloseReason::Strikes(strikes), now);
        }
    }

    /// An answer has been owed for as long as it is waited for: its plugin hangs, or is to be kept
    /// all the same, or nobody ever waited for this one.
    pub(super) fn owed_too_long(&mut self, call: CallId, now: Instant) {
        let Some(plugin) = self.calls.get(&call).cloned() else {
            return;
        };
        let turn = self.plugins.get(&plugin);
        let turn = turn.and_then(|instance| instance.turns.get(&call));
        if turn.is_some_and(|turn| turn.purpose.observed.is_some()) {
            self.end_turn(call);
            return self.fall_behind(&plugin, now);
        }
        let hangs = self.plugins.get(&plugin).is_some_and(|instance| {
            let turn = instance.turns.get(&call);
            instance.limits.strikes > 0 && turn.is_some_and(|turn| turn.blamed)
        });
        match hangs {
            true => self.close(&plugin, CloseReason::Hanging, now),
            false => self.take_reply(call, Reply::Gone { delivered: true }, now),
        }
    }

    /// A caller's time is over.
    pub(super) fn request_is_out_of_time(&mut self, id: RequestId) {
        let Some(active) = self.requests.get(&id) else {
            return;
        };
        if active.event.is_notification() {
            self.caller_left(id);
            self.effects.push_back(Effect::OutOfTime { request: id });
        } else {
            self.end_early(id);
        }
    }

    /// A caller has left.
    pub(super) fn abandon(&mut self, id: RequestId) {
        match self.requests.get(&id) {
            Some(active) if active.event.is_notification() => self.caller_left(id),
            Some(active) if !matches!(active.stage, Stage::Unsettled(_)) => self.end_early(id),
            _ => {}
        }
    }

    /// The request goes on without its caller.
    pub(super) fn caller_left(&mut self, id: RequestId) {
        self.forget_deadline(id);
        if let Some(active) = self.requests.get_mut(&id) {
            active.left = true;
        }
    }

    /// Ends a request that may be refused, wherever it is. Calls that were handed over keep their
    /// turns, others are not made.
    pub(super) fn end_early(&mut self, id: RequestId) {
        let Some(active) = self.requests.get_mut(&id) else {
            return;
        };
        if matches!(active.stage, Stage::Queued) {
            // It never began; a flow that never began can still say so.
            let roster = self.roster.clone();
            let flow = active.job.begin(&roster);
            active.stage = Stage::Running(Running {
                flow,
                roster,
                records: Vec::new(),
            });
        }
        let error = Error::OutOfTime {
            event: active.event,
            subject: active.job.subject(),
        };
        let mut unmade = Vec::new();
        for instance in self.plugins.values_mut() {
            instance
                .waiting
                .retain(|waiting| waiting.purpose.request != id);
            for (call, turn) in &instance.turns {
                if turn.purpose.request == id && !turn.handed {
                    unmade.push(*call);
                }
            }
        }
        for call in unmade {
            self.end_turn(call);
        }
        self.finish(id, Some(error));
    }
}
