//! Flows driven by hand: who is called, with what, in which order, and what everybody's answer
//! comes to.
#![expect(
    clippy::unwrap_used,
    reason = "a test may unwrap: its panic is the report"
)]

mod updating;

use std::sync::Arc;
use std::time::Duration;

use nri_core::build::{Adjust as _, SetResources as _, Update as _};
use nri_core::flow::{
    Call, CreateFlow, FailureAction, Flow, Member, NotifyFlow, Outcome, Policy, Reply, Report,
    Roster, Step, StopFlow, UpdateFlow,
};
use nri_core::merge::{CreateOutcome, MergeError};
use nri_core::{Error, Event, EventMask, RegisteredPlugin, Request, Response, api};

const UNIMPLEMENTED: i32 = 12;

fn plugin(id: &str) -> RegisteredPlugin {
    RegisteredPlugin {
        id: id.parse().unwrap(),
        registration: 1,
    }
}

fn member(id: &str) -> Member {
    Member::new(
        plugin(id),
        EventMask::ALL - Event::ValidateContainerAdjustment.into(),
    )
}

fn validator(id: &str) -> Member {
    Member::new(plugin(id), Event::ValidateContainerAdjustment.into())
}

fn roster(members: impl IntoIterator<Item = Member>) -> Roster {
    Roster::new(members)
}

fn failing() -> Reply {
    Reply::Error {
        code: 2,
        message: "no".into(),
    }
}

fn late() -> Reply {
    Reply::Late {
        after: Duration::from_secs(2),
    }
}

fn gone() -> Reply {
    Reply::Gone { delivered: true }
}

fn all_fail() -> Policy {
    let mut policy = Policy::default();
    policy.on_error = FailureAction::Fail;
    policy.on_late = FailureAction::Fail;
    policy.on_absent = FailureAction::Fail;
    policy
}

/// An answer to the call that asks for nothing.
fn nothing(call: &Call) -> Reply {
    Reply::Answer(Response::empty(call.request.event()))
}

fn adjusts(build: impl FnOnce(&mut api::ContainerAdjustment)) -> Reply {
    let mut adjust = api::ContainerAdjustment::default();
    build(&mut adjust);
    Reply::Answer(Response::CreateContainer(api::CreateContainerResponse {
        adjust: Some(adjust),
        ..Default::default()
    }))
}

fn sets_env(name: &str) -> Reply {
    adjusts(|a| {
        a.add_env(name, "v").unwrap();
    })
}

fn verdict(reject: bool, reason: &str) -> Reply {
    let reason = reason.to_owned();
    Reply::Answer(Response::ValidateContainerAdjustment(
        api::ValidateContainerAdjustmentResponse { reject, reason },
    ))
}

fn shares(container: &str, shares: u64) -> api::ContainerUpdate {
    let mut update = api::ContainerUpdate::of_container(container).unwrap();
    update.set_cpu_shares(shares);
    update
}

fn container() -> api::Container {
    api::Container {
        id: "c1".into(),
        name: "main".into(),
        env: vec!["HOME=/".into()],
        ..Default::default()
    }
}

fn creation(roster: &Roster) -> CreateFlow {
    CreateFlow::new(
        roster,
        api::CreateContainerRequest {
            pod: Some(api::PodSandbox::default()),
            container: Some(container()),
        },
    )
}

/// Drives a flow whose plugins answer at once. Returns the calls in order, and what came out.
fn drive<F: Flow>(
    mut flow: F,
    mut answer: impl FnMut(&Call) -> Reply,
) -> (Vec<Call>, Report<F::Output>) {
    let mut calls = Vec::new();
    loop {
        match flow.next() {
            Step::Call(call) => {
                let reply = answer(&call);
                flow.answer(&call.plugin, reply);
                calls.push(call);
            }
            Step::Wait => panic!("every call was answered"),
            Step::Done => return (calls, flow.finish()),
        }
    }
}

