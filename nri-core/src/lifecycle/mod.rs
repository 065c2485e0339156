//! The lives of pods and containers: which event is due, which would be a repetition, what a
//! removal implies.
//!
//! Runtimes announce the same stop or removal several times, in races with exits, after failures
//! and after restarts. Plugins are to hear of each step once and in order: Created, Running,
//! Stopped, Removed. [`Lifecycles`] decides that.
//!
//! A step counts from the moment in which it is begun, so of two callers only one gets it. That its
//! event reaches all plugins, and in order with the others of its pod, is for whoever relays it.
//!
//! # Which step leads where
//!
//! | step | `Removed` | `Created` | `Running` | `Stopped` |
//! |---|---|---|---|---|
//! | RunPodSandbox | → `Running` | | error: it lives | error: it lives; *restart*: → `Running` |
//! | CreateContainer | → `Created` | error: it lives | error: it lives | error: it lives |
//! | StartContainer | → `Running`; error if its removal was announced | → `Running` | stays, due | error: its stop was announced; *restart*: → `Running` |
//! | StopPodSandbox, StopContainer, exit | nothing is due | → `Stopped` | → `Stopped` | nothing is due |
//! | RemovePodSandbox, RemoveContainer | nothing is due | stop first, → `Removed` | stop first, → `Removed` | → `Removed` |
//! | updates, post events | due | due | due | due |
//! | a list says created | → `Created` | stays | stays | stays |
//! | a list says running, or does not know | → `Running` | stays | stays | stays |
//! | a list says stopped | → `Stopped` | stays | stays | stays |
//! | a list has it no more | | → `Removed` | → `Removed` | → `Removed` |
//!
//! `Removed` is also what nobody ever heard of; pods never are `Created`. Every arrow that is a
//! step makes the step's event due. What only lists told of, in whatever state, may be run, created
//! or started, since a runtime may list what it is about to announce.
//!
//! A *restart* is a step only where the domain says that what it stopped may run again
//! ([`Lifecycles::set_restartable`]): Docker, podman and Nomad start stopped containers, CRI never
//! does. Then a life has at most one stop per start, and it still has one removal, after which
//! nothing but another creation follows. Plugins that join are shown what is stopped there
//! ([`Lifecycles::shows`]), since it may run again without another creation.
//!
//! What is different from the Go implementation is listed in [`differences`].
//!
//! What may not enter: plugins, and the contents of pods and containers.

#[doc = include_str!("differences.md")]
pub mod differences {}
mod error;
mod key;
mod removed;
mod seed;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use error::LifecycleError;
pub use key::ObjectKey;
pub use seed::{Listing, Observed};

use crate::model::State;
use crate::{Event, Settlement};
use removed::Removed;

/// What a step that begins calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the step counts as done: what is due has to be relayed"]
pub enum Due {
    /// Nothing: plugins know already, or never knew of the object.
    Nothing,
    /// The event itself.
    Event,
    /// First the stop of the pod or container, whatever comes of it, then the event, which is its
    /// removal.
    StopFirst,
}

/// One life of a pod or container; see [`Lifecycles::life`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life(u64);

/// A creation that has begun: what [`Lifecycles::settle`] needs to tell it from a later creation of
/// the same id.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a creation has to be settled"]
pub struct PendingCreation {
    key: ObjectKey,
    since: u64,
}

impl PendingCreation {
    /// The container.
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }
}

/// How far the creation of a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Creation {
    /// Plugins are being asked.
    Asking,
    /// They were; whether the container comes to be is not known yet.
    Unsettled,
    /// It exists (or this is no container, or it was there before).
    Settled,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Never `Removed`: what is removed has no entry.
    state: State,
    creation: Creation,
    /// Whether any step of this life was announced here; otherwise only a list of the runtime told
    /// of it.
    announced: bool,
    /// Whether a list of the runtime had it.
    listed: bool,
    /// When it appeared.
    since: u64,
}

