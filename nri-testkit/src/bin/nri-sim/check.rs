//! `nri-sim check`: a plugin before a battery of checks.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use nri_core::PluginId;
use nri_testkit::plugin_conformance::{self, Check, Options};

use crate::say::say;

/// What is checked, and how the report is given.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct CheckArgs {
    /// How the plugin is started, for a shell. With {socket} in it, which stands for the path of
    /// the runtime's socket, it is started beside the runtime; without, it is launched as an
    /// installed plugin, with its connection at descriptor 3. With both to choose from, as in
    /// './mine --socket {socket}', both ways are checked. One that takes no path, but has its own,
    /// is checked both ways with --socket. It is started afresh for every check.
    #[arg(long, value_name = "COMMAND", required_unless_present_any = ["wait", "list"])]
    plugin: Option<String>,
    /// How the plugin is launched as an installed one, if that is not how it is started: without
    /// -idx and -name, for example, with which plugins on the Go library refuse to be launched.
    #[arg(long, value_name = "COMMAND", requires = "plugin")]
    launch: Option<String>,
    /// Wait for a plugin that someone else starts, and starts again whenever it ends: it connects
    /// to --socket once for every check.
    #[arg(long, conflicts_with = "plugin", requires = "socket")]
    wait: bool,
    /// The unix socket on which the plugin connects [default: nri.sock in a fresh temporary
    /// directory].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Who the plugin is told to be when it is launched [default: 10-checked].
    #[arg(long, value_name = "NN-name")]
    identity: Option<PluginId>,
    /// The configuration that the plugin is sent.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long the plugin may take to come, to come back, or to end, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    patience: u32,
    /// How long the plugin may take to answer a request, in milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2000)]
    request_timeout: u32,
    /// Make only this check; may be repeated.
    #[arg(long, value_name = "CHECK", value_parser = named)]
    only: Vec<Check>,
    /// List the checks with what to do where one fails, and check nothing.
    #[arg(long)]
    list: bool,
    /// Print the report as one JSON object.
    #[arg(long)]
    json: bool,
    /// Write the report as a page that needs nothing beside itself.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn named(text: &str) -> Result<Check, String> {
    let is = |check: &&Check| format!("{check:?}").eq_ignore_ascii_case(text);
    Check::ALL.iter().find(is).copied().ok_or_else(|| {
        let names: Vec<String> = Check::ALL.iter().map(|it| format!("{it:?}")).collect();
        format!("there is no such check; there are {}", names.join(", "))
    })
}

/// Checks; whether nothing failed.
pub(crate) async fn run(arguments: &CheckArgs) -> Result<bool, String> {
    if arguments.list {
        for check in Check::ALL {
            say!("{:16} {}", format!("{check:?}"), check.promise());
            say!("{:16} what to do: {}", "", check.advice());
        }
        return Ok(true);
    }
    let mut options = match (&arguments.plugin, &arguments.socket) {
        (Some(command), socket) => {
            let mut options = Options::of(command);
            options.socket.clone_from(socket);
            options
        }
        (None, Some(socket)) => {
            eprintln!("nri-sim: a plugin is waited for at {}", socket.display());
            Options::of_whom_connects_to(socket)
        }
        (None, None) => return Err("say --plugin COMMAND, or --wait with --socket PATH".to_owned()),
    };
    options.identity.clone_from(&arguments.identity);
    options.launch.clone_from(&arguments.launch);
    if let Some(file) = &arguments.config {
        let read = nri_testkit::read_file(file);
        options.config = read.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    options.patience = Duration::from_secs(arguments.patience.into());
    options.request_timeout = Duration::from_millis(arguments.request_timeout.into());
    if !arguments.only.is_empty() {
        options.only.clone_from(&arguments.only);
    }
    let report = plugin_conformance::check(&options).await?;
    if let Some(file) = &arguments.html {
        let title = match &arguments.plugin {
            Some(command) => format!("nri-sim check of {command}"),
            None => "nri-sim check".to_owned(),
        };
        let written = std::fs::write(file, report.to_html(&title));
        written.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    match arguments.json {
        true => say!("{}", report.to_json()),
        false => say!("{report}"),
    }
    Ok(report.is_ok())
}
