//! One plugin after the other: the part that all flows share. What differs between events is a
//! [`Stage`].

use std::sync::Arc;

use super::judging::Judging;
use super::outcome::UNIMPLEMENTED;
use super::{Call, FailureAction, Member, Outcome, PluginOutcome, Reply, Roster, Step};
use crate::policy::Verdict;
use crate::{EncodedRequest, Error, Event, RegisteredPlugin, Response};

/// What differs from event to event: the request for the next plugin, and what its response
/// changes.
pub(super) trait Stage {
    /// The request as the next plugin is to see it.
    fn request(&mut self) -> Arc<EncodedRequest>;

    /// Takes a response in. `more` says whether another plugin is asked, with what this one has
    /// changed.
    ///
    /// # Errors
    /// The response cannot be combined with the earlier ones, or makes the request of the next
    /// plugin too large.
    fn absorb(
        &mut self,
        plugin: &RegisteredPlugin,
        response: Response,
        more: bool,
    ) -> Result<(), Error>;
}

/// Calls the subscribed members of a roster in order and records what comes of it.
#[derive(Debug)]
pub(super) struct Chain {
    roster: Roster,
    event: Event,
    /// As it was begun with.
    request: Arc<EncodedRequest>,
    next: usize,
    calling: bool,
    /// What answers are judged by before they are merged, if by anything.
    judging: Option<Judging>,
    outcomes: Vec<PluginOutcome>,
    errors: Vec<Error>,
}

/// What came of a chain.
pub(super) struct Called {
    /// What every member did, those not reached included.
    pub(super) outcomes: Vec<PluginOutcome>,
    /// The error of the chain, if any.
    pub(super) result: Result<(), Error>,
    /// What the policy said of the answers.
    pub(super) verdicts: Vec<Verdict>,
}

impl Chain {
    /// A chain over `roster` for a request.
    pub(super) fn new(roster: &Roster, request: &Arc<EncodedRequest>) -> Self {
        Self {
            roster: roster.clone(),
            event: request.event(),
            request: Arc::clone(request),
            judging: Judging::new(roster, request),
            next: 0,
            calling: false,
            outcomes: Vec::with_capacity(roster.members().len()),
            errors: Vec::new(),
        }
    }

    /// Whether later plugins are not asked any more: the first error ends everything but
    /// notifications.
    fn is_over(&self) -> bool {
        !self.errors.is_empty() && !self.event.is_notification()
    }

    pub(super) fn next(&mut self, stage: &mut impl Stage) -> Step {
        if self.calling {
            return Step::Wait;
        }
        while let Some(member) = self.roster.members().get(self.next) {
            let skipped = if !member.events.contains(self.event) {
                Outcome::Unsubscribed
            } else if self.is_over() {
                Outcome::NotReached
            } else {
                self.calling = true;
                return Step::Call(Call {
                    plugin: member.plugin.clone(),
                    request: stage.request(),
                });
            };
            self.outcomes.push(PluginOutcome::not_called(
                &member.plugin,
                self.event,
                skipped,
            ));
            self.next += 1;
        }
        Step::Done
    }

    pub(super) fn answer(
        &mut self,
        plugin: &RegisteredPlugin,
        reply: Reply,
        stage: &mut impl Stage,
    ) {
        let Some(member) = self
            .roster
            .members()
            .get(self.next)
            .filter(|m| self.calling && m.plugin == *plugin)
        else {
            return;
        };
        let mut later = self.roster.members().iter().skip(self.next + 1);
        let more = later.any(|m| m.events.contains(self.event));
        let (judging, request) = (&mut self.judging, &self.request);
        let (outcome, was_delivered, error) = judge(
            member,
            self.event,
            || request.subject(),
            reply,
            |response| {
                let response = match judging {
                    Some(judging) => judging.judge(&plugin.id, response)?,
                    None => response,
                };
                stage.absorb(plugin, response, more)
            },
        );
        self.outcomes.push(PluginOutcome {
            plugin: plugin.clone(),
            event: self.event,
            outcome,
            was_delivered,
            took: None,
        });
        self.errors.extend(error);
        self.calling = false;
        self.next += 1;
    }

