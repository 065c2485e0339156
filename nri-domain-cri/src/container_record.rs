//! A container as a CRI runtime knows it, and as plugins see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nri_core::api;
use nri_core::model::{Container, ContainerStatus, LinuxContainer};
use nri_core::oci::read;

use crate::cri::{ContainerConfig, ProfileType};
use crate::{DOMAIN, OciSpec};

/// Where a container is in its life, as CRI counts it, and paused, which CRI does not tell apart
/// from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CriState {
    /// Created, not yet started.
    #[default]
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Its process has ended.
    Exited,
    /// The runtime does not know.
    Unknown,
}

impl CriState {
    /// The protocol's state. The numbers of the two differ, so this goes by name.
    pub fn to_nri(self) -> api::ContainerState {
        match self {
            CriState::Created => api::ContainerState::ContainerCreated,
            CriState::Running => api::ContainerState::ContainerRunning,
            CriState::Paused => api::ContainerState::ContainerPaused,
            CriState::Exited => api::ContainerState::ContainerStopped,
            CriState::Unknown => api::ContainerState::ContainerUnknown,
        }
    }
}

/// The image that a container was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageIdentity {
    /// Its resolved reference.
    pub name: String,
    /// Digest of its index or manifest.
    pub digest: String,
    /// Digest of its configuration, which CRI calls the image id.
    pub config_digest: String,
}

/// A container as a CRI runtime knows it. A snapshot: cloning it copies neither configuration nor
/// spec.
///
/// ```
/// use std::sync::Arc;
/// use nri_core::model::Container;
/// use nri_domain_cri::{ContainerRecord, cri::ContainerConfig};
/// use serde_json::json;
///
/// let config = ContainerConfig::from_json(
///     r#"{"metadata": {"name": "app"}, "image": {"image": "registry.example/app:1"}}"#,
/// )?;
/// let spec = json!({"process": {"args": ["/app"]}});
/// let container = ContainerRecord::new("c1", "p1", Arc::new(config), Arc::new(spec));
/// assert_eq!(container.to_message().args, ["/app"]);
/// # Ok::<(), nri_domain_cri::cri::InvalidConfig>(())
/// ```
#[derive(Debug, Clone)]
pub struct ContainerRecord {
    /// Full id.
    pub id: String,
    /// Full id of its pod.
    pub pod_id: String,
    /// The configuration, as CRI gave it.
    pub config: Arc<ContainerConfig>,
    /// Name of the domain. Default: [`DOMAIN`].
    pub domain: String,
    /// Its OCI spec, adjusted once it was.
    pub spec: Arc<OciSpec>,
    /// Annotations of the configuration that an adjustment removed. Plugins do not see them any
    /// more; CRI still does.
    pub removed_annotations: BTreeSet<String>,
    /// Labels that the runtime adds, for example the image's. They never replace the
    /// configuration's.
    pub labels: BTreeMap<String, String>,
    /// State.
    pub state: CriState,
    /// Process id; 0 if there is no process.
    pub pid: u32,
    /// Nanoseconds since the epoch; 0 for not yet.
    pub created_at: i64,
    /// Nanoseconds since the epoch; 0 for not yet.
    pub started_at: i64,
    /// Nanoseconds since the epoch; 0 for not yet.
    pub finished_at: i64,
    /// Exit code, once it has one.
    pub exit_code: i32,
    /// Short reason of the state, for example `OOMKilled`. For exits it defaults to `Completed` or
    /// `Error`.
    pub reason: String,
    /// The reason in words.
    pub message: String,
    /// The image; `None` if the runtime does not know it yet.
    pub image: Option<ImageIdentity>,
}

impl ContainerRecord {
    /// A container that is about to be created.
    pub fn new(
        id: impl Into<String>,
        pod_id: impl Into<String>,
        config: Arc<ContainerConfig>,
        spec: Arc<OciSpec>,
    ) -> Self {
        Self {
            id: id.into(),
            pod_id: pod_id.into(),
            config,
            domain: DOMAIN.to_owned(),
            spec,
            removed_annotations: BTreeSet::new(),
            labels: BTreeMap::new(),
            state: CriState::default(),
            pid: 0,
            created_at: 0,
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image: None,
        }
    }

    /// The reason that was stored; else what the exit code says.
    fn status_reason(&self) -> String {
        if self.reason.is_empty() && self.state == CriState::Exited {
            return exit_reason(self.exit_code).to_owned();
        }
        self.reason.clone()
    }
}

/// The reason of an exit of which only the code is known.
pub(crate) fn exit_reason(code: i32) -> &'static str {
    match code {
        0 => "Completed",
        _ => "Error",
    }
}

