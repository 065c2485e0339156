//! What an observer is told when it has the time: a queue with bounds.
//!
//! What may not enter: when that is, and what becomes of an observer for which it is too much.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::RequestId;
use crate::lifecycle::ObjectKey;
use crate::{EncodedRequest, Event};

/// One event that an observer is told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) request: RequestId,
    pub(super) pod: ObjectKey,
    pub(super) object: ObjectKey,
    pub(super) message: Arc<EncodedRequest>,
}

impl Told {
    fn is_appearance(&self) -> bool {
        let event = self.message.event();
        matches!(event, Event::CreateContainer | Event::RunPodSandbox)
    }
}

#[derive(Debug, Default)]
pub(super) struct Backlog {
    queue: VecDeque<Told>,
    bytes: usize,
    /// What is added is not kept, since something before it was not.
    full: bool,
}

impl Backlog {
    /// Adds an event; false if it is the first for which there is no room.
    pub(super) fn add(&mut self, told: Told, most: usize, most_bytes: usize) -> bool {
        if self.full {
            return true;
        }
        let bytes = self.bytes.saturating_add(told.message.len());
        self.full = self.queue.len() >= most || bytes > most_bytes;
        if !self.full {
            self.bytes = bytes;
            self.queue.push_back(told);
        }
        !self.full
    }

    /// Takes out the first event of a pod that is free.
    pub(super) fn next(&mut self, is_free: impl Fn(&ObjectKey) -> bool) -> Option<Told> {
        let free = self.queue.iter().position(|told| is_free(&told.pod))?;
        let told = self.queue.remove(free)?;
        self.bytes = self.bytes.saturating_sub(told.message.len());
        Some(told)
    }

    /// Drops everything; returns how much that was, with what there was no room for.
    pub(super) fn clear(&mut self) -> usize {
        let dropped = self.queue.len() + usize::from(self.full);
        *self = Self::default();
        dropped
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What appears by these events.
    pub(super) fn appearances(&self) -> impl Iterator<Item = &ObjectKey> {
        let appearances = self.queue.iter().filter(|told| told.is_appearance());
        appearances.map(|told| &told.object)
    }

    /// Drops events about objects that are unknown and do not appear by an event before, unless
    /// `keeps` wants to have them.
    pub(super) fn retain_known(
        &mut self,
        unknown: impl Fn(&ObjectKey) -> bool,
        mut keeps: impl FnMut(&ObjectKey, Event) -> bool,
    ) {
        let mut appeared = BTreeSet::new();
        let bytes = &mut self.bytes;
        self.queue.retain(|told| {
            if told.is_appearance() {
                appeared.insert(told.object.clone());
                return true;
            }
            let known = !unknown(&told.object) || appeared.contains(&told.object);
            let stays = known || keeps(&told.object, told.message.event());
            if !stays {
                *bytes = bytes.saturating_sub(told.message.len());
            }
            stays
        });
    }
}
