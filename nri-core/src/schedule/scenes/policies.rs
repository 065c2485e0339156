//! What becomes of a request and of a plugin that does not answer it, as the plugin wished: the
//! table of protocol v0.12.4, for every event, and what is none of its business.

use prost::Message as _;

use super::*;
use crate::lifecycle::Observed;
use crate::{Subject, relay};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Timeout,
    Lost,
}

fn wish(fail_request: bool, keep_connected: bool) -> api::FailurePolicy {
    api::FailurePolicy {
        fail_request,
        keep_connected,
    }
}

/// Every row: what fails, and the wish.
fn rows() -> impl Iterator<Item = (Failure, api::FailurePolicy)> {
    let flags = [(false, false), (false, true), (true, false), (true, true)];
    let failures = [Failure::Timeout, Failure::Lost];
    failures
        .into_iter()
        .flat_map(move |failure| flags.map(|(fail, keep)| (failure, wish(fail, keep))))
}

/// The events that a runtime hands in; validation is a part of a creation.
fn relayed() -> impl Iterator<Item = Event> {
    let events = Event::ALL.into_iter();
    events.filter(|event| *event != Event::ValidateContainerAdjustment)
}

/// Whose plugins are 10-wishes and 20-other; pods and containers `1` to `3` are as they must be for
/// the event.
fn scene(event: Event, wish: &api::FailurePolicy, limits: PluginLimits) -> Scene {
    let mut scene = Scene::new();
    scene.admit_member(
        creator("10-wishes", 1, Policy::wished(wish)),
        limits.wished(wish),
    );
    scene.synchronize("10-wishes", 1);
    scene.admit_member(creator("20-other", 1, Policy::default()), self::limits());
    scene.synchronize("20-other", 1);
    let state = match event {
        Event::StartContainer | Event::PostCreateContainer => Observed::Created,
        Event::RemoveContainer | Event::RemovePodSandbox => Observed::Stopped,
        _ => Observed::Running,
    };
    let lives = scene.scheduler.lifecycles_mut();
    let listing = lives.begin_listing();
    let mut objects = Vec::new();
    for id in ["1", "2", "3"] {
        if event != Event::RunPodSandbox {
            objects.push((ObjectKey::pod("", format!("p{id}")), state));
        }
        if !matches!(event.subject(), Subject::Pod) && event != CREATE {
            objects.push((ObjectKey::container("", format!("c{id}")), state));
        }
    }
    lives.seed(listing, "", objects);
    scene
}

fn hand_in(scene: &mut Scene, event: Event, id: &str, budget: Option<Duration>) -> Vec<String> {
    let both = api::CreateContainerRequest {
        pod: Some(api::PodSandbox {
            id: format!("p{id}"),
            ..Default::default()
        }),
        container: (event.subject() == Subject::Container).then(|| api::Container {
            id: format!("c{id}"),
            ..Default::default()
        }),
    };
    // All of them begin with the pod and, if they have one, the container.
    let request = relay::Request::decode(event, &both.encode_to_vec()).unwrap();
    let pod = ObjectKey::pod("", format!("p{id}"));
    let mut order = Submission::new(Arc::new(request.into()), pod)
        .with_deadline(budget.map(|budget| scene.now + budget));
    if event.subject() == Subject::Container {
        order = order.with_container(ObjectKey::container("", format!("c{id}")));
    }
    scene.scheduler.handle_request(order, scene.now);
    scene.effects()
}

fn call(plugin: &str, event: Event, id: &str) -> String {
    match event.subject() {
        Subject::Pod => format!("{plugin} {event} p{id}"),
        Subject::Container => format!("{plugin} {event} c{id}"),
    }
}

/// Has the plugin fail in its first call of `event`. Returns what happens.
fn fail(scene: &mut Scene, failure: Failure, first: &str) -> Vec<String> {
    match failure {
        Failure::Timeout => scene.pass(ms(100)),
        Failure::Lost => {
            let gone = Reply::Gone { delivered: true };
            let mut told = scene.reply(first, gone);
            told.extend(scene.lose("10-wishes", 1));
            told
        }
    }
}

/// Has the plugin answer what it owes, and what it is told then: of a failed creation, its undoing.
fn answer_all(scene: &mut Scene) {
    let owed = |scene: &Scene| {
        let mut calls = scene.calls.keys();
        calls.find(|call| call.starts_with("10-wishes")).cloned()
    };
    while let Some(call) = owed(scene) {
        let _ = scene.answer(&call);
    }
}

fn is_member(scene: &Scene, id: &str) -> bool {
    let members = scene.scheduler.roster().members();
    members.iter().any(|member| member.plugin == plugin(id, 1))
}

