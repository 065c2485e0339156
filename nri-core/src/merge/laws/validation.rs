//! Laws about validators: in a flow, and of the default validator.

use nri_proto::api::{
    CreateContainerRequest, PluginInstance, PodSandbox, ValidateContainerAdjustmentRequest,
    ValidateContainerAdjustmentResponse,
};
use proptest::prelude::*;

use super::{compatible, merge, plugin};
use crate::flow::{CreateFlow, Flow, Member, Reply, Roster, Step};
use crate::merge::CreateOutcome;
use crate::strategies;
use crate::validate::{ValidatorOptions, check};
use crate::{Error, Event, Request, Response};

/// What a validator does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Opinion {
    Accepts,
    Rejects,
    Fails,
    IsLate,
}

fn opinion() -> impl Strategy<Value = Opinion> {
    prop_oneof![
        4 => Just(Opinion::Accepts),
        1 => Just(Opinion::Rejects),
        1 => Just(Opinion::Fails),
        1 => Just(Opinion::IsLate),
    ]
}

/// A creation through plugins that answer `responses`, then through validators of these opinions,
/// who are answered in the order of `answers`.
fn create(
    container: &nri_proto::api::Container,
    responses: &[nri_proto::api::CreateContainerResponse],
    opinions: &[Opinion],
    answers: &[prop::sample::Index],
) -> Result<CreateOutcome, Error> {
    let plugins =
        (0..responses.len()).map(|n| Member::new(plugin(n), Event::CreateContainer.into()));
    let validator = |n: usize| plugin(50 + n);
    let validators = (0..opinions.len())
        .map(|n| Member::new(validator(n), Event::ValidateContainerAdjustment.into()));
    let roster = Roster::new(plugins.chain(validators));
    let request = CreateContainerRequest {
        pod: None,
        container: Some(container.clone()),
    };
    let mut flow = CreateFlow::new(&roster, request);
    let mut waiting = Vec::new();
    let mut answers = answers.iter();
    loop {
        match flow.next() {
            Step::Call(call) if call.request.event() == Event::CreateContainer => {
                let number = (0..responses.len())
                    .find(|n| plugin(*n) == call.plugin)
                    .unwrap();
                let response = Response::CreateContainer(responses[number].clone());
                flow.answer(&call.plugin, Reply::Answer(response));
            }
            Step::Call(call) => waiting.push(call.plugin),
            Step::Wait => {
                let at = answers.next().map_or(0, |index| index.index(waiting.len()));
                let who = waiting.swap_remove(at);
                let number = (0..opinions.len()).find(|n| validator(*n) == who).unwrap();
                let verdict = |reject| {
                    let reason = if reject {
                        format!("no {number}")
                    } else {
                        String::new()
                    };
                    let verdict = ValidateContainerAdjustmentResponse { reject, reason };
                    Reply::Answer(Response::ValidateContainerAdjustment(verdict))
                };
                let reply = match opinions[number] {
                    Opinion::Accepts => verdict(false),
                    Opinion::Rejects => verdict(true),
                    Opinion::Fails => Reply::Error {
                        code: 2,
                        message: "broken".into(),
                    },
                    Opinion::IsLate => Reply::Late {
                        after: std::time::Duration::from_secs(2),
                    },
                };
                flow.answer(&who, reply);
            }
            Step::Done => return flow.finish().result,
        }
    }
}

fn options() -> impl Strategy<Value = ValidatorOptions> {
    let flags = proptest::array::uniform6(any::<bool>());
    let required = proptest::collection::vec(prop_oneof!["p0", "00-p0", "p9"], 0..3);
    (flags, required).prop_map(|(flags, required_plugins)| {
        let [hooks, default, unconfined, custom, namespaces, sysctl] = flags;
        ValidatorOptions {
            enable: true,
            reject_oci_hook_adjustment: hooks,
            reject_runtime_default_seccomp_adjustment: default,
            reject_unconfined_seccomp_adjustment: unconfined,
            reject_custom_seccomp_adjustment: custom,
            reject_namespace_adjustment: namespaces,
            reject_sysctl_adjustment: sysctl,
            required_plugins,
            tolerate_missing_plugins_annotation: "tolerate".to_owned(),
        }
    })
}

