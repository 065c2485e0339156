//! The laws of policies, as properties of arbitrary rules and arbitrary answers, on their way
//! through whole requests.

use std::borrow::Cow;
use std::sync::Arc;

use nri_proto::api::{self, Field};
use proptest::prelude::*;

use super::{Action, KnownPods, Policy, Rule, Target};
use crate::flow::{CreateFlow, Flow, Member, Reply, Report, Roster, Step, StopFlow, UpdateFlow};
use crate::keys::KeyKind;
use crate::lifecycle::ObjectKey;
use crate::merge::{Owner, Owners, Sieve, sift_adjustment, sift_resources};
use crate::strategies::{self, CREATED, OTHERS};
use crate::{EncodedRequest, Error, EventMask, PluginId, RegisteredPlugin, Request, Response};

/// Two plugins that validate too.
fn plugins() -> [RegisteredPlugin; 2] {
    ["10-p", "20-q"].map(|id| RegisteredPlugin {
        id: id.parse().unwrap(),
        registration: 1,
    })
}

fn pod(namespace: &str) -> api::PodSandbox {
    api::PodSandbox {
        id: namespace.into(),
        namespace: namespace.into(),
        labels: [("tier".to_owned(), namespace.to_owned())].into(),
        runtime_handler: "runc".into(),
        ..Default::default()
    }
}

/// The pod of the request is `dev`; one other container is known to be in `prod`.
const OWN: &str = "dev";

fn known() -> KnownPods {
    let known = KnownPods::default();
    let container = ObjectKey::container("", OTHERS[0]);
    known.note(&container, &ObjectKey::pod("", "prod"), &pod("prod"));
    known
}

fn pod_of(container: &str, own: &str) -> Option<api::PodSandbox> {
    match container {
        _ if container == own => Some(pod(OWN)),
        _ if container == OTHERS[0] => Some(pod("prod")),
        _ => None,
    }
}

fn roster(policy: Policy) -> Roster {
    let members = plugins().map(|plugin| Member::new(plugin, EventMask::ALL).validating_updates());
    Roster::new(members).with_policy(policy, known())
}

/// What answers a request, and everything that can be seen of it: what plugins and validators were
/// asked, and what came of it.
fn play<F: Flow>(
    mut flow: F,
    mut answers: [Response; 2],
) -> (Vec<Arc<EncodedRequest>>, Report<F::Output>) {
    let mut asked = Vec::new();
    loop {
        match flow.next() {
            Step::Call(call) => {
                let event = call.request.event();
                let which = usize::from(call.plugin == plugins()[1]);
                let answer = match event == answers[which].event() {
                    true => std::mem::replace(&mut answers[which], Response::empty(event)),
                    false => Response::empty(event),
                };
                flow.answer(&call.plugin, Reply::Answer(answer));
                asked.push(call.request);
            }
            Step::Wait => {}
            Step::Done => return (asked, flow.finish()),
        }
    }
}

/// The id of the container that requests are about.
fn own_id(request: &Request) -> &str {
    request.container().map_or("", |container| &container.id)
}

/// What can be seen of any request, as a text for comparison, and its owners where it succeeds.
fn seen(
    policy: Policy,
    request: &Request,
    answers: [Response; 2],
) -> (String, Option<Owners>, Report<()>) {
    let roster = roster(policy);
    fn told<T: std::fmt::Debug>(
        (asked, report): (Vec<Arc<EncodedRequest>>, Report<T>),
        owners: impl Fn(&T) -> &Owners,
    ) -> (String, Option<Owners>, Report<()>) {
        let asked: Vec<_> = asked.iter().map(|request| request.bytes()).collect();
        let text = format!("{asked:?} {:?} {:?}", report.result, report.outcomes);
        let owners = report
            .result
            .as_ref()
            .ok()
            .map(|outcome| owners(outcome).clone());
        let report = Report {
            result: report.result.map(drop),
            outcomes: report.outcomes,
            verdicts: report.verdicts,
        };
        (text, owners, report)
    }
    match request.clone() {
        Request::CreateContainer(request) => told(
            play(CreateFlow::new(&roster, request), answers),
            |outcome| &outcome.owners,
        ),
        Request::UpdateContainer(request) => told(
            play(UpdateFlow::new(&roster, request), answers),
            |outcome| &outcome.owners,
        ),
        Request::StopContainer(request) => {
            told(play(StopFlow::new(&roster, request), answers), |outcome| {
                &outcome.owners
            })
        }
        other => panic!("{other:?}"),
    }
}