fn names(calls: &[Call]) -> Vec<String> {
    calls.iter().map(|call| call.plugin.to_string()).collect()
}

fn outcomes<T>(report: &Report<T>) -> Vec<Outcome> {
    report.outcomes.iter().map(|o| o.outcome.clone()).collect()
}

fn seen_by<T>(report: &Report<T>) -> Vec<String> {
    report.seen_by().map(ToString::to_string).collect()
}

fn container_of(call: &Call) -> api::Container {
    call.request.container().unwrap().clone()
}

#[test]
fn plugins_are_called_by_index_name_and_registration() {
    let second_life = RegisteredPlugin {
        registration: 2,
        ..plugin("20-b")
    };
    let members = [
        Member::new(second_life.clone(), EventMask::ALL),
        member("99-a"),
        member("20-b"),
        member("20-a"),
        member("00-z"),
    ];
    let request = Request::RunPodSandbox(api::RunPodSandboxRequest::default());
    let (calls, report) = drive(NotifyFlow::new(&roster(members), request), nothing);
    assert_eq!(names(&calls), ["00-z", "20-a", "20-b", "20-b", "99-a"]);
    assert_eq!(calls[3].plugin, second_life);
    assert!(
        calls
            .iter()
            .all(|call| Arc::ptr_eq(&call.request, &calls[0].request))
    );
    assert!(report.result.is_ok());
}

#[test]
fn who_did_not_ask_for_an_event_is_not_called() {
    let members = [
        Member::new(plugin("10-a"), Event::StopContainer.into()),
        member("20-b"),
    ];
    let (calls, report) = drive(creation(&roster(members)), nothing);
    assert_eq!(names(&calls), ["20-b"]);
    assert_eq!(
        outcomes(&report),
        [Outcome::Unsubscribed, Outcome::Answered]
    );
    assert_eq!(seen_by(&report), ["20-b"]);
}

#[test]
fn the_first_error_ends_what_may_be_refused() {
    for event in [
        Event::RunPodSandbox,
        Event::UpdatePodSandbox,
        Event::StartContainer,
    ] {
        let request = Request::decode(event, &[]).unwrap();
        let members = [member("10-a"), member("20-b"), member("30-c")];
        let (calls, report) = drive(NotifyFlow::new(&roster(members), request), |call| {
            if call.plugin == plugin("20-b") {
                failing()
            } else {
                nothing(call)
            }
        });
        assert_eq!(names(&calls), ["10-a", "20-b"], "{event}");
        assert!(matches!(
            &report.result,
            Err(Error::Plugin { plugin, code: 2, .. }) if plugin.to_string() == "20-b"
        ));
        assert_eq!(report.outcomes[2].outcome, Outcome::NotReached);
        assert_eq!(seen_by(&report), ["10-a", "20-b"]);
    }
}

#[test]
fn d31_everyone_hears_of_what_has_happened() {
    for event in Event::ALL
        .into_iter()
        .filter(|event| event.is_notification())
    {
        let request = Request::decode(event, &[]).unwrap();
        let members = [member("10-a"), member("20-b"), member("30-c")];
        let (calls, report) = drive(NotifyFlow::new(&roster(members), request), |call| {
            if call.plugin == plugin("30-c") {
                nothing(call)
            } else {
                failing()
            }
        });
        assert_eq!(names(&calls), ["10-a", "20-b", "30-c"], "{event}");
        assert!(matches!(&report.result, Err(Error::Several(errors)) if errors.len() == 2));
    }
}

