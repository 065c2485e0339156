//! OCI specs from what CRI says, before any plugin has.

mod asked;
mod capabilities;
mod cgroups;
mod devices;
mod mounts;
mod seccomp;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nri_core::oci::ApplyOptions;
use nri_domain_cri::{OciSpec, resources};
use serde_json::{Map, Value, json};

use self::capabilities::Capabilities;
use self::devices::Devices;
use crate::config::{Config, LowLevel};
use crate::cri::{self, NamespaceMode};
use crate::error::{Error, Result};
use crate::images::ImageConfig;
use crate::record::{self, Pod};
use crate::user_namespace::UserNamespace;

pub(crate) use self::mounts::SHARED;

/// The version of the specification that both runc and crun know.
const VERSION: &str = "1.0.2";

/// What we may hand on to containers.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    capabilities: BTreeSet<&'static str>,
    /// Our own adjustment of the OOM score, which only privileged processes may go below.
    oom_score: i64,
}

impl Host {
    /// What we see of ourselves.
    pub(crate) fn look() -> Self {
        let score = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
        Self {
            capabilities: capabilities::own(),
            oom_score: score.trim().parse().unwrap_or(0),
        }
    }

    /// The adjustment, as far as we can make it.
    fn oom_score(&self, wanted: i64) -> i64 {
        match self.capabilities.contains("SYS_RESOURCE") {
            true => wanted,
            false => wanted.max(self.oom_score),
        }
    }
}

/// The spec of a pod's pause process, whose namespaces are the pod's.
///
/// # Errors
/// A configuration that cannot be.
pub(crate) fn pause(
    id: &str,
    config: &cri::PodSandboxConfig,
    options: &cri::NamespaceOption,
    low: &LowLevel,
    host: &Host,
) -> Result<OciSpec> {
    let users = UserNamespace::of_pod(options)?;
    let own_network = options.network() != NamespaceMode::Node;
    let linux = config.linux.clone().unwrap_or_default();
    let mut namespaces = vec![json!({"type": "mount"})];
    let own = [
        ("user", users.is_some()),
        ("network", own_network),
        // The host's name is the host's network's.
        ("uts", own_network),
        ("ipc", options.ipc() != NamespaceMode::Node),
        ("pid", options.pid() != NamespaceMode::Node),
    ];
    namespaces.extend(
        own.iter()
            .filter(|(_, own)| *own)
            .map(|(kind, _)| json!({"type": kind})),
    );
    let (uid, gid) = users.map_or((65534, 65534), |users| users.nobody());
    let metadata = config.metadata.clone().unwrap_or_default();
    let mut annotations = config.annotations.clone();
    annotations.extend(identity("sandbox", id, &metadata));
    let mut spec = json!({
        "ociVersion": VERSION,
        "process": {
            "args": ["/pause"],
            "cwd": "/",
            "user": {"uid": uid, "gid": gid},
            "capabilities": {},
            "noNewPrivileges": true,
            "oomScoreAdj": host.oom_score(-998),
        },
        "root": {"path": "rootfs", "readonly": true},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        ],
        "annotations": annotations,
        "linux": {
            "cgroupsPath": cgroups::path(config, low, id)?,
            "namespaces": namespaces,
            "sysctl": linux.sysctls,
            "resources": {"cpu": {"shares": 2}, "devices": [{"allow": false, "access": "rwm"}]},
        },
    });
    if let (Some(users), Some(members)) = (users, spec["linux"].as_object_mut()) {
        users.add_to(members);
    }
    if own_network && !config.hostname.is_empty() {
        spec["hostname"] = json!(config.hostname);
    }
    Ok(spec)
}