/// The table: with `fail_request` the request fails, and later plugins hear of it only if it is
/// about what has happened anyway; without `keep_connected` a plugin is dropped for being late; a
/// lost connection is lost, whatever was wished.
#[test]
fn a_plugin_that_wishes_gets_what_the_table_of_v0_12_4_says() {
    for event in relayed() {
        for (failure, wish) in rows() {
            let case = format!("{event}, {failure:?}, {wish:?}");
            let mut scene = scene(event, &wish, limits());
            let first = call("10-wishes", event, "1");
            assert_eq!(
                hand_in(&mut scene, event, "1", None),
                [&*first],
                "{case}: it is asked"
            );
            let mut told = fail(&mut scene, failure, &first);
            let second = call("20-other", event, "1");
            let others_hear = !wish.fail_request || event.is_notification();
            assert_eq!(told.contains(&second), others_hear, "{case}: {told:?}");
            if others_hear {
                told.extend(scene.answer(&second));
            }
            let end = match wish.fail_request {
                true => "failed",
                false => "done",
            };
            assert!(told.iter().any(|effect| effect == end), "{case}: {told:?}");
            match (wish.fail_request, failure) {
                (false, _) => assert!(scene.errors.is_empty(), "{case}"),
                (true, Failure::Timeout) => {
                    assert!(matches!(scene.errors[0], Error::Late { .. }), "{case}");
                }
                (true, Failure::Lost) => {
                    assert!(matches!(scene.errors[0], Error::Gone { .. }), "{case}");
                }
            }
            let stays = wish.keep_connected && failure == Failure::Timeout;
            assert_eq!(is_member(&scene, "10-wishes"), stays, "{case}");
            let closed = told.contains(&"close 10-wishes#1: it was late".to_owned());
            assert_eq!(closed, failure == Failure::Timeout && !stays, "{case}");
            if stays {
                // It gets the next requests once it has answered, even if nobody wants to know any
                // more.
                answer_all(&mut scene);
                let next = hand_in(&mut scene, event, "2", None);
                assert_eq!(next, [call("10-wishes", event, "2")], "{case}");
            }
        }
    }
}

/// Stop, remove and post events have happened: whoever fails them, and whatever it declares,
/// everyone after it hears of them.
#[test]
fn d42_who_fails_what_has_happened_keeps_it_from_nobody() {
    for event in relayed().filter(|event| event.is_notification()) {
        for keep_connected in [false, true] {
            let wish = wish(true, keep_connected);
            for failure in [Failure::Timeout, Failure::Lost] {
                let case = format!("{event}, {failure:?}, {wish:?}");
                let mut scene = scene(event, &wish, limits());
                let first = call("10-wishes", event, "1");
                assert_eq!(hand_in(&mut scene, event, "1", None), [&*first], "{case}");
                let told = fail(&mut scene, failure, &first);
                let second = call("20-other", event, "1");
                assert!(told.contains(&second), "{case}: {told:?}");
                let end = scene.answer(&second);
                assert_eq!(end, ["failed"], "{case}");
            }
        }
    }
}

/// Of a validator, only whether it stays connected is its own business.
#[test]
fn a_validator_that_does_not_answer_fails_the_creation_whatever_it_wishes() {
    for (failure, wish) in rows() {
        let mut scene = Scene::new();
        let judges = Event::ValidateContainerAdjustment;
        let member = Member::new(plugin("10-wishes", 1), judges.into());
        let member = member.with_policy(Policy::wished(&wish));
        scene.admit_member(member, limits().wished(&wish));
        scene.synchronize("10-wishes", 1);
        let first = call("10-wishes", judges, "1");
        assert_eq!(hand_in(&mut scene, CREATE, "1", None), [&*first]);
        let told = fail(&mut scene, failure, &first);
        assert!(
            told.contains(&"failed".to_owned()),
            "{failure:?} {wish:?}: {told:?}"
        );
        assert_eq!(
            is_member(&scene, "10-wishes"),
            wish.keep_connected && failure == Failure::Timeout,
            "{failure:?} {wish:?}"
        );
    }
}

#[test]
fn an_error_that_is_answered_fails_the_request_and_drops_nobody_whatever_is_wished() {
    for event in relayed() {
        for (_, wish) in rows() {
            let mut scene = scene(event, &wish, limits());
            let _ = hand_in(&mut scene, event, "1", None);
            let mut told = scene.refuse(&call("10-wishes", event, "1"));
            if event.is_notification() {
                told = scene.answer(&call("20-other", event, "1"));
            }
            assert_eq!(told[0], "failed", "{event} {wish:?}: {told:?}");
            assert!(is_member(&scene, "10-wishes"), "{event} {wish:?}");
        }
    }
}

