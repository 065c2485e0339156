//! Creating a container: plugins adjust it one after the other, then validators judge the whole, all at once.

use std::sync::Arc;

use nri_proto::api;

use super::chain::{Chain, Stage, judge};
use super::{Call, Flow, Member, OnTrouble, Outcome, PluginOutcome, Reply, Report, Roster, Step};
use crate::merge::{Combined, CreateOutcome};
use crate::{Error, Event, RegisteredPlugin, Request, Response};

/// The flow of a creation. Each plugin sees the container as adjusted by those before it; validators see the original, the
/// combined adjustment and its owners.
#[derive(Debug)]
pub struct CreateFlow {
    roster: Roster,
    chain: Chain,
    adjusting: Adjusting,
    validating: Option<Validating>,
}

#[derive(Debug)]
struct Adjusting {
    /// As the next plugin sees it. Changed in place, unless a call still holds on to it.
    current: Arc<Request>,
    combined: Combined,
}

impl Stage for Adjusting {
    fn request(&mut self) -> Arc<Request> {
        let current = &mut self.current;
        self.combined.show(|| container(current));
        Arc::clone(current)
    }

    fn absorb(&mut self, plugin: &RegisteredPlugin, response: Response) -> Result<(), Error> {
        if let Response::CreateContainer(response) = response {
            self.combined
                .apply(plugin, response, || container(&mut self.current))?;
        }
        Ok(())
    }
}

/// The container in the request. There is one, see `CreateFlow::new`.
fn container(request: &mut Arc<Request>) -> Option<&mut api::Container> {
    match Arc::make_mut(request) {
        Request::CreateContainer(request) => request.container.as_mut(),
        _ => None,
    }
}

impl Adjusting {
    /// What the plugins asked for together, and for the validators the request as it was before. Nothing is left here then.
    fn finish(&mut self) -> (CreateOutcome, api::CreateContainerRequest) {
        let mut combined = std::mem::take(&mut self.combined);
        let mut original = match Arc::make_mut(&mut self.current) {
            Request::CreateContainer(request) => std::mem::take(request),
            _ => api::CreateContainerRequest::default(),
        };
        if let Some(container) = &mut original.container {
            combined.restore(container);
        }
        (combined.finish(), original)
    }
}

/// The phase after the last plugin: every validator is asked the same, in parallel, and all are awaited.
#[derive(Debug)]
struct Validating {
    request: Arc<Request>,
    /// The validators in plugin order; the first `called` were asked.
    validators: Vec<Member>,
    called: usize,
    /// In plugin order, like `validators`.
    verdicts: Vec<Option<Verdict>>,
    outcome: CreateOutcome,
}

#[derive(Debug)]
struct Verdict {
    outcome: PluginOutcome,
    /// Why the validator does not accept, if it does not.
    rejection: Option<String>,
}

/// What stands for the reason of a rejection that comes without one.
const UNKNOWN_REASON: &str = "unknown rejection reason";

impl CreateFlow {
    /// The flow of `request` through the plugins of `roster`.
    pub fn new(roster: &Roster, mut request: api::CreateContainerRequest) -> Self {
        let combined = Combined::new(&request.container.get_or_insert_default().id);
        let current = Arc::new(Request::CreateContainer(request));
        let chain = Chain::new(roster, current.event(), current.subject());
        Self {
            roster: roster.clone(),
            chain,
            adjusting: Adjusting { current, combined },
            validating: None,
        }
    }

    /// The validation phase of what the plugins asked for; `None` if nobody is to validate.
    fn validation(&mut self) -> Option<Validating> {
        let validators: Vec<Member> = self
            .roster
            .members()
            .iter()
            .filter(|member| member.events.contains(Event::ValidateContainerAdjustment))
            .cloned()
            .collect();
        if validators.is_empty() {
            return None;
        }
        let (outcome, original) = self.adjusting.finish();
        let combined = outcome.to_response();
        let request = api::ValidateContainerAdjustmentRequest {
            pod: original.pod,
            container: original.container,
            adjust: Some(combined.adjust.unwrap_or_default()),
            update: combined.update,
            owners: Some(outcome.owners.to_message()),
            plugins: self.consulted(),
        };
        let verdicts = validators.iter().map(|_| None).collect();
        Some(Validating {
            request: Arc::new(Request::ValidateContainerAdjustment(request)),
            validators,
            called: 0,
            verdicts,
            outcome,
        })
    }

