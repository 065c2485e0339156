//! What became of one vector.

/// What became of one vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// The differences, in words.
    Failed(Vec<String>),
    /// Documented exceptions leave nothing to compare.
    #[expect(dead_code, reason = "no exception goes that far at present")]
    Skipped,
}

impl Verdict {
    /// Passed unless there are differences.
    pub(super) fn of(differences: Vec<String>) -> Self {
        if differences.is_empty() {
            Self::Passed
        } else {
            Self::Failed(differences)
        }
    }
}
