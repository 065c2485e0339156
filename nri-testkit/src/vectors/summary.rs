//! The report of a run.

use std::fmt;

use super::verdict::Verdict;

/// What became of the vectors of a file. Displays every failure with its differences; the last line
/// is `N passed, M failed, K skipped`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How many vectors passed.
    pub passed: usize,
    /// The vectors that failed, in the order of the file.
    pub failures: Vec<Failure>,
    /// How many vectors were skipped, because documented exceptions leave nothing to compare.
    pub skipped: usize,
}

/// A vector that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The vector's name, or the number of its line.
    pub name: String,
    /// What differs, in words; lines that start with `-` are recorded, lines that start with `+`
    /// are ours.
    pub differences: Vec<String>,
}

impl Summary {
    pub(super) fn add(&mut self, name: String, verdict: Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(differences) => self.failures.push(Failure { name, differences }),
            Verdict::Skipped => self.skipped += 1,
        }
    }

    /// How many vectors failed.
    pub fn failed(&self) -> usize {
        self.failures.len()
    }

    /// Whether none failed.
    pub fn is_success(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAILED {}", self.name)?;
        for difference in &self.differences {
            write!(f, "\n  {}", difference.replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed(),
            self.skipped
        )
    }
}
