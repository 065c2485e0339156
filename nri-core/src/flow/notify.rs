//! Events to which plugins answer nothing that is merged: eleven of the fourteen.

use std::sync::Arc;

use super::chain::{Called, Chain, Stage};
use super::{Flow, Reply, Report, Roster, Step};
use crate::{EncodedRequest, Error, RegisteredPlugin, Request, Response};

/// The flow of an event whose answers hold nothing. All plugins get the same request.
#[derive(Debug)]
pub struct NotifyFlow {
    chain: Chain,
    telling: Telling,
}

#[derive(Debug)]
struct Telling(Arc<EncodedRequest>);

impl Stage for Telling {
    fn request(&mut self) -> Arc<EncodedRequest> {
        Arc::clone(&self.0)
    }

    fn absorb(&mut self, _: &RegisteredPlugin, _: Response, _: bool) -> Result<(), Error> {
        Ok(())
    }
}

impl NotifyFlow {
    /// The flow of `request` through the plugins of `roster`.
    pub fn new(roster: &Roster, request: Request) -> Self {
        Self::shared(roster, Arc::new(request.into()))
    }

    /// The same with a request that others hold as well.
    pub(crate) fn shared(roster: &Roster, request: Arc<EncodedRequest>) -> Self {
        let chain = Chain::new(roster, &request);
        Self {
            chain,
            telling: Telling(request),
        }
    }
}

impl Flow for NotifyFlow {
    type Output = ();

    fn next(&mut self) -> Step {
        self.chain.next(&mut self.telling)
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        self.chain.answer(plugin, reply, &mut self.telling);
    }

    fn observed(&self) -> Option<Arc<EncodedRequest>> {
        Some(Arc::clone(&self.telling.0))
    }

    fn finish(self) -> Report<()> {
        let Called {
            outcomes,
            result,
            verdicts,
        } = self.chain.finish();
        Report {
            result,
            outcomes,
            verdicts,
        }
    }
}
