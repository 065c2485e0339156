//! How a plugin is reached: over a connection, or in this process. Everything above treats all
//! plugins alike.
//!
//! What may not enter: turns, deadlines of requests, order, policy.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nri_core::{Configuration, EncodedRequest, EventMask, Response, api};
use nri_proto::transport::Started;
use tokio::sync::oneshot;

use crate::lock::Lock;
use crate::plugin::end_reason::EndReason;
use crate::plugin::failure::Failure;
use crate::plugin::inventory::{Inventory, Progress};

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Result<Response, Failure>,
    /// Whether the request was handed to the transport whole, so that the plugin may know of it.
    pub(crate) delivered: bool,
}

/// Whoever is told what came of a request: once, with no lock held, and perhaps by what reads the
/// plugin's connection, so nobody may wait there.
pub(crate) trait Caller: Send + Sync + 'static {
    fn answered(&self, answered: Answered);
}

/// A request that is under way. Dropping it gives up what has not come yet.
#[derive(Debug)]
pub(crate) struct UnderWay {
    _asked: Started,
    /// What was asked again in another form, if that may be.
    again: Option<Again>,
}

/// Where a request is kept that was asked again.
pub(crate) type Again = Arc<Lock<Option<Started>>>;

impl UnderWay {
    pub(crate) fn new(asked: Started, again: Option<Again>) -> Self {
        Self {
            _asked: asked,
            again,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // Whoever waits for its answer holds on to it as well.
        let again = self.again.take().and_then(|again| again.lock().take());
        drop(again);
    }
}

/// How far a request is that is to be relayed.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is returned, and a box would be an allocation per call"
)]
pub(crate) enum Relaying {
    /// The caller is told what comes of it, as long as this is kept.
    Begun(UnderWay),
    /// It has to be waited for, by a task: then it is as far as that says.
    Waits(Pin<Box<dyn Future<Output = Relaying> + Send>>),
    /// That is what came of it; the caller is not told.
    Over(Answered),
}

/// Relays a request, and waits for what comes of it.
pub(crate) async fn ask(
    endpoint: &dyn Endpoint,
    request: Arc<EncodedRequest>,
    time: Duration,
) -> Result<Response, Failure> {
    let (sender, receiver) = oneshot::channel();
    let waits = Arc::new(Lock::new(Some(sender)));
    let mut relaying = endpoint.relay(request, time, waits);
    loop {
        match relaying {
            Relaying::Waits(more) => relaying = more.await,
            Relaying::Over(answered) => return answered.answer,
            Relaying::Begun(_under_way) => {
                let closed = |_| Err(Failure::Closed("given up".to_owned()));
                return receiver.await.unwrap_or_else(closed);
            }
        }
    }
}

impl Caller for Lock<Option<oneshot::Sender<Result<Response, Failure>>>> {
    fn answered(&self, answered: Answered) {
        if let Some(sender) = self.lock().take() {
            // Whoever waited may have gone.
            let _ = sender.send(answered.answer);
        }
    }
}

/// What a plugin gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) events: EventMask,
    /// It named no event, which means all.
    pub(crate) implicit: bool,
    /// What is to happen when it does not answer, if it said so.
    pub(crate) wish: Option<api::FailurePolicy>,
}

/// One plugin, as the rest of the instance sees it.
#[async_trait]
pub(crate) trait Endpoint: Send + Sync + 'static {
    /// Begins to relay a request. The plugin is told that it has `time`; the answer has no deadline
    /// of its own.
    fn relay(
        &self,
        request: Arc<EncodedRequest>,
        time: Duration,
        caller: Arc<dyn Caller>,
    ) -> Relaying;

    /// Takes note that the plugin is about to be let in, so that it may say as much as plugins may.
    fn admitted(&self) {}

    /// Hands over the configuration and returns what the plugin wants to get.
    async fn configure(
        &self,
        configuration: Configuration,
        time: Duration,
    ) -> Result<Subscription, Failure>;

    /// Shows what exists and returns what the plugin wants updated. It may take `time` for each
    /// message; `progress` is called when one of several is answered.
    async fn synchronize(
        &self,
        inventory: &mut dyn Inventory,
        time: Duration,
        progress: Progress<'_>,
    ) -> Result<Vec<api::ContainerUpdate>, Failure>;

    /// Sends `Shutdown`. A plugin that does not know the call is one too.
    async fn shutdown(&self, time: Duration);

    /// Cuts the plugin off.
    fn close(&self);

    /// Resolves when the plugin is cut off or disconnected, with the reason.
    async fn closed(&self) -> EndReason;
}
