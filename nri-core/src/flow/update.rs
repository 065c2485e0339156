//! Updating and stopping a container: plugins answer with updates (and evictions), which are merged.

use std::sync::Arc;

use nri_proto::api;

use super::chain::{Chain, Stage};
use super::validating::{ValidateFlow, updates_request};
use super::{Flow, Reply, Report, Roster, Step};
use crate::merge::{MergedUpdate, StopMerge, StopOutcome, UpdateMerge, UpdateOutcome};
use crate::{Error, RegisteredPlugin, Request, Response};

/// The flow of an update of a container's resources. Each plugin sees the resources as changed by those before it; if
/// anything is asked for, those validators that judge updates judge the whole.
#[derive(Debug)]
pub struct UpdateFlow {
    roster: Roster,
    chain: Chain,
    updating: Updating,
    judged: Option<Judged<UpdateOutcome>>,
}

/// What was asked for, and what becomes of it.
#[derive(Debug)]
struct Judged<T> {
    asked: T,
    /// `None` if nobody is to judge.
    validating: Option<ValidateFlow>,
}

impl<T> Judged<T> {
    fn next(&mut self) -> Step {
        self.validating.as_mut().map_or(Step::Done, Flow::next)
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        if let Some(validating) = &mut self.validating {
            validating.answer(plugin, reply);
        }
    }

    /// What comes of it in the end, with the chain's part.
    fn finish(self, chain: Chain) -> Report<T> {
        let (mut outcomes, chained) = chain.finish();
        let verdicts = self.validating.map(Flow::finish);
        let result = match verdicts {
            Some(verdicts) => {
                outcomes.extend(verdicts.outcomes);
                chained.and(verdicts.result)
            }
            None => chained,
        };
        Report {
            result: result.map(|()| self.asked),
            outcomes,
        }
    }
}

#[derive(Debug)]
struct Updating {
    /// As the next plugin sees it; changed in place unless a call still holds on to it.
    current: Arc<Request>,
    merge: UpdateMerge,
}

impl Stage for Updating {
    fn request(&mut self) -> Arc<Request> {
        Arc::clone(&self.current)
    }

