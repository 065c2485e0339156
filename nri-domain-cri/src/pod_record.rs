//! A pod as a CRI runtime knows it, and as plugins see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use nri_core::api;
use nri_core::model::{LinuxPodSandbox, PodSandbox};
use nri_core::oci::read;

use crate::cri::{
    LinuxContainerResources, LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata,
};
use crate::{DOMAIN, OciSpec, resources};

/// Where a pod is in its life, as CRI counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PodState {
    /// Its sandbox is up.
    #[default]
    Ready,
    /// Its sandbox is stopped.
    NotReady,
    /// The runtime does not know. Plugins do not hear of such pods.
    Unknown,
}

/// A pod as a CRI runtime knows it. A snapshot: cloning it copies no configuration.
///
/// ```
/// use std::sync::Arc;
/// use nri_core::model::PodSandbox;
/// use nri_domain_cri::{PodRecord, cri::PodSandboxConfig};
///
/// let config = PodSandboxConfig::from_json(
///     r#"{"metadata": {"name": "web", "namespace": "shop"}, "linux": {"cgroup_parent": "/pods"}}"#,
/// )?;
/// let mut pod = PodRecord::new("3f1c", Arc::new(config));
/// pod.pid = 4711;
/// let message = pod.to_message();
/// assert_eq!((message.name.as_str(), message.namespace.as_str()), ("web", "shop"));
/// assert_eq!(message.linux.unwrap().cgroup_parent, "/pods");
/// # Ok::<(), nri_domain_cri::cri::InvalidConfig>(())
/// ```
#[derive(Debug, Clone)]
pub struct PodRecord {
    /// Full id.
    pub id: String,
    /// The configuration, as CRI gave it.
    pub config: Arc<PodSandboxConfig>,
    /// Name of the domain. Default: [`DOMAIN`].
    pub domain: String,
    /// Runtime handler; empty for the default one.
    pub runtime_handler: String,
    /// State.
    pub state: PodState,
    /// Process id of the sandbox process; 0 if there is none.
    pub pid: u32,
    /// Addresses, the primary one first; empty on the host's network.
    pub ips: Vec<String>,
    /// Overhead as last accepted; the configuration's if `None`.
    pub overhead: Option<LinuxContainerResources>,
    /// Resources as last accepted; the configuration's if `None`.
    pub resources: Option<LinuxContainerResources>,
    /// The OCI spec of the sandbox, if it has one.
    pub spec: Option<Arc<OciSpec>>,
    /// Labels that the runtime adds. They never replace the configuration's.
    pub labels: BTreeMap<String, String>,
    /// Prefix of the annotations in `spec` that are the runtime's own. Plugins see those besides
    /// the configuration's, which they never replace. Default: empty, they see none.
    pub annotation_prefix: String,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
}

impl PodRecord {
    /// A ready pod that has nothing but its id and configuration.
    pub fn new(id: impl Into<String>, config: Arc<PodSandboxConfig>) -> Self {
        Self {
            id: id.into(),
            config,
            domain: DOMAIN.to_owned(),
            runtime_handler: String::new(),
            state: PodState::default(),
            pid: 0,
            ips: Vec::new(),
            overhead: None,
            resources: None,
            spec: None,
            labels: BTreeMap::new(),
            annotation_prefix: String::new(),
            created_at: 0,
        }
    }

    fn metadata<T: Default>(&self, field: impl Fn(&PodSandboxMetadata) -> T) -> T {
        self.config.metadata.as_ref().map(field).unwrap_or_default()
    }

    fn config_linux(&self) -> Option<&LinuxPodSandboxConfig> {
        self.config.linux.as_ref()
    }
}

impl PodSandbox for PodRecord {
    fn id(&self) -> String {
        self.id.clone()
    }
    fn ready(&self) -> Option<bool> {
        match self.state {
            PodState::Ready => Some(true),
            PodState::NotReady => Some(false),
            PodState::Unknown => None,
        }
    }
    fn domain(&self) -> String {
        self.domain.clone()
    }
    fn name(&self) -> String {
        self.metadata(|metadata| metadata.name.clone())
    }
    fn uid(&self) -> String {
        self.metadata(|metadata| metadata.uid.clone())
    }
    fn namespace(&self) -> String {
        self.metadata(|metadata| metadata.namespace.clone())
    }
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.extend(self.config.labels.clone());
        labels
    }
    fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = self
            .spec
            .as_ref()
            .filter(|_| !self.annotation_prefix.is_empty())
            .map(|spec| read::annotations(spec))
            .unwrap_or_default();
        annotations.retain(|key, _| key.starts_with(&self.annotation_prefix));
        annotations.extend(self.config.annotations.clone());
        annotations
    }
    fn runtime_handler(&self) -> String {
        self.runtime_handler.clone()
    }
    fn pid(&self) -> u32 {
        self.pid
    }
    fn ips(&self) -> Vec<String> {
        self.ips.clone()
    }
    fn linux(&self) -> Option<&dyn LinuxPodSandbox> {
        Some(self)
    }
}

