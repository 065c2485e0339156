//! `nri-sim`: what the test kit does, from a command line.
//!
//! One module or function per subcommand; what they do is in the library.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nri_testkit::vectors;

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
enum Command {
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

fn main() -> ExitCode {
    let result = match Cli::parse().command {
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

/// Replays a recording; whether all is as it should be.
fn replay(path: &Path) -> Result<bool, String> {
    let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let summary = vectors::run(BufReader::new(file));
    println!("{summary}");
    Ok(summary.is_success())
}