/// Since v0.12.5: who is disconnected before its turn is skipped, and did not do its part.
#[test]
fn a_plugin_that_is_gone_before_its_turn_is_skipped_whatever_it_wishes() {
    for event in relayed() {
        for (_, wish) in rows() {
            let mut scene = Scene::new();
            scene.admit_member(creator("10-other", 1, Policy::default()), limits());
            scene.synchronize("10-other", 1);
            let wishes = creator("20-wishes", 1, Policy::wished(&wish));
            scene.admit_member(wishes, limits().wished(&wish));
            scene.synchronize("20-wishes", 1);
            let _ = hand_in(&mut scene, event, "1", None);
            let Some(id) = scene.calls.remove(&call("10-other", event, "1")) else {
                // Not due for what nobody knows.
                continue;
            };
            let _ = scene.lose("20-wishes", 1);
            let answer = Reply::Answer(Response::empty(event));
            scene.scheduler.handle_reply(id, answer, scene.now);
            assert_eq!(scene.effects(), ["done"], "{event} {wish:?}");
            assert_eq!(scene.outcomes[1], Outcome::Gone);
            assert!(!scene.outcomes[1].counts_as_consulted());
        }
    }
}

/// Neither a caller that leaves nor one whose time is over is the plugin's business, even if the
/// plugin's time is over as well when that is looked at.
#[test]
fn a_plugin_is_not_blamed_for_a_caller_that_does_not_wait() {
    for event in relayed() {
        for (_, wish) in rows() {
            for budget in [ms(50), ms(100)] {
                let mut scene = scene(event, &wish, limits());
                let _ = hand_in(&mut scene, event, "1", Some(budget));
                let mut told = scene.pass(budget);
                told.extend(scene.pass(ms(100)));
                let end = match event.is_notification() {
                    // It has happened: the caller is told, and the others hear of it.
                    true => "out of time",
                    false => "failed",
                };
                assert!(
                    told.contains(&end.to_owned()),
                    "{event} {wish:?} {budget:?}: {told:?}"
                );
                if !event.is_notification() {
                    assert!(
                        matches!(scene.errors[0], Error::OutOfTime { .. }),
                        "{event} {wish:?} {budget:?}"
                    );
                }
                assert!(
                    is_member(&scene, "10-wishes"),
                    "{event} {wish:?} {budget:?}: {told:?}"
                );
                answer_all(&mut scene);
                assert!(is_member(&scene, "10-wishes"));
            }
        }
    }
}

#[test]
fn a_caller_that_leaves_has_nobody_closed_for_what_it_did_not_wait_for() {
    let never = wish(true, false);
    let mut scene = scene(START, &never, limits());
    let order = Submission::new(request(START, "p1", "c1"), ObjectKey::pod("", "p1"))
        .with_container(ObjectKey::container("", "c1"));
    let id = scene.scheduler.handle_request(order, scene.now);
    assert_eq!(scene.effects(), ["10-wishes StartContainer c1"]);
    scene.scheduler.handle_abandoned(id, scene.now);
    assert_eq!(scene.effects(), ["failed"]);
    // It never answers. That is given up, and it gets requests again.
    assert!(scene.pass(ms(1000)).is_empty());
    let next = hand_in(&mut scene, START, "2", None);
    assert_eq!(next, ["10-wishes StartContainer c2"]);
}

/// A plugin that wishes to be kept is kept however often it is late, and if it never answers, it is
/// asked again all the same.
#[test]
fn a_plugin_that_is_kept_connected_is_never_closed_and_gets_requests_again() {
    for fail_request in [false, true] {
        let mut scene = scene(START, &wish(fail_request, true), limits());
        for round in 0..10 {
            let id = ["1", "2", "3"][round % 3];
            let called = hand_in(&mut scene, START, id, None);
            assert_eq!(called, [call("10-wishes", START, id)], "round {round}");
            let _ = scene.pass(ms(100));
            let other = call("20-other", START, id);
            match fail_request {
                true => assert!(!scene.calls.contains_key(&other)),
                false => assert_eq!(scene.answer(&other), ["done"]),
            }
            // Nobody waits for it meanwhile.
            let next = hand_in(&mut scene, START, "2", None);
            match fail_request {
                true => assert_eq!(next, ["failed"]),
                false => {
                    assert_eq!(next, ["20-other StartContainer c2"]);
                    assert_eq!(scene.answer("20-other StartContainer c2"), ["done"]);
                }
            }
            assert!(scene.pass(ms(200)).is_empty());
            assert!(is_member(&scene, "10-wishes"));
        }
    }
}

#[test]
fn a_wish_says_whether_a_plugin_is_closed_and_not_what_else_happens_to_it() {
    for general in [AfterLate::Keep, AfterLate::Resync, AfterLate::Close] {
        let general = PluginLimits {
            after_late: general,
            ..limits()
        };
        let kept = general.clone().wished(&wish(false, true));
        let expected = match general.after_late {
            AfterLate::Resync => AfterLate::Resync,
            _ => AfterLate::Keep,
        };
        assert_eq!((kept.after_late, kept.strikes), (expected, 0));
        let dropped = general.wished(&wish(false, false));
        assert_eq!((dropped.after_late, dropped.strikes), (AfterLate::Close, 3));
    }
}
