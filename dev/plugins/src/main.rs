//! `cargo xtask plugins`: what deploys the plugins of `plugins/`, from one template each, and what
//! they weigh beside the Go plugins that do the same; `cargo xtask image`: images of them and of
//! nri-hub.
//!
//! What may not enter: what a plugin does.

mod deploy;
mod image;
mod table;
mod weight;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask plugins",
    about = "The plugins of plugins/.",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the systemd unit and the DaemonSet of each plugin.
    Deploy {
        /// Only check that they are as they would be written.
        #[arg(long)]
        check: bool,
    },
    /// Build nri-hub and the plugins as static programs, and make an OCI image layout of them, with
    /// a tag for each.
    Image {
        /// The layout's directory, which is replaced.
        #[arg(long, value_name = "DIR", default_value = "target/images")]
        output: PathBuf,
        /// Take what was built before, as it is.
        #[arg(long)]
        built: bool,
        /// Have runc run each image once (needs skopeo, runc and root).
        #[arg(long)]
        run: bool,
    },
    /// Build the plugins for size and write the table of plugins/README.md: bytes and resident
    /// memory, beside those of the Go plugins.
    Weight {
        /// A directory with the Go plugins, built: device-injector, rdt and so on.
        #[arg(long, value_name = "DIR")]
        published: PathBuf,
        /// Weigh what was built before, as it is.
        #[arg(long)]
        built: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Deploy { check } => deploy::run(check),
        Command::Image { output, built, run } => image::run(&output, built, run),
        Command::Weight { published, built } => weight::run(&published, built),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("plugins: {message}");
            ExitCode::FAILURE
        }
    }
}
