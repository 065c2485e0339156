//! What a person sees of a scenario, and what a program does.

use std::fmt;
use std::io::{self, Write};

use serde_json::{Map, Value};

use super::play::{EndReport, Progress, StepReport};

/// Prints progress as text: a timeline, the adjustments with their owners, and what is not as
/// expected.
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
        for owned in owned(result) {
            writeln!(self.0, "{:18}{owned}", "")?;
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

/// Something in a container that a plugin asked for.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) container: String,
    /// The field, and the entry where it has entries.
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) plugin: String,
    pub(super) is_removed: bool,
}

impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            container,
            name,
            plugin,
            ..
        } = self;
        match (self.is_removed, &self.value) {
            (true, _) => write!(f, "{container}: no {name}, by {plugin}"),
            (false, Some(value)) => write!(f, "{container}: {name} = {value}, by {plugin}"),
            (false, None) => write!(f, "{container}: {name}, by {plugin}"),
        }
    }
}

/// All that has an owner in a result.
pub(super) fn owned(result: &Value) -> Vec<Owned> {
    let nothing = Map::new();
    let adjustment = &result["adjustment"];
    let mut all = Vec::new();
    let mut add = |container: &str, field: &str, key: Option<&str>, owner: &Value| {
        let owner = owner.as_str().unwrap_or_default();
        all.push(Owned {
            container: container.to_owned(),
            name: match key {
                Some(key) => format!("{field} {key}"),
                None => field.to_owned(),
            },
            value: value_of(field, key, adjustment),
            plugin: owner.strip_prefix('-').unwrap_or(owner).to_owned(),
            is_removed: owner.starts_with('-'),
        });
    };
    for (container, fields) in result["owners"].as_object().unwrap_or(&nothing) {
        for (field, owner) in fields.as_object().unwrap_or(&nothing) {
            match owner {
                Value::Object(entries) => {
                    for (key, owner) in entries {
                        add(container, field, Some(key), owner);
                    }
                }
                owner => add(container, field, None, owner),
            }
        }
    }
    all
}

pub(super) fn list<'a>(result: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    result[name].as_array().into_iter().flatten()
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Where in an adjustment the value of a field is; for a field with entries: where they are, and by
/// what an entry is known (empty where that is the name of the member).
const PLACES: &[(&str, &str, Option<&str>)] = &[
    ("Annotations", "/annotations", Some("")),
    ("Mounts", "/mounts", Some("destination")),
    ("Devices", "/linux/devices", Some("path")),
    ("CdiDevices", "/CDIDevices", Some("name")),
    ("Env", "/env", Some("key")),
    ("Args", "/args", None),
    ("MemLimit", "/linux/resources/memory/limit", None),
    (
        "MemReservation",
        "/linux/resources/memory/reservation",
        None,
    ),
    ("MemSwapLimit", "/linux/resources/memory/swap", None),
    ("MemKernelLimit", "/linux/resources/memory/kernel", None),
    ("MemTcpLimit", "/linux/resources/memory/kernelTcp", None),
    ("MemSwappiness", "/linux/resources/memory/swappiness", None),
    (
        "MemDisableOomKiller",
        "/linux/resources/memory/disableOomKiller",
        None,
    ),
    (
        "MemUseHierarchy",
        "/linux/resources/memory/useHierarchy",
        None,
    ),
    ("CpuShares", "/linux/resources/cpu/shares", None),
    ("CpuQuota", "/linux/resources/cpu/quota", None),
    ("CpuPeriod", "/linux/resources/cpu/period", None),
    (
        "CpuRealtimeRuntime",
        "/linux/resources/cpu/realtimeRuntime",
        None,
    ),
    (
        "CpuRealtimePeriod",
        "/linux/resources/cpu/realtimePeriod",
        None,
    ),
    ("CpuSetCpus", "/linux/resources/cpu/cpus", None),
    ("CpuSetMems", "/linux/resources/cpu/mems", None),
    ("PidsLimit", "/linux/resources/pids/limit", None),
    (
        "HugepageLimits",
        "/linux/resources/hugepageLimits",
        Some("pageSize"),
    ),
    ("BlockioClass", "/linux/resources/blockioClass", None),
    ("RdtClass", "/linux/resources/rdtClass", None),
    ("CgroupsUnified", "/linux/resources/unified", Some("")),
    ("CgroupsPath", "/linux/cgroupsPath", None),
    ("OomScoreAdj", "/linux/oomScoreAdj", None),
    ("Rlimits", "/rlimits", Some("type")),
    ("IoPriority", "/linux/ioPriority", None),
    ("SeccompPolicy", "/linux/seccompPolicy", None),
    ("Namespace", "/linux/namespaces", Some("type")),
    ("Sysctl", "/linux/sysctl", Some("")),
    ("LinuxNetDevices", "/linux/netDevices", Some("")),
    ("LinuxSched", "/linux/scheduler", None),
    ("RdtClosID", "/linux/rdt/closId", None),
    ("RdtSchemata", "/linux/rdt/schemata", None),
    ("RdtEnableMonitoring", "/linux/rdt/enableMonitoring", None),
    ("MemoryPolicy", "/linux/memoryPolicy", None),
];

/// The value of something that has an owner, in short.
fn value_of(field: &str, key: Option<&str>, adjustment: &Value) -> Option<String> {
    let place = |(name, _, _): &&(&str, &str, Option<&str>)| name.eq_ignore_ascii_case(field);
    let (name, pointer, known_by) = PLACES.iter().find(place)?;
    let value = adjustment.pointer(pointer)?;
    let value = match (known_by, key) {
        (Some(""), Some(key)) => value.get(key)?,
        (Some(known_by), Some(key)) => {
            let mut entries = value.as_array()?.iter();
            entries.find(|entry| entry[*known_by] == key)?
        }
        _ => value,
    };
    // What is usual of these is one text.
    let value = match *name {
        "Env" => value.get("value").unwrap_or(&Value::Null),
        "Mounts" => value.get("source").unwrap_or(value),
        "HugepageLimits" => value.get("limit").unwrap_or(value),
        // A wrapped number, as protobuf has it where absence counts.
        _ => value.get("value").unwrap_or(value),
    };
    Some(match value {
        Value::String(text) => short(text),
        Value::Null => String::new(),
        value => short(&value.to_string()),
    })
}

/// Not all of a long text.
fn short(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sim::field_names;

    #[test]
    fn every_field_that_has_a_value_is_shown_with_it() {
        for name in field_names() {
            let known = PLACES
                .iter()
                .any(|(place, _, _)| place.eq_ignore_ascii_case(name));
            // Hooks are lists of what is appended, without an entry that an owner could name.
            assert!(known || name.eq_ignore_ascii_case("OciHooks"), "{name}");
        }
        let adjustment = json!({
            "args": ["a", "b"],
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": "2", "soft": "1"}],
            "linux": {
                "resources": {"memory": {"limit": {"value": "512"}}, "cpu": {"cpus": "0-3"}},
                "sysctl": {"net.ipv4.ip_forward": "1"},
            },
        });
        for (field, key, shown) in [
            ("Args", None, r#"["a","b"]"#),
            ("MemLimit", None, "512"),
            ("CPUSetCPUs", None, "0-3"),
            ("Sysctl", Some("net.ipv4.ip_forward"), "1"),
            (
                "Rlimits",
                Some("RLIMIT_NOFILE"),
                r#"{"hard":"2","soft":"1","type":"RLIMIT_NOFILE"}"#,
            ),
        ] {
            assert_eq!(value_of(field, key, &adjustment).as_deref(), Some(shown));
        }
    }
}
