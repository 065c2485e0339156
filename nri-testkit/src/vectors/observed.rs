//! What is compared: the recorded side and ours in one shape.

use std::collections::BTreeMap;

use nri_core::merge::MergeError;
use nri_core::merge::compare::{strip_go, strip_update_go};
use nri_core::{Error, Request, Response, api};

use super::error::VectorError;
use super::record::{MergeVector, RecordedConflict, decode};
use super::script::Replay;

/// What can be seen of one request from outside, without what means nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Observed {
    /// Which plugins were called, by number.
    pub(super) called: Vec<usize>,
    /// The container as each called plugin saw it.
    pub(super) containers: BTreeMap<usize, api::Container>,
    /// The resources as each called plugin saw them; updates only.
    pub(super) resources: BTreeMap<usize, api::LinuxResources>,
    /// The combined response, or why there is none.
    pub(super) result: Option<Result<Combined, Problem>>,
    /// What validators got, if any was asked.
    pub(super) validation: Option<Validation>,
}

/// The combined response of any kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Combined {
    pub(super) adjustment: Option<api::ContainerAdjustment>,
    /// Of other containers; for a stop, of all.
    pub(super) updates: Vec<Option<api::ContainerUpdate>>,
    /// Of the container whose update was requested.
    pub(super) requested: Option<api::ContainerUpdate>,
    pub(super) evictions: Vec<api::ContainerEviction>,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Problem {
    Conflict(Option<RecordedConflict>),
    SelfUpdate,
    Rejected,
    Other,
}

/// What validators got. Their adjustment and updates are those of the response.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Validation {
    pub(super) container: api::Container,
    pub(super) owners: api::OwningPlugins,
    pub(super) consulted: Vec<String>,
}

/// A container without empty messages.
pub(super) fn strip_container(mut container: api::Container) -> api::Container {
    if let Some(linux) = &mut container.linux {
        linux.resources = linux.resources.take().and_then(strip_resources);
        linux.rdt.take_if(|rdt| *rdt == api::LinuxRdt::default());
    }
    container
        .linux
        .take_if(|linux| *linux == api::LinuxContainer::default());
    container
        .hooks
        .take_if(|hooks| *hooks == api::Hooks::default());
    container
}

fn strip_resources(mut resources: api::LinuxResources) -> Option<api::LinuxResources> {
    resources
        .memory
        .take_if(|memory| *memory == api::LinuxMemory::default());
    resources
        .cpu
        .take_if(|cpu| *cpu == api::LinuxCpu::default());
    Some(resources).filter(|resources| *resources != api::LinuxResources::default())
}

fn strip_owners(mut owners: api::OwningPlugins) -> api::OwningPlugins {
    for of_container in owners.owners.values_mut() {
        of_container
            .compound
            .retain(|_, entries| !entries.owners.is_empty());
    }
    owners
        .owners
        .retain(|_, owners| *owners != api::FieldOwners::default());
    owners
}

impl Combined {
    fn of(response: Response) -> Self {
        let strip_all =
            |updates: Vec<api::ContainerUpdate>| updates.into_iter().map(strip_update_go).collect();
        match response {
            Response::CreateContainer(response) => Self {
                adjustment: response.adjust.and_then(strip_go),
                updates: strip_all(response.update),
                requested: None,
                evictions: response.evict,
            },
            Response::UpdateContainer(mut response) => {
                let requested = response.update.pop().and_then(strip_update_go);
                Self {
                    adjustment: None,
                    updates: strip_all(response.update),
                    requested,
                    evictions: response.evict,
                }
            }
            Response::StopContainer(response) => Self {
                updates: strip_all(response.update),
                ..Self::default()
            },
            _ => Self::default(),
        }
    }
}

