//! Looking for a plugin's answer again and again for a moment, rather than sleeping until it is
//! there: to be woken takes a thread about as long as a plugin takes to answer.
//!
//! What may not enter: which plugins are asked, and what they answer.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::lock::Lock;

/// The longest limit: an hour is for ever here.
const LONGEST: Duration = Duration::from_secs(3600);

/// For how long answers are looked for, and which are to come.
pub(crate) struct BusyPoll {
    /// From when a call is made; zero if never.
    limit: Duration,
    /// Whether the runtime is one where it helps.
    is_on: AtomicBool,
    begun: Notify,
    /// Until when, and which call it is.
    expected: Lock<BTreeSet<(Instant, u64)>>,
    calls: AtomicU64,
}

impl fmt::Debug for BusyPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusyPoll")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl BusyPoll {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit: limit.min(LONGEST),
            is_on: AtomicBool::new(false),
            begun: Notify::new(),
            expected: Lock::default(),
            calls: AtomicU64::new(0),
        }
    }

    /// Begins, as far as that is wanted and of use in this runtime; what is returned looks as long
    /// as it is polled.
    pub(crate) fn start(self: &Arc<Self>) -> Option<impl Future<Output = ()> + Send + use<>> {
        // Where there are several threads, the one that waits for sockets is another one.
        let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
        let is_of_use = matches!(flavor, Ok(RuntimeFlavor::CurrentThread))
            && available_parallelism().is_ok_and(|processors| processors.get() > 1);
        if self.limit.is_zero() || !is_of_use {
            return None;
        }
        self.is_on.store(true, Relaxed);
        let busy_poll = Arc::clone(self);
        Some(async move { busy_poll.look().await })
    }

    /// Looks for what is expected, as long as that is, and sleeps otherwise.
    async fn look(&self) {
        loop {
            self.begun.notified().await;
            while self.is_looking(Instant::now()) {
                // The plugin may be waiting for this very processor.
                std::thread::yield_now();
                // Everything else here has its turn, and then the sockets are looked at.
                yield_now().await;
            }
        }
    }

    fn is_looking(&self, now: Instant) -> bool {
        let expected = self.expected.lock();
        expected.last().is_some_and(|(until, _)| now < *until)
    }

    /// A call is made. Its answer is looked for if the one before was `quick`, as long as what is
    /// returned is there; `None` if none ever is.
    pub(crate) fn expect(self: &Arc<Self>, quick: bool) -> Option<Expected> {
        if !self.is_on.load(Relaxed) {
            return None;
        }
        // The real time: where tests have stopped tokio's it would not go on while this looks.
        let until = Instant::now() + self.limit;
        let call = self.calls.fetch_add(1, Relaxed);
        if quick {
            self.expected.lock().insert((until, call));
            self.begun.notify_one();
        }
        Some(Expected {
            busy_poll: Arc::clone(self),
            of: (until, call),
        })
    }
}

/// An answer that is to come.
pub(crate) struct Expected {
    busy_poll: Arc<BusyPoll>,
    of: (Instant, u64),
}

impl Expected {
    /// Whether it could still have been found.
    pub(crate) fn is_quick(&self) -> bool {
        Instant::now() <= self.of.0
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.busy_poll.expected.lock().remove(&self.of);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Wake, Waker};

    use super::*;

    fn of(limit: Duration) -> Arc<BusyPoll> {
        let busy_poll = Arc::new(BusyPoll::new(limit));
        busy_poll.is_on.store(true, Relaxed);
        busy_poll
    }

    #[test]
    fn what_is_expected_is_looked_for_until_it_is_there() {
        let busy_poll = of(Duration::MAX);
        assert!(!busy_poll.is_looking(Instant::now()));
        let [first, second] = [(); 2].map(|()| busy_poll.expect(true).unwrap());
        drop(first);
        assert!(busy_poll.is_looking(Instant::now()));
        assert!(second.is_quick());
        drop(second);
        assert!(!busy_poll.is_looking(Instant::now()));
    }

    #[test]
    fn nobody_is_looked_for_longer_than_the_limit_or_after_having_been_slow() {
        let busy_poll = of(Duration::from_nanos(1));
        let slow = busy_poll.expect(true).unwrap();
        while slow.is_quick() {}
        assert!(!busy_poll.is_looking(Instant::now()));
        let busy_poll = of(Duration::MAX);
        let quick_again = busy_poll.expect(false).unwrap();
        assert!(!busy_poll.is_looking(Instant::now()));
        assert!(quick_again.is_quick());
    }

    /// How often something was woken.
    #[derive(Default)]
    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Law: whoever looks lets everything else have its turn between two looks, and sleeps when
    /// there is nothing to look for.
    #[test]
    fn it_looks_once_per_turn_and_sleeps_when_nothing_is_expected() {
        let busy_poll = of(Duration::MAX);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut looking = pin!(busy_poll.look());
        let mut turn = || {
            let polled = looking.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            woken.0.swap(0, Relaxed)
        };
        assert_eq!(turn(), 0, "nothing is expected");
        let expected = busy_poll.expect(true).unwrap();
        assert_eq!(
            [turn(), turn(), turn()],
            [2, 1, 1],
            "the first one by the call, too"
        );
        drop(expected);
        assert_eq!([turn(), turn()], [0, 0]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_is_for_runtimes_with_one_thread() {
        let busy_poll = Arc::new(BusyPoll::new(Duration::MAX));
        assert!(busy_poll.start().is_none());
        assert!(busy_poll.expect(true).is_none());
    }
}
