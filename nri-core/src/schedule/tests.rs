//! Scenes: one rule each, with exact times. That the rules hold together is for the simulation in `tests/`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;
use crate::flow::{Member, OnTrouble, Outcome, Policy, Reply};
use crate::lifecycle::{Due, ObjectKey};
use crate::{Error, Event, EventMask, RegisteredPlugin, Request, Response, api};

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
        let order = Order::new(request(event, pod, container), ObjectKey::pod("", pod))
            .about(ObjectKey::container("", container))
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

    fn settle(&mut self, request: RequestId, due: Due) -> Vec<String> {
        self.scheduler.handle_settled(request, due, self.now);
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
                    let text = format!("{plugin} {} {}", message.event(), about.unwrap());
                    self.calls.insert(text.clone(), call);
                    text
                }
                Effect::Snapshot { plugin } => format!("list for {plugin}"),
                Effect::Opened { plugin } => format!("{plugin}#{} opens", plugin.registration),
                Effect::Close { plugin, reason } => {
                    format!("close {plugin}#{}: {reason}", plugin.registration)
                }
                Effect::OutOfTime { .. } => "out of time".to_owned(),
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

fn request(event: Event, pod: &str, container: &str) -> Request {
    let pod = api::PodSandbox {
        id: pod.to_owned(),
        ..Default::default()
    };
    let container = api::Container {
        id: container.to_owned(),
        ..Default::default()
    };
    let (pod, container) = (Some(pod), Some(container));
    match event {
        Event::CreateContainer => {
            Request::CreateContainer(api::CreateContainerRequest { pod, container })
        }
        Event::StartContainer => {
            Request::StartContainer(api::StartContainerRequest { pod, container })
        }
        Event::PostStartContainer => {
            Request::PostStartContainer(api::PostStartContainerRequest { pod, container })
        }
        other => panic!("no scene has {other}"),
    }
}

/// A member that creates but does not judge.
fn creator(id: &str, registration: u64, policy: Policy) -> Member {
    let events = EventMask::ALL - Event::ValidateContainerAdjustment.into();
    Member::new(plugin(id, registration), events).with_policy(policy)
}

const START: Event = Event::StartContainer;
const POST: Event = Event::PostStartContainer;
const CREATE: Event = Event::CreateContainer;

#[test]
fn the_time_of_a_plugin_begins_with_its_turn() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    assert_eq!(
        scene.submit(START, "p1", "c1").1,
        ["10-a StartContainer c1"]
    );
    // Waits behind the other pod's, without being late for that.
    assert!(scene.submit(START, "p2", "c2").1.is_empty());
    assert!(scene.pass(ms(99)).is_empty());
    let next = scene.answer("10-a StartContainer c1");
    assert_eq!(next, ["10-a StartContainer c2", "done"]);
    assert!(scene.pass(ms(99)).is_empty());
    assert_eq!(scene.answer("10-a StartContainer c2"), ["done"]);
    assert!(scene.scheduler.is_idle());
}

#[test]
fn nobody_waits_for_a_late_plugin_which_keeps_its_turn() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    let _ = scene.submit(START, "p1", "c1");
    let _ = scene.submit(START, "p2", "c2");
    assert_eq!(scene.pass(ms(100)), ["done", "done"]);
    assert_eq!(scene.outcomes, [Outcome::Late { after: None }]);
    assert_eq!(scene.submit(START, "p3", "c3").1, ["done"]);
    // Its answer has come, and nobody hears of it.
    assert!(scene.answer("10-a StartContainer c1").is_empty());
    assert_eq!(
        scene.submit(START, "p3", "c4").1,
        ["10-a StartContainer c4"]
    );
    assert_eq!(scene.answer("10-a StartContainer c4"), ["done"]);
    assert!(scene.scheduler.is_idle());
}

#[test]
fn one_stuck_pod_takes_one_place_of_several() {
    let mut scene = Scene::new();
    let max_in_flight = 2;
    scene.open(
        "10-a",
        PluginLimits {
            max_in_flight,
            ..limits()
        },
    );
    let _ = scene.submit(START, "p1", "c1");
    assert_eq!(scene.pass(ms(100)), ["done"]);
    // The pod's next event must not overtake the stuck one; other pods have a place.
    assert_eq!(scene.submit(START, "p1", "c2").1, ["done"]);
    assert_eq!(
        scene.submit(START, "p2", "c3").1,
        ["10-a StartContainer c3"]
    );
    assert!(scene.submit(START, "p3", "c4").1.is_empty());
    let next = scene.answer("10-a StartContainer c3");
    assert_eq!(next, ["10-a StartContainer c4", "done"]);
}

