//! Judging: every validator is asked the same, in parallel, and all are awaited. One of them is
//! enough to reject.

use std::sync::Arc;

use nri_proto::api;

use super::chain::judge;
use super::growth::Growth;
use super::{Call, Flow, Member, Outcome, PluginOutcome, Reply, Report, Roster, Step};
use crate::merge::{MergedUpdate, Owners};
use crate::{EncodedRequest, Error, Event, PluginId, RegisteredPlugin, Request, Response};

/// The phase after the last plugin. Also a flow of its own, for updates that no event asked for.
#[derive(Debug)]
pub struct ValidateFlow {
    request: Arc<EncodedRequest>,
    /// The validators in plugin order; the first `called` were asked.
    validators: Vec<Member>,
    called: usize,
    /// In plugin order, like `validators`.
    verdicts: Vec<Option<Verdict>>,
}

#[derive(Debug)]
struct Verdict {
    outcome: PluginOutcome,
    /// Why the validator does not accept, if it does not.
    objection: Option<Objection>,
}

#[derive(Debug)]
enum Objection {
    /// It rejects, for this reason.
    Rejects(String),
    /// It did not judge, for this reason. What is not judged is not applied.
    Unheard(String),
}

/// What stands for the reason of a rejection that comes without one.
const UNKNOWN_REASON: &str = "unknown rejection reason";

impl ValidateFlow {
    /// The judging of an adjustment by all validators of a roster; `None` if there are none, or
    /// this is left to others.
    pub(super) fn of_adjustment(
        roster: &Roster,
        request: impl FnOnce() -> api::ValidateContainerAdjustmentRequest,
    ) -> Option<Self> {
        Self::by(roster, |_| roster.validates_creations(), request)
    }

    /// The judging of updates, by those validators of a roster that judge updates; `None` if there
    /// are none. The request has no adjustment, that is how validators know what it is about;
    /// `updates` are those of other containers as well.
    pub fn of_updates(
        roster: &Roster,
        request: impl FnOnce() -> api::ValidateContainerAdjustmentRequest,
    ) -> Option<Self> {
        Self::by(roster, |member| member.validates_updates, request)
    }

    /// The judging of what one is asked to validate from elsewhere: of an adjustment by all
    /// validators of a roster, of updates alone by those that judge updates. Without any, it is
    /// accepted.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use nri_core::flow::{Flow, Roster, Step, ValidateFlow};
    /// use nri_core::{Request, api};
    ///
    /// let request = api::ValidateContainerAdjustmentRequest::default();
    /// let request = Arc::new(Request::ValidateContainerAdjustment(request).into());
    /// let mut flow = ValidateFlow::of_request(&Roster::default(), request);
    /// assert!(matches!(flow.next(), Step::Done));
    /// assert!(flow.finish().result.is_ok());
    /// ```
    pub fn of_request(roster: &Roster, request: Arc<EncodedRequest>) -> Self {
        let adjusts = judges_adjustment(&request);
        Self::with(
            validators(roster, |member| adjusts || member.validates_updates),
            request,
        )
    }

    fn by(
        roster: &Roster,
        judges: impl Fn(&Member) -> bool,
        request: impl FnOnce() -> api::ValidateContainerAdjustmentRequest,
    ) -> Option<Self> {
        let validators = validators(roster, judges);
        if validators.is_empty() {
            return None;
        }
        let request = Request::ValidateContainerAdjustment(request());
        Some(Self::with(validators, Arc::new(request.into())))
    }

    fn with(validators: Vec<Member>, request: Arc<EncodedRequest>) -> Self {
        Self {
            request,
            verdicts: validators.iter().map(|_| None).collect(),
            validators,
            called: 0,
        }
    }
}

/// Whether an adjustment is to be judged, not updates alone.
pub(crate) fn judges_adjustment(request: &Request) -> bool {
    match request {
        Request::ValidateContainerAdjustment(request) => request.adjust.is_some(),
        _ => false,
    }
}

/// Those of a roster that validate, in order.
fn validators(roster: &Roster, judges: impl Fn(&Member) -> bool) -> Vec<Member> {
    let members = roster.members().iter();
    let validators = members.filter(|member| {
        member.events.contains(Event::ValidateContainerAdjustment) && judges(member)
    });
    validators.cloned().collect()
}

impl ValidateFlow {
    /// What the validators are asked.
    pub(super) fn request(&self) -> &EncodedRequest {
        &self.request
    }

    /// Whether the validators can be asked, where one plugin alone asks for what is judged, in so
    /// many bytes.
    ///
    /// # Errors [`Error::TooLarge`]: it is too much for a message. The plugin is to blame, not the
    /// validators.
    pub fn fits(&self, plugin: &PluginId, asked: usize) -> Result<(), Error> {
        Growth::by(plugin, asked).check(&self.request)
    }
}

