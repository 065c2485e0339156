//! What the example programs have in common: options, signals, exit codes.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use nri_plugin::{Backoff, DEFAULT_SOCKET, Handle, Plugin, Runner};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How to reach the runtime.
#[derive(Debug, clap::Args)]
pub(crate) struct Connection {
    /// The runtime's socket; not used when a runtime launched this plugin.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// The plugin's place in the order, two digits [default: what the runtime or the file name
    /// says, else 90].
    #[arg(long, value_name = "NN")]
    index: Option<String>,
    /// The plugin's name [default: what the runtime or the file name says, else the program's].
    #[arg(long)]
    name: Option<String>,
    /// Connect again whenever the runtime goes away.
    #[arg(long)]
    forever: bool,
}

/// Runs a plugin until the runtime ends it, or until SIGTERM or SIGINT. `more` gets the runner's
/// handle first.
pub(crate) async fn run(
    options: Connection,
    default_identity: &str,
    plugin: Arc<dyn Plugin>,
    more: impl FnOnce(&Handle),
) -> Result<(), Box<dyn Error>> {
    let mut builder = Runner::builder_shared(plugin)
        .default_identity(default_identity)
        .socket(options.socket);
    if let Some(index) = options.index {
        builder = builder.index(index);
    }
    if let Some(name) = options.name {
        builder = builder.name(name);
    }
    let runner = builder.build()?;
    let handle = runner.handle();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signal = signal(kind)?;
        handle.stop_on(async move {
            signal.recv().await;
        });
    }
    more(&handle);
    match options.forever {
        true => runner.run_forever(Backoff::default()).await?,
        false => runner.run().await?,
    };
    Ok(())
}

/// Logs to stderr, warnings and worse if `RUST_LOG` does not say otherwise.
pub(crate) fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// One line for an error, and the exit code.
pub(crate) fn exit(program: &str, result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}
