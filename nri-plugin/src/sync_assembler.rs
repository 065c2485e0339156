//! Putting a synchronisation together that comes in several messages. Pure.
//!
//! Every message but the last has `more` set and is answered with `more` and no updates (protocol,
//! since v0.7); the plugin sees one whole.

use std::mem;

use nri_core::api;

/// Puts the messages together: the parts that have come so far.
#[derive(Debug)]
pub(crate) struct SyncAssembler {
    pods: Vec<api::PodSandbox>,
    containers: Vec<api::Container>,
    bytes: usize,
    limit: usize,
}

/// What a message leads to.
#[derive(Debug, PartialEq)]
pub(crate) enum Taken {
    /// There will be more.
    Part,
    /// That was all.
    Whole(Vec<api::PodSandbox>, Vec<api::Container>),
}

/// The parts take more memory than allowed.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "what the runtime has to synchronise takes more than {limit} bytes: raise the limit of the plugin's runner"
)]
pub(crate) struct TooMuch {
    limit: usize,
}

impl SyncAssembler {
    /// No parts; they may take up to `limit` bytes together.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            pods: Vec::new(),
            containers: Vec::new(),
            bytes: 0,
            limit,
        }
    }

    /// Takes a message, which had so many bytes on the wire. After the last one, and after an
    /// error, the next begins anew.
    pub(crate) fn take(
        &mut self,
        message: api::SynchronizeRequest,
        bytes: usize,
    ) -> Result<Taken, TooMuch> {
        // An empty object takes two bytes on the wire and some hundred here, so both count.
        let bytes = bytes
            + message.pods.len() * size_of::<api::PodSandbox>()
            + message.containers.len() * size_of::<api::Container>();
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limit {
            let limit = self.limit;
            *self = Self::new(limit);
            return Err(TooMuch { limit });
        }
        if self.pods.is_empty() {
            self.pods = message.pods;
        } else {
            self.pods.extend(message.pods);
        }
        if self.containers.is_empty() {
            self.containers = message.containers;
        } else {
            self.containers.extend(message.containers);
        }
        if message.more {
            return Ok(Taken::Part);
        }
        self.bytes = 0;
        Ok(Taken::Whole(
            mem::take(&mut self.pods),
            mem::take(&mut self.containers),
        ))
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn take(
        assembler: &mut SyncAssembler,
        message: api::SynchronizeRequest,
    ) -> Result<Taken, TooMuch> {
        let bytes = message.encoded_len();
        assembler.take(message, bytes)
    }

    fn message(pods: &[&str], containers: &[&str], more: bool) -> api::SynchronizeRequest {
        api::SynchronizeRequest {
            pods: pods.iter().map(|id| pod(id)).collect(),
            containers: containers.iter().map(|id| container(id)).collect(),
            more,
        }
    }

    fn pod(id: &str) -> api::PodSandbox {
        api::PodSandbox {
            id: id.into(),
            ..Default::default()
        }
    }

    fn container(id: &str) -> api::Container {
        api::Container {
            id: id.into(),
            ..Default::default()
        }
    }

    #[test]
    fn parts_become_one_whole_in_order_and_the_next_begins_anew() {
        let mut assembler = SyncAssembler::new(1 << 20);
        assert_eq!(
            take(&mut assembler, message(&["a", "b"], &[], true)),
            Ok(Taken::Part)
        );
        assert_eq!(
            take(&mut assembler, message(&[], &[], true)),
            Ok(Taken::Part)
        );
        assert_eq!(
            take(&mut assembler, message(&["c"], &["x"], true)),
            Ok(Taken::Part)
        );
        let whole = Taken::Whole(
            vec![pod("a"), pod("b"), pod("c")],
            vec![container("x"), container("y")],
        );
        assert_eq!(take(&mut assembler, message(&[], &["y"], false)), Ok(whole));
        let next = Taken::Whole(vec![pod("d")], Vec::new());
        assert_eq!(take(&mut assembler, message(&["d"], &[], false)), Ok(next));
    }

    /// Law: however small the objects are on the wire, memory is bounded, and a refusal frees it.
    #[test]
    fn objects_count_with_what_they_take_in_memory() {
        let limit = 100 * size_of::<api::PodSandbox>();
        let mut assembler = SyncAssembler::new(limit);
        let tiny = || message(&[""; 60], &[], true);
        assert_eq!(take(&mut assembler, tiny()), Ok(Taken::Part));
        assert_eq!(take(&mut assembler, tiny()), Err(TooMuch { limit }));
        assert_eq!(assembler.pods.capacity(), 0);
        assert_eq!(take(&mut assembler, tiny()), Ok(Taken::Part));
    }
}
