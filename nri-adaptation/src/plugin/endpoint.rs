//! How a plugin is reached: over a connection, or in this process. Everything above treats all
//! plugins alike.
//!
//! What may not enter: turns, deadlines of requests, order, policy.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use nri_core::{Configuration, EventMask, Response, api};

use crate::plugin::end_reason::EndReason;
use crate::plugin::prepared::Prepared;
use crate::telemetry::metrics::ErrorClass;

/// Why a plugin did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It answered with an error, or the request or its answer was impossible.
    Status { code: i32, message: String },
    /// It is gone.
    Closed(String),
    /// The request could not be handed over in time.
    Late,
}

impl Failure {
    /// What it counts as.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Status { code, .. } => ErrorClass::of_code(*code),
            Self::Late => ErrorClass::DEADLINE_EXCEEDED,
            Self::Closed(_) => ErrorClass::CLOSED,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status { code, message } => write!(f, "{message} (code {code})"),
            Self::Closed(reason) => f.write_str(reason),
            Self::Late => f.write_str("it did not answer in time"),
        }
    }
}

/// Whether a request was handed to the transport whole, so that the plugin may know of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivery(Arc<AtomicBool>);

impl Delivery {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request under way. It owns what it needs, so whoever waits may leave it to a task.
pub(crate) struct Relaying {
    /// The answer, however late.
    pub(crate) answer: Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>,
    /// Whether the plugin may know of the request.
    pub(crate) delivered: Delivery,
}

/// Told when a plugin has answered a part of its synchronisation.
pub(crate) type Progress<'a> = &'a (dyn Fn() + Send + Sync);

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
    /// Begins to relay a request. The plugin is told that it has `time`; the returned future has no
    /// deadline of its own for the answer.
    fn relay(&self, request: Arc<Prepared>, time: Duration) -> Relaying;

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
        pods: Vec<api::PodSandbox>,
        containers: Vec<api::Container>,
        time: Duration,
        progress: Progress<'_>,
    ) -> Result<Vec<api::ContainerUpdate>, Failure>;

    /// Sends `Shutdown`. A plugin that does not know the call is one too.
    async fn shutdown(&self, time: Duration);

    /// Cuts the plugin off.
    fn close(&self);

    /// Resolves when the plugin is cut off or has gone, with the reason.
    async fn closed(&self) -> EndReason;
}
