//! One documented exception.

/// A documented exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exception {
    /// The tag that vectors carry; `kind:stop` stands for all vectors of that kind.
    pub tag: &'static str,
    /// What was recorded.
    pub recorded: &'static str,
    /// What is compared instead.
    pub instead: &'static str,
}

pub(super) const fn entry(
    tag: &'static str,
    recorded: &'static str,
    instead: &'static str,
) -> Exception {
    Exception {
        tag,
        recorded,
        instead,
    }
}
