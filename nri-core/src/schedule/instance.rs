//! One connection of one plugin: its turns, who waits for them, and where it is in its life.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::backlog::{Backlog, Told};
use super::{CallId, PluginLimits, RequestId};
use crate::flow::Member;
use crate::lifecycle::ObjectKey;
use crate::model::State;
use crate::{EncodedRequest, Event, RegisteredPlugin};

/// Where a plugin is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// The runtime keeps plugins from joining. No request includes it yet.
    Held { until: Instant },
    /// Requests include it and wait; those that began before it came are still under way.
    Settling {
        until: Instant,
        before: BTreeSet<RequestId>,
    },
    /// The runtime lists what it has.
    Synchronize { until: Instant },
    /// It is being synchronised.
    Synchronizing { until: Instant },
    /// It gets requests.
    Open,
    /// A newer instance has taken over; it gets the requests that began with it.
    Retiring {
        until: Instant,
        by: RegisteredPlugin,
    },
}

impl Phase {
    /// When the phase ends by itself.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Phase::Held { until }
            | Phase::Settling { until, .. }
            | Phase::Synchronize { until }
            | Phase::Synchronizing { until }
            | Phase::Retiring { until, .. } => Some(*until),
            Phase::Open => None,
        }
    }
}

/// For whom a call is made.
#[derive(Debug, Clone)]
pub(super) struct Purpose {
    pub(super) request: RequestId,
    /// Whether the request waits for it.
    pub(super) awaited: bool,
    /// What the request's flow calls the plugin; after a take-over the plugin may be another
    /// instance.
    pub(super) asked_as: RegisteredPlugin,
    /// The pod that it is about: the plugin gets one call per pod at a time.
    pub(super) pod: ObjectKey,
    /// Whether it undoes a creation that the plugin saw, so that it has to hear of it even if it
    /// is late.
    pub(super) undoes: bool,
    /// What it is about, where it tells an observer: its request may be over then.
    pub(super) observed: Option<ObjectKey>,
}

/// A call that waits for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) purpose: Purpose,
    pub(super) message: Arc<EncodedRequest>,
    /// Since when.
    pub(super) since: Instant,
}

/// A call that has its turn.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) purpose: Purpose,
    pub(super) message: Arc<EncodedRequest>,
    /// When the call was to be made.
    pub(super) since: Instant,
    /// When it got the turn.
    pub(super) began: Instant,
    pub(super) deadline: Instant,
    /// Until when the answer is waited for; set once it is late.
    pub(super) owed_until: Option<Instant>,
    pub(super) late: bool,
    /// Whether it is late and somebody waited for it.
    pub(super) blamed: bool,
    /// Whether it was handed to the transport.
    pub(super) handed: bool,
}

/// Late answers in a row. Judging has a row of its own: an answer in time about anything else does
/// not end it, or a validator that is asked about creations as well could be late for ever.
#[derive(Debug, Default)]
pub(super) struct Strikes {
    asked: u32,
    judging: u32,
}

impl Strikes {
    /// The row that answers to an event count for.
    pub(super) fn row(&mut self, event: Event) -> &mut u32 {
        match event {
            Event::ValidateContainerAdjustment => &mut self.judging,
            _ => &mut self.asked,
        }
    }
}

/// How many calls may wait for a plugin when one is added for which nobody waits.
const MOST_LEFT: usize = 1024;

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) member: Member,
    pub(super) limits: PluginLimits,
    pub(super) phase: Phase,
    /// When it was let in, in the scheduler's own count; 0 while it is held.
    pub(super) admitted: u64,
    /// Whether it was open once.
    pub(super) opened: bool,
    pub(super) strikes: Strikes,
    pub(super) turns: BTreeMap<CallId, Turn>,
    pub(super) waiting: VecDeque<Waiting>,
    /// What exists and it does not know: it was not shown it, and was not there when it appeared.
    /// No end of it is brought to the plugin.
    pub(super) strange: BTreeSet<ObjectKey>,
    /// Whether it is to be synchronised once more when it has been.
    pub(super) again: bool,
    /// Whether it was synchronised, so that only events add to what it knows.
    pub(super) shown: bool,
    /// What it is told as an observer, when it has the time.
    pub(super) backlog: Backlog,
    /// Whether it was told something as an observer before it was open, in place of an older
    /// instance.
    pub(super) told_early: bool,
}

impl Instance {
    pub(super) fn new(member: Member, limits: PluginLimits, phase: Phase) -> Self {
        Self {
            member,
            limits,
            phase,
            admitted: 0,
            opened: false,
            strikes: Strikes::default(),
            turns: BTreeMap::new(),
            waiting: VecDeque::new(),
            strange: BTreeSet::new(),
            again: false,
            shown: false,
            backlog: Backlog::default(),
            told_early: false,
        }
    }

