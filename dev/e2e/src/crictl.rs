//! crictl, and what it is given and gives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nri_dev::process;
use serde_json::{Value, json};

use crate::expect::is;

/// The image, as containers name it.
pub(crate) const IMAGE: &str = "e2e.local/busybox:1";
/// Where the logs of containers are.
pub(crate) const LOGS: &str = "/run/e2e/logs";

/// Who root is on the host, in a pod with a user namespace of its own.
pub(crate) const FIRST: u32 = 100_000;

/// crictl at a runtime.
pub(crate) struct Crictl {
    program: PathBuf,
    socket: PathBuf,
}

impl Crictl {
    /// crictl at a socket, with a configuration beside it.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn new(program: &Path, socket: &str) -> Result<Self, String> {
        let crictl = Self {
            program: program.to_owned(),
            socket: socket.into(),
        };
        let text = format!("runtime-endpoint: unix://{socket}\ntimeout: 120\n");
        let config = crictl.config();
        fs::write(&config, text).map_err(|e| format!("{}: {e}", config.display()))?;
        Ok(crictl)
    }

    fn config(&self) -> PathBuf {
        self.socket.with_extension("yaml")
    }

    /// It, to be run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.config()).args(arguments);
        command
    }

    /// Whether the runtime answers.
    pub(crate) fn answers(&self) -> bool {
        self.socket.exists()
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
        self.run(&["runp", &file("pod", pod)?])
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
        let (config, container) = (file("pod", config)?, file("container", container)?);
        self.run(&["create", pod, &container, &config])
    }

    /// Creates a container in a pod, and starts it; its id.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) fn started(
        &self,
        pod_id: &str,
        pod_name: &str,
        config: &Value,
    ) -> Result<String, String> {
        let id = self.create(pod_id, &pod(pod_name), config)?;
        self.run(&["start", &id])?;
        Ok(id)
    }

    /// Starts it, and goes on.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Result<Child, String> {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("crictl: {e}"))
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

/// Writes a configuration for crictl, in a file of its own for each name; its path.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn file(kind: &str, config: &Value) -> Result<String, String> {
    let name = config["metadata"]["name"].as_str().unwrap_or_default();
    let path = format!("/run/e2e/{kind}-{name}.json");
    fs::write(&path, config.to_string()).map_err(|e| format!("{path}: {e}"))?;
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

/// Gives a pod's configuration a user namespace of its own.
pub(crate) fn with_own(mut pod: Value) -> Value {
    let ids = mappings(FIRST);
    pod["linux"]["security_context"]["namespace_options"]["userns_options"] =
        json!({"mode": 0, "uids": ids, "gids": ids});
    pod
}

/// As many ids as pods of kubelets have, from one of the host's on.
pub(crate) fn mappings(first: u32) -> Value {
    json!([{"container_id": 0, "host_id": first, "length": 65536}])
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

/// A container that runs a script.
pub(crate) fn script(name: &str, script: &str) -> Value {
    let mut config = container(name);
    config["command"] = json!(["sh", "-c", script]);
    config
}
