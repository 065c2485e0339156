//! What a person sees of a scenario, and what a program does.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::play::{EndReport, Progress, StepReport};

/// Prints progress as text: a timeline, the adjustments with their owners, and what is not as expected.
#[derive(Debug)]
pub struct Text<W>(pub W);

/// Prints progress as one JSON object per line.
#[derive(Debug)]
pub struct Json<W>(pub W);

impl<W: Write> Json<W> {
    /// Prints.
    ///
    /// # Errors
    /// The output is gone.
    pub fn print(&mut self, progress: &Progress) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, progress)?;
        writeln!(self.0)?;
        self.0.flush()
    }
}

impl<W: Write> Text<W> {
    /// Prints.
    ///
    /// # Errors
    /// The output is gone.
    pub fn print(&mut self, progress: &Progress) -> io::Result<()> {
        match progress {
            Progress::Waiting {
                socket, plugins, ..
            } => {
                writeln!(self.0, "waiting for {} at {socket}", plugins.join(", "))?;
            }
            Progress::Ready { scenario, plugins } => {
                writeln!(self.0, "{scenario}")?;
                for plugin in plugins {
                    writeln!(self.0, "  plugin {} ({})", plugin.plugin, plugin.kind)?;
                }
            }
            Progress::Step(step) => self.step(step)?,
            Progress::End(end) => self.end(end)?,
        }
        self.0.flush()
    }

    fn step(&mut self, report: &StepReport) -> io::Result<()> {
        let StepReport {
            number,
            line,
            step,
            at_ms,
            result,
            problems,
        } = report;
        writeln!(self.0, "{at_ms:>9.1} ms  {number:>2}  {step}")?;
        for outcome in list(result, "outcomes") {
            let text = |name: &str| outcome[name].as_str().unwrap_or_default();
            let mut said = format!("{} {}", text("plugin"), text("outcome"));
            for extra in [text("event"), text("error")]
                .into_iter()
                .filter(|extra| !extra.is_empty())
            {
                said.push_str(&format!(" ({extra})"));
            }
            if let Some(ms) = outcome["ms"].as_f64() {
                said.push_str(&format!(" in {ms:.1} ms"));
            }
            writeln!(self.0, "{:18}{said}", "")?;
        }
        if let Some(error) = result["error"].as_str() {
            writeln!(self.0, "{:18}error: {error}", "")?;
        }
        let nothing = Map::new();
        let owners = result["owners"].as_object().unwrap_or(&nothing);
        for (container, fields) in owners {
            for (field, owner) in fields.as_object().unwrap_or(&nothing) {
                match owner {
                    Value::Object(entries) => {
                        for (key, owner) in entries {
                            self.owned(container, field, Some(key), owner, &result["adjustment"])?;
                        }
                    }
                    owner => self.owned(container, field, None, owner, &result["adjustment"])?,
                }
            }
        }
        for update in list(result, "updates") {
            writeln!(
                self.0,
                "{:18}update of {} by {}: {}",
                "",
                text(update, "containerId"),
                text(update, "plugin"),
                update["linux"]["resources"]
            )?;
        }
        for eviction in list(result, "evictions") {
            writeln!(
                self.0,
                "{:18}eviction of {} by {}: {}",
                "",
                text(eviction, "containerId"),
                text(eviction, "plugin"),
                text(eviction, "reason")
            )?;
        }
        for problem in problems {
            writeln!(
                self.0,
                "  NOT AS EXPECTED (line {line}) {}: {}",
                problem.at, problem.problem
            )?;
        }
        Ok(())
    }

    fn owned(
        &mut self,
        container: &str,
        field: &str,
        key: Option<&str>,
        owner: &Value,
        adjustment: &Value,
    ) -> io::Result<()> {
        let owner = owner.as_str().unwrap_or_default();
        let name = match key {
            Some(key) => format!("{field} {key}"),
            None => field.to_owned(),
        };
        match (owner.strip_prefix('-'), value_of(field, key, adjustment)) {
            (Some(owner), _) => writeln!(self.0, "{:18}{container}: no {name}, by {owner}", ""),
            (None, Some(value)) => {
                writeln!(self.0, "{:18}{container}: {name} = {value}, by {owner}", "")
            }
            (None, None) => writeln!(self.0, "{:18}{container}: {name}, by {owner}", ""),
        }
    }

    fn end(&mut self, end: &EndReport) -> io::Result<()> {
        for problem in &end.problems {
            writeln!(
                self.0,
                "  NOT AS EXPECTED (in the end) {}: {}",
                problem.at, problem.problem
            )?;
        }
        let EndReport {
            steps,
            expectations,
            failed,
            ..
        } = end;
        match failed {
            0 => writeln!(
                self.0,
                "{steps} steps, {expectations} expectations: all as expected"
            ),
            failed => writeln!(
                self.0,
                "{steps} steps, {expectations} expectations: {failed} NOT AS EXPECTED"
            ),
        }
    }
}

fn list<'a>(result: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    result[name].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The value of something that has an owner, where it is one text.
fn value_of(field: &str, key: Option<&str>, adjustment: &Value) -> Option<String> {
    let key = key?;
    let found = |list: &str, name: &str| {
        let entries = adjustment[list].as_array()?;
        entries.iter().find(|entry| entry[name] == key)
    };
    let value = match field {
        "Annotations" => adjustment["annotations"][key].as_str()?,
        "Env" => text(found("env", "key")?, "value"),
        "Mounts" => text(found("mounts", "destination")?, "source"),
        _ => return None,
    };
    Some(value.to_owned())
}
