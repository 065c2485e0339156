//! Plugins that join, take over, and go.

use super::*;
use crate::lifecycle::Observed;

#[test]
fn who_joins_hears_of_each_container_once() {
    let mut scene = Scene::new();
    let old = scene.submit(CREATE, "p1", "old").0;
    // The creation is through the plugins (there are none), but the runtime does not have the
    // container yet.
    assert!(scene.admit("10-a", 1, limits()).is_empty());
    let (_, new) = scene.submit(CREATE, "p2", "new");
    assert!(new.is_empty(), "a new request waits for the plugin");
    assert_eq!(scene.settle(old, Settlement::Committed), ["list for 10-a"]);
    let plugin = plugin("10-a", 1);
    let showing = scene.scheduler.handle_snapshot(&plugin, scene.now).unwrap();
    assert!(showing.exclude.contains(&ObjectKey::container("", "new")));
    assert!(!showing.exclude.contains(&ObjectKey::container("", "old")));
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
    assert!(showing.exclude.contains(&ObjectKey::container("", "stuck")));
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
    assert_eq!(opened, ["10-a#2 opens", "10-a#2 StartContainer c2", over]);
    assert_eq!(scene.answer("10-a#2 StartContainer c2"), ["done"]);
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
fn the_older_instance_gets_what_the_newer_one_does_not_want_until_it_is_replaced() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    let modest = EventMask::from(Event::RunPodSandbox);
    let newer = Member::new(plugin("10-a", 2), modest);
    assert_eq!(scene.admit_member(newer, limits()), ["list for 10-a"]);
    let (_, called) = scene.submit(START, "p1", "c1");
    assert_eq!(called, ["10-a StartContainer c1"]);
    assert_eq!(scene.answer("10-a StartContainer c1"), ["done"]);
    let over = "close 10-a#1: a newer instance of it has taken over";
    assert_eq!(scene.synchronize("10-a", 2), ["10-a#2 opens", over]);
    assert_eq!(scene.scheduler.roster().members()[0].events, modest);
    assert_eq!(scene.submit(START, "p1", "c2").1, ["done"]);
    assert_eq!(scene.outcomes, [Outcome::Unsubscribed]);
}

#[test]
fn an_older_instance_still_gets_what_began_with_it() {
    let mut scene = Scene::new();
    let patient = PluginLimits {
        request_timeout: ms(5000),
        ..limits()
    };
    scene.open("05-slow", patient);
    scene.open("10-a", limits());
    let _ = scene.submit(START, "p1", "c1");
    assert!(scene.admit("10-a", 2, limits()).is_empty());
    assert_eq!(scene.pass(ms(1000)), ["list for 10-a"]);
    assert_eq!(scene.synchronize("10-a", 2), ["10-a#2 opens"]);
    let next = scene.answer("05-slow StartContainer c1");
    assert_eq!(next, ["10-a StartContainer c1"]);
    let over = "close 10-a#1: a newer instance of it has taken over";
    assert_eq!(scene.answer("10-a StartContainer c1"), [over, "done"]);
}

#[test]
fn what_began_before_a_successor_came_ends_without_it_and_is_shown_to_it() {
    let mut scene = Scene::new();
    scene.open("05-b", limits());
    scene.open("10-a", limits());
    let _ = scene.submit(START, "p1", "c1");
    assert!(scene.admit("10-a", 2, limits()).is_empty());
    assert!(scene.lose("10-a", 1).is_empty());
    let ended = scene.answer("05-b StartContainer c1");
    assert_eq!(ended, ["done", "list for 10-a"]);
    let (_, begun) = scene.submit(START, "p2", "c2");
    assert_eq!(begun, ["05-b StartContainer c2"]);
    assert!(scene.answer("05-b StartContainer c2").is_empty());
    let opened = scene.synchronize("10-a", 2);
    assert_eq!(opened, ["10-a#2 opens", "10-a#2 StartContainer c2"]);
    assert_eq!(scene.answer("10-a#2 StartContainer c2"), ["done"]);
}

