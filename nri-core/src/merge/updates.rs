//! Updates of containers, as several plugins ask for them in one request: an entry per container,
//! an owner per field.

use std::collections::BTreeMap;

use nri_proto::api::{ContainerUpdate, LinuxContainerUpdate, LinuxResources};

use super::error::{MergeError, Omission};
use super::owners::{ContainerOwners, Owners};
use super::rule::Group as _;
use super::support::Support;
use super::supported::SupportedFields;
use super::table::Resources;
use crate::PluginId;

/// A combined update of one container.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MergedUpdate {
    /// The update. Its failure is to be ignored if every plugin that asked for a part of it said
    /// so.
    pub update: ContainerUpdate,
    /// The plugins that asked for parts of it, in order.
    pub plugins: Vec<PluginId>,
}

/// The updates of a request, by first mention.
#[derive(Debug, Clone, Default)]
pub(super) struct Updates {
    list: Vec<Entry>,
    by_container: BTreeMap<String, usize>,
}

#[derive(Debug, Clone)]
struct Entry {
    container_id: String,
    rules: Resources,
    /// What the container's resources come to, on top of what they were at the beginning.
    resources: LinuxResources,
    ignore_failure: bool,
    plugins: Vec<PluginId>,
}

/// A response's updates that can be taken in, and what was left out of them.
#[derive(Debug, Default)]
pub(super) struct Staged {
    accepted: Vec<Accepted>,
    pub(super) omissions: Vec<Omission>,
}

#[derive(Debug)]
struct Accepted {
    container_id: String,
    resources: LinuxResources,
    ignore_failure: bool,
}

impl Updates {
    /// Examines the updates of one response, in order, without taking them in. `creating` is the
    /// container that is being created, which must not be among them.
    ///
    /// # Errors
    /// The first update that cannot be combined with the earlier ones, unless its failure is to be
    /// ignored; then it is left out as a whole.
    pub(super) fn stage(
        &self,
        plugin: &PluginId,
        updates: Vec<ContainerUpdate>,
        creating: Option<&str>,
        support: Support,
    ) -> Result<Staged, MergeError> {
        let mut staged = Staged::default();
        let several = updates.len() > 1;
        let mut in_response: BTreeMap<String, Resources> = BTreeMap::new();
        for update in updates {
            let ContainerUpdate {
                container_id,
                linux,
                ignore_failure,
            } = update;
            if creating == Some(container_id.as_str()) {
                return Err(MergeError::SelfUpdate {
                    container: container_id,
                    plugin: plugin.clone(),
                });
            }
            let mut resources = linux.and_then(|linux| linux.resources).unwrap_or_default();
            if !std::mem::take(&mut resources.devices).is_empty() {
                staged.omissions.push(Omission::DeviceRules {
                    plugin: plugin.clone(),
                    container: container_id.clone(),
                });
            }
            let restrict =
                |fields: SupportedFields, asked: &mut _| fields.restrict_resources(asked);
            match support.enforce(&mut resources, restrict, plugin, &container_id) {
                Ok(omissions) => staged.omissions.extend(omissions),
                Err(error) if ignore_failure => {
                    staged.omissions.push(Omission::Update(error));
                    continue;
                }
                Err(error) => return Err(error),
            }
            if !Resources::asks(&resources) {
                continue;
            }
            let earlier = match self.entry(&container_id) {
                Some(entry) => entry.rules.check(&resources),
                None => Resources::default().check(&resources),
            };
            let own = in_response
                .get(&container_id)
                .map_or(Ok(()), |own| own.check(&resources))
                .map_err(|mut clash| {
                    clash.other = None;
                    clash
                });
            match earlier.and(own) {
                Ok(()) => {
                    if several {
                        in_response.entry(container_id.clone()).or_default().take(
                            resources.clone(),
                            plugin,
                            None,
                        );
                    }
                    staged.accepted.push(Accepted {
                        container_id,
                        resources,
                        ignore_failure,
                    });
                }
                Err(clash) => {
                    let error = clash.on(&container_id, plugin);
                    if !ignore_failure {
                        return Err(error);
                    }
                    staged.omissions.push(Omission::Update(error));
                }
            }
        }
        Ok(staged)
    }

    /// Takes in what was staged. `base` says what a container's resources are before the first
    /// update of it.
    pub(super) fn commit(
        &mut self,
        plugin: &PluginId,
        staged: Staged,
        base: impl Fn(&str) -> LinuxResources,
    ) {
        for accepted in staged.accepted {
            let Accepted {
                container_id,
                resources,
                ignore_failure,
            } = accepted;
            let at = *self
                .by_container
                .entry(container_id)
                .or_insert_with_key(|id| {
                    self.list.push(Entry {
                        container_id: id.clone(),
                        rules: Resources::default(),
                        resources: base(id),
                        ignore_failure,
                        plugins: Vec::new(),
                    });
                    self.list.len() - 1
                });
            let entry = &mut self.list[at];
            entry
                .rules
                .take(resources, plugin, Some(&mut entry.resources));
            entry.ignore_failure &= ignore_failure;
            if entry.plugins.last() != Some(plugin) {
                entry.plugins.push(plugin.clone());
            }
        }
    }

    fn entry(&self, container_id: &str) -> Option<&Entry> {
        self.by_container
            .get(container_id)
            .map(|&at| &self.list[at])
    }

    /// What the resources of a container come to; `None` if no update of it was taken in.
    pub(super) fn resources(&self, container_id: &str) -> Option<&LinuxResources> {
        self.entry(container_id).map(|entry| &entry.resources)
    }

    /// The combined updates; the owners go into `owners`.
    pub(super) fn finish(self, owners: &mut Owners) -> Vec<MergedUpdate> {
        let finish = |entry: Entry| {
            let mut of_container = ContainerOwners::default();
            entry.rules.finish(&mut of_container);
            owners.insert_container(entry.container_id.clone(), of_container);
            MergedUpdate {
                update: ContainerUpdate {
                    container_id: entry.container_id,
                    linux: Some(LinuxContainerUpdate {
                        resources: Some(entry.resources),
                    }),
                    ignore_failure: entry.ignore_failure,
                },
                plugins: entry.plugins,
            }
        };
        self.list.into_iter().map(finish).collect()
    }
}
