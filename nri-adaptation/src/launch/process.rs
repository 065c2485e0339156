//! Processes of pre-installed plugins: launched over a socketpair with a clean environment, their
//! output in the log, and ended in steps, with the processes that they have begun.
//!
//! Each launched process leads a process group of its own, which is what is ended. What has left
//! the group (`setsid`, `setpgid`) is not ours to end: a service manager that gives the runtime a
//! control group is the one to do that.
//!
//! A process is waited for by its pidfd only. A number can be given to another process once a host
//! that reaps all its children has reaped ours; the descriptor cannot. The number of a group is
//! used while its leader is not reaped, or else while no process has that number: the kernel gives
//! no new process the number of a group that has members.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use nri_core::PluginId;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, getpgid,
    kill_process_group, pidfd_open, pidfd_send_signal, test_kill_process, test_kill_process_group,
    waitid, waitpgid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::launch::discovery::Installed;
use crate::launch::output::Output;
use crate::launch::program::Program;
use crate::text::printable_path;
use crate::way::Trust;

/// The descriptor under which a launched plugin finds its connection.
const SOCKET_FD: i32 = 3;
/// How long a process may take to end when it is asked to, and when it is made to.
const END_TIME: Duration = Duration::from_secs(1);
/// How soon to look again at what cannot be waited for.
const REAP_POLL: Duration = Duration::from_millis(10);

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

/// The process of a launched plugin, and the group that it leads. Dropping it kills them.
#[derive(Debug)]
pub(crate) struct Process {
    plugin: PluginId,
    /// Its number, and its group's.
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    end: Option<End>,
    /// Whether it may have been reaped, so that its number may be another one's.
    reaped: bool,
    output: Vec<JoinHandle<()>>,
}

/// Launches a plugin: its end of the connection is descriptor 3, and the environment is exactly
/// what the protocol says. What is executed is judged here, at every launch, and executed by the
/// descriptor that was judged.
///
/// # Errors
/// It cannot be executed, or others could have changed it: one line that names the file.
pub(crate) fn launch(installed: &Installed) -> Result<(Process, UnixStream), String> {
    let path = printable_path(&installed.path);
    let program = Program::find(&installed.path, Trust::here())
        .map_err(|reason| format!("{path}: {reason}"))?;
    run(installed, &program).map_err(|error| format!("{path} cannot be launched: {error}"))
}

fn run(installed: &Installed, program: &Program) -> io::Result<(Process, UnixStream)> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;
    let plugin = &installed.plugin;
    let mut command = Command::new(program.path());
    if let [name, arguments @ ..] = &program.arguments[..] {
        command.arg0(name).args(arguments);
    }
    command
        .process_group(0)
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
    let gone = || io::Error::other("its process was gone at once, and reaped by someone else");
    let pid = Pid::from_raw(child.id() as i32).ok_or_else(gone)?;
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Err(gone()),
        Err(error) => {
            // Ours still, since nobody can have reaped what runs; if it does not, the two calls do
            // nothing.
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
        reaped: false,
        output: Vec::new(),
    };
    let output = Output::of(plugin.clone());
    if let Some(stdout) = child.stdout.take() {
        process.log("stdout", &output, stdout.into())?;
    }
    if let Some(stderr) = child.stderr.take() {
        process.log("stderr", &output, stderr.into())?;
    }
    tracing::info!(%plugin, path = %printable_path(&installed.path), pid = process.pid(), "launched a plugin");
    Ok((process, ours))
}

impl Process {
    /// Logs what comes out of a pipe.
    fn log(&mut self, stream: &'static str, output: &Output, pipe: OwnedFd) -> io::Result<()> {
        let pipe = pipe::Receiver::from_owned_fd(pipe)?;
        self.output
            .push(tokio::spawn(output.clone().log(stream, pipe)));
        Ok(())
    }

    /// Its number, as it was launched.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Whether it has ended, and how. It is not reaped, unless that is asked for.
    fn try_reap(&mut self, how: WaitIdOptions) -> Option<End> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | how;
        match waitid(WaitId::PidFd(self.pidfd.get_ref().as_fd()), options) {
            Ok(None) => {}
            Ok(Some(status)) => {
                self.end = Some(status.into());
                self.reaped |= !how.contains(WaitIdOptions::NOWAIT);
            }
            // Someone else has reaped it, which is as good.
            Err(_) => {
                self.end.get_or_insert(End::Unknown);
                self.reaped = true;
            }
        }
        self.end
    }

    /// Waits until it has ended. It is reaped by [`end`](Self::end): until then its number stays
    /// its own.
    pub(crate) async fn ended(&mut self) -> End {
        loop {
            if let Some(end) = self.try_reap(WaitIdOptions::NOWAIT) {
                return end;
            }
            // Readable once it has ended, and from then on.
            if self.pidfd.readable().await.is_err()
                || self.try_reap(WaitIdOptions::NOWAIT).is_none()
            {
                sleep(REAP_POLL).await;
            }
        }
    }

    /// Whether the group's number still is the group's own, and somebody is in it.
    fn group_is_there(&mut self) -> bool {
        // Whoever reaped it, this knows.
        self.try_reap(WaitIdOptions::NOWAIT);
        let taken = self.reaped && test_kill_process(self.pid) != Err(Errno::SRCH);
        !taken && test_kill_process_group(self.pid) != Err(Errno::SRCH)
    }

    /// Signals the process and all that is in its group.
    fn signal(&mut self, signal: Signal) {
        // It fails when there is nobody, which is what is wanted.
        let heard = self.group_is_there()
            && kill_process_group(self.pid, signal).is_ok()
            && getpgid(Some(self.pid)) == Ok(self.pid);
        // It may have gone into another group.
        if self.end.is_none() && !heard {
            let _ = pidfd_send_signal(self.pidfd.get_ref(), signal);
        }
    }

    /// Ends it and its group: they are asked to first, then made to.
    pub(crate) async fn end(mut self) -> End {
        let plugin = self.plugin.clone();
        // It may be about to end since its connection is closed.
        self.signal(Signal::TERM);
        let asked = Instant::now();
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
        tracing::info!(%plugin, pid = self.pid(), "{end}");
        self.try_reap(WaitIdOptions::empty());
        self.end_group(asked).await;
        // What they have written is there; what somebody outside the group still writes is not
        // waited for.
        for output in self.output.drain(..) {
            let abort = output.abort_handle();
            if timeout(END_TIME, output).await.is_err() {
                abort.abort();
            }
        }
        end
    }

    /// Waits until nobody is left of the group, which was `asked` to end; who does not is killed.
    async fn end_group(&mut self, asked: Instant) {
        let mut killed = None;
        loop {
            if !self.group_is_there() {
                return;
            }
            // Those that became our own children when their parent ended, where we adopt such.
            if let Ok(Some(_)) = waitpgid(self.pid, WaitOptions::NOHANG) {
                continue;
            }
            match killed {
                None if asked.elapsed() >= END_TIME => {
                    tracing::warn!(plugin = %self.plugin, "killing what the plugin has left running");
                    self.signal(Signal::KILL);
                    killed = Some(Instant::now());
                }
                Some(killed) if killed.elapsed() >= END_TIME => {
                    tracing::error!(plugin = %self.plugin, "what the plugin has left running cannot be killed");
                    return;
                }
                _ => sleep(REAP_POLL).await,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // If it is not gone yet, it stays unreaped until this process ends: there is nobody left to
        // wait.
        self.try_reap(WaitIdOptions::empty());
        for output in &self.output {
            output.abort();
        }
    }
}
