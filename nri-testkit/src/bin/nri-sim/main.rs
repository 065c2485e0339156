//! `nri-sim`: what the test kit does, from a command line.
//!
//! One function per subcommand; what they do is in the library.

mod check;
mod new;
mod say;
mod tap;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use nri_core::PluginId;
use nri_core::api::PodSandbox;
use nri_testkit::sim::{
    self, Json, PlayOptions, PluginCommand, PolicyCheck, PolicyQuestion, Progress, RuntimeOptions,
    Scenario, Text,
};
use nri_testkit::vectors;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use say::say;

/// Tests for NRI runtimes and plugins.
///
/// NRI, the Node Resource Interface, lets plugins watch and adjust the containers of a node: a
/// plugin is a program that connects to the container runtime. This program is a runtime for tests:
/// it has no containers, but plugins cannot tell.
///
/// To try a plugin by hand, run `nri-sim serve --socket /tmp/nri.sock`, start the plugin with that
/// socket, and type {"cmd":"run-pod","pod":{"id":"p1"}}. To test it in a CI, write a scenario and
/// use `nri-sim run`.
#[derive(Parser)]
#[command(name = "nri-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant)] // there is one
enum Command {
    /// Be a container runtime without containers, driven by one JSON object per line.
    ///
    /// What the commands say happens to pods and containers is relayed to NRI plugins as a
    /// container runtime would do it, and what the plugins answer is the result. `nri-sim serve
    /// --help` lists the commands, each with an example.
    #[command(after_long_help = sim::manual())]
    Serve {
        #[command(flatten)]
        runtime: RuntimeOptions,
        /// What is logged on stderr: error, warn, info, debug, trace, or a filter such as
        /// nri_adaptation=debug,warn [default: what RUST_LOG says, or info].
        #[arg(long = "log", value_name = "LEVEL", value_parser = filter)]
        filter: Option<EnvFilter>,
    },
    /// Play a scenario: pods, containers, steps and expectations from a file, with real plugins.
    ///
    /// Prints a timeline, the adjustment of every container with its owners, and what is not as
    /// expected. The exit code is 0 if all is as expected, 1 if not.
    #[command(after_long_help = sim::scenario_manual())]
    Run {
        /// The scenario, as TOML.
        #[arg(value_name = "SCENARIO")]
        scenario: PathBuf,
        /// Start a plugin, in place of what the scenario says: its identity and a command for a
        /// shell. The runtime launches it as one that is installed; if there is {socket}
        /// in the command, it is started beside the runtime, with the socket's
        /// path in that place. A plugin of the scenario that nobody starts is waited for.
        #[arg(long = "plugin", value_name = "NN-name=COMMAND")]
        plugins: Vec<PluginCommand>,
        /// The unix socket on which plugins connect [default: nri.sock in a fresh temporary
        /// directory].
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// How long plugins may take to come, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 10)]
        wait: u32,
        /// Print one JSON object per line: kind waiting, ready, step or end.
        #[arg(long)]
        json: bool,
        /// Write what happened as a page that needs nothing beside itself: timeline, owners, and
        /// what became of each container's spec.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// What is logged on stderr: error, warn, info, debug, trace, or a filter such as
        /// nri_adaptation=debug,warn [default: what RUST_LOG says, or warn].
        #[arg(long = "log", value_name = "LEVEL", value_parser = filter)]
        filter: Option<EnvFilter>,
    },
    /// Check whether a plugin, in whatever language, is fit for any runtime.
    ///
    /// Prints a table of named checks: each passed, FAILED with what was seen and what to do, or
    /// skipped with the reason. The exit code is 0 if none failed.
    Check(check::CheckArgs),
    /// Watch what a runtime and its plugins say to one another, and record it.
    ///
    /// Listens where plugins are told to connect, connects to the runtime for each of them, and
    /// passes the bytes on as they are. Ends with SIGTERM or SIGINT, and the connections with it.
    Tap(tap::TapArgs),
    /// Play a recording of `nri-sim tap` again: to a plugin, or to a runtime.
    ///
    /// Of a plugin it prints what is different in its answers; the exit code is 0 if nothing is.
    Replay(tap::ReplayArgs),
    /// Make a crate of a plugin in Rust that builds, and whose tests pass.
    New(new::NewArgs),
    /// Read policies: what plugins may ask for.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// List the names of the fields that have owners, as in the owners of a creation and in
    /// expect.owners of a scenario.
    Fields,
    /// Replay recorded behaviour of the reference on this implementation.
    ///
    /// Prints every difference, and in the last line how many vectors passed, failed and were
    /// skipped. The exit code is 1 if one failed. The recordings are
    /// nri-testkit/data/vectors-merge.jsonl, vectors-events.jsonl and vectors-oci.jsonl.
    Vectors {
        /// A recording: one JSON object per line.
        #[arg(value_name = "FILE.jsonl")]
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum PolicyCommand {
    /// Say whether a file is a policy, and what it would do to an adjustment.
    ///
    /// Prints the rules; or, of what a plugin asks for in an adjustment, what becomes of each thing
    /// and by which rule. The exit code is 1 if the file is no policy, or if something is denied.
    Check {
        /// The policy: a file of its own, or a configuration that has one, as TOML.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The adjustment: proto3 JSON, or a file with that.
        #[arg(long, value_name = "JSON|FILE", requires = "plugin")]
        adjustment: Option<String>,
        /// The plugin that asks for it.
        #[arg(long, value_name = "NN-name", requires = "adjustment")]
        plugin: Option<PluginId>,
        /// The pod's namespace.
        #[arg(long, value_name = "NAME", default_value = "default")]
        namespace: String,
        /// A label of the pod; may be repeated.
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// The pod's runtime handler.
        #[arg(long, value_name = "NAME", default_value = "")]
        runtime_handler: String,
    },
}

fn label(text: &str) -> Result<(String, String), String> {
    let label = text.split_once('=');
    let label = label.map(|(key, value)| (key.to_owned(), value.to_owned()));
    label.ok_or_else(|| format!("{text:?} is no label: write KEY=VALUE"))
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    let form = "write error, warn, info, debug or trace, or targets with levels such as nri_adaptation=debug,warn";
    // A word alone would be taken for the name of a target.
    let mut words = text.split(',').filter(|part| !part.contains(['=', '[']));
    if let Some(word) = words.find(|word| word.trim().parse::<LevelFilter>().is_err()) {
        return Err(format!("{word:?} is no level: {form}"));
    }
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| format!("{error}: {form}"))
}

/// Begins to log: what the option says, else RUST_LOG, else `usual`.
fn log(said: Option<EnvFilter>, usual: &str) -> Result<(), String> {
    let filter = match (said, std::env::var("RUST_LOG")) {
        (Some(filter), _) => filter,
        (None, Ok(text)) if !text.trim().is_empty() => {
            filter(&text).map_err(|error| format!("RUST_LOG is {text:?}: {error}"))?
        }
        (None, _) => filter(usual)?,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    Ok(())
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve { runtime, filter } => log(filter, "info").and_then(|()| serve(&runtime)),
        Command::Run {
            scenario,
            plugins,
            socket,
            wait,
            json,
            html,
            filter,
        } => {
            let wait = Duration::from_secs(wait.into());
            let options = PlayOptions {
                plugins,
                socket,
                wait,
            };
            log(filter, "warn").and_then(|()| run(&scenario, &options, json, html.as_deref()))
        }
        Command::Check(arguments) => until_signal(check::run(&arguments)),
        Command::Tap(arguments) => tokio()
            .and_then(|tokio| tokio.block_on(async { tap::tap(&arguments, signals()?).await })),
        Command::Replay(arguments) => tokio()
            .and_then(|tokio| tokio.block_on(async { tap::replay(&arguments, signals()?).await })),
        Command::New(arguments) => new::run(arguments),
        Command::Fields => {
            for name in sim::field_names() {
                say!("{name}");
            }
            Ok(true)
        }
        Command::Policy(PolicyCommand::Check {
            file,
            adjustment,
            plugin,
            namespace,
            labels,
            runtime_handler,
        }) => {
            let pod = PodSandbox {
                namespace,
                labels: labels.into_iter().collect(),
                runtime_handler,
                ..Default::default()
            };
            check_policy(&file, plugin.zip(adjustment), pod)
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

/// Resolves with SIGTERM or SIGINT.
fn signals() -> Result<impl Future<Output = ()>, String> {
    let broken = |e: std::io::Error| format!("cannot wait for signals: {e}");
    let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn tokio() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Runtime::new().map_err(|e| format!("cannot run: {e}"))
}

/// Runs something, unless a signal ends it.
fn until_signal(work: impl Future<Output = Result<bool, String>>) -> Result<bool, String> {
    tokio()?.block_on(async {
        tokio::select! {
            result = work => result,
            () = signals()? => Err("ended by a signal".to_owned()),
        }
    })
}

/// Serves stdin until it ends, or until a signal.
fn serve(options: &RuntimeOptions) -> Result<bool, String> {
    tokio()?.block_on(async {
        let ready = |sim: &sim::Simulator| match sim.socket() {
            Some(socket) => eprintln!("nri-sim: plugins can connect to {}", socket.display()),
            None => eprintln!("nri-sim: no plugin can connect"),
        };
        let (input, output) = (std::io::stdin(), std::io::stdout());
        sim::serve(options, input, output, ready, signals()?)
            .await
            .map(|()| true)
            .map_err(|error| error.to_string())
    })
}

/// Plays a scenario; whether all is as expected.
fn run(
    path: &Path,
    options: &PlayOptions,
    json: bool,
    html: Option<&Path>,
) -> Result<bool, String> {
    let scenario = Scenario::load(path).map_err(|error| error.to_string())?;
    tokio()?.block_on(async {
        let (mut text, mut lines) = (Text(std::io::stdout()), Json(std::io::stdout()));
        let mut printed = Ok(());
        let mut happened = Vec::new();
        let print = |progress: &Progress| {
            if html.is_some() {
                happened.push(progress.clone());
            }
            let result = match json {
                true => lines.print(progress),
                false => text.print(progress),
            };
            if printed.is_ok() {
                printed = result;
            }
        };
        let end = sim::play(&scenario, options, print, signals()?).await;
        let end = end.map_err(|error| error.to_string())?;
        printed.map_err(|e| format!("cannot print: {e}"))?;
        if let Some(file) = html {
            let written = std::fs::write(file, sim::scenario_page(&scenario, &happened));
            written.map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(end.is_success())
    })
}

/// Reads a policy and asks it; whether nothing is denied.
fn check_policy(
    path: &Path,
    asked: Option<(PluginId, String)>,
    pod: PodSandbox,
) -> Result<bool, String> {
    let read = |path: &Path| {
        nri_testkit::read_file(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let question = match asked {
        Some((plugin, json)) if json.trim_start().starts_with('{') => {
            Some(PolicyQuestion::new(plugin, pod, &json)?)
        }
        Some((plugin, file)) => {
            let text = read(Path::new(&file))?;
            let question = PolicyQuestion::new(plugin, pod, &text);
            Some(question.map_err(|error| format!("{file}: {error}"))?)
        }
        None => None,
    };
    let check = PolicyCheck::new(&read(path)?, question.as_ref())
        .map_err(|error| format!("{}: {error}", path.display()))?;
    say!("{}", check.to_string().trim_end());
    Ok(!check.is_denied())
}

/// Replays a recording; whether all is as it should be.
fn replay(path: &Path) -> Result<bool, String> {
    let file = File::open(path).map_err(|e| {
        format!(
            "{}: {e}. The recordings that there are: nri-testkit/data/vectors-merge.jsonl, vectors-events.jsonl and vectors-oci.jsonl",
            path.display()
        )
    })?;
    let summary = vectors::run(BufReader::new(file));
    say!("{summary}");
    Ok(summary.is_success())
}