/// What validators are asked about a creation.
fn validation_request() -> impl Strategy<Value = ValidateContainerAdjustmentRequest> {
    let annotation = prop_oneof![
        Just(None),
        Just(Some("true")),
        Just(Some("false")),
        Just(Some("perhaps"))
    ];
    (compatible(), annotation).prop_map(|((container, responses), tolerate)| {
        let outcome = merge(&container, &responses).0.finish();
        let annotations = tolerate.map(|value| ("tolerate".to_owned(), value.to_owned()));
        let instance = |number| PluginInstance {
            name: plugin(number).id.name().to_string(),
            index: plugin(number).id.index().to_string(),
        };
        ValidateContainerAdjustmentRequest {
            pod: Some(PodSandbox {
                annotations: annotations.into_iter().collect(),
                ..Default::default()
            }),
            container: Some(container),
            adjust: Some(outcome.adjustment.clone().unwrap_or_default()),
            update: outcome.to_response().update,
            owners: Some(outcome.owners.to_message()),
            plugins: (0..responses.len()).map(instance).collect(),
        }
    })
}

proptest! {
    /// Validators that accept make no difference; one that does not ends it; which one is reported
    /// does not depend on who answers first.
    #[test]
    fn l19_validators(
        (container, responses) in compatible(),
        opinions in proptest::collection::vec(opinion(), 0..5),
        answers in proptest::collection::vec(any::<prop::sample::Index>(), 5),
        other_answers in proptest::collection::vec(any::<prop::sample::Index>(), 5),
    ) {
        let plain = create(&container, &responses, &[], &[]);
        prop_assert!(plain.is_ok());
        let judged = create(&container, &responses, &opinions, &answers);
        prop_assert_eq!(&judged, &create(&container, &responses, &opinions, &other_answers));
        match opinions.iter().position(|opinion| *opinion != Opinion::Accepts) {
            None => prop_assert_eq!(judged, plain),
            Some(first) => {
                let Err(Error::Rejected { validator, others, .. }) = judged else {
                    return Err(TestCaseError::fail("not rejected"));
                };
                prop_assert_eq!(validator, plugin(50 + first).id);
                prop_assert_eq!(others.len() + 1, opinions.iter().filter(|o| **o != Opinion::Accepts).count());
            }
        }
    }

    /// What validators get is the original, and what comes out if they accept.
    #[test]
    fn l19_validators_see_the_original((container, responses) in compatible()) {
        let plugins = (0..responses.len()).map(|n| Member::new(plugin(n), Event::CreateContainer.into()));
        let validator = Member::new(plugin(50), Event::ValidateContainerAdjustment.into());
        let roster = Roster::new(plugins.chain([validator]));
        let request = CreateContainerRequest { pod: None, container: Some(container.clone()) };
        let mut flow = CreateFlow::new(&roster, request);
        let mut answers = responses.iter().cloned();
        while let Step::Call(call) = flow.next() {
            if let Request::ValidateContainerAdjustment(request) = &**call.request {
                prop_assert_eq!(request.container.as_ref(), Some(&container));
                let outcome = merge(&container, &responses).0.finish();
                prop_assert_eq!(&request.adjust, &Some(outcome.adjustment.clone().unwrap_or_default()));
                prop_assert_eq!(&request.update, &outcome.to_response().update);
                prop_assert_eq!(&request.owners, &Some(outcome.owners.to_message()));
                prop_assert_eq!(request.plugins.len(), responses.len() + 1);
            }
            let reply = match call.request.event() {
                Event::CreateContainer => Response::CreateContainer(answers.next().unwrap()),
                event => Response::empty(event),
            };
            flow.answer(&call.plugin, Reply::Answer(reply));
        }
    }

    /// To reject more never makes the default validator accept.
    #[test]
    fn l20_default_validator_is_monotone(
        request in validation_request(), options in options(), more in options(), requires in "[a-z]{1,3}",
    ) {
        let mut stricter = options.clone();
        stricter.reject_oci_hook_adjustment |= more.reject_oci_hook_adjustment;
        stricter.reject_runtime_default_seccomp_adjustment |= more.reject_runtime_default_seccomp_adjustment;
        stricter.reject_unconfined_seccomp_adjustment |= more.reject_unconfined_seccomp_adjustment;
        stricter.reject_custom_seccomp_adjustment |= more.reject_custom_seccomp_adjustment;
        stricter.reject_namespace_adjustment |= more.reject_namespace_adjustment;
        stricter.reject_sysctl_adjustment |= more.reject_sysctl_adjustment;
        stricter.required_plugins.push(requires);
        if check(&options, &request).is_err() {
            prop_assert!(check(&stricter, &request).is_err());
        }
    }

    /// A container that nobody touched passes every check but that for required plugins.
    #[test]
    fn l21_no_touch_no_reject(container in strategies::container(), options in options()) {
        let options = ValidatorOptions { required_plugins: Vec::new(), ..options };
        let request = ValidateContainerAdjustmentRequest {
            container: Some(container),
            adjust: Some(Default::default()),
            ..Default::default()
        };
        prop_assert_eq!(check(&options, &request), Ok(()));
    }
}