/// 30-a comes again while it joins; 20-b joins between, and waits for what waits for 30-a.
#[test]
fn nobody_waits_in_a_circle() {
    let mut scene = Scene::new();
    assert_eq!(scene.admit("30-a", 1, limits()), ["list for 30-a"]);
    let (_, waits) = scene.submit(START, "p1", "c1");
    assert!(waits.is_empty(), "{waits:?}");
    assert!(scene.admit("20-b", 1, limits()).is_empty());
    let (_, waits) = scene.submit(START, "p2", "c2");
    assert!(waits.is_empty(), "{waits:?}");
    let again = scene.admit("30-a", 2, limits());
    let over = "close 30-a#1: a newer instance of it has taken over";
    assert_eq!(again, [over, "done", "list for 20-b"]);
    assert_eq!(
        scene.synchronize("20-b", 1),
        ["20-b#1 opens", "20-b StartContainer c2"]
    );
}

#[test]
fn a_call_that_is_never_answered_does_not_keep_a_plugin_from_being_synchronised_again() {
    let mut scene = Scene::new();
    let unforgiven = PluginLimits {
        max_in_flight: 2,
        strikes: 1000,
        after_late: AfterLate::Resync,
        ..limits()
    };
    scene.open("10-a", unforgiven);
    let _ = scene.submit(START, "p1", "c1");
    let _ = scene.pass(ms(50));
    let _ = scene.submit(START, "p2", "c2");
    assert_eq!(scene.pass(ms(50)), ["done"]);
    // c1 has come late and c2 never will.
    assert!(scene.answer("10-a StartContainer c1").is_empty());
    assert_eq!(scene.pass(ms(50)), ["done"]);
    assert!(scene.submit(START, "p3", "c3").1.is_empty());
    assert!(scene.pass(ms(949)).is_empty());
    assert_eq!(scene.pass(ms(1)), ["list for 10-a"]);
    let opened = scene.synchronize("10-a", 1);
    assert_eq!(opened, ["10-a#1 opens", "10-a StartContainer c3"]);
}

/// What `10-a` is shown when it joins.
fn shown(scene: &mut Scene, containers: &[&str]) -> Vec<String> {
    let plugin = plugin("10-a", 1);
    assert!(
        scene
            .scheduler
            .handle_snapshot(&plugin, scene.now)
            .is_some()
    );
    let keys = containers.iter().map(|id| ObjectKey::container("", *id));
    scene.scheduler.handle_shown(&plugin, &keys.collect());
    scene.scheduler.handle_synchronized(&plugin, scene.now);
    scene.effects()
}

#[test]
fn who_joins_does_not_hear_the_end_of_what_it_never_knew() {
    let mut scene = Scene::new();
    let _ = scene.submit(START, "p1", "c1");
    let _ = scene.submit(START, "p2", "c2");
    let _ = scene.submit(STOP, "p1", "c1");
    let _ = scene.admit("10-a", 1, limits());
    // The stop of c2 waits for the plugin, which is not sent what has ended.
    assert!(scene.submit(STOP, "p2", "c2").1.is_empty());
    assert_eq!(shown(&mut scene, &[]), ["10-a#1 opens", "done"]);
    assert_eq!(scene.outcomes, [Outcome::Unaware]);
    for (pod, container) in [("p1", "c1"), ("p2", "c2")] {
        assert_eq!(scene.submit(POST, pod, container).1, ["done"]);
        assert_eq!(scene.submit(REMOVE, pod, container).1, ["done"]);
        assert_eq!(scene.outcomes, [Outcome::Unaware]);
    }
    // Another container of that id is another one.
    let (creation, called) = scene.submit(CREATE, "p1", "c1");
    assert_eq!(called, ["10-a CreateContainer c1"]);
    let _ = scene.answer("10-a CreateContainer c1");
    let _ = scene.answer("10-a ValidateContainerAdjustment c1");
    let _ = scene.settle(creation, Settlement::Committed);
    assert_eq!(scene.submit(STOP, "p1", "c1").1, ["10-a StopContainer c1"]);
}

#[test]
fn a_removal_that_was_under_way_when_a_plugin_was_shown_what_exists_is_not_brought_to_it() {
    let mut scene = Scene::new();
    scene.open("05-b", limits());
    let _ = scene.submit(START, "p1", "c1");
    let _ = scene.answer("05-b StartContainer c1");
    let _ = scene.admit("10-a", 1, limits());
    assert_eq!(
        scene.submit(REMOVE, "p1", "c1").1,
        ["05-b RemoveContainer c1"]
    );
    assert_eq!(shown(&mut scene, &[]), ["10-a#1 opens"]);
    assert_eq!(scene.answer("05-b RemoveContainer c1"), ["done"]);
    assert_eq!(scene.outcomes, [Outcome::Answered, Outcome::Unaware]);
}

