//! One slot per pod, so that a pod's events stay in order: a request begins when those before it
//! are through the plugins.

use std::collections::{BTreeMap, VecDeque};

use super::RequestId;
use crate::lifecycle::ObjectKey;

#[derive(Debug)]
pub(super) struct Slots {
    serial: bool,
    /// By pod; in serial mode there is one slot for all.
    slots: BTreeMap<Option<ObjectKey>, Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    running: Option<RequestId>,
    queue: VecDeque<RequestId>,
}

impl Slots {
    pub(super) fn new(serial: bool) -> Self {
        Self {
            serial,
            slots: BTreeMap::new(),
        }
    }

    fn key(&self, pod: &ObjectKey) -> Option<ObjectKey> {
        (!self.serial).then(|| pod.clone())
    }

    /// Puts a request behind all others of its pod.
    pub(super) fn enqueue(&mut self, pod: &ObjectKey, request: RequestId) {
        let key = self.key(pod);
        self.slots.entry(key).or_default().queue.push_back(request);
    }

    /// Puts requests, which begin in this order, before all others of their pod that have not
    /// begun.
    pub(super) fn put_ahead(&mut self, pod: &ObjectKey, requests: Vec<RequestId>) {
        let key = self.key(pod);
        let queue = &mut self.slots.entry(key).or_default().queue;
        for request in requests.into_iter().rev() {
            queue.push_front(request);
        }
    }

    /// The request that may begin now, if there is one; it has the slot then.
    pub(super) fn next(&mut self, pod: &ObjectKey) -> Option<RequestId> {
        let key = self.key(pod);
        let slot = self.slots.get_mut(&key)?;
        if slot.running.is_some() {
            return None;
        }
        slot.running = slot.queue.pop_front();
        let next = slot.running;
        if next.is_none() {
            self.slots.remove(&key);
        }
        next
    }

    /// The requests before one that waits for its slot, the one that has it first.
    pub(super) fn ahead(&self, pod: &ObjectKey, request: RequestId) -> Vec<RequestId> {
        let Some(slot) = self.slots.get(&self.key(pod)) else {
            return Vec::new();
        };
        let queue = slot.queue.iter().copied();
        let ahead = queue.take_while(|waiting| *waiting != request);
        slot.running.into_iter().chain(ahead).collect()
    }

    /// Takes a request out, whether it has the slot or waits for it.
    pub(super) fn leave(&mut self, pod: &ObjectKey, request: RequestId) {
        let key = self.key(pod);
        if let Some(slot) = self.slots.get_mut(&key) {
            if slot.running == Some(request) {
                slot.running = None;
            }
            slot.queue.retain(|waiting| *waiting != request);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
