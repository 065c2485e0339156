//! Updates and evictions outside of any request: what became of them, container by container, and
//! repeating what could not be done. What may not enter: the connection; that is
//! [`RuntimeLink`](crate::RuntimeLink)'s.

use async_trait::async_trait;
use nri_core::{RuntimeHandle, UpdateFailure, api};

use crate::answer::Updates;
use crate::backoff::{Backoff, Waits};

/// What a runtime did of the updates that it was asked for.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "an update that failed is lost unless it is asked for again: look at failed(), or use all_applied()?"]
pub struct UpdateResults {
    applied: Vec<String>,
    failed: Vec<api::ContainerUpdate>,
}

/// Updates that a runtime could not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the runtime could not update the containers {}", .containers.join(", "))]
pub struct NotUpdated {
    /// The ids of the containers.
    pub containers: Vec<String>,
}

impl UpdateResults {
    fn new(asked: &[api::ContainerUpdate], failed: Vec<api::ContainerUpdate>) -> Self {
        let refused: std::collections::BTreeSet<&str> = failed
            .iter()
            .map(|update| update.container_id.as_str())
            .collect();
        let applied = asked.iter().map(|update| &update.container_id);
        Self {
            applied: applied
                .filter(|id| !refused.contains(id.as_str()))
                .cloned()
                .collect(),
            failed,
        }
    }

    /// The ids of the containers that were updated, one per update, in the order in which they were
    /// asked for. Runtimes in Go do not say which updates failed: of theirs, all are here.
    pub fn applied(&self) -> &[String] {
        &self.applied
    }

    /// The updates that failed, as they were asked for.
    pub fn failed(&self) -> &[api::ContainerUpdate] {
        &self.failed
    }

    /// Makes an error of what failed.
    ///
    /// # Errors
    /// An update failed.
    pub fn all_applied(self) -> Result<(), NotUpdated> {
        match self.failed.is_empty() {
            true => Ok(()),
            false => Err(NotUpdated {
                containers: self
                    .failed
                    .into_iter()
                    .map(|update| update.container_id)
                    .collect(),
            }),
        }
    }
}

/// Asking the runtime for updates and evictions outside of any request, with a result per
/// container. It is there for whatever is a way back to the runtime: a
/// [`RuntimeLink`](crate::RuntimeLink), which [`Handle::runtime`](crate::Handle::runtime) gives to
/// the rest of the program, and [`PluginCtx::runtime`](crate::PluginCtx::runtime).
///
/// ```no_run
/// use nri_plugin::prelude::*;
/// use nri_plugin::RuntimeLink;
///
/// async fn shrink(runtime: RuntimeLink, container: &str) -> Result<(), Box<dyn std::error::Error>> {
///     let mut update = api::ContainerUpdate::of_container(container)?;
///     update.set_memory_limit(64 << 20);
///     runtime.apply(Updates::from_iter([update])).await?.all_applied()?;
///     Ok(())
/// }
/// ```
#[async_trait]
pub trait Unsolicited: RuntimeHandle {
    /// Asks for updates and evictions, once. Do not await it inside a handler; see
    /// [`update_containers`](RuntimeHandle::update_containers).
    ///
    /// # Errors
    /// The request as a whole failed.
    async fn apply(&self, changes: Updates) -> Result<UpdateResults, UpdateFailure> {
        let (updates, evictions) = changes.into_parts();
        let asked = updates.clone();
        let failed = self.update_containers(updates, evictions).await?;
        Ok(UpdateResults::new(&asked, failed))
    }

    /// The same until all updates are applied: those that failed are asked for again after a wait,
    /// and so is the whole if the runtime did not answer or was away. Up to `attempts` times, and
    /// at least once.
    ///
    /// That is how a plugin makes sure of the updates in the answer of a handler, of which no
    /// runtime says what became of them: a task of its own asks for them once more.
    ///
    /// ```
    /// use nri_plugin::prelude::*;
    ///
    /// let plugin = handlers().on_stop_container(|cx, _pod, _container| async move {
    ///     let mut update = api::ContainerUpdate::of_container("other")?;
    ///     update.set_cpu_shares(1024);
    ///     let updates = Updates::from_iter([update]);
    ///     let (again, runtime) = (updates.clone(), cx.runtime());
    ///     tokio::spawn(async move {
    ///         match runtime.apply_until_done(again, Backoff::default(), 5).await {
    ///             Ok(results) if results.failed().is_empty() => {}
    ///             other => eprintln!("given up: {other:?}"),
    ///         }
    ///     });
    ///     Ok(updates)
    /// });
    /// ```
    ///
    /// # Errors
    /// The runtime refused the request as a whole, or the last attempt was not answered.
    async fn apply_until_done(
        &self,
        changes: Updates,
        waits: Backoff,
        attempts: u32,
    ) -> Result<UpdateResults, UpdateFailure> {
        let (asked, mut evictions) = changes.into_parts();
        let mut left = asked.clone();
        let mut waits = Waits::new(waits);
        let mut attempt = 1;
        loop {
            let done = self
                .update_containers(left.clone(), evictions.clone())
                .await;
            let is_last = attempt >= attempts;
            match done {
                Ok(failed) if failed.is_empty() || is_last => {
                    return Ok(UpdateResults::new(&asked, failed));
                }
                Ok(failed) => {
                    tracing::debug!(
                        failed = failed.len(),
                        attempt,
                        "updates are asked for again"
                    );
                    left = failed;
                    // They were carried out, or the runtime cannot.
                    evictions.clear();
                }
                Err(error @ UpdateFailure::Refused(_)) => return Err(error),
                Err(error) if is_last => return Err(error),
                Err(error) => tracing::debug!(%error, attempt, "updates are asked for again"),
            }
            attempt += 1;
            tokio::time::sleep(waits.next(std::time::Duration::ZERO)).await;
        }
    }
}

