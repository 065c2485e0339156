//! What to add to which containers.

use std::collections::BTreeMap;

use nri_plugin::{Adjustment, HandlerError, api};
use serde::Deserialize;

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Additions {
    namespaces: Option<Vec<String>>,
    pods: Option<Vec<String>>,
    containers: Option<Vec<String>>,
    annotations: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    mounts: Vec<Mount>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mount {
    source: String,
    destination: String,
    #[serde(rename = "type", default = "bind")]
    kind: String,
    #[serde(default = "read_only")]
    options: Vec<String>,
}

fn bind() -> String {
    "bind".to_owned()
}

fn read_only() -> Vec<String> {
    vec!["rbind".to_owned(), "ro".to_owned()]
}

impl Additions {
    /// Refuses what cannot be meant.
    pub(crate) fn check(&self) -> Result<(), HandlerError> {
        if self.annotations.is_empty() && self.env.is_empty() && self.mounts.is_empty() {
            return Err("there is nothing to add: give annotations, env or mounts".into());
        }
        for key in self.annotations.keys().chain(self.env.keys()) {
            // On the wire a dash in front asks for removal.
            if key.is_empty() || key.starts_with('-') {
                return Err(
                    format!("{key:?} is no name: it is empty or begins with a dash").into(),
                );
            }
        }
        if let Some(key) = self.env.keys().find(|key| key.contains('=')) {
            return Err(format!("environment variable {key:?} has a = in its name").into());
        }
        for mount in &self.mounts {
            if !mount.destination.starts_with('/') {
                let destination = &mount.destination;
                return Err(
                    format!("mount destination {destination:?} is no absolute path").into(),
                );
            }
            if mount.kind == "bind" && !mount.source.starts_with('/') {
                let Mount {
                    source,
                    destination,
                    ..
                } = mount;
                return Err(format!(
                    "source {source:?} of the mount on {destination:?} is no absolute path"
                )
                .into());
            }
        }
        Ok(())
    }

    /// Whether a container is to be adjusted.
    pub(crate) fn apply_to(&self, namespace: &str, pod: &str, container: &str) -> bool {
        let chosen = |list: &Option<Vec<String>>, name: &str| {
            list.as_ref()
                .is_none_or(|list| list.iter().any(|pattern| matches(pattern, name)))
        };
        chosen(&self.namespaces, namespace)
            && chosen(&self.pods, pod)
            && chosen(&self.containers, container)
    }

    /// What is added.
    pub(crate) fn adjustment(&self) -> Adjustment {
        let env = self.env.iter().map(|(key, value)| api::KeyValue {
            key: key.clone(),
            value: value.clone(),
        });
        let mounts = self.mounts.iter().map(|mount| api::Mount {
            source: mount.source.clone(),
            destination: mount.destination.clone(),
            r#type: mount.kind.clone(),
            options: mount.options.clone(),
        });
        let message = api::ContainerAdjustment {
            annotations: self.annotations.clone(),
            env: env.collect(),
            mounts: mounts.collect(),
            ..Default::default()
        };
        message.into()
    }
}

/// Whether a name is the pattern, or begins as it does if it ends in `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}
