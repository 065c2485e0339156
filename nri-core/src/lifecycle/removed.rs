//! What was removed lately. A runtime lists an object for a while after its removal was announced;
//! without this memory such a list would bring it back to life.

use std::collections::{BTreeMap, VecDeque};

use super::ObjectKey;

/// The most removals that are remembered; then the oldest ones are forgotten.
pub(super) const REMEMBERED: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Removed {
    /// When each was removed last.
    at: BTreeMap<ObjectKey, u64>,
    /// The removals in order; one that is not the last of its object is outdated.
    order: VecDeque<(u64, ObjectKey)>,
}

impl Removed {
    pub(super) fn remember(&mut self, key: ObjectKey, now: u64) {
        self.at.insert(key.clone(), now);
        self.order.push_back((now, key));
        while self.order.len() > REMEMBERED {
            match self.order.pop_front() {
                Some((at, key)) if self.at.get(&key) == Some(&at) => {
                    self.at.remove(&key);
                }
                _ => {}
            }
        }
    }

    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.at.remove(key);
    }

    pub(super) fn contains(&self, key: &ObjectKey) -> bool {
        self.at.contains_key(key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.order.len().max(self.at.len())
    }
}
