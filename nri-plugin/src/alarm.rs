//! Waking up whoever is still there at a time, with one timer for all of them: a timer of its own
//! would cost each request, nearly all of which are over long before, a wake-up of the runtime.
//!
//! What may not enter: what is done about it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Wakes those up who wait.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    due: Mutex<Due>,
    /// Somebody is to be woken earlier than it was, or nobody ever again.
    earlier: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Due {
    wakers: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    /// When the task that keeps the time looks by itself.
    armed: Option<Instant>,
    /// Whether there is that task.
    is_kept: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.earlier.notify_one();
    }
}

impl Waiting {
    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes up whose time has come; when the next one's comes.
    fn ring(&self) -> Option<Instant> {
        let mut due = self.due();
        let later = due.wakers.split_off(&(Instant::now(), u64::MAX));
        let now = std::mem::replace(&mut due.wakers, later);
        due.armed = due.wakers.keys().next().map(|(at, _)| *at);
        let armed = due.armed;
        drop(due);
        now.into_values().for_each(Waker::wake);
        armed
    }
}

impl Alarm {
    /// Is done at that time, or a little later.
    pub(crate) fn until(&self, at: Instant) -> Until<'_> {
        Until {
            alarm: self,
            at,
            number: None,
        }
    }
}

/// Waits until a time.
#[derive(Debug)]
pub(crate) struct Until<'a> {
    alarm: &'a Alarm,
    at: Instant,
    number: Option<u64>,
}

impl Future for Until<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.at {
            return Poll::Ready(());
        }
        let waiting = &self.alarm.0;
        let mut due = waiting.due();
        let number = self.number.unwrap_or(due.next);
        due.next = due.next.max(number + 1);
        let waker = due.wakers.entry((self.at, number));
        let waker = waker.or_insert_with(|| cx.waker().clone());
        waker.clone_from(cx.waker());
        if due.armed.is_none_or(|armed| self.at < armed) {
            due.armed = Some(self.at);
            waiting.earlier.notify_one();
        }
        if !std::mem::replace(&mut due.is_kept, true) {
            let earlier = Arc::clone(&waiting.earlier);
            tokio::spawn(keep(Arc::downgrade(waiting), earlier));
        }
        drop(due);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Until<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.alarm.0.due().wakers.remove(&(self.at, number));
        }
    }
}

async fn keep(waiting: Weak<Waiting>, earlier: Arc<Notify>) {
    while let Some(next) = waiting.upgrade().map(|waiting| waiting.ring()) {
        match next {
            Some(next) => tokio::select! {
                () = sleep_until(next) => {}
                () = earlier.notified() => {}
            },
            None => earlier.notified().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Law: each is woken at its time, in whatever order they wait.
    #[tokio::test(start_paused = true)]
    async fn everybody_is_woken_in_time() {
        let alarm = Alarm::default();
        let begun = Instant::now();
        let wait = async |seconds: u64| {
            let at = begun + Duration::from_secs(seconds);
            alarm.until(at).await;
            let late = Instant::now() - at;
            assert!(late < Duration::from_millis(10), "{late:?}");
        };
        tokio::join!(wait(3), wait(1), wait(0), wait(2), wait(1));
        wait(4).await;
        assert!(alarm.0.due().wakers.is_empty());
    }

    /// Law: whoever does not wait any more costs nothing, and is nothing to end for.
    #[tokio::test(start_paused = true)]
    async fn nobody_is_kept_who_has_gone() {
        let alarm = Alarm::default();
        let hour = Instant::now() + Duration::from_secs(3600);
        for _ in 0..3 {
            let short = Duration::from_millis(1);
            let waited = tokio::time::timeout(short, alarm.until(hour)).await;
            assert!(waited.is_err());
        }
        assert!(alarm.0.due().wakers.is_empty());
        let waiting = Arc::downgrade(&alarm.0);
        drop(alarm);
        assert!(waiting.upgrade().is_none());
    }
}
