//! Evictions that plugins ask for: one per container, with everyone who asks.

use std::collections::BTreeMap;

use nri_proto::api;

use crate::PluginId;

/// An eviction of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Eviction {
    /// The container.
    pub container_id: String,
    /// Every asking plugin with its reason, in the order in which they asked. Never empty.
    pub reasons: Vec<(PluginId, String)>,
}

impl Eviction {
    /// The reason that is given when the eviction is carried out: the first.
    pub fn reason(&self) -> &str {
        self.reasons.first().map_or("", |(_, reason)| reason)
    }

    /// The message on the wire, with the first reason.
    pub fn to_message(&self) -> api::ContainerEviction {
        api::ContainerEviction {
            container_id: self.container_id.clone(),
            reason: self.reason().to_owned(),
        }
    }
}

/// The evictions of a request, by first mention.
#[derive(Debug, Clone, Default)]
pub(super) struct Evictions {
    list: Vec<Eviction>,
    by_container: BTreeMap<String, usize>,
}

impl Evictions {
    pub(super) fn add(&mut self, plugin: &PluginId, eviction: api::ContainerEviction) {
        let api::ContainerEviction {
            container_id,
            reason,
        } = eviction;
        let reason = (plugin.clone(), reason);
        match self.by_container.get(&container_id) {
            Some(&at) => self.list[at].reasons.push(reason),
            None => {
                self.by_container
                    .insert(container_id.clone(), self.list.len());
                self.list.push(Eviction {
                    container_id,
                    reasons: vec![reason],
                });
            }
        }
    }

    pub(super) fn finish(self) -> Vec<Eviction> {
        self.list
    }
}
