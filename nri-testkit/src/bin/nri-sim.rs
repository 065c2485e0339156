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
use tracing_subscriber::filter::LevelFilter;

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
    ///
    /// What the commands say happens to pods and containers is relayed to NRI plugins as a container runtime would do it, and
    /// what the plugins answer is the result. `nri-sim serve --help` lists the commands, each with an example.
    #[command(after_long_help = sim::manual())]
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
    #[arg(long = "log", value_name = "LEVEL", default_value = "info", value_parser = filter)]
    filter: EnvFilter,
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    let form = "write error, warn, info, debug or trace, or targets with levels such as nri_adaptation=debug,warn";
    // A word alone would be taken for the name of a target.
    let mut words = text.split(',').filter(|part| !part.contains(['=', '[']));
    if let Some(word) = words.find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(format!("{word:?} is no level: {form}"));
    }
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| format!("{error}: {form}"))
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
