//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nri_plugin::{InvalidSocketPath, SocketPath};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// One NRI plugin to containerd or CRI-O, an NRI runtime to plugins.
#[derive(Debug, Parser)]
#[command(name = "nri-hub", version)]
pub(crate) struct Arguments {
    /// The configuration [default: /etc/nri-hub/config.toml, if it is there].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) logs: Logs,
    /// What to do; nothing said is `run`.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// What is logged: error, warn, info, debug, trace, off, or a filter such as
    /// nri_hub=debug,warn [default: RUST_LOG, else info].
    #[arg(long, value_name = "LEVEL", value_parser = filter)]
    pub(crate) log_level: Option<String>,
    /// How it is logged, to stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the hub.
    Run {
        /// Takes the place of the hub that runs at the control socket, if one does: the runtime
        /// above notices nothing.
        #[arg(long)]
        take_over: bool,
        /// Once another hub has taken its place, waits for a signal in place of ending: for
        /// supervisors that start again what has ended, as kubelet.
        #[arg(long)]
        stay: bool,
    },
    /// Says how a running hub is.
    Status {
        /// Its control socket [default: what the configuration says, else
        /// /run/nri-hub/control.sock].
        #[arg(long, value_name = "PATH", value_parser = socket)]
        socket: Option<PathBuf>,
        /// As JSON.
        #[arg(long, conflicts_with = "watch")]
        json: bool,
        /// Says nothing, and exits with 3 and the reason if the hub is not ready: a probe.
        #[arg(long, conflicts_with_all = ["watch", "json"])]
        ready: bool,
        /// Again and again, until it is interrupted.
        #[arg(long)]
        watch: bool,
    },
    /// What a policy says.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// What a configuration says.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Checks a policy, and says what it does to an adjustment, and by which rule. Exits with 3 if
    /// something is denied.
    Check(PolicyCheck),
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheck {
    /// The policy, alone or in a configuration [default: that of --config].
    pub(crate) file: Option<PathBuf>,
    /// The plugin that asks, as NN-name.
    #[arg(long, requires = "adjustment", default_value = "10-any")]
    pub(crate) plugin: String,
    /// The pod's namespace.
    #[arg(long, requires = "adjustment", default_value = "default")]
    pub(crate) namespace: String,
    /// A label of the pod, as KEY=VALUE.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// The pod's runtime handler.
    #[arg(long, default_value = "")]
    pub(crate) runtime_handler: String,
    /// What is asked for: a ContainerAdjustment as JSON, or @FILE.
    #[arg(long, value_name = "JSON")]
    pub(crate) adjustment: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Checks a configuration and the policy that it names.
    Check {
        /// Its file [default: that of --config, else /etc/nri-hub/config.toml].
        file: Option<PathBuf>,
    },
    /// Prints a configuration with every key, its default and what it means.
    Default,
}

/// What is logged, as it is given.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    // A word alone would be taken for the name of a target.
    let mut words = text.split(',').filter(|part| !part.contains(['=', '[']));
    if let Some(word) = words.find(|word| word.trim().parse::<LevelFilter>().is_err()) {
        return Err(format!(
            "{word:?} is no level: write error, warn, info, debug, trace or off, or targets with levels such as nri_hub=debug,warn"
        ));
    }
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn socket(text: &str) -> Result<PathBuf, InvalidSocketPath> {
    Ok(SocketPath::parse(text)?.into_path_buf())
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}
