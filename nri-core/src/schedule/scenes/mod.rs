//! Scenes: one rule each, with exact times. That the rules hold together is for the simulation
//! among the integration tests.

mod budgets;
mod joining;
mod observing;
mod policies;
mod restarting;
mod turns;
mod undoing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::flow::{FailureAction, Member, Outcome, Policy, Reply};
use crate::lifecycle::ObjectKey;
use crate::{
    EncodedRequest, Error, Event, EventMask, RegisteredPlugin, Request, Response, Settlement, api,
};

/// A scheduler whose effects are told in words, at a time in milliseconds.
struct Scene {
    scheduler: Scheduler,
    now: Instant,
    calls: BTreeMap<String, CallId>,
    errors: Vec<Error>,
    outcomes: Vec<Outcome>,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn plugin(id: &str, registration: u64) -> RegisteredPlugin {
    RegisteredPlugin {
        id: id.parse().unwrap(),
        registration,
    }
}

fn limits() -> PluginLimits {
    PluginLimits {
        request_timeout: ms(100),
        ..PluginLimits::default()
    }
}

impl Scene {
    fn new() -> Self {
        Self::with(Config {
            settle_timeout: ms(1000),
            ..Config::default()
        })
    }

    #[allow(clippy::disallowed_methods, reason = "a test has a clock")]
    fn with(config: Config) -> Self {
        Self {
            scheduler: Scheduler::new(config),
            now: Instant::now(),
            calls: BTreeMap::new(),
            errors: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// A plugin that joins, and what happens then.
    fn admit(&mut self, id: &str, registration: u64, limits: PluginLimits) -> Vec<String> {
        let member = Member::new(plugin(id, registration), EventMask::ALL);
        self.admit_member(member, limits)
    }

    fn admit_member(&mut self, member: Member, limits: PluginLimits) -> Vec<String> {
        self.scheduler.handle_admitted(member, limits, self.now);
        self.effects()
    }

    /// A plugin that has joined.
    fn open(&mut self, id: &str, limits: PluginLimits) {
        let joining = self.admit(id, 1, limits);
        assert_eq!(joining, [format!("list for {id}")]);
        self.synchronize(id, 1);
    }

    fn synchronize(&mut self, id: &str, registration: u64) -> Vec<String> {
        let plugin = plugin(id, registration);
        assert!(self.scheduler.handle_snapshot(&plugin, self.now).is_some());
        self.scheduler.handle_synchronized(&plugin, self.now);
        self.effects()
    }

    fn submit(&mut self, event: Event, pod: &str, container: &str) -> (RequestId, Vec<String>) {
        self.submit_within(event, pod, container, None)
    }

    fn submit_within(
        &mut self,
        event: Event,
        pod: &str,
        container: &str,
        budget: Option<Duration>,
    ) -> (RequestId, Vec<String>) {
        let order = Submission::new(request(event, pod, container), ObjectKey::pod("", pod))
            .with_container(ObjectKey::container("", container))
            .with_deadline(budget.map(|budget| self.now + budget));
        let id = self.scheduler.handle_request(order, self.now);
        (id, self.effects())
    }

    /// A call is answered; it is named as its effect was told.
    fn answer(&mut self, call: &str) -> Vec<String> {
        let event = Event::ALL
            .into_iter()
            .find(|event| call.split(' ').any(|word| word == event.name()));
        self.reply(call, Reply::Answer(Response::empty(event.unwrap())))
    }

    fn refuse(&mut self, call: &str) -> Vec<String> {
        let message = "no".to_owned();
        self.reply(call, Reply::Error { code: 2, message })
    }

    fn reply(&mut self, call: &str, reply: Reply) -> Vec<String> {
        let id = self
            .calls
            .remove(call)
            .unwrap_or_else(|| panic!("no call {call}"));
        self.scheduler.handle_reply(id, reply, self.now);
        self.effects()
    }

    fn lose(&mut self, id: &str, registration: u64) -> Vec<String> {
        self.scheduler
            .handle_lost(&plugin(id, registration), self.now);
        self.effects()
    }

    fn settle(&mut self, request: RequestId, settlement: Settlement) -> Vec<String> {
        self.scheduler.handle_settled(request, settlement, self.now);
        self.effects()
    }

    /// Lets time pass, with all timers handled when they are due.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut told = Vec::new();
        while let Some(at) = self.scheduler.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.scheduler.handle_timeout(self.now);
            told.extend(self.effects());
        }
        self.now = end;
        told
    }

    fn effects(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(effect) = self.scheduler.poll_effect() {
            told.push(match effect {
                Effect::CallResolved { .. } => continue,
                Effect::Call {
                    call,
                    plugin,
                    message,
                    deadline,
                    ..
                } => {
                    assert!(deadline > self.now);
                    let about = message
                        .container()
                        .map(|c| &c.id)
                        .or(message.pod().map(|p| &p.id));
                    let instance = match plugin.registration {
                        1 => String::new(),
                        later => format!("#{later}"),
                    };
                    let text = format!("{plugin}{instance} {} {}", message.event(), about.unwrap());
                    self.calls.insert(text.clone(), call);
                    text
                }
                Effect::Synchronize { plugin } => format!("list for {plugin}"),
                Effect::PluginReady { plugin } => format!("{plugin}#{} opens", plugin.registration),
                Effect::FellBehind { plugin, missed } => format!("{plugin} misses {missed}"),
                Effect::Close { plugin, reason } => {
                    format!("close {plugin}#{}: {reason}", plugin.registration)
                }
                Effect::OutOfTime { .. } => "out of time".to_owned(),
                Effect::Released { .. } => "released".to_owned(),
                Effect::Finished { report, undoes, .. } => {
                    self.outcomes = report.outcomes.into_iter().map(|o| o.outcome).collect();
                    let error = report.result.err();
                    let failed = error.is_some();
                    self.errors.extend(error);
                    match (undoes, failed) {
                        (Some(_), _) => "undone".to_owned(),
                        (None, true) => "failed".to_owned(),
                        (None, false) => "done".to_owned(),
                    }
                }
            });
        }
        told
    }
}

fn request(event: Event, pod: &str, container: &str) -> Arc<EncodedRequest> {
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
        Event::StopPodSandbox => Request::StopPodSandbox(api::StopPodSandboxRequest { pod }),
        Event::CreateContainer => {
            Request::CreateContainer(api::CreateContainerRequest { pod, container })
        }
        Event::StartContainer => {
            Request::StartContainer(api::StartContainerRequest { pod, container })
        }
        Event::PostStartContainer => {
            Request::PostStartContainer(api::PostStartContainerRequest { pod, container })
        }
        Event::StopContainer => {
            Request::StopContainer(api::StopContainerRequest { pod, container })
        }
        Event::RemoveContainer => {
            Request::RemoveContainer(api::RemoveContainerRequest { pod, container })
        }
        other => panic!("no scene has {other}"),
    };
    Arc::new(request.into())
}

/// A member that creates but does not judge.
fn creator(id: &str, registration: u64, policy: Policy) -> Member {
    let events = EventMask::ALL - Event::ValidateContainerAdjustment.into();
    Member::new(plugin(id, registration), events).with_policy(policy)
}

const START: Event = Event::StartContainer;
const POST: Event = Event::PostStartContainer;
const CREATE: Event = Event::CreateContainer;
const STOP: Event = Event::StopContainer;
const REMOVE: Event = Event::RemoveContainer;