#[test]
fn being_late_in_a_row_closes_and_an_answer_in_time_forgives() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    let late = |scene: &mut Scene| {
        assert_eq!(
            scene.submit(START, "p1", "c1").1,
            ["10-a StartContainer c1"]
        );
        scene.pass(ms(100))
    };
    for _ in 0..2 {
        assert_eq!(late(&mut scene), ["done"]);
        let _ = scene.answer("10-a StartContainer c1");
    }
    let _ = scene.submit(START, "p1", "c1");
    assert_eq!(scene.answer("10-a StartContainer c1"), ["done"]);
    for _ in 0..2 {
        assert_eq!(late(&mut scene), ["done"]);
        let _ = scene.answer("10-a StartContainer c1");
    }
    let closed = "close 10-a#1: it was late 3 times in a row";
    assert_eq!(late(&mut scene), [closed, "done"]);
    assert!(scene.scheduler.roster().members().is_empty());
    assert!(scene.scheduler.is_idle());
}

#[test]
fn a_plugin_that_hangs_is_closed_though_it_gets_nothing_to_be_late_with() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    let _ = scene.submit(START, "p1", "c1");
    assert_eq!(scene.pass(ms(299)), ["done"]);
    let closed = "close 10-a#1: it has owed an answer for too long";
    assert_eq!(scene.pass(ms(1)), [closed]);
    assert!(scene.scheduler.is_idle());
}

#[test]
fn a_late_plugin_is_closed_or_synchronised_again_if_it_is_configured_so() {
    let mut scene = Scene::new();
    let after_late = AfterLate::Close;
    scene.open(
        "10-a",
        PluginLimits {
            after_late,
            ..limits()
        },
    );
    let _ = scene.submit(START, "p1", "c1");
    assert_eq!(scene.pass(ms(100)), ["close 10-a#1: it was late", "done"]);

    let after_late = AfterLate::Resync;
    scene.open(
        "20-b",
        PluginLimits {
            after_late,
            ..limits()
        },
    );
    let _ = scene.submit(START, "p1", "c2");
    assert_eq!(scene.pass(ms(100)), ["done"]);
    assert_eq!(scene.answer("20-b StartContainer c2"), ["list for 20-b"]);
    assert!(scene.submit(START, "p1", "c3").1.is_empty());
    let opened = scene.synchronize("20-b", 1);
    assert_eq!(opened, ["20-b#1 opens", "20-b StartContainer c3"]);
}

#[test]
fn a_request_ends_within_its_budget_but_what_has_happened_is_told_to_all() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    scene.open("20-b", limits());
    let _ = scene.submit(START, "p1", "c1");
    let _ = scene.submit_within(START, "p2", "c2", Some(ms(50)));
    let _ = scene.submit_within(POST, "p3", "c3", Some(ms(50)));
    assert_eq!(scene.pass(ms(50)), ["failed", "out of time"]);
    assert!(matches!(scene.errors[..], [Error::OutOfTime { .. }]));
    assert_eq!(scene.outcomes, [Outcome::NotReached, Outcome::NotReached]);
    let next = scene.answer("10-a StartContainer c1");
    assert_eq!(
        next,
        ["10-a PostStartContainer c3", "20-b StartContainer c1"]
    );
    let next = scene.answer("10-a PostStartContainer c3");
    assert!(next.is_empty());
    let next = scene.answer("20-b StartContainer c1");
    assert_eq!(next, ["20-b PostStartContainer c3", "done"]);
    assert_eq!(scene.answer("20-b PostStartContainer c3"), ["done"]);
    assert!(scene.scheduler.is_idle());
}

#[test]
fn a_caller_without_time_is_no_strike_for_the_plugin() {
    let mut scene = Scene::new();
    scene.open(
        "10-a",
        PluginLimits {
            strikes: 1,
            ..limits()
        },
    );
    let _ = scene.submit_within(START, "p1", "c1", Some(ms(50)));
    assert_eq!(scene.pass(ms(50)), ["failed"]);
    assert_eq!(scene.outcomes, [Outcome::Abandoned]);
    // The next one of the pod does not overtake what was handed over.
    assert!(scene.submit(START, "p1", "c2").1.is_empty());
    assert!(scene.pass(ms(49)).is_empty());
    let next = scene.answer("10-a StartContainer c1");
    assert_eq!(next, ["10-a StartContainer c2"]);
}

