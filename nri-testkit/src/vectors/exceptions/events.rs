//! Exceptions of masks and names.

use nri_core::EventMask;
use serde_json::{Value, json};

use super::super::record::EventVector;
use super::exception::{Exception, entry};

/// What is expected instead of what was recorded.
type Rewrite = fn(&EventVector, Value) -> Value;

/// In the order in which they are applied.
pub(super) const EVENTS: &[(Exception, Rewrite)] = &[
    (
        entry(
            "quirk:events-container-includes-validation",
            "the group container has the validation event",
            "it does not: validation is asked for by name",
        ),
        |_, mask| json!(mask.as_i64().map(|mask| mask & !0x2000)),
    ),
    (
        entry(
            "quirk:events-groups-not-trimmed",
            "a group with blanks around it is unknown",
            "the same as without the blanks",
        ),
        |vector, recorded| {
            let texts = vector.input.as_array().cloned().unwrap_or_default();
            let texts = texts.iter().filter_map(Value::as_str);
            let texts: Vec<String> = texts.map(|text| text.replace(' ', "")).collect();
            EventMask::parse(texts).map_or(recorded, |mask| json!(mask.bits()))
        },
    ),
    (
        entry(
            "quirk:events-last-bit-name",
            "the first bit that no event has is named by its number",
            "it is named by its value, as the others are",
        ),
        |_, text| {
            let text = text.as_str().unwrap_or_default();
            json!(text.replace("unknown(15)", "unknown(0x4000)"))
        },
    ),
    (
        entry(
            "quirk:events-negative-hex",
            "bits of a negative mask that no event has as a negative number",
            "as the bits that they are",
        ),
        |vector, recorded| {
            let (Some(text), Some(bits)) = (recorded.as_str(), vector.input.as_i64()) else {
                return recorded;
            };
            let mut parts: Vec<&str> = text.split(',').collect();
            parts.retain(|part| !part.starts_with("unknown("));
            let unknown = format!("unknown({:#x})", bits & 0xffff_c000);
            parts.push(&unknown);
            json!(parts.join(","))
        },
    ),
    (
        entry(
            "quirk:events-file-name-unchecked",
            "the name in a file name is not checked",
            "it is: such a file name is refused",
        ),
        |_, _| Value::Null,
    ),
];
