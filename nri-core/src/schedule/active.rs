//! A request in a scheduler, from the moment it is handed in until it is settled, and the record of
//! whom it was sent to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Job, RequestId, Submission};
use crate::flow::{Outcome, PluginOutcome, Roster};
use crate::lifecycle::{ObjectKey, PendingCreation};
use crate::{EncodedRequest, Event, RegisteredPlugin};

/// What became of one call of a flow.
#[derive(Debug)]
pub(super) struct Record {
    /// What the flow calls the plugin.
    pub(super) asked_as: RegisteredPlugin,
    pub(super) event: Event,
    /// The instance that the call went to, or waits for.
    pub(super) actual: RegisteredPlugin,
    /// Whether it was handed to the transport.
    pub(super) handed: bool,
    /// Whether the instance, unlike the one that the flow means, is not subscribed.
    pub(super) unsubscribed: bool,
    /// Whether the instance does not know what the event is about.
    pub(super) unaware: bool,
    /// Whether the flow knows what came of it.
    pub(super) resolved: bool,
    /// How long it had its turn until then.
    pub(super) took: Option<Duration>,
}

pub(super) struct Running<F> {
    pub(super) flow: F,
    pub(super) roster: Roster,
    pub(super) records: Vec<Record>,
}

pub(super) enum Stage<F> {
    /// It waits for its pod's slot.
    Queued,
    /// Plugins are asked.
    Running(Running<F>),
    /// It is a creation that succeeded, and whether the container comes to be is not known.
    Unsettled(Vec<Record>),
}

pub(super) struct Active<J: Job> {
    pub(super) event: Event,
    pub(super) job: J,
    pub(super) pod: ObjectKey,
    pub(super) object: ObjectKey,
    /// The caller's; `None` if it has none or does not wait any more.
    pub(super) deadline: Option<Instant>,
    /// When it goes on without whom it waits for; `None` once that has come.
    pub(super) budget: Option<Instant>,
    /// How much time it had for that.
    pub(super) allowance: Duration,
    /// Whether nobody is waited for any more.
    pub(super) hurried: bool,
    /// Whether a creation is validated by others.
    pub(super) validated_elsewhere: bool,
    /// Whether the caller does not wait any more, so that it is no harm to it how long plugins
    /// take.
    pub(super) left: bool,
    pub(super) stage: Stage<J::Flow>,
    /// When it began, in the scheduler's own count; 0 before that.
    pub(super) began: u64,
    /// The creation that it undoes, and those that it goes to then.
    pub(super) undoes: Option<(RequestId, Vec<RegisteredPlugin>)>,
    /// Of a creation that has begun and is not settled.
    pub(super) birth: Option<PendingCreation>,
    /// Whether something else that happened to its object shows that a creation came to something,
    /// settled or not.
    pub(super) exists: bool,
    /// Whether its object runs again by it after a stop.
    pub(super) restarts: bool,
    /// Those that observe it, by the names that its roster has for them, until they are told.
    pub(super) observers: Vec<RegisteredPlugin>,
    /// Of a creation that is not settled: what is told of it once the container is known to exist.
    pub(super) held: Vec<Held>,
}

/// Something that observers are to be told.
pub(super) struct Held {
    pub(super) request: RequestId,
    pub(super) observers: Vec<RegisteredPlugin>,
    pub(super) message: Arc<EncodedRequest>,
}

