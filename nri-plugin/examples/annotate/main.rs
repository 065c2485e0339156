//! Adds annotations, environment variables and mounts to the containers that are created.
//!
//! The configuration is TOML. It comes from the runtime (`NN-annotate.conf` in its plugin
//! configuration directory), or from the file given with `--config`. All of it is optional, but
//! something must be added:
//!
//! ```toml
//! # Which containers; without a list, all. A name may end in `*`.
//! namespaces = ["default", "team-*"]
//! pods = ["web-*"]
//! containers = ["nginx"]
//!
//! [annotations]
//! "example.com/owner" = "platform"
//!
//! [env]
//! TZ = "Europe/Helsinki"
//!
//! [[mounts]]
//! source = "/etc/ssl/certs"
//! destination = "/etc/ssl/certs"
//! type = "bind"                      # the default
//! options = ["rbind", "ro"]          # the default
//! ```

mod configuration;
#[path = "../support/program.rs"]
mod program;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use configuration::Additions;
use nri_plugin::stateful;

/// Adds annotations, environment variables and mounts to containers.
#[derive(Parser)]
#[command(name = "annotate")]
struct Options {
    #[command(flatten)]
    connection: program::Connection,
    /// What to add, as TOML; used unless the runtime has a configuration for this plugin.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn read(file: &Path) -> Result<Additions, Box<dyn Error>> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    text.parse()
        .map_err(|error| format!("{}: {error}", file.display()).into())
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let from_file = options.config.as_deref().map(read).transpose()?;
    let plugin = stateful(Additions::default())
        .on_configure(move |current, _cx, configuration| {
            *current = match (configuration.config.trim(), &from_file) {
                ("", Some(additions)) => additions.clone(),
                ("", None) => {
                    return Err("no configuration: write NN-annotate.conf for the runtime, or give --config FILE".into());
                }
                (text, _) => text.parse()?,
            };
            Ok(None)
        })
        .on_create_container(|additions, _cx, pod, container| {
            let wanted = additions.apply_to(&pod.namespace, &pod.name, &container.name);
            Ok(wanted.then(|| additions.adjustment()))
        })
        .build();
    program::run(
        options.connection,
        "50-annotate",
        Arc::new(plugin),
        |_handle| {},
    )
    .await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    program::log_to_stderr();
    program::exit("annotate", run(options).await)
}
