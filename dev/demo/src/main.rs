//! `cargo xtask demo`: one container through real plugins, end to end.
//!
//! A runtime in a temporary directory launches one plugin and is joined by another; a pod and a
//! container live their whole life; what happened is printed. With `--keep` the runtime stays up
//! instead and waits for plugins of yours.

mod inputs;
mod inside;
mod line;
mod report;
mod scratch;
mod spec_diff;
mod story;
mod timeline;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use nri_adaptation::{Config, Nri};
use nri_core::RuntimeApi as _;
use nri_core::model::{Container as _, PodSandbox as _};
use nri_dev::examples::Examples;
use nri_dev::low_level::LowLevel;
use nri_dev::process::ChildProcess;
use nri_testkit::MemoryDomain;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use inputs::{Inputs, Sources};
use scratch::Scratch;
use timeline::Timeline;

/// What to show.
#[derive(Parser, Debug)]
#[command(
    name = "cargo xtask demo",
    about = "Show one container going through real plugins, end to end.",
    version
)]
struct Options {
    /// Leave the runtime up, print its socket, and wait for plugins of yours until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Path of the socket [default: one in a temporary directory].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Do not run a real container, even where runc or crun works.
    #[arg(long)]
    no_container: bool,
    /// List what the real container's spec has in place of the original, in full.
    #[arg(long)]
    substitutions: bool,
    #[command(flatten)]
    sources: Sources,
}

/// How long plugins may take to be there.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

const ANNOTATE: &str = "10-annotate";
const LOGGER: &str = "20-logger";

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("demo: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let inputs = Inputs::read(&options.sources)?;
    let scratch = Scratch::new()?;
    let socket = options.socket.clone().unwrap_or_else(|| scratch.socket());
    let examples = Examples::build()?;
    scratch.install(examples.path("annotate")?, ANNOTATE, &inputs.annotate)?;

    let mut config: Config = inputs.config.clone();
    config.disable = false;
    config.disable_connections = false;
    config.socket_path = socket.clone();
    config.plugin_path = scratch.plugins();
    config.plugin_config_path = scratch.plugin_configs();

    let timeline = Timeline::new();
    let runtime = Runtime::new().map_err(|e| format!("an async runtime: {e}"))?;
    let domain = Arc::new(MemoryDomain::new("k8s.io"));
    let nri = runtime.block_on(async {
        let nri = Nri::builder(config)
            .runtime("nri-demo", env!("CARGO_PKG_VERSION"))
            .domain(Arc::clone(&domain) as Arc<dyn nri_core::Domain>)
            .observer(Arc::clone(&timeline) as Arc<dyn nri_adaptation::Observer>)
            .build()
            .map_err(|e| e.to_string())?;
        nri.start().await.map_err(|e| e.to_string())?;
        Ok::<_, String>(nri)
    })?;

    let shown = if options.keep {
        domain.put_pod(inputs.pod.to_message());
        domain.put_container(inputs.container.to_message());
        report::keep(&socket);
        runtime.block_on(keep(&inputs, &scratch, &nri, &timeline))
    } else {
        show(
            options, &inputs, &scratch, &socket, &examples, &runtime, &nri, &timeline,
        )
    };
    runtime.block_on(nri.stop());
    shown
}

/// The whole life, and what is to be said about it.
#[allow(clippy::too_many_arguments)] // one caller, which has just made them
fn show(
    options: &Options,
    inputs: &Inputs,
    scratch: &Scratch,
    socket: &Path,
    examples: &Examples,
    runtime: &Runtime,
    nri: &Nri,
    timeline: &Timeline,
) -> Result<(), String> {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    timeline.is_there(ANNOTATE)?;
    let identity = [
        "--once",
        "--log-level",
        "warn",
        "--index",
        "20",
        "--name",
        "logger",
        "--socket",
    ];
    let logger = ChildProcess::start(
        Command::new(examples.path("logger")?)
            .args(identity)
            .arg(socket),
    )?;
    timeline.wait_for(LOGGER, TEST_TIMEOUT)?;
    report::header(socket, logger.pid());

    let low_level = match options.no_container {
        true => Err("not asked for".to_owned()),
        false => LowLevel::probe(scratch.path()),
    };
    let told = runtime.block_on(story::tell(
        nri,
        inputs.pod.clone(),
        inputs.container.clone(),
        low_level.as_ref().ok(),
        scratch.path(),
    ))?;
    runtime.block_on(nri.stop());
    let (logged, _) = logger.finish(TEST_TIMEOUT)?;

    report::timeline(timeline);
    report::logged(LOGGER, &logged);
    report::adjustment(&told.adjustment, &told.owners, &inputs.container.id);
    report::spec(&told.before, &told.after, colour);
    report::inside(&low_level, told.seen.as_ref(), options.substitutions)
}

/// Serves until a signal ends it; every line of input has the pod live its life once.
async fn keep(
    inputs: &Inputs,
    scratch: &Scratch,
    nri: &Nri,
    timeline: &Timeline,
) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let (entered, mut lines) = mpsc::channel(1);
    // A thread of its own: the runtime's would keep it from ending while it waits for input.
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if line.is_err() || entered.blocking_send(()).is_err() {
                return;
            }
        }
    });
    let mut listening = true;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
            line = lines.recv(), if listening => match line {
                Some(()) => {
                    let told = story::tell(nri, inputs.pod.clone(), inputs.container.clone(), None, scratch.path()).await;
                    report::timeline(timeline);
                    if let Err(reason) = told {
                        println!("the story ended early: {reason}");
                    }
                }
                // Without input, only a signal ends it.
                None => listening = false,
            },
        }
    }
}
