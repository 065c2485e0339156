//! `cargo xtask deploy`: what nri-hub is installed by, checked by the tools that will read it. The
//! manifests by `kubectl kustomize` and against Kubernetes' own schemas, which
//! `kubernetes-validate` (from PyPI) brings along; the unit by `systemd-analyze`.

use std::fs;
use std::path::Path;
use std::process::Command;

use nri_dev::process;

use crate::tools;

/// Where it all is.
const PLACE: &str = "nri-hub/deploy";
/// Where the unit has its program; while it is checked, anything that can be run will do.
const PROGRAM: &str = "/usr/local/bin/nri-hub";

/// What is needed, how to see whether it is there, and where it is from.
const NEEDS: &[(&str, &[&str], &str)] = &[
    ("kubectl", &["version", "--client"], "Kubernetes"),
    (
        "kubernetes-validate",
        &["--version"],
        "pip install kubernetes-validate",
    ),
    ("systemd-analyze", &["--version"], "systemd"),
];

/// Checks all of it.
///
/// # Errors
/// A tool is missing, or has found something wrong.
pub(crate) fn run() -> Result<(), String> {
    for (tool, arguments, from) in NEEDS {
        if !tools::works(Command::new(tool).args(*arguments)) {
            return Err(format!("{tool} is missing: install it ({from})"));
        }
    }
    let scratch = Path::new("target/deploy");
    fs::create_dir_all(scratch).map_err(|e| format!("{}: {e}", scratch.display()))?;
    let write = |name: &str, text: String| {
        let path = scratch.join(name);
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok::<_, String>(path)
    };
    let kustomized = process::capture(
        Command::new("kubectl")
            .arg("kustomize")
            .arg(format!("{PLACE}/kubernetes")),
    )?;
    let manifests = write("manifests.yaml", kustomized)?;
    process::run(
        Command::new("kubernetes-validate")
            .arg("--strict")
            .arg(manifests),
    )?;
    let unit = format!("{PLACE}/nri-hub.service");
    let text = fs::read_to_string(&unit).map_err(|e| format!("{unit}: {e}"))?;
    if !text.contains(PROGRAM) {
        return Err(format!("{unit} does not start {PROGRAM}"));
    }
    let unit = write("nri-hub.service", text.replace(PROGRAM, "/bin/true"))?;
    process::run(Command::new("systemd-analyze").arg("verify").arg(unit))
}
