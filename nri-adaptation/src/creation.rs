//! The creation of a container, from its request to the moment in which it is known whether the container exists.

use std::sync::Arc;

use nri_core::api::ContainerState;
use nri_core::flow::Report;
use nri_core::lifecycle::ObjectKey;
use nri_core::schedule::{RequestId, RequestOutcome};
use nri_core::{Creation, Ctx, Error, Event, Settlement};

use crate::instance::Instance;
use crate::subject::Subject;

/// A creation that succeeded and is not settled. Dropping it abandons it: plugins that saw it hear of the undoing.
struct Unsettled {
    instance: Arc<Instance>,
    container: ObjectKey,
    request: Option<RequestId>,
}

impl Unsettled {
    fn settle(&mut self, settlement: Settlement) {
        if let Some(request) = self.request.take() {
            self.instance
                .act(|state, now| state.settle(request, &self.container, settlement, now));
        }
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.settle(Settlement::Abandoned);
    }
}

impl Instance {
    pub(crate) async fn create_container(
        self: &Arc<Self>,
        cx: &Ctx,
        mut subject: Subject,
    ) -> Result<Creation, Error> {
        // It is about to be created, whatever the runtime's books say yet.
        if let Some(container) = &mut subject.container
            && container.state() == ContainerState::ContainerUnknown
        {
            container.set_state(ContainerState::ContainerCreated);
        }
        let keys = subject.keys.clone();
        let request = subject.into_request(Event::CreateContainer)?;
        let [waiting] = self.hand_in(cx, &keys, [request]);
        let (request, message) = (waiting.request(), Arc::clone(waiting.message()));
        let Report {
            result, outcomes, ..
        } = waiting.end().await?;
        let RequestOutcome::Create(asked) = result? else {
            // A creation's flow ends in nothing else.
            return Ok(Creation::untouched());
        };
        let mut unsettled = Unsettled {
            instance: Arc::clone(self),
            container: keys.object().clone(),
            request: Some(request),
        };
        self.asked(&message, &asked.owners, &asked.evictions);
        self.omitted(&asked.omissions);
        self.side_effects_in_time(cx, &keys, &message, &asked.evictions, &asked.updates)
            .await?;
        Ok(Creation::new(asked, outcomes, move |settlement| {
            unsettled.settle(settlement);
        }))
    }
}
