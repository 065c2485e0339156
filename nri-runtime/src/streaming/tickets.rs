//! What clients are going to ask the streaming server for: kept until they do, under a name that
//! nobody can guess, once, and not for long.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::record::new_id;

/// How long a ticket can be used.
const VALID: Duration = Duration::from_secs(60);
/// The most tickets that are not used yet.
const MOST: usize = 1000;

/// Things that are waiting to be asked for.
#[derive(Debug)]
pub(super) struct Tickets<T>(Mutex<BTreeMap<String, (Instant, T)>>);

impl<T> Tickets<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Keeps something; the name under which it can be taken.
    ///
    /// # Errors
    /// There are too many already; the system has no random numbers.
    pub(super) fn put(&self, now: Instant, thing: T) -> Result<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (since, _)| now.duration_since(*since) < VALID);
        if all.len() >= MOST {
            return Err(Error::internal(format!(
                "{MOST} streaming URLs are not used yet: use them, or wait for {VALID:?}"
            )));
        }
        let name = new_id()?;
        all.insert(name.clone(), (now, thing));
        Ok(name)
    }

    /// Takes what has the name; nothing if it was taken, or is there for too long.
    pub(super) fn take(&self, now: Instant, name: &str) -> Option<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, thing) = all.remove(name)?;
        (now.duration_since(since) < VALID).then_some(thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_can_be_used_once_and_not_for_long() {
        let (tickets, now) = (Tickets::new(), Instant::now());
        let (one, other) = (tickets.put(now, 1).unwrap(), tickets.put(now, 2).unwrap());
        assert_eq!(tickets.take(now, "guessed"), None);
        assert_eq!(tickets.take(now + VALID / 2, &one), Some(1));
        assert_eq!(tickets.take(now + VALID / 2, &one), None);
        assert_eq!(tickets.take(now + VALID, &other), None);
    }

    #[test]
    fn there_are_not_more_than_may_be() {
        let (tickets, now) = (Tickets::new(), Instant::now());
        for _ in 0..MOST {
            tickets.put(now, ()).unwrap();
        }
        assert!(tickets.put(now, ()).is_err());
        tickets.put(now + VALID, ()).unwrap();
    }
}
