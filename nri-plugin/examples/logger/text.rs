//! Events as lines of text.

use std::fmt::Write as _;

use serde_json::Value;

use crate::Line;

/// `12:00:01.250 CreateContainer pod default/web (p0) container nginx (c0)`, and what else the
/// request has.
pub(crate) fn line(line: &Line) -> String {
    let milliseconds = (line.time * 1000.0) as u64;
    let (seconds, milliseconds) = (milliseconds / 1000, milliseconds % 1000);
    let mut text = format!(
        "{:02}:{:02}:{:02}.{milliseconds:03} {}",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        line.event,
    );
    if let Some(pod) = line.message.get("pod") {
        let (namespace, name) = (word(&pod["namespace"]), word(&pod["name"]));
        let _ = write!(text, " pod {namespace}/{name} ({})", word(&pod["id"]));
    }
    if let Some(container) = line.message.get("container") {
        let (name, id) = (word(&container["name"]), word(&container["id"]));
        let _ = write!(text, " container {name} ({id})");
    }
    for (name, value) in &line.message {
        match (name.as_str(), value) {
            ("pod" | "container", _) => {}
            ("pods" | "containers", Value::Array(list)) => {
                let _ = write!(text, " {name}: {}", list.len());
            }
            (_, Value::String(value)) => {
                let _ = write!(text, " {name}: {value:?}");
            }
            (_, other) => {
                let _ = write!(text, " {name}: {other}");
            }
        }
    }
    if let Some(count) = line.left_out {
        let _ = write!(text, " (before it {count} events were left out)");
    }
    text
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}
