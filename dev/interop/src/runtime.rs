//! A runtime that does what it is told: ours (`nri-sim serve`) or one on the reference's library.
//! Both take the same lines.

use std::fmt;
use std::path::Path;
use std::process::Command;

use nri_core::api;
use serde_json::{Value, json};

use super::go::Built;
use super::program::{Program, TEST_TIMEOUT};
use super::scratch::{CaseDir, Scratch};

/// Which runtime.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind<'a> {
    /// `nri-sim`, which is at this path.
    Ours(&'a Path),
    /// The reference's.
    Go(&'a Built),
}

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(_) => f.write_str("ours"),
            Self::Go(built) => write!(f, "Go {}", built.version),
        }
    }
}

/// What a plugin gets for one request. More than the usual two seconds, since the machine may be
/// busy; less than our patience.
const REQUEST_TIMEOUT: &str = "20s";

impl Kind<'_> {
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_))
    }

    /// Whether it knows the events of pods that came with v0.10, and validation.
    pub(super) fn validates(&self) -> bool {
        match self {
            Self::Ours(_) => true,
            Self::Go(built) => built.release.validates,
        }
    }

    /// Whether plugins can say to it what is to happen when they do not answer.
    pub(super) fn wishes(&self) -> bool {
        match self {
            Self::Ours(_) => true,
            Self::Go(built) => built.release.wishes,
        }
    }

    /// Whether it splits a synchronisation over several messages.
    pub(super) fn splits(&self) -> bool {
        match self {
            Self::Ours(_) => true,
            Self::Go(built) => built.release.splits,
        }
    }

    /// The name that it tells plugins.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => "nri-sim",
            Self::Go(built) if built.release.validates => "goruntime",
            // A plugin guesses from it what this runtime knows, which does not say so itself.
            Self::Go(_) => "containerd",
        }
    }

    fn command(&self, case_dir: &CaseDir, request_timeout: &str) -> Result<Command, String> {
        let mut command = match self {
            Self::Ours(path) => {
                let config = case_dir.file("nri.toml");
                let text = format!("plugin_request_timeout = \"{request_timeout}\"\n");
                std::fs::write(&config, text).map_err(|e| format!("{}: {e}", config.display()))?;
                let mut command = Command::new(path);
                command.arg("serve").arg("--config").arg(config);
                command
            }
            Self::Go(built) => {
                let path = built
                    .runtime()
                    .ok_or_else(|| format!("there is no runtime of {}", built.version))?;
                let mut command = Command::new(path);
                command.args(["--request-timeout", request_timeout]);
                if !built.release.validates {
                    // As containerd 1.7.2 presents itself, from which a plugin guesses what it
                    // knows.
                    command.args([
                        "--runtime-name",
                        "containerd",
                        "--runtime-version",
                        "v1.7.2",
                    ]);
                }
                command
            }
        };
        command.arg("--socket").arg(case_dir.socket());
        command.arg("--plugins").arg(case_dir.plugins());
        command
            .arg("--plugin-config")
            .arg(case_dir.plugin_configs());
        Ok(command)
    }
}

/// A running runtime.
#[derive(Debug)]
pub(super) struct Runtime {
    program: Program,
}

/// The answer to a command.
pub(super) type Answer = Result<Value, String>;

impl Runtime {
    /// Starts it. Until the first command that adds nothing it does not listen; [`Runtime::open`]
    /// is such a command.
    pub(super) fn start(
        scratch: &Scratch,
        kind: Kind<'_>,
        case_dir: &CaseDir,
    ) -> Result<Self, String> {
        Self::start_with(scratch, kind, case_dir, REQUEST_TIMEOUT)
    }

    /// The same with another time for plugins' requests.
    pub(super) fn start_with(
        scratch: &Scratch,
        kind: Kind<'_>,
        case_dir: &CaseDir,
        request_timeout: &str,
    ) -> Result<Self, String> {
        let name = match kind {
            Kind::Ours(_) => "nri-sim".to_owned(),
            Kind::Go(built) => format!("goruntime {}", built.version),
        };
        Ok(Self {
            program: Program::start(
                scratch,
                &name,
                &mut kind.command(case_dir, request_timeout)?,
            )?,
        })
    }

    /// Lets it launch plugins and listen.
    pub(super) fn open(&mut self) -> Result<(), String> {
        self.done("version", json!({})).map(drop)
    }

    /// Gives a command; the error is the runtime's own.
    pub(super) fn ask(&mut self, cmd: &str, mut members: Value) -> Result<Answer, String> {
        self.tell(cmd, &mut members)?;
        self.answer()
    }

    /// Gives a command without waiting for its answer.
    pub(super) fn tell(&mut self, cmd: &str, members: &mut Value) -> Result<(), String> {
        members["cmd"] = cmd.into();
        self.program.tell(members)
    }

    /// The answer to the next command that was given.
    pub(super) fn answer(&mut self) -> Result<Answer, String> {
        let answer = self.program.answer(2 * TEST_TIMEOUT)?;
        Ok(if answer["ok"] == true {
            Ok(answer)
        } else {
            Err(answer["error"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// Gives a command that must work.
    pub(super) fn done(&mut self, cmd: &str, members: Value) -> Result<Value, String> {
        self.ask(cmd, members)?
            .map_err(|error| format!("{cmd}: {error}"))
    }

    /// Gives a command that must fail; returns the error.
    pub(super) fn refused(&mut self, cmd: &str, members: Value) -> Result<String, String> {
        match self.ask(cmd, members)? {
            Ok(answer) => Err(format!("{cmd} does not fail: {answer}")),
            Err(error) => Ok(error),
        }
    }

    pub(super) fn wait_for_plugins(&mut self, count: usize) -> Result<(), String> {
        let members = json!({"count": count, "timeout_ms": 60_000});
        self.done("wait-plugins", members).map(drop)
    }

    /// The updates that plugins asked for on their own accord or when they were synchronised, so
    /// far.
    pub(super) fn updates(&mut self) -> Result<Vec<api::ContainerUpdate>, String> {
        updates(&self.done("state", json!({}))?)
    }

    /// Ends it in good order.
    pub(super) fn quit(mut self) -> Result<(), String> {
        self.done("quit", json!({}))?;
        let (_, status) = self.program.finish()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the runtime ended with {status}"))
        }
    }

    /// Kills it.
    pub(super) fn kill(self) -> Result<(), String> {
        self.program.kill()
    }
}

/// A message of an answer.
pub(super) fn message<M: for<'de> serde::Deserialize<'de>>(value: &Value) -> Result<M, String> {
    M::deserialize(value).map_err(|e| format!("{value}: {e}"))
}

/// The updates of an answer, without who asked for them.
pub(super) fn updates(answer: &Value) -> Result<Vec<api::ContainerUpdate>, String> {
    let updates = answer["updates"].as_array().cloned().unwrap_or_default();
    let update = |mut update: Value| {
        if let Some(members) = update.as_object_mut() {
            members.remove("plugin");
            members.remove("plugins");
        }
        message(&update)
    };
    updates.into_iter().map(update).collect()
}
