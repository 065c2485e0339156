//! The network of pods: CNI's plugins, by the first configuration list that there is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::config::Network as Config;
use crate::cri;
use crate::error::{Error, Result};
use crate::{files, program};

/// What a plugin may take; those for addresses may ask others.
const LIMIT: Duration = Duration::from_secs(120);
/// The most that a configuration may have.
const MOST: u64 = 1 << 20;
/// The pod's interface.
const INTERFACE: &str = "eth0";

/// Where configurations and plugins are.
#[derive(Debug)]
pub(crate) struct Network {
    config: Config,
}

/// A list of plugins, as a file `*.conflist` has it.
#[derive(Debug, Deserialize)]
struct List {
    #[serde(default, rename = "cniVersion")]
    version: String,
    name: String,
    plugins: Vec<Map<String, Value>>,
}

/// A pod to connect or to disconnect.
#[derive(Debug)]
pub(crate) struct Attachment<'a> {
    pub(crate) pod: &'a str,
    /// The pod's network namespace; `None` if it is gone.
    pub(crate) namespace: Option<&'a Path>,
    pub(crate) config: &'a cri::PodSandboxConfig,
}

/// What plugins answered. Kept, so that they are told when the pod goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connected {
    /// The pod's addresses, the primary one first.
    pub(crate) ips: Vec<String>,
    /// The configuration that was in effect and the plugins' last answer.
    pub(crate) kept: Value,
}

impl Network {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
        }
    }

    /// The configuration in effect.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    fn list(&self) -> Result<(List, Value)> {
        let dir = &self.config.config_dir;
        let names = files::names(dir)?;
        let name = names.into_iter().find(|name| name.ends_with(".conflist"));
        let path = dir.join(name.ok_or_else(|| {
            Error::precondition(format!(
                "pods have no network: there is no *.conflist in {} (`network.config_dir`)",
                dir.display()
            ))
        })?);
        let text = files::read(&path, MOST)?.unwrap_or_default();
        let unreadable = |error: serde_json::Error| Error::file("read", &path, error);
        let whole: Value = serde_json::from_slice(&text).map_err(unreadable)?;
        let list = List::deserialize(&whole).map_err(unreadable)?;
        if list.plugins.is_empty() {
            return Err(Error::file("use", &path, "it has no plugins"));
        }
        Ok((list, whole))
    }

    /// What is to be kept of a pod that is about to be connected.
    ///
    /// # Errors
    /// There is no network.
    pub(crate) fn plan(&self) -> Result<Value> {
        let (_, whole) = self.list()?;
        Ok(json!({"list": whole, "result": null}))
    }

    /// Whether pods can be connected; why not.
    ///
    /// # Errors
    /// The reason.
    pub(crate) fn ready(&self) -> Result<()> {
        let (list, _) = self.list()?;
        for plugin in &list.plugins {
            self.program(plugin)?;
        }
        Ok(())
    }

    /// The program of a plugin.
    fn program(&self, plugin: &Map<String, Value>) -> Result<PathBuf> {
        let kind = plugin
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let is_name = !kind.is_empty() && !kind.contains('/') && !kind.starts_with('.');
        let dirs = &self.config.plugin_dirs;
        let mut found = dirs
            .iter()
            .map(|dir| dir.join(kind))
            .filter(|path| path.is_file());
        found.next().filter(|_| is_name).ok_or_else(|| {
            let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            Error::precondition(format!(
                "there is no CNI plugin {kind:?} in {}: install it (Debian: `apt install \
                 containernetworking-plugins`), or set `network.plugin_dirs`",
                dirs.join(", ")
            ))
        })
    }

    /// Connects a pod.
    ///
    /// # Errors
    /// What a plugin says; those before it were told to undo what they had done.
    pub(crate) async fn connect(&self, attachment: &Attachment<'_>) -> Result<Connected> {
        let (list, whole) = self.list()?;
        let mut previous = Value::Null;
        for plugin in &list.plugins {
            match self.call("ADD", &list, plugin, attachment, &previous).await {
                Ok(answer) => previous = answer,
                Err(error) => {
                    let kept = json!({"list": whole, "result": previous});
                    if let Err(error) = self.disconnect(attachment, &kept).await {
                        tracing::warn!(pod = attachment.pod, %error, "the network of a pod that failed is not gone");
                    }
                    return Err(error);
                }
            }
        }
        let ips = previous["ips"].as_array().into_iter().flatten();
        let ips = ips.filter_map(|ip| ip["address"].as_str()?.split('/').next());
        Ok(Connected {
            ips: ips.map(str::to_owned).collect(),
            kept: json!({"list": whole, "result": previous}),
        })
    }

    /// Disconnects a pod, from what was kept when it was connected. To do so twice is fine.
    ///
    /// # Errors
    /// What plugins say, the first of it; all are told.
    pub(crate) async fn disconnect(&self, attachment: &Attachment<'_>, kept: &Value) -> Result<()> {
        let list = List::deserialize(&kept["list"]);
        let list =
            list.map_err(|error| Error::internal(format!("what was kept of CNI: {error}")))?;
        let mut result = Ok(());
        for plugin in list.plugins.iter().rev() {
            let told = self
                .call("DEL", &list, plugin, attachment, &kept["result"])
                .await;
            result = result.and(told.map(drop));
        }
        result
    }

    async fn call(
        &self,
        doing: &str,
        list: &List,
        plugin: &Map<String, Value>,
        attachment: &Attachment<'_>,
        previous: &Value,
    ) -> Result<Value> {
        let path = self.program(plugin)?;
        let input = Value::Object(input(list, plugin, attachment.config, previous)).to_string();
        let metadata = attachment.config.metadata.clone().unwrap_or_default();
        let dirs: Vec<&Path> = self
            .config
            .plugin_dirs
            .iter()
            .map(PathBuf::as_path)
            .collect();
        let dirs = std::env::join_paths(dirs).map_err(|error| {
            Error::invalid(format!("`network.plugin_dirs` has a ':' in it: {error}"))
        })?;
        let mut command = program::command(&path);
        command
            .env("CNI_COMMAND", doing)
            .env("CNI_CONTAINERID", attachment.pod)
            .env("CNI_NETNS", attachment.namespace.unwrap_or(Path::new("")))
            .env("CNI_IFNAME", INTERFACE)
            .env("CNI_PATH", dirs)
            .env("CNI_ARGS", arguments(attachment.pod, &metadata));
        let output = program::output(&mut command, Some(input.as_bytes()), LIMIT).await?;
        let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        if !output.status.success() {
            let said = answer.as_ref().and_then(|answer| {
                let details = answer["details"].as_str().unwrap_or_default();
                Some(
                    format!("{} {details}", answer["msg"].as_str()?)
                        .trim()
                        .to_owned(),
                )
            });
            let said = said.unwrap_or_else(|| program::last_words(&output.stderr));
            return Err(Error::internal(format!(
                "the CNI plugin {} fails to {doing}: {said}",
                path.display()
            )));
        }
        Ok(answer.unwrap_or(Value::Null))
    }
}

