//! `nri-sim`: what the test kit does, from a command line.
//!
//! One function per subcommand; what they do is in the library.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nri_testkit::sim::{self, RuntimeOptions};
use nri_testkit::vectors;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(
    name = "nri-sim",
    about = "Tests for NRI runtimes and plugins.",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant)] // there is one
enum Command {
    /// Be a container runtime without containers, driven by one JSON object per line.
    Serve {
        #[command(flatten)]
        runtime: RuntimeOptions,
        #[command(flatten)]
        logs: Logs,
    },
    /// Replay recorded behaviour of the reference on this implementation.
    ///
    /// Prints every difference, and in the last line how many vectors passed, failed and were skipped. The exit code is 1 if
    /// one failed. The recordings are nri-testkit/data/vectors-merge.jsonl and vectors-events.jsonl.
    Vectors {
        /// A recording: one JSON object per line.
        #[arg(value_name = "FILE.jsonl")]
        file: PathBuf,
    },
}

/// What is logged.
#[derive(clap::Args)]
struct Logs {
    /// What is logged on stderr: error, warn, info, debug, trace, or a filter such as nri_adaptation=debug,warn.
    #[arg(long = "log", value_name = "LEVEL", default_value = "info")]
    filter: EnvFilter,
}

impl Logs {
    fn begin(self) {
        tracing_subscriber::fmt()
            .with_env_filter(self.filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .init();
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve { runtime, logs } => {
            logs.begin();
            serve(&runtime)
        }
        Command::Vectors { file } => replay(&file),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("nri-sim: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Serves stdin until it ends, or until SIGTERM or SIGINT.
fn serve(options: &RuntimeOptions) -> Result<bool, String> {
    let tokio = tokio::runtime::Runtime::new().map_err(|e| format!("cannot run: {e}"))?;
    tokio.block_on(async {
        let broken = |e: std::io::Error| format!("cannot wait for signals: {e}");
        let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let ready = |sim: &sim::Simulator| match sim.socket() {
            Some(socket) => eprintln!("nri-sim: plugins can connect to {}", socket.display()),
            None => eprintln!("nri-sim: no plugin can connect"),
        };
        sim::serve(options, std::io::stdin(), std::io::stdout(), ready, stop)
            .await
            .map(|()| true)
            .map_err(|error| error.to_string())
    })
}

/// Replays a recording; whether all is as it should be.
fn replay(path: &Path) -> Result<bool, String> {
    let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let summary = vectors::run(BufReader::new(file));
    println!("{summary}");
    Ok(summary.is_success())
}
