//! What was read and encoded last for plugins that are shown the same list, so that those of them
//! that keep pace with each other cost the runtime one reading and one encoding.
//!
//! What may not enter: which plugin is shown what, and reading it.

use std::collections::{BTreeMap, VecDeque};

use nri_core::api::ContainerState;
use nri_core::flow::EncodedObject;
use nri_core::lifecycle::{Life, ObjectKey};
use tokio::sync::Mutex;

use crate::lock::Lock;

/// How many bytes are kept: two parts. A plugin that falls further behind the others reads for
/// itself.
const MOST: usize = 512 << 10;

/// As what something is shown: in which of its lives, and in which state, if not in that which it
/// has when it is read.
pub(crate) type ShownAs = (Life, Option<ContainerState>);

/// What was encoded last.
#[derive(Default)]
pub(crate) struct Recent {
    kept: Lock<Kept>,
    /// Held by whoever reads, so that the others find what it has read.
    pub(crate) turn: Mutex<()>,
}

#[derive(Default)]
struct Kept {
    /// What is gone has nothing.
    objects: BTreeMap<ObjectKey, (ShownAs, Option<EncodedObject>)>,
    in_order: VecDeque<ObjectKey>,
    bytes: usize,
}

impl Recent {
    /// What was encoded lately; `Some(None)` if it is gone.
    pub(crate) fn get(&self, key: &ObjectKey, shown_as: ShownAs) -> Option<Option<EncodedObject>> {
        let kept = self.kept.lock();
        let (encoded_as, object) = kept.objects.get(key)?;
        (*encoded_as == shown_as).then(|| object.clone())
    }

    /// Keeps what was encoded for the others, and forgets what was encoded first.
    pub(crate) fn keep(&self, key: ObjectKey, shown_as: ShownAs, object: Option<EncodedObject>) {
        let len = |object: &Option<EncodedObject>| {
            let bytes = object.as_ref().map(|object| object.bytes().len());
            bytes.unwrap_or_default()
        };
        let mut kept = self.kept.lock();
        kept.bytes += len(&object);
        let before = kept.objects.insert(key.clone(), (shown_as, object));
        match before {
            Some((_, before)) => kept.bytes -= len(&before),
            None => kept.in_order.push_back(key),
        }
        while kept.bytes > MOST {
            let first = kept.in_order.pop_front();
            let Some((_, gone)) = first.and_then(|first| kept.objects.remove(&first)) else {
                return;
            };
            kept.bytes -= len(&gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use nri_core::api;
    use nri_core::flow::ObjectEncoder;
    use nri_core::lifecycle::{Lifecycles, Listing, Observed};

    use super::*;

    /// Law: what is kept has a bound, whatever is kept in which order; what was kept last is there,
    /// for those who are shown it as the same.
    #[test]
    fn what_was_encoded_last_is_kept_within_a_bound() {
        let key = |number: usize| ObjectKey::container("", format!("c{number}"));
        let mut lives = Lifecycles::new();
        let listing: Listing = lives.begin_listing();
        let running = |number| (key(number), Observed::Running);
        assert!(lives.seed(listing, "", (0..100).map(running)).is_empty());
        let life = |number| lives.life(&key(number)).unwrap();
        let recent = Recent::default();
        let mut encoder = ObjectEncoder::new();
        for number in (0..100).chain(0..100) {
            let container = api::Container {
                id: format!("c{number}"),
                args: vec!["x".repeat(MOST / 10)],
                ..Default::default()
            };
            let state = ContainerState::ContainerRunning;
            let object = encoder.container(&container, state);
            recent.keep(key(number), (life(number), None), Some(object.clone()));
            let found = recent.get(&key(number), (life(number), None));
            assert_eq!(found, Some(Some(object)));
            assert_eq!(recent.get(&key(number), (life(number), Some(state))), None);
            let another = (number + 1) % 100;
            assert_eq!(recent.get(&key(number), (life(another), None)), None);
            let kept = recent.kept.lock();
            assert!(kept.bytes <= MOST && kept.objects.len() < 10);
            assert_eq!(kept.objects.len(), kept.in_order.len());
        }
        recent.keep(key(0), (life(0), None), None);
        assert_eq!(
            recent.get(&key(0), (life(0), None)),
            Some(None),
            "it is gone"
        );
    }
}
