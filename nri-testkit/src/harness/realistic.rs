//! Pods and containers as a containerd on a Kubernetes node shows them to plugins. What may not
//! enter: what only one test needs.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use nri_core::api;
use nri_core::build::SetResources as _;

/// An id as containerd makes them, always the same for the same words.
fn id(words: [&str; 2]) -> String {
    let part = |number: u8| {
        let mut hasher = DefaultHasher::new();
        (words, number).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    (0..4).map(part).collect()
}

fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    let entries = entries.into_iter();
    entries
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A pod of the namespace `default`, as kubelet has it made, with all that a runtime shows of it.
/// More is said of it with [`Describe`](crate::Describe), or in its fields.
///
/// ```
/// use nri_testkit::{Describe as _, pod};
///
/// let web = pod("web-1").annotated("example.com/mode", "fast");
/// assert_eq!((web.name.as_str(), web.namespace.as_str(), web.id.len()), ("web-1", "default", 64));
/// assert_eq!(web, pod("web-1").annotated("example.com/mode", "fast"));
/// ```
pub fn pod(name: &str) -> api::PodSandbox {
    let digits = id(["uid", name]);
    let uid = format!(
        "{}-{}-4{}-8{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[13..16],
        &digits[17..20],
        &digits[20..32]
    );
    let slice = uid.replace('-', "_");
    let parent =
        format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice");
    let namespaces = ["ipc", "network", "pid", "uts"].map(|kind| {
        let name = if kind == "network" { "net" } else { kind };
        api::LinuxNamespace {
            r#type: kind.to_owned(),
            path: format!("/proc/4711/ns/{name}"),
        }
    });
    api::PodSandbox {
        id: id(["pod", name]),
        name: name.to_owned(),
        namespace: "default".to_owned(),
        labels: map([
            ("io.kubernetes.pod.name", name),
            ("io.kubernetes.pod.namespace", "default"),
            ("io.kubernetes.pod.uid", &uid),
        ]),
        annotations: map([
            (
                "kubernetes.io/config.seen",
                "2026-01-01T00:00:00.000000000Z",
            ),
            ("kubernetes.io/config.source", "api"),
        ]),
        runtime_handler: "runc".to_owned(),
        linux: Some(api::LinuxPodSandbox {
            cgroup_parent: parent,
            namespaces: namespaces.to_vec(),
            pod_resources: Some(api::LinuxResources::default()),
            ..Default::default()
        }),
        pid: 4711,
        ips: vec!["10.244.0.17".to_owned()],
        uid,
    }
}

/// A container that is about to be created, as kubelet and containerd have it: command,
/// environment, mounts, namespaces, resources. More is said of it with
/// [`DescribeContainer`], with [`Describe`](crate::Describe), or in its fields. The harness puts it
/// into its pod.
///
/// ```
/// use nri_testkit::{DescribeContainer as _, container};
///
/// let nginx = container("nginx").with_env("MODE", "fast").with_memory_limit(64 << 20);
/// assert!(nginx.env.contains(&"MODE=fast".to_owned()));
/// ```
pub fn container(name: &str) -> api::Container {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| api::Mount {
        destination: destination.to_owned(),
        r#type: kind.to_owned(),
        source: source.to_owned(),
        options: options.iter().map(ToString::to_string).collect(),
    };
    let kubelet = "/var/lib/kubelet/pods/web";
    let mut resources = api::LinuxResources::default();
    resources
        .set_cpu_shares(102)
        .set_cpu_quota(20_000)
        .set_cpu_period(100_000)
        .set_memory_limit(128 << 20);
    let namespaces = ["ipc", "mount", "network", "pid", "uts"].map(|kind| api::LinuxNamespace {
        r#type: kind.to_owned(),
        path: String::new(),
    });
    api::Container {
        id: id(["container", name]),
        name: name.to_owned(),
        state: api::ContainerState::ContainerCreated.into(),
        labels: map([("io.kubernetes.container.name", name)]),
        annotations: map([
            ("io.kubernetes.cri.container-name", name),
            ("io.kubernetes.cri.container-type", "container"),
        ]),
        args: vec![format!("/usr/bin/{name}"), "--serve".to_owned()],
        env: vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            "HOSTNAME=web-1".to_owned(),
            "KUBERNETES_SERVICE_HOST=10.96.0.1".to_owned(),
            "KUBERNETES_SERVICE_PORT=443".to_owned(),
        ],
        mounts: vec![
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount(
                "/dev",
                "tmpfs",
                "tmpfs",
                &["nosuid", "strictatime", "mode=755", "size=65536k"],
            ),
            mount(
                "/sys",
                "sysfs",
                "sysfs",
                &["nosuid", "noexec", "nodev", "ro"],
            ),
            mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "relatime", "ro"],
            ),
            mount(
                "/etc/hosts",
                "bind",
                &format!("{kubelet}/etc-hosts"),
                &["rbind", "rprivate", "rw"],
            ),
            mount(
                "/dev/termination-log",
                "bind",
                &format!("{kubelet}/containers/{name}"),
                &["rbind", "rprivate", "rw"],
            ),
        ],
        linux: Some(api::LinuxContainer {
            namespaces: namespaces.to_vec(),
            resources: Some(resources),
            oom_score_adj: Some(api::OptionalInt { value: 969 }),
            cgroups_path: format!("kubepods-burstable.slice:cri-containerd:{name}"),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Says more of a container, before it is created.
pub trait DescribeContainer: Sized {
    /// With this command line.
    #[must_use]
    fn with_args<A: Into<String>>(self, args: impl IntoIterator<Item = A>) -> Self;

    /// With one more environment variable.
    #[must_use]
    fn with_env(self, name: &str, value: &str) -> Self;

    /// With one more mount.
    #[must_use]
    fn with_mount(self, mount: api::Mount) -> Self;

    /// With this limit of memory, in bytes.
    #[must_use]
    fn with_memory_limit(self, bytes: i64) -> Self;

    /// With these CPU shares.
    #[must_use]
    fn with_cpu_shares(self, shares: u64) -> Self;
}

fn resources(container: &mut api::Container) -> &mut api::LinuxResources {
    let linux = container.linux.get_or_insert_default();
    linux.resources.get_or_insert_default()
}

impl DescribeContainer for api::Container {
    fn with_args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push(format!("{name}={value}"));
        self
    }

    fn with_mount(mut self, mount: api::Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    fn with_memory_limit(mut self, bytes: i64) -> Self {
        resources(&mut self).set_memory_limit(bytes);
        self
    }

    fn with_cpu_shares(mut self, shares: u64) -> Self {
        resources(&mut self).set_cpu_shares(shares);
        self
    }
}
