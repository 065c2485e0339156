//! The runtime as a program.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nri_runtime::{Config, Result};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A small CRI runtime with NRI.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The configuration. Default: /etc/nri-runtime/config.toml, if it is there.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve CRI until SIGTERM or SIGINT. Containers stay.
    Serve,
    /// Say what this machine can and cannot do.
    Check,
    /// Print the configuration in effect.
    Config,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nri-runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<()> {
    let config = Config::load(options.config.as_deref())?;
    match options.command {
        Command::Serve => nri_runtime::serve(config, ended()).await,
        Command::Check => {
            let findings = nri_runtime::check(&config).await;
            for finding in &findings {
                writeln!(io::stdout(), "{finding}").map_err(unprinted)?;
            }
            match findings.iter().find(|finding| finding.is_fatal()) {
                Some(fatal) => Err(nri_runtime::Error::precondition(format!(
                    "cannot run: {fatal}"
                ))),
                None => Ok(()),
            }
        }
        Command::Config => {
            write!(io::stdout(), "{}", config.to_toml()?).map_err(unprinted)?;
            Ok(())
        }
    }
}

/// Waits for the end.
async fn ended() {
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Who reads what is printed may have gone.
fn unprinted(error: io::Error) -> nri_runtime::Error {
    nri_runtime::Error::precondition(format!("this cannot be printed: {error}"))
}