/// The lives of all pods and containers of an instance.
///
/// Memory is bounded by what lives, by a fixed number of removals that are remembered, and by
/// pruning at every [`seed`](Lifecycles::seed).
///
/// ```
/// use nri_core::lifecycle::{Due, Lifecycles, ObjectKey};
/// use nri_core::{Event, Settlement};
///
/// let mut lives = Lifecycles::new();
/// let container = ObjectKey::container("k8s.io", "c1");
/// let mut birth = lives.create(&container)?;
/// lives.asked(&mut birth);                              // all plugins were asked, none objected
/// assert_eq!(lives.settle(birth, Settlement::Committed), Due::Nothing);  // the container exists
/// assert!(lives.create(&container).is_err());
/// assert_eq!(lives.begin(&container, Event::StopContainer)?, Due::Event);
/// assert_eq!(lives.begin(&container, Event::StopContainer)?, Due::Nothing);
/// assert_eq!(lives.begin(&container, Event::RemoveContainer)?, Due::Event);
/// # Ok::<(), nri_core::lifecycle::LifecycleError>(())
/// ```
#[derive(Debug, Default)]
pub struct Lifecycles {
    entries: BTreeMap<ObjectKey, Entry>,
    removed: Removed,
    /// The domains in which what was stopped may run again.
    restartable: BTreeSet<Arc<str>>,
    /// Counts what happens, so that earlier and later can be told apart.
    tick: u64,
}

impl Lifecycles {
    /// No pod and no container.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that pods and containers of a domain may run again after they were stopped:
    /// RunPodSandbox after StopPodSandbox, and StartContainer after StopContainer, are steps there.
    /// In other domains they are errors.
    ///
    /// ```
    /// use nri_core::lifecycle::{Due, Lifecycles, ObjectKey};
    /// use nri_core::Event;
    ///
    /// let mut lives = Lifecycles::new();
    /// lives.set_restartable("moby");
    /// let container = ObjectKey::container("moby", "c1");
    /// for event in [Event::StartContainer, Event::StopContainer, Event::StartContainer] {
    ///     assert_eq!(lives.begin(&container, event)?, Due::Event);
    /// }
    /// # Ok::<(), nri_core::lifecycle::LifecycleError>(())
    /// ```
    pub fn set_restartable(&mut self, domain: impl Into<Arc<str>>) {
        self.restartable.insert(domain.into());
    }

    /// Whether what was stopped may run again in a domain.
    pub fn is_restartable(&self, domain: &str) -> bool {
        self.restartable.contains(domain)
    }

    /// The state of a pod or container; [`State::Removed`] for what is not known.
    pub fn state(&self, key: &ObjectKey) -> State {
        self.entries
            .get(key)
            .map_or(State::Removed, |entry| entry.state)
    }

    /// Which life of a pod or container this is: ids may be used again. `None` for what does not
    /// live. A life that only lists told of is another one once its beginning is announced.
    pub fn life(&self, key: &ObjectKey) -> Option<Life> {
        self.entries.get(key).map(|entry| Life(entry.since))
    }

