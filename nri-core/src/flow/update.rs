//! Updating and stopping a container: plugins answer with updates (and evictions), which are merged
//! and, if there are any, judged by those validators that judge updates. Both take one path; what
//! differs is a [`Merging`].

use std::fmt;
use std::sync::Arc;

use nri_proto::api;
use prost::Message as _;

use super::chain::{Called, Chain, Stage};
use super::growth::Growth;
use super::validating::{ValidateFlow, updates_request};
use super::{Flow, Reply, Report, Roster, Step};
use crate::merge::{MergedUpdate, Owners, StopMerge, StopOutcome, UpdateMerge, UpdateOutcome};
use crate::{EncodedRequest, Error, RegisteredPlugin, Request, Response};

/// A stage whose answers ask for updates.
trait Merging: Stage {
    /// What the plugins ask for together.
    type Outcome: fmt::Debug;

    /// The request as it is now.
    fn current(&self) -> &Arc<EncodedRequest>;

    /// What the answers have added so far.
    fn growth(&self) -> &Growth;

    /// What was asked for so far. Nothing is left here then.
    fn take(&mut self) -> Self::Outcome;

    /// The updates to be judged, and who asked for what in them.
    fn updates(asked: &Self::Outcome) -> (Vec<&MergedUpdate>, &Owners);
}

/// First the plugins are asked, then what they ask for is judged.
#[derive(Debug)]
struct Asking<S: Merging> {
    roster: Roster,
    chain: Chain,
    stage: S,
    /// Once all were asked.
    judged: Option<Judged<S::Outcome>>,
}

/// What was asked for, and what becomes of it.
#[derive(Debug)]
struct Judged<T> {
    asked: T,
    /// `None` if nobody is to judge.
    validating: Option<ValidateFlow>,
}

impl<S: Merging> Asking<S> {
    fn new(roster: &Roster, stage: S) -> Self {
        Self {
            roster: roster.clone(),
            chain: Chain::new(roster, stage.current()),
            stage,
            judged: None,
        }
    }

    /// Ends the asking, and begins the judging.
    fn judge(&mut self) {
        let asked = self.stage.take();
        let (updates, owners) = S::updates(&asked);
        let validating = match updates.is_empty() {
            true => None,
            false => ValidateFlow::of_updates(&self.roster, || {
                let current = self.stage.current();
                updates_request(
                    current.pod().cloned(),
                    current.container().cloned(),
                    &updates,
                    owners,
                    self.chain.outcomes(),
                )
            }),
        };
        let too_large = validating
            .as_ref()
            .and_then(|validating| self.stage.growth().check(validating.request()).err());
        let validating = validating.filter(|_| too_large.is_none());
        if let Some(error) = too_large {
            self.chain.fail(error);
        }
        self.judged = Some(Judged { asked, validating });
    }

    fn next(&mut self) -> Step {
        if self.judged.is_none() {
            match self.chain.next(&mut self.stage) {
                Step::Done if !self.chain.failed() => self.judge(),
                step => return step,
            }
        }
        let validating = self
            .judged
            .as_mut()
            .and_then(|judged| judged.validating.as_mut());
        validating.map_or(Step::Done, Flow::next)
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        match &mut self.judged {
            None => self.chain.answer(plugin, reply, &mut self.stage),
            Some(Judged { validating, .. }) => {
                if let Some(validating) = validating {
                    validating.answer(plugin, reply);
                }
            }
        }
    }

    fn finish(mut self) -> Report<S::Outcome> {
        let Called {
            mut outcomes,
            mut result,
            verdicts,
        } = self.chain.finish();
        let Judged { asked, validating } = self.judged.unwrap_or_else(|| Judged {
            asked: self.stage.take(),
            validating: None,
        });
        if let Some(validated) = validating.map(Flow::finish) {
            outcomes.extend(validated.outcomes);
            result = result.and(validated.result);
        }
        Report {
            result: result.map(|()| asked),
            outcomes,
            verdicts,
        }
    }
}

/// The flow of an update of a container's resources. Each plugin sees the resources as changed by
/// those before it; if anything is asked for, those validators that judge updates judge the whole.
#[derive(Debug)]
pub struct UpdateFlow(Asking<Updating>);

#[derive(Debug)]
struct Updating {
    /// As the next plugin sees it.
    current: Arc<EncodedRequest>,
    merge: UpdateMerge,
    growth: Growth,
}

impl Stage for Updating {
    fn request(&mut self) -> Arc<EncodedRequest> {
        Arc::clone(&self.current)
    }

    fn absorb(
        &mut self,
        plugin: &RegisteredPlugin,
        response: Response,
        more: bool,
    ) -> Result<(), Error> {
        match response {
            Response::UpdateContainer(response) => {
                let bytes = response.encoded_len();
                self.merge.apply(plugin, response)?;
                self.show();
                let current = &self.current;
                self.growth
                    .absorbed(plugin, bytes, more, || Arc::clone(current))
            }
            _ => Ok(()),
        }
    }
}

