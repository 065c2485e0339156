//! Processes of pre-installed plugins: launched over a socketpair with a clean environment, their output in the log, and
//! ended in steps.
//!
//! A process is waited for and signalled by its pidfd only. A number can be given to another process once a host that reaps
//! all its children has reaped ours; the descriptor cannot.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use nri_core::PluginId;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal,
    waitid,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::discovery::Installed;
use crate::text::sanitized;

/// The descriptor under which a launched plugin finds its connection.
const SOCKET_FD: i32 = 3;
/// How long a process may take to end when it is asked to, and when it is made to.
const END_TIME: Duration = Duration::from_secs(1);
/// The longest line of output that is logged whole, in bytes.
const LONGEST_LINE: usize = 1024;
/// How soon to look again at a process that has ended and cannot be reaped yet.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// Someone else in this process has reaped it, and knows.
    Unknown,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "its process exited with status {status}"),
            Self::Killed(signal) => write!(f, "its process was ended by signal {signal}"),
            Self::Unknown => f.write_str("its process has ended"),
        }
    }
}

impl From<WaitIdStatus> for End {
    fn from(status: WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => Self::Exited(status),
            (None, Some(signal)) => Self::Killed(signal),
            (None, None) => Self::Unknown,
        }
    }
}

/// The process of a launched plugin. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    plugin: PluginId,
    pid: i32,
    pidfd: AsyncFd<OwnedFd>,
    end: Option<End>,
    output: Vec<JoinHandle<()>>,
}

/// Launches a plugin: its end of the connection is descriptor 3, and the environment is exactly what the protocol says.
pub(crate) fn launch(installed: &Installed) -> io::Result<(Process, UnixStream)> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;
    let plugin = &installed.plugin;
    let mut command = Command::new(&installed.path);
    command
        .env_clear()
        .env("NRI_PLUGIN_NAME", plugin.name().as_str())
        .env("NRI_PLUGIN_IDX", plugin.index().to_string())
        .env("NRI_PLUGIN_SOCKET", SOCKET_FD.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .fd_mappings(vec![FdMapping {
            parent_fd: theirs.into(),
            child_fd: SOCKET_FD,
        }])
        .map_err(io::Error::other)?;
    let mut child = command.spawn()?;
    // The command holds the plugin's end of the connection; the plugin's death must close it.
    drop(command);
    let pid = child.id().cast_signed();
    let pidfd = match Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        Some(Ok(pidfd)) => pidfd,
        Some(Err(Errno::SRCH)) | None => {
            return Err(io::Error::other(
                "its process was gone at once, and reaped by someone else",
            ));
        }
        Some(Err(error)) => {
            // Ours still, since nobody can have reaped what runs; if it does not, the two calls do nothing.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error.into());
        }
    };
    #[allow(
        deprecated,
        reason = "sound for a descriptor that is owned, and what replaces it is unsafe to call"
    )]
    let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
    let mut process = Process {
        plugin: plugin.clone(),
        pid,
        pidfd,
        end: None,
        output: Vec::new(),
    };
    if let Some(stdout) = child.stdout.take() {
        process.log("stdout", stdout.into())?;
    }
    if let Some(stderr) = child.stderr.take() {
        process.log("stderr", stderr.into())?;
    }
    tracing::info!(%plugin, path = %installed.path.display(), pid, "launched a plugin");
    Ok((process, ours))
}

impl Process {
    /// Logs what comes out of a pipe.
    fn log(&mut self, stream: &'static str, output: OwnedFd) -> io::Result<()> {
        let output = pipe::Receiver::from_owned_fd(output)?;
        let task = tokio::spawn(log_lines(self.plugin.clone(), stream, output));
        self.output.push(task);
        Ok(())
    }

    /// Its number, as it was launched.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// How it has ended, if it has; it is reaped then.
    fn look(&mut self) -> Option<End> {
        if self.end.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            self.end = match waitid(WaitId::PidFd(self.pidfd.get_ref().as_fd()), options) {
                Ok(None) => None,
                Ok(Some(status)) => Some(status.into()),
                // Someone else has reaped it, which is as good.
                Err(_) => Some(End::Unknown),
            };
        }
        self.end
    }

    /// Waits until it has ended, and reaps it.
    pub(crate) async fn ended(&mut self) -> End {
        loop {
            if let Some(end) = self.look() {
                return end;
            }
            // Readable once it has ended, and from then on.
            if self.pidfd.readable().await.is_err() || self.look().is_none() {
                sleep(LOOK_AGAIN).await;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if self.end.is_none() {
            // It fails when the process has ended, which is what is wanted.
            let _ = pidfd_send_signal(self.pidfd.get_ref(), signal);
        }
    }

    /// Ends it: it is asked to first, then made to.
    pub(crate) async fn end(mut self) -> End {
        let plugin = self.plugin.clone();
        // It may be about to end since its connection is closed.
        self.signal(Signal::TERM);
        let mut end = timeout(END_TIME, self.ended()).await;
        if end.is_err() {
            tracing::warn!(%plugin, after = ?END_TIME, "the plugin's process did not end when asked to; killing it");
            self.signal(Signal::KILL);
            end = timeout(END_TIME, self.ended()).await;
        }
        let end = end.unwrap_or_else(|_| {
            tracing::error!(%plugin, "the plugin's process cannot be killed");
            End::Unknown
        });
        tracing::info!(%plugin, pid = self.pid, "{end}");
        // What it has written is there; what its own children still write is not waited for.
        for output in self.output.drain(..) {
            let abort = output.abort_handle();
            if timeout(END_TIME, output).await.is_err() {
                abort.abort();
            }
        }
        end
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // If it is not gone yet, it stays unreaped until this process ends: there is nobody left to wait.
        let _ = self.look();
        for output in &self.output {
            output.abort();
        }
    }
}

/// Logs what a plugin writes, line by line; a line that is too long in pieces.
async fn log_lines(plugin: PluginId, stream: &'static str, output: impl AsyncRead + Unpin) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while let Ok(byte) = output.read_u8().await {
        if byte != b'\n' {
            line.push(byte);
        }
        if byte == b'\n' || line.len() >= LONGEST_LINE {
            log(&plugin, stream, &line);
            line.clear();
        }
    }
    log(&plugin, stream, &line);
}

fn log(plugin: &PluginId, stream: &str, line: &[u8]) {
    if !line.is_empty() {
        let line = sanitized(&String::from_utf8_lossy(line));
        tracing::info!(target: "nri_plugin_output", %plugin, stream, "{line}");
    }
}
