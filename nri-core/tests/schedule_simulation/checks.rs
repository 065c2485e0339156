//! Carrying out effects, and what must be true of them: the laws that the simulation is for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nri_core::flow::{Outcome, PluginOutcome, Reply, Report};
use nri_core::lifecycle::ObjectKey;
use nri_core::schedule::{
    AfterLate, CallId, CallOutcome, CloseReason, Effect, RequestId, RequestOutcome, SyncPlan,
};
use nri_core::{EncodedRequest, Error, Event, RegisteredPlugin, Settlement};

use crate::peer::{Meeting, Owed, Reaction, Where};
use crate::world::{Asked, Plan, Told, World};

/// Longest time that a request without a deadline may take here: many others may be before it, none
/// of them for long.
const STARVING: Duration = Duration::from_secs(60);

impl World {
    pub(crate) fn take_effects(&mut self) {
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Call {
                    call,
                    plugin,
                    request,
                    message,
                    deadline,
                    patience,
                    observed,
                } => {
                    let waits = self.peers.get(&plugin).map(|peer| peer.patience());
                    assert!(waits.is_some_and(|waits| patience > deadline + waits));
                    self.call(call, &plugin, (request, observed), &message, deadline);
                }
                Effect::Synchronize { plugin } => self.snapshot(&plugin),
                Effect::PluginReady { plugin } => {
                    if let Some(peer) = self.peers.get_mut(&plugin) {
                        assert!(peer.settled.is_some(), "{plugin} opens unsynchronised");
                        peer.state = Where::Open;
                        peer.opened = true;
                    }
                }
                Effect::Close { plugin, reason } => self.closed(&plugin, &reason),
                Effect::CallResolved {
                    request,
                    plugin,
                    event,
                    outcome: CallOutcome::Late,
                    ..
                } => self.late(request, &plugin, event),
                Effect::CallResolved { .. } => {}
                Effect::FellBehind { plugin, missed } => {
                    assert!(self.peers.get(&plugin).is_none_or(|peer| peer.observes));
                    self.count(match missed {
                        0 => "observers that hung",
                        _ => "observers that fell behind",
                    });
                }
                Effect::OutOfTime { request } => {
                    let asked = self.asked.get_mut(&request).unwrap();
                    assert!(!asked.told && asked.event.is_notification());
                    asked.told = true;
                    self.forget_deadline(request);
                    self.count("notifications out of time");
                }
                Effect::Finished {
                    request,
                    report,
                    unsettled,
                    undoes,
                } => self.finished(request, report, unsettled, undoes),
                other => panic!("unknown effect {other:?}"),
            }
        }
    }

    fn call(
        &mut self,
        call: CallId,
        plugin: &RegisteredPlugin,
        (request, observed): (RequestId, bool),
        message: &Arc<EncodedRequest>,
        deadline: Instant,
    ) {
        let event = message.event();
        let pod = message.pod().map(|pod| pod.id.clone()).unwrap_or_default();
        let container = message
            .container()
            .map(|container| container.id.clone())
            .unwrap_or_default();
        if !observed {
            self.check_serial(request);
        }
        let now = self.now;
        let given_up = self.peers.get_mut(plugin).map(|peer| peer.give_up(now));
        if given_up.is_some_and(|calls| calls > 0) {
            self.count("answers given up");
        }
        let others = self.told.get(&request);
        let to_identity = others.into_iter().flatten().any(|((other, about), told)| {
            other.id == plugin.id && *about == event && *told != Told::NeverSent
        });
        assert!(!to_identity, "{plugin} gets {event} twice");
        let peer = self.peers.get_mut(plugin).expect("a call to nobody");
        assert_eq!(observed, peer.observes, "{plugin} is asked {event}");
        assert_eq!(
            peer.state,
            Where::Open,
            "{plugin} is called before it joined"
        );
        assert!(peer.events.contains(event), "{plugin} did not want {event}");
        assert_eq!(deadline, self.now + peer.limits.request_timeout);
        assert!(
            peer.owed.len() < peer.places(),
            "{plugin} gets too many calls at a time"
        );
        assert!(
            peer.owed.values().all(|owed| owed.pod != pod),
            "{plugin} gets two calls of {pod} at a time"
        );
        match event {
            Event::StopContainer | Event::RemoveContainer => assert!(
                !peer.strange.contains(&container),
                "{plugin} hears of the end of {container}, which it never knew"
            ),
            _ => drop(peer.strange.remove(&container)),
        }
        if event == Event::StopContainer {
            let heard = peer.stops.entry(container.clone()).or_default();
            *heard += 1;
            let restarts = match self.restartable {
                true => self.starts.get(&container).copied().unwrap_or_default(),
                false => 0,
            };
            assert!(*heard <= 1 + restarts, "{plugin} hears a stop twice");
        }
        if observed {
            assert!(
                !self.undone.contains_key(&container),
                "{plugin} hears of {container}, which never came to be"
            );
            assert!(
                peer.heard.insert((request, event)),
                "{plugin} hears {event} twice"
            );
            // A container appears when it is known to exist, whatever was asked meanwhile.
            let about = match event {
                Event::CreateContainer => container.clone(),
                _ => pod.clone(),
            };
            let last = peer.last.insert(about, request);
            assert!(
                last < Some(request),
                "{plugin} hears the events of {pod} out of order"
            );
            match event {
                Event::CreateContainer => drop(peer.picture.insert(container.clone())),
                Event::RemoveContainer => drop(peer.picture.remove(&container)),
                _ => {}
            }
        } else if let Some(seen) = self.undone.get(&container) {
            assert!(
                seen.contains(plugin),
                "{plugin} hears of the undoing of what it never saw"
            );
            let heard = peer.undone.entry(container.clone()).or_default();
            assert!(!heard.contains(&event) && !heard.contains(&Event::RemoveContainer));
            heard.push(event);
        } else if event == Event::ValidateContainerAdjustment {
            let asked = others.into_iter().flatten().find(|((other, event), told)| {
                other.id == plugin.id
                    && *event == Event::CreateContainer
                    && **told != Told::NeverSent
            });
            assert!(asked.is_none_or(|((other, _), _)| other == plugin));
        } else {
            let last = peer.last.insert(pod.clone(), request);
            assert!(
                last < Some(request),
                "{plugin} gets the events of {pod} out of order"
            );
        }
        if event == Event::CreateContainer {
            let met = peer.met.insert(container.clone(), Meeting::Created);
            assert_eq!(met, None, "{container} reaches {plugin} twice");
        }
        let reaction = peer.reaction(event, &mut self.chance);
        let answer = match &reaction {
            Reaction::Reply(_, reply) => Some(Reply::clone(reply)),
            _ => None,
        };
        let owed = Owed {
            request,
            event,
            pod,
            deadline,
            answer,
            // Whether it does its undoing is never the caller's business.
            blamed: !observed && !self.asked.contains_key(&request),
            observed,
        };
        peer.owed.insert(call, owed);
        if !observed {
            let told = self.told.entry(request).or_default();
            told.insert((plugin.clone(), event), Told::Sent);
        }
        match reaction {
            Reaction::Reply(after, _) => self.plan(after, Plan::Reply(plugin.clone(), call)),
            Reaction::Silence => self.count("silences"),
            Reaction::Die(after) => self.plan(after, Plan::Die(plugin.clone())),
            Reaction::DeadAlready => {
                if let Some(told) = self.told.get_mut(&request).filter(|_| !observed) {
                    told.insert((plugin.clone(), event), Told::NeverSent);
                }
                peer.owed.remove(&call);
                if event == Event::CreateContainer {
                    peer.met.remove(&container);
                }
                let gone = Reply::Gone { delivered: false };
                self.scheduler.handle_reply(call, gone, self.now);
                self.scheduler.handle_lost(plugin, self.now);
                self.forget_peer(plugin);
                self.count("calls to the dead");
            }
        }
    }

    /// A request has heard that a plugin is late; only if its caller still waits is the plugin
    /// blamed.
    fn late(&mut self, request: RequestId, plugin: &RegisteredPlugin, event: Event) {
        let waited_for = self.asked.get(&request).is_none_or(|asked| !asked.told);
        if let Some(peer) = self.peers.get_mut(plugin) {
            let mut owed = peer.owed.values_mut();
            let owed = owed.find(|owed| owed.request == request && owed.event == event);
            if let Some(owed) = owed.filter(|owed| !owed.observed) {
                owed.blamed = waited_for;
            }
        }
    }

    /// In serial mode all calls that are waited for belong to one request. What a late plugin still
    /// has to hear of an undone creation comes when its late answer has come.
    fn check_serial(&self, request: RequestId) {
        if !self.config.serial || !self.asked.contains_key(&request) {
            return;
        }
        let owed = self.peers.values().flat_map(|peer| peer.owed.values());
        for owed in owed.filter(|owed| !owed.observed) {
            let over = owed.deadline <= self.now || !self.asked.contains_key(&owed.request);
            assert!(over || owed.request == request, "two requests at a time");
        }
    }

    fn snapshot(&mut self, plugin: &RegisteredPlugin) {
        let peer = self.peers.get_mut(plugin).unwrap();
        if peer.state == Where::Open {
            assert!(
                peer.owed.values().all(|owed| owed.deadline <= self.now),
                "{plugin} is synchronised in the middle of a call"
            );
            let reinstated = peer.limits.after_late != AfterLate::Resync;
            if reinstated {
                self.count("reinstated");
            }
        }
        let peer = self.peers.get_mut(plugin).unwrap();
        peer.settled = Some(self.now);
        let again = peer.state == Where::Open;
        let bounded =
            self.now - peer.admitted <= self.config.settle_timeout + self.config.block_limit;
        assert!(again || bounded, "{plugin} joins too late");
        self.count(if again {
            "resynchronisations"
        } else {
            "synchronisations"
        });
        let after = match self.chance.percent(97) {
            true => self.chance.millis(0..20),
            false => self.chance.millis(300..700),
        };
        self.plan(after, Plan::List(plugin.clone()));
    }

    pub(crate) fn check_showing(&mut self, plugin: &RegisteredPlugin, showing: &SyncPlan) {
        let shown = self.shown(showing);
        let peer = self.peers.get_mut(plugin).unwrap();
        assert_eq!(showing.deadline, self.now + peer.limits.request_timeout);
        for (container, stored) in &self.store {
            let met = peer.met.get(container);
            let key = ObjectKey::container("", container.as_str());
            // An observer will hear of what it was to be told.
            if stored.committed && !(peer.observes && peer.events.contains(Event::CreateContainer))
            {
                assert!(
                    !showing.exclude.contains(&key),
                    "{container} stays unknown to {plugin}"
                );
            } else if !showing.exclude.contains(&key) {
                assert!(
                    stored.committed || met == Some(&Meeting::Created),
                    "{plugin} is shown what may still fail"
                );
            }
            assert!(peer.state == Where::Open || met.is_none());
        }
        let ended = |id: &&String| {
            let key = ObjectKey::container("", id.as_str());
            !shown.contains(id) && !showing.exclude.contains(&key)
        };
        peer.strange = self.store.keys().filter(ended).cloned().collect();
        peer.picture = shown.iter().cloned().collect();
        for container in shown {
            peer.met.entry(container).or_insert(Meeting::Shown);
        }
    }

    /// Every container reaches every plugin that wants it, or it is on record that and why it did
    /// not.
    pub(crate) fn check_commit(&mut self, request: RequestId, asked: &Asked) {
        let outcomes = self.outcomes.get(&request).unwrap();
        let mut stragglers = 0;
        for (plugin, peer) in &mut self.peers {
            let to_be_shown = peer.state == Where::Joining;
            let straggler = peer.settled.is_some_and(|settled| {
                asked.since <= settled && settled - peer.admitted >= self.config.settle_timeout
            });
            // What observers know in the end is checked then.
            if peer.observes && straggler {
                peer.straggled.insert(asked.container.clone());
            }
            if peer.observes
                || !peer.events.contains(Event::CreateContainer)
                || to_be_shown
                || peer.met.contains_key(&asked.container)
            {
                continue;
            }
            // One that is taken over from leaves it to the newer instance.
            let creation = |outcome: &&PluginOutcome| outcome.event == Event::CreateContainer;
            let on_record = outcomes.iter().filter(creation).any(|outcome| {
                let newer = outcome.plugin.registration > plugin.registration;
                outcome.plugin.id == plugin.id && (newer || !outcome.was_delivered)
            });
            assert!(
                on_record || straggler,
                "{} never reaches {plugin}",
                asked.container
            );
            stragglers += usize::from(!on_record);
        }
        for _ in 0..stragglers {
            self.count("stragglers");
        }
    }

    fn closed(&mut self, plugin: &RegisteredPlugin, reason: &CloseReason) {
        let Some(peer) = self.forget_peer(plugin) else {
            return;
        };
        match reason {
            CloseReason::Strikes(_) | CloseReason::Hanging | CloseReason::Late if peer.observes => {
                panic!("{plugin} is closed, and nobody waited for it: {reason}")
            }
            CloseReason::Strikes(strikes) => {
                assert_eq!(*strikes, peer.limits.strikes);
                self.count("closed for strikes");
            }
            CloseReason::Hanging => {
                let blamed = peer.owed.values().filter(|owed| owed.blamed);
                let since = blamed.map(|owed| owed.deadline).min().unwrap();
                assert_eq!(self.now, since + peer.patience());
                self.count("closed for hanging");
            }
            CloseReason::Late => assert_eq!(peer.limits.after_late, AfterLate::Close),
            CloseReason::SynchronizeLate | CloseReason::SnapshotLate => {
                self.count("closed unsynchronised");
            }
            CloseReason::Replaced { by } => {
                assert!(by.id == plugin.id && by.registration > plugin.registration);
                let was_open = peer.settled.is_some() && peer.state == Where::Open;
                let has_taken_over = self.peers.get(by).is_none_or(|newer| newer.opened);
                assert!(
                    !was_open || has_taken_over,
                    "{plugin} is closed before it is replaced"
                );
                self.count(if was_open { "replaced" } else { "superseded" });
            }
            other => panic!("unknown reason {other}"),
        }
    }

    fn finished(
        &mut self,
        request: RequestId,
        report: Report<RequestOutcome>,
        unsettled: bool,
        undoes: Option<RequestId>,
    ) {
        if undoes.is_some() {
            self.told.remove(&request);
            self.count("undo requests");
            return;
        }
        self.check_outcomes(request, &report.outcomes);
        let asked = self.asked.get_mut(&request).unwrap();
        if !asked.told {
            let took = self.now - asked.since;
            match asked.deadline {
                Some(deadline) => assert!(self.now <= deadline),
                None => {
                    assert!(took < STARVING, "{} takes {took:?}", asked.event);
                    self.longest = self.longest.max(took);
                }
            }
            asked.told = true;
        }
        if let Err(Error::OutOfTime { .. }) = report.result {
            self.count("out of time");
        }
        self.forget_deadline(request);
        self.count("requests");
        if unsettled {
            assert!(report.result.is_ok());
            self.outcomes.insert(request, report.outcomes);
            let settlement = match self.chance.percent(80) {
                true => Settlement::Committed,
                false => Settlement::Abandoned,
            };
            let after = match self.chance.percent(98) {
                true => self.chance.millis(0..200),
                false => self.chance.millis(200..4000),
            };
            self.plan(after, Plan::Settle(request, settlement));
            return;
        }
        let asked = self.asked.remove(&request).unwrap();
        if asked.event == Event::CreateContainer {
            assert!(report.result.is_err());
            self.store.remove(&asked.container);
            self.expect_undo(request, &asked);
            self.count("creations failed");
        }
        let took_place = !matches!(report.result, Err(Error::Lifecycle(_)));
        if asked.event == Event::StartContainer && took_place {
            let starts = self.starts.entry(asked.container.clone()).or_default();
            *starts += 1;
            if self.restartable && *starts > 1 {
                self.count("restarts");
            }
        }
        if asked.event == Event::RemoveContainer {
            self.store.remove(&asked.container);
        }
        self.told.remove(&request);
    }

    /// What is on record is what happened: requirements can be judged by it.
    fn check_outcomes(&mut self, request: RequestId, outcomes: &[PluginOutcome]) {
        let mut identities = BTreeSet::new();
        for outcome in outcomes {
            let plugin = &outcome.plugin;
            assert!(
                identities.insert((plugin.id.clone(), outcome.event)),
                "{plugin} is on record twice"
            );
            let told = self
                .told
                .get(&request)
                .and_then(|told| told.get(&(plugin.clone(), outcome.event)));
            let fits = match &outcome.outcome {
                Outcome::Answered => told == Some(&Told::Answered),
                Outcome::Failed { .. } => told == Some(&Told::Failed),
                Outcome::Late { after: Some(_) } => {
                    matches!(told, Some(Told::Sent | Told::LateOrGone))
                }
                Outcome::Abandoned => told == Some(&Told::Sent),
                Outcome::Gone => matches!(
                    told,
                    None | Some(Told::Gone | Told::LateOrGone | Told::NeverSent)
                ),
                Outcome::Late { after: None }
                | Outcome::Unsubscribed
                | Outcome::Unaware
                | Outcome::NotReached => told.is_none(),
                _ => false,
            };
            assert!(fits, "{plugin}: {:?}, but {told:?}", outcome.outcome);
            let was_delivered = told.is_some_and(|told| *told != Told::NeverSent);
            assert_eq!(
                outcome.was_delivered, was_delivered,
                "{plugin}: {:?}",
                outcome.outcome
            );
        }
        let on_record = |plugin: &RegisteredPlugin, event: Event| {
            outcomes
                .iter()
                .any(|outcome| outcome.plugin == *plugin && outcome.event == event)
        };
        let told = self.told.get(&request);
        for (plugin, event) in told.into_iter().flat_map(|told| told.keys()) {
            assert!(
                on_record(plugin, *event),
                "that {plugin} was asked {event} is not on record"
            );
        }
    }

    /// A creation is undone: towards those that it was sent to.
    pub(crate) fn expect_undo(&mut self, request: RequestId, asked: &Asked) {
        let seen = self
            .told
            .get(&request)
            .into_iter()
            .flatten()
            .filter(|((_, event), told)| {
                *event == Event::CreateContainer && **told != Told::NeverSent
            })
            .map(|((plugin, _), _)| plugin.clone())
            .collect();
        self.undone.insert(asked.container.clone(), seen);
        self.last_undo.insert(asked.pod.clone(), self.now);
    }

    pub(crate) fn forget_deadline(&mut self, request: RequestId) {
        if let Some(deadline) = self.asked.get(&request).and_then(|asked| asked.deadline) {
            self.deadlines.remove(&(deadline, request));
        }
    }

    /// Nobody waits longer than it wants to, and no plugin owes anything for longer than it may.
    pub(crate) fn check_deadlines(&mut self) {
        if let Some((deadline, _)) = self.deadlines.first() {
            assert!(*deadline >= self.now, "a request outlives its deadline");
        }
        for (plugin, peer) in &self.peers {
            if peer.limits.strikes > 0 {
                assert!(
                    peer.owed
                        .values()
                        .all(|owed| !owed.blamed || owed.deadline + peer.patience() >= self.now),
                    "{plugin} hangs and stays"
                );
            }
        }
        let mut identities = BTreeSet::new();
        for member in self.scheduler.roster().members() {
            assert!(
                identities.insert(&member.plugin.id),
                "two instances in one request"
            );
        }
    }

    /// Who is in the roster, and who is late, changes with the scheduler's revision only.
    pub(crate) fn check_revision(&mut self) {
        let members = self.scheduler.roster().members().iter();
        let now = members
            .map(|member| &member.plugin)
            .map(|plugin| (plugin.clone(), self.scheduler.is_late(plugin)))
            .collect();
        let (before, seen) = std::mem::replace(&mut self.revised, (self.scheduler.revision(), now));
        assert!(
            before < self.revised.0 || (before, &seen) == (self.revised.0, &self.revised.1),
            "in one revision the plugins are {seen:?} and {:?}",
            self.revised.1
        );
    }
}
