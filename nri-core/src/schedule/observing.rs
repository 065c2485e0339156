//! What observers hear: what has happened, once it has, and never of what does not exist.
//!
//! What may not enter: what a request waits for.

use std::sync::Arc;
use std::time::Instant;

use super::active::{Active, Held};
use super::backlog::Told;
use super::instance::{Purpose, Turn};
use super::state::{Timing, Work};
use super::{CallOutcome, Effect, Job, RequestId, Scheduler};
use crate::flow::Reply;
use crate::model::State;
use crate::{EncodedRequest, Event, PluginId, RegisteredPlugin};

impl<J: Job> Scheduler<J> {
    /// A request is through the plugins. Its observers are told, if it has happened: of a creation
    /// once its container is known to exist, and then of what ended it meanwhile.
    pub(super) fn tell_observers(
        &mut self,
        request: RequestId,
        active: &mut Active<J>,
        told: Option<Arc<EncodedRequest>>,
    ) {
        let Some(message) = told else {
            active.observers.clear();
            return;
        };
        let held = Held {
            request,
            observers: active.observers.clone(),
            message,
        };
        if active.event == Event::CreateContainer {
            // They are still waited for.
            active.held.push(held);
            return;
        }
        active.observers.clear();
        let creation = self.unsettled.get(&active.object);
        let creation = creation.and_then(|creation| self.requests.get_mut(creation));
        match creation.filter(|creation| !creation.exists) {
            Some(creation) => creation.held.push(held),
            None => self.tell(active, held),
        }
    }

    /// A container that was created is known to exist.
    pub(super) fn tell_what_was_held(&mut self, creation: RequestId) {
        if let Some(mut active) = self.requests.remove(&creation) {
            self.release(&mut active);
            self.requests.insert(creation, active);
        }
    }

    /// Tells what was held back of a creation, unless the container is gone by now.
    pub(super) fn release(&mut self, active: &mut Active<J>) {
        let held = std::mem::take(&mut active.held);
        if self.lives.state(&active.object) != State::Removed {
            for held in held {
                self.tell(active, held);
            }
        }
        active.observers.clear();
    }

    fn tell(&mut self, active: &Active<J>, held: Held) {
        let Held {
            request,
            observers,
            message,
        } = held;
        let (event, object) = (message.event(), &active.object);
        let appears = matches!(event, Event::CreateContainer | Event::RunPodSandbox);
        let state = self.lives.state(object);
        for observer in observers {
            let plugin = self.addressee(active, &observer, event);
            let Some(instance) = plugin.and_then(|plugin| self.plugins.get_mut(&plugin)) else {
                self.show_newest_again(active, &observer, event);
                continue;
            };
            let knows = appears || active.undoes.is_some();
            let knows = knows || instance.may_hear(event, object, state);
            if !knows || !instance.member.events.contains(event) {
                continue;
            }
            instance.strange.remove(object);
            instance.told_early |= !instance.opened;
            let told = Told {
                request,
                pod: active.pod.clone(),
                object: object.clone(),
                message: Arc::clone(&message),
            };
            let plugin = instance.member.plugin.clone();
            self.work.push_back(match instance.tell_later(told) {
                true => Work::Turns(plugin),
                false => Work::Behind(plugin),
            });
        }
    }

    /// Nobody is there any more who was to be told this. One that has taken over since the request
    /// began may have been shown what exists without waiting for its end, and has to see it again.
    fn show_newest_again(&mut self, active: &Active<J>, observer: &RegisteredPlugin, event: Event) {
        let newest = self.same_identity(observer).last();
        let newest = newest.filter(|newest| newest.member.events.contains(event));
        if let Some(newest) = newest.filter(|_| active.undoes.is_none()) {
            let newest = newest.member.plugin.clone();
            self.work.push_back(Work::Behind(newest));
        }
    }

    /// A plugin observes no more.
    pub(super) fn forget_observer(&mut self, id: &PluginId) {
        for active in self.requests.values_mut() {
            active.observers.retain(|observer| observer.id != *id);
            for held in &mut active.held {
                held.observers.retain(|observer| observer.id != *id);
            }
        }
    }

    /// An observer has missed something: it is synchronised again.
    pub(super) fn fall_behind(&mut self, plugin: &RegisteredPlugin, now: Instant) {
        if self.plugins.contains_key(plugin) {
            let missed = self.show_again(plugin, now);
            self.effects.push_back(Effect::FellBehind {
                plugin: plugin.clone(),
                missed,
            });
        }
    }

    /// What came of telling an observer something.
    pub(super) fn observer_answered(
        &mut self,
        plugin: &RegisteredPlugin,
        turn: &Turn,
        reply: &Reply,
        now: Instant,
    ) {
        if !turn.late {
            let timing = Timing {
                since: turn.since,
                took: Some(now - turn.began),
            };
            self.record_observed(plugin, &turn.purpose, turn.message.event(), reply, timing);
        }
        if let Reply::Gone { .. } = reply {
            // If it is still there, it has not heard of it.
            self.show_again(plugin, now);
        }
    }

    /// Puts on record what came of telling an observer something.
    pub(super) fn record_observed(
        &mut self,
        plugin: &RegisteredPlugin,
        purpose: &Purpose,
        event: Event,
        reply: &Reply,
        timing: Timing,
    ) {
        if let Some(object) = &purpose.observed {
            self.effects.push_back(Effect::CallResolved {
                request: purpose.request,
                plugin: plugin.clone(),
                event,
                pod: purpose.pod.clone(),
                object: object.clone(),
                outcome: CallOutcome::from(reply),
                since: timing.since,
                took: timing.took,
            });
        }
    }
}
