//! The configuration: what is added to which containers. What may not enter: how it reaches us.

use std::collections::{BTreeMap, BTreeSet};

use nri_plugin::prelude::*;
use nri_plugin::values::{AbsolutePath, NamePattern};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    namespaces: Option<Vec<NamePattern>>,
    pods: Option<Vec<NamePattern>>,
    containers: Option<Vec<NamePattern>>,
    #[serde(default)]
    labels: BTreeMap<String, NamePattern>,
    #[serde(default)]
    annotations: BTreeMap<Key, String>,
    #[serde(default)]
    env: BTreeMap<Variable, String>,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "WrittenMount")]
struct Mount(api::Mount);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMount {
    source: String,
    destination: AbsolutePath,
    #[serde(rename = "type")]
    kind: Option<String>,
    options: Option<Vec<String>>,
}

impl TryFrom<WrittenMount> for Mount {
    type Error = String;

    fn try_from(written: WrittenMount) -> Result<Self, String> {
        let kind = written.kind.unwrap_or_else(|| "bind".to_owned());
        if kind == "bind" {
            AbsolutePath::try_from(written.source.clone()).map_err(|e| format!("source: {e}"))?;
        }
        let options = written.options.unwrap_or_else(|| match kind.as_str() {
            "bind" => vec!["rbind".to_owned(), "ro".to_owned()],
            _ => Vec::new(),
        });
        Ok(Self(api::Mount {
            source: written.source,
            destination: written.destination.into(),
            r#type: kind,
            options,
        }))
    }
}

/// The key of an annotation. On the wire a dash in front asks for removal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Key(String);

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(key: String) -> Result<Self, String> {
        match key.is_empty() || key.starts_with('-') {
            true => Err(format!(
                "{key:?} is no key: it is empty or begins with a dash"
            )),
            false => Ok(Self(key)),
        }
    }
}

/// The name of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Key")]
struct Variable(String);

impl TryFrom<Key> for Variable {
    type Error = String;

    fn try_from(Key(name): Key) -> Result<Self, String> {
        match name.contains(['=', '\0']) {
            true => Err(format!(
                "{name:?} is no name of a variable: it has `=` or NUL in it"
            )),
            false => Ok(Self(name)),
        }
    }
}

impl Rules {
    /// Whether there is anything to add at all.
    pub(crate) fn check(&self) -> Result<(), HandlerError> {
        if self.rules.is_empty() {
            return Err("rules: there is none".into());
        }
        for (number, rule) in (1..).zip(&self.rules) {
            if rule.annotations.is_empty() && rule.env.is_empty() && rule.mounts.is_empty() {
                return Err(format!(
                    "rule {number} adds nothing: annotations, env or mounts are wanted"
                )
                .into());
            }
        }
        Ok(())
    }

    /// What is added to a container.
    pub(crate) fn adjustment(
        &self,
        pod: &api::PodSandbox,
        container: &str,
    ) -> Result<Adjustment, HandlerError> {
        let rules = self.rules.iter().filter(|rule| rule.is_for(pod, container));
        let (mut annotations, mut env, mut mounts) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for rule in rules {
            annotations.extend(
                rule.annotations
                    .iter()
                    .map(|(Key(key), value)| (key, value)),
            );
            env.extend(rule.env.iter().map(|(Variable(name), value)| (name, value)));
            mounts.extend(rule.mounts.iter().map(|Mount(mount)| mount));
        }
        let mut adjust = Adjustment::new();
        for (key, value) in annotations {
            adjust.add_annotation(key, value)?;
        }
        for (name, value) in env {
            adjust.add_env(name, value)?;
        }
        // The last one of a destination.
        let mut taken = BTreeSet::new();
        mounts.reverse();
        mounts.retain(|mount| taken.insert(&mount.destination));
        for mount in mounts.into_iter().rev() {
            adjust.add_mount(mount.clone())?;
        }
        Ok(adjust)
    }
}

impl Rule {
    fn is_for(&self, pod: &api::PodSandbox, container: &str) -> bool {
        let named = |list: &Option<Vec<NamePattern>>, name: &str| {
            let mut patterns = list.iter().flatten();
            list.is_none() || patterns.any(|pattern| pattern.matches(name))
        };
        let mut labels = self.labels.iter();
        named(&self.namespaces, &pod.namespace)
            && named(&self.pods, &pod.name)
            && named(&self.containers, container)
            && labels.all(|(label, wanted)| {
                pod.labels
                    .get(label)
                    .is_some_and(|value| wanted.matches(value))
            })
    }
}
