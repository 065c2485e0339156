//! Programs of Debian's packages that a command needs: found, and installed where that is wanted.
//!
//! What may not enter: which programs, and what for.

use std::path::PathBuf;
use std::process::Command;

use crate::process;

/// Sees to it that no package is missing.
///
/// # Errors
/// One is missing, and is not to be installed or cannot be.
pub fn provide(missing: impl Fn() -> Vec<&'static str>, install: bool) -> Result<(), String> {
    if install && !missing().is_empty() {
        apt(&["update"])?;
        let options = ["install", "--yes", "--no-install-recommends"];
        apt(&[&options[..], &missing()].concat())?;
    }
    let packages = missing();
    match packages.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "not installed: `apt install {}`, or `--install`",
            packages.join(" ")
        )),
    }
}

/// Where a program is.
#[must_use]
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    let mut apt = Command::new("apt-get");
    apt.arg("--quiet").args(arguments);
    // Nobody is there to be asked.
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    process::run(&mut apt)
}
