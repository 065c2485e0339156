//! crictl, and what it is given and gives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nri_dev::process;
use serde_json::{Value, json};

use crate::expect::is;

/// The image, as containers name it.
pub(crate) const IMAGE: &str = "e2e.local/busybox:1";
/// Where the logs of containers are.
pub(crate) const LOGS: &str = "/run/e2e/logs";
const CONFIG: &str = "/run/crictl.yaml";

/// crictl at our runtime.
pub(crate) struct Crictl {
    program: PathBuf,
}

impl Crictl {
    /// crictl at a socket.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn new(program: &Path, socket: &str) -> Result<Self, String> {
        let config = format!("runtime-endpoint: unix://{socket}\ntimeout: 120\n");
        fs::write(CONFIG, config).map_err(|e| format!("{CONFIG}: {e}"))?;
        Ok(Self {
            program: program.to_owned(),
        })
    }

    /// It, to be run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--config", CONFIG]).args(arguments);
        command
    }

    /// Whether the runtime answers.
    pub(crate) fn answers(&self) -> bool {
        Path::new("/run/e2e/cri.sock").exists()
            && self
                .command(&["version"])
                .output()
                .is_ok_and(|output| output.status.success())
    }

    /// Runs it; what it prints, without the white space around it.
    ///
    /// # Errors
    /// It fails.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let said = process::capture(&mut self.command(arguments));
        said.map(|said| said.trim().to_owned())
            .map_err(|error| format!("{arguments:?}: {error}"))
    }

    /// Runs it although it may fail.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn output(&self, arguments: &[&str]) -> Result<Output, String> {
        self.command(arguments)
            .output()
            .map_err(|e| format!("crictl: {e}"))
    }

    /// Runs it and reads the JSON that it prints.
    ///
    /// # Errors
    /// It fails.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let said = self.run(arguments)?;
        serde_json::from_str(&said).map_err(|e| format!("{arguments:?}: {e}: {said}"))
    }

    /// Runs a pod; its id.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) fn run_pod(&self, pod: &Value) -> Result<String, String> {
        self.run(&["runp", &file("pod.json", pod)?])
    }

    /// Creates a container; its id.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) fn create(
        &self,
        pod: &str,
        config: &Value,
        container: &Value,
    ) -> Result<String, String> {
        let (config, container) = (
            file("pod.json", config)?,
            file("container.json", container)?,
        );
        self.run(&["create", pod, &container, &config])
    }

    /// What a script prints in a container.
    ///
    /// # Errors
    /// It fails.
    pub(crate) fn script(&self, container: &str, script: &str) -> Result<String, String> {
        self.run(&["exec", "--sync", container, "sh", "-c", script])
    }

    /// The state of a container, without `CONTAINER_`.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn state(&self, container: &str) -> Result<String, String> {
        let status = self.json(&["inspect", container])?;
        let state = status["status"]["state"].as_str().unwrap_or_default();
        Ok(state.trim_start_matches("CONTAINER_").to_owned())
    }

    /// The exit code, reason and message of a container that has ended.
    ///
    /// # Errors
    /// It is not there, or has not ended.
    pub(crate) fn ended(&self, container: &str) -> Result<(i64, String, String), String> {
        let status = self.json(&["inspect", container])?["status"].take();
        is(
            "the state",
            status["state"].as_str(),
            Some("CONTAINER_EXITED"),
        )?;
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
        let code = status["exitCode"].as_i64().unwrap_or_default();
        Ok((code, text("reason"), text("message")))
    }
}

fn file(name: &str, value: &Value) -> Result<String, String> {
    let path = format!("/run/e2e/{name}");
    fs::write(&path, value.to_string()).map_err(|e| format!("{path}: {e}"))?;
    Ok(path)
}

/// A pod of a name.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "e2e", "uid": name},
        "hostname": name,
        "annotations": {
            "ulimits.noderesource.dev/container.app": "[{type: nofile, soft: 777, hard: 888}]",
        },
        "log_directory": LOGS,
        "dns_config": {"servers": ["10.0.0.10"], "searches": ["e2e.local"]},
        "port_mappings": [{"container_port": 80, "host_port": 8080}],
        "linux": {},
    })
}

/// A container that says something and lives until it is stopped, then ends with the code 3.
pub(crate) fn container(name: &str) -> Value {
    let script =
        "trap 'echo bye; exit 3' TERM; echo hello; echo oops >&2; while :; do sleep 0.1; done";
    json!({
        "metadata": {"name": name},
        "image": {"image": IMAGE},
        "command": ["sh", "-c", script],
        "envs": [{"key": "OWN", "value": "1"}],
        "log_path": format!("{name}.log"),
        "annotations": {"cdi.k8s.io/e2e": "e2e.local/dev=annotation"},
        "CDI_devices": [{"name": "e2e.local/dev=field"}],
        "mounts": [
            {"container_path": "/image", "readonly": true, "image": {"image": IMAGE}, "image_sub_path": "bin"},
        ],
        "linux": {
            "resources": {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512},
            "security_context": {
                "namespace_options": {"pid": 1},
                "seccomp": {"profile_type": 0},
                "masked_paths": ["/proc/version"],
                "readonly_paths": ["/proc/sys"],
            },
        },
    })
}
