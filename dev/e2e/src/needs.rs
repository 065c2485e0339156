//! Programs that must be there. What Go builds is built once, and kept in the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nri_dev::{process, workspace};
use serde_json::{Value, json};

const CRICTL: &str = "sigs.k8s.io/cri-tools/cmd/crictl@v1.37.0";

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Needs {
    pub(crate) runtime: PathBuf,
    pub(crate) crictl: PathBuf,
    /// A static busybox.
    pub(crate) busybox: PathBuf,
}

/// Programs, and the packages of Debian's that have them.
const PROGRAMS: [(&str, &str); 8] = [
    ("runc", "runc"),
    ("conmon", "conmon"),
    ("skopeo", "skopeo"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("busybox", "busybox-static"),
];
const CNI: &str = "/usr/lib/cni/bridge";

impl Needs {
    /// Finds what is there, and builds what is ours to build.
    ///
    /// # Errors
    /// What is missing, and how to install it.
    pub(crate) fn find() -> Result<Self, String> {
        let mut missing: Vec<&str> = PROGRAMS
            .iter()
            .filter(|(program, _)| which(program).is_none())
            .map(|(_, package)| *package)
            .collect();
        if !Path::new(CNI).exists() {
            missing.push("containernetworking-plugins");
        }
        if !missing.is_empty() {
            return Err(format!(
                "not installed: `apt install {}`",
                missing.join(" ")
            ));
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
            crictl: crictl()?,
            runtime,
            busybox,
        })
    }

    /// Writes it down for the process in the namespaces.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), String> {
        let all = json!({"runtime": self.runtime, "crictl": self.crictl, "busybox": self.busybox});
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
            busybox: path("busybox")?,
        })
    }
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

fn crictl() -> Result<PathBuf, String> {
    let directory = workspace::root().join("target/e2e/bin");
    let path = directory.join("crictl");
    if !path.exists() {
        which("go").ok_or("no Go 1.26 or later, to build crictl: https://go.dev/doc/install")?;
        eprintln!("e2e: building crictl, which takes minutes");
        process::run(
            Command::new("go")
                .args(["install", CRICTL])
                .env("GOBIN", &directory),
        )?;
    }
    Ok(path)
}
