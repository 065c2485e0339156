//! `cargo xtask e2e`: nri-runtime with real containers, by crictl and with plugins.
//!
//! Needs root, Go (for crictl) and some of Debian's packages; what is missing is an error that says
//! what to install. Everything happens in namespaces of its own, so that nothing is left behind,
//! however it ends.

mod crictl;
mod expect;
mod image;
mod killed;
mod life;
mod needs;
mod plugins;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use nri_dev::process;
use tempfile::TempDir;

use needs::Needs;
use stage::Stage;

/// What is tried.
#[derive(Parser)]
#[command(
    name = "cargo xtask e2e",
    about = "Run nri-runtime with real containers (needs root, runc, conmon, CNI's plugins and Go).",
    version
)]
struct Options {
    /// Runs in the namespaces that were made for it: the directory with what is needed.
    #[arg(long, hide = true, value_name = "DIR")]
    inside: Option<PathBuf>,
}

/// The parent of all cgroups, which outlive namespaces.
const CGROUP: &str = "nri-e2e";

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.inside {
        Some(directory) => inside(&directory),
        None => outside(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("e2e: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Finds what is needed, and does the rest in namespaces that end with the process that made them.
fn outside() -> Result<(), String> {
    let needs = Needs::find()?;
    let directory =
        TempDir::with_prefix("nri-e2e-").map_err(|e| format!("a temporary directory: {e}"))?;
    needs.write(directory.path())?;
    image::write(&directory.path().join("images/busybox:1"), &needs.busybox)?;
    let own = std::env::current_exe().map_err(|e| format!("our own program: {e}"))?;
    let done = process::run(
        Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "--ipc",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            // The first process reaps what others leave behind.
            .args(["bash", "-c", "\"$0\" --inside \"$1\"; exit $?"])
            .arg(own)
            .arg(directory.path()),
    );
    remove_cgroups();
    done
}

/// Removes the cgroups of what ended; empty ones, and so nobody else's.
fn remove_cgroups() {
    let hierarchies = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    let roots = hierarchies.map(|entry| entry.path().join(CGROUP));
    for root in roots.chain([Path::new("/sys/fs/cgroup").join(CGROUP)]) {
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(root);
    }
}

#[tokio::main]
async fn inside(directory: &Path) -> Result<(), String> {
    let needs = Needs::read(directory)?;
    let mut stage = Stage::set(directory, needs)?;
    life::run(&mut stage).await?;
    plugins::run(&mut stage).await?;
    killed::run(&mut stage).await?;
    stage.finish()?;
    println!("e2e: all is well");
    Ok(())
}