impl Container for ContainerRecord {
    fn id(&self) -> String {
        self.id.clone()
    }
    fn pod_sandbox_id(&self) -> String {
        self.pod_id.clone()
    }
    fn domain(&self) -> String {
        self.domain.clone()
    }
    fn name(&self) -> String {
        self.config
            .metadata
            .as_ref()
            .map(|metadata| metadata.name.clone())
            .unwrap_or_default()
    }
    fn status(&self) -> ContainerStatus {
        // Runtimes that keep a zero time as a date far in the past have not started or finished.
        let time = |nanoseconds: i64| nanoseconds.max(0);
        let mut status = ContainerStatus::default();
        status.state = self.state.to_nri();
        status.pid = self.pid;
        status.created_at = time(self.created_at);
        status.started_at = time(self.started_at);
        status.finished_at = time(self.finished_at);
        status.exit_code = self.exit_code;
        status.reason = self.status_reason();
        status.message.clone_from(&self.message);
        status
    }
    fn pid(&self) -> u32 {
        self.pid
    }
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.extend(self.config.labels.clone());
        labels
    }
    /// The configuration's, with the spec's laid over them: what was adjusted is what plugins see.
    fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = self.config.annotations.clone();
        annotations.retain(|key, _| !self.removed_annotations.contains(key));
        annotations.extend(read::annotations(&self.spec));
        annotations
    }
    fn args(&self) -> Vec<String> {
        read::args(&self.spec)
    }
    fn env(&self) -> Vec<String> {
        read::env(&self.spec)
    }
    fn mounts(&self) -> Vec<api::Mount> {
        read::mounts(&self.spec)
    }
    fn hooks(&self) -> Option<api::Hooks> {
        read::hooks(&self.spec)
    }
    fn rlimits(&self) -> Vec<api::PosixRlimit> {
        read::rlimits(&self.spec)
    }
    fn cdi_devices(&self) -> Vec<api::CdiDevice> {
        self.config
            .cdi_devices
            .iter()
            .map(|device| api::CdiDevice {
                name: device.name.clone(),
            })
            .collect()
    }
    fn user(&self) -> Option<api::User> {
        read::user(&self.spec)
    }
    fn image(&self) -> Option<api::Image> {
        self.image.as_ref().map(|image| api::Image {
            name: image.name.clone(),
            digest: image.digest.clone(),
            config_digest: image.config_digest.clone(),
        })
    }
    fn linux(&self) -> Option<&dyn LinuxContainer> {
        Some(self)
    }
}

impl LinuxContainer for ContainerRecord {
    fn namespaces(&self) -> Vec<api::LinuxNamespace> {
        read::namespaces(&self.spec)
    }
    fn devices(&self) -> Vec<api::LinuxDevice> {
        read::devices(&self.spec)
    }
    fn resources(&self) -> Option<api::LinuxResources> {
        read::resources(&self.spec)
    }
    fn oom_score_adj(&self) -> Option<i64> {
        read::oom_score_adj(&self.spec)
    }
    fn cgroups_path(&self) -> String {
        read::cgroups_path(&self.spec)
    }
    fn io_priority(&self) -> Option<api::LinuxIoPriority> {
        read::io_priority(&self.spec)
    }
    fn seccomp_profile(&self) -> Option<api::SecurityProfile> {
        let linux = self.config.linux.as_ref()?;
        let profile = linux.security_context.as_ref()?.seccomp.as_ref()?;
        let profile_type = match profile.profile_type {
            ProfileType::RuntimeDefault => {
                api::security_profile::ProfileType::RuntimeDefault.into()
            }
            ProfileType::Unconfined => api::security_profile::ProfileType::Unconfined.into(),
            ProfileType::Localhost => api::security_profile::ProfileType::Localhost.into(),
            // Whatever it is, it is none of those.
            ProfileType::Other(number) => number,
        };
        Some(api::SecurityProfile {
            profile_type,
            localhost_ref: profile.localhost_ref.clone(),
        })
    }
    fn seccomp_policy(&self) -> Option<api::LinuxSeccomp> {
        read::seccomp_policy(&self.spec)
    }
    fn sysctl(&self) -> BTreeMap<String, String> {
        read::sysctl(&self.spec)
    }
    fn net_devices(&self) -> BTreeMap<String, api::LinuxNetDevice> {
        read::net_devices(&self.spec)
    }
    fn scheduler(&self) -> Option<api::LinuxScheduler> {
        read::scheduler(&self.spec)
    }
    fn rdt(&self) -> Option<api::LinuxRdt> {
        read::rdt(&self.spec)
    }
}
