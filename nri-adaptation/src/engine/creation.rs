//! The creation of a container, from its request to the moment in which it is known whether the
//! container exists.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nri_core::flow::Report;
use nri_core::lifecycle::ObjectKey;
use nri_core::schedule::{RequestId, RequestOutcome};
use nri_core::{Creation, Ctx, Error, Event, Settlement};

use crate::engine::driver::Engine;
use crate::engine::side_effects::CarriedOut;
use crate::engine::target::RequestTarget;

/// A creation that succeeded and is not settled. Dropping it abandons it: plugins that saw it hear
/// of the undoing.
struct Unsettled {
    engine: Arc<Engine>,
    container: ObjectKey,
    request: Option<RequestId>,
}

impl Unsettled {
    fn new(engine: &Arc<Engine>, container: ObjectKey, request: RequestId) -> Self {
        engine.unsettled.fetch_add(1, Ordering::AcqRel);
        Self {
            engine: Arc::clone(engine),
            container,
            request: Some(request),
        }
    }

    fn settle(&mut self, settlement: Settlement) {
        if let Some(request) = self.request.take() {
            self.engine.unsettled.fetch_sub(1, Ordering::AcqRel);
            self.engine
                .update(|state, now| state.settle(request, &self.container, settlement, now));
        }
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.settle(Settlement::Abandoned);
    }
}

impl Engine {
    pub(crate) async fn create_container(
        self: &Arc<Self>,
        cx: &Ctx,
        target: RequestTarget,
        carried_out: CarriedOut,
    ) -> Result<Creation, Error> {
        let request = target.request(Event::CreateContainer)?;
        let keys = target.keys;
        let [pending] = self.submit(cx, &keys, [request]);
        let (request, message) = (pending.request(), Arc::clone(pending.message()));
        let Report {
            result, outcomes, ..
        } = pending.end().await?;
        let RequestOutcome::Create(asked) = result? else {
            // A creation's flow ends in nothing else.
            return Ok(Creation::untouched());
        };
        let mut unsettled = Unsettled::new(self, keys.object().clone(), request);
        let reporter = &self.shared.reporter;
        reporter.record_requested_changes(&message, &asked.owners, &asked.evictions);
        reporter.omitted(&asked.omissions);
        if carried_out == CarriedOut::ByDomain {
            self.side_effects
                .apply_in_time(cx, &keys, &message, &asked.evictions, &asked.updates)
                .await?;
        }
        Ok(Creation::new(asked, outcomes, move |settlement| {
            unsettled.settle(settlement);
        }))
    }
}
