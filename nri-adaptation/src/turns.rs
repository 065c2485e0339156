//! A plugin's turns: how many requests it gets at a time, in which order, and what holds when it is late.
//!
//! Turns go in the order in which they were asked for. A request whose time is over keeps its turn until the plugin's reply
//! comes; when all turns are kept that way, nobody waits for one: further requests are told so at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The turns of one plugin.
#[derive(Debug)]
pub(crate) struct Turns {
    places: u32,
    free: Arc<Semaphore>,
    /// How many turns are kept by late requests.
    late: watch::Sender<u32>,
    /// How often in a row an answer was not in time.
    strikes: AtomicU32,
}

/// A turn, or all of them; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// What asking for a turn comes to.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Go ahead.
    Turn(Turn),
    /// All turns are kept by late requests.
    Busy,
    /// The plugin is gone.
    Closed,
}

impl Turns {
    /// Turns for `places` requests at a time, at least one.
    pub(crate) fn new(places: usize) -> Self {
        let places = places.clamp(1, 1 << 16) as u32;
        Self {
            places,
            free: Arc::new(Semaphore::new(places as usize)),
            late: watch::Sender::new(0),
            strikes: AtomicU32::new(0),
        }
    }

    /// Waits for a turn. Dropping the future gives up the place in the line.
    pub(crate) async fn take(&self) -> Admission {
        let mut late = self.late.subscribe();
        tokio::select! {
            biased;
            permit = Arc::clone(&self.free).acquire_owned() => match permit {
                Ok(permit) => Admission::Turn(Turn(permit)),
                Err(_) => Admission::Closed,
            },
            _ = late.wait_for(|late| *late >= self.places) => Admission::Busy,
        }
    }

    /// Takes all turns; for a plugin that nobody knows of yet. `None` if it is closed.
    pub(crate) async fn take_all(&self) -> Option<Turn> {
        Arc::clone(&self.free)
            .acquire_many_owned(self.places)
            .await
            .ok()
            .map(Turn)
    }

    /// Says that the request that holds a turn is late, until the guard is dropped.
    pub(crate) fn late(self: &Arc<Self>) -> Late {
        self.late.send_modify(|late| *late += 1);
        Late(Arc::clone(self))
    }

    /// Whether an answer is overdue.
    pub(crate) fn is_late(&self) -> bool {
        *self.late.borrow() > 0
    }

    /// Counts an answer that is not in time; returns how many there were in a row.
    pub(crate) fn strike(&self) -> u32 {
        self.strikes
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
    }

    /// An answer came in time.
    pub(crate) fn in_time(&self) {
        self.strikes.store(0, Ordering::Relaxed);
    }

    /// The plugin is gone: who waits for a turn hears it at once.
    pub(crate) fn close(&self) {
        self.free.close();
    }
}

/// While it lives, a turn is kept by a late request.
#[derive(Debug)]
pub(crate) struct Late(Arc<Turns>);

impl Drop for Late {
    fn drop(&mut self) {
        self.0.late.send_modify(|late| *late -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_turn(admission: Admission) -> Turn {
        match admission {
            Admission::Turn(turn) => turn,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn turns_go_in_the_order_of_asking() {
        let turns = Arc::new(Turns::new(1));
        let first = is_turn(turns.take().await);
        let (order, mut seen) = tokio::sync::mpsc::unbounded_channel();
        for n in 0..5 {
            let (turns, order) = (Arc::clone(&turns), order.clone());
            tokio::spawn(async move {
                let _turn = is_turn(turns.take().await);
                order.send(n).unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop(first);
        for n in 0..5 {
            assert_eq!(seen.recv().await, Some(n));
        }
    }

    #[tokio::test]
    async fn nobody_waits_behind_late_requests() {
        let turns = Arc::new(Turns::new(2));
        let one = is_turn(turns.take().await);
        let two = is_turn(turns.take().await);
        let waiting = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take().await }
        });
        tokio::task::yield_now().await;
        let late = turns.late();
        let also_late = turns.late();
        assert!(matches!(waiting.await.unwrap(), Admission::Busy));
        assert!(matches!(turns.take().await, Admission::Busy));
        drop((also_late, two));
        let again = is_turn(turns.take().await);
        drop((late, one, again));
        assert!(!turns.is_late());
        turns.close();
        assert!(matches!(turns.take().await, Admission::Closed));
    }
}
