//! Exits of containers, notified from wherever the runtime learns of them: queued in their pod's line, and only so many.

use std::sync::Arc;

use nri_core::Ctx;
use nri_core::api::ContainerState;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::instance::Instance;
use crate::subject::Subject;

/// How many exits may wait at a time. Of one more, plugins hear when its container is removed.
const MOST_WAITING: usize = 16_384;

/// The exits that wait.
#[derive(Debug)]
pub(crate) struct Exits(Arc<Semaphore>);

impl Default for Exits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_WAITING)))
    }
}

impl Instance {
    /// Queues the exit of a container. It has its place in the line when this returns.
    pub(crate) fn notify_exit(self: &Arc<Self>, mut subject: Subject) {
        let id = subject.key().id().to_owned();
        let Ok(waiting) = Arc::clone(&self.exits.0).try_acquire_owned() else {
            tracing::error!(
                container = id,
                "too many exits wait to be relayed; plugins hear of this one later"
            );
            return;
        };
        if let Some(container) = subject.container_mut() {
            container.set_state(ContainerState::ContainerStopped);
        }
        let place = self.line_up(&subject);
        let span = tracing::info_span!("nri_exit", pod = subject.pod.id, container = id);
        let stop = Arc::clone(self).stop_work(Ctx::new(), Arc::new(subject), place);
        let task = async move {
            let _waiting = waiting;
            if let Err(error) = stop.await {
                tracing::warn!(%error, "relaying an exit went wrong");
            }
        };
        if self.tasks.spawn(task.instrument(span)).is_none() {
            tracing::error!("there is no tokio runtime in which an exit can be relayed");
        }
    }
}