/// A request and what two plugins answer to it.
fn request() -> impl Strategy<Value = (Request, [Response; 2])> {
    let two = |one: BoxedStrategy<Response>| (one.clone(), one).prop_map(|(a, b)| [a, b]);
    let ids = &[CREATED, OTHERS[0], OTHERS[1]];
    let create = strategies::create_response().prop_map(Response::CreateContainer);
    let update = strategies::update_response(ids).prop_map(Response::UpdateContainer);
    let stop = strategies::stop_response(ids).prop_map(Response::StopContainer);
    let container = strategies::container().prop_map(|mut container| {
        container.id = CREATED.into();
        Some(container)
    });
    let containers = container.boxed();
    let create = (containers.clone(), two(create.boxed())).prop_map(|(container, answers)| {
        let pod = Some(pod(OWN));
        let request = api::CreateContainerRequest { pod, container };
        (Request::CreateContainer(request), answers)
    });
    let update = (containers.clone(), two(update.boxed())).prop_map(|(container, answers)| {
        let request = api::UpdateContainerRequest {
            pod: Some(pod(OWN)),
            container,
            ..Default::default()
        };
        (Request::UpdateContainer(request), answers)
    });
    let stop = (containers, two(stop.boxed())).prop_map(|(container, answers)| {
        let pod = Some(pod(OWN));
        let request = api::StopContainerRequest { pod, container };
        (Request::StopContainer(request), answers)
    });
    prop_oneof![2 => create, 1 => update, 1 => stop]
}

const FIELDS: &[&str] = &[
    "*",
    "env",
    "env:*",
    "env:a*",
    "mounts:/**",
    "mounts:/a/*",
    "mounts",
    "annotations:*/*",
    "annotations:a*",
    "oci-hooks",
    "args",
    "mem*",
    "mem-limit",
    "cpu*",
    "resources",
    "devices:/dev/**",
    "devices",
    "device-rules",
    "updates",
    "evictions",
    "rdt*",
    "rdt-schemata",
    "sysctl:net.*",
    "sysctl",
    "hugepage-limits:2M",
    "cgroups-unified:*",
    "rlimits",
    "cdi-devices",
    "namespace:*",
    "linux-net-devices",
    "linux-sched",
    "pids-limit",
    "oom-score-adj",
];

fn field() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(FIELDS)
        .prop_filter("a name", |text| text.parse::<super::Selector>().is_ok())
}

/// A rule with these actions.
fn rule(actions: &'static [Action]) -> impl Strategy<Value = Rule> {
    let few = |texts: &'static [&'static str]| {
        let one = proptest::sample::select(texts).prop_map(|text| text.parse().unwrap());
        prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(one, 1..3)]
    };
    (
        few(&["p", "10-p", "q", "20-*"]),
        few(&["dev", "prod", "*"]),
        any::<bool>(),
        proptest::collection::vec(field(), 0..4),
        proptest::sample::select(actions),
    )
        .prop_map(|(plugins, namespaces, labelled, fields, action)| {
            let mut rule = Rule::new(action);
            rule.plugins = plugins;
            rule.namespaces = namespaces;
            if labelled {
                rule.pod_labels
                    .insert("tier".into(), "dev".parse().unwrap());
            }
            rule.fields = fields
                .into_iter()
                .map(|field| field.parse().unwrap())
                .collect();
            rule
        })
}

/// Rules, each with a name of its own.
fn rules(actions: &'static [Action]) -> impl Strategy<Value = Vec<Rule>> {
    proptest::collection::vec(rule(actions), 0..6).prop_map(|mut rules| {
        for (number, rule) in rules.iter_mut().enumerate() {
            rule.name = format!("r{number}");
        }
        rules
    })
}

