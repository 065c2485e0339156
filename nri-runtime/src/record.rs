//! Pods and containers as they are kept on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use nri_domain_cri::{OciSpec, host};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::cri;
use crate::error::{Error, Result};
use crate::user_namespace::UserNamespace;

/// A process, told from another with the same number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u32,
    /// When it was started, in clock ticks since the machine was.
    pub(crate) started: u64,
}

/// A pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pod {
    pub(crate) id: String,
    pub(crate) config: cri::PodSandboxConfig,
    pub(crate) runtime_handler: String,
    pub(crate) ready: bool,
    /// The OCI spec of the pause process.
    pub(crate) spec: OciSpec,
    /// The pause process.
    pub(crate) pid: u32,
    /// The conmon of the pause process.
    pub(crate) conmon: Process,
    pub(crate) ips: Vec<String>,
    pub(crate) overhead: Option<cri::LinuxContainerResources>,
    pub(crate) resources: Option<cri::LinuxContainerResources>,
    /// Nanoseconds since the epoch.
    pub(crate) created_at: i64,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Created,
    Running,
    Exited,
}

/// A container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) pod_id: String,
    pub(crate) config: cri::ContainerConfig,
    /// Its OCI spec, with what plugins changed.
    pub(crate) spec: OciSpec,
    pub(crate) removed_annotations: BTreeSet<String>,
    pub(crate) image: Image,
    /// The layers that its root is made of, which stay as long as it does.
    pub(crate) layers: Vec<String>,
    pub(crate) state: State,
    pub(crate) pid: u32,
    pub(crate) conmon: Process,
    /// Nanoseconds since the epoch; 0 for not yet.
    pub(crate) created_at: i64,
    pub(crate) started_at: i64,
    pub(crate) finished_at: i64,
    pub(crate) exit_code: i32,
    /// Set where the exit code does not tell it.
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Where its output goes; empty if nowhere.
    pub(crate) log: String,
    /// The signal that stops it.
    pub(crate) stop_signal: String,
}

/// What a container knows of its image.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Pod {
    /// What no other pod may be called.
    pub(crate) fn name(&self) -> String {
        let metadata = self.config.metadata.clone().unwrap_or_default();
        let cri::PodSandboxMetadata {
            name,
            namespace,
            uid,
            attempt,
        } = metadata;
        format!("{name}_{namespace}_{uid}_{attempt}")
    }

    pub(crate) fn options(&self) -> cri::NamespaceOption {
        let linux = self.config.linux.as_ref();
        let security = linux.and_then(|linux| linux.security_context.as_ref());
        let options = security.and_then(|security| security.namespace_options.clone());
        options.unwrap_or_default()
    }

    /// The user namespace that it has of its own, if it has one.
    ///
    /// # Errors
    /// One that cannot be.
    pub(crate) fn user_namespace(&self) -> Result<Option<UserNamespace>> {
        UserNamespace::of_pod(&self.options())
    }

    pub(crate) fn has_own_network(&self) -> bool {
        self.options().network() != cri::NamespaceMode::Node
    }
}

impl Container {
    /// It has been started, and may have ended already.
    pub(crate) fn was_started(&mut self) {
        self.started_at = now();
        if self.state == State::Created {
            self.state = State::Running;
        }
    }

    /// What no other container may be called.
    pub(crate) fn name(&self) -> String {
        let cri::ContainerMetadata { name, attempt } =
            self.config.metadata.clone().unwrap_or_default();
        format!("{}_{name}_{attempt}", self.pod_id)
    }

    /// Its cgroup, as its spec has it.
    pub(crate) fn cgroups_path(&self) -> &str {
        let path = &self.spec["linux"]["cgroupsPath"];
        path.as_str().unwrap_or_default()
    }

    /// The reason of its state.
    pub(crate) fn reason(&self) -> &str {
        match (self.state, self.reason.as_str(), self.exit_code) {
            (State::Exited, "", 0) => "Completed",
            (State::Exited, "", _) => "Error",
            (_, reason, _) => reason,
        }
    }
}

/// Resources as the crate below has them. Kubelets always limit huge pages, and low-level runtimes
/// refuse that where the kernel cannot: there it is left out, as containerd does.
///
/// # Errors
/// None that can happen: both are the same message.
pub(crate) fn resources(
    resources: &cri::LinuxContainerResources,
) -> Result<nri_domain_cri::cri::LinuxContainerResources> {
    let mut resources = resources.clone();
    if !host::hugetlb_supported() {
        resources.hugepage_limits.clear();
    }
    let bytes = resources.encode_to_vec();
    nri_domain_cri::cri::LinuxContainerResources::decode(&bytes).map_err(unreadable)
}

pub(crate) fn unreadable(error: nri_domain_cri::cri::InvalidConfig) -> Error {
    Error::invalid(error.to_string())
}

/// Nanoseconds since the epoch.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}

/// An id that nobody can guess: 64 hexadecimal digits.
///
/// # Errors
/// The system has no random numbers.
pub(crate) fn new_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::internal(format!("no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn container(id: &str) -> Container {
        serde_json::from_value(json!({
            "id": id, "pod_id": "p1", "spec": {"process": {"args": ["/app"]}},
            "config": {"metadata": {"name": "app"}, "cdi_devices": [{"name": "v.com/gpu=0"}]},
            "removed_annotations": [], "state": "Running", "pid": 0, "layers": [],
            "image": {"id": "sha256:1", "name": "app:1", "digest": "sha256:2",
                      "labels": {"from": "image"}},
            "conmon": {"pid": 0, "started": 0}, "created_at": 1, "started_at": 2,
            "finished_at": 3, "exit_code": 137, "reason": "OOMKilled", "message": "",
            "log": "", "stop_signal": "TERM",
        }))
        .unwrap()
    }

    #[test]
    fn ids_differ() {
        let (one, other) = (new_id().unwrap(), new_id().unwrap());
        assert!(one.len() == 64 && one != other);
    }
}
