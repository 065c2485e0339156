//! Whether a plugin is fit for any runtime, as a runtime sees it: for the tests of a plugin,
//! whatever it is written in.
//!
//! [`check`] starts the plugin (or waits for it), plays a runtime that is as good or bad as real
//! ones are, and looks at what comes back. The [`Report`] is a table of named [`Check`]s, each
//! passed, failed with what was seen and what to do, or skipped where it cannot be made. It is what
//! `nri-sim check` prints.
//!
//! ```no_run
//! use nri_testkit::plugin_conformance::{Options, check};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let report = check(&Options::of("target/debug/my-plugin --socket {socket}")).await?;
//! report.assert_ok();
//! # Ok::<(), String>(())
//! # });
//! ```
//!
//! What may not enter: what plugins are free to do as they like.

mod check;
mod scenes;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use nri_core::PluginId;

pub use self::check::{Check, CheckResult, Report};
pub use crate::conformance::Outcome;

use self::stage::Stage;
use crate::tested_plugin::Subject;

/// How a plugin is checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How the plugin is started, for a shell. With `{socket}` in it, it is started beside the
    /// runtime, and that stands for the socket's path; without, it is launched as an installed
    /// one. Absent: someone else starts it, and again whenever it ends.
    pub command: Option<String>,
    /// How it is launched as an installed one, if that is another command: plugins on the Go
    /// library that are told their index or name by an option refuse to be launched. Default:
    /// as `command`.
    pub launch: Option<String>,
    /// Where it connects. Default: `nri.sock` in a fresh temporary directory.
    pub socket: Option<PathBuf>,
    /// Who it is told to be when it is launched. Default `10-checked`.
    pub identity: Option<PluginId>,
    /// The configuration that the runtime sends. Default: none.
    pub config: String,
    /// How long the plugin may take to come, to come back, or to end. Default 10 s.
    pub patience: Duration,
    /// How long it may take to answer a request. Default 2 s, as runtimes have it.
    pub request_timeout: Duration,
    /// The checks to make. Default: all.
    pub only: Vec<Check>,
}

impl Options {
    /// To check a plugin that is started by a command.
    pub fn of(command: impl Into<String>) -> Self {
        Self {
            command: Some(command.into()),
            ..Self::of_any()
        }
    }

    /// To check the plugins that connect to a socket, and do so again after each check.
    pub fn of_whom_connects_to(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: Some(socket.into()),
            ..Self::of_any()
        }
    }

    fn of_any() -> Self {
        Self {
            command: None,
            launch: None,
            socket: None,
            identity: None,
            config: String::new(),
            patience: Duration::from_secs(10),
            request_timeout: Duration::from_secs(2),
            only: Check::ALL.to_vec(),
        }
    }
}

/// Checks a plugin.
///
/// # Errors
/// It cannot be checked at all: there is no place for the socket, or another runtime listens there.
pub async fn check(options: &Options) -> Result<Report, String> {
    let mut stage = Stage::new(options)?;
    for scene in scenes::ALL {
        let wanted = |check: &&Check| options.only.contains(check);
        let checks: Vec<Check> = scene.checks.iter().filter(wanted).copied().collect();
        if checks.is_empty() {
            continue;
        }
        // Without that, there is nothing to look at; how it is started may still be the reason.
        let is_basic = checks.iter().any(|it| *it <= Check::Socket);
        if !is_basic && stage.has_found(&[Check::Registered, Check::Configured]) {
            for check in checks {
                stage.skip(
                    check,
                    "the plugin does not come as far as that: see what failed before",
                );
            }
            continue;
        }
        let ended = (scene.play)(&mut stage).await;
        stage.end(&checks, ended).await;
    }
    let wanted = |check: &&Check| options.only.contains(check);
    let wanted: Vec<Check> = Check::ALL.iter().filter(wanted).copied().collect();
    Ok(stage.report(&wanted))
}

/// The subject of these options.
fn subject(options: &Options) -> Subject {
    Subject {
        command: options.command.clone(),
        launch: options.launch.clone(),
        identity: options.identity.clone(),
        socket: options.socket.clone(),
        patience: options.patience,
    }
}