    /// What came of it.
    pub(super) fn finish(mut self) -> Called {
        if let Some(member) = self
            .roster
            .members()
            .get(self.next)
            .filter(|_| self.calling)
        {
            // Whether the request got out is not known here, so it counts as seen: an undo too many
            // does no harm.
            self.outcomes.push(PluginOutcome {
                plugin: member.plugin.clone(),
                event: self.event,
                outcome: Outcome::Abandoned,
                was_delivered: true,
                took: None,
            });
            self.next += 1;
        }
        for member in &self.roster.members()[self.next..] {
            self.outcomes.push(PluginOutcome::not_called(
                &member.plugin,
                self.event,
                Outcome::NotReached,
            ));
        }
        let result = match self.errors.len() {
            0 => Ok(()),
            1 => Err(self.errors.remove(0)),
            _ => Err(Error::Several(self.errors)),
        };
        let verdicts = self.judging.map(Judging::into_verdicts);
        Called {
            outcomes: self.outcomes,
            result,
            verdicts: verdicts.unwrap_or_default(),
        }
    }

    /// What every plugin did so far.
    pub(super) fn outcomes(&self) -> &[PluginOutcome] {
        &self.outcomes
    }

    /// Ends the chain with an error.
    pub(super) fn fail(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// Whether an error has ended the chain.
    pub(super) fn failed(&self) -> bool {
        !self.errors.is_empty()
    }
}

/// What a reply means for the plugin's record and for the request: outcome, whether the plugin saw
/// the request, and the error that the request fails with, if it does.
pub(super) fn judge(
    member: &Member,
    event: Event,
    subject: impl Fn() -> String,
    reply: Reply,
    absorb: impl FnOnce(Response) -> Result<(), Error>,
) -> (Outcome, bool, Option<Error>) {
    let plugin = &member.plugin.id;
    let fails =
        |policy: FailureAction, error: Error| (policy == FailureAction::Fail).then_some(error);
    let late = |after| Error::Late {
        plugin: plugin.clone(),
        event,
        subject: subject(),
        after,
    };
    match reply {
        Reply::Answer(response) if response.event() == event => {
            (Outcome::Answered, true, absorb(response).err())
        }
        Reply::Answer(response) => {
            let message = format!("the answer is one to {}", response.event());
            let error = Error::Plugin {
                plugin: plugin.clone(),
                event,
                subject: subject(),
                code: 0,
                message: message.clone(),
            };
            (
                Outcome::Failed { message },
                true,
                fails(member.policy.on_error, error),
            )
        }
        Reply::Error {
            code: UNIMPLEMENTED,
            ..
        } if member.may_not_know(event) => (Outcome::Unsubscribed, true, None),
        Reply::Error { code, message } => {
            let error = Error::Plugin {
                plugin: plugin.clone(),
                event,
                subject: subject(),
                code,
                message: message.clone(),
            };
            (
                Outcome::Failed { message },
                true,
                fails(member.policy.on_error, error),
            )
        }
        Reply::Late { after } => (
            Outcome::Late { after: Some(after) },
            true,
            fails(member.policy.on_late, late(after)),
        ),
        Reply::Busy => (
            Outcome::Late { after: None },
            false,
            fails(member.policy.on_late, late(std::time::Duration::ZERO)),
        ),
        Reply::Gone { delivered } => {
            let policy = match delivered {
                true if member.policy.on_lost == FailureAction::Fail => FailureAction::Fail,
                _ => member.policy.on_absent,
            };
            let error = Error::Gone {
                plugin: plugin.clone(),
                event,
                subject: subject(),
            };
            (Outcome::Gone, delivered, fails(policy, error))
        }
    }
}
