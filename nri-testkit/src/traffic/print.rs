//! Entries as lines: for people, and for programs. What may not enter: where they come from.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::json;

use super::entry::{Entry, Side, What};
use super::messages::{shown, subject};

/// How many requests without an answer are remembered, to say how long the answer took.
const UNANSWERED: usize = 4096;

/// How entries are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One line for a person to read.
    Text,
    /// One JSON object per line.
    Json,
}

/// Prints entries as they come.
#[derive(Debug)]
pub struct Printer<W> {
    output: W,
    form: Form,
    hide: bool,
    /// When requests came, by connection, asking side and number.
    asked: HashMap<(u64, Side, u32), u64>,
}

impl<W: Write> Printer<W> {
    /// Prints there; `hide` hides values that may be secret.
    pub fn new(output: W, form: Form, hide: bool) -> Self {
        Self {
            output,
            form,
            hide,
            asked: HashMap::new(),
        }
    }

    /// Prints an entry.
    ///
    /// # Errors
    /// The output is gone.
    pub fn print(&mut self, entry: &Entry) -> io::Result<()> {
        let took = self.took(entry);
        match self.form {
            Form::Text => self.text(entry, took),
            Form::Json => self.json(entry, took),
        }
    }

    /// Hands on what was printed.
    ///
    /// # Errors
    /// The output is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    /// How long an answer took, in milliseconds.
    fn took(&mut self, entry: &Entry) -> Option<f64> {
        match &entry.what {
            What::Request { from, stream, .. } if self.asked.len() < UNANSWERED => {
                self.asked
                    .insert((entry.connection, *from, *stream), entry.at_us);
                None
            }
            What::Answer { from, stream, .. } => {
                let asked = self
                    .asked
                    .remove(&(entry.connection, from.other(), *stream))?;
                Some(entry.at_us.saturating_sub(asked) as f64 / 1e3)
            }
            What::Closed => {
                self.asked
                    .retain(|(connection, _, _), _| *connection != entry.connection);
                None
            }
            _ => None,
        }
    }

    fn text(&mut self, entry: &Entry, took: Option<f64>) -> io::Result<()> {
        let ms = entry.at_us as f64 / 1e3;
        write!(self.output, "{ms:>10.1} ms  #{}  ", entry.connection)?;
        match &entry.what {
            What::Opened => writeln!(self.output, "a plugin has connected"),
            What::Closed => writeln!(self.output, "the connection has ended"),
            What::Lost { why } => writeln!(self.output, "LOST: {}", why.escape_debug()),
            What::Request {
                from,
                method,
                payload,
                ..
            } => {
                let message = shown(&entry.what, self.hide);
                // Whatever a peer writes, it is one line.
                let (about, method) = (subject(payload, method), method.escape_debug());
                let about = about.escape_debug();
                let to = from.other().word();
                writeln!(self.output, "to the {to}: {method} {about} {message}")
            }
            What::Answer {
                from,
                method,
                error,
                ..
            } => {
                let took = took
                    .map(|ms| format!(" after {ms:.1} ms"))
                    .unwrap_or_default();
                let who = from.word();
                let method = if method.is_empty() {
                    "something"
                } else {
                    method
                };
                let method = method.escape_debug();
                match error {
                    Some((code, _)) if self.hide => {
                        writeln!(self.output, "the {who} refuses {method}{took}: code {code}")
                    }
                    Some((code, text)) => {
                        writeln!(
                            self.output,
                            "the {who} refuses {method}{took}: {text:?} (code {code})"
                        )
                    }
                    None => {
                        let message = shown(&entry.what, self.hide);
                        writeln!(self.output, "the {who} answers {method}{took}: {message}")
                    }
                }
            }
        }
    }

    fn json(&mut self, entry: &Entry, took: Option<f64>) -> io::Result<()> {
        let mut line = json!({"connection": entry.connection, "at_us": entry.at_us});
        match &entry.what {
            What::Opened => line["kind"] = "opened".into(),
            What::Closed => line["kind"] = "closed".into(),
            What::Lost { why } => {
                line["kind"] = "lost".into();
                line["why"] = why.as_str().into();
            }
            What::Request {
                from,
                stream,
                method,
                timeout_ns,
                ..
            } => {
                line["kind"] = "request".into();
                line["from"] = from.word().into();
                line["stream"] = (*stream).into();
                line["method"] = method.as_str().into();
                line["timeout_ns"] = (*timeout_ns).into();
                line["message"] = shown(&entry.what, self.hide);
            }
            What::Answer {
                from,
                stream,
                method,
                error,
                ..
            } => {
                line["kind"] = "answer".into();
                line["from"] = from.word().into();
                line["stream"] = (*stream).into();
                line["method"] = method.as_str().into();
                if let Some(ms) = took {
                    line["ms"] = ms.into();
                }
                match error {
                    Some((code, text)) => {
                        let text = if self.hide { "***" } else { text };
                        line["error"] = json!({"code": code, "text": text});
                    }
                    None => line["message"] = shown(&entry.what, self.hide),
                }
            }
        }
        writeln!(self.output, "{line}")
    }
}
