//! Programs that must be there. What Go builds is kept in the target directory, and Go looks
//! whether that is current.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nri_dev::debian::{self, which};
use nri_dev::{containerd, process, workspace};
use serde::{Deserialize, Serialize};

use crate::part::Part;

/// Where everything is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Needs {
    pub(crate) runtime: PathBuf,
    pub(crate) crictl: PathBuf,
    /// A plugin that is built with the reference's library, and does what a file says.
    pub(crate) goplugin: PathBuf,
    /// A static busybox.
    pub(crate) busybox: PathBuf,
    pub(crate) critest: Option<PathBuf>,
    pub(crate) kubelet: Option<PathBuf>,
    /// The directory with containerd, its shim and ctr.
    pub(crate) containerd: Option<PathBuf>,
}

/// Programs, and the packages of Debian's that have them.
const PROGRAMS: [(&str, &str); 12] = [
    ("runc", "runc"),
    ("conmon", "conmon"),
    ("skopeo", "skopeo"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("busybox", "busybox-static"),
    ("script", "bsdutils"),
    // Go builds with a C compiler what needs the names of users and hosts.
    ("gcc", "gcc"),
    ("bash", "bash"),
    ("timeout", "coreutils"),
];
/// Those of which the images for critest are made, and its registry.
const OF_CRITEST: [(&str, &str); 6] = [
    ("docker-registry", "docker-registry"),
    ("nginx", "nginx-light"),
    ("pgrep", "procps"),
    ("ipcs", "util-linux"),
    ("ipcmk", "util-linux-extra"),
    ("dash", "dash"),
];
pub(crate) const CNI: &str = "/usr/lib/cni";
const CNI_PLUGINS: [&str; 4] = ["bridge", "host-local", "portmap", "loopback"];

impl Needs {
    /// Finds what these parts need, and builds what is ours to build. `install` says whether
    /// packages are installed that are missing.
    ///
    /// # Errors
    /// What is missing, and how to install it.
    pub(crate) fn find(install: bool, parts: &[Part]) -> Result<Self, String> {
        let user = process::capture(Command::new("id").arg("-u"))?;
        if user.trim() != "0" {
            return Err("namespaces and cgroups need root".to_owned());
        }
        let has = |part| parts.contains(&part);
        debian::provide(|| missing(has(Part::Critest)), install)?;
        which("go").ok_or("no Go 1.26 or later: https://go.dev/doc/install")?;
        let busybox = which("busybox").ok_or("no busybox")?;
        let mut what = vec!["--package", "nri-runtime", "--bin", "nri-runtime"];
        // What is measured is what users run.
        what.extend(has(Part::Bench).then_some("--release"));
        let runtime = process::build(&what)?.remove("nri-runtime");
        let bin = workspace::root().join("target/e2e/bin");
        by_go("crictl", containerd::build_crictl(&bin))?;
        by_go("goplugin", goplugin(&bin))?;
        for (part, name, build) in [
            (Part::Critest, "critest", critest(&bin)),
            (Part::Kubelet, "kubelet", kubelet(&bin)),
            (Part::Bench, "containerd", containerd::build_daemon(&bin)),
        ] {
            if has(part) {
                by_go(name, build)?;
            }
        }
        Ok(Self {
            runtime: runtime.ok_or("cargo does not say where nri-runtime is")?,
            crictl: bin.join("crictl"),
            goplugin: bin.join("goplugin"),
            critest: has(Part::Critest).then(|| bin.join("critest")),
            kubelet: has(Part::Kubelet).then(|| bin.join("kubelet")),
            containerd: has(Part::Bench).then(|| bin.clone()),
            busybox,
        })
    }

    /// Writes it down for the process in the namespaces.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), String> {
        let text = serde_json::to_string(self).map_err(|e| format!("needs.json: {e}"))?;
        fs::write(directory.join("needs.json"), text).map_err(|e| format!("needs.json: {e}"))
    }

    /// Reads it there.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn read(directory: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(directory.join("needs.json"))
            .map_err(|e| format!("needs.json: {e}"))?;
        serde_json::from_str(&text).map_err(|e| format!("needs.json: {e}"))
    }
}

/// The packages that are missing.
fn missing(critest: bool) -> Vec<&'static str> {
    let of_critest = OF_CRITEST.iter().filter(|_| critest);
    let programs = PROGRAMS.iter().chain(of_critest);
    let missing = programs.filter(|(program, _)| which(program).is_none());
    let mut packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    let there = |plugin: &str| Path::new(CNI).join(plugin).exists();
    if !CNI_PLUGINS.into_iter().all(there) {
        packages.push("containernetworking-plugins");
    }
    packages
}

/// Has Go build a program, which takes minutes the first time and moments then.
fn by_go(name: &str, mut command: Command) -> Result<(), String> {
    println!("e2e: {name}: `go build`, which takes minutes the first time");
    process::run(&mut command).map_err(|error| format!("{name}: {error}"))
}

/// It is a package of tests, and so no program that could be installed.
fn critest(bin: &Path) -> Command {
    let mut go = Command::new("go");
    go.args(["test", "-c", "-o"]).arg(bin.join("critest"));
    go.arg("sigs.k8s.io/cri-tools/cmd/critest");
    go.current_dir(workspace::root().join("dev/e2e/critest"));
    go
}

fn kubelet(bin: &Path) -> Command {
    let mut go = Command::new("go");
    go.args(["build", "-buildvcs=false", "-o"]);
    go.arg(bin.join("kubelet"))
        .arg("k8s.io/kubernetes/cmd/kubelet");
    go.current_dir(workspace::root().join("dev/e2e/kubelet"));
    go.env("CGO_ENABLED", "0");
    go
}

fn goplugin(bin: &Path) -> Command {
    let mut go = Command::new("go");
    go.args(["build", "-buildvcs=false", "-tags", "nri_no_wasm", "-o"]);
    go.arg(bin.join("goplugin")).arg("./cmd/goplugin");
    go.current_dir(workspace::root().join("nri-testkit/interop"));
    go
}