#[test]
fn a_plugin_that_is_late_busy_or_gone_is_skipped_unless_its_policy_is_to_fail() {
    let busy = Outcome::Late { after: None };
    let after = Some(Duration::from_secs(2));
    for (reply, outcome, was_delivered) in [
        (late(), Outcome::Late { after }, true),
        (Reply::Busy, busy, false),
        (gone(), Outcome::Gone, true),
        (Reply::Gone { delivered: false }, Outcome::Gone, false),
    ] {
        for fails in [false, true] {
            let mut first = member("10-a");
            if fails {
                first = first.with_policy(all_fail());
            }
            let members = [first, member("20-b")];
            let (calls, report) = drive(creation(&roster(members)), |call| {
                if call.plugin == plugin("10-a") {
                    reply.clone()
                } else {
                    sets_env("K")
                }
            });
            assert_eq!(calls.len(), if fails { 1 } else { 2 });
            assert_eq!(report.result.is_err(), fails, "{reply:?}");
            assert_eq!(report.outcomes[0].outcome, outcome);
            assert_eq!(report.outcomes[0].was_delivered, was_delivered);
        }
    }
}

#[test]
fn an_error_is_skipped_if_the_policy_says_so() {
    let mut policy = Policy::default();
    policy.on_error = FailureAction::Skip;
    let members = [member("10-a").with_policy(policy), member("20-b")];
    let (calls, report) = drive(creation(&roster(members)), |call| {
        if call.plugin == plugin("10-a") {
            failing()
        } else {
            nothing(call)
        }
    });
    assert_eq!(calls.len(), 2);
    assert!(report.result.is_ok());
    assert_eq!(
        report.outcomes[0].outcome,
        Outcome::Failed {
            message: "no".into()
        }
    );
}

#[test]
fn an_answer_to_something_else_is_an_error_of_the_plugin() {
    let (_, report) = drive(creation(&roster([member("10-a")])), |_| {
        Reply::Answer(Response::empty(Event::StopContainer))
    });
    assert!(matches!(report.result, Err(Error::Plugin { .. })));
}

#[test]
fn each_plugin_sees_what_earlier_ones_did_and_nobody_sees_his_request_change() {
    let members = [member("10-a"), member("20-b"), member("30-c")];
    let (calls, report) = drive(creation(&roster(members)), |call| {
        if call.plugin == plugin("20-b") {
            sets_env("B")
        } else {
            nothing(call)
        }
    });
    // The calls were kept while later ones were made.
    assert_eq!(container_of(&calls[0]), container());
    assert_eq!(container_of(&calls[1]), container());
    assert_eq!(container_of(&calls[2]).env, ["HOME=/", "B=v"]);
    let outcome: CreateOutcome = report.result.unwrap();
    assert_eq!(outcome.adjustment.unwrap().env.len(), 1);
}

#[test]
fn a_conflict_ends_a_creation_with_nothing() {
    let members = [
        member("10-a"),
        member("20-b"),
        member("30-c"),
        validator("99-v"),
    ];
    let (calls, report) = drive(creation(&roster(members)), |_| sets_env("K"));
    assert_eq!(names(&calls), ["10-a", "20-b"]);
    assert!(matches!(
        report.result,
        Err(Error::Merge(MergeError::Conflict { .. }))
    ));
}

#[test]
fn validators_are_asked_at_once_about_the_original_and_the_whole() {
    let members = [member("10-a"), validator("00-x"), validator("99-y")];
    let mut flow = creation(&roster(members));
    let mut validations = Vec::new();
    loop {
        match flow.next() {
            Step::Call(call) if call.request.event() == Event::CreateContainer => {
                drop(call);
                flow.answer(&plugin("10-a"), sets_env("K"));
            }
            Step::Call(call) => validations.push(call),
            Step::Wait => break,
            Step::Done => panic!("nobody has judged yet"),
        }
    }
    assert_eq!(names(&validations), ["00-x", "99-y"]);
    assert!(Arc::ptr_eq(
        &validations[0].request,
        &validations[1].request
    ));
    let Request::ValidateContainerAdjustment(request) = &**validations[0].request else {
        panic!("not a validation");
    };
    assert_eq!(request.container, Some(container()));
    assert_eq!(request.adjust.as_ref().unwrap().env[0].key, "K");
    let owners = &request.owners.as_ref().unwrap().owners["c1"];
    assert_eq!(owners.compound[&6].owners["K"], "10-a");

    flow.answer(&plugin("99-y"), verdict(false, ""));
    assert!(matches!(flow.next(), Step::Wait));
    flow.answer(&plugin("00-x"), verdict(false, ""));
    assert!(matches!(flow.next(), Step::Done));
    let report = flow.finish();
    assert!(report.result.is_ok());
    let events: Vec<Event> = report.outcomes.iter().map(|o| o.event).collect();
    assert_eq!(events[3..], [Event::ValidateContainerAdjustment; 2]);
    assert_eq!(
        seen_by(&report),
        ["10-a"],
        "validators have nothing to undo"
    );
}

