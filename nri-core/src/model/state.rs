//! The states that the API tells apart.

/// Where a pod or container is in its life, as NRI counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum State {
    /// Created, not yet started. Pods never are.
    Created = 1,
    /// Running.
    Running = 2,
    /// Stopped, not yet removed.
    Stopped = 3,
    /// Removed, or never heard of.
    Removed = 4,
}
