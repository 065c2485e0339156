//! What several connections hold together of messages that have not arrived whole.
//!
//! A connection bounds itself by the length of a message, and it may hold one for its calls and one
//! for its requests. Of many connections that is too much: their sum is bounded here, and whoever
//! holds most is who is closed.
//!
//! What may not enter: connections themselves; the reader reports to this, and closes whom it
//! names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::error::CloseReason;
use super::shared::Shared;

/// A bound on the bytes that several connections hold together of messages that have not arrived
/// whole. Clones are the same bound; connections are given it by
/// [`ConnectionBuilder::incomplete`](super::ConnectionBuilder::incomplete).
///
/// When there are more, the connection that holds most of them is closed
/// ([`CloseReason::Incomplete`]), whichever it is that sent the last one; of several that hold the
/// same, the newest.
///
/// ```
/// use nri_proto::transport::{Connection, IncompleteBytes, Role};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let incomplete = IncompleteBytes::new(32 << 20);
/// let (ours, _theirs) = tokio::io::duplex(64);
/// let _connection = Connection::builder(Role::Runtime).incomplete(&incomplete).start(ours);
/// assert_eq!(incomplete.held(), 0);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct IncompleteBytes(Arc<Bound>);

#[derive(Debug)]
struct Bound {
    limit: AtomicUsize,
    holders: Mutex<Holders>,
}

/// Those that hold something, in the order in which they began.
#[derive(Debug, Default)]
struct Holders {
    by_number: BTreeMap<u64, (usize, Weak<Shared>)>,
    total: usize,
    next: u64,
}

impl IncompleteBytes {
    /// A bound of so many bytes. One that is below twice [`MAX_MESSAGE`](super::MAX_MESSAGE) closes
    /// connections that do nothing wrong.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Bound {
            limit: AtomicUsize::new(limit),
            holders: Mutex::default(),
        }))
    }

    /// Another bound, from what arrives next on.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// The bytes that are held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.holders().total
    }

    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.0
            .holders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The part of a connection.
    pub(super) fn part(&self, of: &Arc<Shared>) -> Part {
        let number = {
            let mut holders = self.holders();
            holders.next += 1;
            holders.next
        };
        Part {
            bytes: self.clone(),
            connection: Arc::downgrade(of),
            number,
            held: 0,
        }
    }
}

/// What one connection holds. Dropping it gives that back.
#[derive(Debug)]
pub(super) struct Part {
    bytes: IncompleteBytes,
    connection: Weak<Shared>,
    number: u64,
    held: usize,
}

/// A connection that is to be closed, and why.
pub(super) type Blamed = (Arc<Shared>, CloseReason);

impl Part {
    /// Takes note of what the connection holds now. Names the one to be closed, if that is too
    /// much: to be done when no lock is held.
    pub(super) fn holds(&mut self, held: usize) -> Option<Blamed> {
        // Most messages come whole.
        if held == self.held {
            return None;
        }
        let grown = held > self.held;
        self.held = held;
        let limit = self.bytes.0.limit.load(Ordering::Relaxed);
        let mut holders = self.bytes.holders();
        let connection = self.connection.clone();
        holders.set(self.number, held, connection);
        if !grown || holders.total <= limit {
            return None;
        }
        holders.blame(limit)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.held > 0 {
            self.bytes
                .holders()
                .set(self.number, 0, self.connection.clone());
        }
    }
}

impl Holders {
    fn set(&mut self, number: u64, held: usize, connection: Weak<Shared>) {
        let before = match held {
            0 => self.by_number.remove(&number),
            held => self.by_number.insert(number, (held, connection)),
        };
        self.total -= before.map_or(0, |(held, _)| held);
        self.total += held;
    }

    /// The one that holds most. What it holds does not count any more: it is closed.
    fn blame(&mut self, limit: usize) -> Option<Blamed> {
        let total = self.total;
        loop {
            let most = self.by_number.iter().max_by_key(|(_, (held, _))| *held);
            let number = most.map(|(number, _)| *number)?;
            let (held, connection) = self.by_number.remove(&number)?;
            self.total -= held;
            // One that is gone already has let go of it.
            if let Some(connection) = connection.upgrade() {
                let reason = CloseReason::Incomplete { held, total, limit };
                return Some((connection, reason));
            }
        }
    }
}
