//! The container side of the accessor traits.

use std::borrow::Cow;
use std::collections::BTreeMap;

use nri_proto::api::{self, ContainerState};

use super::State;

/// What changes in a container's life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerStatus {
    /// The protocol's state.
    pub state: ContainerState,
    /// Process id; 0 before there is a process.
    pub pid: u32,
    /// Nanoseconds since the epoch; 0 for not yet.
    pub created_at: i64,
    /// Nanoseconds since the epoch; 0 for not yet.
    pub started_at: i64,
    /// Nanoseconds since the epoch; 0 for not yet.
    pub finished_at: i64,
    /// Exit code, once it has one.
    pub exit_code: i32,
    /// Short reason of the state, for example `OOMKilled`.
    pub reason: String,
    /// The reason in words.
    pub message: String,
}

/// A container as a runtime shows it.
///
/// ```
/// use nri_core::model::Container;
///
/// struct Shell;
/// impl Container for Shell {
///     fn id(&self) -> String { "c1".into() }
///     fn pod_sandbox_id(&self) -> String { "p1".into() }
///     fn args(&self) -> Vec<String> { vec!["/bin/sh".into()] }
/// }
/// assert_eq!(Shell.to_message().args, ["/bin/sh"]);
/// ```
pub trait Container: Send + Sync {
    /// Full id.
    fn id(&self) -> String;

    /// Full id of its pod.
    fn pod_sandbox_id(&self) -> String;

    /// Name of the domain it belongs to; empty if the runtime has one only.
    fn domain(&self) -> String {
        String::new()
    }

    /// Name in its pod.
    fn name(&self) -> String {
        String::new()
    }

    /// Its status.
    fn status(&self) -> ContainerStatus {
        ContainerStatus::default()
    }

    /// Its state, as the API counts it; from [`status`](Container::status) by default.
    fn state(&self) -> State {
        match self.status().state {
            ContainerState::ContainerCreated => State::Created,
            // An unknown one counts as running: it has to be stopped before it is removed.
            ContainerState::ContainerRunning
            | ContainerState::ContainerPaused
            | ContainerState::ContainerUnknown => State::Running,
            ContainerState::ContainerStopped => State::Stopped,
        }
    }

    /// Its process id; from [`status`](Container::status) by default.
    fn pid(&self) -> u32 {
        self.status().pid
    }

    /// Labels.
    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Annotations.
    fn annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Command line.
    fn args(&self) -> Vec<String> {
        Vec::new()
    }

    /// Environment, entries `NAME=value`.
    fn env(&self) -> Vec<String> {
        Vec::new()
    }

    /// Mounts.
    fn mounts(&self) -> Vec<api::Mount> {
        Vec::new()
    }

    /// OCI hooks.
    fn hooks(&self) -> Option<api::Hooks> {
        None
    }

    /// POSIX resource limits.
    fn rlimits(&self) -> Vec<api::PosixRlimit> {
        Vec::new()
    }

    /// CDI devices, as the orchestrator asked for them.
    fn cdi_devices(&self) -> Vec<api::CdiDevice> {
        Vec::new()
    }

    /// The user that its process runs as.
    fn user(&self) -> Option<api::User> {
        None
    }

    /// The image it was made from.
    fn image(&self) -> Option<api::Image> {
        None
    }

    /// The Linux part; `None` elsewhere.
    fn linux(&self) -> Option<&dyn LinuxContainer> {
        None
    }

    /// The message that plugins get, if it need not be made: to look at it is cheaper then.
    fn message(&self) -> Cow<'_, api::Container> {
        Cow::Owned(self.to_message())
    }

    /// The message that plugins get.
    fn to_message(&self) -> api::Container {
        let status = self.status();
        api::Container {
            id: self.id(),
            pod_sandbox_id: self.pod_sandbox_id(),
            name: self.name(),
            state: status.state.into(),
            labels: self.labels(),
            annotations: self.annotations(),
            args: self.args(),
            env: self.env(),
            mounts: self.mounts(),
            hooks: self.hooks(),
            linux: self.linux().map(LinuxContainer::to_linux_message),
            pid: status.pid,
            rlimits: self.rlimits(),
            created_at: status.created_at,
            started_at: status.started_at,
            finished_at: status.finished_at,
            exit_code: status.exit_code,
            status_reason: status.reason,
            status_message: status.message,
            cdi_devices: self.cdi_devices(),
            user: self.user(),
            image: self.image(),
        }
    }
}

/// The Linux part of a container.
pub trait LinuxContainer: Send + Sync {
    /// Namespaces.
    fn namespaces(&self) -> Vec<api::LinuxNamespace> {
        Vec::new()
    }

    /// Devices.
    fn devices(&self) -> Vec<api::LinuxDevice> {
        Vec::new()
    }

    /// Resources.
    fn resources(&self) -> Option<api::LinuxResources> {
        None
    }

