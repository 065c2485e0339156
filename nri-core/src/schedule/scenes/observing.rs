//! Observers: nobody waits for them, and what they hear has happened.

use super::*;

/// A scene with an observer that is synchronised.
fn observed(limits: PluginLimits) -> Scene {
    let mut scene = Scene::new();
    let member = Member::new(plugin("10-o", 1), EventMask::ALL).observing();
    let _ = scene.admit_member(member, limits);
    let _ = scene.synchronize("10-o", 1);
    scene
}

#[test]
fn an_observer_hears_of_a_creation_when_the_container_exists() {
    let mut scene = observed(limits());
    let (creation, told) = scene.submit(CREATE, "p1", "c1");
    assert_eq!(told, ["done"]);
    let told = scene.settle(creation, Settlement::Committed);
    assert_eq!(told, ["10-o CreateContainer c1"]);
    let _ = scene.answer("10-o CreateContainer c1");
    // What is told of it shows that it exists.
    let _ = scene.submit(CREATE, "p1", "c2");
    assert_eq!(
        scene.submit(POST, "p1", "c2").1,
        ["10-o CreateContainer c2", "done"]
    );
    assert_eq!(
        scene.answer("10-o CreateContainer c2"),
        ["10-o PostStartContainer c2"]
    );
}

#[test]
fn an_observer_never_hears_of_what_came_to_nothing() {
    let mut scene = observed(limits());
    let (creation, _) = scene.submit(CREATE, "p1", "c1");
    assert!(scene.settle(creation, Settlement::Abandoned).is_empty());
    // The runtime itself takes it back before it says so.
    let (creation, _) = scene.submit(CREATE, "p1", "c2");
    assert_eq!(scene.submit(STOP, "p1", "c2").1, ["done"]);
    assert_eq!(scene.submit(REMOVE, "p1", "c2").1, ["done"]);
    assert!(scene.settle(creation, Settlement::Committed).is_empty());
    assert!(scene.scheduler.is_idle());
}

#[test]
fn a_stop_before_it_is_known_whether_a_container_exists_is_told_after_its_creation() {
    let mut scene = observed(limits());
    let (creation, _) = scene.submit(CREATE, "p1", "c1");
    assert_eq!(scene.submit(STOP, "p1", "c1").1, ["done"]);
    let told = scene.settle(creation, Settlement::Committed);
    assert_eq!(told, ["10-o CreateContainer c1"]);
    assert_eq!(
        scene.answer("10-o CreateContainer c1"),
        ["10-o StopContainer c1"]
    );
}

#[test]
fn an_observer_is_told_after_the_others_and_refused_requests_are_not_told() {
    let mut scene = observed(limits());
    let _ = scene.admit_member(creator("20-b", 1, Policy::default()), limits());
    let _ = scene.synchronize("20-b", 1);
    assert_eq!(
        scene.submit(START, "p1", "c1").1,
        ["20-b StartContainer c1"]
    );
    let told = scene.answer("20-b StartContainer c1");
    assert_eq!(told, ["done", "10-o StartContainer c1"]);
    let _ = scene.answer("10-o StartContainer c1");
    let _ = scene.submit(START, "p2", "c2");
    assert_eq!(scene.refuse("20-b StartContainer c2"), ["failed"]);
    // What has happened is told, whatever others answer.
    let _ = scene.submit(POST, "p1", "c1");
    let told = scene.refuse("20-b PostStartContainer c1");
    assert_eq!(told, ["failed", "10-o PostStartContainer c1"]);
}

#[test]
fn an_observer_for_which_too_much_is_kept_is_synchronised_again() {
    let mut few = limits();
    few.observed_events = 2;
    let mut scene = observed(few);
    assert_eq!(
        scene.submit(POST, "p1", "c1").1,
        ["done", "10-o PostStartContainer c1"]
    );
    assert_eq!(scene.submit(POST, "p1", "c2").1, ["done"]);
    assert_eq!(scene.submit(POST, "p2", "c3").1, ["done"]);
    assert_eq!(scene.scheduler.backlog(&plugin("10-o", 1)), 2);
    assert_eq!(scene.submit(POST, "p1", "c4").1, ["done", "10-o misses 3"]);
    // What it is being told it may still answer.
    assert_eq!(
        scene.answer("10-o PostStartContainer c1"),
        ["list for 10-o"]
    );
    assert_eq!(scene.submit(POST, "p1", "c5").1, ["done"]);
    let told = scene.synchronize("10-o", 1);
    assert_eq!(told, ["10-o#1 opens", "10-o PostStartContainer c5"]);
}

/// Law: what is kept for a newer instance is not lost on the older one that stays.
#[test]
fn an_observer_whose_newer_instance_fails_is_synchronised_again_if_that_was_told_something() {
    for (is_told, shown_again) in [(true, &["list for 10-o"][..]), (false, &[])] {
        let mut scene = observed(limits());
        let newer = Member::new(plugin("10-o", 2), EventMask::ALL).observing();
        assert_eq!(scene.admit_member(newer, limits()), ["list for 10-o"]);
        if is_told {
            assert_eq!(scene.submit(POST, "p1", "c1").1, ["done"]);
        }
        assert_eq!(scene.lose("10-o", 2), shown_again);
    }
}

#[test]
fn bytes_count_as_well_as_events() {
    let mut few = limits();
    few.observed_bytes = request(POST, "p1", "c1").len();
    let mut scene = observed(few);
    let _ = scene.submit(POST, "p1", "c1");
    assert_eq!(scene.submit(POST, "p1", "c2").1, ["done"]);
    assert_eq!(scene.submit(POST, "p1", "c3").1, ["done", "10-o misses 2"]);
}

#[test]
fn an_observer_that_hangs_is_synchronised_again_and_closed_only_if_it_does_not_answer_that() {
    let mut scene = observed(limits());
    let _ = scene.submit(POST, "p1", "c1");
    // Late after 100 ms, which is no strike, and given up after two times that.
    assert!(scene.pass(ms(299)).is_empty());
    assert_eq!(scene.pass(ms(1)), ["10-o misses 0", "list for 10-o"]);
    let _ = scene.synchronize("10-o", 1);
    assert_eq!(
        scene.submit(POST, "p1", "c2").1,
        ["done", "10-o PostStartContainer c2"]
    );
    assert_eq!(scene.pass(ms(300)), ["10-o misses 0", "list for 10-o"]);
    let _ = scene
        .scheduler
        .handle_snapshot(&plugin("10-o", 1), scene.now);
    assert_eq!(
        scene.pass(ms(100)),
        ["close 10-o#1: it was not synchronised in time"]
    );
}

#[test]
fn one_that_observes_no_more_is_waited_for_once_it_is_synchronised() {
    let mut scene = observed(limits());
    let _ = scene.submit(POST, "p1", "c1");
    let _ = scene.submit(POST, "p1", "c2");
    let member = Member::new(plugin("10-o", 1), EventMask::ALL);
    scene.scheduler.handle_changed(member, limits(), scene.now);
    assert!(scene.effects().is_empty());
    assert_eq!(
        scene.answer("10-o PostStartContainer c1"),
        ["list for 10-o"]
    );
    assert!(scene.submit(POST, "p1", "c3").1.is_empty());
    let told = scene.synchronize("10-o", 1);
    assert_eq!(told, ["10-o#1 opens", "10-o PostStartContainer c3"]);
    assert_eq!(scene.answer("10-o PostStartContainer c3"), ["done"]);
}
