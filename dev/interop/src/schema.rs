//! What a peer knows of the protocol, and what is left of a message that it passes on.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use nri_dev::workspace;

/// The messages, and the fields of each by their JSON names, with the message that a field holds;
/// empty for others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Schema(BTreeMap<String, BTreeMap<String, String>>);

impl Schema {
    pub(super) fn new(messages: BTreeMap<String, BTreeMap<String, String>>) -> Self {
        Self(messages)
    }

    /// What `nri-proto` has.
    pub(super) fn ours() -> Result<Self, String> {
        let directory = workspace::root().join("nri-proto/proto");
        let files = protox::compile(["nri.proto"], [directory]).map_err(|e| format!("{e:?}"))?;
        let mut messages = BTreeMap::new();
        for message in files.file.iter().flat_map(|file| &file.message_type) {
            let value_of_map = |held: &str| {
                let entry = message
                    .nested_type
                    .iter()
                    .find(|entry| entry.name() == held)?;
                Some(last_word(entry.field.get(1)?.type_name()))
            };
            let fields = message.field.iter().map(|field| {
                // An enum's name is not that of a message.
                let held = match field.r#type() as i32 {
                    MESSAGE => last_word(field.type_name()),
                    _ => "",
                };
                let held = value_of_map(held).unwrap_or(held);
                (field.json_name().to_owned(), held.to_owned())
            });
            messages.insert(message.name().to_owned(), fields.collect());
        }
        Ok(Self(messages))
    }

    /// How many fields there are.
    pub(super) fn count(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// The fields of a message.
    pub(super) fn fields(&self, message: &str) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.0.get(message).into_iter().flatten();
        fields.map(|(name, held)| (name.as_str(), held.as_str()))
    }

    /// The message without the fields that are unknown here.
    pub(super) fn known(&self, message: &str, value: &Value) -> Value {
        let Some(members) = value.as_object() else {
            return value.clone();
        };
        let Some(fields) = self.0.get(message) else {
            return Value::Object(Map::new());
        };
        let known = members.iter().filter_map(|(name, value)| {
            let held = fields.get(name)?;
            Some((name.clone(), self.known_value(held, value)))
        });
        Value::Object(known.collect())
    }

    fn known_value(&self, held: &str, value: &Value) -> Value {
        match value {
            _ if held.is_empty() => value.clone(),
            Value::Array(entries) => entries.iter().map(|e| self.known(held, e)).collect(),
            // A map whose values are messages looks like a message.
            Value::Object(entries) if self.is_map(held, entries) => {
                let entries = entries.iter();
                Value::Object(
                    entries
                        .map(|(key, value)| (key.clone(), self.known(held, value)))
                        .collect(),
                )
            }
            value => self.known(held, value),
        }
    }

    /// The protocol's maps of messages; their keys are no fields.
    fn is_map(&self, held: &str, entries: &Map<String, Value>) -> bool {
        matches!(
            held,
            "LinuxNetDevice" | "CompoundFieldOwners" | "FieldOwners"
        ) && entries.values().all(Value::is_object)
            && entries
                .keys()
                .all(|key| !self.fields(held).any(|(name, _)| name == key))
    }

    /// Fields that this one knows and the other does not, as `Message.field`.
    pub(super) fn beyond(&self, other: &Self) -> Vec<String> {
        let mut names = Vec::new();
        for (message, fields) in &self.0 {
            for field in fields.keys() {
                if !other.fields(message).any(|(name, _)| name == field) {
                    names.push(format!("{message}.{field}"));
                }
            }
        }
        names
    }
}

/// The number of the type of fields that hold a message.
const MESSAGE: i32 = 11;

fn last_word(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// How many values a message has, those of messages inside counted instead of these.
pub(super) fn leaves(value: &Value) -> usize {
    match value {
        Value::Object(members) if !members.is_empty() => members.values().map(leaves).sum(),
        Value::Array(entries) if !entries.is_empty() => entries.iter().map(leaves).sum(),
        _ => 1,
    }
}

/// Where two JSON values differ, and how; a member that is absent is named too.
pub(super) fn differences(path: &str, found: &Value, expected: &Value) -> Vec<String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let mut names: Vec<&String> = found.keys().chain(expected.keys()).collect();
            names.sort();
            names.dedup();
            let null = Value::Null;
            let each = names.into_iter().flat_map(|name| {
                let found = found.get(name).unwrap_or(&null);
                let expected = expected.get(name).unwrap_or(&null);
                differences(&format!("{path}.{name}"), found, expected)
            });
            each.collect()
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            let each = found.iter().zip(expected).enumerate();
            each.flat_map(|(number, (found, expected))| {
                differences(&format!("{path}[{number}]"), found, expected)
            })
            .collect()
        }
        (found, expected) if found == expected => Vec::new(),
        (found, expected) => vec![format!("{path}: found {found}, expected {expected}")],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        let messages = json!({
            "Outer": {"list": "Inner", "map": "LinuxNetDevice", "text": ""},
            "Inner": {"name": ""},
            "LinuxNetDevice": {"name": ""},
        });
        Schema(serde_json::from_value(messages).unwrap())
    }

    #[test]
    fn what_is_unknown_is_left_out_at_every_depth() {
        let message = json!({
            "list": [{"name": "a", "new": 1}], "map": {"eth0": {"name": "b", "new": 2}}, "text": "t", "new": {},
        });
        let known = json!({"list": [{"name": "a"}], "map": {"eth0": {"name": "b"}}, "text": "t"});
        assert_eq!(schema().known("Outer", &message), known);
        assert_eq!(leaves(&message), 6);
        assert_eq!(
            differences("m", &message, &known),
            [
                "m.list[0].new: found 1, expected null",
                "m.map.eth0.new: found 2, expected null",
                "m.new: found {}, expected null",
            ]
        );
    }

    #[test]
    fn newer_fields_are_named() {
        let mut older = schema();
        older.0.get_mut("Inner").unwrap().clear();
        assert_eq!(schema().beyond(&older), ["Inner.name"]);
        assert!(older.beyond(&schema()).is_empty());
    }
}