#[test]
fn validation_fails_closed_whatever_the_policy_says() {
    for reply in [late(), Reply::Busy, gone(), failing(), verdict(true, "")] {
        let mut lenient = Policy::default();
        lenient.on_error = FailureAction::Skip;
        let members = [member("10-a"), validator("99-v").with_policy(lenient)];
        let (_, report) = drive(creation(&roster(members)), |call| {
            if call.plugin == plugin("99-v") {
                reply.clone()
            } else {
                sets_env("K")
            }
        });
        let Err(Error::Rejected {
            validator, reason, ..
        }) = report.result
        else {
            panic!("accepted after {reply:?}");
        };
        assert_eq!(validator, plugin("99-v").id);
        assert!(!reason.is_empty());
    }
}

#[test]
fn d29_the_first_validator_in_order_is_reported_whoever_answers_first() {
    for order in [
        ["10-x", "20-y", "30-z"],
        ["30-z", "10-x", "20-y"],
        ["20-y", "30-z", "10-x"],
    ] {
        let mut flow = creation(&roster(["20-y", "30-z", "10-x"].map(validator)));
        while let Step::Call(_) = flow.next() {}
        for id in order {
            flow.answer(&plugin(id), verdict(id != "10-x", id));
        }
        assert!(matches!(flow.next(), Step::Done));
        let Err(Error::Rejected {
            validator,
            reason,
            others,
            ..
        }) = flow.finish().result
        else {
            panic!("accepted");
        };
        assert_eq!((validator, reason.as_str()), (plugin("20-y").id, "20-y"));
        assert_eq!(others, [(plugin("30-z").id, "30-z".to_owned())]);
    }
}

#[test]
fn a_validator_that_was_not_heard_has_not_accepted() {
    let mut flow = creation(&roster([validator("10-x"), validator("20-y")]));
    while let Step::Call(_) = flow.next() {}
    flow.answer(&plugin("10-x"), verdict(false, ""));
    let report = flow.finish();
    assert!(matches!(report.result, Err(Error::Rejected { .. })));
}

/// Law: an error says what a validator did: it rejected, or it did not judge, and why.
#[test]
fn d43_a_validator_that_does_not_judge_is_not_said_to_reject() {
    for (reply, says) in [
        (
            Reply::Gone { delivered: false },
            "validator 20-y did not judge the adjustment of container \"c1\": its connection was closed before it was asked",
        ),
        (
            gone(),
            "did not judge the adjustment of container \"c1\": its connection was lost before it had answered",
        ),
        (
            late(),
            "did not judge the adjustment of container \"c1\": it did not answer within 2s",
        ),
        (Reply::Busy, "since it still owes an earlier answer"),
        (
            failing(),
            "did not judge the adjustment of container \"c1\": it failed: no (code 2)",
        ),
        (
            verdict(true, "no"),
            "validator 20-y rejected the adjustment of container \"c1\": no",
        ),
    ] {
        let members = [validator("20-y"), validator("30-z")];
        let (_, report) = drive(creation(&roster(members)), |call| {
            match call.plugin == plugin("20-y") {
                true => reply.clone(),
                false => verdict(true, "neither"),
            }
        });
        let text = report.result.unwrap_err().to_string();
        assert!(text.contains(says), "{text}");
        assert!(
            text.contains("; validator 30-z rejected it: neither"),
            "{text}"
        );
        assert!(!text.contains("policy"), "{text}");
    }
}

