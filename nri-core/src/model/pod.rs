//! The pod side of the accessor traits.

use std::borrow::Cow;
use std::collections::BTreeMap;

use nri_proto::api;

/// A pod sandbox as a runtime shows it.
///
/// ```
/// use nri_core::model::PodSandbox;
///
/// struct Pod;
/// impl PodSandbox for Pod {
///     fn id(&self) -> String { "p1".into() }
///     fn name(&self) -> String { "web".into() }
/// }
/// assert_eq!(Pod.to_message().name, "web");
/// ```
pub trait PodSandbox: Send + Sync {
    /// Full id.
    fn id(&self) -> String;

    /// Name of the domain it belongs to; empty if the runtime has one only.
    fn domain(&self) -> String {
        String::new()
    }

    /// Name.
    fn name(&self) -> String {
        String::new()
    }

    /// Kubernetes UID.
    fn uid(&self) -> String {
        String::new()
    }

    /// Kubernetes namespace.
    fn namespace(&self) -> String {
        String::new()
    }

    /// Labels.
    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Annotations.
    fn annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Runtime handler; empty for the default one.
    fn runtime_handler(&self) -> String {
        String::new()
    }

    /// Process id of the sandbox process; 0 if there is none.
    fn pid(&self) -> u32 {
        0
    }

    /// Addresses, the primary one first; empty on the host's network.
    fn ips(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether it is ready: one that is not has been stopped. `None` if the runtime does not know;
    /// plugins are not shown such a pod.
    fn ready(&self) -> Option<bool> {
        Some(true)
    }

    /// The Linux part; `None` elsewhere.
    fn linux(&self) -> Option<&dyn LinuxPodSandbox> {
        None
    }

    /// The message that plugins get, if it need not be made: to look at it is cheaper then.
    fn message(&self) -> Cow<'_, api::PodSandbox> {
        Cow::Owned(self.to_message())
    }

    /// The message that plugins get.
    fn to_message(&self) -> api::PodSandbox {
        api::PodSandbox {
            id: self.id(),
            name: self.name(),
            uid: self.uid(),
            namespace: self.namespace(),
            labels: self.labels(),
            annotations: self.annotations(),
            runtime_handler: self.runtime_handler(),
            linux: self.linux().map(LinuxPodSandbox::to_linux_message),
            pid: self.pid(),
            ips: self.ips(),
        }
    }
}

/// The Linux part of a pod sandbox.
pub trait LinuxPodSandbox: Send + Sync {
    /// Resources that the pod needs beside its containers', as last accepted.
    fn pod_overhead(&self) -> Option<api::LinuxResources> {
        None
    }

    /// Resources of the pod's containers together, as last accepted.
    fn pod_resources(&self) -> Option<api::LinuxResources> {
        None
    }

    /// Parent of the pod's cgroup.
    fn cgroup_parent(&self) -> String {
        String::new()
    }

    /// The sandbox's own cgroup.
    fn cgroups_path(&self) -> String {
        String::new()
    }

    /// Namespaces of the sandbox.
    fn namespaces(&self) -> Vec<api::LinuxNamespace> {
        Vec::new()
    }

    /// Resources of the sandbox itself.
    fn resources(&self) -> Option<api::LinuxResources> {
        None
    }

    /// The message that plugins get.
    fn to_linux_message(&self) -> api::LinuxPodSandbox {
        api::LinuxPodSandbox {
            pod_overhead: self.pod_overhead(),
            pod_resources: self.pod_resources(),
            cgroup_parent: self.cgroup_parent(),
            cgroups_path: self.cgroups_path(),
            namespaces: self.namespaces(),
            resources: self.resources(),
        }
    }
}

impl PodSandbox for api::PodSandbox {
    fn id(&self) -> String {
        self.id.clone()
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn uid(&self) -> String {
        self.uid.clone()
    }
    fn namespace(&self) -> String {
        self.namespace.clone()
    }
    fn labels(&self) -> BTreeMap<String, String> {
        self.labels.clone()
    }
    fn annotations(&self) -> BTreeMap<String, String> {
        self.annotations.clone()
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
        self.linux
            .as_ref()
            .map(|linux| linux as &dyn LinuxPodSandbox)
    }
    fn message(&self) -> Cow<'_, api::PodSandbox> {
        Cow::Borrowed(self)
    }
    fn to_message(&self) -> api::PodSandbox {
        self.clone()
    }
}

impl LinuxPodSandbox for api::LinuxPodSandbox {
    fn pod_overhead(&self) -> Option<api::LinuxResources> {
        self.pod_overhead.clone()
    }
    fn pod_resources(&self) -> Option<api::LinuxResources> {
        self.pod_resources.clone()
    }
    fn cgroup_parent(&self) -> String {
        self.cgroup_parent.clone()
    }
    fn cgroups_path(&self) -> String {
        self.cgroups_path.clone()
    }
    fn namespaces(&self) -> Vec<api::LinuxNamespace> {
        self.namespaces.clone()
    }
    fn resources(&self) -> Option<api::LinuxResources> {
        self.resources.clone()
    }
    fn to_linux_message(&self) -> api::LinuxPodSandbox {
        self.clone()
    }
}
