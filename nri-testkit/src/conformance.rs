//! What conformance suites share: a table of checks with what to do, what was found, and the report
//! of it.
//!
//! What may not enter: what is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value, json};

/// A check of a suite.
pub trait Promise: fmt::Debug + Copy + Ord {
    /// What is promised, in words.
    fn promise(self) -> &'static str;

    /// What to do where it is not kept.
    fn advice(self) -> &'static str;
}

/// The one table of a suite's checks: name, what is promised, and what to do where it is not kept.
macro_rules! checks {
    ($(#[$about:meta])* pub enum $name:ident; $($check:ident: $promise:literal, $advice:literal;)+) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(
                #[doc = $promise]
                $check,
            )+
        }

        impl $name {
            /// Every check, in the order in which they are made.
            pub const ALL: &'static [$name] = &[$($name::$check),+];

            /// The promise in words.
            #[must_use]
            pub fn promise(self) -> &'static str {
                match self { $(Self::$check => $promise),+ }
            }

            /// What is to be done where it is not kept.
            #[must_use]
            pub fn advice(self) -> &'static str {
                match self { $(Self::$check => $advice),+ }
            }
        }

        impl $crate::conformance::Promise for $name {
            fn promise(self) -> &'static str {
                Self::promise(self)
            }

            fn advice(self) -> &'static str {
                Self::advice(self)
            }
        }
    };
}
pub(crate) use checks;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The promise was kept.
    Passed,
    /// It was not; what was seen.
    Failed(Vec<String>),
    /// It could not be looked at; why.
    Skipped(String),
}

impl Outcome {
    /// In one word, and what was seen.
    pub(crate) fn in_words(&self) -> (&'static str, &[String]) {
        match self {
            Self::Passed => ("passed", &[]),
            Self::Failed(seen) => ("FAILED", seen),
            Self::Skipped(why) => ("skipped", std::slice::from_ref(why)),
        }
    }
}

/// A check and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult<C> {
    /// The check.
    pub check: C,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of all checks. It displays as a table, with what was seen and what to do below what
/// failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report may have failures"]
pub struct Report<C> {
    results: Vec<CheckResult<C>>,
}

impl<C: Promise> Report<C> {
    /// The checks in their order.
    pub fn results(&self) -> &[CheckResult<C>] {
        &self.results
    }

    fn having(&self, wanted: impl Fn(&Outcome) -> bool) -> Vec<C> {
        let having = self.results.iter().filter(|it| wanted(&it.outcome));
        having.map(|it| it.check).collect()
    }

    /// The checks that failed.
    pub fn failed(&self) -> Vec<C> {
        self.having(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    /// The checks that were skipped.
    pub fn skipped(&self) -> Vec<C> {
        self.having(|outcome| matches!(outcome, Outcome::Skipped(_)))
    }

    /// Whether none failed.
    pub fn is_ok(&self) -> bool {
        self.failed().is_empty()
    }

    /// In one line: how many passed, failed and were skipped.
    pub fn summary(&self) -> String {
        let total = self.results.len();
        let (failed, skipped) = (self.failed().len(), self.skipped().len());
        let passed = total - failed - skipped;
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }

    /// As one JSON object: `ok`, `summary`, and in `checks` of each `check`, `outcome` (`passed`,
    /// `failed`, `skipped`), `promise`, `seen` and `advice`.
    pub fn to_json(&self) -> Value {
        let checks = self.results.iter().map(|CheckResult { check, outcome }| {
            let (word, seen) = outcome.in_words();
            json!({
                "check": format!("{check:?}"),
                "outcome": word.to_lowercase(),
                "promise": check.promise(),
                "seen": seen,
                "advice": check.advice(),
            })
        });
        json!({
            "ok": self.is_ok(),
            "summary": self.summary(),
            "checks": checks.collect::<Vec<_>>(),
        })
    }

    /// As a page of HTML that needs nothing beside itself.
    #[cfg(feature = "cli")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cli")))]
    pub fn to_html(&self, title: &str) -> String {
        use crate::page::{Page, escaped};

        let mut page = Page::new(title);
        page.paragraph(&self.summary());
        page.push("<table>\n<thead><tr><th>check</th><th>came to</th><th>what is promised</th></tr></thead>\n<tbody>\n");
        for CheckResult { check, outcome } in &self.results {
            let (word, seen) = outcome.in_words();
            let class = word.to_lowercase();
            page.push(&format!(
                "<tr class=\"{class}\"><td><code>{check:?}</code></td><td class=\"outcome\">{word}</td><td>{}",
                escaped(check.promise())
            ));
            if !seen.is_empty() {
                page.list(seen);
            }
            if let Outcome::Failed(_) = outcome {
                page.push("<p><strong>What to do:</strong> ");
                page.push(&format!("{}</p>", escaped(check.advice())));
            }
            page.push("</td></tr>\n");
        }
        page.push("</tbody>\n</table>\n");
        page.finish()
    }

    /// Asserts that none failed.
    ///
    /// # Panics
    /// One did; the message is the report.
    #[track_caller]
    pub fn assert_ok(&self) {
        assert!(self.is_ok(), "\n{self}");
    }
}

impl<C: Promise> fmt::Display for Report<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for CheckResult { check, outcome } in &self.results {
            let (word, seen) = outcome.in_words();
            writeln!(
                f,
                "{word:8} {:16} {}",
                format!("{check:?}"),
                check.promise()
            )?;
            for seen in seen {
                writeln!(f, "         - {seen}")?;
            }
            if let Outcome::Failed(_) = outcome {
                writeln!(f, "         what to do: {}", check.advice())?;
            }
        }
        f.write_str(&self.summary())
    }
}

/// What is found while a suite runs.
#[derive(Debug)]
pub(crate) struct Findings<C> {
    found: BTreeMap<C, Vec<String>>,
    skipped: BTreeMap<C, String>,
    /// The checks that were looked at.
    seen: BTreeSet<C>,
}

impl<C> Default for Findings<C> {
    fn default() -> Self {
        Self {
            found: BTreeMap::new(),
            skipped: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }
}

impl<C: Promise> Findings<C> {
    /// Something is not as it should be.
    pub(crate) fn found(&mut self, check: C, seen: impl Into<String>) {
        let found = self.found.entry(check).or_default();
        let seen = seen.into();
        if !found.contains(&seen) {
            found.push(seen);
        }
    }

    /// Whether something is not as it should be with a check.
    #[cfg(feature = "cli")]
    pub(crate) fn has_found(&self, check: &C) -> bool {
        self.found.contains_key(check)
    }

    /// Something cannot be looked at.
    pub(crate) fn skip(&mut self, check: C, why: impl Into<String>) {
        self.skipped.entry(check).or_insert_with(|| why.into());
    }

    /// These were looked at.
    pub(crate) fn saw(&mut self, checks: &[C]) {
        self.seen.extend(checks);
    }

    /// What came of these checks.
    pub(crate) fn report(mut self, checks: &[C]) -> Report<C> {
        let results = checks.iter().map(|check| {
            let outcome = match (self.found.remove(check), self.skipped.remove(check)) {
                (Some(seen), _) => Outcome::Failed(seen),
                (None, Some(why)) => Outcome::Skipped(why),
                (None, None) if self.seen.contains(check) => Outcome::Passed,
                (None, None) => Outcome::Skipped("nothing was looked at".to_owned()),
            };
            CheckResult {
                check: *check,
                outcome,
            }
        });
        Report {
            results: results.collect(),
        }
    }
}
