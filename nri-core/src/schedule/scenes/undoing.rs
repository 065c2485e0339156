//! Creations that come to nothing.

use super::*;

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
    for (stopped, first) in [
        (false, "10-a StopContainer c1"),
        (true, "10-a RemoveContainer c1"),
    ] {
        let (creation, _) = scene.submit(CREATE, "p1", "c1");
        assert_eq!(scene.answer("10-a CreateContainer c1"), ["done"]);
        if stopped {
            let _ = scene.submit(STOP, "p1", "c1");
            assert_eq!(scene.answer("10-a StopContainer c1"), ["done"]);
        }
        assert_eq!(scene.settle(creation, Settlement::Abandoned), [first]);
        let next = scene.answer(first);
        if !stopped {
            assert_eq!(next, ["undone", "10-a RemoveContainer c1"]);
            assert_eq!(scene.answer("10-a RemoveContainer c1"), ["undone"]);
        } else {
            assert_eq!(next, ["undone"]);
        }
    }
    // The runtime has announced the removal itself.
    let (creation, _) = scene.submit(CREATE, "p1", "c1");
    let _ = scene.answer("10-a CreateContainer c1");
    let _ = scene.submit(STOP, "p1", "c1");
    let _ = scene.answer("10-a StopContainer c1");
    let _ = scene.submit(REMOVE, "p1", "c1");
    let _ = scene.answer("10-a RemoveContainer c1");
    assert!(scene.settle(creation, Settlement::Abandoned).is_empty());
    // It exists.
    let (creation, _) = scene.submit(CREATE, "p1", "c1");
    let _ = scene.answer("10-a CreateContainer c1");
    assert!(scene.settle(creation, Settlement::Committed).is_empty());
    assert!(scene.scheduler.is_idle());
}

#[test]
fn the_plugin_whose_lateness_failed_a_creation_hears_of_the_undoing_when_it_is_back() {
    let mut scene = Scene::new();
    let policy = Policy {
        on_late: FailureAction::Fail,
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
        on_absent: FailureAction::Fail,
        ..Policy::default()
    };
    let _ = scene.admit_member(creator("10-a", 1, policy), limits());
    let _ = scene.synchronize("10-a", 1);
    let _ = scene.submit(CREATE, "p1", "c1");
    let gone = Reply::Gone { delivered: false };
    assert_eq!(scene.reply("10-a CreateContainer c1", gone), ["failed"]);
    assert!(scene.scheduler.is_idle());
}
