//! Who is behind the hub's answers to creations, until the runtime above has them validated.
//!
//! What may not enter: what validators say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use nri_adaptation::Behind;

/// How many are kept. A runtime validates right after the creation; one that does not do so at all
/// leaves no more than this.
const MOST: usize = 1024;

/// Who is behind the answers, by container, in the order in which they were given.
#[derive(Debug, Default)]
pub(crate) struct BehindAnswers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    of: BTreeMap<String, Behind>,
    order: VecDeque<String>,
}

impl BehindAnswers {
    /// A creation was answered.
    pub(crate) fn put(&self, container: &str, behind: Behind) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.of.insert(container.to_owned(), behind).is_none() {
            kept.order.push_back(container.to_owned());
        }
        // Most in it are gone already, taken out in some other order.
        while kept.order.len() > MOST {
            if let Some(oldest) = kept.order.pop_front() {
                kept.of.remove(&oldest);
            }
        }
    }

    /// Who is behind the last answer about a container; nobody if it was another one's.
    pub(crate) fn take(&self, container: &str) -> Option<Behind> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.of.remove(container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once_and_the_oldest_go() {
        let behind = BehindAnswers::default();
        for n in 0..=MOST {
            behind.put(&n.to_string(), Behind::default());
        }
        assert_eq!(behind.take("0"), None);
        assert!(behind.take("1").is_some());
        assert_eq!(behind.take("1"), None);
    }
}
