//! The creation of a container, from its request to the moment in which it is known whether the
//! container exists.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nri_core::flow::{PluginOutcome, Report};
use nri_core::lifecycle::ObjectKey;
use nri_core::merge::{CreateOutcome, Eviction, Omission, Owners};
use nri_core::schedule::{RequestId, RequestOutcome};
use nri_core::{Creation, Ctx, EncodedRequest, Error, Event, Relayed, Settlement};

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

/// What a creation that succeeded came to.
struct Made {
    asked: Box<CreateOutcome>,
    outcomes: Vec<PluginOutcome>,
    unsettled: Unsettled,
    message: Arc<EncodedRequest>,
}

/// What is left to be done of a creation when its answer is there: to record it, and to commit it.
/// That happens when this is dropped.
struct LeftToDo {
    owners: Owners,
    evictions: Vec<Eviction>,
    omissions: Vec<Omission>,
    unsettled: Unsettled,
    message: Arc<EncodedRequest>,
}

impl Drop for LeftToDo {
    fn drop(&mut self) {
        let engine = Arc::clone(&self.unsettled.engine);
        let (message, omissions) = (&self.message, &self.omissions);
        engine.record_creation(message, &self.owners, &self.evictions, omissions);
        self.unsettled.settle(Settlement::Committed);
    }
}

impl Engine {
    pub(crate) async fn create_container(
        self: &Arc<Self>,
        cx: &Ctx,
        target: RequestTarget,
        carried_out: CarriedOut,
    ) -> Result<Creation, Error> {
        let keys = target.keys.clone();
        let Some(made) = self.make(cx, target).await? else {
            return Ok(Creation::untouched());
        };
        let Made {
            asked,
            outcomes,
            mut unsettled,
            message,
        } = made;
        self.record_creation(&message, &asked.owners, &asked.evictions, &asked.omissions);
        if carried_out == CarriedOut::ByDomain {
            self.side_effects
                .apply_in_time(cx, &keys, &message, &asked.evictions, &asked.updates)
                .await?;
        }
        Ok(Creation::new(asked, outcomes, move |settlement| {
            unsettled.settle(settlement);
        }))
    }

    /// Relays a creation. It is recorded and committed once whoever relays it has the answer: the
    /// runtime above waits for that, and for neither.
    pub(crate) async fn relay_creation(
        self: &Arc<Self>,
        cx: &Ctx,
        target: RequestTarget,
    ) -> Result<Relayed, Error> {
        let Some(made) = self.make(cx, target).await? else {
            return Ok(Relayed::untouched(Event::CreateContainer));
        };
        let Made {
            asked,
            outcomes,
            unsettled,
            message,
        } = made;
        let left = LeftToDo {
            owners: asked.owners.clone(),
            evictions: asked.evictions.clone(),
            omissions: asked.omissions.clone(),
            unsettled,
            message,
        };
        self.shared.tasks.spawn(async move { drop(left) });
        let creation = Creation::new(asked, outcomes, |_| {});
        Ok(Relayed::committed(creation))
    }

    /// Has plugins adjust a container; `None` if it came to nothing that could be told.
    async fn make(
        self: &Arc<Self>,
        cx: &Ctx,
        target: RequestTarget,
    ) -> Result<Option<Made>, Error> {
        let request = target.request(Event::CreateContainer)?;
        let keys = target.keys;
        let [pending] = self.submit(cx, &keys, [request]);
        let (request, message) = (pending.request(), Arc::clone(pending.message()));
        let Report {
            result, outcomes, ..
        } = pending.end().await?;
        let RequestOutcome::Create(asked) = result? else {
            // A creation's flow ends in nothing else.
            return Ok(None);
        };
        Ok(Some(Made {
            asked,
            outcomes,
            unsettled: Unsettled::new(self, keys.object().clone(), request),
            message,
        }))
    }

    fn record_creation(
        &self,
        message: &EncodedRequest,
        owners: &Owners,
        evictions: &[Eviction],
        omissions: &[Omission],
    ) {
        let reporter = &self.shared.reporter;
        reporter.record_requested_changes(message, owners, evictions);
        reporter.omitted(omissions);
    }
}
