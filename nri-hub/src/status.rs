//! How a hub is, as a value: for the program's `status`, as JSON, for its page and its probes.
//!
//! What may not enter: where it is served.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::records::{AuditEntry, Percentiles, RequestRecord};

/// How a hub is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The hub's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Who it is to the runtime above.
    pub identity: String,
    /// How long it runs, in seconds.
    pub uptime_s: u64,
    /// Why it is not ready: no runtime above, or required plugins that are missing. Empty if it
    /// is.
    pub not_ready: Vec<String>,
    /// The runtime above.
    pub runtime: RuntimeStatus,
    /// The configuration.
    pub config: ConfigStatus,
    /// Where plugins connect.
    pub socket: String,
    /// How many pods there are.
    pub pods: usize,
    /// How many containers there are.
    pub containers: usize,
    /// How many requests of the runtime came.
    pub requests: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The plugins, in the order in which they are called.
    pub plugins: Vec<PluginStatus>,
    /// The last requests, the newest last.
    pub last_requests: Vec<RequestRecord>,
    /// What plugins asked for lately and what the policy said, the newest last.
    pub audit: Vec<AuditEntry>,
}

/// The runtime above.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RuntimeStatus {
    /// `connecting`, `configured`, `ready`, `waiting` or `ended`.
    pub state: String,
    /// Where it is.
    pub socket: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its protocol level; empty before v0.12.
    pub nri_version: String,
    /// How long it waits for an answer, in milliseconds; 0 if it does not say.
    pub request_timeout_ms: u64,
    /// The events that it sends.
    pub events: Vec<String>,
    /// Why it is not connected.
    pub reason: String,
    /// How often it was connected, synchronised and all.
    pub connections: u64,
}

/// The configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConfigStatus {
    /// Its file; empty if there is none.
    pub file: String,
    /// When the one in force was read, in milliseconds since the epoch.
    pub loaded_at_ms: u64,
    /// Why a newer one is not in force.
    pub error: Option<String>,
    /// What of the one in force takes a restart.
    pub needs_restart: Vec<String>,
}

/// A plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PluginStatus {
    /// Its identity.
    pub plugin: String,
    /// `external`, `launched` or `built-in`.
    pub kind: String,
    /// How far it is.
    pub state: String,
    /// Its process, where it has one of its own.
    pub pid: Option<i32>,
    /// The user that it runs as.
    pub uid: Option<u32>,
    /// The protocol level that it registered with.
    pub nri_version: String,
    /// The events that it gets.
    pub events: Vec<String>,
    /// Calls that are under way.
    pub in_flight: u32,
    /// Calls that are over.
    pub calls: u64,
    /// Calls that it answered with an error.
    pub failures: u64,
    /// Calls that it did not answer in time.
    pub timeouts: u64,
    /// How many of the last calls in a row it did not answer in time.
    pub strikes: u32,
    /// Calls that it did not get, since it still owed an answer.
    pub skipped: u64,
    /// Whether it only hears of what happens.
    pub observes: bool,
    /// Events that it is to be told as an observer, when it has the time.
    pub queued: usize,
    /// Events that it did not get as an observer, since it was too far behind.
    pub missed: u64,
    /// How often it was launched again.
    pub restarts: u64,
    /// How long its answers took.
    pub latency: Percentiles,
    /// The longest, since it connected, in microseconds.
    pub max_us: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// For a terminal: control characters of others do nothing in it.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write_head(&mut text)?;
        self.write_plugins(&mut text)?;
        self.write_audit(&mut text)?;
        f.write_str(&text)
    }
}