/// A container to write a spec for.
pub(crate) struct Input<'a> {
    pub(crate) id: &'a str,
    pub(crate) pod: &'a Pod,
    pub(crate) pod_dir: &'a Path,
    /// The pod's network namespace.
    pub(crate) network: Option<PathBuf>,
    /// The first process of the container whose processes are shared, if one's are.
    pub(crate) target: Option<u32>,
    pub(crate) config: &'a cri::ContainerConfig,
    pub(crate) image: &'a ImageConfig,
    pub(crate) rootfs: &'a Path,
    /// The configuration of this runtime.
    pub(crate) daemon: &'a Config,
    /// How what is asked for is put into the spec.
    pub(crate) options: &'a ApplyOptions,
    pub(crate) host: &'a Host,
}

/// The spec of a container.
///
/// # Errors
/// A configuration that cannot be.
pub(crate) fn container(input: &Input<'_>) -> Result<OciSpec> {
    let Input {
        id,
        pod,
        config,
        image,
        rootfs,
        host,
        ..
    } = *input;
    let linux = config.linux.clone().unwrap_or_default();
    let security = linux.security_context.unwrap_or_default();
    let capabilities = Capabilities::new(&security, &host.capabilities)?;
    let users = pod.user_namespace()?;
    UserNamespace::check_container(users, &namespace_options(&security))?;
    let choices = mounts::Choices {
        privileged: security.privileged,
        host_ipc: namespace_options(&security).ipc() == NamespaceMode::Node,
        pod_dir: input.pod_dir,
        readonly_rootfs: security.readonly_rootfs,
        users,
    };
    let mounts = mounts::of(config, choices)?;
    let devices = Devices::of(config, security.privileged)?;
    let user = user::resolve(rootfs, &security, &image.user)?;
    if let Some(users) = users {
        let groups = user.groups.iter().copied().chain([user.gid]);
        users.check_user(user.uid, groups)?;
    }
    let asked = linux.resources.unwrap_or_default();
    let resources = resources::to_oci(&record::resources(&asked)?, input.options);
    let mut resources = resources.map_err(|error| Error::invalid(error.to_string()))?;
    resources["devices"] = json!(devices.rules);
    let seccomp = seccomp::of(&security, &capabilities.held)?;
    let metadata = pod.config.metadata.clone().unwrap_or_default();
    let name = config.metadata.clone().unwrap_or_default().name;
    let mut annotations = config.annotations.clone();
    annotations.extend(identity("container", &pod.id, &metadata));
    annotations.insert("io.kubernetes.cri.container-name".to_owned(), name);
    let cgroup = cgroups::path(&pod.config, &input.daemon.low_level, id)?;
    let mut members = Map::new();
    members.insert("cgroupsPath".to_owned(), json!(cgroup));
    members.insert("namespaces".to_owned(), namespaces(input, &security)?);
    members.insert("resources".to_owned(), resources);
    members.insert("devices".to_owned(), json!(devices.nodes));
    if !security.privileged {
        members.insert("maskedPaths".to_owned(), json!(security.masked_paths));
        members.insert("readonlyPaths".to_owned(), json!(security.readonly_paths));
    }
    if let Some(users) = users {
        users.add_to(&mut members);
    }
    if let Some(seccomp) = seccomp {
        members.insert("seccomp".to_owned(), seccomp);
    }
    if let Some(propagation) = mounts.propagation {
        members.insert("rootfsPropagation".to_owned(), json!(propagation));
    }
    let spec = json!({
        "ociVersion": VERSION,
        "process": {
            "terminal": config.tty,
            "args": args(config, image)?,
            "env": env(config, image, pod)?,
            "cwd": cwd(config, image)?,
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
            "capabilities": capabilities.to_oci(),
            "noNewPrivileges": security.no_new_privs,
            "oomScoreAdj": host.oom_score(asked.oom_score_adj),
        },
        "root": {"path": rootfs, "readonly": security.readonly_rootfs},
        "mounts": mounts.all,
        "annotations": annotations,
        "linux": members,
    });
    asked::add(spec, config, &pod.config, input.daemon, input.options)
}

