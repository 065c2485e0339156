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
use std::sync::{Arc, RwLock};

use clap::Parser;
use configuration::Additions;
use nri_plugin::{HandlerError, api, handlers};

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

/// What the plugin answers for a container.
fn adjustment(additions: &Additions, request: &api::CreateContainerRequest) -> Answer {
    let pod = request.pod.as_ref().ok_or("the request has no pod")?;
    let container = request
        .container
        .as_ref()
        .ok_or("the request has no container")?;
    let adjust = additions
        .apply_to(&pod.namespace, &pod.name, &container.name)
        .then(|| additions.adjustment());
    Ok(api::CreateContainerResponse {
        adjust,
        ..Default::default()
    })
}

type Answer = Result<api::CreateContainerResponse, HandlerError>;

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let from_file = options.config.as_deref().map(read).transpose()?;
    let current = Arc::new(RwLock::new(Additions::default()));
    let used = Arc::clone(&current);
    let plugin = handlers()
        .on_configure(move |_cx, configuration| {
            let additions = match (configuration.config.trim(), &from_file) {
                ("", Some(additions)) => Ok(additions.clone()),
                ("", None) => {
                    Err("no configuration: write NN-annotate.conf for the runtime, or give --config FILE".into())
                }
                (text, _) => text.parse(),
            };
            let set = additions.map(|additions| match current.write() {
                Ok(mut current) => *current = additions,
                Err(poisoned) => *poisoned.into_inner() = additions,
            });
            async move { Ok(set.map(|()| None)?) }
        })
        .on_create_container(move |_cx, request| {
            let answer = match used.read() {
                Ok(additions) => adjustment(&additions, &request),
                Err(poisoned) => adjustment(&poisoned.into_inner(), &request),
            };
            async move { answer }
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
