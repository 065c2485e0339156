//! A plugin that is part of the runtime's program. What it does wrong ends where a remote one's
//! ends: in a failure.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nri_core::flow::EncodedObject;
use nri_core::{
    Configuration, EncodedRequest, HandlerError, Plugin, PluginCtx, RuntimeHandle, RuntimeInfo,
    SyncPart, api, dispatch,
};
use nri_proto::Wire as _;
use nri_proto::transport::Code;
use tokio::sync::watch;

use crate::plugin::end_reason::EndReason;
use crate::plugin::endpoint::{Answered, Caller, Endpoint, Relaying, Subscription};
use crate::plugin::failure::Failure;
use crate::plugin::inventory::{Inventory, Progress, read_on};

/// How many pods and containers a part of what exists has, for plugins that take parts: about as
/// many as fit into a message.
const PART: usize = 500;

/// A plugin in this process.
pub(crate) struct BuiltIn {
    plugin: Arc<dyn Plugin>,
    context: PluginCtx,
    closed: watch::Sender<bool>,
}

impl BuiltIn {
    /// `runtime` is where it can ask for unsolicited updates.
    pub(crate) fn new(
        plugin: Arc<dyn Plugin>,
        info: Arc<RuntimeInfo>,
        runtime: Arc<dyn RuntimeHandle>,
    ) -> Self {
        let context = PluginCtx::new(info, runtime);
        Self {
            plugin,
            context,
            closed: watch::Sender::new(false),
        }
    }

    fn context(&self, time: Duration) -> PluginCtx {
        self.context
            .clone()
            .with_deadline(Instant::now().checked_add(time))
    }

    /// Shows the plugin what exists part by part, each of which has its own time.
    async fn synchronize_parts(
        &self,
        mut left: Left<'_>,
        time: Duration,
        progress: Progress<'_>,
    ) -> Result<Vec<api::ContainerUpdate>, Failure> {
        let (mut updates, mut first) = (Vec::new(), true);
        loop {
            let next = left.next(time, progress).await?;
            let mut part = SyncPart::new(next.pods, next.containers);
            part.first = std::mem::take(&mut first);
            part.last = !next.more;
            let last = part.last;
            progress();
            let context = self.context(time);
            let handler = self.plugin.synchronize_part(&context, part);
            updates.extend(self.bounded(time, handler).await?);
            if last {
                return Ok(updates);
            }
            progress();
        }
    }

    /// Runs a handler within `time`, and catches its panic.
    async fn bounded<T>(
        &self,
        time: Duration,
        handler: impl Future<Output = Result<T, HandlerError>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(time, caught(handler)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Late),
        }
    }
}

/// What is still to be shown.
struct Left<'a> {
    inventory: &'a mut dyn Inventory,
    /// What is read already.
    ahead: Vec<EncodedObject>,
}

impl Left<'_> {
    /// The next part, and whether there will be more.
    async fn next(
        &mut self,
        time: Duration,
        progress: Progress<'_>,
    ) -> Result<api::SynchronizeRequest, Failure> {
        let mut part = api::SynchronizeRequest::default();
        loop {
            let read = std::mem::take(&mut self.ahead);
            let bytes: Vec<u8> = read
                .iter()
                .flat_map(EncodedObject::bytes)
                .copied()
                .collect();
            let read =
                api::SynchronizeRequest::from_wire(&bytes).map_err(|error| Failure::Status {
                    code: Code::Internal.value(),
                    message: format!("what exists cannot be decoded: {error}"),
                })?;
            part.pods.extend(read.pods);
            part.containers.extend(read.containers);
            self.ahead = read_on(self.inventory, time, progress).await?;
            part.more = !self.ahead.is_empty();
            if !part.more || part.pods.len() + part.containers.len() >= PART {
                return Ok(part);
            }
        }
    }
}

/// Runs a handler to its end or to its panic.
async fn caught<T>(handler: impl Future<Output = Result<T, HandlerError>>) -> Result<T, Failure> {
    let mut handler = pin!(handler);
    let result = std::future::poll_fn(|cx| {
        // After a panic the handler is not touched again, so nothing sees what it left half done.
        match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(text_of(&*panic))),
        }
    })
    .await;
    let (code, message) = match result {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) if error.is_unimplemented() => (Code::Unimplemented, error.to_string()),
        Ok(Err(error)) => (Code::Unknown, error.to_string()),
        Err(panic) => (Code::Internal, format!("its handler panicked: {panic}")),
    };
    Err(Failure::Status {
        code: code.value(),
        message,
    })
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a text").to_owned()
}

#[async_trait]
impl Endpoint for BuiltIn {
    /// A handler may block, so it is never run by whoever asks.
    fn relay(
        &self,
        request: Arc<EncodedRequest>,
        time: Duration,
        _caller: Arc<dyn Caller>,
    ) -> Relaying {
        let (plugin, context) = (Arc::clone(&self.plugin), self.context(time));
        let mut closed = self.closed.subscribe();
        Relaying::Waits(Box::pin(async move {
            let request = (**request).clone();
            let handler = async { dispatch(&*plugin, &context, request).await };
            let answer = tokio::select! {
                biased;
                answer = caught(handler) => answer,
                // A handler that never ends must not outlive the plugin.
                _ = closed.wait_for(|closed| *closed) => Err(Failure::Closed(EndReason::Closed.to_string())),
            };
            Relaying::Over(Answered {
                answer,
                delivered: true,
            })
        }))
    }

    async fn configure(
        &self,
        configuration: Configuration,
        time: Duration,
    ) -> Result<Subscription, Failure> {
        let context = self.context(time);
        let chosen = self
            .bounded(time, self.plugin.configure(&context, configuration))
            .await?;
        let events = chosen.unwrap_or_else(|| self.plugin.events());
        Ok(Subscription {
            events,
            implicit: false,
            wish: self.plugin.failure_policy(),
        })
    }

    async fn synchronize(
        &self,
        inventory: &mut dyn Inventory,
        time: Duration,
        progress: Progress<'_>,
    ) -> Result<Vec<api::ContainerUpdate>, Failure> {
        let mut left = Left {
            inventory,
            ahead: Vec::new(),
        };
        if self.plugin.takes_parts() {
            return self.synchronize_parts(left, time, progress).await;
        }
        let mut all = left.next(time, progress).await?;
        while all.more {
            let next = left.next(time, progress).await?;
            all.pods.extend(next.pods);
            all.containers.extend(next.containers);
            all.more = next.more;
        }
        progress();
        let (
            context,
            api::SynchronizeRequest {
                pods, containers, ..
            },
        ) = (self.context(time), all);
        self.bounded(time, self.plugin.synchronize(&context, pods, containers))
            .await
    }

    async fn shutdown(&self, time: Duration) {
        let context = self.context(time);
        let handler = async {
            self.plugin.shutdown(&context).await;
            Ok(())
        };
        // There is nothing left to be done about a failure.
        let _ = self.bounded(time, handler).await;
    }

    fn close(&self) {
        self.closed.send_replace(true);
    }

    async fn closed(&self) -> EndReason {
        let mut closed = self.closed.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        let _ = closed.wait_for(|closed| *closed).await;
        EndReason::Closed
    }
}
