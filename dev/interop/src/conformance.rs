//! The conformance suite for runtimes at a real containerd, driven through crictl.

use std::path::PathBuf;
use std::process::Command;

use async_trait::async_trait;
use nri_core::api::{ContainerState, LinuxResources};
use nri_dev::process;
use nri_testkit::runtime_conformance::{
    Check, ContainerSpec, Driver, DriverError, Inside, PodSpec, check,
};
use serde_json::{Value, json};

/// What containerd is known not to keep; that it keeps it is no error.
const KNOWN: &[Check] = &[
    // An update of a container that it does not know is as good as done.
    Check::Unsolicited,
    // It carries out no evictions.
    Check::Evicted,
    // Containers that are created while a plugin is shown what exists can be lost to it.
    Check::JoinDuring,
];

/// A CRI runtime through crictl.
pub(super) struct Crictl {
    /// The program.
    pub(super) program: PathBuf,
    /// The runtime's socket.
    pub(super) endpoint: PathBuf,
    /// The socket of its NRI.
    pub(super) nri: PathBuf,
    /// Where what is written for crictl goes.
    pub(super) directory: PathBuf,
    /// The image of containers, whose program runs until it is stopped.
    pub(super) image: &'static str,
    /// The parent of the pods' cgroups.
    pub(super) cgroups: String,
}

impl Crictl {
    fn run(&self, arguments: &[&str]) -> Result<String, DriverError> {
        let endpoint = format!("unix://{}", self.endpoint.display());
        let mut command = Command::new(&self.program);
        command.args(["--config", "/dev/null", "--timeout", "60s"]);
        command.args([
            "--runtime-endpoint",
            &endpoint,
            "--image-endpoint",
            &endpoint,
        ]);
        let printed = process::capture(command.args(arguments))?;
        Ok(printed.trim().to_owned())
    }

    fn write(&self, name: &str, content: &Value) -> Result<String, DriverError> {
        let file = self.directory.join(name);
        std::fs::write(&file, content.to_string())
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(file.display().to_string())
    }

    fn inspected(&self, id: &str) -> Result<Value, DriverError> {
        let text = self.run(&["inspect", "--output", "json", id])?;
        serde_json::from_str(&text).map_err(|error| format!("crictl inspect: {error}").into())
    }
}

/// The host's network, so that none is needed.
fn namespaces() -> Value {
    json!({ "network": 2, "pid": 1 })
}

#[async_trait]
impl Driver for Crictl {
    fn socket(&self) -> PathBuf {
        self.nri.clone()
    }

    fn command(&self) -> Vec<String> {
        vec!["/program".to_owned()]
    }

    async fn run_pod(&self, spec: &PodSpec) -> Result<String, DriverError> {
        let config = json!({
            "metadata": { "name": spec.name, "namespace": spec.namespace, "uid": spec.uid },
            "labels": spec.labels,
            "annotations": spec.annotations,
            "log_directory": self.directory,
            "linux": {
                "cgroup_parent": self.cgroups,
                "security_context": { "namespace_options": namespaces() },
            },
        });
        let file = self.write("pod.json", &config)?;
        let id = self.run(&["runp", &file])?;
        // crictl wants it again for every container.
        std::fs::copy(&file, self.directory.join(format!("{id}.json")))
            .map_err(|error| format!("{file}: {error}"))?;
        Ok(id)
    }

    async fn create_container(
        &self,
        pod: &str,
        spec: &ContainerSpec,
    ) -> Result<String, DriverError> {
        let envs: Vec<Value> = spec
            .env
            .iter()
            .filter_map(|variable| variable.split_once('='))
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect();
        let config = json!({
            "metadata": { "name": spec.name },
            "image": { "image": self.image },
            "command": spec.args,
            "envs": envs,
            "labels": spec.labels,
            "annotations": spec.annotations,
            "log_path": format!("{}.log", spec.name),
            "linux": {
                "resources": { "memory_limit_in_bytes": spec.memory_limit },
                "security_context": { "namespace_options": namespaces() },
            },
        });
        let container = self.write("container.json", &config)?;
        let of_pod = self.directory.join(format!("{pod}.json"));
        self.run(&["create", pod, &container, &of_pod.display().to_string()])
    }

    async fn start_container(&self, id: &str) -> Result<(), DriverError> {
        self.run(&["start", id]).map(drop)
    }

    async fn stop_container(&self, id: &str) -> Result<(), DriverError> {
        self.run(&["stop", "--timeout", "5", id]).map(drop)
    }

    async fn remove_container(&self, id: &str) -> Result<(), DriverError> {
        self.run(&["rm", "--force", id]).map(drop)
    }

    async fn stop_pod(&self, id: &str) -> Result<(), DriverError> {
        self.run(&["stopp", id]).map(drop)
    }

    async fn remove_pod(&self, id: &str) -> Result<(), DriverError> {
        self.run(&["rmp", id]).map(drop)
    }

    async fn update_container(
        &self,
        id: &str,
        resources: &LinuxResources,
    ) -> Result<(), DriverError> {
        let limit = resources.memory.as_ref().and_then(|memory| memory.limit);
        let limit = limit.map_or(0, |limit| limit.value).to_string();
        self.run(&["update", "--memory", &limit, id]).map(drop)
    }

    async fn state(&self, id: &str) -> Result<Option<ContainerState>, DriverError> {
        // What is not there cannot be inspected.
        let Ok(inspected) = self.inspected(id) else {
            return Ok(None);
        };
        Ok(Some(match inspected["status"]["state"].as_str() {
            Some("CONTAINER_CREATED") => ContainerState::ContainerCreated,
            Some("CONTAINER_RUNNING") => ContainerState::ContainerRunning,
            Some("CONTAINER_EXITED") => ContainerState::ContainerStopped,
            _ => ContainerState::ContainerUnknown,
        }))
    }

    async fn inspect(&self, id: &str) -> Result<Inside, DriverError> {
        let inspected = self.inspected(id)?;
        let spec = &inspected["info"]["runtimeSpec"];
        let texts = |list: &Value, field: Option<&str>| -> Option<Vec<String>> {
            let text = |entry: &Value| {
                let text = field.map_or(entry, |field| &entry[field]).as_str();
                text.map(str::to_owned)
            };
            Some(list.as_array()?.iter().filter_map(text).collect())
        };
        let mut inside = Inside::default();
        inside.env = texts(&spec["process"]["env"], None);
        inside.mounts = texts(&spec["mounts"], Some("destination"));
        inside.annotations = serde_json::from_value(spec["annotations"].clone()).ok();
        inside.memory_limit = spec["linux"]["resources"]["memory"]["limit"].as_i64();
        Ok(inside)
    }
}

/// Makes all checks; what fails and is not known is an error.
pub(super) fn run(driver: &Crictl, version: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let report = runtime.block_on(check(driver));
    let failed = report.failed();
    if failed.iter().any(|check| !KNOWN.contains(check)) {
        return Err(report.to_string());
    }
    let all = report.results().len();
    let skipped = report.skipped().len();
    Ok(format!(
        "{} of {all} checks of runtime conformance passed, {skipped} skipped, and these failed: {failed:?} (NRI {version})",
        all - failed.len() - skipped,
    ))
}