#[test]
fn by_any_other_event_a_plugin_gets_to_know_what_it_was_not_shown() {
    let mut scene = Scene::new();
    let creation = scene.submit(CREATE, "p1", "stuck").0;
    let _ = scene.admit("10-a", 1, limits());
    assert_eq!(scene.pass(ms(1000)), ["list for 10-a"]);
    assert_eq!(shown(&mut scene, &[]), ["10-a#1 opens"]);
    let _ = scene.settle(creation, Settlement::Committed);
    assert_eq!(
        scene.submit(START, "p1", "stuck").1,
        ["10-a StartContainer stuck"]
    );
    let _ = scene.answer("10-a StartContainer stuck");
    assert_eq!(
        scene.submit(STOP, "p1", "stuck").1,
        ["10-a StopContainer stuck"]
    );
}

/// Law: what was to be shown and was gone when it was its turn is as unknown as what was not to be
/// shown, and by whatever shows that it lives the plugin gets to know it.
#[test]
fn who_joins_does_not_hear_the_end_of_what_was_left_out() {
    let mut scene = Scene::new();
    for (pod, container) in [("p1", "gone"), ("p2", "back"), ("p3", "stays")] {
        let _ = scene.submit(START, pod, container);
    }
    let _ = scene.admit("10-a", 1, limits());
    let joins = plugin("10-a", 1);
    assert!(scene.scheduler.handle_snapshot(&joins, scene.now).is_some());
    let key = |id: &str| ObjectKey::container("", id);
    let shown = ["gone", "back", "stays"].map(key).into();
    scene.scheduler.handle_shown(&joins, &shown);
    assert!(scene.submit(STOP, "p1", "gone").1.is_empty(), "it waits");
    let left_out = ["gone", "back"].map(key).into();
    scene.scheduler.handle_left_out(&joins, &left_out);
    scene.scheduler.handle_synchronized(&joins, scene.now);
    assert_eq!(scene.effects(), ["10-a#1 opens", "done"]);
    assert_eq!(scene.outcomes, [Outcome::Unaware]);
    assert_eq!(scene.submit(REMOVE, "p1", "gone").1, ["done"]);
    assert_eq!(
        scene.submit(STOP, "p3", "stays").1,
        ["10-a StopContainer stays"]
    );
    let _ = scene.answer("10-a StopContainer stays");
    assert_eq!(
        scene.submit(POST, "p2", "back").1,
        ["10-a PostStartContainer back"]
    );
    let _ = scene.answer("10-a PostStartContainer back");
    assert_eq!(
        scene.submit(STOP, "p2", "back").1,
        ["10-a StopContainer back"]
    );
}

#[test]
fn what_only_a_list_told_of_does_not_end_for_those_who_were_there_before() {
    let mut scene = Scene::new();
    scene.open("05-b", limits());
    let key = ObjectKey::container("", "c1");
    scene
        .scheduler
        .handle_shown(&plugin("05-b", 1), &Default::default());
    let _ = scene.admit("10-a", 1, limits());
    let lives = scene.scheduler.lifecycles_mut();
    let listing = lives.begin_listing();
    let _ = lives.seed(listing, "", [(key, Observed::Running)]);
    assert_eq!(shown(&mut scene, &["c1"]), ["10-a#1 opens"]);
    assert_eq!(scene.submit(STOP, "p1", "c1").1, ["10-a StopContainer c1"]);
    assert_eq!(scene.answer("10-a StopContainer c1"), ["done"]);
    assert_eq!(scene.outcomes, [Outcome::Unaware, Outcome::Answered]);
}

#[test]
fn of_a_pod_that_was_refused_only_those_hear_the_end_that_heard_of_it() {
    let mut scene = Scene::new();
    scene.open("05-b", limits());
    scene.open("10-a", limits());
    let pod = |scene: &mut Scene, event| {
        let order = Submission::new(request(event, "p1", ""), ObjectKey::pod("", "p1"));
        scene.scheduler.handle_request(order, scene.now);
        scene.effects()
    };
    assert_eq!(
        pod(&mut scene, Event::RunPodSandbox),
        ["05-b RunPodSandbox p1"]
    );
    assert_eq!(scene.refuse("05-b RunPodSandbox p1"), ["failed"]);
    assert_eq!(
        pod(&mut scene, Event::StopPodSandbox),
        ["05-b StopPodSandbox p1"]
    );
    assert_eq!(scene.answer("05-b StopPodSandbox p1"), ["done"]);
    assert_eq!(scene.outcomes, [Outcome::Answered, Outcome::Unaware]);
}
