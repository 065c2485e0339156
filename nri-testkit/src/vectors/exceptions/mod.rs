//! Where something else than the record is expected: one entry per tag, and what is compared
//! instead.

mod events;
mod exception;
mod requests;
mod sides;

use serde_json::Value;

pub use exception::Exception;

use events::EVENTS;
use requests::REQUESTS;
use sides::Sides;

use super::observed::Observed;
use super::record::{EventVector, MergeVector};

/// Every exception, in the order in which they are applied.
///
/// Whatever an exception leaves out of the views, one thing is compared always: the last plugin
/// must see the original with the combined adjustment applied.
pub fn exceptions() -> impl Iterator<Item = Exception> {
    let of_requests = REQUESTS.iter().map(|(exception, _)| *exception);
    of_requests.chain(EVENTS.iter().map(|(exception, _)| *exception))
}

/// Brings both sides to where they must agree.
pub(super) fn settle(vector: &MergeVector, recorded: &mut Observed, ours: &mut Observed) {
    for (exception, settle) in REQUESTS {
        let applies = match exception.tag.strip_prefix("kind:") {
            Some(kind) => vector.kind == kind,
            None => vector.has_tag(exception.tag),
        };
        if applies {
            settle(&mut Sides {
                vector,
                recorded,
                ours,
            });
        }
    }
}

/// What a call must give.
pub(super) fn expected_of_event(vector: &EventVector) -> Value {
    let mut expected = vector.out.clone();
    for (exception, rewrite) in EVENTS {
        if vector.tags.iter().any(|tag| tag == exception.tag) {
            expected = rewrite(vector, expected);
        }
    }
    expected
}
