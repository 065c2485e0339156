//! Asking for what exists, once for all who want to know at the same time: a listing of ten
//! thousand containers is work for a runtime, and when it restarts all of its plugins join at once.
//!
//! What may not enter: what is listed, and what is made of it.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::yield_now;

use crate::lock::Lock;

/// Listings, one at a time.
#[derive(Debug)]
pub(crate) struct Listings<T> {
    /// The one that has not begun.
    next: Lock<Option<Arc<Listing<T>>>>,
    turn: Mutex<()>,
}

/// One listing, for all who asked before it began.
#[derive(Debug)]
struct Listing<T>(Lock<Option<T>>);

impl<T> Default for Listings<T> {
    fn default() -> Self {
        Self {
            next: Lock::default(),
            turn: Mutex::default(),
        }
    }
}

impl<T: Clone> Listings<T> {
    /// What a listing says that begins after this call: `list` is run by the first of those who
    /// wait for it. One who stops waiting leaves it to the next.
    pub(crate) async fn list(&self, list: impl Future<Output = T>) -> T {
        let mine = {
            let mut next = self.next.lock();
            let begin = || Arc::new(Listing(Lock::default()));
            Arc::clone(next.get_or_insert_with(begin))
        };
        let _turn = self.turn.lock().await;
        let listed = mine.0.get();
        if let Some(listed) = listed {
            return listed;
        }
        // Those who are about to ask as well need not list once more.
        yield_now().await;
        self.begin(&mine);
        let listed = list.await;
        mine.0.set(Some(listed.clone()));
        listed
    }

    /// Whoever asks from now on shares another one.
    fn begin(&self, listing: &Arc<Listing<T>>) {
        let mut next = self.next.lock();
        if next.as_ref().is_some_and(|next| Arc::ptr_eq(next, listing)) {
            *next = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::Poll;

    use tokio::sync::Notify;

    use super::*;

    /// Goes on with it as far as that goes.
    async fn poll<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
        for _ in 0..3 {
            let polled = poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => Poll::Ready(None),
            });
            if let Some(output) = polled.await {
                return Some(output);
            }
        }
        None
    }

    /// Law: nobody is told what was listed before it asked, and those who wait together are told
    /// the same.
    #[tokio::test]
    async fn those_who_ask_during_a_listing_share_the_next() {
        let (listings, count, gate) = (Listings::default(), Cell::new(0), Notify::new());
        let ask = || {
            listings.list(async {
                count.set(count.get() + 1);
                let number = count.get();
                gate.notified().await;
                number
            })
        };
        let (mut first, mut second, mut third) = (pin!(ask()), pin!(ask()), pin!(ask()));
        for mut waits in [first.as_mut(), second.as_mut(), third.as_mut()] {
            assert_eq!(poll(waits.as_mut()).await, None);
        }
        assert_eq!(count.get(), 1);
        gate.notify_one();
        assert_eq!(first.await, 1);
        assert_eq!(poll(second.as_mut()).await, None);
        let mut later = pin!(ask());
        assert_eq!(poll(later.as_mut()).await, None);
        gate.notify_one();
        assert_eq!((second.await, third.await), (2, 2));
        gate.notify_one();
        assert_eq!(later.await, 3);
    }

    #[tokio::test]
    async fn a_listing_that_is_given_up_is_made_by_the_next_who_waits() {
        let (listings, gate) = (Listings::default(), Notify::new());
        let ask = |answer: u8| {
            let gate = &gate;
            listings.list(async move {
                gate.notified().await;
                answer
            })
        };
        let mut first = Box::pin(ask(1));
        assert_eq!(poll(first.as_mut()).await, None);
        let (mut second, mut third) = (Box::pin(ask(2)), pin!(ask(3)));
        assert_eq!(poll(second.as_mut()).await, None);
        assert_eq!(poll(third.as_mut()).await, None);
        drop(first);
        assert_eq!(poll(second.as_mut()).await, None);
        drop(second);
        gate.notify_one();
        assert_eq!(third.await, 3);
    }
}