#[test]
fn d25_who_died_or_was_late_does_not_count_as_consulted() {
    let members = [
        member("10-answers"),
        member("20-late"),
        member("30-gone"),
        member("40-busy"),
        Member::new(plugin("50-unsubscribed"), EventMask::NONE),
        validator("60-validator"),
    ];
    let (calls, _) = drive(creation(&roster(members)), |call| {
        match call.plugin.id.name().as_str() {
            "late" => late(),
            "gone" => gone(),
            "busy" => Reply::Busy,
            _ => nothing(call),
        }
    });
    let Request::ValidateContainerAdjustment(request) = &**calls.last().unwrap().request else {
        panic!("not a validation");
    };
    let consulted: Vec<&str> = request.plugins.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(consulted, ["answers", "unsubscribed", "validator"]);
}

#[test]
fn d33_unimplemented_means_not_subscribed_if_nobody_asked_for_the_event() {
    let unimplemented = || Reply::Error {
        code: UNIMPLEMENTED,
        message: "unknown method".into(),
    };
    for (implicit, accepted) in [(true, true), (false, false)] {
        let everything = Member::new(plugin("10-old"), EventMask::ALL);
        let old = if implicit {
            everything.implicitly_subscribed()
        } else {
            everything
        };
        let (_, report) = drive(creation(&roster([old.clone()])), |call| {
            match call.request.event() {
                Event::ValidateContainerAdjustment => unimplemented(),
                _ => nothing(call),
            }
        });
        assert_eq!(report.result.is_ok(), accepted);
        if accepted {
            assert_eq!(report.outcomes[1].outcome, Outcome::Unsubscribed);
        }

        let request = Request::UpdatePodSandbox(api::UpdatePodSandboxRequest::default());
        let (_, report) = drive(NotifyFlow::new(&roster([old.clone()]), request), |_| {
            unimplemented()
        });
        assert_eq!(report.result.is_ok(), accepted);

        // Events that every version knows are no excuse.
        let request = Request::RunPodSandbox(api::RunPodSandboxRequest::default());
        let (_, report) = drive(NotifyFlow::new(&roster([old]), request), |_| {
            unimplemented()
        });
        assert!(report.result.is_err());
    }
}

#[test]
fn answers_that_nobody_waits_for_are_ignored() {
    let mut flow = creation(&roster([member("10-a"), member("20-b")]));
    flow.answer(&plugin("10-a"), failing());
    let Step::Call(call) = flow.next() else {
        panic!("somebody is to be called");
    };
    assert!(matches!(flow.next(), Step::Wait));
    flow.answer(&plugin("20-b"), failing());
    flow.answer(&call.plugin, nothing(&call));
    flow.answer(&call.plugin, failing());
    assert!(matches!(flow.next(), Step::Call(_)));
    flow.answer(&plugin("20-b"), nothing(&call));
    assert!(matches!(flow.next(), Step::Done));
    assert!(flow.finish().result.is_ok());
}

#[test]
fn what_is_given_up_half_way_is_known() {
    let mut flow = creation(&roster([member("10-a"), member("20-b"), member("30-c")]));
    let Step::Call(call) = flow.next() else {
        panic!("somebody is to be called");
    };
    flow.answer(&call.plugin, nothing(&call));
    assert!(matches!(flow.next(), Step::Call(_)));
    let report = flow.finish();
    assert_eq!(
        outcomes(&report),
        [Outcome::Answered, Outcome::Abandoned, Outcome::NotReached]
    );
    assert_eq!(seen_by(&report), ["10-a", "20-b"]);
}
