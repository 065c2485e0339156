//! Processes of pre-installed plugins: launched over a socketpair with a clean environment, their output in the log, and
//! ended in steps.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::Stdio;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use nri_core::PluginId;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::discovery::Installed;
use crate::text::sanitized;

/// The descriptor under which a launched plugin finds its connection.
const SOCKET_FD: i32 = 3;
/// How long a process may take to end when it is asked to, and when it is made to.
const END_TIME: Duration = Duration::from_secs(1);
/// The longest line of output that is logged whole, in bytes.
const LONGEST_LINE: usize = 1024;

/// The process of a launched plugin. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    plugin: PluginId,
    child: Child,
    /// Names the process as long as it is ours, whatever becomes of its number.
    pidfd: Option<OwnedFd>,
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
        .kill_on_drop(true)
        .fd_mappings(vec![FdMapping {
            parent_fd: theirs.into(),
            child_fd: SOCKET_FD,
        }])
        .map_err(io::Error::other)?;
    let mut child = command.spawn()?;
    // The command holds the plugin's end of the connection; the plugin's death must close it.
    drop(command);
    let pidfd = child
        .id()
        .and_then(|pid| Pid::from_raw(pid.cast_signed()))
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        output.push(tokio::spawn(log_lines(plugin.clone(), "stdout", stdout)));
    }
    if let Some(stderr) = child.stderr.take() {
        output.push(tokio::spawn(log_lines(plugin.clone(), "stderr", stderr)));
    }
    tracing::info!(%plugin, path = %installed.path.display(), pid = child.id(), "launched a plugin");
    Ok((
        Process {
            plugin: plugin.clone(),
            child,
            pidfd,
            output,
        },
        ours,
    ))
}

impl Process {
    /// Its number, while it has one.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.child.id().map(u32::cast_signed)
    }

    /// Waits until it has ended, and reaps it.
    pub(crate) async fn ended(&mut self) {
        let plugin = &self.plugin;
        match self.child.wait().await {
            Ok(status) if status.success() => {
                tracing::info!(%plugin, "the plugin's process has ended")
            }
            Ok(status) => tracing::warn!(%plugin, %status, "the plugin's process has ended"),
            // Someone else has reaped it, which is as good.
            Err(error) => tracing::debug!(%plugin, %error, "the plugin's process is gone"),
        }
    }

    /// Ends it: it is asked to first, then made to.
    pub(crate) async fn end(mut self) {
        let plugin = self.plugin.clone();
        // It may be about to end since its connection is closed.
        if let Some(pidfd) = &self.pidfd {
            // It fails when the process has ended, which is what is wanted.
            let _ = pidfd_send_signal(pidfd, Signal::TERM);
        }
        if timeout(END_TIME, self.ended()).await.is_err() {
            tracing::warn!(%plugin, after = ?END_TIME, "the plugin's process did not end when asked to; killing it");
            // It fails when the process has ended, which is what is wanted.
            let _ = self.child.start_kill();
            if timeout(END_TIME, self.ended()).await.is_err() {
                tracing::error!(%plugin, "the plugin's process cannot be killed");
            }
        }
        // What it has written is there; what its own children still write is not waited for.
        for output in self.output.drain(..) {
            let abort = output.abort_handle();
            if timeout(END_TIME, output).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
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
