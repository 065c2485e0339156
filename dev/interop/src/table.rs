//! The result: one row for each thing that was tried.

use std::time::{Duration, Instant};

use super::go::Go;

/// The rows so far. All of them are tried, whatever fails.
#[derive(Debug)]
pub(super) struct Table {
    only: Option<String>,
    rows: Vec<Row>,
    not_tried: Vec<String>,
    begun: Instant,
}

#[derive(Debug)]
struct Row {
    peer: String,
    direction: &'static str,
    subject: String,
    outcome: Result<String, String>,
    took: Duration,
}

impl Table {
    pub(super) fn new(only: Option<String>) -> Self {
        Self {
            only,
            rows: Vec::new(),
            not_tried: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// Tries something and prints its row; how it failed is told at once.
    pub(super) fn row(
        &mut self,
        peer: &str,
        direction: &'static str,
        subject: &str,
        check: impl FnOnce() -> Result<String, String>,
    ) {
        let wanted = |only: &String| {
            [peer, direction, subject]
                .iter()
                .any(|text| text.contains(only.as_str()))
        };
        if !self.only.as_ref().is_none_or(wanted) {
            return;
        }
        let begun = Instant::now();
        let row = Row {
            peer: peer.to_owned(),
            direction,
            subject: subject.to_owned(),
            outcome: check(),
            took: begun.elapsed(),
        };
        println!("{}", row.line());
        self.rows.push(row);
    }

    /// Says that something is left out, and why.
    pub(super) fn not_tried(&mut self, what: &str, why: &str) {
        self.not_tried.push(format!("{what} ({why})"));
    }

    /// Says how it went.
    ///
    /// # Errors
    /// Something failed, or nothing was tried.
    pub(super) fn close(self, go: &Go) -> Result<(), String> {
        let failed = self.rows.iter().filter(|row| row.outcome.is_err());
        let failed: Vec<String> = failed
            .map(|row| format!("{}, {}, {}", row.peer, row.direction, row.subject))
            .collect();
        println!(
            "{} rows, {} failed, in {:.0} s; {}",
            self.rows.len(),
            failed.len(),
            self.begun.elapsed().as_secs_f64(),
            go.version
        );
        if self.only.is_none() && !self.not_tried.is_empty() {
            println!("not tried: {}", self.not_tried.join(", "));
        }
        if self.rows.is_empty() {
            return Err("nothing was tried: --only fits no row".to_owned());
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(format!("these do not work together: {}", failed.join("; ")))
        }
    }
}

impl Row {
    fn line(&self) -> String {
        let (word, text) = match &self.outcome {
            Ok(text) => ("ok", text.clone()),
            Err(text) => ("FAILED", text.replace('\n', "\n          ")),
        };
        format!(
            "{word:<6}  {:<11}  {:<22}  {:<23}  {:>5.1} s  {text}",
            self.peer,
            self.direction,
            self.subject,
            self.took.as_secs_f64()
        )
    }
}