/// Why a validator whose reply is no verdict did not judge.
fn unheard(reply: &Reply) -> String {
    match reply {
        Reply::Answer(response) => format!("its answer is one to {}", response.event()),
        Reply::Error { code, message } => format!("it failed: {message} (code {code})"),
        Reply::Late { after } => format!("it did not answer within {after:?}"),
        Reply::Busy => "it was not asked, since it still owes an earlier answer".to_owned(),
        Reply::Gone { delivered: false } => {
            "its connection was closed before it was asked".to_owned()
        }
        Reply::Gone { delivered: true } => {
            "its connection was lost before it had answered".to_owned()
        }
    }
}

/// The request with which updates are judged.
pub(super) fn updates_request(
    pod: Option<api::PodSandbox>,
    container: Option<api::Container>,
    updates: &[&MergedUpdate],
    owners: &Owners,
    outcomes: &[PluginOutcome],
) -> api::ValidateContainerAdjustmentRequest {
    api::ValidateContainerAdjustmentRequest {
        pod,
        container,
        adjust: None,
        update: updates.iter().map(|merged| merged.update.clone()).collect(),
        owners: Some(owners.to_message()),
        plugins: consulted(outcomes),
    }
}

/// The plugins that count as consulted: all but those that did not do their part in this request.
pub(crate) fn consulted(outcomes: &[PluginOutcome]) -> Vec<api::PluginInstance> {
    outcomes
        .iter()
        .filter(|outcome| outcome.outcome.counts_as_consulted())
        .map(|outcome| api::PluginInstance {
            name: outcome.plugin.id.name().to_string(),
            index: outcome.plugin.id.index().to_string(),
        })
        .collect()
}

impl Flow for ValidateFlow {
    type Output = ();

    fn next(&mut self) -> Step {
        match self.validators.get(self.called) {
            Some(member) => {
                self.called += 1;
                Step::Call(Call {
                    plugin: member.plugin.clone(),
                    request: Arc::clone(&self.request),
                })
            }
            None if self.verdicts.iter().any(Option::is_none) => Step::Wait,
            None => Step::Done,
        }
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        let asked = self.validators[..self.called]
            .iter()
            .position(|member| member.plugin == *plugin);
        let Some(at) = asked.filter(|&at| self.verdicts[at].is_none()) else {
            return;
        };
        let unheard = unheard(&reply);
        let mut rejection = None;
        let (outcome, was_delivered, _) = judge(
            &self.validators[at],
            Event::ValidateContainerAdjustment,
            String::new,
            reply,
            |response| {
                match response {
                    Response::ValidateContainerAdjustment(verdict) if verdict.reject => {
                        rejection = Some(Objection::Rejects(match verdict.reason {
                            reason if reason.is_empty() => UNKNOWN_REASON.to_owned(),
                            reason => reason,
                        }));
                    }
                    _ => {}
                }
                Ok(())
            },
        );
        // Validation fails closed, whatever the plugin's policy says.
        let objection = match &outcome {
            Outcome::Answered => rejection,
            Outcome::Unsubscribed => None,
            _ => Some(Objection::Unheard(unheard)),
        };
        self.verdicts[at] = Some(Verdict {
            outcome: PluginOutcome {
                plugin: plugin.clone(),
                event: Event::ValidateContainerAdjustment,
                outcome,
                was_delivered,
                took: None,
            },
            objection,
        });
    }

    /// The validators' outcomes, and whether all of them accept.
    fn finish(self) -> Report<()> {
        let mut outcomes = Vec::new();
        let mut rejections = Vec::new();
        let mut unheard = Vec::new();
        for (member, verdict) in self.validators.into_iter().zip(self.verdicts) {
            match verdict {
                Some(Verdict { outcome, objection }) => {
                    outcomes.push(outcome);
                    match objection {
                        None => {}
                        Some(Objection::Rejects(reason)) => {
                            rejections.push((member.plugin.id, reason));
                        }
                        Some(Objection::Unheard(reason)) => {
                            unheard.push(member.plugin.id.clone());
                            rejections.push((member.plugin.id, reason));
                        }
                    }
                }
                None => {
                    outcomes.push(PluginOutcome::not_called(
                        &member.plugin,
                        Event::ValidateContainerAdjustment,
                        Outcome::NotReached,
                    ));
                    unheard.push(member.plugin.id.clone());
                    rejections.push((member.plugin.id, "it was not heard".to_owned()));
                }
            }
        }
        if rejections.is_empty() {
            return Report {
                result: Ok(()),
                outcomes,
                verdicts: Vec::new(),
            };
        }
        let (validator, reason) = rejections.remove(0);
        let container = self
            .request
            .container()
            .map(|c| c.id.clone())
            .unwrap_or_default();
        Report {
            result: Err(Error::Rejected {
                container,
                validator,
                reason,
                others: rejections,
                unheard: unheard.into(),
            }),
            outcomes,
            verdicts: Vec::new(),
        }
    }
}