#[test]
fn pods_overlap_unless_requests_are_serial() {
    for serial in [false, true] {
        let mut scene = Scene::with(Config {
            serial,
            ..Config::default()
        });
        scene.open("10-a", limits());
        scene.open("20-b", limits());
        let _ = scene.submit(START, "p1", "c1");
        let _ = scene.submit(START, "p2", "c2");
        let next = scene.answer("10-a StartContainer c1");
        match serial {
            false => assert_eq!(next, ["10-a StartContainer c2", "20-b StartContainer c1"]),
            true => assert_eq!(next, ["20-b StartContainer c1"]),
        }
    }
}

#[test]
fn a_plugin_that_nobody_needs_delays_nobody() {
    let mut scene = Scene::new();
    let idle = Member::new(plugin("10-idle", 1), Event::RunPodSandbox.into());
    let _ = scene.admit_member(idle, limits());
    // It never gets synchronised, and it hangs.
    assert_eq!(scene.submit(START, "p1", "c1").1, ["done"]);
    assert_eq!(scene.outcomes, [Outcome::Unsubscribed]);
}

#[test]
fn who_joins_hears_of_each_container_once() {
    let mut scene = Scene::new();
    let old = scene.submit(CREATE, "p1", "old").0;
    // The creation is through the plugins (there are none), but the runtime does not have the container yet.
    assert!(scene.admit("10-a", 1, limits()).is_empty());
    let (_, new) = scene.submit(CREATE, "p2", "new");
    assert!(new.is_empty(), "a new request waits for the plugin");
    assert_eq!(scene.settle(old, Due::Nothing), ["list for 10-a"]);
    let plugin = plugin("10-a", 1);
    let showing = scene.scheduler.handle_snapshot(&plugin, scene.now).unwrap();
    assert!(showing.hide.contains(&ObjectKey::container("", "new")));
    assert!(!showing.hide.contains(&ObjectKey::container("", "old")));
    assert_eq!(showing.deadline, scene.now + ms(100));
    scene.scheduler.handle_synchronized(&plugin, scene.now);
    assert_eq!(
        scene.effects(),
        ["10-a#1 opens", "10-a CreateContainer new"]
    );
}

#[test]
fn a_creation_that_is_never_settled_does_not_keep_plugins_out() {
    let mut scene = Scene::new();
    let _ = scene.submit(CREATE, "p1", "stuck");
    let _ = scene.admit("10-a", 1, limits());
    assert!(scene.pass(ms(999)).is_empty());
    assert_eq!(scene.pass(ms(1)), ["list for 10-a"]);
    let plugin = plugin("10-a", 1);
    let showing = scene.scheduler.handle_snapshot(&plugin, scene.now).unwrap();
    assert!(showing.hide.contains(&ObjectKey::container("", "stuck")));
}

#[test]
fn who_does_not_synchronise_is_closed_and_waited_for_no_more() {
    let mut scene = Scene::new();
    let _ = scene.admit("10-a", 1, limits());
    let _ = scene.submit(START, "p1", "c1");
    let plugin = plugin("10-a", 1);
    let _ = scene.scheduler.handle_snapshot(&plugin, scene.now).unwrap();
    let closed = "close 10-a#1: it was not synchronised in time";
    assert_eq!(scene.pass(ms(100)), [closed, "done"]);
    assert_eq!(scene.outcomes, [Outcome::Gone]);
    // Too late, and not known any more.
    scene.scheduler.handle_synchronized(&plugin, scene.now);
    assert!(scene.effects().is_empty());
    assert!(scene.scheduler.is_idle());
}

#[test]
fn a_runtime_can_keep_plugins_from_joining_for_a_while() {
    let mut scene = Scene::new();
    scene.scheduler.block_joining();
    scene.scheduler.block_joining();
    assert!(scene.admit("10-a", 1, limits()).is_empty());
    // Nobody waits for a plugin that is kept out.
    assert_eq!(scene.submit(START, "p1", "c1").1, ["done"]);
    scene.scheduler.unblock_joining(scene.now);
    assert!(scene.effects().is_empty());
    scene.scheduler.unblock_joining(scene.now);
    assert_eq!(scene.effects(), ["list for 10-a"]);
    let _ = scene.synchronize("10-a", 1);

    scene.scheduler.block_joining();
    assert!(scene.admit("20-b", 1, limits()).is_empty());
    assert!(scene.pass(ms(9_999)).is_empty());
    assert_eq!(scene.pass(ms(1)), ["list for 20-b"]);
}

