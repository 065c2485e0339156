//! The commands of the simulated runtime, as values.
//!
//! The table `COMMANDS` says what each of them takes. What may not enter: how they are written.

use std::time::Duration;

use nri_core::{Event, api};

use crate::DomainOperation;

/// What the simulated runtime is to do.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the table COMMANDS says what each of them is")]
#[non_exhaustive]
pub enum Command {
    Version,
    AddPod {
        pod: api::PodSandbox,
    },
    AddContainer {
        container: api::Container,
    },
    RunPod {
        pod: api::PodSandbox,
    },
    UpdatePod {
        pod_id: String,
        overhead: Option<api::LinuxResources>,
        resources: Option<api::LinuxResources>,
    },
    PostUpdatePod {
        pod_id: String,
    },
    StopPod {
        pod_id: String,
    },
    RemovePod {
        pod_id: String,
    },
    CreateContainer {
        container: api::Container,
    },
    PostCreateContainer {
        container_id: String,
    },
    StartContainer {
        container_id: String,
        start: Start,
    },
    PostStartContainer {
        container_id: String,
    },
    UpdateContainer {
        container_id: String,
        resources: Option<api::LinuxResources>,
    },
    PostUpdateContainer {
        container_id: String,
    },
    StopContainer {
        container_id: String,
        end: End,
    },
    ContainerExit {
        container_id: String,
        end: End,
    },
    RemoveContainer {
        container_id: String,
    },
    AbortContainer {
        container_id: String,
    },
    WaitPlugins {
        count: usize,
        timeout: Duration,
    },
    Plugins,
    State,
    Fail {
        container_id: String,
        what: DomainOperation,
        reason: String,
    },
    Quit,
}

impl Command {
    /// The event that it is about.
    pub(super) fn event(&self) -> Option<Event> {
        match self {
            Self::RunPod { .. } => Some(Event::RunPodSandbox),
            Self::UpdatePod { .. } => Some(Event::UpdatePodSandbox),
            Self::PostUpdatePod { .. } => Some(Event::PostUpdatePodSandbox),
            Self::StopPod { .. } => Some(Event::StopPodSandbox),
            Self::RemovePod { .. } => Some(Event::RemovePodSandbox),
            Self::CreateContainer { .. } | Self::AbortContainer { .. } => {
                Some(Event::CreateContainer)
            }
            Self::PostCreateContainer { .. } => Some(Event::PostCreateContainer),
            Self::StartContainer { .. } => Some(Event::StartContainer),
            Self::PostStartContainer { .. } => Some(Event::PostStartContainer),
            Self::UpdateContainer { .. } => Some(Event::UpdateContainer),
            Self::PostUpdateContainer { .. } => Some(Event::PostUpdateContainer),
            Self::StopContainer { .. } | Self::ContainerExit { .. } => Some(Event::StopContainer),
            Self::RemoveContainer { .. } => Some(Event::RemoveContainer),
            Self::Version
            | Self::AddPod { .. }
            | Self::AddContainer { .. }
            | Self::WaitPlugins { .. }
            | Self::Plugins
            | Self::State
            | Self::Fail { .. }
            | Self::Quit => None,
        }
    }

    /// The id of the pod or container that it is about.
    pub(super) fn about(&self) -> Option<&str> {
        match self {
            Self::Version | Self::WaitPlugins { .. } | Self::Plugins | Self::State | Self::Quit => {
                None
            }
            Self::AddPod { pod } | Self::RunPod { pod } => Some(&pod.id),
            Self::AddContainer { container } | Self::CreateContainer { container } => {
                Some(&container.id)
            }
            Self::UpdatePod { pod_id, .. }
            | Self::PostUpdatePod { pod_id }
            | Self::StopPod { pod_id }
            | Self::RemovePod { pod_id } => Some(pod_id),
            Self::PostCreateContainer { container_id }
            | Self::StartContainer { container_id, .. }
            | Self::PostStartContainer { container_id }
            | Self::UpdateContainer { container_id, .. }
            | Self::PostUpdateContainer { container_id }
            | Self::StopContainer { container_id, .. }
            | Self::ContainerExit { container_id, .. }
            | Self::RemoveContainer { container_id }
            | Self::AbortContainer { container_id }
            | Self::Fail { container_id, .. } => Some(container_id),
        }
    }
}

/// What is known of a container that starts. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Start {
    /// Its process.
    pub pid: Option<u32>,
    /// When it started.
    pub started_at: Option<i64>,
}

/// What is known of a container that ends. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// The exit code of its process.
    pub exit_code: Option<i32>,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// Why, in one word.
    pub reason: Option<String>,
}