impl Status {
    fn write_head(&self, text: &mut String) -> fmt::Result {
        let RuntimeStatus {
            state,
            name,
            version,
            nri_version,
            reason,
            ..
        } = &self.runtime;
        let uptime = self.uptime_s;
        writeln!(
            text,
            "hub      {} {}, pid {}, up {uptime} s",
            self.identity, self.version, self.pid
        )?;
        match self.not_ready.as_slice() {
            [] => writeln!(text, "ready    yes")?,
            why => writeln!(text, "ready    no: {}", plain(&why.join("; ")))?,
        }
        let of = match name.is_empty() {
            true => String::new(),
            false => format!(", {name} {version} (NRI {nri_version})"),
        };
        let why = match reason.is_empty() {
            true => String::new(),
            false => format!(": {reason}"),
        };
        let line = format!("{state}{of}, {}{why}", self.runtime.socket);
        writeln!(text, "runtime  {}", plain(&line))?;
        writeln!(text, "plugins  at {}", plain(&self.socket))?;
        if !self.config.file.is_empty() {
            writeln!(text, "config   {}", plain(&self.config.file))?;
        }
        if let Some(error) = &self.config.error {
            writeln!(text, "         NOT IN FORCE: {}", plain(error))?;
        }
        for key in &self.config.needs_restart {
            writeln!(text, "         {} takes a restart", plain(key))?;
        }
        writeln!(
            text,
            "holds    {} pods, {} containers; {} requests, {} failed",
            self.pods, self.containers, self.requests, self.failed
        )
    }

    fn write_plugins(&self, text: &mut String) -> fmt::Result {
        if self.plugins.is_empty() {
            return Ok(());
        }
        writeln!(
            text,
            "\n{:<24} {:<14} {:>8} {:>6} {:>5} {:>8} {:>8} {:>8}  LAST ERROR",
            "PLUGIN", "STATE", "CALLS", "FAILED", "LATE", "P50", "P99", "MAX"
        )?;
        for plugin in &self.plugins {
            writeln!(
                text,
                "{:<24} {:<14} {:>8} {:>6} {:>5} {:>8} {:>8} {:>8}  {}",
                plain(&plugin.plugin),
                match plugin.observes && plugin.state == "ready" {
                    true => "observes",
                    false => &plugin.state,
                },
                plugin.calls,
                plugin.failures,
                plugin.timeouts,
                time(plugin.latency.p50_us),
                time(plugin.latency.p99_us),
                time(plugin.max_us),
                plain(plugin.last_error.as_deref().unwrap_or("-")),
            )?;
        }
        Ok(())
    }

    fn write_audit(&self, text: &mut String) -> fmt::Result {
        const LINES: usize = 8;
        let skip = self.audit.len().saturating_sub(LINES);
        if !self.audit.is_empty() {
            writeln!(text, "\nLAST ASKED FOR")?;
        }
        for entry in self.audit.iter().skip(skip) {
            writeln!(text, "{}: {}", entry.event, plain(&entry.what))?;
        }
        Ok(())
    }
}

fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[allow(clippy::cast_precision_loss, reason = "for reading")]
fn time(micros: u64) -> String {
    match micros {
        0 => "-".to_owned(),
        1..1000 => format!("{micros}us"),
        1000..1_000_000 => format!("{:.1}ms", micros as f64 / 1e3),
        _ => format!("{:.1}s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_does_nothing_to_the_terminal() {
        let mut status = Status::default();
        status.plugins.push(PluginStatus {
            last_error: Some("\u{1b}[2J\nfine".into()),
            ..Default::default()
        });
        status.runtime.reason = "no\u{7}".into();
        let text = status.to_string();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'));
        assert!(text.contains("fine"));
    }

    #[test]
    fn an_observer_is_told_from_others() {
        let mut status = Status::default();
        status.plugins.push(PluginStatus {
            plugin: "10-log".into(),
            state: "ready".into(),
            observes: true,
            ..Default::default()
        });
        let text = status.to_string();
        let line = text.lines().find(|line| line.starts_with("10-log"));
        assert!(
            line.is_some_and(|line| line.contains(" observes ")),
            "{text}"
        );
    }

    #[test]
    fn it_comes_back_from_json() {
        let mut status = Status {
            pods: 3,
            ..Default::default()
        };
        status.plugins.push(PluginStatus::default());
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
    }

    #[test]
    fn times_are_short() {
        let all = [0, 12, 1234, 2_500_000].map(time);
        assert_eq!(all, ["-", "12us", "1.2ms", "2.5s"]);
    }
}
