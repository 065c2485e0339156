//! A caller that has to answer in time gets what is known by then.

use super::*;

impl Scene {
    /// A request whose caller is to be answered within `budget`.
    fn submit_with(
        &mut self,
        event: Event,
        pod: &str,
        container: &str,
        budget: Duration,
    ) -> (RequestId, Vec<String>) {
        let order = Submission::new(request(event, pod, container), ObjectKey::pod("", pod))
            .with_container(ObjectKey::container("", container))
            .with_budget(Some(self.now + budget));
        let id = self.scheduler.handle_request(order, self.now);
        (id, self.effects())
    }
}

/// Two plugins that have joined, and a container that they know.
fn two(limits: &PluginLimits) -> Scene {
    let mut scene = Scene::new();
    for id in ["10-a", "20-b"] {
        let member = creator(id, 1, Policy::default());
        scene.admit_member(member, limits.clone());
        scene.synchronize(id, 1);
    }
    let (created, _) = scene.submit(CREATE, "p", "c");
    scene.answer("10-a CreateContainer c");
    scene.answer("20-b CreateContainer c");
    scene.settle(created, Settlement::Committed);
    scene
}

#[test]
fn when_the_budget_is_over_the_request_goes_on_without_those_who_have_not_answered() {
    let mut scene = two(&limits());
    let (_, told) = scene.submit_with(START, "p", "c", ms(30));
    assert_eq!(told, ["10-a StartContainer c"]);
    assert_eq!(scene.pass(ms(29)), [""; 0]);
    assert_eq!(scene.pass(ms(1)), ["done"]);
    let late = |after: Option<u64>| Outcome::Late {
        after: after.map(ms),
    };
    assert_eq!(scene.outcomes, [late(Some(30)), late(None)]);
    // The first still owes its answer; the second was not asked and is free.
    let (_, told) = scene.submit_with(POST, "p", "c", ms(30));
    assert_eq!(told, ["20-b PostStartContainer c"]);
    assert_eq!(scene.answer("20-b PostStartContainer c"), ["done"]);
}

#[test]
fn lateness_means_what_the_policy_says_also_by_the_budget() {
    let mut scene = Scene::new();
    let policy = Policy {
        on_late: FailureAction::Fail,
        ..Policy::default()
    };
    scene.admit_member(creator("10-a", 1, policy), limits());
    scene.synchronize("10-a", 1);
    scene.submit_with(CREATE, "p", "c", ms(30));
    let told = scene.pass(ms(30));
    assert_eq!(told[0], "failed");
    assert!(matches!(scene.errors[0], Error::Late { .. }));
}

#[test]
fn a_plugin_that_was_cut_short_is_blamed_if_it_took_half_of_the_budget() {
    let mut strict = limits();
    strict.strikes = 1;
    let mut scene = two(&strict);
    scene.submit_with(START, "p", "c", ms(40));
    scene.pass(ms(30));
    scene.answer("10-a StartContainer c");
    assert_eq!(scene.pass(ms(10)), ["done"], "it had a quarter of it");
    scene.answer("20-b StartContainer c");
    scene.submit_with(START, "p", "c", ms(40));
    scene.pass(ms(10));
    scene.answer("10-a StartContainer c");
    let told = scene.pass(ms(30));
    assert_eq!(told, ["close 20-b#1: it was late 1 times in a row", "done"]);
}

#[test]
fn a_notification_ends_for_its_caller_and_still_reaches_all() {
    let mut scene = two(&limits());
    scene.submit_with(STOP, "p", "c", ms(30));
    assert_eq!(scene.pass(ms(30)), ["released"]);
    assert_eq!(
        scene.answer("10-a StopContainer c"),
        ["20-b StopContainer c"]
    );
    assert_eq!(scene.answer("20-b StopContainer c"), ["done"]);
}

#[test]
fn what_goes_on_alone_holds_up_no_budget_behind_it() {
    let mut scene = two(&limits());
    scene.submit_with(POST, "p", "c", ms(30));
    assert_eq!(scene.pass(ms(30)), ["released"]);
    // It waits behind the notification, and at its end both go on.
    let (_, told) = scene.submit_with(START, "p", "c", ms(30));
    assert_eq!(told, [""; 0]);
    let told = scene.pass(ms(30));
    assert_eq!(told, ["done", "20-b PostStartContainer c", "done"]);
    assert!(scene.errors.is_empty());
    scene.answer("20-b PostStartContainer c");
    scene.answer("10-a PostStartContainer c");
    assert!(scene.scheduler.is_idle());
}

#[test]
fn who_waits_for_its_turn_is_not_asked_when_the_budget_is_over() {
    let mut scene = two(&limits());
    scene.submit(START, "q", "d");
    let (_, told) = scene.submit_with(START, "p", "c", ms(30));
    assert_eq!(told, [""; 0], "10-a has one place");
    assert_eq!(scene.pass(ms(30)), ["done"]);
    assert_eq!(
        scene.answer("10-a StartContainer d"),
        ["20-b StartContainer d"]
    );
}

#[test]
fn validators_that_did_not_judge_by_then_have_not_accepted() {
    let mut scene = Scene::new();
    scene.open("10-a", limits());
    scene.submit_with(CREATE, "p", "c", ms(30));
    scene.answer("10-a CreateContainer c");
    let told = scene.pass(ms(30));
    assert_eq!(told[0], "failed");
    assert!(matches!(scene.errors[..], [Error::Rejected { .. }]));
}
