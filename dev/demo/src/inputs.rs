//! What a demo is given: a pod and a container as crictl takes them, an OCI spec, and a
//! configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use nri_adaptation::Config;
use nri_dev::workspace;
use nri_domain_cri::cri::{ContainerConfig, PodSandboxConfig};
use nri_domain_cri::{ContainerRecord, CriState, PodRecord, PodState};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where the inputs come from.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Sources {
    /// Pod as crictl takes it (JSON) [default: dev/demo/inputs/pod.json].
    #[arg(long, value_name = "FILE")]
    pod: Option<PathBuf>,
    /// Container as crictl takes it (JSON) [default: dev/demo/inputs/container.json].
    #[arg(long, value_name = "FILE")]
    container: Option<PathBuf>,
    /// OCI spec of the container (JSON) [default: dev/demo/inputs/config.json].
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// What the annotate plugin adds (TOML) [default: dev/demo/inputs/annotate.toml].
    #[arg(long, value_name = "FILE")]
    annotate: Option<PathBuf>,
    /// Configuration of the runtime (TOML); its paths are replaced by the demo's own [default: the
    /// built-in one].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The inputs, read.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) pod: PodRecord,
    pub(super) container: ContainerRecord,
    pub(super) annotate: String,
    pub(super) config: Config,
}

impl Inputs {
    pub(super) fn read(sources: &Sources) -> Result<Self, String> {
        let demo = workspace::root().join("dev/demo/inputs");
        let path =
            |given: &Option<PathBuf>, name: &str| given.clone().unwrap_or_else(|| demo.join(name));
        let pod: PodSandboxConfig = json(&path(&sources.pod, "pod.json"))?;
        let container: ContainerConfig = json(&path(&sources.container, "container.json"))?;
        let spec_path = path(&sources.spec, "config.json");
        let spec: Value = json(&spec_path)?;
        if !spec["process"].is_object() || !spec["linux"].is_object() {
            return Err(format!(
                "{}: this is no OCI spec of a Linux container: it has no process or no linux part",
                spec_path.display()
            ));
        }
        let annotate = text(&path(&sources.annotate, "annotate.toml"))?;
        let config = match &sources.config {
            Some(path) => {
                Config::from_toml(&text(path)?).map_err(|e| format!("{}: {e}", path.display()))?
            }
            None => Config::default(),
        };
        let mut pod = PodRecord::new(
            "d3a0f6a1c2b34d6f8e9f00112233445566778899aabbccddeeff001122334455",
            Arc::new(pod),
        );
        pod.state = PodState::Ready;
        pod.ips = vec!["10.88.0.7".to_owned()];
        let mut container = ContainerRecord::new(
            "a61fd22548cb43e3aa24b5da28e1bf5b1a3f0cdd8a2e4f6db1c7e2d3f4a5b6c7",
            pod.id.clone(),
            Arc::new(container),
            Arc::new(spec),
        );
        container.state = CriState::Created;
        Ok(Self {
            pod,
            container,
            annotate,
            config,
        })
    }
}

fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    serde_json::from_str(&text(path)?).map_err(|e| format!("{}: {e}", path.display()))
}