impl Updating {
    /// Brings the request that the next plugin sees up to date.
    fn show(&mut self) {
        let view = self.merge.view();
        let changed = match &**self.current {
            Request::UpdateContainer(current) => current.linux_resources.as_ref() != view,
            _ => false,
        };
        if changed {
            self.current = Arc::new(self.current.with_resources(view));
        }
    }
}

impl Merging for Updating {
    type Outcome = UpdateOutcome;

    fn current(&self) -> &Arc<EncodedRequest> {
        &self.current
    }

    fn growth(&self) -> &Growth {
        &self.growth
    }

    fn take(&mut self) -> UpdateOutcome {
        std::mem::take(&mut self.merge).finish()
    }

    fn updates(asked: &UpdateOutcome) -> (Vec<&MergedUpdate>, &Owners) {
        let updates = asked.updates.iter().chain(&asked.requested);
        (updates.collect(), &asked.owners)
    }
}

impl UpdateFlow {
    /// The flow of `request` through the plugins of `roster`.
    pub fn new(roster: &Roster, request: api::UpdateContainerRequest) -> Self {
        Self::shared(roster, Arc::new(Request::UpdateContainer(request).into()))
    }

    /// The same with a request, an update, that others hold as well.
    pub(crate) fn shared(roster: &Roster, current: Arc<EncodedRequest>) -> Self {
        let resources = match &**current {
            Request::UpdateContainer(request) => request.linux_resources.clone(),
            _ => None,
        };
        let id = current.container_id();
        let merge = UpdateMerge::new(id, resources).with_support(roster.support());
        let growth = Growth::default();
        let stage = Updating {
            current,
            merge,
            growth,
        };
        Self(Asking::new(roster, stage))
    }
}

impl Flow for UpdateFlow {
    type Output = UpdateOutcome;

    fn next(&mut self) -> Step {
        self.0.next()
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        self.0.answer(plugin, reply);
    }

    fn observed(&self) -> Option<Arc<EncodedRequest>> {
        Some(Arc::clone(self.0.stage.current()))
    }

    fn finish(self) -> Report<UpdateOutcome> {
        self.0.finish()
    }
}

/// The flow of a stopped container. All plugins hear of it, whatever an earlier one answered; but
/// if one fails, none of the updates that the others ask for is carried out, as for every request
/// whose answers are merged. The same holds if a validator that judges updates rejects them.
#[derive(Debug)]
pub struct StopFlow(Asking<Stopping>);

#[derive(Debug)]
struct Stopping {
    request: Arc<EncodedRequest>,
    merge: StopMerge,
    growth: Growth,
}

impl Stage for Stopping {
    fn request(&mut self) -> Arc<EncodedRequest> {
        Arc::clone(&self.request)
    }

    fn absorb(
        &mut self,
        plugin: &RegisteredPlugin,
        response: Response,
        more: bool,
    ) -> Result<(), Error> {
        match response {
            Response::StopContainer(response) => {
                let bytes = response.encoded_len();
                self.merge.apply(plugin, response)?;
                let request = &self.request;
                self.growth
                    .absorbed(plugin, bytes, more, || Arc::clone(request))
            }
            _ => Ok(()),
        }
    }
}

impl Merging for Stopping {
    type Outcome = StopOutcome;

    fn current(&self) -> &Arc<EncodedRequest> {
        &self.request
    }

    fn growth(&self) -> &Growth {
        &self.growth
    }

    fn take(&mut self) -> StopOutcome {
        std::mem::take(&mut self.merge).finish()
    }

    fn updates(asked: &StopOutcome) -> (Vec<&MergedUpdate>, &Owners) {
        (asked.updates.iter().collect(), &asked.owners)
    }
}

impl StopFlow {
    /// The flow of `request` through the plugins of `roster`.
    pub fn new(roster: &Roster, request: api::StopContainerRequest) -> Self {
        Self::shared(roster, Arc::new(Request::StopContainer(request).into()))
    }

    /// The same with a request, a stop, that others hold as well.
    pub(crate) fn shared(roster: &Roster, request: Arc<EncodedRequest>) -> Self {
        let merge = StopMerge::new().with_support(roster.support());
        let growth = Growth::default();
        let stage = Stopping {
            request,
            merge,
            growth,
        };
        Self(Asking::new(roster, stage))
    }
}

impl Flow for StopFlow {
    type Output = StopOutcome;

    fn next(&mut self) -> Step {
        self.0.next()
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        self.0.answer(plugin, reply);
    }

    fn observed(&self) -> Option<Arc<EncodedRequest>> {
        Some(Arc::clone(self.0.stage.current()))
    }

    fn finish(self) -> Report<StopOutcome> {
        self.0.finish()
    }
}
