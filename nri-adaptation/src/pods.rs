//! Order within a pod: a line per pod in which requests stand in the order in which they came.
//!
//! A place in a line is taken without waiting, so that even a notification from a thread that may not wait has its place.
//! Whoever is first in line has the pod to itself until it leaves; lines of different pods do not know of each other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nri_core::lifecycle::ObjectKey;
use tokio::sync::oneshot;

/// What a line is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Line {
    /// The requests of one pod.
    Pod(ObjectKey),
    /// All requests, where they are handled one at a time.
    All,
}

/// The lines of an instance. Empty ones are not kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<HashMap<Line, VecDeque<Waiting>>>>);

/// Someone in a line: the first one has been told.
#[derive(Debug)]
struct Waiting {
    id: Arc<()>,
    tell: Option<oneshot::Sender<()>>,
}

/// A place in a line. Dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Place {
    lines: Lines,
    line: Line,
    id: Arc<()>,
    told: oneshot::Receiver<()>,
}

/// The first place in a line: the pod is ours until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(#[allow(dead_code, reason = "held for its drop")] Place);

impl Lines {
    fn lock(&self) -> MutexGuard<'_, HashMap<Line, VecDeque<Waiting>>> {
        // No foreign code runs under the lock, so a poisoned one is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the last place in a line.
    pub(crate) fn enter(&self, line: Line) -> Place {
        let id = Arc::new(());
        let (tell, told) = oneshot::channel();
        let mut lines = self.lock();
        let queue = lines.entry(line.clone()).or_default();
        queue.push_back(Waiting {
            id: Arc::clone(&id),
            tell: Some(tell),
        });
        tell_first(queue);
        Place {
            lines: self.clone(),
            line,
            id,
            told,
        }
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.lock().len()
    }
}

fn tell_first(queue: &mut VecDeque<Waiting>) {
    if let Some(tell) = queue.front_mut().and_then(|first| first.tell.take()) {
        // It is still in the line, so it is still there or about to leave.
        let _ = tell.send(());
    }
}

impl Place {
    /// Waits until all earlier ones have left. Dropping the future leaves the line.
    pub(crate) async fn first(mut self) -> Slot {
        // The sender is in the line until it is used.
        let _ = (&mut self.told).await;
        Slot(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        let Some(queue) = lines.get_mut(&self.line) else {
            return;
        };
        queue.retain(|waiting| !Arc::ptr_eq(&waiting.id, &self.id));
        match queue.is_empty() {
            true => {
                lines.remove(&self.line);
            }
            false => tell_first(queue),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(id: &str) -> Line {
        Line::Pod(ObjectKey::pod("d", id))
    }

    #[tokio::test]
    async fn a_line_is_in_order_and_those_of_others_do_not_matter() {
        let lines = Lines::default();
        let first = lines.enter(pod("a")).first().await;
        let second = lines.enter(pod("a"));
        let third = lines.enter(pod("a"));
        let other = lines.enter(pod("b")).first().await;
        let mut waiting = Box::pin(third.first());
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("it is not first"),
            () = tokio::task::yield_now() => {}
        }
        drop(first);
        drop(second);
        drop((waiting.await, other));
        assert_eq!(lines.count(), 0);
    }

    #[tokio::test]
    async fn whoever_gives_up_holds_nobody_up() {
        let lines = Lines::default();
        let first = lines.enter(Line::All).first().await;
        let mut second = Box::pin(lines.enter(Line::All).first());
        tokio::select! {
            biased;
            _ = &mut second => panic!("it is not first"),
            () = tokio::task::yield_now() => {}
        }
        let third = lines.enter(Line::All);
        drop(second);
        drop(first);
        drop(third.first().await);
        assert_eq!(lines.count(), 0);
    }
}