    /// The key by which a pod or container that lives is remembered: a clone of it takes no memory
    /// for the names in it.
    pub fn remembered<'a>(&'a self, key: &ObjectKey) -> Option<&'a ObjectKey> {
        self.entries.get_key_value(key).map(|(key, _)| key)
    }

    /// Begins the creation of a container. Its event is due.
    ///
    /// # Errors
    /// The container is alive: created before and not removed.
    pub fn create(&mut self, key: &ObjectKey) -> Result<PendingCreation, LifecycleError> {
        check_subject(key, Event::CreateContainer)?;
        let since = self.appear(
            key,
            Event::CreateContainer,
            State::Created,
            Creation::Asking,
        )?;
        Ok(PendingCreation {
            key: key.clone(),
            since,
        })
    }

    /// Notes that all plugins were asked about a creation and none objected. From now on the
    /// container may be started, stopped and removed.
    pub fn asked(&mut self, birth: &mut PendingCreation) {
        if let Some(entry) = self.newborn(birth) {
            entry.creation = Creation::Unsettled;
        }
    }

    /// Ends a creation: committed if the container exists, abandoned if plugins refused it or it
    /// never came to be.
    ///
    /// What is due then is due towards the plugins that saw the creation, as its undoing: nothing
    /// for a committed one, nor if the runtime announced the removal itself; [`Due::Event`] is
    /// the removal.
    pub fn settle(&mut self, birth: PendingCreation, settlement: Settlement) -> Due {
        let Some(entry) = self.newborn(&birth) else {
            return Due::Nothing;
        };
        entry.creation = Creation::Settled;
        match settlement {
            Settlement::Committed => Due::Nothing,
            Settlement::Abandoned => self.disappear(&birth.key),
        }
    }

    /// Begins any other step and says what is due.
    ///
    /// Post and update events are always due and change nothing. Whatever but a stop or a removal
    /// is told of a container shows that it exists, even if its creation is not settled yet.
    ///
    /// # Errors
    /// The step does not exist for the object ([`LifecycleError::NoSuchStep`]), or would lead
    /// backwards.
    pub fn begin(&mut self, key: &ObjectKey, event: Event) -> Result<Due, LifecycleError> {
        check_subject(key, event)?;
        let due = self.take_step(key, event)?;
        if event.shows_existence() {
            self.show_existence(key);
        }
        Ok(due)
    }

    fn take_step(&mut self, key: &ObjectKey, event: Event) -> Result<Due, LifecycleError> {
        match event {
            Event::RunPodSandbox if self.restart(key) => Ok(Due::Event),
            Event::RunPodSandbox => {
                self.appear(key, event, State::Running, Creation::Settled)?;
                Ok(Due::Event)
            }
            Event::StartContainer if self.restart(key) => Ok(Due::Event),
            Event::StartContainer => self.start(key, event),
            Event::StopPodSandbox | Event::StopContainer => self.stop(key, event),
            Event::RemovePodSandbox | Event::RemoveContainer => self.remove(key, event),
            Event::PostCreateContainer
            | Event::PostStartContainer
            | Event::UpdateContainer
            | Event::PostUpdateContainer
            | Event::UpdatePodSandbox
            | Event::PostUpdatePodSandbox => Ok(Due::Event),
            // The first has a method of its own, the second is part of it.
            Event::CreateContainer | Event::ValidateContainerAdjustment => {
                Err(LifecycleError::NoSuchStep {
                    key: key.clone(),
                    event,
                })
            }
        }
    }

    /// What lives and has been announced, not only listed.
    pub(crate) fn announced(&self) -> impl Iterator<Item = &ObjectKey> {
        let announced = self.entries.iter().filter(|(_, entry)| entry.announced);
        announced.map(|(key, _)| key)
    }

    /// The present moment in the count of what happens.
    pub(crate) fn now(&self) -> u64 {
        self.tick
    }

    /// How many pods and containers are remembered as living.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no pod and no container lives.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Something happens to a container whose creation may not be settled: it exists.
    fn show_existence(&mut self, key: &ObjectKey) {
        match self.entries.get_mut(key) {
            Some(entry) if entry.creation == Creation::Unsettled => {
                entry.creation = Creation::Settled;
            }
            _ => {}
        }
    }

    fn next_tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    fn newborn(&mut self, birth: &PendingCreation) -> Option<&mut Entry> {
        self.entries
            .get_mut(&birth.key)
            .filter(|entry| entry.since == birth.since)
    }

    /// Begins a life. What only a list told of may appear nevertheless: a runtime may list what it
    /// is about to announce.
    fn appear(
        &mut self,
        key: &ObjectKey,
        event: Event,
        state: State,
        creation: Creation,
    ) -> Result<u64, LifecycleError> {
        let mut listed = false;
        if let Some(entry) = self.entries.get(key) {
            if entry.announced {
                return Err(LifecycleError::Alive {
                    key: key.clone(),
                    event,
                    state: entry.state,
                });
            }
            listed = entry.listed;
        }
        self.removed.forget(key);
        let since = self.next_tick();
        let entry = Entry {
            state,
            creation,
            announced: true,
            listed,
            since,
        };
        self.entries.insert(key.clone(), entry);
        Ok(since)
    }

    /// Ends a life. What is due is what a removal calls for.
    fn disappear(&mut self, key: &ObjectKey) -> Due {
        let Some(entry) = self.entries.remove(key) else {
            return Due::Nothing;
        };
        let tick = self.next_tick();
        self.removed.remember(key.clone(), tick);
        match entry.state {
            State::Stopped => Due::Event,
            _ => Due::StopFirst,
        }
    }

    /// Makes run again what was announced as stopped, where that may be; false if this is no such
    /// case. No creation can be under way any more: it was settled before, or its stop was told.
    fn restart(&mut self, key: &ObjectKey) -> bool {
        if !self.may_restart(key) {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(key) {
            entry.state = State::Running;
        }
        true
    }

    /// Whether a pod or container lives of which events have told, not only lists: it cannot appear
    /// by an event before its removal.
    pub fn is_announced(&self, key: &ObjectKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.announced)
    }

    /// Whether the next RunPodSandbox or StartContainer of a pod or container makes it run again
    /// after its stop was announced.
    pub fn may_restart(&self, key: &ObjectKey) -> bool {
        let stopped = self
            .entries
            .get(key)
            .is_some_and(|entry| entry.announced && entry.state == State::Stopped);
        stopped && self.is_restartable(key.domain())
    }

    /// Whether a pod that is to be run is one that plugins know, so that this does not begin its
    /// life.
    pub(crate) fn runs_again(&self, key: &ObjectKey) -> bool {
        let announced = self.entries.get(key).is_some_and(|entry| entry.announced);
        announced && self.is_restartable(key.domain())
    }

    fn start(&mut self, key: &ObjectKey, event: Event) -> Result<Due, LifecycleError> {
        if self.removed.contains(key) {
            return Err(LifecycleError::Removed {
                key: key.clone(),
                event,
            });
        }
        match self.entries.get_mut(key) {
            // Neither announced nor listed before; that may be as the runtime knows it.
            None => {
                self.appear(key, event, State::Running, Creation::Settled)?;
            }
            Some(entry) => {
                entry.refuse_while_asking(key, event)?;
                if entry.state == State::Stopped && entry.announced {
                    return Err(LifecycleError::Stopped {
                        key: key.clone(),
                        event,
                    });
                }
                entry.state = State::Running;
                entry.announced = true;
            }
        }
        Ok(Due::Event)
    }

    fn stop(&mut self, key: &ObjectKey, event: Event) -> Result<Due, LifecycleError> {
        let Some(entry) = self.entries.get_mut(key) else {
            return Ok(Due::Nothing);
        };
        entry.refuse_while_asking(key, event)?;
        if entry.state == State::Stopped {
            return Ok(Due::Nothing);
        }
        entry.state = State::Stopped;
        entry.announced = true;
        Ok(Due::Event)
    }

    fn remove(&mut self, key: &ObjectKey, event: Event) -> Result<Due, LifecycleError> {
        let Some(entry) = self.entries.get(key) else {
            return Ok(Due::Nothing);
        };
        entry.refuse_while_asking(key, event)?;
        Ok(self.disappear(key))
    }
}

impl Entry {
    fn refuse_while_asking(&self, key: &ObjectKey, event: Event) -> Result<(), LifecycleError> {
        match self.creation {
            Creation::Asking => Err(LifecycleError::StillCreating {
                key: key.clone(),
                event,
            }),
            Creation::Unsettled | Creation::Settled => Ok(()),
        }
    }
}

fn check_subject(key: &ObjectKey, event: Event) -> Result<(), LifecycleError> {
    if key.subject() == event.subject() {
        return Ok(());
    }
    Err(LifecycleError::NoSuchStep {
        key: key.clone(),
        event,
    })
}
