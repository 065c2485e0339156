//! The process of a plugin that is tested. What may not enter: its connection.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ExitStatus, Stdio};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// The descriptor under which a launched plugin finds its connection.
const SOCKET_FD: i32 = 3;
/// How much of a plugin's output a finding shows, in bytes.
const SHOWN: u64 = 1000;
/// The exit code of a Rust program that has panicked, and the first one with which a shell reports
/// a signal.
const PANICKED: i32 = 101;
const SIGNALLED: i32 = 128;
/// What programs print that did not mean to end.
const LAST_WORDS: &[&str] = &[
    "panicked at",
    "panic: ",
    "fatal error: ",
    "Traceback (most recent call last)",
];

/// A process that is started here, with all that it starts.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Its group; gone when it is killed.
    group: Option<Pid>,
    /// What it prints.
    output: File,
}

/// What a runtime gives a plugin that it launches.
#[derive(Debug)]
pub(crate) struct Launched<'a> {
    pub(crate) index: &'a str,
    pub(crate) name: &'a str,
    /// The plugin's end of the connection.
    pub(crate) socket: OwnedFd,
}

/// How a process has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    status: ExitStatus,
    printed: String,
}

impl Ended {
    /// Whether that was no end as a program decides on it.
    pub(crate) fn is_crash(&self) -> bool {
        let code = self.status.code();
        self.status.signal().is_some()
            || code.is_some_and(|code| code == PANICKED || code > SIGNALLED)
            || LAST_WORDS.iter().any(|words| self.printed.contains(words))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.status, self.printed)
    }
}

impl Process {
    /// Starts a command of a shell; as a runtime launches a plugin, if that is who it is.
    pub(crate) fn start(command: &str, launched: Option<Launched<'_>>) -> Result<Self, String> {
        let broken = |error: std::io::Error| format!("{command:?} cannot be started: {error}");
        let output = tempfile::tempfile().map_err(broken)?;
        let (prints, errors) = (output.try_clone(), output.try_clone());
        let mut shell = std::process::Command::new("/bin/sh");
        shell
            .args(["-c", command])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(prints.map_err(broken)?)
            .stderr(errors.map_err(broken)?);
        for variable in ["NRI_PLUGIN_NAME", "NRI_PLUGIN_IDX", "NRI_PLUGIN_SOCKET"] {
            shell.env_remove(variable);
        }
        if let Some(Launched {
            index,
            name,
            socket: theirs,
        }) = launched
        {
            shell
                .env("NRI_PLUGIN_NAME", name)
                .env("NRI_PLUGIN_IDX", index)
                .env("NRI_PLUGIN_SOCKET", SOCKET_FD.to_string())
                .fd_mappings(vec![FdMapping {
                    parent_fd: theirs,
                    child_fd: SOCKET_FD,
                }])
                .map_err(|error| format!("{command:?} cannot be started: {error}"))?;
        }
        let child = Command::from(shell)
            .kill_on_drop(true)
            .spawn()
            .map_err(broken)?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok().and_then(Pid::from_raw));
        Ok(Self {
            child,
            group,
            output,
        })
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> Ended {
        let status = self.child.wait().await;
        Ended {
            // It cannot be waited for twice, but the first answer is kept.
            status: status.unwrap_or_default(),
            printed: self.tail(),
        }
    }

    /// How it has ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<Ended> {
        let status = self.child.try_wait().ok()??;
        let printed = self.tail();
        Some(Ended { status, printed })
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        if let Some(group) = self.group {
            // It fails if it has ended.
            let _ = kill_process_group(group, Signal::TERM);
        }
    }

    /// The end of what it has printed.
    pub(crate) fn tail(&self) -> String {
        let read = || {
            // A descriptor of its own would share the place at which the process writes.
            let path = format!(
                "/proc/self/fd/{}",
                std::os::fd::AsRawFd::as_raw_fd(&self.output)
            );
            let mut file = File::open(path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(SHOWN)))?;
            let mut tail = Vec::new();
            file.take(SHOWN).read_to_end(&mut tail)?;
            std::io::Result::Ok(tail)
        };
        match read() {
            Err(error) => format!("what it printed cannot be read: {error}"),
            Ok(bytes) => match String::from_utf8_lossy(&bytes)
                .trim_matches('\u{fffd}')
                .trim()
            {
                "" => "it printed nothing".to_owned(),
                text => format!("it printed: {text}"),
            },
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(group) = self.group.take() {
            // It fails if there is none left, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
