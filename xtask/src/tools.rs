//! Subcommands of cargo that are not part of a toolchain.

use std::process::{Command, Stdio};

use nri_dev::process;

/// Sees to it that `cargo NAME` is there.
///
/// # Errors
/// It is not, and cannot be installed.
pub(crate) fn provide(name: &str) -> Result<(), String> {
    if works(process::cargo().args([name, "--version"])) {
        return Ok(());
    }
    println!("cargo-{name} is missing: installing it");
    process::run(process::cargo().args(["install", "--locked", &format!("cargo-{name}")]))
}

/// Whether a command runs, and has no complaint.
pub(crate) fn works(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
