//! The rules of a domain, and which of them were broken.

use std::fmt;

/// A rule that NRI relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// See [`text`](Rule::text).
    Name,
    /// See [`text`](Rule::text).
    Listed,
    /// See [`text`](Rule::text).
    ListedIsFound,
    /// See [`text`](Rule::text).
    Outline,
    /// See [`text`](Rule::text).
    Removed,
    /// See [`text`](Rule::text).
    Pod,
    /// See [`text`](Rule::text).
    State,
    /// See [`text`](Rule::text).
    FullIds,
    /// See [`text`](Rule::text).
    Unknown,
    /// See [`text`](Rule::text).
    Snapshots,
    /// See [`text`](Rule::text).
    UpdateVisible,
    /// See [`text`](Rule::text).
    UpdateOverlays,
    /// See [`text`](Rule::text).
    EmptyUpdate,
    /// See [`text`](Rule::text).
    EvictionStops,
    /// See [`text`](Rule::text).
    EvictedTwice,
    /// See [`text`](Rule::text).
    KeepsStopped,
    /// See [`text`](Rule::text).
    RunsAgain,
    /// See [`text`](Rule::text).
    Parallel,
    /// See [`text`](Rule::text).
    Reentrant,
    /// See [`text`](Rule::text).
    Answers,
}

impl Rule {
    /// Every rule, in the order in which they are checked.
    pub const ALL: [Rule; 20] = [
        Rule::Name,
        Rule::Listed,
        Rule::ListedIsFound,
        Rule::Outline,
        Rule::Removed,
        Rule::Pod,
        Rule::State,
        Rule::FullIds,
        Rule::Unknown,
        Rule::Snapshots,
        Rule::UpdateVisible,
        Rule::UpdateOverlays,
        Rule::EmptyUpdate,
        Rule::EvictionStops,
        Rule::EvictedTwice,
        Rule::KeepsStopped,
        Rule::RunsAgain,
        Rule::Parallel,
        Rule::Reentrant,
        Rule::Answers,
    ];

    /// The rule in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Name => "a domain has a name, and always the same one",
            Self::Listed => "every pod and container that exists is listed, once",
            Self::ListedIsFound => "what is listed is found by its id, the same in both places",
            Self::Outline => {
                "an outline, where there is one, says what the listing says, and what is in it is found by its id together with others"
            }
            Self::Removed => "what was removed is neither listed nor found",
            Self::Pod => "a container names its pod by the pod's full id",
            Self::State => {
                "a container shows its state: running if it runs, stopped if it was stopped"
            }
            Self::FullIds => {
                "an id is the full id: no part of it finds, updates or evicts anything"
            }
            Self::Unknown => {
                "an id that is not known is NotFound for updates and evictions, and nothing in look-ups"
            }
            Self::Snapshots => {
                "what a domain hands out is a snapshot: it does not change afterwards"
            }
            Self::UpdateVisible => "what an update sets can be seen once it has returned",
            Self::UpdateOverlays => "what an update does not set stays as it is",
            Self::EmptyUpdate => "an update without resources is Invalid, or does nothing",
            Self::EvictionStops => {
                "a container is stopped, or gone, once its eviction has returned"
            }
            Self::EvictedTwice => {
                "the eviction of a container that is stopped already is a success"
            }
            Self::KeepsStopped => {
                "a domain always says the same of whether what was stopped may run again, and if so it lists stopped containers until they are removed"
            }
            Self::RunsAgain => {
                "a container that was started again is listed as running, and can be updated and evicted"
            }
            Self::Parallel => "calls may come at the same time, and none is lost",
            Self::Reentrant => {
                "NRI may be called from within an update or an eviction, and may look things up meanwhile"
            }
            Self::Answers => "a call returns, and does not panic",
        }
    }
}

/// The rule in words.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A rule that was broken, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What was done, and what came of it.
    pub seen: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}): {}", self.rule, self.rule, self.seen)
    }
}

/// What came of a check. It displays as one line per finding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a report may have findings"]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(findings: Vec<Finding>) -> Self {
        Self { findings }
    }

    /// The rules that were broken, in the order in which that was seen.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether all rules were kept.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether a rule was broken.
    pub fn breaks(&self, rule: Rule) -> bool {
        self.findings.iter().any(|finding| finding.rule == rule)
    }

    /// Asserts that all rules were kept.
    ///
    /// # Panics
    /// They were not; the message is the report.
    #[track_caller]
    pub fn assert_ok(&self) {
        assert!(self.is_ok(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.findings.len() {
            0 => return f.write_str("the domain keeps all rules"),
            1 => f.write_str("the domain breaks 1 rule:")?,
            count => write!(f, "the domain breaks rules in {count} ways:")?,
        }
        for finding in &self.findings {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}
