//! The way back to the runtime: updates outside of any request.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use nri_core::{RuntimeHandle, UpdateFailure, api};
use nri_proto::transport::{CallError, CallOptions, RuntimeClient};

tokio::task_local! {
    /// Set while a handler runs.
    static HANDLING: ();
}

/// Runs a handler; what it awaits itself is known to be inside it.
pub(crate) async fn handling<F: Future>(handler: F) -> F::Output {
    HANDLING.scope((), handler).await
}

/// The same of what a handler does before it awaits anything.
pub(crate) fn handling_now<T>(begin: impl FnOnce() -> T) -> T {
    HANDLING.sync_scope((), begin)
}

/// Asks the runtime to update containers; cheap to clone, and good for as long as the
/// [`Runner`](crate::Runner) runs: it uses whichever connection there is.
///
/// This is what [`PluginCtx::runtime`](nri_core::PluginCtx::runtime) gives to handlers. A call
/// takes up to [`Builder::update_timeout`](crate::Builder::update_timeout), or what
/// [`with_timeout`](Self::with_timeout) says. Its future may be dropped; the runtime may do what
/// was asked for nevertheless.
///
/// ```no_run
/// use std::time::Duration;
/// use nri_plugin::{RuntimeHandle as _, RuntimeLink, UpdateFailure, api};
///
/// async fn double_the_shares(link: &RuntimeLink, container: &str) -> Result<(), UpdateFailure> {
///     let cpu = api::LinuxCpu { shares: Some(api::OptionalUInt64 { value: 2048 }), ..Default::default() };
///     let resources = api::LinuxResources { cpu: Some(cpu), ..Default::default() };
///     let update = api::ContainerUpdate {
///         container_id: container.into(),
///         linux: Some(api::LinuxContainerUpdate { resources: Some(resources) }),
///         ..Default::default()
///     };
///     let failed = link.with_timeout(Duration::from_secs(3)).update_containers(vec![update], vec![]).await?;
///     for update in failed {
///         eprintln!("container {} was not updated", update.container_id);
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct RuntimeLink {
    current: Arc<Mutex<Option<RuntimeClient>>>,
    timeout: Duration,
}

impl RuntimeLink {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            current: Arc::default(),
            timeout,
        }
    }

    /// The same link with another timeout per call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            current: Arc::clone(&self.current),
            timeout,
        }
    }

    /// Whether there is a connection on which the plugin is registered.
    pub fn is_connected(&self) -> bool {
        self.client().is_some()
    }

    fn client(&self) -> Option<RuntimeClient> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// From now on this connection is used.
    pub(crate) fn set(&self, client: Option<RuntimeClient>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }
}

impl fmt::Debug for RuntimeLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeLink")
            .field("connected", &self.is_connected())
            .field("timeout", &self.timeout)
            .finish()
    }
}

#[async_trait]
impl RuntimeHandle for RuntimeLink {
    async fn update_containers(
        &self,
        updates: Vec<api::ContainerUpdate>,
        evictions: Vec<api::ContainerEviction>,
    ) -> Result<Vec<api::ContainerUpdate>, UpdateFailure> {
        if HANDLING.try_with(|()| ()).is_ok() {
            tracing::warn!(
                "update_containers is awaited inside a handler: with a runtime that handles one request at a time that is a \
                 deadlock until the handler's time is over; return the updates, or spawn a task"
            );
        }
        let client = self
            .client()
            .ok_or_else(|| UpdateFailure::Disconnected("the plugin is not registered".into()))?;
        let request = api::UpdateContainersRequest {
            update: updates,
            evict: evictions,
        };
        let options = CallOptions::timeout(self.timeout);
        match client.update_containers(&request, options).await {
            Ok(response) => Ok(response.failed),
            Err(CallError::DeadlineExceeded { after }) => Err(UpdateFailure::TimedOut { after }),
            Err(CallError::Closed(reason)) => Err(UpdateFailure::Disconnected(reason.to_string())),
            Err(CallError::Status(status)) => Err(UpdateFailure::Refused(status.to_string())),
            Err(other) => Err(UpdateFailure::Refused(other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captured::captured;

    #[tokio::test]
    async fn waiting_for_it_inside_a_handler_is_warned_about() {
        let link = RuntimeLink::new(Duration::from_secs(1));
        let update = || link.update_containers(Vec::new(), Vec::new());
        assert!(captured(handling(update())).await.contains("deadlock"));
        assert_eq!(captured(update()).await, "");
        // A task of its own is not inside.
        let elsewhere = link.clone();
        let spawned = handling(async {
            tokio::spawn(async move { elsewhere.update_containers(Vec::new(), Vec::new()).await })
                .await
        });
        assert_eq!(captured(spawned).await, "");
    }
}