impl<J: Job> Active<J> {
    pub(super) fn new(order: Submission<J>, now: Option<Instant>) -> Self {
        let budget = order.budget.zip(now);
        Self {
            event: order.job.event(),
            job: order.job,
            pod: order.pod,
            object: order.object,
            deadline: order.deadline,
            budget: order.budget,
            allowance: budget.map_or(Duration::ZERO, |(budget, now)| {
                budget.saturating_duration_since(now)
            }),
            hurried: false,
            validated_elsewhere: order.validated_elsewhere,
            left: false,
            stage: Stage::Queued,
            began: 0,
            undoes: None,
            birth: None,
            exists: false,
            restarts: false,
            observers: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Whether it ends before it begins: its caller's time is over, and it may be refused.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        !self.event.is_notification() && self.deadline.is_some_and(|deadline| deadline <= now)
    }

    pub(super) fn running(&mut self) -> Option<&mut Running<J::Flow>> {
        match &mut self.stage {
            Stage::Running(running) => Some(running),
            Stage::Queued | Stage::Unsettled(_) => None,
        }
    }

    pub(super) fn records(&self) -> &[Record] {
        match &self.stage {
            Stage::Queued => &[],
            Stage::Running(running) => &running.records,
            Stage::Unsettled(records) => records,
        }
    }

    /// Whether it makes its object appear.
    pub(super) fn is_appearance(&self) -> bool {
        matches!(self.event, Event::CreateContainer | Event::RunPodSandbox)
    }

    /// The plugins to which a creation was handed, validation aside: they are those that may know
    /// of the container.
    pub(super) fn seen_by(&self) -> impl Iterator<Item = &RegisteredPlugin> {
        self.records()
            .iter()
            .filter(|record| record.handed && record.event == Event::CreateContainer)
            .map(|record| &record.actual)
    }

    /// The members, by the names that the flow has for them, to which it will still bring an event,
    /// or has brought it and not heard of it; and those that will be told of it.
    pub(super) fn awaited(&self, event: Event) -> impl Iterator<Item = &RegisteredPlugin> {
        let running = match &self.stage {
            Stage::Running(running) => Some(running),
            Stage::Queued | Stage::Unsettled(_) => None,
        };
        let observers = self.observers.iter();
        let observers = observers.filter(move |_| event == self.event);
        let asked = running.into_iter().flat_map(move |running| {
            let resolved = move |plugin: &RegisteredPlugin| {
                running.records.iter().any(|record| {
                    record.asked_as == *plugin && record.event == event && record.resolved
                })
            };
            running
                .roster
                .members()
                .iter()
                .filter(move |member| {
                    let judges = event != Event::ValidateContainerAdjustment
                        || (self.job.is_validated_by_all() && !self.validated_elsewhere)
                        || (member.validates_updates && self.event != Event::CreateContainer);
                    member.events.contains(event) && judges && !resolved(&member.plugin)
                })
                .map(|member| &member.plugin)
        });
        asked.chain(observers)
    }
}

impl<F> Running<F> {
    pub(super) fn record(
        &mut self,
        asked_as: &RegisteredPlugin,
        event: Event,
    ) -> Option<&mut Record> {
        // Most that is looked for is of the call that was made last.
        self.records
            .iter_mut()
            .rev()
            .find(|record| record.asked_as == *asked_as && record.event == event)
    }
}

/// So few records are looked through.
const FEW: usize = 16;

/// Finds the record of one outcome after the other: mostly they are in one order. However many
/// there are of both, it costs no more than the logarithm for each.
struct Lookup<'a> {
    records: &'a [Record],
    /// Behind the one that was found last.
    next: usize,
    places: Option<BTreeMap<(&'a RegisteredPlugin, Event), usize>>,
}

impl<'a> Lookup<'a> {
    fn find(&mut self, plugin: &RegisteredPlugin, event: Event) -> Option<&'a Record> {
        let records = self.records;
        let is = |record: &Record| record.asked_as == *plugin && record.event == event;
        let at = if records.get(self.next).is_some_and(is) {
            self.next
        } else if records.len() <= FEW {
            records.iter().position(is)?
        } else {
            let places = self.places.get_or_insert_with(|| {
                let places = records.iter().enumerate().rev();
                places
                    .map(|(at, record)| ((&record.asked_as, record.event), at))
                    .collect()
            });
            *places.get(&(plugin, event))?
        };
        self.next = at + 1;
        records.get(at)
    }
}

/// Makes outcomes say what was really sent, and to which instance.
pub(super) fn correct(outcomes: &mut [PluginOutcome], records: &[Record]) {
    let mut lookup = Lookup {
        records,
        next: 0,
        places: None,
    };
    for outcome in outcomes {
        let Some(record) = lookup.find(&outcome.plugin, outcome.event) else {
            continue;
        };
        outcome.plugin = record.actual.clone();
        outcome.was_delivered = record.handed;
        outcome.took = record.took;
        if record.unsubscribed {
            outcome.outcome = Outcome::Unsubscribed;
        } else if record.unaware {
            outcome.outcome = Outcome::Unaware;
        } else if !record.resolved {
            outcome.outcome = match record.handed {
                true => Outcome::Abandoned,
                false => Outcome::NotReached,
            };
        }
    }
}
