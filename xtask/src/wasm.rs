//! That the core needs no operating system: it builds for a target that has none. Where that target
//! cannot be had, the layer fence alone is the proof, and that is said.

use std::path::Path;
use std::process::Command;

use nri_dev::process;

const TARGET: &str = "wasm32-unknown-unknown";

/// Checks `nri-core` for the target, bare and with its features.
///
/// # Errors
/// It does not build.
pub(crate) fn run() -> Result<(), String> {
    if let Err(reason) = provide() {
        println!(
            "{TARGET} cannot be had here ({reason}): the layer fence alone shows that nri-core is pure"
        );
        return Ok(());
    }
    for features in ["", "oci,serde,strategies"] {
        process::run(process::cargo().args([
            "check",
            "--quiet",
            "--package",
            "nri-core",
            "--lib",
            "--no-default-features",
            "--features",
            features,
            "--target",
            TARGET,
        ]))?;
    }
    Ok(())
}

/// Installs the target unless it is there.
fn provide() -> Result<(), String> {
    let of_target = ["--print", "target-libdir", "--target", TARGET];
    let directory = process::capture(Command::new("rustc").args(of_target))?;
    if Path::new(directory.trim()).is_dir() {
        return Ok(());
    }
    process::capture(Command::new("rustup").args(["target", "add", TARGET])).map(drop)
}