/// By which OCI hooks and plugins know what a spec belongs to, as with containerd.
fn identity(kind: &str, pod: &str, metadata: &cri::PodSandboxMetadata) -> BTreeMap<String, String> {
    [
        ("container-type", kind),
        ("sandbox-id", pod),
        ("sandbox-name", &metadata.name),
        ("sandbox-namespace", &metadata.namespace),
        ("sandbox-uid", &metadata.uid),
    ]
    .map(|(key, value)| (format!("io.kubernetes.cri.{key}"), value.to_owned()))
    .into()
}

fn namespace_options(security: &cri::LinuxContainerSecurityContext) -> cri::NamespaceOption {
    security.namespace_options.clone().unwrap_or_default()
}

fn namespaces(input: &Input<'_>, security: &cri::LinuxContainerSecurityContext) -> Result<Value> {
    let options = namespace_options(security);
    let of = |pid: u32, file: &str| format!("/proc/{pid}/ns/{file}");
    let pause = input.pod.pid;
    let mut namespaces = vec![json!({"type": "mount"})];
    let mut join = |kind: &str, path: String| namespaces.push(json!({"type": kind, "path": path}));
    if input.pod.user_namespace()?.is_some() {
        join("user", of(pause, "user"));
    }
    // Network and name are the pod's in any case, which may be the host's.
    if let Some(network) = &input.network {
        join("network", network.display().to_string());
        join("uts", of(pause, "uts"));
    }
    if options.ipc() != NamespaceMode::Node {
        join("ipc", of(pause, "ipc"));
    }
    match (options.pid(), input.target) {
        (NamespaceMode::Pod, _) => join("pid", of(pause, "pid")),
        (NamespaceMode::Container, _) => namespaces.push(json!({"type": "pid"})),
        (NamespaceMode::Node, _) => {}
        (NamespaceMode::Target, Some(target)) => join("pid", of(target, "pid")),
        (NamespaceMode::Target, None) => {
            return Err(Error::invalid(format!(
                "the container {:?} whose processes are to be shared does not run in this pod",
                options.target_id
            )));
        }
    }
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() && !security.privileged {
        namespaces.push(json!({"type": "cgroup"}));
    }
    Ok(json!(namespaces))
}

fn args(config: &cri::ContainerConfig, image: &ImageConfig) -> Result<Vec<String>> {
    // An own command is for own arguments; the image's are not for it.
    let (command, args) = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => (&config.command, &config.args),
        (true, false) => (&image.entrypoint, &config.args),
        (true, true) => (&image.entrypoint, &image.cmd),
    };
    let args: Vec<String> = command.iter().chain(args).cloned().collect();
    if args.is_empty() {
        return Err(Error::invalid(
            "neither the container nor its image has a command",
        ));
    }
    Ok(args)
}

fn env(config: &cri::ContainerConfig, image: &ImageConfig, pod: &Pod) -> Result<Vec<String>> {
    const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut entries = vec![PATH.to_owned()];
    if !pod.config.hostname.is_empty() {
        entries.push(format!("HOSTNAME={}", pod.config.hostname));
    }
    if config.tty {
        entries.push("TERM=xterm".to_owned());
    }
    entries.extend(image.env.iter().cloned());
    for cri::KeyValue { key, value } in &config.envs {
        let value = str::from_utf8(value).map_err(|_| {
            Error::invalid(format!(
                "the environment variable {key:?} is no UTF-8, as OCI specs are"
            ))
        })?;
        entries.push(format!("{key}={value}"));
    }
    // The last one of a name counts, in the place of the first.
    let mut place: BTreeMap<String, usize> = BTreeMap::new();
    let mut all: Vec<String> = Vec::new();
    for entry in entries {
        let name = entry.split('=').next().unwrap_or_default().to_owned();
        match place.get(&name) {
            Some(at) => all[*at] = entry,
            None => {
                place.insert(name, all.len());
                all.push(entry);
            }
        }
    }
    Ok(all)
}