#[test]
fn a_newer_instance_takes_over_without_a_gap() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    let _ = scene.submit(START, "p1", "c1");
    assert!(
        scene.admit("10-a", 2, limits()).is_empty(),
        "c1 is under way"
    );
    let _ = scene.submit(START, "p2", "c2");
    assert_eq!(
        scene.answer("10-a StartContainer c1"),
        ["done", "list for 10-a"]
    );
    let over = "close 10-a#1: a newer instance of it has taken over";
    let opened = scene.synchronize("10-a", 2);
    assert_eq!(opened, ["10-a#2 opens", "10-a StartContainer c2", over]);
    assert_eq!(scene.answer("10-a StartContainer c2"), ["done"]);
    assert!(scene.scheduler.is_idle());
}

#[test]
fn what_waited_for_a_newer_instance_that_fails_goes_to_the_older_one() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    let _ = scene.admit("10-a", 2, limits());
    assert!(scene.submit(START, "p1", "c1").1.is_empty());
    assert_eq!(scene.lose("10-a", 2), ["10-a StartContainer c1"]);
    assert_eq!(scene.answer("10-a StartContainer c1"), ["done"]);
    assert_eq!(scene.outcomes, [Outcome::Answered]);
}

#[test]
fn an_older_instance_stays_if_the_newer_one_is_gone_before_it() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    let _ = scene.submit(START, "p1", "c1");
    let _ = scene.admit("10-a", 2, limits());
    // c1 takes so long that the newer instance does not wait for it.
    scene.scheduler.config.settle_timeout = ms(10);
    let _ = scene.lose("10-a", 2);
    assert!(scene.admit("10-a", 3, limits()).is_empty());
    assert_eq!(scene.pass(ms(10)), ["list for 10-a"]);
    assert_eq!(scene.synchronize("10-a", 3), ["10-a#3 opens"]);
    assert!(scene.lose("10-a", 3).is_empty());
    assert_eq!(
        scene.answer("10-a StartContainer c1"),
        ["list for 10-a", "done"]
    );
    assert_eq!(scene.synchronize("10-a", 1), ["10-a#1 opens"]);
}

#[test]
fn a_failed_creation_is_undone_towards_those_that_saw_it() {
    let mut scene = Scene::new();
    for id in ["10-a", "20-b", "30-c"] {
        let _ = scene.admit_member(creator(id, 1, Policy::default()), limits());
        let _ = scene.synchronize(id, 1);
    }
    let _ = scene.submit(CREATE, "p1", "c1");
    // Something else of the pod waits meanwhile; the undoing comes first.
    let _ = scene.submit(START, "p1", "c2");
    assert_eq!(
        scene.answer("10-a CreateContainer c1"),
        ["20-b CreateContainer c1"]
    );
    let undoing = scene.refuse("20-b CreateContainer c1");
    assert_eq!(undoing, ["failed", "10-a StopContainer c1"]);
    assert_eq!(
        scene.answer("10-a StopContainer c1"),
        ["20-b StopContainer c1"]
    );
    let next = scene.answer("20-b StopContainer c1");
    assert_eq!(next, ["undone", "10-a RemoveContainer c1"]);
    assert_eq!(
        scene.answer("10-a RemoveContainer c1"),
        ["20-b RemoveContainer c1"]
    );
    let next = scene.answer("20-b RemoveContainer c1");
    assert_eq!(next, ["undone", "10-a StartContainer c2"]);
}

#[test]
fn an_abandoned_creation_is_undone_as_far_as_that_is_due() {
    let mut scene = Scene::new();
    let _ = scene.admit_member(creator("10-a", 1, Policy::default()), limits());
    let _ = scene.synchronize("10-a", 1);
    for (due, first) in [
        (Due::StopFirst, "10-a StopContainer c1"),
        (Due::Event, "10-a RemoveContainer c1"),
    ] {
        let (creation, _) = scene.submit(CREATE, "p1", "c1");
        assert_eq!(scene.answer("10-a CreateContainer c1"), ["done"]);
        assert_eq!(scene.settle(creation, due), [first]);
        let next = scene.answer(first);
        if due == Due::StopFirst {
            assert_eq!(next, ["undone", "10-a RemoveContainer c1"]);
            assert_eq!(scene.answer("10-a RemoveContainer c1"), ["undone"]);
        } else {
            assert_eq!(next, ["undone"]);
        }
    }
    let (creation, _) = scene.submit(CREATE, "p1", "c1");
    let _ = scene.answer("10-a CreateContainer c1");
    assert!(scene.settle(creation, Due::Nothing).is_empty());
    assert!(scene.scheduler.is_idle());
}