    /// OOM score adjustment.
    fn oom_score_adj(&self) -> Option<i64> {
        None
    }

    /// Path of its cgroup.
    fn cgroups_path(&self) -> String {
        String::new()
    }

    /// I/O priority.
    fn io_priority(&self) -> Option<api::LinuxIoPriority> {
        None
    }

    /// Seccomp profile, as the orchestrator asked for it.
    fn seccomp_profile(&self) -> Option<api::SecurityProfile> {
        None
    }

    /// Seccomp policy in effect.
    fn seccomp_policy(&self) -> Option<api::LinuxSeccomp> {
        None
    }

    /// Kernel parameters.
    fn sysctl(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Network devices, by name on the host.
    fn net_devices(&self) -> BTreeMap<String, api::LinuxNetDevice> {
        BTreeMap::new()
    }

    /// Scheduler settings.
    fn scheduler(&self) -> Option<api::LinuxScheduler> {
        None
    }

    /// RDT settings.
    fn rdt(&self) -> Option<api::LinuxRdt> {
        None
    }

    /// The message that plugins get.
    fn to_linux_message(&self) -> api::LinuxContainer {
        api::LinuxContainer {
            namespaces: self.namespaces(),
            devices: self.devices(),
            resources: self.resources(),
            oom_score_adj: self.oom_score_adj().map(|value| api::OptionalInt { value }),
            cgroups_path: self.cgroups_path(),
            io_priority: self.io_priority(),
            seccomp_profile: self.seccomp_profile(),
            seccomp_policy: self.seccomp_policy(),
            sysctl: self.sysctl(),
            net_devices: self.net_devices(),
            scheduler: self.scheduler(),
            rdt: self.rdt(),
        }
    }
}

impl Container for api::Container {
    fn id(&self) -> String {
        self.id.clone()
    }
    fn pod_sandbox_id(&self) -> String {
        self.pod_sandbox_id.clone()
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn status(&self) -> ContainerStatus {
        ContainerStatus {
            // A state of a newer protocol is unknown to us.
            state: self.state(),
            pid: self.pid,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            exit_code: self.exit_code,
            reason: self.status_reason.clone(),
            message: self.status_message.clone(),
        }
    }
    fn labels(&self) -> BTreeMap<String, String> {
        self.labels.clone()
    }
    fn annotations(&self) -> BTreeMap<String, String> {
        self.annotations.clone()
    }
    fn args(&self) -> Vec<String> {
        self.args.clone()
    }
    fn env(&self) -> Vec<String> {
        self.env.clone()
    }
    fn mounts(&self) -> Vec<api::Mount> {
        self.mounts.clone()
    }
    fn hooks(&self) -> Option<api::Hooks> {
        self.hooks.clone()
    }
    fn rlimits(&self) -> Vec<api::PosixRlimit> {
        self.rlimits.clone()
    }
    fn cdi_devices(&self) -> Vec<api::CdiDevice> {
        self.cdi_devices.clone()
    }
    fn user(&self) -> Option<api::User> {
        self.user.clone()
    }
    fn image(&self) -> Option<api::Image> {
        self.image.clone()
    }
    fn linux(&self) -> Option<&dyn LinuxContainer> {
        self.linux
            .as_ref()
            .map(|linux| linux as &dyn LinuxContainer)
    }
    fn message(&self) -> Cow<'_, api::Container> {
        Cow::Borrowed(self)
    }
    fn to_message(&self) -> api::Container {
        self.clone()
    }
}

impl LinuxContainer for api::LinuxContainer {
    fn namespaces(&self) -> Vec<api::LinuxNamespace> {
        self.namespaces.clone()
    }
    fn devices(&self) -> Vec<api::LinuxDevice> {
        self.devices.clone()
    }
    fn resources(&self) -> Option<api::LinuxResources> {
        self.resources.clone()
    }
    fn oom_score_adj(&self) -> Option<i64> {
        self.oom_score_adj.as_ref().map(|wrapper| wrapper.value)
    }
    fn cgroups_path(&self) -> String {
        self.cgroups_path.clone()
    }
    fn io_priority(&self) -> Option<api::LinuxIoPriority> {
        self.io_priority
    }
    fn seccomp_profile(&self) -> Option<api::SecurityProfile> {
        self.seccomp_profile.clone()
    }
    fn seccomp_policy(&self) -> Option<api::LinuxSeccomp> {
        self.seccomp_policy.clone()
    }
    fn sysctl(&self) -> BTreeMap<String, String> {
        self.sysctl.clone()
    }
    fn net_devices(&self) -> BTreeMap<String, api::LinuxNetDevice> {
        self.net_devices.clone()
    }
    fn scheduler(&self) -> Option<api::LinuxScheduler> {
        self.scheduler.clone()
    }
    fn rdt(&self) -> Option<api::LinuxRdt> {
        self.rdt.clone()
    }
    fn to_linux_message(&self) -> api::LinuxContainer {
        self.clone()
    }
}
