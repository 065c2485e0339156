//! The simulated world: a runtime with pods and containers, plugins of all manners, and a clock
//! that jumps from event to event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nri_core::flow::{PluginOutcome, Reply, Roster};
use nri_core::lifecycle::ObjectKey;
use nri_core::schedule::{
    CallId, Config, Job, RequestFlow, RequestId, Scheduler, Submission, SyncPlan,
};
use nri_core::{EncodedRequest, Event, RegisteredPlugin, Request, Settlement, api};

use crate::chance::Chance;
use crate::peer::{Peer, Reaction, Where};

/// A request of which only the event and the ids matter.
#[derive(Clone)]
pub(crate) struct Errand(Arc<EncodedRequest>);

impl Errand {
    fn new(event: Event, pod: &str, container: &str) -> Self {
        let pod = api::PodSandbox {
            id: pod.to_owned(),
            ..Default::default()
        };
        let container = api::Container {
            id: container.to_owned(),
            ..Default::default()
        };
        let (pod, container) = (Some(pod), Some(container));
        let request = match event {
            Event::RunPodSandbox => Request::RunPodSandbox(api::RunPodSandboxRequest { pod }),
            Event::UpdatePodSandbox => Request::UpdatePodSandbox(api::UpdatePodSandboxRequest {
                pod,
                ..Default::default()
            }),
            Event::StopPodSandbox => Request::StopPodSandbox(api::StopPodSandboxRequest { pod }),
            Event::RemovePodSandbox => {
                Request::RemovePodSandbox(api::RemovePodSandboxRequest { pod })
            }
            Event::CreateContainer => {
                Request::CreateContainer(api::CreateContainerRequest { pod, container })
            }
            Event::PostCreateContainer => {
                Request::PostCreateContainer(api::PostCreateContainerRequest { pod, container })
            }
            Event::StartContainer => {
                Request::StartContainer(api::StartContainerRequest { pod, container })
            }
            Event::UpdateContainer => Request::UpdateContainer(api::UpdateContainerRequest {
                pod,
                container,
                ..Default::default()
            }),
            Event::StopContainer => {
                Request::StopContainer(api::StopContainerRequest { pod, container })
            }
            Event::RemoveContainer => {
                Request::RemoveContainer(api::RemoveContainerRequest { pod, container })
            }
            other => panic!("the simulated runtime has no {other}"),
        };
        Self(Arc::new(request.into()))
    }

    fn container(&self) -> String {
        self.0.container().map(|c| c.id.clone()).unwrap_or_default()
    }

    fn pod(&self) -> String {
        self.0.pod().map(|p| p.id.clone()).unwrap_or_default()
    }
}

impl Job for Errand {
    type Flow = RequestFlow;

    fn event(&self) -> Event {
        self.0.event()
    }

    fn subject(&self) -> String {
        Job::subject(&self.0)
    }

    fn begin(&mut self, roster: &Roster) -> RequestFlow {
        self.0.begin(roster)
    }

    fn undo(&self) -> Vec<Self> {
        if self.0.event() != Event::CreateContainer {
            return Vec::new();
        }
        [Event::StopContainer, Event::RemoveContainer]
            .map(|event| Self::new(event, &self.pod(), &self.container()))
            .into()
    }
}

/// What is going to happen.
#[derive(Debug)]
pub(crate) enum Plan {
    Operate,
    Reply(RegisteredPlugin, CallId),
    Die(RegisteredPlugin),
    List(RegisteredPlugin),
    Synchronized(RegisteredPlugin),
    Abandon(RequestId),
    Settle(RequestId, Settlement),
    Unblock,
}

/// What became of a request at a plugin, as the plugin tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Sent,
    Answered,
    Failed,
    Gone,
    /// The connection was lost in the very moment in which the answer became late.
    LateOrGone,
    NeverSent,
}

