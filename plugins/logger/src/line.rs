//! An event as a line. What may not enter: where lines go.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use serde_json::{Map, Value};

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The time (UTC), the event, pod and container, and the rest of what the runtime says.
    Text,
    /// An object with `event`, `time` (seconds since 1970) and what the runtime says, as proto3
    /// JSON.
    Json,
}

impl Format {
    pub(crate) fn line(self, event: &str, message: &Value, left_out: u64) -> String {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let empty = Map::new();
        let message = message.as_object().unwrap_or(&empty);
        match self {
            Self::Json => {
                let mut line = Map::new();
                line.insert("event".to_owned(), event.into());
                line.insert(
                    "time".to_owned(),
                    (since.as_millis() as f64 / 1000.0).into(),
                );
                if left_out > 0 {
                    line.insert("leftOut".to_owned(), left_out.into());
                }
                line.extend(message.clone());
                Value::Object(line).to_string()
            }
            Self::Text => {
                let (seconds, milliseconds) = (since.as_secs(), since.subsec_millis());
                let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
                let mut text = format!(
                    "{hours:02}:{minutes:02}:{:02}.{milliseconds:03} {event}",
                    seconds % 60
                );
                for (name, value) in message {
                    let _ = match (name.as_str(), value) {
                        ("pod", pod) => write!(
                            text,
                            " pod {}/{}",
                            word(&pod["namespace"]),
                            word(&pod["name"])
                        ),
                        ("container", it) => write!(
                            text,
                            " container {} ({})",
                            word(&it["name"]),
                            word(&it["id"])
                        ),
                        ("pods" | "containers", Value::Array(list)) => {
                            write!(text, " {name}: {}", list.len())
                        }
                        (_, value) => write!(text, " {name}: {value}"),
                    };
                }
                if left_out > 0 {
                    let _ = write!(text, " (before it {left_out} were left out)");
                }
                text
            }
        }
    }
}

/// A text in a line of text.
fn word(value: &Value) -> String {
    let text = value.as_str().unwrap_or("-");
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
