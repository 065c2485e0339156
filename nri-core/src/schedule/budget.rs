//! The end of a caller's budget: its request goes on without whom it waits for.
//!
//! What may not enter: what lateness means for a request or a plugin.

use std::collections::VecDeque;
use std::time::Instant;

use super::active::Stage;
use super::instance::Waiting;
use super::state::Timing;
use super::{Effect, Job, RequestId, Scheduler};
use crate::flow::Reply;

impl<J: Job> Scheduler<J> {
    /// A caller's budget is over: it gets what is known.
    pub(super) fn budget_is_over(&mut self, id: RequestId, now: Instant) {
        let Some(active) = self.requests.get_mut(&id) else {
            return;
        };
        active.budget = None;
        if active.left {
            return;
        }
        if active.event.is_notification() {
            self.caller_left(id);
            self.effects.push_back(Effect::Released { request: id });
            return;
        }
        if let Stage::Queued = active.stage {
            let pod = active.pod.clone();
            let ahead = self.slots.ahead(&pod, id);
            let waits = |id: &RequestId| {
                let active = self.requests.get(id);
                active.is_some_and(|active| !active.left && active.undoes.is_none())
            };
            if ahead.iter().any(waits) {
                // Others want to know what comes of what is before it.
                return self.end_early(id);
            }
            for ahead in ahead {
                self.hurry(ahead, now);
            }
        }
        self.hurry(id, now);
    }

    /// Has a request go on at once, whomever it waits for.
    fn hurry(&mut self, id: RequestId, now: Instant) {
        if let Some(active) = self.requests.get_mut(&id) {
            active.hurried = true;
        }
        let (mut waited, mut unmade, mut made) = (Vec::new(), Vec::new(), Vec::new());
        for (plugin, instance) in &mut self.plugins {
            let is_own =
                |waiting: &Waiting| waiting.purpose.request == id && waiting.purpose.awaited;
            let waiting = std::mem::take(&mut instance.waiting).into_iter();
            let (own, others): (VecDeque<_>, VecDeque<_>) = waiting.partition(is_own);
            instance.waiting = others;
            for waiting in own {
                let event = waiting.message.event();
                waited.push((waiting.purpose.clone(), event, waiting.since));
                instance.leave_to_itself(waiting);
            }
            for (call, turn) in &instance.turns {
                match turn.purpose.request == id && !turn.late {
                    true if turn.handed => made.push(*call),
                    true => unmade.push((plugin.clone(), *call)),
                    false => {}
                }
            }
        }
        for (plugin, call) in unmade {
            let (Some(turn), Some(instance)) = (self.end_turn(call), self.plugins.get_mut(&plugin))
            else {
                continue;
            };
            waited.push((turn.purpose.clone(), turn.message.event(), turn.since));
            instance.leave_to_itself(Waiting {
                purpose: turn.purpose,
                message: turn.message,
                since: turn.since,
            });
        }
        for (purpose, event, since) in waited {
            let untimed = Timing { since, took: None };
            self.answer(&purpose, event, Reply::Busy, untimed);
        }
        for call in made {
            self.call_is_late(call, now);
        }
    }
}
