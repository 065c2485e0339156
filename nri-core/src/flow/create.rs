//! Creating a container: plugins adjust it one after the other, then validators judge the whole,
//! all at once.

use std::sync::Arc;

use nri_proto::api;
use prost::Message as _;

use super::chain::{Called, Chain, Stage};
use super::growth::{Growth, ROOM};
use super::validating::{ValidateFlow, consulted};
use super::{Flow, Reply, Report, Roster, Step};
use crate::encoded::{ANNOTATIONS, KnownAnnotations};
use crate::merge::{Combined, CreateOutcome};
use crate::{EncodedRequest, Error, Event, RegisteredPlugin, Request, Response};

/// The flow of a creation. Each plugin sees the container as adjusted by those before it;
/// validators see the original, the combined adjustment and its owners.
#[derive(Debug)]
pub struct CreateFlow {
    roster: Roster,
    chain: Chain,
    // Both are large, and a flow is moved.
    adjusting: Box<Adjusting>,
    validating: Option<Box<(ValidateFlow, CreateOutcome)>>,
}

#[derive(Debug)]
struct Adjusting {
    /// As the runtime asked for it, and as validators see it.
    original: Arc<EncodedRequest>,
    /// As the next plugin sees it.
    current: Arc<EncodedRequest>,
    /// What that has.
    annotations: KnownAnnotations,
    combined: Combined,
    growth: Growth,
}

impl Stage for Adjusting {
    fn request(&mut self) -> Arc<EncodedRequest> {
        self.show();
        Arc::clone(&self.current)
    }

    fn absorb(
        &mut self,
        plugin: &RegisteredPlugin,
        response: Response,
        more: bool,
    ) -> Result<(), Error> {
        if let Response::CreateContainer(response) = response {
            let bytes = response.encoded_len();
            self.show();
            let looked_at = match &*Combined::looks_at(response.adjust.as_ref()) {
                [] => None,
                fields => self.current.part_of_container(fields),
            };
            self.combined.apply(plugin, response, looked_at.as_ref())?;
            let mut growth = std::mem::take(&mut self.growth);
            let grown = growth.absorbed(plugin, bytes, more, || self.request());
            self.growth = growth;
            return grown;
        }
        Ok(())
    }
}

impl Adjusting {
    /// Brings what the next plugin sees up to date: of the container only what was asked for is
    /// decoded, and encoded anew.
    fn show(&mut self) {
        let Self {
            current,
            annotations: known,
            combined,
            ..
        } = self;
        let unseen = combined.unseen();
        if unseen.is_empty() {
            return;
        }
        if let Some(annotations) = combined.unseen_annotations() {
            if let Some(shown) = current.with_annotations(annotations, known) {
                *current = Arc::new(shown);
            }
            return combined.show(|| None);
        }
        if unseen.contains(&ANNOTATIONS) {
            known.forget();
        }
        let shown = current.with_container(&unseen, |container| combined.show(|| Some(container)));
        match shown {
            Some(shown) => *current = Arc::new(shown),
            // Without a container nobody looks at it.
            None => combined.show(|| None),
        }
    }

    /// What the plugins asked for together, and for the validators the request as it was before.
    /// Nothing is left here then.
    fn finish(&mut self) -> (CreateOutcome, api::CreateContainerRequest) {
        let combined = std::mem::take(&mut self.combined);
        let original = match &**self.original {
            Request::CreateContainer(request) => request.clone(),
            _ => api::CreateContainerRequest::default(),
        };
        (combined.finish(), original)
    }
}

impl CreateFlow {
    /// The flow of `request` through the plugins of `roster`.
    pub fn new(roster: &Roster, mut request: api::CreateContainerRequest) -> Self {
        request.container.get_or_insert_default();
        Self::shared(roster, Arc::new(Request::CreateContainer(request).into()))
    }

    /// The same with a request, a creation of a container, that others hold as well.
    pub(crate) fn shared(roster: &Roster, current: Arc<EncodedRequest>) -> Self {
        let combined = Combined::new(&current.container_id(), roster.support());
        let chain = Chain::new(roster, &current);
        Self {
            roster: roster.clone(),
            chain,
            adjusting: Box::new(Adjusting {
                original: Arc::clone(&current),
                current,
                annotations: KnownAnnotations::default(),
                combined,
                growth: Growth::default(),
            }),
            validating: None,
        }
    }

    /// The validation phase of what the plugins asked for; `None` if nobody is to validate.
    fn validation(&mut self) -> Option<Box<(ValidateFlow, CreateOutcome)>> {
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
        Some(Box::new((validating, outcome?)))
    }
}

impl Flow for CreateFlow {
    type Output = CreateOutcome;

    fn next(&mut self) -> Step {
        if let Some(validating) = &mut self.validating {
            return validating.0.next();
        }
        match self.chain.next(&mut *self.adjusting) {
            Step::Done if !self.chain.failed() => {
                if self.roster.is_observed(Event::CreateContainer) {
                    self.adjusting.show();
                }
                self.validating = self.validation();
                let checked = self.validating.as_ref().map_or(Ok(()), |validating| {
                    self.adjusting.growth.check(validating.0.request())
                });
                if let Err(error) = checked {
                    self.validating = None;
                    self.chain.fail(error);
                    return Step::Done;
                }
                self.validating
                    .as_mut()
                    .map_or(Step::Done, |validating| validating.0.next())
            }
            step => step,
        }
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        match &mut self.validating {
            Some(validating) => validating.0.answer(plugin, reply),
            None => self.chain.answer(plugin, reply, &mut *self.adjusting),
        }
    }

    fn observed(&self) -> Option<Arc<EncodedRequest>> {
        let Adjusting {
            original, current, ..
        } = &*self.adjusting;
        // Nobody is refused anything for what no other plugin is asked with.
        let told = match current.len() > ROOM {
            true => original,
            false => current,
        };
        Some(Arc::clone(told))
    }

    fn finish(self) -> Report<CreateOutcome> {
        let Called {
            mut outcomes,
            result,
            verdicts,
        } = self.chain.finish();
        let result = match (result, self.validating) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(judged)) => {
                let (validating, asked) = *judged;
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
