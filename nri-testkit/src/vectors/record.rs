//! The lines of a file, as they are recorded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde::Deserialize;
use serde_json::Value;

use super::error::VectorError;

/// What all vectors have.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) kind: String,
}

/// A message in base64.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Encoded(String);

impl Encoded {
    pub(super) fn decode<M: Message + Default>(&self) -> Result<M, VectorError> {
        Ok(M::decode(&STANDARD.decode(&self.0)?[..])?)
    }
}

/// The message, if there is one.
pub(super) fn decode<M: Message + Default>(
    encoded: Option<&Encoded>,
) -> Result<Option<M>, VectorError> {
    encoded.map(Encoded::decode).transpose()
}

/// One request through plugins.
#[derive(Debug, Deserialize)]
pub(super) struct MergeVector {
    #[serde(default)]
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) tags: Vec<String>,
    pub(super) request_b64: Encoded,
    pub(super) plugins: Vec<ScriptedPlugin>,
    #[serde(default)]
    pub(super) validators: Vec<ScriptedValidator>,
    pub(super) expect: Expectation,
}

impl MergeVector {
    pub(super) fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| t == tag)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct ScriptedPlugin {
    pub(super) index: String,
    pub(super) name: String,
    pub(super) subscribed: bool,
    pub(super) response_b64: Option<Encoded>,
    pub(super) fail: Option<ScriptedFailure>,
    pub(super) called: bool,
    pub(super) saw_container_b64: Option<Encoded>,
    pub(super) saw_resources_b64: Option<Encoded>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ScriptedFailure {
    pub(super) kind: String,
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ScriptedValidator {
    pub(super) index: String,
    pub(super) name: String,
    /// The reason with which it rejects; empty if it accepts.
    pub(super) reject: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Expectation {
    pub(super) error_class: Option<String>,
    pub(super) conflict: Option<RecordedConflict>,
    pub(super) response_b64: Option<Encoded>,
    pub(super) owners_b64: Option<Encoded>,
    pub(super) validator_container_b64: Option<Encoded>,
    pub(super) validator_called: bool,
    pub(super) consulted: Option<Vec<String>>,
}

/// A conflict: who, with whom, about what.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct RecordedConflict {
    pub(super) by: String,
    pub(super) other: String,
    pub(super) field: String,
    /// Empty for fields with one value; absent if it varies.
    pub(super) key: Option<String>,
}

/// One call.
#[derive(Debug, Deserialize)]
pub(super) struct EventVector {
    pub(super) op: String,
    pub(super) tags: Vec<String>,
    #[serde(rename = "in")]
    pub(super) input: Value,
    pub(super) out: Value,
}
