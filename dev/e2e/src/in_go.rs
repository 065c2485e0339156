//! A plugin that is built with the reference's library in Go.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::expect::until;
use crate::stage::NRI;

const RULES: &str = "/run/e2e/go-rules.json";
const REPORT: &str = "/run/e2e/go-report";

/// The plugin, which ends when it is dropped.
pub(crate) struct InGo(Child);

impl InGo {
    /// Starts one that asks for an adjustment of every container, and waits until it has been shown
    /// what there is.
    ///
    /// # Errors
    /// It cannot be started, or is not shown anything in time.
    pub(crate) fn start(program: &Path, adjust: &Value) -> Result<Self, String> {
        let rules = json!([{"on": "CreateContainer", "keep": true, "answer": {"adjust": adjust}}]);
        fs::write(RULES, rules.to_string()).map_err(|e| format!("{RULES}: {e}"))?;
        // Of one before.
        fs::write(REPORT, "").map_err(|e| format!("{REPORT}: {e}"))?;
        let child = Command::new(program)
            .args(["-socket", NRI, "-name", "go", "-idx", "20"])
            .args(["-script", RULES, "-report", REPORT])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("goplugin: {e}"))?;
        let plugin = Self(child);
        plugin.heard("Synchronize", "")?;
        Ok(plugin)
    }

    /// Waits until it has heard of something.
    ///
    /// # Errors
    /// It does not in time.
    pub(crate) fn heard(&self, event: &str, id: &str) -> Result<(), String> {
        until(&format!("{event} {id} at the plugin in Go"), || {
            let report = fs::read_to_string(REPORT).unwrap_or_default();
            let mut lines = report.lines().filter(|line| line.contains(id));
            Ok(lines.any(|line| {
                let line: Value = serde_json::from_str(line).unwrap_or_default();
                line["event"] == event
            }))
        })
    }
}

impl Drop for InGo {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