impl Problem {
    fn of(error: &Error) -> Self {
        let conflict = |plugin: &nri_core::PluginId,
                        other: &nri_core::PluginId,
                        field: &api::Field,
                        key: &Option<String>| {
            Self::Conflict(Some(RecordedConflict {
                by: plugin.to_string(),
                other: other.to_string(),
                field: field.as_str_name().to_owned(),
                key: Some(key.clone().unwrap_or_default()),
            }))
        };
        match error {
            Error::Merge(MergeError::Conflict {
                plugin,
                other,
                field,
                key,
                ..
            }) => conflict(plugin, other, field, key),
            Error::Merge(MergeError::DuplicateSet {
                plugin, field, key, ..
            }) => conflict(plugin, plugin, field, key),
            Error::Merge(MergeError::SelfUpdate { .. }) => Self::SelfUpdate,
            Error::Rejected { .. } => Self::Rejected,
            Error::Several(errors) => errors.first().map_or(Self::Other, Self::of),
            _ => Self::Other,
        }
    }
}

impl Observed {
    /// What was recorded.
    pub(super) fn recorded(vector: &MergeVector) -> Result<Self, VectorError> {
        let mut observed = Self::default();
        for (number, plugin) in vector.plugins.iter().enumerate() {
            if plugin.called {
                observed.called.push(number);
            }
            if let Some(container) = decode(plugin.saw_container_b64.as_ref())? {
                let container = strip_container(container);
                observed.containers.insert(number, container);
            }
            if let Some(resources) = decode(plugin.saw_resources_b64.as_ref())? {
                let resources = strip_resources(resources).unwrap_or_default();
                observed.resources.insert(number, resources);
            }
        }
        let expect = &vector.expect;
        observed.result = Some(match expect.error_class.as_deref() {
            Some(class) => Err(match class {
                "conflict" => Problem::Conflict(expect.conflict.clone()),
                "self-update" => Problem::SelfUpdate,
                "rejected" => Problem::Rejected,
                _ => Problem::Other,
            }),
            None => {
                let bytes = expect.response_b64.as_ref();
                let response = match vector.kind.as_str() {
                    "create" => Response::CreateContainer(decode(bytes)?.unwrap_or_default()),
                    "update" => Response::UpdateContainer(decode(bytes)?.unwrap_or_default()),
                    _ => Response::StopContainer(decode(bytes)?.unwrap_or_default()),
                };
                Ok(Combined::of(response))
            }
        });
        if expect.validator_called {
            observed.validation = Some(Validation {
                container: strip_container(
                    decode(expect.validator_container_b64.as_ref())?.unwrap_or_default(),
                ),
                owners: strip_owners(decode(expect.owners_b64.as_ref())?.unwrap_or_default()),
                consulted: expect.consulted.clone().unwrap_or_default(),
            });
        }
        Ok(observed)
    }

    /// What a replay gave.
    pub(super) fn ours(replay: Replay) -> Self {
        let mut observed = Self::default();
        for (number, request) in replay.calls {
            observed.called.push(number);
            if let Some(container) = request.container() {
                let container = strip_container(container.clone());
                observed.containers.insert(number, container);
            }
            let resources = match &**request {
                Request::UpdateContainer(request) => request.linux_resources.as_ref(),
                _ => None,
            };
            if let Some(resources) = resources {
                let resources = strip_resources(resources.clone()).unwrap_or_default();
                observed.resources.insert(number, resources);
            }
        }
        observed.result = Some(match replay.result {
            Ok(response) => Ok(Combined::of(response)),
            Err(error) => Err(Problem::of(&error)),
        });
        let validation = replay.validation.as_deref();
        if let Some(Request::ValidateContainerAdjustment(request)) =
            validation.map(|asked| &**asked)
        {
            let consulted = request.plugins.iter();
            observed.validation = Some(Validation {
                container: strip_container(request.container.clone().unwrap_or_default()),
                owners: strip_owners(request.owners.clone().unwrap_or_default()),
                consulted: consulted
                    .map(|plugin| format!("{}-{}", plugin.index, plugin.name))
                    .collect(),
            });
        }
        observed
    }
}
