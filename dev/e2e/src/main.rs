//! `cargo xtask e2e`: nri-runtime with real containers, by crictl and with plugins.
//!
//! Needs root, Go (for crictl) and some of Debian's packages; what is missing is an error that says
//! what to install. Everything happens in namespaces of its own, so that nothing is left behind,
//! however it ends.

mod bench;
mod conformance;
mod crictl;
mod critest;
mod directories;
mod effects;
mod events;
mod expect;
mod image;
mod in_go;
mod killed;
mod kubelet;
mod life;
mod machine;
mod needs;
mod part;
mod plugins;
mod processes;
mod registry;
mod stage;
mod streams;
mod trouble;
mod users;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;
use nri_dev::process;
use tempfile::TempDir;

use needs::Needs;
use part::{Part, Parts};
use stage::Stage;

/// What is tried.
#[derive(Parser)]
#[command(
    name = "cargo xtask e2e",
    about = "Run nri-runtime with real containers (needs root, runc, conmon, CNI's plugins and Go).",
    version
)]
struct Options {
    #[command(flatten)]
    parts: Parts,
    /// Only specs of critest's whose names match this.
    #[arg(long, value_name = "REGEX")]
    focus: Option<String>,
    /// Take what passes of critest for what must pass from now on.
    #[arg(long)]
    accept: bool,
    /// Leave the directory with logs and reports where it is.
    #[arg(long)]
    keep: bool,
    /// Install what is missing of Debian's packages.
    #[arg(long)]
    install: bool,
    /// Runs in the namespaces that were made for it: the directory with what is needed.
    #[arg(long, hide = true, value_name = "DIR")]
    inside: Option<PathBuf>,
}

/// The namespaces that everything happens in, which end with the process that made them.
const ALONE: [&str; 7] = [
    "--mount",
    "--net",
    "--ipc",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// The parent of all cgroups, which outlive namespaces: it has the name of the directory of this
/// run, so that none of another run is taken for ours.
fn cgroup(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.inside {
        Some(ref directory) => inside(directory, &options),
        None => outside(&options),
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
fn outside(options: &Options) -> Result<(), String> {
    let needs = Needs::find(options.install, &options.parts.all())?;
    machine::can_be_left_alone(&ALONE)?;
    let mut directory =
        TempDir::with_prefix("nri-e2e-").map_err(|e| format!("a temporary directory: {e}"))?;
    directory.disable_cleanup(options.keep);
    needs.write(directory.path())?;
    image::write_busybox(&directory.path().join("images/busybox:1"), &needs.busybox)?;
    let own = std::env::current_exe().map_err(|e| format!("our own program: {e}"))?;
    let done = process::run(
        Command::new("unshare")
            .args(ALONE)
            // The first process reaps what others leave behind.
            .args(["bash", "-c", "\"$0\" \"$@\"; exit $?"])
            .arg(own)
            .args(std::env::args_os().skip(1))
            .arg("--inside")
            .arg(directory.path()),
    );
    remove_cgroups(&cgroup(directory.path()));
    if options.keep {
        println!(
            "e2e: logs and reports are in {}",
            directory.path().display()
        );
    }
    done
}

/// Removes the cgroups of what ended; empty ones, and so nobody else's.
fn remove_cgroups(name: &str) {
    for root in directories::cgroup_directories(name) {
        for entry in directories::entries(&root) {
            let _ = fs::remove_dir(entry);
        }
        let _ = fs::remove_dir(root);
    }
}

#[tokio::main]
async fn inside(directory: &Path, options: &Options) -> Result<(), String> {
    let needs = Needs::read(directory)?;
    let parts = options.parts.all();
    let mut stage = Stage::set(directory, needs, &parts)?;
    for part in parts {
        let begin = Instant::now();
        match part {
            Part::Life => life::run(&mut stage).await?,
            Part::Plugins => plugins::run(&mut stage).await?,
            Part::Conformance => stage = conformance::run(stage).await?,
            Part::Streams => streams::run(&stage)?,
            Part::Users => users::run(&mut stage).await?,
            Part::Killed => killed::run(&mut stage).await?,
            Part::Trouble => trouble::run(&mut stage).await?,
            Part::Kubelet => kubelet::run(&mut stage).await?,
            Part::Bench => bench::run(&stage).await?,
            Part::Critest => {
                let wanted = critest::Wanted {
                    focus: options.focus.clone(),
                    accept: options.accept,
                };
                critest::run(&stage, &wanted)?;
            }
        }
        println!("e2e: {part:?}: {} s", begin.elapsed().as_secs());
    }
    stage.finish()?;
    println!("e2e: all is well");
    Ok(())
}
