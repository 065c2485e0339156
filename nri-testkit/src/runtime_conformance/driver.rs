//! What the suite needs of a runtime.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use nri_core::api::{self, ContainerState};

/// Why a driver did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The driver cannot do this. What needs it is skipped.
    #[error("the driver cannot {0}")]
    Unsupported(&'static str),
    /// The runtime did not do it: a plugin refused it, or something went wrong.
    #[error("{0}")]
    Failed(String),
}

/// What came of a scene that is played with a driver.
pub(super) type Played = Result<(), DriverError>;

impl From<String> for DriverError {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

impl From<&str> for DriverError {
    fn from(reason: &str) -> Self {
        Self::Failed(reason.to_owned())
    }
}

/// A pod that is to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodSpec {
    /// Its name; different in every pod.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid; different in every pod.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl PodSpec {
    /// The same as a message without an id.
    pub fn to_message(&self) -> api::PodSandbox {
        api::PodSandbox {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            uid: self.uid.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            ..Default::default()
        }
    }
}

/// A container that is to be created: of any image, running until it is stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerSpec {
    /// Its name in the pod; different in every container.
    pub name: String,
    /// Its command line: [`Driver::command`].
    pub args: Vec<String>,
    /// Variables, as `NAME=value`, beside those that the image has.
    pub env: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its memory limit in bytes.
    pub memory_limit: i64,
}

impl ContainerSpec {
    /// The same as a message of a created container without ids.
    pub fn to_message(&self) -> api::Container {
        let memory = api::LinuxMemory {
            limit: Some(api::OptionalInt64 {
                value: self.memory_limit,
            }),
            ..Default::default()
        };
        api::Container {
            name: self.name.clone(),
            state: ContainerState::ContainerCreated.into(),
            args: self.args.clone(),
            env: self.env.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            linux: Some(api::LinuxContainer {
                resources: Some(api::LinuxResources {
                    memory: Some(memory),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

/// What a container really has, as a probe inside it or its OCI spec tells. What the probe cannot
/// tell is `None`, and not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inside {
    /// Variables, as `NAME=value`.
    pub env: Option<Vec<String>>,
    /// Annotations of the OCI spec.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Where something is mounted.
    pub mounts: Option<Vec<String>>,
    /// The memory limit in bytes.
    pub memory_limit: Option<i64>,
}

/// A runtime in the hands of the suite. Methods without a default are needed; what the others make
/// possible is skipped without them.
///
/// Ids are full ids, as plugins see them. A method returns when the runtime says that it is done. A
/// runtime that refuses something, for example because a plugin did, is [`DriverError::Failed`].
#[async_trait]
pub trait Driver: Send + Sync {
    /// Where plugins connect. They can from the start, and again when
    /// [`restart_runtime`](Self::restart_runtime) has returned.
    fn socket(&self) -> PathBuf;

    /// A command line that runs until it is stopped. Default: `sleep 3600`.
    fn command(&self) -> Vec<String> {
        vec!["sleep".to_owned(), "3600".to_owned()]
    }

    /// Runs a pod; returns its id.
    async fn run_pod(&self, spec: &PodSpec) -> Result<String, DriverError>;

    /// Creates a container; returns its id.
    async fn create_container(
        &self,
        pod: &str,
        spec: &ContainerSpec,
    ) -> Result<String, DriverError>;

    /// Starts a container that was created.
    async fn start_container(&self, id: &str) -> Result<(), DriverError>;

    /// Stops a container.
    async fn stop_container(&self, id: &str) -> Result<(), DriverError>;

    /// Removes a container, whatever its state.
    async fn remove_container(&self, id: &str) -> Result<(), DriverError>;

    /// Stops a pod.
    async fn stop_pod(&self, id: &str) -> Result<(), DriverError>;

    /// Removes a pod.
    async fn remove_pod(&self, id: &str) -> Result<(), DriverError>;

    /// Changes the resources of a container.
    async fn update_container(
        &self,
        id: &str,
        resources: &api::LinuxResources,
    ) -> Result<(), DriverError> {
        let _ = (id, resources);
        Err(DriverError::Unsupported("update a container"))
    }

    /// Has a container's process end by itself.
    async fn exit_container(&self, id: &str) -> Result<(), DriverError> {
        let _ = id;
        Err(DriverError::Unsupported("have a container's process end"))
    }

    /// Starts a container again that was stopped, where the runtime does that.
    async fn start_again(&self, id: &str) -> Result<(), DriverError> {
        let _ = id;
        Err(DriverError::Unsupported("start a container again"))
    }

    /// Tries to create a container and fails after plugins were asked: with a command line that
    /// does not exist, for example. What the runtime says about it is no error.
    async fn fail_creation(&self, pod: &str, spec: &ContainerSpec) -> Result<(), DriverError> {
        let _ = (pod, spec);
        Err(DriverError::Unsupported("have a creation fail"))
    }

    /// Ends the runtime and starts it again; pods and containers stay.
    async fn restart_runtime(&self) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("restart the runtime"))
    }

    /// The state of a container; `None` if there is none.
    async fn state(&self, id: &str) -> Result<Option<ContainerState>, DriverError> {
        let _ = id;
        Err(DriverError::Unsupported("tell a container's state"))
    }

    /// What a container that was created really has.
    async fn inspect(&self, id: &str) -> Result<Inside, DriverError> {
        let _ = id;
        Err(DriverError::Unsupported("look into a container"))
    }
}
