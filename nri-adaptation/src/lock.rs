//! A mutex that is never poisoned.
//!
//! What may not enter: anything that waits while it holds one.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex under which no foreign code runs: no panic can leave what is in it half-changed, so it
/// is whole even after one.
#[derive(Default)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Not to be held while anything is awaited.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in it.
    pub(crate) fn get(&self) -> T
    where
        T: Clone,
    {
        self.lock().clone()
    }

    /// Puts something else into it.
    pub(crate) fn set(&self, value: T) {
        *self.lock() = value;
    }
}

impl<T: fmt::Debug> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
