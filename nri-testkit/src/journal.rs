//! Lists that grow while a test looks on: what happened, in order, to be compared or waited for.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;

/// How long the test kit waits for what must happen before it fails the test. It is never waited
/// out in a test that passes, so it can be long: machines are slow at times.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// What happened, in order. Any number of tasks may add to it, look at it, and wait for something
/// to be in it.
///
/// ```
/// use nri_testkit::Journal;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let journal = Journal::default();
/// journal.push("a");
/// journal.wait_for("an a", |entries| entries.contains(&"a")).await;
/// assert_eq!(journal.all(), ["a"]);
/// # });
/// ```
pub struct Journal<T>(watch::Sender<Vec<T>>);

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}

impl<T: fmt::Debug> fmt::Debug for Journal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.borrow().fmt(f)
    }
}

impl<T> Journal<T> {
    /// Adds an entry.
    pub fn push(&self, entry: T) {
        self.0.send_modify(|entries| entries.push(entry));
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at the entries. Nothing can be added meanwhile.
    pub fn look<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        look(&self.0.borrow())
    }
}

impl<T: Clone + fmt::Debug> Journal<T> {
    /// All entries.
    pub fn all(&self) -> Vec<T> {
        self.0.borrow().clone()
    }

    /// Waits, however long, until there are more than `count` entries, and returns them all.
    pub async fn longer_than(&self, count: usize) -> Vec<T> {
        let mut entries = self.0.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        match entries.wait_for(|all| all.len() > count).await {
            Ok(entries) => entries.clone(),
            Err(_) => Vec::new(),
        }
    }

    /// Waits until the entries are as `until` wants them, and returns them all. `what` says what
    /// that is.
    ///
    /// # Panics
    /// That did not happen within [`TEST_TIMEOUT`]; the message has `what`, and what happened
    /// instead.
    pub async fn wait_for(&self, what: &str, mut until: impl FnMut(&[T]) -> bool) -> Vec<T> {
        let mut entries = self.0.subscribe();
        let waited = tokio::time::timeout(TEST_TIMEOUT, entries.wait_for(|all| until(all))).await;
        match waited {
            Ok(Ok(entries)) => entries.clone(),
            // The sender is in `self`, so only time can run out.
            Ok(Err(_)) | Err(_) => panic!(
                "waited {TEST_TIMEOUT:?} in vain for {what}; there is {:#?}",
                self.all()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "in vain for a third")]
    async fn waiting_in_vain_says_what_there_is() {
        let journal = Journal::default();
        journal.push(1);
        journal.push(2);
        journal.wait_for("a third", |all| all.len() == 3).await;
    }
}