/// A request that is not finished, or a creation that is not settled.
pub(crate) struct Asked {
    pub(crate) event: Event,
    pub(crate) pod: String,
    pub(crate) container: String,
    pub(crate) since: Instant,
    pub(crate) deadline: Option<Instant>,
    /// Whether its caller has been told.
    pub(crate) told: bool,
}

/// A container that the runtime has, or a creation under way that it lists already.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) pod: String,
    pub(crate) committed: bool,
}

pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) config: Config,
    pub(crate) scheduler: Scheduler<Errand>,
    /// The scheduler's revision, with who was in its roster and who was late then.
    pub(crate) revised: (u64, Vec<(RegisteredPlugin, bool)>),
    pub(crate) peers: BTreeMap<RegisteredPlugin, Peer>,
    pub(crate) plans: BTreeMap<(Instant, u64), Plan>,
    pub(crate) last_number: u64,
    pub(crate) asked: BTreeMap<RequestId, Asked>,
    /// Deadlines of those whose callers have not been told.
    pub(crate) deadlines: BTreeSet<(Instant, RequestId)>,
    /// What became of each call.
    pub(crate) told: BTreeMap<RequestId, BTreeMap<(RegisteredPlugin, Event), Told>>,
    pub(crate) pods: Vec<String>,
    pub(crate) store: BTreeMap<String, Stored>,
    /// The containers whose creations were undone, with the plugins that had to hear of it.
    pub(crate) undone: BTreeMap<String, BTreeSet<RegisteredPlugin>>,
    /// How often each container was started.
    pub(crate) starts: BTreeMap<String, usize>,
    /// Whether pods and containers may run again.
    pub(crate) restartable: bool,
    /// When a creation of a pod was undone last.
    pub(crate) last_undo: BTreeMap<String, Instant>,
    /// What became of creations that are not settled.
    pub(crate) outcomes: BTreeMap<RequestId, Vec<PluginOutcome>>,
    pub(crate) blocks: usize,
    /// Longest pause between two things that happen by themselves, in milliseconds.
    pub(crate) pace: usize,
    pub(crate) quiet: bool,
    pub(crate) counts: BTreeMap<&'static str, usize>,
    pub(crate) longest: Duration,
}

const IDENTITIES: [&str; 7] = ["00-a", "10-b", "10-c", "20-d", "50-e", "90-f", "99-g"];
const MOST_REQUESTS: usize = 40;