/// What a plugin reads: its part of the list, with what the list says for all, what it can do for
/// this pod, and what the one before it answered.
fn input(
    list: &List,
    plugin: &Map<String, Value>,
    pod: &cri::PodSandboxConfig,
    previous: &Value,
) -> Map<String, Value> {
    let mut input = plugin.clone();
    let capabilities = input.remove("capabilities").unwrap_or_default();
    input.insert("name".to_owned(), json!(list.name));
    input.insert("cniVersion".to_owned(), json!(list.version));
    if !previous.is_null() {
        input.insert("prevResult".to_owned(), previous.clone());
    }
    let mut can = Map::new();
    if capabilities["portMappings"] == true {
        let ports = pod
            .port_mappings
            .iter()
            .filter(|port| port.host_port > 0)
            .map(|port| {
                json!({
                    "hostPort": port.host_port,
                    "containerPort": port.container_port,
                    "protocol": port.protocol().as_str_name().to_lowercase(),
                    "hostIP": port.host_ip,
                })
            });
        let ports: Vec<Value> = ports.collect();
        if !ports.is_empty() {
            can.insert("portMappings".to_owned(), json!(ports));
        }
    }
    if capabilities["dns"] == true
        && let Some(dns) = &pod.dns_config
    {
        let dns = json!({"servers": dns.servers, "searches": dns.searches, "options": dns.options});
        can.insert("dns".to_owned(), dns);
    }
    if !can.is_empty() {
        input.insert("runtimeConfig".to_owned(), Value::Object(can));
    }
    input
}