impl LinuxPodSandbox for PodRecord {
    fn pod_overhead(&self) -> Option<api::LinuxResources> {
        let configured = self
            .config_linux()
            .and_then(|linux| linux.overhead.as_ref());
        self.overhead.as_ref().or(configured).map(resources::shown)
    }
    fn pod_resources(&self) -> Option<api::LinuxResources> {
        let configured = self
            .config_linux()
            .and_then(|linux| linux.resources.as_ref());
        self.resources.as_ref().or(configured).map(resources::shown)
    }
    fn cgroup_parent(&self) -> String {
        self.config_linux()
            .map(|linux| linux.cgroup_parent.clone())
            .unwrap_or_default()
    }
    fn cgroups_path(&self) -> String {
        self.spec
            .as_ref()
            .map(|spec| read::cgroups_path(spec))
            .unwrap_or_default()
    }
    fn namespaces(&self) -> Vec<api::LinuxNamespace> {
        self.spec
            .as_ref()
            .map(|spec| read::namespaces(spec))
            .unwrap_or_default()
    }
    fn resources(&self) -> Option<api::LinuxResources> {
        self.spec.as_ref().and_then(|spec| read::resources(spec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(value: serde_json::Value) -> Arc<PodSandboxConfig> {
        Arc::new(PodSandboxConfig::from_json(&value.to_string()).unwrap())
    }

    #[test]
    fn every_row_of_the_mapping() {
        let mut pod = PodRecord::new(
            "0a1b",
            config(json!({
                "metadata": {"name": "web-0", "uid": "u-1", "namespace": "shop", "attempt": 2},
                "labels": {"app": "web", "both": "config"},
                "annotations": {"team": "blue", "io.runtime.x": "config"},
                "linux": {
                    "cgroupParent": "/kubepods/pod1",
                    "overhead": {"memoryLimitInBytes": "100"},
                    "resources": {"cpuShares": 2},
                },
            })),
        );
        pod.runtime_handler = "kata".into();
        pod.pid = 7;
        pod.ips = vec!["10.0.0.1".into(), "fd00::1".into()];
        pod.labels = [("both", "runtime"), ("extra", "1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        pod.annotation_prefix = "io.runtime.".into();
        pod.spec = Some(Arc::new(json!({
            "annotations": {"io.runtime.x": "spec", "io.runtime.y": "spec", "team": "red"},
            "linux": {
                "cgroupsPath": "/kubepods/pod1/0a1b",
                "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/1"}],
                "resources": {"cpu": {"shares": 2}},
            },
        })));

        let message = PodSandbox::to_message(&pod);
        assert_eq!(
            (
                &*message.id,
                &*message.name,
                &*message.uid,
                &*message.namespace
            ),
            ("0a1b", "web-0", "u-1", "shop")
        );
        assert_eq!(pod.domain(), "k8s.io");
        assert_eq!(
            json!(message.labels),
            json!({"app": "web", "both": "config", "extra": "1"})
        );
        assert_eq!(
            json!(message.annotations),
            json!({"team": "blue", "io.runtime.x": "config", "io.runtime.y": "spec"})
        );
        assert_eq!((&*message.runtime_handler, message.pid), ("kata", 7));
        assert_eq!(message.ips, ["10.0.0.1", "fd00::1"]);
        let linux = message.linux.unwrap();
        assert_eq!(linux.cgroup_parent, "/kubepods/pod1");
        assert_eq!(linux.cgroups_path, "/kubepods/pod1/0a1b");
        assert_eq!(linux.namespaces[1].path, "/run/netns/1");
        assert_eq!(
            linux.resources.unwrap().cpu.unwrap().shares.unwrap().value,
            2
        );
        assert_eq!(
            linux
                .pod_overhead
                .unwrap()
                .memory
                .unwrap()
                .limit
                .unwrap()
                .value,
            100
        );
        assert_eq!(
            linux
                .pod_resources
                .unwrap()
                .cpu
                .unwrap()
                .shares
                .unwrap()
                .value,
            2
        );
    }

    #[test]
    fn the_latest_resources_count() {
        let mut pod = PodRecord::new(
            "p",
            config(json!({
                "metadata": {"name": "n", "namespace": "ns"},
                "linux": {"overhead": {"memory_limit_in_bytes": 100}},
            })),
        );
        pod.overhead = Some(LinuxContainerResources {
            memory_limit_in_bytes: 200,
            ..Default::default()
        });
        let overhead = pod.pod_overhead().unwrap();
        assert_eq!(overhead.memory.unwrap().limit.unwrap().value, 200);
        assert_eq!(pod.pod_resources(), None);
    }

    #[test]
    fn a_pod_without_a_spec_has_no_spec_parts() {
        let pod = PodRecord::new("p", Arc::default());
        let message = PodSandbox::to_message(&pod);
        assert_eq!(message.linux, Some(api::LinuxPodSandbox::default()));
        assert_eq!(message.name, "");
    }
}
