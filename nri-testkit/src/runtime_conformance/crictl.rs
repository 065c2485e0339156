//! The driver of whatever runtime speaks CRI: crictl.
//!
//! What may not enter: what CRI does not say, except by what the runtime's author gives along.

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

use async_trait::async_trait;
use nri_core::api::{ContainerState, LinuxResources};
use serde_json::{Value, json};
use tokio::process::Command;

use super::driver::{ContainerSpec, Driver, DriverError, Inside, PodSpec};

/// How long crictl waits for an answer, in its words. Longer than a plugin may take.
const PATIENCE: &str = "120s";
/// What a shell in a container waits for to end by itself.
const END: &str = "/nri-conformance-end";
const NO_PROGRAM: &str = "/nri-conformance-no-such-program";
/// Where the memory limit is in a container: with cgroup v1 and v2.
const LIMIT: &str =
    "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || :";

type Restart = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A [`Driver`] of a CRI runtime through crictl, the command line of CRI.
///
/// CRI has no second start of a container, so [`Check::StartsAgain`](super::Check::StartsAgain) is
/// skipped; what else is skipped without what is said by [`shell`](Self::shell),
/// [`fails_creations`](Self::fails_creations) and [`restarted_by`](Self::restarted_by) is there.
///
/// ```no_run
/// use nri_testkit::runtime_conformance::{Check, Crictl, check};
///
/// # async fn test() {
/// let driver = Crictl::new("crictl", "/run/mine.sock", "/run/nri/nri.sock", "busybox:1").shell();
/// let report = check(&driver).await;
/// assert!(report.failed().is_empty(), "{report}");
/// # }
/// ```
#[derive(Clone)]
pub struct Crictl {
    program: PathBuf,
    endpoint: PathBuf,
    nri: PathBuf,
    image: String,
    directory: PathBuf,
    command: Option<Vec<String>>,
    shell: bool,
    host_network: bool,
    fails_creations: bool,
    cgroup_parent: String,
    restart: Option<Restart>,
}

impl Crictl {
    /// A program crictl, the socket of the runtime's CRI and that of its NRI, and an image that the
    /// runtime has.
    pub fn new(
        program: impl Into<PathBuf>,
        endpoint: impl Into<PathBuf>,
        nri: impl Into<PathBuf>,
        image: impl Into<String>,
    ) -> Self {
        Self {
            program: program.into(),
            endpoint: endpoint.into(),
            nri: nri.into(),
            image: image.into(),
            directory: std::env::temp_dir(),
            command: None,
            shell: false,
            host_network: false,
            fails_creations: false,
            cgroup_parent: String::new(),
            restart: None,
        }
    }

    /// An existing directory for what crictl reads and for containers' logs. Default: the system's
    /// for temporary files.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// The command line of containers, which runs until it is stopped. Default: that of
    /// [`Driver::command`], or a script if the image has a [`shell`](Self::shell).
    #[must_use]
    pub fn command(mut self, command: impl IntoIterator<Item = String>) -> Self {
        self.command = Some(command.into_iter().collect());
        self
    }

    /// The image has `sh`, `cat`, `tr`, `cut`, `sleep` and `touch`, as busybox has: containers are
    /// looked into from inside, and can end by themselves. Without, what they have is what crictl
    /// says of their specs, and the checks of ends are skipped.
    #[must_use]
    pub fn shell(mut self) -> Self {
        self.shell = true;
        self
    }

    /// Pods have the host's network, so that the runtime needs none to give to them.
    #[must_use]
    pub fn host_network(mut self) -> Self {
        self.host_network = true;
        self
    }

    /// The parent of the pods' cgroups. Default: the runtime's.
    #[must_use]
    pub fn cgroup_parent(mut self, parent: impl Into<String>) -> Self {
        self.cgroup_parent = parent.into();
        self
    }

    /// The runtime makes a container's process at its creation, as it does over runc, so that a
    /// program that does not exist fails that. Others find out when they start the container.
    #[must_use]
    pub fn fails_creations(mut self) -> Self {
        self.fails_creations = true;
        self
    }

