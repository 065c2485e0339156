//! Merging what plugins answer, whatever it is.
//!
//! Nothing panics, errors can be shown, and when the responses combine:
//!
//! * what the last plugin sees is what the original becomes with the combined adjustment applied;
//! * what no plugin may change is as it was;
//! * accepting validators change nothing, and see the original;
//! * applying the combined adjustment twice is applying it once, and removals of what is not there
//!   do not matter;
//! * normal forms are stable, and owners come back from the wire as they went.

use std::fmt::Debug;
use std::time::Duration;

use nri_core::api::{
    Container, ContainerAdjustment, CreateContainerRequest, StopContainerRequest,
    UpdateContainerRequest, ValidateContainerAdjustmentResponse,
};
use nri_core::flow::{
    CreateFlow, Flow, Member, Policy, Reply, Report, Roster, Step, StopFlow, UpdateFlow,
};
use nri_core::merge::{self, Owners, SupportedFields};
use nri_core::{Event, EventMask, RegisteredPlugin, Request, Response};

use crate::script::{Script, salvage};

/// Runs the input and checks the laws.
///
/// # Panics
/// A law does not hold.
pub fn check(input: &[u8]) {
    let script = Script::read(input);
    let Some((_, request)) = script.messages.first() else {
        return;
    };
    match script.event() {
        Event::CreateContainer => create(&script, salvage(request)),
        Event::UpdateContainer => {
            let request: UpdateContainerRequest = salvage(request);
            let run = Run::of(&script, Validators::None);
            let (_, report) = run.drive(UpdateFlow::new(&run.roster, request));
            if let Some(outcome) = shown(report) {
                drop(outcome.to_response());
                check_owners(&outcome.owners);
            }
        }
        _ => {
            let request: StopContainerRequest = salvage(request);
            let run = Run::of(&script, Validators::None);
            let (_, report) = run.drive(StopFlow::new(&run.roster, request));
            if let Some(outcome) = shown(report) {
                drop(outcome.to_response());
                check_owners(&outcome.owners);
            }
        }
    }
}

fn create(script: &Script, request: CreateContainerRequest) {
    let original = request.container.clone().unwrap_or_default();
    let run = Run::of(script, Validators::None);
    let (seen, report) = run.drive(CreateFlow::new(&run.roster, request.clone()));
    let Some(outcome) = shown(report) else {
        return;
    };
    let Some(view) = seen.iter().rev().find_map(Request::container) else {
        return;
    };
    let adjustment = outcome.adjustment.clone().unwrap_or_default();
    assert_eq!(*view, merge::apply(&original, &adjustment), "view");
    check_untouchable(&original, view);
    check_forms(&original, &adjustment);
    check_owners(&outcome.owners);
    check_responses(script);

    let validators = match script.head >> 6 {
        0 => return,
        1 => Validators::Accept,
        2 => Validators::Reject,
        _ => Validators::Fail,
    };
    let run = Run::of(script, validators);
    let (seen, report) = run.drive(CreateFlow::new(&run.roster, request));
    let verdict = shown(report);
    if validators == Validators::Accept {
        assert_eq!(verdict, Some(outcome), "validators");
    } else {
        assert_eq!(verdict, None, "validators");
    }
    let validation = seen.last().and_then(Request::container);
    assert_eq!(validation, Some(&original), "validators");
}

/// The outcome; an error can be shown.
fn shown<T: Debug>(report: Report<T>) -> Option<T> {
    assert!(!format!("{:?}", report.outcomes).is_empty());
    report.result.map_err(|error| error.to_string()).ok()
}

fn check_untouchable(original: &Container, view: &Container) {
    fn untouchable(container: &Container) -> impl PartialEq + Debug + '_ {
        (
            (&container.id, &container.pod_sandbox_id, &container.name),
            (container.state, container.pid, &container.labels),
            (container.created_at, container.started_at),
            (container.finished_at, container.exit_code),
            (&container.status_reason, &container.status_message),
            &container.user,
        )
    }
    assert_eq!(untouchable(original), untouchable(view), "untouchable");
}

fn check_forms(original: &Container, adjustment: &ContainerAdjustment) {
    let applied = merge::apply(original, adjustment);
    let pruned = merge::prune(adjustment.clone(), original).unwrap_or_default();
    assert_eq!(merge::apply(original, &pruned), applied, "prune");

    // Hooks and device rules are added again, and so is a variable with `=` in its name: in a
    // container it has another name.
    let mut once = adjustment.clone();
    once.hooks = None;
    once.env.retain(|variable| !variable.key.contains('='));
    if let Some(resources) = once
        .linux
        .as_mut()
        .and_then(|linux| linux.resources.as_mut())
    {
        resources.devices.clear();
    }
    let applied = merge::apply(original, &once);
    assert_eq!(merge::apply(&applied, &once), applied, "twice");
}

