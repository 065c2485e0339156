//! What was stopped and runs again, where a domain says that it may.

use super::*;

fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.scheduler.lifecycles_mut().set_restartable("");
    scene
}

/// What happens to the pod itself.
fn pod(scene: &mut Scene, event: Event) -> Vec<String> {
    let order = Submission::new(request(event, "p1", ""), ObjectKey::pod("", "p1"));
    scene.scheduler.handle_request(order, scene.now);
    scene.effects()
}

/// A request about c1, answered by the only plugin.
fn told(scene: &mut Scene, event: Event) {
    let call = format!("10-a {event} c1");
    assert_eq!(
        scene.submit(event, "p1", "c1").1,
        std::slice::from_ref(&call)
    );
    assert_eq!(scene.answer(&call), ["done"]);
}

#[test]
fn each_start_and_each_stop_reaches_plugins_once() {
    let mut scene = scene();
    scene.open("10-a", limits());
    for _ in 0..2 {
        told(&mut scene, START);
        told(&mut scene, STOP);
        assert_eq!(scene.submit(STOP, "p1", "c1").1, ["done"]);
    }
    told(&mut scene, REMOVE);
    assert_eq!(scene.submit(START, "p1", "c1").1, ["failed"]);
    assert!(scene.scheduler.is_idle());
}

#[test]
fn who_joins_is_shown_what_is_stopped_and_hears_it_run_and_end() {
    let mut scene = scene();
    let _ = scene.submit(START, "p1", "c1");
    let _ = scene.submit(STOP, "p1", "c1");
    let key = ObjectKey::container("", "c1");
    assert!(scene.scheduler.lifecycles().shows(&key));
    let _ = scene.admit("10-a", 1, limits());
    // A start that waits for the plugin does not keep the container from it.
    assert!(scene.submit(START, "p1", "c1").1.is_empty());
    let plugin = plugin("10-a", 1);
    let showing = scene.scheduler.handle_snapshot(&plugin, scene.now).unwrap();
    assert!(showing.exclude.is_empty());
    scene.scheduler.handle_shown(&plugin, &[key].into());
    scene.scheduler.handle_synchronized(&plugin, scene.now);
    assert_eq!(scene.effects(), ["10-a#1 opens", "10-a StartContainer c1"]);
    let _ = scene.answer("10-a StartContainer c1");
    told(&mut scene, STOP);
    told(&mut scene, REMOVE);
}

#[test]
fn a_pod_that_runs_again_is_shown_with_its_containers_even_if_its_event_is_yet_to_come() {
    for begun in [false, true] {
        let mut scene = scene();
        scene.open("05-b", limits());
        for (event, call) in [
            (Event::RunPodSandbox, "05-b RunPodSandbox p1"),
            (Event::StopPodSandbox, "05-b StopPodSandbox p1"),
        ] {
            assert_eq!(pod(&mut scene, event), [call]);
            let _ = scene.answer(call);
        }
        let _ = scene.admit("10-a", 1, limits());
        // It waits in its slot, or at the plugin before the one that joins.
        if !begun {
            let _ = scene.submit(POST, "p1", "c1");
        }
        let _ = pod(&mut scene, Event::RunPodSandbox);
        let plugin = plugin("10-a", 1);
        let showing = scene.scheduler.handle_snapshot(&plugin, scene.now).unwrap();
        assert!(showing.exclude.is_empty(), "{:?}", showing.exclude);
    }
}

#[test]
fn the_first_run_of_a_pod_that_waits_for_a_plugin_reaches_it_as_an_event_alone() {
    let mut scene = scene();
    let _ = scene.admit("10-a", 1, limits());
    let _ = pod(&mut scene, Event::RunPodSandbox);
    let plugin = plugin("10-a", 1);
    let showing = scene.scheduler.handle_snapshot(&plugin, scene.now).unwrap();
    assert!(showing.exclude.contains(&ObjectKey::pod("", "p1")));
}

#[test]
fn of_a_pod_that_may_not_run_again_all_hear_the_end_since_all_know_it() {
    let mut scene = scene();
    scene.open("05-b", limits());
    scene.open("10-a", limits());
    for (event, name) in [
        (Event::RunPodSandbox, "RunPodSandbox"),
        (Event::StopPodSandbox, "StopPodSandbox"),
    ] {
        let _ = pod(&mut scene, event);
        let _ = scene.answer(&format!("05-b {name} p1"));
        assert_eq!(scene.answer(&format!("10-a {name} p1")), ["done"]);
    }
    let _ = pod(&mut scene, Event::RunPodSandbox);
    assert_eq!(scene.refuse("05-b RunPodSandbox p1"), ["failed"]);
    let _ = pod(&mut scene, Event::StopPodSandbox);
    assert_eq!(
        scene.answer("05-b StopPodSandbox p1"),
        ["10-a StopPodSandbox p1"]
    );
    assert_eq!(scene.answer("10-a StopPodSandbox p1"), ["done"]);
    assert_eq!(scene.outcomes, [Outcome::Answered, Outcome::Answered]);
}

#[test]
fn a_start_that_was_refused_can_be_tried_again_after_its_stop() {
    let mut scene = scene();
    scene.open("10-a", limits());
    told(&mut scene, START);
    told(&mut scene, STOP);
    let _ = scene.submit(START, "p1", "c1");
    assert_eq!(scene.refuse("10-a StartContainer c1"), ["failed"]);
    told(&mut scene, STOP);
    told(&mut scene, START);
}
