//! The background tasks of an instance: spawned in one place, counted, and awaited when it stops.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Spawns tasks on the runtime in which the instance was started, so that it can be used from any
/// thread.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    runtime: OnceLock<Handle>,
    count: Arc<Count>,
}

#[derive(Debug)]
struct Count(watch::Sender<usize>);

impl Default for Count {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

/// Counts a task as long as it lives, however it ends.
struct Counted(Arc<Count>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

impl Tasks {
    /// Uses the runtime of the caller from now on.
    pub(crate) fn adopt_current_runtime(&self) {
        if let Ok(handle) = Handle::try_current() {
            // A second call comes from the same runtime or from one that may not live as long.
            let _ = self.runtime.set(handle);
        }
    }

    /// Runs a future in the background; `None` if there is no runtime to run it.
    pub(crate) fn spawn<F>(&self, future: F) -> Option<JoinHandle<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let runtime = self
            .runtime
            .get()
            .cloned()
            .or_else(|| Handle::try_current().ok())?;
        self.count.0.send_modify(|count| *count += 1);
        let counted = Counted(Arc::clone(&self.count));
        Some(runtime.spawn(async move {
            let _counted = counted;
            future.await
        }))
    }

    /// The same for a task that ends with the instance by itself, so that nobody waits for it.
    pub(crate) fn spawn_uncounted<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = self.runtime.get().cloned();
        if let Some(runtime) = runtime.or_else(|| Handle::try_current().ok()) {
            runtime.spawn(future);
        }
    }

    /// Waits until no task is left.
    pub(crate) async fn idle(&self) {
        let mut count = self.count.0.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        let _ = count.wait_for(|count| *count == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_are_counted_however_they_end() {
        let tasks = Tasks::default();
        tasks.idle().await;
        let forever = tasks.spawn(std::future::pending::<()>()).unwrap();
        let panics = tasks.spawn(async { panic!("as planned") }).unwrap();
        assert!(panics.await.is_err());
        forever.abort();
        tasks.idle().await;
    }
}