const ALL: &[Action] = &[Action::Allow, Action::Deny, Action::Drop, Action::Audit];
const NO_DENY: &[Action] = &[Action::Allow, Action::Drop, Action::Audit];

fn policy(actions: &'static [Action]) -> impl Strategy<Value = Policy> {
    let defaults = proptest::sample::select(actions);
    (rules(actions), defaults).prop_map(|(rules, default)| Policy::new(rules, default).unwrap())
}

/// What a policy says, spelled out: the first rule all of whose conditions hold.
fn says(
    policy: &Policy,
    plugin: &PluginId,
    pod: Option<&api::PodSandbox>,
    target: Target,
    key: Option<&str>,
) -> Action {
    let key = key.map(|key| match target {
        Target::Field(Field::Env) => {
            Cow::Borrowed(key.split_once('=').map_or(key, |(name, _)| name))
        }
        Target::Field(field) => KeyKind::of(field).normal(key),
        _ => Cow::Borrowed(key),
    });
    for rule in policy.rules() {
        let by = rule.plugins.is_empty()
            || rule
                .plugins
                .iter()
                .any(|p| p.matches(&plugin.to_string()) || p.matches(plugin.name().as_str()));
        let anywhere = rule.namespaces.is_empty() && rule.pod_labels.is_empty();
        let there = match pod {
            _ if anywhere => true,
            None => matches!(rule.action, Action::Deny | Action::Drop),
            Some(pod) => {
                (rule.namespaces.is_empty()
                    || rule.namespaces.iter().any(|n| n.matches(&pod.namespace)))
                    && rule
                        .pod_labels
                        .iter()
                        .all(|(key, value)| value.matches(&pod.labels[key]))
            }
        };
        let about = rule.fields.is_empty()
            || rule
                .fields
                .iter()
                .any(|field| field.matches(target, key.as_deref()));
        if by && there && about {
            return rule.action;
        }
    }
    policy.default_action()
}

/// Takes out what a policy is against, item by item.
struct Stripping<'a>(&'a Policy, &'a PluginId, Option<api::PodSandbox>);

impl Sieve for Stripping<'_> {
    const A_PART_STAYS: bool = false;

    fn keeps(&mut self, field: Field, key: Option<&str>) -> bool {
        let target = match field {
            Field::None => Target::DeviceRules,
            field => Target::Field(field),
        };
        !matches!(
            says(self.0, self.1, self.2.as_ref(), target, key),
            Action::Deny | Action::Drop
        )
    }
}

/// An answer as a plugin gives it that asks only for what the policy is not against.
fn stripped(policy: &Policy, plugin: &PluginId, own: &str, mut answer: Response) -> Response {
    let against = |container: &str, target| {
        let pod = pod_of(container, own);
        matches!(
            says(policy, plugin, pod.as_ref(), target, None),
            Action::Deny | Action::Drop
        )
    };
    let (mut updates, mut evictions) = (None, None);
    match &mut answer {
        Response::CreateContainer(answer) => {
            if let Some(adjust) = &mut answer.adjust {
                sift_adjustment(adjust, &mut Stripping(policy, plugin, Some(pod(OWN))));
            }
            updates = Some(&mut answer.update);
            evictions = Some(&mut answer.evict);
        }
        Response::UpdateContainer(answer) => {
            updates = Some(&mut answer.update);
            evictions = Some(&mut answer.evict);
        }
        Response::StopContainer(answer) => updates = Some(&mut answer.update),
        _ => {}
    }
    if let Some(updates) = updates {
        updates.retain(|update| !against(&update.container_id, Target::Updates));
        for update in updates {
            let pod = pod_of(&update.container_id, own);
            if let Some(resources) = update
                .linux
                .as_mut()
                .and_then(|linux| linux.resources.as_mut())
            {
                sift_resources(resources, &mut Stripping(policy, plugin, pod));
            }
        }
    }
    if let Some(evictions) = evictions {
        evictions.retain(|eviction| !against(&eviction.container_id, Target::Evictions));
    }
    answer
}

