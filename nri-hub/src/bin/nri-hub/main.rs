//! The program nri-hub: the hub itself, its status in a terminal, and what a policy would do.
#![forbid(unsafe_code)]

mod arguments;
mod log;
mod policy;
mod serve;
mod supervision;
mod watch;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use nri_hub::{DEFAULT_CONFIG_FILE, DEFAULT_CONTROL_SOCKET, HubConfig, ask_status};

use self::arguments::{Arguments, Command, ConfigCommand, PolicyCommand};

/// Why the program ends with something else than success.
#[derive(Debug)]
pub(crate) struct Failure {
    /// 1: something went wrong; 2: what the operator gave is wrong; 3: the answer is no.
    pub(crate) code: u8,
    /// What to say of it.
    pub(crate) reason: String,
}

/// Prints to a reader that may have gone: that is said, and nothing else happens.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    Ok(output.flush()?)
}

impl Failure {
    pub(crate) fn wrong(reason: impl ToString) -> Self {
        Self {
            code: 2,
            reason: reason.to_string(),
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            code: 1,
            reason: error.to_string(),
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("nri-hub: {}", failure.reason);
            failure.code.into()
        }
    }
}

/// The file that a command is about: the one that it was given, or that of `--config`.
fn one_file(given: Option<PathBuf>, config: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    match (given, config) {
        (Some(_), Some(_)) => Err(Failure::wrong(
            "there is a file, and another one behind --config: give one of them",
        )),
        (given, config) => Ok(given.or(config)),
    }
}

/// The configuration that there is: the one that was given, or the usual one.
pub(crate) fn config_file(given: Option<PathBuf>) -> Option<PathBuf> {
    let usual = Path::new(DEFAULT_CONFIG_FILE);
    given.or_else(|| usual.exists().then(|| usual.to_owned()))
}

/// Where a running hub is asked.
fn control_socket(given: Option<PathBuf>, config: Option<PathBuf>) -> Result<PathBuf, Failure> {
    match (given, config_file(config)) {
        (Some(socket), _) => Ok(socket),
        (None, Some(file)) => {
            let config = HubConfig::read(&file).map_err(Failure::wrong)?;
            Ok(config.hub.control_socket)
        }
        (None, None) => Ok(DEFAULT_CONTROL_SOCKET.into()),
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let run = Command::Run {
        take_over: false,
        stay: false,
    };
    let command = arguments.command.unwrap_or(run);
    match command {
        Command::Run { take_over, stay } => {
            let logged = log::begin(&arguments.logs)?;
            // What a request passes is on one thread: to hand it to another one takes longer than
            // all that is done about it. What a plugin can have done there is bounded by what it
            // may send, and by how much of what exists is shown to it at once. What may take its
            // time beside requests is on a thread of its own.
            let aside = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let handle = aside.handle().clone();
            let served = runtime.block_on(serve::serve(arguments.config, handle, take_over, stay));
            // A file that is still being read is nothing to wait for.
            aside.shutdown_background();
            logged.finish();
            served
        }
        Command::Status {
            socket,
            json,
            ready,
            watch,
        } => {
            let socket = control_socket(socket, arguments.config)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                if watch {
                    return watch::watch(&socket).await;
                }
                let status = ask_status(&socket).await?;
                if ready {
                    return match status.not_ready.is_empty() {
                        true => Ok(()),
                        false => Err(Failure {
                            code: 3,
                            reason: status.not_ready.join("; "),
                        }),
                    };
                }
                match json {
                    true => print(&(serde_json::to_string_pretty(&status)? + "\n")),
                    false => print(&status.to_string()),
                }
            })
        }
        Command::Policy(PolicyCommand::Check(check)) => {
            let file = one_file(check.file.clone(), arguments.config)?;
            let file = file.ok_or_else(|| Failure::wrong("give a file with a policy"))?;
            let (text, denied) = policy::check(&file, &check)?;
            print(&text)?;
            match denied {
                true => Err(Failure {
                    code: 3,
                    reason: "the policy denies it".to_owned(),
                }),
                false => Ok(()),
            }
        }
        Command::Config(ConfigCommand::Check { file }) => {
            let file = one_file(file, arguments.config)?;
            let file = file.unwrap_or_else(|| DEFAULT_CONFIG_FILE.into());
            HubConfig::read(&file).map_err(Failure::wrong)?;
            print(&format!("{}: nothing is wrong with it\n", file.display()))
        }
        Command::Config(ConfigCommand::Default) => print(HubConfig::default_toml()),
    }
}
