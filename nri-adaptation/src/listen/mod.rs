//! The socket on which plugins connect: opened, accepted on, removed.

pub(crate) mod accept;
pub(crate) mod listener;
pub(crate) mod socket;