impl World {
    pub(crate) fn new(seed: u64, serial: bool, restartable: bool) -> Self {
        let mut config = Config::default();
        config.serial = serial;
        config.settle_timeout = Duration::from_millis(1500);
        config.snapshot_timeout = Duration::from_millis(500);
        config.block_limit = Duration::from_millis(400);
        let start = Instant::now();
        let mut world = Self {
            chance: Chance::new(seed),
            start,
            now: start,
            scheduler: Scheduler::new(config.clone()),
            revised: Default::default(),
            config,
            peers: BTreeMap::new(),
            plans: BTreeMap::new(),
            last_number: 0,
            asked: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            told: BTreeMap::new(),
            pods: Vec::new(),
            store: BTreeMap::new(),
            undone: BTreeMap::new(),
            starts: BTreeMap::new(),
            restartable,
            last_undo: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            blocks: 0,
            pace: [10, 40, 40, 200][(seed % 4) as usize],
            quiet: false,
            counts: BTreeMap::new(),
            longest: Duration::ZERO,
        };
        if restartable {
            world.scheduler.lifecycles_mut().set_restartable("");
        }
        world.plan(Duration::ZERO, Plan::Operate);
        world
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(crate) fn plan(&mut self, after: Duration, plan: Plan) {
        let number = self.number();
        self.plans.insert((self.now + after, number), plan);
    }

    /// Jumps to the next thing that happens; false if nothing does any more.
    pub(crate) fn step(&mut self) -> bool {
        let timeout = self.scheduler.poll_timeout();
        let planned = self.plans.keys().next().map(|(at, _)| *at);
        let next = match (timeout, planned) {
            (None, None) => return false,
            (Some(at), None) | (None, Some(at)) => at,
            (Some(a), Some(b)) => a.min(b),
        };
        self.now = self.now.max(next);
        // At the same time either may come first.
        if timeout == Some(next) && (planned != Some(next) || self.chance.percent(50)) {
            self.scheduler.handle_timeout(self.now);
        } else if let Some((_, plan)) = self.plans.pop_first() {
            self.carry_out(plan);
        }
        self.take_effects();
        self.check_deadlines();
        self.check_revision();
        true
    }

    fn carry_out(&mut self, plan: Plan) {
        match plan {
            Plan::Operate if self.quiet => {}
            Plan::Operate => {
                self.operate();
                let pause = self.chance.millis(0..self.pace);
                self.plan(pause, Plan::Operate);
            }
            Plan::Reply(plugin, call) => self.reply(&plugin, call),
            Plan::Die(plugin) => self.die(&plugin),
            Plan::List(plugin) => self.list(&plugin),
            Plan::Synchronized(plugin) => self.synchronized(&plugin),
            Plan::Abandon(request) => {
                let open = self.asked.get_mut(&request).filter(|asked| !asked.told);
                if let Some(asked) = open {
                    asked.told = true;
                    self.forget_deadline(request);
                    self.scheduler.handle_abandoned(request, self.now);
                    self.count("abandoned");
                }
            }
            Plan::Settle(request, settlement) => self.settle(request, settlement),
            Plan::Unblock => {
                self.blocks -= 1;
                self.scheduler.unblock_joining(self.now);
            }
        }
    }

    fn reply(&mut self, plugin: &RegisteredPlugin, call: CallId) {
        let Some(peer) = self.peers.get_mut(plugin) else {
            return;
        };
        let Some(owed) = peer.owed.remove(&call) else {
            return;
        };
        let Some(reply) = owed.answer else { return };
        let late =
            owed.deadline < self.now || (owed.deadline == self.now && self.timers_are_through());
        if !late && !owed.observed {
            let told = match reply {
                Reply::Answer(_) => Told::Answered,
                _ => Told::Failed,
            };
            self.tell(owed.request, (plugin.clone(), owed.event), told);
        } else {
            self.count("late replies");
        }
        self.scheduler.handle_reply(call, reply, self.now);
    }

    /// Whether the scheduler has handled the timers of this very moment.
    fn timers_are_through(&self) -> bool {
        self.scheduler
            .poll_timeout()
            .is_none_or(|next| next > self.now)
    }

    /// Notes what became of a request at a plugin, while that matters.
    fn tell(&mut self, request: RequestId, by: (RegisteredPlugin, Event), told: Told) {
        if let Some(by_plugin) = self.told.get_mut(&request) {
            by_plugin.insert(by, told);
        }
    }

    fn die(&mut self, plugin: &RegisteredPlugin) {
        if self.peers.contains_key(plugin) {
            self.count("deaths");
            self.forget_peer(plugin);
            self.scheduler.handle_lost(plugin, self.now);
        }
    }

    /// A connection is gone, for whatever reason.
    pub(crate) fn forget_peer(&mut self, plugin: &RegisteredPlugin) -> Option<Peer> {
        let peer = self.peers.remove(plugin)?;
        for owed in peer.owed.values().filter(|owed| owed.deadline >= self.now) {
            if let Some(told) = self.told.get_mut(&owed.request)
                && let Some(told) = told.get_mut(&(plugin.clone(), owed.event))
                && *told == Told::Sent
            {
                *told = match owed.deadline == self.now {
                    true => Told::LateOrGone,
                    false => Told::Gone,
                };
            }
        }
        Some(peer)
    }

    fn list(&mut self, plugin: &RegisteredPlugin) {
        let Some(showing) = self.scheduler.handle_snapshot(plugin, self.now) else {
            return;
        };
        self.check_showing(plugin, &showing);
        let shown = self.shown(&showing);
        let keys = shown.iter().map(|id| ObjectKey::container("", id.as_str()));
        self.scheduler.handle_shown(plugin, &keys.collect());
        self.plan_reading(plugin, &shown);
        let Some(peer) = self.peers.get_mut(plugin) else {
            return;
        };
        peer.state = Where::Synchronizing;
        match peer.reaction(Event::CreateContainer, &mut self.chance) {
            Reaction::Reply(after, reply) if matches!(*reply, Reply::Answer(_)) => {
                self.plan(after, Plan::Synchronized(plugin.clone()));
            }
            Reaction::Silence => {}
            Reaction::Reply(..) | Reaction::Die(_) | Reaction::DeadAlready => {
                self.plan(Duration::ZERO, Plan::Die(plugin.clone()));
            }
        }
    }

    pub(crate) fn shown(&self, showing: &SyncPlan) -> Vec<String> {
        self.store
            .keys()
            .filter(|id| {
                let key = ObjectKey::container("", id.as_str());
                !showing.exclude.contains(&key) && self.scheduler.lifecycles().shows(&key)
            })
            .cloned()
            .collect()
    }

    fn synchronized(&mut self, plugin: &RegisteredPlugin) {
        let synchronizing = self
            .peers
            .get(plugin)
            .is_some_and(|peer| peer.state == Where::Synchronizing);
        if synchronizing {
            self.leave_out(plugin);
            self.scheduler.handle_synchronized(plugin, self.now);
        }
    }

    /// Whatever a runtime or a plugin may do next.
    fn operate(&mut self) {
        match self.chance.below(100) {
            0..=3 => self.new_peer(),
            4 => {
                let all: Vec<RegisteredPlugin> = self.peers.keys().cloned().collect();
                if let Some(plugin) = self.chance.pick(&all).filter(|_| all.len() > 4) {
                    self.die(plugin);
                }
            }
            5 if self.blocks < 2 => {
                self.blocks += 1;
                self.scheduler.block_joining();
                let held = self.chance.millis(0..700);
                self.plan(held, Plan::Unblock);
            }
            _ if self.asked.len() >= MOST_REQUESTS => {}
            6..=12 => self.pod_step(),
            13..=50 => self.create(),
            _ => self.container_step(),
        }
    }

    fn new_peer(&mut self) {
        let id = IDENTITIES[self.chance.below(IDENTITIES.len())];
        let plugin = RegisteredPlugin {
            id: id.parse().unwrap(),
            registration: self.number(),
        };
        if self.peers.keys().any(|other| other.id == plugin.id) {
            if !self.chance.percent(30) {
                return;
            }
            self.count("take-overs begun");
        }
        let peer = Peer::random(plugin.clone(), &mut self.chance, self.now);
        let member = peer.member(&mut self.chance);
        let limits = peer.limits.clone();
        self.peers.insert(plugin, peer);
        self.scheduler.handle_admitted(member, limits, self.now);
        self.count("plugins");
    }

    fn pod_step(&mut self) {
        if self.pods.len() < 8 {
            let pod = format!("p{}", self.number());
            self.pods.push(pod.clone());
            self.submit(Event::RunPodSandbox, &pod, "");
            return;
        }
        let Some(pod) = self.chance.pick(&self.pods).cloned() else {
            return;
        };
        let kinds = if self.restartable { 4 } else { 3 };
        let event = [
            Event::UpdatePodSandbox,
            Event::StopPodSandbox,
            Event::RemovePodSandbox,
            Event::RunPodSandbox,
        ][self.chance.below(kinds)];
        if event == Event::RemovePodSandbox {
            if self.store.values().any(|stored| stored.pod == pod) {
                return;
            }
            self.pods.retain(|other| *other != pod);
        }
        self.follow(event, &pod, "");
    }

    fn create(&mut self) {
        let Some(pod) = self.chance.pick(&self.pods).cloned() else {
            return;
        };
        let id = format!("c{}", self.number());
        if self.chance.percent(30) {
            // A runtime may list what it is about to create.
            self.keep(&pod, &id, false);
        }
        self.submit(Event::CreateContainer, &pod, &id);
        self.count("creations");
    }

    pub(crate) fn keep(&mut self, pod: &str, container: &str, committed: bool) {
        let stored = Stored {
            pod: pod.to_owned(),
            committed,
        };
        self.store
            .entry(container.to_owned())
            .and_modify(|stored| stored.committed = committed)
            .or_insert(stored);
    }

    fn container_step(&mut self) {
        let committed: Vec<(String, String)> = self
            .store
            .iter()
            .filter(|(_, stored)| stored.committed)
            .map(|(id, stored)| (id.clone(), stored.pod.clone()))
            .collect();
        let Some((id, pod)) = self.chance.pick(&committed).cloned() else {
            return;
        };
        let event = match self.chance.below(10) {
            0 => Event::PostCreateContainer,
            1 | 2 => Event::StartContainer,
            3 | 4 => Event::UpdateContainer,
            5 | 6 => Event::StopContainer,
            _ => Event::RemoveContainer,
        };
        self.follow(event, &pod, &id);
    }

    /// A removal implies a stop.
    fn follow(&mut self, event: Event, pod: &str, container: &str) {
        match event {
            Event::RemovePodSandbox => self.submit(Event::StopPodSandbox, pod, container),
            Event::RemoveContainer => self.submit(Event::StopContainer, pod, container),
            _ => {}
        }
        self.submit(event, pod, container);
    }

    fn submit(&mut self, event: Event, pod: &str, container: &str) {
        let deadline = match self.chance.below(10) {
            0..=2 => None,
            3 => Some(self.chance.millis(1..100)),
            _ => Some(self.chance.millis(100..5000)),
        };
        let deadline = deadline.map(|after| self.now + after);
        let mut order =
            Submission::new(Errand::new(event, pod, container), ObjectKey::pod("", pod));
        if !container.is_empty() {
            order = order.with_container(ObjectKey::container("", container));
        }
        let nobody_cares = !self.scheduler.roster().members().iter().any(|member| {
            let judges = event == Event::CreateContainer
                && member.events.contains(Event::ValidateContainerAdjustment);
            member.events.contains(event) || judges
        }) && !self.config.serial
            && !self.asked.values().any(|asked| asked.pod == pod)
            && self.calm(pod);
        let order = order.with_deadline(deadline);
        let request = self.scheduler.handle_request(order, self.now);
        let asked = Asked {
            event,
            pod: pod.to_owned(),
            container: container.to_owned(),
            since: self.now,
            deadline,
            told: false,
        };
        self.asked.insert(request, asked);
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, request));
        }
        if self.chance.percent(4) {
            let after = self.chance.millis(0..400);
            self.plan(after, Plan::Abandon(request));
        }
        self.take_effects();
        if nobody_cares {
            self.count("requests that nobody cared for");
            let unfinished = self.asked.get(&request).is_some_and(|asked| !asked.told);
            assert!(!unfinished, "{event} waits although no plugin wants it");
        }
    }

    /// Whether no creation in the pod was undone lately.
    pub(crate) fn calm(&self, pod: &str) -> bool {
        self.last_undo
            .get(pod)
            .is_none_or(|at| self.now - *at > Duration::from_secs(20))
    }

    fn settle(&mut self, request: RequestId, settlement: Settlement) {
        let Some(asked) = self.asked.remove(&request) else {
            return;
        };
        match settlement {
            Settlement::Committed => {
                self.keep(&asked.pod, &asked.container, true);
                self.check_commit(request, &asked);
                self.count("commits");
            }
            Settlement::Abandoned => {
                self.store.remove(&asked.container);
                self.expect_undo(request, &asked);
                self.count("creations abandoned");
            }
        }
        self.told.remove(&request);
        self.outcomes.remove(&request);
        self.scheduler.handle_settled(request, settlement, self.now);
    }
}