/// What holds for every adjustment, combined or not.
fn check_responses(script: &Script) {
    for (_, message) in &script.messages[1..] {
        let response: nri_core::api::CreateContainerResponse = salvage(message);
        let Some(adjustment) = response.adjust else {
            continue;
        };
        let stable = |form: fn(ContainerAdjustment) -> Option<ContainerAdjustment>| {
            let once = form(adjustment.clone());
            assert_eq!(once.clone().and_then(form), once, "form");
        };
        stable(merge::strip);
        stable(merge::compare::strip_go);
        stable(merge::normal_form);
        stable(merge::compare::canonical);
        let mut restricted = adjustment.clone();
        let refused = SupportedFields::NONE.restrict(&mut restricted);
        assert!(
            refused
                .iter()
                .all(|refused| !refused.to_string().is_empty())
        );
        assert_eq!(merge::strip(restricted), None, "restriction");
    }
}

fn check_owners(owners: &Owners) {
    let message = owners.to_message();
    let back = Owners::from_message(&message);
    assert_eq!(back.to_message(), message, "owners");
    assert!(owners.iter().all(|owned| !owned.owner.plugins().is_empty()));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Validators {
    None,
    Accept,
    Reject,
    Fail,
}

/// One request's plugins, and what they do.
struct Run<'a> {
    script: &'a Script,
    roster: Roster,
    validators: Validators,
}

impl<'a> Run<'a> {
    /// The plugins of a script, an observer who answers nothing, and validators.
    fn of(script: &'a Script, validators: Validators) -> Self {
        let plugins = script.messages.len().saturating_sub(1);
        let numbers = 0..=plugins;
        let mut members: Vec<Member> = numbers
            .filter_map(|number| {
                let mut member = Member::new(plugin(number)?, script.event().into());
                if script
                    .messages
                    .get(number + 1)
                    .is_some_and(|m| m.0 & 0x80 != 0)
                {
                    member.policy = lenient();
                }
                Some(member)
            })
            .collect();
        if validators != Validators::None {
            let both = [plugins + 1, plugins + 2];
            let judges = EventMask::from(Event::ValidateContainerAdjustment);
            members.extend(
                both.iter()
                    .filter_map(|n| Some(Member::new(plugin(*n)?, judges))),
            );
        }
        Self {
            script,
            roster: Roster::new(members),
            validators,
        }
    }

    /// Drives a flow to its end. Returns every request that a plugin saw, too.
    fn drive<F: Flow>(&self, mut flow: F) -> (Vec<Request>, Report<F::Output>) {
        let mut seen = Vec::new();
        while let Step::Call(call) = flow.next() {
            seen.push((*call.request).clone());
            let reply = if call.request.event() == Event::ValidateContainerAdjustment {
                self.verdict()
            } else {
                self.reply(&call.plugin)
            };
            flow.answer(&call.plugin, reply);
        }
        (seen, flow.finish())
    }

    fn reply(&self, plugin: &RegisteredPlugin) -> Reply {
        let at = plugin.registration as usize + 1;
        let Some((role, message)) = self.script.messages.get(at) else {
            return Reply::Answer(Response::empty(self.script.event()));
        };
        match role & 0x0f {
            12 => Reply::Error {
                code: 2,
                message: "no".to_owned(),
            },
            13 => Reply::Late {
                after: Duration::from_secs(2),
            },
            14 => Reply::Gone { delivered: true },
            15 => Reply::Busy,
            _ => Reply::Answer(match self.script.event() {
                Event::CreateContainer => Response::CreateContainer(salvage(message)),
                Event::UpdateContainer => Response::UpdateContainer(salvage(message)),
                _ => Response::StopContainer(salvage(message)),
            }),
        }
    }

    fn verdict(&self) -> Reply {
        let reject = match self.validators {
            Validators::Fail => return Reply::Gone { delivered: false },
            Validators::Reject => true,
            Validators::Accept | Validators::None => false,
        };
        let verdict = ValidateContainerAdjustmentResponse {
            reject,
            reason: String::new(),
        };
        Reply::Answer(Response::ValidateContainerAdjustment(verdict))
    }
}

fn plugin(number: usize) -> Option<RegisteredPlugin> {
    Some(RegisteredPlugin {
        id: format!("{number:02}-p").parse().ok()?,
        registration: number as u64,
    })
}

/// The policy of a plugin whose errors do not matter either.
fn lenient() -> Policy {
    let mut policy = Policy::default();
    policy.on_error = policy.on_late;
    policy
}