    /// Whether an event about an object that is in a state is brought to it. Not one about what it
    /// does not know and has ended; by any other event it gets to know the object.
    pub(super) fn may_hear(&mut self, event: Event, object: &ObjectKey, state: State) -> bool {
        let judges = event == Event::ValidateContainerAdjustment;
        if judges || !self.strange.contains(object) {
            return true;
        }
        let lives = matches!(state, State::Created | State::Running);
        if lives && !event.is_end() {
            self.strange.remove(object);
            return true;
        }
        false
    }

    /// Whether a call for a pod is not worth waiting for: all places are taken by late calls, or
    /// the one before it is late.
    pub(super) fn is_busy_for(&self, pod: &ObjectKey) -> bool {
        let mut late = 0;
        for turn in self.turns.values().filter(|turn| turn.late) {
            if turn.purpose.pod == *pod {
                return true;
            }
            late += 1;
        }
        late >= self.limits.places()
    }

    /// Takes out the first waiting call that may have its turn now: those that requests wait for
    /// come first.
    pub(super) fn next_turn(&mut self, now: Instant) -> Option<Waiting> {
        let serves = matches!(self.phase, Phase::Open | Phase::Retiring { .. });
        if !serves || self.turns.len() >= self.limits.places() {
            return None;
        }
        let is_free = |pod: &ObjectKey| !self.turns.values().any(|turn| turn.purpose.pod == *pod);
        let mut waiting = self.waiting.iter();
        if let Some(free) = waiting.position(|waiting| is_free(&waiting.purpose.pod)) {
            return self.waiting.remove(free);
        }
        let told = self.backlog.next(is_free)?;
        Some(Waiting {
            purpose: Purpose {
                request: told.request,
                awaited: false,
                asked_as: self.member.plugin.clone(),
                pod: told.pod,
                undoes: false,
                observed: Some(told.object),
            },
            message: told.message,
            since: now,
        })
    }

    /// Keeps something for an observer; false if that is too much.
    pub(super) fn tell_later(&mut self, told: Told) -> bool {
        let (events, bytes) = (self.limits.observed_events, self.limits.observed_bytes);
        self.backlog.add(told, events, bytes)
    }

    /// Of what it is told later, leaves out what is about something that has ended and that it
    /// does not know, unless it is told of its beginning as well. What it is told of is not
    /// strange.
    pub(super) fn forget_ends(
        &mut self,
        unknown: impl Fn(&ObjectKey) -> bool,
        is_removed: impl Fn(&ObjectKey) -> bool,
    ) {
        let strange = &mut self.strange;
        self.backlog.retain_known(unknown, |object, event| {
            if is_removed(object) || (event.is_end() && strange.contains(object)) {
                return false;
            }
            strange.remove(object);
            true
        });
        for object in self.backlog.appearances() {
            self.strange.remove(object);
        }
    }

    /// Takes out the waiting calls that a late plugin does not get, and parts those it gets later
    /// from their requests.
    pub(super) fn turn_away(&mut self) -> Vec<(Purpose, Event, Instant)> {
        let mut away = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            if !waiting.purpose.awaited || !self.is_busy_for(&waiting.purpose.pod) {
                self.waiting.push_back(waiting);
                continue;
            }
            away.push((
                waiting.purpose.clone(),
                waiting.message.event(),
                waiting.since,
            ));
            if waiting.purpose.undoes {
                waiting.purpose.awaited = false;
                self.waiting.push_back(waiting);
            }
        }
        away
    }

    /// Takes in a call for which its request does not wait any more: what has happened the plugin
    /// still hears of, once it has the time; of the rest there is nothing left to be asked.
    pub(super) fn leave_to_itself(&mut self, mut waiting: Waiting) {
        let happened = waiting.message.event().is_notification();
        if happened && self.waiting.len() < MOST_LEFT {
            waiting.purpose.awaited = false;
            self.waiting.push_back(waiting);
        }
    }

    /// Whether calls are under way that may still be answered in time.
    pub(super) fn is_working(&self) -> bool {
        !self.waiting.is_empty()
            || !self.backlog.is_empty()
            || self.turns.values().any(|turn| !turn.late)
    }

    pub(super) fn is_held(&self) -> bool {
        matches!(self.phase, Phase::Held { .. })
    }

    pub(super) fn is_retiring(&self) -> bool {
        matches!(self.phase, Phase::Retiring { .. })
    }
}
