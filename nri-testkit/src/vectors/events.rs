//! Vectors about event masks, names and the removal marker.

use nri_core::merge::removal_marker;
use nri_core::{Event, EventMask, PluginId, PluginIndex, PluginName, api};
use serde::Deserialize;
use serde_json::{Value, json};

use super::difference::difference;
use super::error::VectorError;
use super::exceptions;
use super::record::EventVector;
use super::verdict::Verdict;

/// Compares the result of one call. Where the recorded call failed, ours must fail too; the texts
/// of errors are not compared.
pub(super) fn judge(vector: &EventVector) -> Result<Verdict, VectorError> {
    let ours = call(&vector.op, &vector.input)?;
    let recorded = exceptions::expected_of_event(vector);
    Ok(Verdict::of(
        difference(&vector.op, &recorded, &ours)
            .into_iter()
            .collect(),
    ))
}

fn input<'a, T: Deserialize<'a>>(value: &'a Value) -> Result<T, VectorError> {
    Ok(T::deserialize(value)?)
}

/// The result of a call; `null` if it fails.
fn call(op: &str, value: &Value) -> Result<Value, VectorError> {
    Ok(match op {
        "parse" => {
            let texts: Vec<String> = input(value)?;
            EventMask::parse(texts).map_or(Value::Null, |mask| json!(mask.bits()))
        }
        "pretty" => json!(EventMask::describe(input(value)?)),
        "event-name" => {
            let number: i32 = input(value)?;
            json!(Event::from_number(number).map_or_else(
                || format!("unknown({number})"),
                |event| event.name().to_owned()
            ))
        }
        "event-enum" => api::Event::try_from(input::<i32>(value)?)
            .map_or(Value::Null, |e| json!(e.as_str_name())),
        "valid-events" => json!(EventMask::ALL.bits()),
        "bits" => bits(input(value)?),
        "plugin-file-name" => input::<String>(value)?.parse().map_or(
            Value::Null,
            |id: PluginId| json!({"index": id.index().to_string(), "name": id.name().as_str()}),
        ),
        "plugin-index" => ok(input::<String>(value)?.parse::<PluginIndex>().is_ok()),
        "plugin-name" => ok(input::<String>(value)?.parse::<PluginName>().is_ok()),
        "removal-marker" => {
            let text: String = input(value)?;
            let bare = removal_marker::bare(&text);
            json!({
                "key": bare,
                "marked": removal_marker::marked(&text).is_some(),
                "mark": removal_marker::mark(&text),
                "clear": bare,
            })
        }
        "configure-events" => match EventMask::from_bits(input(value)?) {
            Ok(_) => json!("accepted"),
            Err(_) => Value::Null,
        },
        // The strict rule: one bad name keeps the runtime from starting.
        "plugin-directory" => {
            let names: Vec<String> = input(value)?;
            match names.iter().all(|name| name.parse::<PluginId>().is_ok()) {
                true => json!("started"),
                false => Value::Null,
            }
        }
        op => {
            return Err(VectorError::Unknown {
                what: "call",
                value: op.to_owned(),
            });
        }
    })
}

fn ok(is_ok: bool) -> Value {
    if is_ok { json!("ok") } else { Value::Null }
}

/// What setting and clearing the bit of an event gives. A number that no event has makes a mask
/// that is refused, with its bits in the refusal.
fn bits(number: i32) -> Value {
    let bit = 1 << (number - 1);
    let mask = EventMask::from_bits(bit);
    let known = mask.as_ref().copied().unwrap_or(EventMask::NONE);
    json!({
        "set": mask.map_or_else(|refused| refused.mask, EventMask::bits),
        "clear_from_all": (EventMask::ALL - known).bits(),
        "set_in_all": !(EventMask::ALL & known).is_empty(),
        "set_in_zero": !(EventMask::NONE & known).is_empty(),
    })
}
