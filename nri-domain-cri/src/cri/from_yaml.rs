//! Messages from YAML. What may not enter: how YAML is read.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::InvalidConfig;
use crate::yaml::{self, Twice};

/// Reads a message from JSON, or from YAML if it is not JSON.
pub(super) fn read<T: DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, InvalidConfig> {
    match serde_json::from_str(text) {
        Ok(message) => return Ok(message),
        // JSON it is.
        Err(source) if source.is_data() && serde_json::from_str::<Value>(text).is_ok() => {
            return Err(InvalidConfig::Json { what, source });
        }
        Err(_) => {}
    }
    let wrong = |reason| InvalidConfig::Yaml { what, reason };
    let value = yaml::value(text, Twice::Last).map_err(wrong)?;
    serde_json::from_value(value).map_err(|error| wrong(error.to_string()))
}