    /// How the runtime is ended and started again, which returns once it serves. It may block.
    #[must_use]
    pub fn restarted_by(
        mut self,
        restart: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.restart = Some(Arc::new(restart));
        self
    }

    async fn output(&self, arguments: &[&str]) -> Result<Output, DriverError> {
        let endpoint = format!("unix://{}", self.endpoint.display());
        let mut command = Command::new(&self.program);
        command
            .args(["--config", "/dev/null", "--timeout", PATIENCE])
            .args(["--runtime-endpoint", &endpoint])
            .args(["--image-endpoint", &endpoint])
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await;
        output.map_err(|error| format!("{}: {error}", self.program.display()).into())
    }

    async fn run(&self, arguments: &[&str]) -> Result<String, DriverError> {
        let output = self.output(arguments).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let (status, said) = (output.status, text(&output.stderr));
        Err(format!("crictl {}: {status}: {said}", arguments.join(" ")).into())
    }

    fn write(&self, name: &str, content: &Value) -> Result<String, DriverError> {
        let file = self.directory.join(name);
        std::fs::write(&file, content.to_string())
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(file.display().to_string())
    }

    fn namespaces(&self) -> Value {
        json!({ "network": if self.host_network { 2 } else { 0 }, "pid": 1 })
    }

    async fn inspected(&self, id: &str) -> Result<Value, DriverError> {
        let text = self.run(&["inspect", "--output", "json", id]).await?;
        serde_json::from_str(&text).map_err(|error| format!("crictl inspect: {error}").into())
    }

    async fn inside(&self, id: &str, script: &str) -> Result<String, DriverError> {
        self.run(&["exec", "--sync", id, "sh", "-c", script]).await
    }

    async fn create(&self, pod: &str, spec: &ContainerSpec) -> Result<String, DriverError> {
        let variables = spec.env.iter().filter_map(|one| one.split_once('='));
        let envs: Vec<Value> = variables
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
                "security_context": { "namespace_options": self.namespaces() },
            },
        });
        let container = self.write("nri-conformance-container.json", &config)?;
        let of_pod = self.directory.join(format!("{pod}.json"));
        let of_pod = of_pod.display().to_string();
        self.run(&["create", pod, &container, &of_pod]).await
    }
}

#[async_trait]
impl Driver for Crictl {
    fn socket(&self) -> PathBuf {
        self.nri.clone()
    }

    fn command(&self) -> Vec<String> {
        let script = format!("trap 'exit 0' TERM; until [ -e {END} ]; do sleep 0.1; done");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match &self.command {
            Some(own) => own.clone(),
            None if self.shell => words(&["sh", "-c", &script]),
            None => words(&["sleep", "3600"]),
        }
    }

    async fn run_pod(&self, spec: &PodSpec) -> Result<String, DriverError> {
        let config = json!({
            "metadata": { "name": spec.name, "namespace": spec.namespace, "uid": spec.uid },
            "labels": spec.labels,
            "annotations": spec.annotations,
            "log_directory": self.directory,
            "linux": {
                "cgroup_parent": self.cgroup_parent,
                "security_context": { "namespace_options": self.namespaces() },
            },
        });
        let file = self.write("nri-conformance-pod.json", &config)?;
        let id = self.run(&["runp", &file]).await?;
        // crictl wants it again for every container.
        self.write(&format!("{id}.json"), &config)?;
        Ok(id)
    }

    async fn create_container(
        &self,
        pod: &str,
        spec: &ContainerSpec,
    ) -> Result<String, DriverError> {
        self.create(pod, spec).await
    }

    async fn start_container(&self, id: &str) -> Result<(), DriverError> {
        self.run(&["start", id]).await.map(drop)
    }

    async fn stop_container(&self, id: &str) -> Result<(), DriverError> {
        self.run(&["stop", "--timeout", "5", id]).await.map(drop)
    }

    async fn remove_container(&self, id: &str) -> Result<(), DriverError> {
        self.run(&["rm", "--force", id]).await.map(drop)
    }

