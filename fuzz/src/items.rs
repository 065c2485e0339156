//! Counting what is in a message before it is built.

use nri_proto::api;
use nri_proto::items::{Limits, Shaped};

const NO_LIMITS: Limits = Limits {
    asked: usize::MAX,
    items: usize::MAX,
};

/// Counts the items of bytes as each of the messages that plugins ask for changes with. Where they
/// are such a message, the count is what the message written anew has: what is built, neither more
/// nor less.
///
/// Fields that stand twice are the exception: of a single message the later ones are merged into
/// the first, and of a map the later entry counts. So there the count may be higher.
///
/// # Panics
/// A law does not hold.
pub fn check(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    match kind % 6 {
        0 => message::<api::UpdateContainersRequest>(bytes, |m| m.update.len() + m.evict.len()),
        1 => message::<api::SynchronizeResponse>(bytes, |m| m.update.len()),
        2 => message::<api::CreateContainerResponse>(bytes, |m| m.update.len() + m.evict.len()),
        3 => message::<api::UpdateContainerResponse>(bytes, |m| m.update.len() + m.evict.len()),
        4 => message::<api::StopContainerResponse>(bytes, |m| m.update.len()),
        _ => message::<api::ContainerAdjustment>(bytes, |_| 0),
    }
}

fn message<M: Shaped + Default>(bytes: &[u8], asked: impl Fn(&M) -> usize) {
    let counted = match NO_LIMITS.check::<M>(bytes) {
        Ok(counted) => counted,
        Err(error) => panic!("there is no limit, and {error}"),
    };
    let Ok(message) = M::decode(bytes) else {
        return;
    };
    assert_eq!(counted.asked, asked(&message));
    let written = message.encode_to_vec();
    match NO_LIMITS.check::<M>(&written) {
        // What was written has every field once, so the count of it is exact.
        Ok(again) => {
            assert_eq!(again.asked, counted.asked);
            assert!(again.items <= counted.items, "{again:?} of {counted:?}");
            let rewritten = M::decode(&*written).map(|message| message.encode_to_vec());
            let third = rewritten.map(|bytes| NO_LIMITS.check::<M>(&bytes));
            assert_eq!(third, Ok(Ok(again)));
        }
        Err(error) => panic!("there is no limit, and {error}"),
    }
    // At the limit it passes; one less is an error.
    let exact = Limits {
        asked: counted.asked,
        items: counted.items,
    };
    assert_eq!(exact.check::<M>(bytes), Ok(counted));
    if let Some(items) = counted.items.checked_sub(1) {
        assert!(Limits { items, ..NO_LIMITS }.check::<M>(bytes).is_err());
    }
}
