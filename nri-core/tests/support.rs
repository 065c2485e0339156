//! What a runtime cannot apply, on its way through a creation: nobody gets to see it, or the
//! creation fails.
#![expect(
    clippy::unwrap_used,
    reason = "a test may unwrap: its panic is the report"
)]

use nri_core::build::Adjust as _;
use nri_core::flow::{Call, CreateFlow, Flow as _, Member, Reply, Report, Roster, Step};
use nri_core::merge::{
    CreateOutcome, MergeError, Omission, OnUnsupported, Support, SupportedFields,
};
use nri_core::{Error, EventMask, RegisteredPlugin, Request, Response, api};

fn without_sysctl() -> Support {
    Support::only(SupportedFields::ALL.without(api::Field::Sysctl))
}

/// A creation with two plugins that validate too, of which the first asks for a variable and a
/// kernel parameter.
fn run(support: Support) -> (Report<CreateOutcome>, Vec<Call>) {
    let members = (0..2u64).map(|number| {
        let id = format!("{number}0-p").parse().unwrap();
        let plugin = RegisteredPlugin {
            id,
            registration: number,
        };
        Member::new(plugin, EventMask::ALL)
    });
    let roster = Roster::new(members).with_support(support);
    let request = api::CreateContainerRequest {
        container: Some(api::Container {
            id: "c".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut flow = CreateFlow::new(&roster, request);
    let mut calls = Vec::new();
    while let Step::Call(call) = flow.next() {
        let response = if calls.is_empty() {
            let mut adjust = api::ContainerAdjustment::default();
            adjust.add_env("A", "1").unwrap();
            adjust.add_sysctl("kernel.x", "1").unwrap();
            Response::CreateContainer(api::CreateContainerResponse {
                adjust: Some(adjust),
                ..Default::default()
            })
        } else {
            Response::empty(call.request.event())
        };
        flow.answer(&call.plugin, Reply::Answer(response));
        calls.push(call);
    }
    (flow.finish(), calls)
}

#[test]
fn what_is_refused_fails_the_creation_and_names_who_asked() {
    let (report, calls) = run(without_sysctl());
    assert_eq!(calls.len(), 1, "nobody else is asked");
    let Err(Error::Merge(MergeError::Unsupported { plugin, what, .. })) = report.result else {
        panic!("{:?}", report.result);
    };
    assert_eq!(plugin.to_string(), "00-p");
    assert_eq!(what[0].to_string(), "Sysctl \"kernel.x\"");
}

#[test]
fn what_is_left_out_is_seen_by_no_plugin_and_no_validator() {
    let (report, calls) = run(without_sysctl().on_unsupported(OnUnsupported::LeaveOut));
    let Request::CreateContainer(second) = &**calls[1].request else {
        panic!("{:?}", calls[1]);
    };
    let view = second.container.as_ref().unwrap();
    assert_eq!((view.env.len(), view.linux.is_some()), (1, false));
    let Request::ValidateContainerAdjustment(validation) = &**calls[2].request else {
        panic!("{:?}", calls[2]);
    };
    assert!(validation.adjust.as_ref().unwrap().linux.is_none());
    let sysctl = api::Field::Sysctl as i32;
    assert!(
        !validation.owners.as_ref().unwrap().owners["c"]
            .compound
            .contains_key(&sysctl)
    );
    let outcome = report.result.unwrap();
    assert!(matches!(
        &outcome.omissions[..],
        [Omission::Unsupported { .. }]
    ));
}