    fn absorb(&mut self, plugin: &RegisteredPlugin, response: Response) -> Result<(), Error> {
        match response {
            Response::UpdateContainer(response) => {
                self.merge.apply(plugin, response)?;
                self.show();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Updating {
    /// Brings the request that the next plugin sees up to date.
    fn show(&mut self) {
        let view = self.merge.view();
        if let Request::UpdateContainer(current) = &*self.current
            && current.linux_resources.as_ref() != view
            && let Request::UpdateContainer(current) = Arc::make_mut(&mut self.current)
        {
            current.linux_resources = view.cloned();
        }
    }
}

impl UpdateFlow {
    /// The flow of `request` through the plugins of `roster`.
    pub fn new(roster: &Roster, request: api::UpdateContainerRequest) -> Self {
        Self::shared(roster, Arc::new(Request::UpdateContainer(request)))
    }

    /// The same with a request, an update, that others hold as well.
    pub(crate) fn shared(roster: &Roster, current: Arc<Request>) -> Self {
        let resources = match &*current {
            Request::UpdateContainer(request) => request.linux_resources.clone(),
            _ => None,
        };
        let id = current.container().map(|container| container.id.clone());
        let merge =
            UpdateMerge::new(id.unwrap_or_default(), resources).with_support(roster.support());
        let chain = Chain::new(roster, current.event(), current.subject());
        Self {
            roster: roster.clone(),
            chain,
            updating: Updating { current, merge },
            judged: None,
        }
    }

    /// Ends the asking, and begins the judging.
    fn judge(&mut self) -> &mut Judged<UpdateOutcome> {
        let asked = std::mem::take(&mut self.updating.merge).finish();
        let updates: Vec<&MergedUpdate> = asked.updates.iter().chain(&asked.requested).collect();
        let validating = match updates.is_empty() {
            true => None,
            false => ValidateFlow::of_updates(&self.roster, || {
                updates_request(
                    self.updating.current.pod().cloned(),
                    self.updating.current.container().cloned(),
                    &updates,
                    &asked.owners,
                    self.chain.outcomes(),
                )
            }),
        };
        self.judged.insert(Judged { asked, validating })
    }
}

impl Flow for UpdateFlow {
    type Output = UpdateOutcome;

    fn next(&mut self) -> Step {
        if let Some(judged) = &mut self.judged {
            return judged.next();
        }
        match self.chain.next(&mut self.updating) {
            Step::Done if !self.chain.failed() => self.judge().next(),
            step => step,
        }
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        match &mut self.judged {
            Some(judged) => judged.answer(plugin, reply),
            None => self.chain.answer(plugin, reply, &mut self.updating),
        }
    }

    fn finish(self) -> Report<UpdateOutcome> {
        let judged = self.judged.unwrap_or_else(|| Judged {
            asked: self.updating.merge.finish(),
            validating: None,
        });
        judged.finish(self.chain)
    }
}

/// The flow of a stopped container. All plugins hear of it, whatever an earlier one answered; but if one fails, none of the
/// updates that the others ask for is carried out, as for every request whose answers are merged. The same holds if a validator
/// that judges updates rejects them.
#[derive(Debug)]
pub struct StopFlow {
    roster: Roster,
    chain: Chain,
    stopping: Stopping,
    judged: Option<Judged<StopOutcome>>,
}

#[derive(Debug)]
struct Stopping {
    request: Arc<Request>,
    merge: StopMerge,
}

impl Stage for Stopping {
    fn request(&mut self) -> Arc<Request> {
        Arc::clone(&self.request)
    }

    fn absorb(&mut self, plugin: &RegisteredPlugin, response: Response) -> Result<(), Error> {
        match response {
            Response::StopContainer(response) => Ok(self.merge.apply(plugin, response)?),
            _ => Ok(()),
        }
    }
}

impl StopFlow {
    /// The flow of `request` through the plugins of `roster`.
    pub fn new(roster: &Roster, request: api::StopContainerRequest) -> Self {
        Self::shared(roster, Arc::new(Request::StopContainer(request)))
    }

    /// The same with a request, a stop, that others hold as well.
    pub(crate) fn shared(roster: &Roster, request: Arc<Request>) -> Self {
        let chain = Chain::new(roster, request.event(), request.subject());
        Self {
            roster: roster.clone(),
            chain,
            stopping: Stopping {
                request,
                merge: StopMerge::new().with_support(roster.support()),
            },
            judged: None,
        }
    }

    /// Ends the asking, and begins the judging.
    fn judge(&mut self) -> &mut Judged<StopOutcome> {
        let asked = std::mem::take(&mut self.stopping.merge).finish();
        let updates: Vec<&MergedUpdate> = asked.updates.iter().collect();
        let validating = match updates.is_empty() {
            true => None,
            false => ValidateFlow::of_updates(&self.roster, || {
                updates_request(
                    self.stopping.request.pod().cloned(),
                    self.stopping.request.container().cloned(),
                    &updates,
                    &asked.owners,
                    self.chain.outcomes(),
                )
            }),
        };
        self.judged.insert(Judged { asked, validating })
    }
}

impl Flow for StopFlow {
    type Output = StopOutcome;

    fn next(&mut self) -> Step {
        if let Some(judged) = &mut self.judged {
            return judged.next();
        }
        match self.chain.next(&mut self.stopping) {
            Step::Done if !self.chain.failed() => self.judge().next(),
            step => step,
        }
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        match &mut self.judged {
            Some(judged) => judged.answer(plugin, reply),
            None => self.chain.answer(plugin, reply, &mut self.stopping),
        }
    }

    fn finish(self) -> Report<StopOutcome> {
        let judged = self.judged.unwrap_or_else(|| Judged {
            asked: self.stopping.merge.finish(),
            validating: None,
        });
        judged.finish(self.chain)
    }
}