    /// The plugins that count as consulted: all but those whose part in this request ended fatally.
    fn consulted(&self) -> Vec<api::PluginInstance> {
        self.chain
            .outcomes()
            .iter()
            .filter(|outcome| !matches!(outcome.outcome, Outcome::Late { .. } | Outcome::Gone))
            .map(|outcome| api::PluginInstance {
                name: outcome.plugin.id.name().to_string(),
                index: outcome.plugin.id.index().to_string(),
            })
            .collect()
    }
}

impl Validating {
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
        // Validation fails closed, whatever the plugin's policy says.
        let mut member = self.validators[at].clone();
        member.policy.on_error = OnTrouble::Fail;
        member.policy.on_late = OnTrouble::Fail;
        member.policy.on_absent = OnTrouble::Fail;
        let subject = self.request.subject();
        let mut rejection = None;
        let (outcome, saw_it, error) = judge(
            &member,
            Event::ValidateContainerAdjustment,
            &subject,
            reply,
            |response| {
                if let Response::ValidateContainerAdjustment(verdict) = response
                    && verdict.reject
                {
                    rejection = Some(match verdict.reason {
                        reason if reason.is_empty() => UNKNOWN_REASON.to_owned(),
                        reason => reason,
                    });
                }
                Ok(())
            },
        );
        self.verdicts[at] = Some(Verdict {
            outcome: PluginOutcome {
                plugin: plugin.clone(),
                event: Event::ValidateContainerAdjustment,
                outcome,
                saw_it,
                took: None,
            },
            rejection: rejection.or_else(|| error.map(|error| error.to_string())),
        });
    }

    /// The validators' outcomes, and what the creation comes to.
    fn finish(self) -> (Vec<PluginOutcome>, Result<CreateOutcome, Error>) {
        let mut outcomes = Vec::new();
        let mut rejections = Vec::new();
        for (member, verdict) in self.validators.into_iter().zip(self.verdicts) {
            match verdict {
                Some(Verdict { outcome, rejection }) => {
                    rejections.extend(rejection.map(|reason| (member.plugin.id, reason)));
                    outcomes.push(outcome);
                }
                None => {
                    outcomes.push(PluginOutcome::not_called(
                        &member.plugin,
                        Event::ValidateContainerAdjustment,
                        Outcome::NotReached,
                    ));
                    rejections.push((member.plugin.id, "it was not heard".to_owned()));
                }
            }
        }
        if rejections.is_empty() {
            return (outcomes, Ok(self.outcome));
        }
        let (validator, reason) = rejections.remove(0);
        let container = self
            .request
            .container()
            .map(|c| c.id.clone())
            .unwrap_or_default();
        (
            outcomes,
            Err(Error::Rejected {
                container,
                validator,
                reason,
                others: rejections,
            }),
        )
    }
}

impl Flow for CreateFlow {
    type Output = CreateOutcome;

    fn next(&mut self) -> Step {
        if let Some(validating) = &mut self.validating {
            return validating.next();
        }
        match self.chain.next(&mut self.adjusting) {
            Step::Done if !self.chain.failed() => {
                self.validating = self.validation();
                self.validating
                    .as_mut()
                    .map_or(Step::Done, Validating::next)
            }
            step => step,
        }
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        match &mut self.validating {
            Some(validating) => validating.answer(plugin, reply),
            None => self.chain.answer(plugin, reply, &mut self.adjusting),
        }
    }

    fn finish(self) -> Report<CreateOutcome> {
        let (mut outcomes, result) = self.chain.finish();
        let result = match (result, self.validating) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(validating)) => {
                let (verdicts, result) = validating.finish();
                outcomes.extend(verdicts);
                result
            }
            (Ok(()), None) => Ok(self.adjusting.combined.finish()),
        };
        Report { result, outcomes }
    }
}