fn both_stripped(policy: &Policy, own: &str, answers: [Response; 2]) -> [Response; 2] {
    let mut plugins = plugins().into_iter();
    answers.map(|answer| stripped(policy, &plugins.next().unwrap().id, own, answer))
}

proptest! {
    /// Law: what is dropped is as if the plugin had not asked for it: requests of later plugins and
    /// of validators, owners, conflicts and the outcome are the same.
    #[test]
    fn dropping_is_as_if_the_plugin_had_not_asked(
        policy in policy(NO_DENY),
        (request, answers) in request(),
    ) {
        let own = own_id(&request);
        let expected = both_stripped(&policy, own, answers.clone());
        let (with, _, _) = seen(policy, &request, answers);
        let (without, _, _) = seen(Policy::default(), &request, expected);
        prop_assert_eq!(with, without);
    }

    /// Law: what a policy is against reaches no reply, whoever asks for it; and if anything is
    /// denied, the request fails.
    #[test]
    fn what_is_denied_reaches_no_reply(policy in policy(ALL), (request, answers) in request()) {
        let own = own_id(&request).to_owned();
        let (_, owners, report) = seen(policy.clone(), &request, answers);
        if report.verdicts.iter().any(|verdict| verdict.action == Action::Deny) {
            let is_denial = |error: &Error| matches!(error, Error::Denied(_));
            let fails = match &report.result {
                Err(Error::Several(errors)) => errors.iter().any(is_denial),
                Err(error) => is_denial(error),
                Ok(()) => false,
            };
            prop_assert!(fails, "{:?}", report.result);
        }
        for owned in owners.iter().flat_map(Owners::iter) {
            let owners = match owned.owner {
                Owner::Set(plugin) | Owner::Removed(plugin) => vec![plugin.clone()],
                Owner::Many(plugins) => plugins.clone(),
                Owner::Unrecognised(_) => Vec::new(),
            };
            let pod = pod_of(owned.container, &own);
            for plugin in owners {
                let action = says(&policy, &plugin, pod.as_ref(), Target::Field(owned.field), owned.key);
                prop_assert!(!matches!(action, Action::Deny | Action::Drop), "{owned:?} {action}");
            }
        }
    }

    /// Law: the order of rules that cannot both match does not matter.
    #[test]
    fn the_order_of_rules_that_exclude_each_other_does_not_matter(
        mut rules in rules(ALL),
        default in proptest::sample::select(ALL),
        at: proptest::sample::Index,
        (request, answers) in request(),
    ) {
        if rules.len() >= 2 {
            let at = at.index(rules.len() - 1);
            rules[at].plugins = vec!["p".parse().unwrap()];
            rules[at + 1].plugins = vec!["20-q".parse().unwrap()];
            let before = Policy::new(rules.clone(), default).unwrap();
            rules.swap(at, at + 1);
            let after = Policy::new(rules, default).unwrap();
            let (text, _, report) = seen(before, &request, answers.clone());
            let (swapped, _, other) = seen(after, &request, answers);
            prop_assert_eq!(text, swapped);
            prop_assert_eq!(report.verdicts, other.verdicts);
        }
    }

    /// Law: a policy that is for everything changes nothing, whatever it records.
    #[test]
    fn a_policy_for_everything_changes_nothing(
        policy in policy(&[Action::Allow, Action::Audit]),
        (request, answers) in request(),
    ) {
        let (with, _, report) = seen(policy, &request, answers.clone());
        let (without, _, _) = seen(Policy::default(), &request, answers);
        prop_assert_eq!(with, without);
        prop_assert!(report.verdicts.iter().all(|verdict| verdict.action == Action::Audit));
    }
}

#[test]
fn the_fields_of_the_laws_are_fields() {
    let unknown: Vec<_> = FIELDS
        .iter()
        .filter(|text| text.parse::<super::Selector>().is_err())
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
