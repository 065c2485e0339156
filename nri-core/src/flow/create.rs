//! Creating a container: plugins adjust it one after the other, then validators judge the whole,
//! all at once.

use std::sync::Arc;

use nri_proto::api;
use prost::Message as _;

use super::chain::{Called, Chain, Stage};
use super::growth::Growth;
use super::validating::{ValidateFlow, consulted};
use super::{Flow, Reply, Report, Roster, Step};
use crate::merge::{Combined, CreateOutcome};
use crate::{Error, RegisteredPlugin, Request, Response};

/// The flow of a creation. Each plugin sees the container as adjusted by those before it;
/// validators see the original, the combined adjustment and its owners.
#[derive(Debug)]
pub struct CreateFlow {
    roster: Roster,
    chain: Chain,
    adjusting: Adjusting,
    validating: Option<(ValidateFlow, CreateOutcome)>,
}

#[derive(Debug)]
struct Adjusting {
    /// As the next plugin sees it. Changed in place, unless a call still holds on to it.
    current: Arc<Request>,
    combined: Combined,
    growth: Growth,
}

impl Stage for Adjusting {
    fn request(&mut self) -> Arc<Request> {
        let current = &mut self.current;
        self.combined.show(|| container(current));
        Arc::clone(current)
    }

    fn absorb(
        &mut self,
        plugin: &RegisteredPlugin,
        response: Response,
        more: bool,
    ) -> Result<(), Error> {
        if let Response::CreateContainer(response) = response {
            let bytes = response.encoded_len();
            self.combined.show(|| container(&mut self.current));
            self.combined
                .apply(plugin, response, self.current.container())?;
            let mut growth = std::mem::take(&mut self.growth);
            let grown = growth.absorbed(plugin, bytes, more, || self.request());
            self.growth = growth;
            return grown;
        }
        Ok(())
    }
}

/// The container in the request, to be changed. Without one, nobody looks at it.
fn container(request: &mut Arc<Request>) -> Option<&mut api::Container> {
    match Arc::make_mut(request) {
        Request::CreateContainer(request) => request.container.as_mut(),
        _ => None,
    }
}

impl Adjusting {
    /// What the plugins asked for together, and for the validators the request as it was before.
    /// Nothing is left here then.
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

impl CreateFlow {
    /// The flow of `request` through the plugins of `roster`.
    pub fn new(roster: &Roster, mut request: api::CreateContainerRequest) -> Self {
        request.container.get_or_insert_default();
        Self::shared(roster, Arc::new(Request::CreateContainer(request)))
    }

    /// The same with a request, a creation of a container, that others hold as well.
    pub(crate) fn shared(roster: &Roster, current: Arc<Request>) -> Self {
        let id = current.container().map_or("", |container| &container.id);
        let combined = Combined::new(id, roster.support());
        let chain = Chain::new(roster, &current);
        Self {
            roster: roster.clone(),
            chain,
            adjusting: Adjusting {
                current,
                combined,
                growth: Growth::default(),
            },
            validating: None,
        }
    }

    /// The validation phase of what the plugins asked for; `None` if nobody is to validate.
    fn validation(&mut self) -> Option<(ValidateFlow, CreateOutcome)> {
        let mut outcome = None;
        let validating = ValidateFlow::of_adjustment(&self.roster, || {
            let (asked, original) = self.adjusting.finish();
            let combined = asked.to_response();
            let request = api::ValidateContainerAdjustmentRequest {
                pod: original.pod,
                container: original.container,
                adjust: Some(combined.adjust.unwrap_or_default()),
                update: combined.update,
                owners: Some(asked.owners.to_message()),
                plugins: consulted(self.chain.outcomes()),
            };
            outcome = Some(asked);
            request
        })?;
        Some((validating, outcome?))
    }
}

impl Flow for CreateFlow {
    type Output = CreateOutcome;

    fn next(&mut self) -> Step {
        if let Some((validating, _)) = &mut self.validating {
            return validating.next();
        }
        match self.chain.next(&mut self.adjusting) {
            Step::Done if !self.chain.failed() => {
                self.validating = self.validation();
                let checked = self.validating.as_ref().map_or(Ok(()), |(validating, _)| {
                    self.adjusting.growth.check(validating.request())
                });
                if let Err(error) = checked {
                    self.validating = None;
                    self.chain.fail(error);
                    return Step::Done;
                }
                self.validating
                    .as_mut()
                    .map_or(Step::Done, |(validating, _)| validating.next())
            }
            step => step,
        }
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        match &mut self.validating {
            Some((validating, _)) => validating.answer(plugin, reply),
            None => self.chain.answer(plugin, reply, &mut self.adjusting),
        }
    }

    fn finish(self) -> Report<CreateOutcome> {
        let Called {
            mut outcomes,
            result,
            verdicts,
        } = self.chain.finish();
        let result = match (result, self.validating) {
            (Err(error), _) => Err(error),
            (Ok(()), Some((validating, asked))) => {
                let validated = validating.finish();
                outcomes.extend(validated.outcomes);
                validated.result.map(|()| asked)
            }
            (Ok(()), None) => Ok(self.adjusting.combined.finish()),
        };
        Report {
            result,
            outcomes,
            verdicts,
        }
    }
}
