//! Programs that must be there. What Go builds is built once, and kept in the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nri_dev::{process, workspace};
use serde_json::{Value, json};

const CRICTL: &str = "sigs.k8s.io/cri-tools/cmd/crictl@v1.37.0";
const CRITEST: &str = "sigs.k8s.io/cri-tools/cmd/critest";

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Needs {
    pub(crate) runtime: PathBuf,
    pub(crate) crictl: PathBuf,
    pub(crate) critest: PathBuf,
    /// A plugin that is built with the reference's library, and does what a file says.
    pub(crate) goplugin: PathBuf,
    /// A static busybox.
    pub(crate) busybox: PathBuf,
}

/// Programs, and the packages of Debian's that have them.
const PROGRAMS: [(&str, &str); 15] = [
    ("runc", "runc"),
    ("conmon", "conmon"),
    ("skopeo", "skopeo"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("busybox", "busybox-static"),
    ("docker-registry", "docker-registry"),
    ("nginx", "nginx-light"),
    ("pgrep", "procps"),
    ("ipcs", "util-linux"),
    ("ipcmk", "util-linux-extra"),
    ("dash", "dash"),
    ("script", "bsdutils"),
];
const CNI: &str = "/usr/lib/cni/bridge";

impl Needs {
    /// Finds what is there, and builds what is ours to build. `install` says whether packages are
    /// installed that are missing.
    ///
    /// # Errors
    /// What is missing, and how to install it.
    pub(crate) fn find(install: bool) -> Result<Self, String> {
        if install && !missing().is_empty() {
            apt(&["update"])?;
            let options = ["install", "--yes", "--no-install-recommends"];
            apt(&[&options[..], &missing()].concat())?;
        }
        match missing() {
            missing if missing.is_empty() => {}
            missing => {
                let missing = missing.join(" ");
                return Err(format!(
                    "not installed: `apt install {missing}`, or `--install`"
                ));
            }
        }
        let user = process::capture(Command::new("id").arg("-u"))?;
        if user.trim() != "0" {
            return Err("namespaces and cgroups need root".to_owned());
        }
        let busybox = which("busybox").ok_or("no busybox")?;
        let mut built = process::build(&["--package", "nri-runtime", "--bin", "nri-runtime"])?;
        let runtime = built
            .remove("nri-runtime")
            .ok_or("cargo does not say where nri-runtime is")?;
        Ok(Self {
            crictl: by_go("crictl", crictl)?,
            critest: by_go("critest", critest)?,
            goplugin: goplugin()?,
            runtime,
            busybox,
        })
    }

    /// Writes it down for the process in the namespaces.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), String> {
        let all = json!({
            "runtime": self.runtime,
            "crictl": self.crictl,
            "critest": self.critest,
            "goplugin": self.goplugin,
            "busybox": self.busybox,
        });
        fs::write(directory.join("needs.json"), all.to_string())
            .map_err(|e| format!("needs.json: {e}"))
    }

    /// Reads it there.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn read(directory: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(directory.join("needs.json"))
            .map_err(|e| format!("needs.json: {e}"))?;
        let all: Value = serde_json::from_str(&text).map_err(|e| format!("needs.json: {e}"))?;
        let path = |key: &str| {
            all[key]
                .as_str()
                .map(PathBuf::from)
                .ok_or(format!("needs.json: no {key}"))
        };
        Ok(Self {
            runtime: path("runtime")?,
            crictl: path("crictl")?,
            critest: path("critest")?,
            goplugin: path("goplugin")?,
            busybox: path("busybox")?,
        })
    }
}

/// The packages that are missing.
fn missing() -> Vec<&'static str> {
    let programs = PROGRAMS.iter();
    let missing = programs.filter(|(program, _)| which(program).is_none());
    let mut packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if !Path::new(CNI).exists() {
        packages.push("containernetworking-plugins");
    }
    packages
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    let mut apt = Command::new("apt-get");
    apt.arg("--quiet").args(arguments);
    // Nobody is there to be asked.
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    process::run(&mut apt)
}

/// Where a program is.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// Where programs are that Go builds.
fn bin() -> PathBuf {
    workspace::root().join("target/e2e/bin")
}

fn go() -> Result<Command, String> {
    which("go").ok_or("no Go 1.26 or later: https://go.dev/doc/install")?;
    Ok(Command::new("go"))
}

/// A program that Go builds, which takes minutes, if it is not there yet.
fn by_go(name: &str, build: fn(&mut Command, &Path)) -> Result<PathBuf, String> {
    let path = bin().join(name);
    if !path.exists() {
        let mut command = go()?;
        build(&mut command, &path);
        eprintln!("e2e: building {name}, which takes minutes");
        process::run(&mut command)?;
    }
    Ok(path)
}

fn crictl(go: &mut Command, path: &Path) {
    go.args(["install", CRICTL]);
    go.env("GOBIN", path.parent().unwrap_or(path));
}

/// It is a package of tests, and so no program that could be installed.
fn critest(go: &mut Command, path: &Path) {
    go.args(["test", "-c", "-o"]).arg(path).arg(CRITEST);
    go.current_dir(workspace::root().join("dev/e2e/critest"));
}

/// It is a source of ours, so Go looks whether it is built already.
fn goplugin() -> Result<PathBuf, String> {
    let path = bin().join("goplugin");
    let mut command = go()?;
    command.args(["build", "-buildvcs=false", "-tags", "nri_no_wasm", "-o"]);
    command.arg(&path).arg("./cmd/goplugin");
    command.current_dir(workspace::root().join("nri-testkit/interop"));
    process::run(&mut command)?;
    Ok(path)
}
