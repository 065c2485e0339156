//! A plugin of the simulated world, and what it must never experience.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nri_core::flow::{FailureAction, Member, Policy, Reply};
use nri_core::lifecycle::Life;
use nri_core::schedule::{AfterLate, CallId, LATE_ANSWER_TIMEOUTS, PluginLimits, RequestId};
use nri_core::{Event, EventMask, RegisteredPlugin, Response};

use crate::chance::Chance;

/// How a plugin behaves towards a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Fast,
    Slow,
    /// Late now and then.
    Late,
    /// Does not answer at all now and then.
    Hanging,
    /// Answers with errors now and then.
    Failing,
    /// Loses its connection now and then, in the middle of a request or just before it.
    Dying,
}

pub(crate) const MANNERS: [Manner; 6] = [
    Manner::Fast,
    Manner::Slow,
    Manner::Late,
    Manner::Hanging,
    Manner::Failing,
    Manner::Dying,
];

/// What a plugin does with a request.
pub(crate) enum Reaction {
    Reply(Duration, Box<Reply>),
    Silence,
    Die(Duration),
    /// The connection turns out to be lost before anything is written.
    DeadAlready,
}

/// How a plugin came to know of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meeting {
    Shown,
    Created,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    Joining,
    Synchronizing,
    Open,
}

/// A call that the plugin has not answered.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) request: RequestId,
    pub(crate) event: Event,
    pub(crate) pod: String,
    pub(crate) deadline: Instant,
    pub(crate) answer: Option<Reply>,
    /// Whether it is held against the plugin if it is late.
    pub(crate) blamed: bool,
    /// Whether it was told as an observer.
    pub(crate) observed: bool,
}

pub(crate) struct Peer {
    pub(crate) plugin: RegisteredPlugin,
    pub(crate) events: EventMask,
    pub(crate) limits: PluginLimits,
    pub(crate) manner: Manner,
    pub(crate) state: Where,
    /// Whether it was open once: an observer may be synchronised again.
    pub(crate) opened: bool,
    pub(crate) admitted: Instant,
    /// When the wait for what began before was over.
    pub(crate) settled: Option<Instant>,
    pub(crate) owed: BTreeMap<CallId, Owed>,
    pub(crate) met: BTreeMap<String, Meeting>,
    /// The last request of each pod that it heard of, undoing aside.
    pub(crate) last: BTreeMap<String, RequestId>,
    /// What it heard of containers whose creation was undone.
    pub(crate) undone: BTreeMap<String, Vec<Event>>,
    /// How often it heard of the stop of each container.
    pub(crate) stops: BTreeMap<String, usize>,
    /// The containers that exist and it was not shown, nor will hear of as they appear.
    pub(crate) strange: BTreeSet<String>,
    /// Whether it only hears of what happened.
    pub(crate) observes: bool,
    /// What it was told as an observer.
    pub(crate) heard: BTreeSet<(RequestId, Event)>,
    /// The containers that exist, as far as it knows.
    pub(crate) picture: BTreeSet<String>,
    /// The containers whose creations were not waited for when it joined.
    pub(crate) straggled: BTreeSet<String>,
    /// What it is to be shown, each as it was when that was said.
    pub(crate) unread: BTreeMap<String, Option<Life>>,
}

impl Peer {
    pub(crate) fn random(plugin: RegisteredPlugin, chance: &mut Chance, now: Instant) -> Self {
        let mut limits = PluginLimits::default();
        limits.request_timeout = Duration::from_millis(200);
        limits.max_in_flight = [0, 1, 1, 1, 2, 4][chance.below(6)];
        limits.strikes = [0, 1, 3, 3, 3][chance.below(5)];
        limits.observed_events = [1, 4, 30, 4096][chance.below(4)];
        limits.after_late = match chance.below(10) {
            0 => AfterLate::Close,
            1..=3 => AfterLate::Resync,
            _ => AfterLate::Keep,
        };
        // What holds for a name holds for all its instances.
        let observes = ["10-c", "90-f"].contains(&plugin.id.to_string().as_str());
        let events = match chance.below(5) {
            0 => EventMask::NONE,
            1 => [
                Event::CreateContainer,
                Event::StopContainer,
                Event::RemoveContainer,
            ]
            .into_iter()
            .collect(),
            2 => Event::ALL
                .into_iter()
                .filter(|_| chance.percent(50))
                .collect(),
            _ => EventMask::ALL,
        };
        Self {
            plugin,
            events,
            limits,
            manner: MANNERS[chance.below(MANNERS.len())],
            state: Where::Joining,
            opened: false,
            admitted: now,
            settled: None,
            owed: BTreeMap::new(),
            met: BTreeMap::new(),
            last: BTreeMap::new(),
            undone: BTreeMap::new(),
            stops: BTreeMap::new(),
            strange: BTreeSet::new(),
            observes,
            heard: BTreeSet::new(),
            picture: BTreeSet::new(),
            straggled: BTreeSet::new(),
            unread: BTreeMap::new(),
        }
    }

    pub(crate) fn member(&self, chance: &mut Chance) -> Member {
        let mut trouble = |percent| match chance.percent(percent) {
            true => FailureAction::Fail,
            false => FailureAction::Skip,
        };
        let mut policy = Policy::default();
        policy.on_error = trouble(80);
        policy.on_late = trouble(30);
        policy.on_absent = trouble(20);
        policy.on_lost = trouble(20);
        let member = Member::new(self.plugin.clone(), self.events).with_policy(policy);
        match self.observes {
            true => member.observing(),
            false => member,
        }
    }

    /// Whether events tell it of all that there is.
    pub(crate) fn sees_everything(&self) -> bool {
        let events = [Event::CreateContainer, Event::RemoveContainer];
        events.iter().all(|event| self.events.contains(*event))
    }

    /// For how long after its deadline an answer is waited for.
    pub(crate) fn patience(&self) -> Duration {
        let times = match self.limits.strikes {
            0 => LATE_ANSWER_TIMEOUTS,
            strikes => strikes,
        };
        self.limits.request_timeout * (times - 1)
    }

    /// Forgets the calls whose answers are waited for no more, and that close nobody. Returns how
    /// many.
    pub(crate) fn give_up(&mut self, now: Instant) -> usize {
        let before = self.owed.len();
        let (patience, closes) = (self.patience(), self.limits.strikes > 0);
        self.owed
            .retain(|_, owed| (closes && owed.blamed) || owed.deadline + patience > now);
        before - self.owed.len()
    }

    pub(crate) fn places(&self) -> usize {
        self.limits.max_in_flight.max(1)
    }

    pub(crate) fn reaction(&self, event: Event, chance: &mut Chance) -> Reaction {
        let answer = Box::new(Reply::Answer(Response::empty(event)));
        let fast = chance.millis(0..6);
        match self.manner {
            Manner::Slow => Reaction::Reply(chance.millis(20..190), answer),
            Manner::Late if chance.percent(25) => Reaction::Reply(chance.millis(190..900), answer),
            Manner::Hanging if chance.percent(5) => Reaction::Silence,
            Manner::Failing if chance.percent(25) => Reaction::Reply(
                fast,
                Box::new(Reply::Error {
                    code: 2,
                    message: "no".to_owned(),
                }),
            ),
            Manner::Dying if chance.percent(2) => Reaction::DeadAlready,
            Manner::Dying if chance.percent(3) => Reaction::Die(chance.millis(0..300)),
            _ => Reaction::Reply(fast, answer),
        }
    }
}