    async fn stop_pod(&self, id: &str) -> Result<(), DriverError> {
        self.run(&["stopp", id]).await.map(drop)
    }

    async fn remove_pod(&self, id: &str) -> Result<(), DriverError> {
        self.run(&["rmp", id]).await.map(drop)
    }

    async fn update_container(
        &self,
        id: &str,
        resources: &LinuxResources,
    ) -> Result<(), DriverError> {
        let limit = resources.memory.as_ref().and_then(|memory| memory.limit);
        let limit = limit.map_or(0, |limit| limit.value).to_string();
        self.run(&["update", "--memory", &limit, id])
            .await
            .map(drop)
    }

    async fn exit_container(&self, id: &str) -> Result<(), DriverError> {
        if !self.shell {
            return Err(DriverError::Unsupported("have a container's process end"));
        }
        self.inside(id, &format!("touch {END}")).await.map(drop)
    }

    async fn fail_creation(&self, pod: &str, spec: &ContainerSpec) -> Result<(), DriverError> {
        if !self.fails_creations {
            return Err(DriverError::Unsupported("have a creation fail"));
        }
        let spec = ContainerSpec {
            args: vec![NO_PROGRAM.to_owned()],
            ..spec.clone()
        };
        match self.create(pod, &spec).await {
            Ok(id) => {
                self.remove_container(&id).await?;
                Err(format!("{NO_PROGRAM} does not exist, and a container of it is created").into())
            }
            Err(_) => Ok(()),
        }
    }

    async fn restart_runtime(&self) -> Result<(), DriverError> {
        let Some(restart) = self.restart.clone() else {
            return Err(DriverError::Unsupported("restart the runtime"));
        };
        let restarted = tokio::task::spawn_blocking(move || restart()).await;
        Ok(restarted.map_err(|error| error.to_string())??)
    }

    async fn state(&self, id: &str) -> Result<Option<ContainerState>, DriverError> {
        let all = self.run(&["ps", "--all", "--quiet", "--no-trunc"]).await?;
        if !all.lines().any(|line| line.trim() == id) {
            return Ok(None);
        }
        let inspected = self.inspected(id).await?;
        Ok(Some(match inspected["status"]["state"].as_str() {
            Some("CONTAINER_CREATED") => ContainerState::ContainerCreated,
            Some("CONTAINER_RUNNING") => ContainerState::ContainerRunning,
            Some("CONTAINER_EXITED") => ContainerState::ContainerStopped,
            _ => ContainerState::ContainerUnknown,
        }))
    }

    async fn inspect(&self, id: &str) -> Result<Inside, DriverError> {
        let inspected = self.inspected(id).await?;
        let mut inside = of_spec(&inspected["info"]["runtimeSpec"]);
        if self.shell && inspected["status"]["state"] == "CONTAINER_RUNNING" {
            let lines = |text: &str| Some(text.lines().map(str::to_owned).collect());
            inside.env = lines(&self.inside(id, "tr '\\0' '\\n' < /proc/1/environ").await?);
            inside.mounts = lines(&self.inside(id, "cut -d' ' -f2 /proc/mounts").await?);
            // A kernel that has no limit says so in a word or by a number that none is.
            inside.memory_limit = self.inside(id, LIMIT).await?.parse().ok();
        }
        Ok(inside)
    }
}