#[test]
fn the_plugin_whose_lateness_failed_a_creation_hears_of_the_undoing_when_it_is_back() {
    let mut scene = Scene::new();
    let policy = Policy {
        on_late: OnTrouble::Fail,
        ..Policy::default()
    };
    let _ = scene.admit_member(creator("10-a", 1, policy), limits());
    let _ = scene.synchronize("10-a", 1);
    let _ = scene.submit(CREATE, "p1", "c1");
    assert_eq!(scene.pass(ms(100)), ["failed", "undone", "undone"]);
    let next = scene.answer("10-a CreateContainer c1");
    assert_eq!(next, ["10-a StopContainer c1"]);
    assert!(scene.submit(POST, "p1", "c2").1.is_empty());
    assert_eq!(
        scene.answer("10-a StopContainer c1"),
        ["10-a RemoveContainer c1"]
    );
    let next = scene.answer("10-a RemoveContainer c1");
    assert_eq!(next, ["10-a PostStartContainer c2"]);
}

#[test]
fn a_caller_that_leaves_ends_its_creation_and_what_was_handed_over_is_undone() {
    let mut scene = Scene::new();
    for id in ["10-a", "20-b"] {
        let _ = scene.admit_member(creator(id, 1, Policy::default()), limits());
        let _ = scene.synchronize(id, 1);
    }
    let (creation, _) = scene.submit(CREATE, "p1", "c1");
    scene.scheduler.handle_abandoned(creation, scene.now);
    assert_eq!(scene.effects(), ["failed"]);
    assert_eq!(
        scene.answer("10-a CreateContainer c1"),
        ["10-a StopContainer c1"]
    );
    // One that no plugin has got yet is nothing to undo.
    let (waiting, called) = scene.submit(CREATE, "p2", "c2");
    assert!(called.is_empty());
    scene.scheduler.handle_abandoned(waiting, scene.now);
    assert_eq!(scene.effects(), ["failed"]);
    assert_eq!(scene.outcomes, [Outcome::NotReached, Outcome::NotReached]);
}

#[test]
fn a_request_that_was_not_handed_over_is_nothing_to_undo() {
    let mut scene = Scene::new();
    let policy = Policy {
        on_absent: OnTrouble::Fail,
        ..Policy::default()
    };
    let _ = scene.admit_member(creator("10-a", 1, policy), limits());
    let _ = scene.synchronize("10-a", 1);
    let _ = scene.submit(CREATE, "p1", "c1");
    let gone = Reply::Gone { handed_over: false };
    assert_eq!(scene.reply("10-a CreateContainer c1", gone), ["failed"]);
    assert!(scene.scheduler.is_idle());
}

#[test]
fn validators_judge_at_the_same_time_in_turns_of_their_own() {
    let mut scene = Scene::new();
    for id in ["10-a", "20-b"] {
        let member = Member::new(plugin(id, 1), Event::ValidateContainerAdjustment.into());
        let _ = scene.admit_member(member, limits());
        let _ = scene.synchronize(id, 1);
    }
    let both = [
        "10-a ValidateContainerAdjustment c1",
        "20-b ValidateContainerAdjustment c1",
    ];
    assert_eq!(scene.submit(CREATE, "p1", "c1").1, both);
    assert!(scene.answer(both[1]).is_empty());
    assert_eq!(scene.answer(both[0]), ["done"]);
    // A validator that is late does not accept.
    let _ = scene.submit(CREATE, "p2", "c1");
    let _ = scene.answer(both[1]);
    assert_eq!(scene.pass(ms(100)), ["failed"]);
    assert!(matches!(scene.errors[..], [Error::Rejected { .. }]));
}

#[test]
fn replies_to_calls_that_nobody_made_are_ignored() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    let _ = scene.submit(START, "p1", "c1");
    let gone = Reply::Gone { handed_over: true };
    let call = scene.calls["10-a StartContainer c1"];
    assert_eq!(
        scene.reply("10-a StartContainer c1", gone.clone()),
        ["done"]
    );
    scene.scheduler.handle_reply(call, gone, scene.now);
    scene.scheduler.handle_lost(&plugin("99-z", 7), scene.now);
    scene
        .scheduler
        .handle_synchronized(&plugin("10-a", 1), scene.now);
    assert!(
        scene
            .scheduler
            .handle_snapshot(&plugin("10-a", 1), scene.now)
            .is_none()
    );
    assert!(scene.effects().is_empty());
}
