//! A synchronisation that a plugin takes part by part: what is kept from one to the next are the
//! updates that it wants. Pure.

use std::mem;

use nri_core::{SyncPart, api};
use prost::Message as _;

/// Where a synchronisation is.
#[derive(Debug)]
pub(crate) struct Parts {
    /// There was a part, and it was not the last.
    begun: bool,
    updates: Vec<api::ContainerUpdate>,
    bytes: usize,
    limit: usize,
}

/// The updates take more memory than allowed.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "the updates that the plugin wants take more than {limit} bytes: ask for fewer, or raise the limit of the plugin's runner"
)]
pub(crate) struct TooMuch {
    limit: usize,
}

impl Parts {
    /// No part yet. The updates may take up to `limit` bytes together.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            begun: false,
            updates: Vec::new(),
            bytes: 0,
            limit,
        }
    }

    /// A message as a part. Whatever comes of it, the next part is not the first.
    pub(crate) fn begin(&mut self, message: api::SynchronizeRequest) -> SyncPart {
        let mut part = SyncPart::new(message.pods, message.containers);
        part.first = !self.begun;
        part.last = !message.more;
        self.begun = true;
        part
    }

    /// Takes the updates that the part is answered with; returns all of them behind the last part.
    /// Then, and after an error, the next part is the first.
    pub(crate) fn end(
        &mut self,
        updates: Vec<api::ContainerUpdate>,
        more: bool,
    ) -> Result<Vec<api::ContainerUpdate>, TooMuch> {
        let bytes = updates.iter().map(|it| it.encoded_len() + size_of_val(it));
        self.bytes = self.bytes.saturating_add(bytes.sum());
        let limit = self.limit;
        if self.bytes > limit {
            *self = Self::new(limit);
            return Err(TooMuch { limit });
        }
        self.updates.extend(updates);
        if more {
            return Ok(Vec::new());
        }
        let updates = mem::take(&mut self.updates);
        *self = Self::new(limit);
        Ok(updates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(more: bool) -> api::SynchronizeRequest {
        api::SynchronizeRequest {
            pods: vec![api::PodSandbox::default()],
            containers: Vec::new(),
            more,
        }
    }

    fn updates(ids: &[&str]) -> Vec<api::ContainerUpdate> {
        let update = |id: &&str| api::ContainerUpdate {
            container_id: (*id).into(),
            ..Default::default()
        };
        ids.iter().map(update).collect()
    }

    #[test]
    fn updates_of_all_parts_are_sent_with_the_last_one_and_the_next_begins_anew() {
        let mut parts = Parts::new(1 << 20);
        for _ in 0..2 {
            for (more, first, asked) in [
                (true, true, &["a"][..]),
                (true, false, &[]),
                (false, false, &["b"]),
            ] {
                let part = parts.begin(message(more));
                assert_eq!((part.first, part.last, part.pods.len()), (first, !more, 1));
                let sent = parts.end(updates(asked), more).unwrap();
                assert_eq!(
                    sent,
                    if more {
                        Vec::new()
                    } else {
                        updates(&["a", "b"])
                    }
                );
            }
        }
    }

    /// Law: what is kept is bounded.
    #[test]
    fn too_many_updates_are_refused_and_forgotten() {
        let limit = 3 * size_of::<api::ContainerUpdate>();
        let mut parts = Parts::new(limit);
        parts.begin(message(true));
        assert_eq!(parts.end(updates(&["a", "b"]), true), Ok(Vec::new()));
        parts.begin(message(true));
        assert_eq!(
            parts.end(updates(&["c", "d"]), true),
            Err(TooMuch { limit })
        );
        assert!(parts.begin(message(false)).first);
    }
}