impl<H: RuntimeHandle + ?Sized> Unsolicited for H {}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    fn update(id: &str) -> api::ContainerUpdate {
        api::ContainerUpdate {
            container_id: id.into(),
            ..Default::default()
        }
    }

    /// A runtime that answers as it was told to, and notes what it was asked for.
    #[derive(Debug, Default)]
    struct Scripted {
        answers: Mutex<VecDeque<Result<Vec<&'static str>, UpdateFailure>>>,
        asked: Mutex<Vec<String>>,
    }

    impl Scripted {
        fn new<const N: usize>(answers: [Result<Vec<&'static str>, UpdateFailure>; N]) -> Self {
            Self {
                answers: Mutex::new(answers.into()),
                ..Self::default()
            }
        }
    }

    #[async_trait]
    impl RuntimeHandle for Scripted {
        async fn update_containers(
            &self,
            updates: Vec<api::ContainerUpdate>,
            evictions: Vec<api::ContainerEviction>,
        ) -> Result<Vec<api::ContainerUpdate>, UpdateFailure> {
            let ids: Vec<_> = updates
                .iter()
                .map(|update| update.container_id.clone())
                .collect();
            let text = format!("{} / {}", ids.join(" "), evictions.len());
            self.asked.lock().unwrap().push(text);
            let answer = self.answers.lock().unwrap().pop_front().unwrap();
            answer.map(|failed| failed.into_iter().map(update).collect())
        }
    }

    fn asked() -> Updates {
        let mut updates: Updates = ["a", "b", "c"].map(update).into_iter().collect();
        updates.evict(api::ContainerEviction::default());
        updates
    }

    #[tokio::test]
    async fn every_container_has_a_result() {
        let runtime = Scripted::new([Ok(vec!["b"])]);
        let results = runtime.apply(asked()).await.unwrap();
        assert_eq!(results.applied(), ["a", "c"]);
        assert_eq!(results.failed(), [update("b")]);
        let error = results.all_applied().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the runtime could not update the containers b"
        );
        let none = UpdateResults::new(&[update("a")], vec![]);
        assert_eq!(none.all_applied(), Ok(()));
    }

    /// Law: only what failed is asked for again, and an eviction that was taken is not repeated.
    #[tokio::test(start_paused = true)]
    async fn what_failed_is_asked_for_again() {
        let away = UpdateFailure::Disconnected("away".into());
        let late = UpdateFailure::TimedOut {
            after: Duration::from_secs(1),
        };
        let runtime = Scripted::new([
            Err(away),
            Err(late),
            Ok(vec!["a", "b"]),
            Ok(vec!["b"]),
            Ok(vec![]),
        ]);
        let results = runtime
            .apply_until_done(asked(), Backoff::default(), 9)
            .await;
        assert_eq!(results.unwrap().applied(), ["a", "b", "c"]);
        let all = ["a b c / 1", "a b c / 1", "a b c / 1", "a b / 0", "b / 0"];
        assert_eq!(*runtime.asked.lock().unwrap(), all);
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_an_end_to_it() {
        let runtime = Scripted::new([Ok(vec!["b"]), Ok(vec!["b"])]);
        let results = runtime
            .apply_until_done(asked(), Backoff::default(), 2)
            .await;
        assert_eq!(results.unwrap().failed(), [update("b")]);
        // Not even once is once.
        let runtime = Scripted::new([Err(UpdateFailure::Disconnected("away".into()))]);
        let gave_up = runtime
            .apply_until_done(asked(), Backoff::default(), 0)
            .await;
        assert!(matches!(gave_up, Err(UpdateFailure::Disconnected(_))));
        // What is refused stays refused.
        let runtime = Scripted::new([Err(UpdateFailure::Refused("no".into()))]);
        let refused = runtime
            .apply_until_done(asked(), Backoff::default(), 9)
            .await;
        assert!(matches!(refused, Err(UpdateFailure::Refused(_))));
    }
}
