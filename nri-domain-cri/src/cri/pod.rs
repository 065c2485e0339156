//! A pod, as `RunPodSandbox` gets it.

use std::collections::BTreeMap;

use super::field::message;
use super::{InvalidConfig, LinuxContainerResources, LinuxSandboxSecurityContext, from_json};

/// The message, for errors.
const POD: &str = "PodSandboxConfig";

message! {
    /// The configuration of a pod sandbox.
    pub struct PodSandboxConfig {
        /// Who the pod is.
        metadata = 1 / "metadata": Option<PodSandboxMetadata>,
        /// Host name.
        hostname = 2 / "hostname": String,
        /// Directory of the containers' logs on the host.
        log_directory = 3 / "logDirectory": String,
        /// Labels.
        labels = 6 / "labels": BTreeMap<String, String>,
        /// Annotations.
        annotations = 7 / "annotations": BTreeMap<String, String>,
        /// The Linux part.
        linux = 8 / "linux": Option<LinuxPodSandboxConfig>,
    }
}

message! {
    /// Who a pod is.
    pub struct PodSandboxMetadata {
        /// Name.
        name = 1 / "name": String,
        /// Kubernetes UID.
        uid = 2 / "uid": String,
        /// Kubernetes namespace.
        namespace = 3 / "namespace": String,
        /// How often its sandbox was made anew.
        attempt = 4 / "attempt": u32,
    }
}

message! {
    /// The Linux part of a pod sandbox's configuration.
    pub struct LinuxPodSandboxConfig {
        /// The cgroup that the pod's cgroups are made in.
        cgroup_parent = 1 / "cgroupParent": String,
        /// Security.
        security_context = 2 / "securityContext": Option<LinuxSandboxSecurityContext>,
        /// Kernel parameters.
        sysctls = 3 / "sysctls": BTreeMap<String, String>,
        /// Resources that the pod needs beside its containers'.
        overhead = 4 / "overhead": Option<LinuxContainerResources>,
        /// Resources of the pod's containers together.
        resources = 5 / "resources": Option<LinuxContainerResources>,
    }
}

impl PodSandboxConfig {
    /// Reads a pod as `crictl runp` takes it.
    ///
    /// # Errors
    /// A text that is no such configuration, or one without a name or a namespace.
    ///
    /// ```
    /// use nri_domain_cri::cri::PodSandboxConfig;
    /// let pod = PodSandboxConfig::from_json(r#"{
    ///     "metadata": {"name": "web", "namespace": "default", "uid": "u1", "attempt": 1},
    ///     "logDirectory": "/var/log/pods/web"
    /// }"#)?;
    /// assert_eq!(pod.log_directory, "/var/log/pods/web");
    /// # Ok::<(), nri_domain_cri::cri::InvalidConfig>(())
    /// ```
    pub fn from_json(text: &str) -> Result<Self, InvalidConfig> {
        Self::checked(from_json(POD, text)?)
    }

    /// Reads a pod as `crictl runp` takes it, which is YAML, or JSON as one kind of it.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    #[cfg(feature = "yaml")]
    #[cfg_attr(docsrs, doc(cfg(feature = "yaml")))]
    pub fn from_yaml(text: &str) -> Result<Self, InvalidConfig> {
        Self::checked(super::from_yaml::read(POD, text)?)
    }

    fn checked(config: Self) -> Result<Self, InvalidConfig> {
        let what = POD;
        let metadata = config.metadata.clone().unwrap_or_default();
        for (value, field) in [
            (&metadata.name, "metadata.name"),
            (&metadata.namespace, "metadata.namespace"),
        ] {
            if value.is_empty() {
                return Err(InvalidConfig::Missing { what, field });
            }
        }
        Ok(config)
    }
}
