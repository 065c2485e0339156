//! A policy for serde: the same shape as in a configuration, for JSON and other formats.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Error as _};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::rule::Rule;
use super::rules::Policy;

/// The keys of a policy.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenPolicy {
    default: String,
    rules: Vec<WrittenRule>,
}

/// The keys of a rule.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    plugins: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    namespaces: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pod_labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    runtime_handlers: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
    action: String,
}

/// Reads texts; an error names the key.
fn read<T: FromStr<Err: fmt::Display>>(key: &str, texts: Vec<String>) -> Result<Vec<T>, String> {
    let read = |text: String| text.parse().map_err(|error| format!("`{key}`: {error}"));
    texts.into_iter().map(read).collect()
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

impl TryFrom<WrittenRule> for Rule {
    type Error = String;

    fn try_from(written: WrittenRule) -> Result<Self, String> {
        let action = written.action.parse();
        let labels = written.pod_labels.into_iter().map(|(label, value)| {
            let value = value
                .parse()
                .map_err(|error| format!("`pod_labels`: {error}"))?;
            Ok((label, value))
        });
        Ok(Self {
            name: written.name,
            plugins: read("plugins", written.plugins)?,
            namespaces: read("namespaces", written.namespaces)?,
            pod_labels: labels.collect::<Result<_, String>>()?,
            runtime_handlers: read("runtime_handlers", written.runtime_handlers)?,
            fields: read("fields", written.fields)?,
            action: action.map_err(|error| format!("`action`: {error}"))?,
        })
    }
}

impl From<&Rule> for WrittenRule {
    fn from(rule: &Rule) -> Self {
        let labels = rule.pod_labels.iter();
        Self {
            name: rule.name.clone(),
            plugins: texts(&rule.plugins),
            namespaces: texts(&rule.namespaces),
            pod_labels: labels
                .map(|(label, value)| (label.clone(), value.to_string()))
                .collect(),
            runtime_handlers: texts(&rule.runtime_handlers),
            fields: texts(&rule.fields),
            action: rule.action.to_string(),
        }
    }
}

/// With keys and shape as in a configuration. Keys that are not known are errors.
impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = WrittenPolicy::deserialize(from)?;
        let default = match &*written.default {
            "" => Ok(Default::default()),
            word => word.parse(),
        };
        let default = default.map_err(|error| D::Error::custom(format!("`default`: {error}")))?;
        let rules = (1..).zip(written.rules).map(|(number, rule)| {
            Rule::try_from(rule)
                .map_err(|error| D::Error::custom(format!("rule {number}: {error}")))
        });
        Self::new(rules.collect::<Result<_, _>>()?, default).map_err(D::Error::custom)
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let rules = self.rules().iter().map(WrittenRule::from);
        let written = WrittenPolicy {
            default: self.default_action().to_string(),
            rules: rules.collect(),
        };
        written.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_comes_back_as_it_was_written() {
        let json = r#"{"default":"audit","rules":[{"name":"a","plugins":["10-*"],"pod_labels":{"tier":"*"},"fields":["env:LD_*"],"action":"deny"}]}"#;
        let policy: Policy = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&policy).unwrap(), json);
        assert_eq!(
            serde_json::from_str::<Policy>("{}").unwrap(),
            Policy::default()
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |json: &str| {
            serde_json::from_str::<Policy>(json)
                .unwrap_err()
                .to_string()
        };
        assert!(error(r#"{"rule":[]}"#).contains("unknown field `rule`"));
        assert!(
            error(r#"{"rules":[{"action":"deny","fields":["hoks"]}]}"#)
                .starts_with("rule 1: `fields`: \"hoks\" is no field")
        );
        assert!(error(r#"{"rules":[{"action":"block"}]}"#).contains("`action`"));
    }
}
