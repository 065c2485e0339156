//! Messages together with what a runtime knows of a pod or a container and the protocol has no
//! field for.

use std::borrow::Cow;
use std::collections::BTreeMap;

use nri_proto::api;

use super::{Container, ContainerStatus, LinuxContainer, LinuxPodSandbox, PodSandbox};

/// The accessors that a snapshot answers from its message.
macro_rules! from_message {
    ($($accessor:ident: $type:ty,)*) => {$(
        fn $accessor(&self) -> $type {
            self.message.$accessor()
        }
    )*};
}

/// A pod as its message, with its domain and whether it is ready.
///
/// For runtimes that have messages at hand rather than types of their own: a message alone always
/// says that it is ready.
///
/// ```
/// use nri_core::api;
/// use nri_core::model::{PodSandbox, PodSnapshot};
///
/// let message = api::PodSandbox { id: "p1".into(), ..Default::default() };
/// assert_eq!(message.ready(), Some(true));
/// let pod = PodSnapshot::new(message).with_ready(false);
/// assert_eq!((pod.id().as_str(), pod.ready()), ("p1", Some(false)));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PodSnapshot {
    /// What plugins see.
    pub message: api::PodSandbox,
    /// As [`PodSandbox::ready`]. Default: ready.
    pub ready: Option<bool>,
    /// Name of the domain. Default: empty, the runtime has one only.
    pub domain: String,
}

impl PodSnapshot {
    /// A ready pod.
    pub fn new(message: api::PodSandbox) -> Self {
        Self {
            message,
            ready: Some(true),
            domain: String::new(),
        }
    }

    /// A pod as it is now.
    pub fn of(pod: &dyn PodSandbox) -> Self {
        Self {
            message: pod.to_message(),
            ready: pod.ready(),
            domain: pod.domain(),
        }
    }

    /// The same pod, ready or not; `None` if the runtime does not know.
    #[must_use]
    pub fn with_ready(mut self, ready: impl Into<Option<bool>>) -> Self {
        self.ready = ready.into();
        self
    }

    /// The same pod in a domain of this name.
    #[must_use]
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }
}

impl PodSandbox for PodSnapshot {
    fn domain(&self) -> String {
        self.domain.clone()
    }
    fn ready(&self) -> Option<bool> {
        self.ready
    }
    from_message! {
        id: String,
        name: String,
        uid: String,
        namespace: String,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        runtime_handler: String,
        pid: u32,
        ips: Vec<String>,
        linux: Option<&dyn LinuxPodSandbox>,
        message: Cow<'_, api::PodSandbox>,
        to_message: api::PodSandbox,
    }
}

/// A container as its message, with its domain.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ContainerSnapshot {
    /// What plugins see.
    pub message: api::Container,
    /// Name of the domain. Default: empty, the runtime has one only.
    pub domain: String,
}

impl ContainerSnapshot {
    /// A container.
    pub fn new(message: api::Container) -> Self {
        Self {
            message,
            domain: String::new(),
        }
    }

    /// A container as it is now.
    pub fn of(container: &dyn Container) -> Self {
        Self {
            message: container.to_message(),
            domain: container.domain(),
        }
    }

    /// The same container in a domain of this name.
    #[must_use]
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }
}

impl Container for ContainerSnapshot {
    fn domain(&self) -> String {
        self.domain.clone()
    }
    from_message! {
        id: String,
        pod_sandbox_id: String,
        name: String,
        status: ContainerStatus,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        args: Vec<String>,
        env: Vec<String>,
        mounts: Vec<api::Mount>,
        hooks: Option<api::Hooks>,
        rlimits: Vec<api::PosixRlimit>,
        cdi_devices: Vec<api::CdiDevice>,
        user: Option<api::User>,
        image: Option<api::Image>,
        linux: Option<&dyn LinuxContainer>,
        message: Cow<'_, api::Container>,
        to_message: api::Container,
    }
}