fn cwd(config: &cri::ContainerConfig, image: &ImageConfig) -> Result<String> {
    let given = [&config.working_dir, &image.working_dir];
    let cwd = given
        .into_iter()
        .find(|cwd| !cwd.is_empty())
        .map_or("/", String::as_str);
    match cwd.starts_with('/') {
        true => Ok(cwd.to_owned()),
        false => Err(Error::invalid(format!(
            "the working directory {cwd:?} is not an absolute path"
        ))),
    }
}

/// The signal by which a container is stopped.
pub(crate) fn stop_signal(config: &cri::ContainerConfig, image: &ImageConfig) -> String {
    let configured = config.stop_signal().as_str_name();
    match (
        configured.strip_prefix("SIGNAL_"),
        image.stop_signal.as_str(),
    ) {
        (Some("RUNTIME_DEFAULT") | None, "") => "SIGTERM".to_owned(),
        (Some("RUNTIME_DEFAULT") | None, signal) => signal.to_owned(),
        // Those of real time are `SIGRTMIN+1` to programs.
        (Some(signal), _) => signal.replace("PLUS", "+").replace("MINUS", "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            capabilities: BTreeSet::new(),
            oom_score: 5,
        }
    }

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "id": "p1", "runtime_handler": "", "ready": true, "spec": {}, "pid": 7,
            "conmon": {"pid": 6, "started": 1}, "ips": [],
            "config": {"metadata": {"name": "web", "namespace": "shop", "uid": "u"}, "hostname": "h",
                       "linux": {"cgroup_parent": "/pods/"}},
            "overhead": null, "resources": null, "created_at": 5,
        }))
        .unwrap()
    }

    fn spec(config: Value, image: Value) -> Result<Value> {
        spec_by(&pod(), "", &[], config, image)
    }

    /// The spec with a configuration of the runtime, and files of CDI devices.
    fn spec_by(
        pod: &Pod,
        daemon: &str,
        devices: &[(&str, &str)],
        config: Value,
        image: Value,
    ) -> Result<Value> {
        let (rootfs, cdi) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, text) in devices {
            std::fs::write(cdi.path().join(name), text).unwrap();
        }
        let daemon = Config::from_toml(daemon).unwrap();
        let mut options = ApplyOptions::default();
        options.cdi_injector = Some(nri_domain_cri::cdi::injector([cdi.path()]));
        let config = serde_json::from_value(config).unwrap();
        container(&Input {
            id: "c1",
            pod,
            pod_dir: Path::new("/pod"),
            network: Some("/run/netns/p1".into()),
            target: None,
            config: &config,
            image: &serde_json::from_value(image).unwrap(),
            rootfs: rootfs.path(),
            daemon: &daemon,
            options: &options,
            host: &host(),
        })
    }

    #[test]
    fn a_container_is_in_its_pod() {
        let spec = spec(
            json!({"metadata": {"name": "app"}, "annotations": {"a": "1"}, "linux": {"resources": {
                "memory_limit_in_bytes": 4096, "oom_score_adj": -5}}}),
            json!({"Cmd": ["/app"]}),
        );
        let spec = spec.unwrap();
        assert_eq!(spec["linux"]["cgroupsPath"], "/pods/c1");
        assert_eq!(spec["linux"]["resources"]["memory"]["limit"], 4096);
        assert_eq!(spec["process"]["oomScoreAdj"], 5);
        assert_eq!(spec["annotations"]["io.kubernetes.cri.sandbox-id"], "p1");
        assert_eq!(spec["annotations"]["a"], "1");
        let namespaces = spec["linux"]["namespaces"].as_array().unwrap();
        let has =
            |kind: &str, path: &str| namespaces.contains(&json!({"type": kind, "path": path}));
        assert!(
            has("network", "/run/netns/p1") && has("pid", "/proc/7/ns/pid"),
            "{namespaces:?}"
        );
    }

    #[test]
    fn limits_are_configured_and_annotations_go_before_if_they_count() {
        let mut annotated = pod();
        let text = "[{type: NOFILE, soft: 3, hard: 4}]";
        let key = "limits.example/container.app".to_owned();
        annotated.config.annotations.insert(key, text.to_owned());
        let limits = |daemon: &str| {
            let config = json!({"metadata": {"name": "app"}});
            let spec = spec_by(&annotated, daemon, &[], config, json!({"Cmd": ["/app"]}));
            spec.unwrap()["process"]["rlimits"].clone()
        };
        let limit =
            |soft: u64, hard: u64| json!({"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard});
        let core = json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0});
        let configured = "low_level.rlimits = [\"nofile=1:2\", \"core=0\"]\n";
        assert_eq!(limits(""), json!(null));
        assert_eq!(limits(configured), json!([limit(1, 2), core]));
        let both = format!("{configured}low_level.rlimits_annotation = \"limits.example\"");
        assert_eq!(limits(&both), json!([limit(3, 4), core]));
    }

    #[test]
    fn cdi_devices_come_of_the_field_and_of_annotations_each_once() {
        let file = r#"{"cdiVersion": "0.6.0", "kind": "v.com/gpu", "devices": [
            {"name": "0", "containerEdits": {"env": ["GPU0=1"], "hooks": [
                {"hookName": "poststop", "path": "/bin/0"}]}},
            {"name": "1", "containerEdits": {"env": ["GPU1=1"], "deviceNodes": [
                {"path": "/dev/gpu1", "hostPath": "/dev/null"}]}}]}"#;
        let devices = [("gpu.json", file), ("broken.json", "{")];
        let spec = |config: Value| spec_by(&pod(), "", &devices, config, json!({"Cmd": ["/app"]}));
        let both = spec(json!({
            "cdi_devices": [{"name": "v.com/gpu=0"}],
            "annotations": {"cdi.k8s.io/x": "v.com/gpu=0, v.com/gpu=1", "other": "v.com/gpu=2"},
        }));
        let both = both.unwrap();
        let env = both["process"]["env"].as_array().unwrap();
        assert!(
            env.contains(&json!("GPU0=1")) && env.contains(&json!("GPU1=1")),
            "{env:?}"
        );
        assert_eq!(both["hooks"]["poststop"].as_array().unwrap().len(), 1);
        assert_eq!(both["linux"]["devices"][0]["path"], "/dev/gpu1");
        let rules = both["linux"]["resources"]["devices"].as_array().unwrap();
        let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"});
        assert!(rules.contains(&rule), "{rules:?}");

        let error = spec(json!({"cdi_devices": [{"name": "v.com/gpu=7"}]})).unwrap_err();
        let error = error.to_string();
        for part in [
            "v.com/gpu=7",
            "broken.json",
            "install their specification in /",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let error = spec(json!({"annotations": {"cdi.k8s.io/x": "gpu"}})).unwrap_err();
        assert!(error.to_string().contains("\"gpu\""), "{error}");
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn commands_environment_and_directory_come_from_both() {
        let image =
            json!({"Entrypoint": ["/e"], "Cmd": ["c"], "Env": ["A=1", "B=2"], "WorkingDir": "/w"});
        let process =
            |config: Value| spec(config, image.clone()).map(|spec| spec["process"].clone());
        assert_eq!(process(json!({})).unwrap()["args"], json!(["/e", "c"]));
        assert_eq!(
            process(json!({"args": ["x"]})).unwrap()["args"],
            json!(["/e", "x"])
        );
        assert_eq!(
            process(json!({"command": ["y"]})).unwrap()["args"],
            json!(["y"])
        );
        let own =
            process(json!({"envs": [{"key": "A", "value": [57]}], "working_dir": "/own"})).unwrap();
        let env = own["env"].as_array().unwrap();
        assert_eq!(env[1..], [json!("HOSTNAME=h"), json!("A=9"), json!("B=2")]);
        assert_eq!(own["cwd"], "/own");
        assert!(
            process(json!({"working_dir": "rel"}))
                .unwrap_err()
                .to_string()
                .contains("rel")
        );
        assert!(
            spec(json!({}), json!({}))
                .unwrap_err()
                .to_string()
                .contains("has a command")
        );
    }

    #[test]
    fn a_pod_has_the_namespaces_that_it_asks_for() {
        let kinds = |options: Value| -> Vec<String> {
            let options = serde_json::from_value(options).unwrap();
            let spec = pause("p1", &pod().config, &options, &LowLevel::default(), &host()).unwrap();
            let namespaces = spec["linux"]["namespaces"].as_array().unwrap().clone();
            namespaces
                .iter()
                .map(|one| one["type"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(kinds(json!({})), ["mount", "network", "uts", "ipc", "pid"]);
        assert_eq!(kinds(json!({"network": 2, "pid": 2, "ipc": 2})), ["mount"]);
    }

    #[test]
    fn a_pod_with_users_of_its_own_has_them_and_its_containers_join_them() {
        let options = crate::user_namespace::tests::options(1000, 100);
        let low = LowLevel::default();
        let pause = pause("p1", &pod().config, &options, &low, &host()).unwrap();
        let new = json!({"type": "user"});
        let namespaces = |spec: &Value| spec["linux"]["namespaces"].as_array().unwrap().clone();
        assert!(namespaces(&pause).contains(&new), "{pause}");
        assert_eq!(pause["process"]["user"], json!({"uid": 99, "gid": 99}));
        let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 100}]);
        assert_eq!(pause["linux"]["uidMappings"], mapping);

        let mut pod = pod();
        let linux = pod.config.linux.get_or_insert_default();
        let security = linux.security_context.get_or_insert_default();
        security.namespace_options = Some(options);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let mapped = json!([{"host_id": 1000, "container_id": 0, "length": 100}]);
        let spec = |user: i64, propagation: i32| {
            let config = json!({
                "linux": {"security_context": {"run_as_user": {"value": user}}},
                "mounts": [{"container_path": "/v", "host_path": path, "propagation": propagation,
                    "uid_mappings": mapped, "gid_mappings": mapped}],
            });
            spec_by(&pod, "", &[], config, json!({"Cmd": ["/app"]}))
        };
        let container = spec(7, 0).unwrap();
        let joined = json!({"type": "user", "path": "/proc/7/ns/user"});
        assert!(namespaces(&container).contains(&joined), "{container}");
        assert_eq!(container["linux"]["gidMappings"], mapping);
        let mounts = container["mounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["destination"] == "/v");
        assert_eq!(mount.unwrap()["uidMappings"], mapping);
        let error = spec(100, 0).unwrap_err().to_string();
        assert!(error.contains("as user 100"), "{error}");
        let error = spec(0, 2).unwrap_err().to_string();
        assert!(error.contains("PROPAGATION_BIDIRECTIONAL"), "{error}");
    }

    #[test]
    fn the_stop_signal_is_the_containers_the_images_or_term() {
        let mut config = cri::ContainerConfig::default();
        let mut image = ImageConfig::default();
        assert_eq!(stop_signal(&config, &image), "SIGTERM");
        image.stop_signal = "SIGQUIT".into();
        assert_eq!(stop_signal(&config, &image), "SIGQUIT");
        config.set_stop_signal(cri::Signal::Sigusr1);
        assert_eq!(stop_signal(&config, &image), "SIGUSR1");
        config.set_stop_signal(cri::Signal::Sigrtminplus1);
        assert_eq!(stop_signal(&config, &image), "SIGRTMIN+1");
    }
}
