//! Commands about the same pod or container, one after the other where one changes what the other
//! needs.
//!
//! Commands that make a pod or end it have it for themselves; those about its containers share it,
//! and have each their container for themselves. So the domain says what plugins have heard, also
//! when commands do not wait for one another.
//!
//! What may not enter: what commands do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Who has which pod and container.
#[derive(Debug, Default)]
pub(super) struct Order {
    pods: Mutex<BTreeMap<String, Arc<RwLock<()>>>>,
    containers: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// While it lives, its pod exists or not as it does now.
#[derive(Debug)]
#[allow(dead_code, reason = "what counts is when they are dropped")]
pub(super) enum Turn {
    /// The pod is somebody's alone.
    Alone(OwnedRwLockWriteGuard<()>),
    /// The pod is shared, a container of it somebody's alone.
    Shared(OwnedRwLockReadGuard<()>, Option<OwnedMutexGuard<()>>),
}

impl Order {
    /// Waits for those who have a pod, or anything in it.
    pub(super) async fn alone(&self, pod: &str) -> Turn {
        let lock = entry(&self.pods, pod);
        Turn::Alone(lock.write_owned().await)
    }

    /// Waits for those who have a pod for themselves, or the container.
    pub(super) async fn shared(&self, pod: &str, container: Option<&str>) -> Turn {
        let pod = entry(&self.pods, pod).read_owned().await;
        let container = match container {
            Some(container) => Some(entry(&self.containers, container).lock_owned().await),
            None => None,
        };
        Turn::Shared(pod, container)
    }
}

/// The lock of an id. Those that nobody has or waits for go now and then, so there are not many
/// more than commands.
fn entry<T: Default>(locks: &Mutex<BTreeMap<String, Arc<T>>>, id: &str) -> Arc<T> {
    /// How many may lie about.
    const IDLE: usize = 1024;
    // Nothing panics while it holds the lock, so a poisoned one is as good as any.
    let mut locks: MutexGuard<'_, _> = locks.lock().unwrap_or_else(PoisonError::into_inner);
    if !locks.contains_key(id) && locks.len() >= IDLE && locks.len().is_power_of_two() {
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
    }
    Arc::clone(locks.entry(id.to_owned()).or_default())
}