/// What Kubernetes' runtimes tell plugins of a pod.
fn arguments(pod: &str, metadata: &cri::PodSandboxMetadata) -> String {
    let all = [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", &metadata.namespace),
        ("K8S_POD_NAME", &metadata.name),
        ("K8S_POD_INFRA_CONTAINER_ID", pod),
        ("K8S_POD_UID", &metadata.uid),
    ];
    // A value that would end there is left out: Kubernetes' names have none of these.
    let all = all.iter().filter(|(_, value)| !value.contains([';', '=']));
    let all: Vec<String> = all.map(|(key, value)| format!("{key}={value}")).collect();
    all.join(";")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::write_program;

    /// Two plugins that write down what they are asked; the second fails if it is told to.
    fn network(dir: &Path, second: &str) -> Network {
        for (name, answer) in [
            (
                "one",
                "echo '{\"ips\":[{\"address\":\"10.0.0.2/24\"},{\"address\":\"fd00::2/64\"}]}'",
            ),
            ("two", second),
        ] {
            let script = format!(
                "#!/bin/sh\necho \"{name} $CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $(cat)\" >> {}/log\n{answer}\n",
                dir.display()
            );
            write_program(&dir.join(name), script.as_bytes());
        }
        let list = json!({
            "cniVersion": "1.0.0", "name": "net",
            "plugins": [{"type": "one"}, {"type": "two", "capabilities": {"portMappings": true}}],
        });
        std::fs::write(dir.join("10-net.conflist"), list.to_string()).unwrap();
        Network::new(&Config {
            config_dir: dir.to_owned(),
            plugin_dirs: vec![dir.to_owned()],
        })
    }

    fn pod() -> cri::PodSandboxConfig {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
            "port_mappings": [{"container_port": 80, "host_port": 8080}, {"container_port": 9}],
        }))
        .unwrap()
    }

    fn log(dir: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(dir.join("log")).unwrap();
        std::fs::remove_file(dir.join("log")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn plugins_are_asked_in_order_and_told_in_reverse() {
        let dir = tempfile::tempdir().unwrap();
        let network = network(
            dir.path(),
            "cat /dev/null; echo '{\"ips\":[{\"address\":\"10.0.0.2/24\"}]}'",
        );
        network.ready().unwrap();
        let namespace = Path::new("/run/netns/p1");
        let config = pod();
        let attachment = Attachment {
            pod: "p1",
            namespace: Some(namespace),
            config: &config,
        };
        let connected = network.connect(&attachment).await.unwrap();
        assert_eq!(connected.ips, ["10.0.0.2"]);
        let calls = log(dir.path());
        assert!(
            calls[0].starts_with("one ADD p1 /run/netns/p1 {"),
            "{calls:?}"
        );
        assert!(!calls[0].contains("prevResult") && calls[1].contains("prevResult"));
        assert!(calls[1].contains("\"hostPort\":8080") && calls[1].contains("\"tcp\""));
        assert!(!calls[1].contains("capabilities"));
        // The configuration of the connecting is that of the disconnecting.
        std::fs::write(dir.path().join("10-net.conflist"), "{}").unwrap();
        let gone = Attachment {
            namespace: None,
            ..attachment
        };
        network.disconnect(&gone, &connected.kept).await.unwrap();
        let calls = log(dir.path());
        assert!(
            calls[0].starts_with("two DEL p1  {") && calls[1].starts_with("one DEL"),
            "{calls:?}"
        );
    }

    #[tokio::test]
    async fn what_was_done_before_a_failure_is_undone() {
        let dir = tempfile::tempdir().unwrap();
        let script = "[ $CNI_COMMAND = DEL ] || { echo '{\"code\":7,\"msg\":\"no port\",\"details\":\"8080\"}'; exit 1; }";
        let network = network(dir.path(), script);
        let config = pod();
        let attachment = Attachment {
            pod: "p1",
            namespace: None,
            config: &config,
        };
        let error = network.connect(&attachment).await.unwrap_err().to_string();
        assert!(error.ends_with("fails to ADD: no port 8080"), "{error}");
        let calls = log(dir.path());
        let calls: Vec<&str> = calls.iter().map(|call| &call[..7]).collect();
        assert_eq!(calls, ["one ADD", "two ADD", "two DEL", "one DEL"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let network = network(dir.path(), "");
        std::fs::remove_file(dir.path().join("two")).unwrap();
        let error = network.ready().unwrap_err().to_string();
        assert!(error.contains("no CNI plugin \"two\""), "{error}");
        std::fs::remove_file(dir.path().join("10-net.conflist")).unwrap();
        let error = network.ready().unwrap_err().to_string();
        assert!(error.contains("no *.conflist"), "{error}");
    }
}
