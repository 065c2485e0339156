//! Slots, turns, lateness and budgets.

use super::*;

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
fn d41_being_late_in_a_row_closes_and_an_answer_in_time_forgives() {
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
    let _ = scene.submit(CREATE, "p2", "c2");
    let _ = scene.answer("20-b ValidateContainerAdjustment c2");
    assert_eq!(scene.pass(ms(100)), ["failed"]);
    assert!(matches!(scene.errors[..], [Error::Rejected { .. }]));
}

#[test]
fn a_validator_that_is_always_late_is_closed_although_it_answers_creations_in_time() {
    let mut scene = Scene::new();
    let limits = limits();
    scene.open("10-a", limits.clone());
    for round in 1..=limits.strikes {
        let (pod, container) = (format!("p{round}"), format!("c{round}"));
        let _ = scene.submit(CREATE, &pod, &container);
        let judged = format!("10-a ValidateContainerAdjustment {container}");
        assert_eq!(
            scene.answer(&format!("10-a CreateContainer {container}")),
            [judged.as_str()]
        );
        let late = scene.pass(limits.request_timeout);
        if round == limits.strikes {
            let closed = late.iter().any(|effect| effect.starts_with("close 10-a"));
            assert!(closed, "{late:?}");
            return;
        }
        assert!(
            !late.iter().any(|effect| effect.starts_with("close")),
            "{late:?}"
        );
        let undone = scene.answer(&judged);
        for call in undone {
            if call.starts_with("10-a ") {
                let _ = scene.answer(&call);
                let _ = scene.answer(&format!("10-a RemoveContainer {container}"));
            }
        }
    }
}

#[test]
fn replies_to_calls_that_nobody_made_are_ignored() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    let _ = scene.submit(START, "p1", "c1");
    let gone = Reply::Gone { delivered: true };
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

#[test]
fn a_call_that_nobody_wants_any_more_is_not_handed_over() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    let order = Submission::new(request(START, "p1", "c1"), ObjectKey::pod("", "p1"))
        .with_container(ObjectKey::container("", "c1"));
    let id = scene.scheduler.handle_request(order, scene.now);
    // The effect is there, but nobody has asked for it yet.
    scene.scheduler.handle_abandoned(id, scene.now);
    assert_eq!(scene.effects(), ["failed"]);
    assert_eq!(scene.outcomes, [Outcome::NotReached]);
    assert!(scene.scheduler.is_idle());
}

#[test]
fn what_holds_for_a_plugin_can_change_while_it_works() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    let _ = scene.submit(START, "p1", "c1");
    assert!(scene.submit(START, "p2", "c2").1.is_empty());
    let policy = Policy {
        on_late: FailureAction::Fail,
        ..Policy::default()
    };
    let member = Member::new(plugin("10-a", 1), EventMask::ALL).with_policy(policy);
    let wider = PluginLimits {
        max_in_flight: 2,
        request_timeout: ms(500),
        ..limits()
    };
    let now = scene.now;
    scene.scheduler.handle_changed(member, wider, now);
    // There is a place now, with the new time; the call under way keeps its own, and its request
    // its policy.
    assert_eq!(scene.effects(), ["10-a StartContainer c2"]);
    assert_eq!(scene.pass(ms(100)), ["done"]);
    assert!(scene.errors.is_empty());
    let _ = scene.answer("10-a StartContainer c2");
    let _ = scene.answer("10-a StartContainer c1");
    let _ = scene.submit(START, "p3", "c3");
    let _ = scene.pass(ms(500));
    assert!(matches!(scene.errors[..], [Error::Late { .. }]));
    // One that is not known is nobody.
    let member = Member::new(plugin("20-b", 1), EventMask::ALL);
    scene.scheduler.handle_changed(member, limits(), now);
    assert!(scene.effects().is_empty());
}

/// Law: a request is encoded anew only if it has changed, and nobody decodes it for that: whoever
/// is asked the same gets the same bytes.
#[test]
fn what_nobody_changes_in_a_request_is_the_same_bytes_for_all() {
    let mut scene = Scene::new();
    for id in ["10-a", "20-b", "30-c", "40-d"] {
        scene.admit_member(creator(id, 1, Policy::default()), limits());
        scene.synchronize(id, 1);
    }
    let order = Submission::new(request(CREATE, "p", "c"), ObjectKey::pod("", "p"))
        .with_container(ObjectKey::container("", "c"));
    scene.scheduler.handle_request(order, scene.now);
    let (mut asked, mut set) = (Vec::new(), 0);
    // What is kept lies where nothing else comes to lie.
    let mut kept = Vec::new();
    while let Some(effect) = scene.scheduler.poll_effect() {
        let Effect::Call { call, message, .. } = effect else {
            continue;
        };
        let env = message.container().unwrap().env.len();
        assert_eq!(env, set, "it sees what the ones before it set");
        asked.push(message.bytes().as_ptr());
        let mut adjust = api::ContainerAdjustment::default();
        // The second and the third change nothing.
        if asked.len() == 1 {
            set += 1;
            adjust.env.push(api::KeyValue {
                key: format!("K{env}"),
                value: String::new(),
            });
        }
        kept.push(message);
        let answer = Response::CreateContainer(api::CreateContainerResponse {
            adjust: Some(adjust),
            ..Default::default()
        });
        let (reply, now) = (Reply::Answer(answer), scene.now);
        scene.scheduler.handle_reply(call, reply, now);
    }
    let [first, second, third, fourth] = asked[..] else {
        panic!("{asked:?}");
    };
    assert_ne!(first, second);
    assert_eq!([third, fourth], [second; 2]);
}
