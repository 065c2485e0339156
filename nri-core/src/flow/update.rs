//! Updating and stopping a container: plugins answer with updates (and evictions), which are merged.

use std::sync::Arc;

use nri_proto::api;

use super::chain::{Chain, Stage};
use super::{Flow, Reply, Report, Roster, Step};
use crate::merge::{StopMerge, StopOutcome, UpdateMerge, UpdateOutcome};
use crate::{Error, RegisteredPlugin, Request, Response};

/// The flow of an update of a container's resources. Each plugin sees the resources as changed by those before it.
#[derive(Debug)]
pub struct UpdateFlow {
    chain: Chain,
    updating: Updating,
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
        let id = request
            .container
            .as_ref()
            .map(|container| container.id.clone())
            .unwrap_or_default();
        let merge =
            UpdateMerge::new(id, request.linux_resources.clone()).with_support(roster.support());
        let current = Arc::new(Request::UpdateContainer(request));
        let chain = Chain::new(roster, current.event(), current.subject());
        Self {
            chain,
            updating: Updating { current, merge },
        }
    }
}

impl Flow for UpdateFlow {
    type Output = UpdateOutcome;

    fn next(&mut self) -> Step {
        self.chain.next(&mut self.updating)
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        self.chain.answer(plugin, reply, &mut self.updating);
    }

    fn finish(self) -> Report<UpdateOutcome> {
        let (outcomes, result) = self.chain.finish();
        Report {
            result: result.map(|()| self.updating.merge.finish()),
            outcomes,
        }
    }
}

/// The flow of a stopped container. All plugins hear of it, whatever an earlier one answered; but if one fails, none of the
/// updates that the others ask for is carried out, as for every request whose answers are merged.
#[derive(Debug)]
pub struct StopFlow {
    chain: Chain,
    stopping: Stopping,
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
        let request = Request::StopContainer(request);
        let chain = Chain::new(roster, request.event(), request.subject());
        Self {
            chain,
            stopping: Stopping {
                request: Arc::new(request),
                merge: StopMerge::new().with_support(roster.support()),
            },
        }
    }
}

impl Flow for StopFlow {
    type Output = StopOutcome;

    fn next(&mut self) -> Step {
        self.chain.next(&mut self.stopping)
    }

    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply) {
        self.chain.answer(plugin, reply, &mut self.stopping);
    }

    fn finish(self) -> Report<StopOutcome> {
        let (outcomes, result) = self.chain.finish();
        Report {
            result: result.map(|()| self.stopping.merge.finish()),
            outcomes,
        }
    }
}
