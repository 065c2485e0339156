//! Something to stop at until a test says go on. What tests use where others would sleep.

use tokio::sync::watch;

use crate::TEST_TIMEOUT;

/// A gate, closed at first. Cheap to clone; all clones are the same gate.
///
/// ```
/// use nri_testkit::Gate;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let gate = Gate::new();
/// let visitor = gate.clone();
/// let task = tokio::spawn(async move { visitor.pass().await });
/// gate.visitors(1).await; // it stands there now
/// gate.let_through(1);
/// task.await.unwrap();
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    passes: usize,
    waiting: usize,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// Opens it for good.
    pub fn open(&self) {
        self.0.send_modify(|state| state.is_open = true);
    }

    /// Lets `count` visitors through, those to come included.
    pub fn let_through(&self, count: usize) {
        self.0.send_modify(|state| state.passes += count);
    }

    /// Waits at the gate. Dropping the future leaves it.
    pub async fn pass(&self) {
        let mut state = self.0.subscribe();
        let _waiting = Waiting::begin(self);
        loop {
            let mut through = false;
            self.0.send_if_modified(|state| {
                through = state.is_open || state.passes > 0;
                state.passes = state.passes.saturating_sub(usize::from(!state.is_open));
                false
            });
            if through {
                return;
            }
            // The sender is in `self`, so waiting cannot fail.
            let _ = state.wait_for(|now| now.is_open || now.passes > 0).await;
        }
    }

    /// Waits until `count` visitors or more stand at the gate.
    ///
    /// # Panics
    /// That did not happen within [`TEST_TIMEOUT`].
    pub async fn visitors(&self, count: usize) {
        let mut state = self.0.subscribe();
        let waited =
            tokio::time::timeout(TEST_TIMEOUT, state.wait_for(|state| state.waiting >= count))
                .await;
        if waited.is_err() {
            let waiting = self.0.borrow().waiting;
            panic!("waited {TEST_TIMEOUT:?} in vain for {count} at a gate; there are {waiting}");
        }
    }
}

/// Counts a visitor as long as it stands there.
struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    fn begin(gate: &'a Gate) -> Self {
        gate.0.send_modify(|state| state.waiting += 1);
        Self(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn as_many_pass_as_are_let_through() {
        let gate = Gate::new();
        let pass = || {
            let gate = gate.clone();
            tokio::spawn(async move { gate.pass().await })
        };
        let tasks = [pass(), pass(), pass()];
        gate.visitors(3).await;
        gate.let_through(2);
        let mut done = 0;
        while done < 2 {
            tokio::task::yield_now().await;
            done = tasks.iter().filter(|task| task.is_finished()).count();
        }
        assert_eq!(gate.0.borrow().waiting, 1);
        gate.open();
        for task in tasks {
            task.await.unwrap();
        }
        gate.pass().await;
    }

    #[tokio::test]
    async fn who_leaves_is_not_counted() {
        let gate = Gate::new();
        let mut visit = Box::pin(gate.pass());
        assert!(
            tokio::time::timeout(std::time::Duration::ZERO, &mut visit)
                .await
                .is_err()
        );
        gate.visitors(1).await;
        drop(visit);
        assert_eq!(gate.0.borrow().waiting, 0);
    }
}