/// What a container has by its OCI spec.
fn of_spec(spec: &Value) -> Inside {
    let texts = |list: &Value, field: Option<&str>| -> Option<Vec<String>> {
        let text = |entry: &Value| {
            let text = field.map_or(entry, |field| &entry[field]).as_str();
            text.map(str::to_owned)
        };
        Some(list.as_array()?.iter().filter_map(text).collect())
    };
    Inside {
        env: texts(&spec["process"]["env"], None),
        mounts: texts(&spec["mounts"], Some("destination")),
        annotations: serde_json::from_value(spec["annotations"].clone()).ok(),
        memory_limit: spec["linux"]["resources"]["memory"]["limit"].as_i64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A crictl that answers by a script, which has the words after the options as `$*`.
    fn crictl(dir: &std::path::Path, script: &str) -> Crictl {
        let program = dir.join("crictl");
        let script = format!(
            "#!/bin/sh\nshift 8\necho \"$*\" >> {0}/log\n{script}\n",
            dir.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Crictl::new(program, "/cri.sock", "/nri.sock", "image:1").directory(dir)
    }

    #[tokio::test]
    async fn pods_and_containers_are_asked_for_in_the_words_of_cri() {
        let dir = tempfile::tempdir().unwrap();
        let driver = crictl(dir.path(), "echo id-1")
            .host_network()
            .cgroup_parent("/mine");
        let read = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(dir.path().join(name)).unwrap()).unwrap()
        };
        let pod = PodSpec {
            name: "web".into(),
            ..Default::default()
        };
        assert_eq!(driver.run_pod(&pod).await.unwrap(), "id-1");
        let config = read("id-1.json");
        assert_eq!(config["metadata"]["name"], "web");
        assert_eq!(config["linux"]["cgroup_parent"], "/mine");
        let options = &config["linux"]["security_context"]["namespace_options"];
        assert_eq!(*options, json!({"network": 2, "pid": 1}));
        let container = ContainerSpec {
            name: "app".into(),
            args: Driver::command(&driver),
            env: vec!["A=b=c".into()],
            memory_limit: 4096,
            ..Default::default()
        };
        driver.create_container("id-1", &container).await.unwrap();
        let config = read("nri-conformance-container.json");
        assert_eq!(config["envs"], json!([{"key": "A", "value": "b=c"}]));
        assert_eq!(config["command"], json!(["sleep", "3600"]));
        assert_eq!(config["linux"]["resources"]["memory_limit_in_bytes"], 4096);
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        let create = log.lines().last().unwrap();
        assert!(
            create.starts_with("create id-1 /") && create.ends_with("/id-1.json"),
            "{create}"
        );
    }

    #[tokio::test]
    async fn what_a_container_has_is_asked_inside_it_where_there_is_a_shell() {
        let dir = tempfile::tempdir().unwrap();
        let spec = json!({
            "status": {"state": "CONTAINER_RUNNING"},
            "info": {"runtimeSpec": {
                "process": {"env": ["OF=spec"]}, "mounts": [{"destination": "/of-spec"}],
                "annotations": {"a": "b"}, "linux": {"resources": {"memory": {"limit": 5}}},
            }},
        });
        let script = format!(
            "case \"$*\" in inspect*) echo '{spec}' ;; *environ*) echo OF=kernel ;; \
             *mounts*) echo /of-kernel ;; *memory*) echo 6 ;; esac"
        );
        let driver = crictl(dir.path(), &script);
        let by_spec = driver.inspect("c").await.unwrap();
        assert_eq!(
            (by_spec.env.unwrap(), by_spec.memory_limit),
            (vec!["OF=spec".to_owned()], Some(5))
        );
        assert_eq!(by_spec.mounts.unwrap(), ["/of-spec"]);
        let inside = driver.clone().shell().inspect("c").await.unwrap();
        assert_eq!(
            (inside.env.unwrap(), inside.memory_limit),
            (vec!["OF=kernel".to_owned()], Some(6))
        );
        assert_eq!(inside.annotations.unwrap()["a"], "b");
        assert!(driver.exit_container("c").await.is_err());
        driver.shell().exit_container("c").await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_there_has_no_state_and_what_crictl_says_is_why() {
        let dir = tempfile::tempdir().unwrap();
        let driver = crictl(
            dir.path(),
            "[ \"$1\" = ps ] || { echo no such thing >&2; exit 3; }",
        );
        assert_eq!(driver.state("c").await.unwrap(), None);
        let error = driver.start_container("c").await.unwrap_err().to_string();
        assert!(
            error.starts_with("crictl start c: ") && error.ends_with("no such thing"),
            "{error}"
        );
    }
}
