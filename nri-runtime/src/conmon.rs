//! conmon, which holds a container while we do not run: creates it, writes its log, keeps its exit
//! code.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Interest};
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;
use tokio::time::timeout;

use crate::config::{self, Config};
use crate::descriptor::Descriptor;
use crate::error::{Error, Result};
use crate::files;
use crate::low_level::LowLevel;
use crate::program::last_words;
use crate::record::{Process, now};

/// Longer than it takes to create a container, hooks included, on however busy a machine.
const LIMIT: Duration = Duration::from_secs(240);
/// The most that conmon says of a creation.
const MOST: u64 = 1 << 20;

/// conmon, and the runtime that it is to run.
#[derive(Debug, Clone)]
pub(crate) struct Conmon {
    program: PathBuf,
    low: LowLevel,
    /// Where its sockets are, which may not have long paths.
    sockets: PathBuf,
    /// Where the exit codes are. They are not on the disk that may be full.
    exits: PathBuf,
}

/// A container to create.
#[derive(Debug)]
pub(crate) struct Creation<'a> {
    pub(crate) id: &'a str,
    /// The directory with `config.json`, in which conmon's files are too.
    pub(crate) bundle: &'a Path,
    /// Where its output goes, in CRI's format.
    pub(crate) log: Option<&'a Path>,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
}

/// A container that was created.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Created {
    /// Its first process.
    pub(crate) pid: u32,
    /// Its conmon.
    pub(crate) conmon: Process,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit {
    /// `None` if nobody knows.
    pub(crate) code: Option<i32>,
    /// Nanoseconds since the epoch.
    pub(crate) at: i64,
    /// Whether it used more memory than it may.
    pub(crate) oom: bool,
}

/// What conmon writes once it has created a container, or has not.
#[derive(Debug, Deserialize)]
struct Report {
    pid: i64,
    #[serde(default)]
    message: String,
}

impl Conmon {
    /// conmon, if it is there.
    ///
    /// # Errors
    /// It is not: how to install it.
    pub(crate) fn find(config: &Config, low: LowLevel) -> Result<Self> {
        let sockets = config.run.join("s");
        files::make_dir(&sockets)?;
        let program = config::find(&config.low_level.conmon, "low_level.conmon")?;
        Ok(Self {
            program,
            low,
            sockets,
            exits: config.run.join("exits"),
        })
    }

    /// Creates a container. conmon holds it from then on, whatever becomes of us.
    ///
    /// # Errors
    /// What the low-level runtime says. There may be something left to [delete](LowLevel::delete).
    pub(crate) async fn create(&self, creation: &Creation<'_>) -> Result<Created> {
        let Creation { id, bundle, .. } = *creation;
        let failed =
            |error: std::io::Error| Error::internal(format!("cannot start conmon: {error}"));
        files::make_dir(&self.exits.join(id))?;
        let (report, theirs) = std::io::pipe().map_err(failed)?;
        let report = Receiver::from_owned_fd(OwnedFd::from(report)).map_err(failed)?;
        let mut child = self
            .command(creation, theirs.into())?
            .spawn()
            .map_err(failed)?;
        let mut said = Vec::new();
        let talk = async {
            // It has forked and left us once it is up; its child reports.
            child.wait().await?;
            // It keeps the pipe, so there is no end to read to.
            BufReader::new(report.take(MOST))
                .read_until(b'\n', &mut said)
                .await
        };
        let done = timeout(LIMIT, talk).await;
        done.map_err(|_| Error::deadline(format!("conmon has not created {id} after {LIMIT:?}")))?
            .map_err(failed)?;
        let report: Report = serde_json::from_slice(&said).map_err(|_| {
            Error::internal(format!(
                "conmon has died before it created {id}: {}",
                last_words(&said)
            ))
        })?;
        let pid = u32::try_from(report.pid).ok().filter(|pid| *pid > 0);
        let pid = pid.ok_or_else(|| {
            let name = self.low.program().file_name().unwrap_or_default();
            let why = last_words(report.message.as_bytes());
            Error::internal(format!("{}: {why}", name.to_string_lossy()))
        })?;
        let conmon = read_number(&bundle.join("conmon.pid"))?;
        let conmon = Process {
            pid: conmon,
            started: started(conmon).unwrap_or(0),
        };
        Ok(Created { pid, conmon })
    }

    fn command(&self, creation: &Creation<'_>, report: OwnedFd) -> Result<Command> {
        let Creation {
            id,
            bundle,
            log,
            tty,
            stdin,
            stdin_once,
        } = *creation;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut command = std::process::Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", path)
            .env("_OCI_SYNCPIPE", "3")
            .current_dir(bundle) // where it says that memory ran out
            .args(["--cid", id, "--cuuid", id, "--name", id])
            .arg("--runtime")
            .arg(self.low.program())
            .arg("--runtime-arg")
            .arg(format!("--root={}", self.low.root().display()))
            .args(self.low.driver_options())
            .arg("--bundle")
            .arg(bundle)
            .arg("--container-pidfile")
            .arg(bundle.join("container.pid"))
            .arg("--conmon-pidfile")
            .arg(bundle.join("conmon.pid"))
            .arg("--exit-dir")
            .arg(self.exits.join(id))
            .arg("--socket-dir-path")
            .arg(&self.sockets)
            .arg("--log-path");
        match log {
            Some(log) => {
                let mut to = std::ffi::OsString::from("k8s-file:");
                to.push(log);
                command.arg(to);
            }
            None => {
                command.arg("none");
            }
        }
        if tty {
            command.arg("--terminal");
        }
        if stdin {
            command.arg("--stdin");
            if !stdin_once {
                command.arg("--leave-stdin-open");
            }
        }
        let report = FdMapping {
            parent_fd: report,
            child_fd: 3,
        };
        let mapped = command.fd_mappings(vec![report]);
        mapped.map_err(|error| Error::internal(format!("cannot start conmon: {error}")))?;
        let null = std::process::Stdio::null;
        command.stdin(null()).stdout(null()).stderr(null());
        Ok(Command::from(command))
    }

    /// Connects to what a container says and hears.
    ///
    /// # Errors
    /// Its conmon does not listen.
    pub(crate) fn attach(&self, id: &str) -> Result<Descriptor> {
        use rustix::net::{
            AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
        };
        let path = self.sockets.join(id).join("attach");
        let connected = || {
            let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
            let socket = socket_with(
                kind.0,
                kind.1,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                None,
            )?;
            connect(&socket, &SocketAddrUnix::new(&path)?)?;
            Descriptor::new(socket)
        };
        connected().map_err(|error| Error::file("connect to conmon at", &path, error))
    }

    /// Removes what conmon left outside of the bundle.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn forget(&self, id: &str) -> Result<()> {
        let forgotten = files::remove_dir(&self.sockets.join(id));
        forgotten.and(files::remove_dir(&self.exits.join(id)))
    }

    /// How a container ended whose conmon is gone.
    pub(crate) fn exit(&self, bundle: &Path, id: &str) -> Exit {
        exit(bundle, &self.exits.join(id).join(id))
    }
}

/// Makes sure that a log can be opened: a conmon that cannot do it ends, and its container with it.
///
/// # Errors
/// It cannot: there is a directory in its place, or no room, or no right to write.
pub(crate) fn prepare_log(log: &Path) -> Result<()> {
    if let Some(dir) = log.parent() {
        files::make_dir(dir)?;
    }
    let failed = |error| Error::file("open the log", log, error);
    if log.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    // It is written beside, and then renamed.
    let mut new = log.as_os_str().to_owned();
    new.push(".tmp");
    let mut options = fs::File::options();
    let opened = options.create(true).append(true).open(new);
    opened.map(drop).map_err(failed)
}

/// Has the log of a container written to a new file, after the old one was renamed.
///
/// # Errors
/// Its conmon does not listen.
pub(crate) async fn reopen_log(bundle: &Path) -> Result<()> {
    tell(bundle, "2 0 0\n").await
}

/// Tells a container that its terminal has another size.
///
/// # Errors
/// Its conmon does not listen.
pub(crate) async fn resize(bundle: &Path, height: u16, width: u16) -> Result<()> {
    tell(bundle, &format!("1 {height} {width}\n")).await
}

async fn tell(bundle: &Path, line: &str) -> Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let path = bundle.join("ctl");
    let failed = |error| Error::file("tell conmon by", &path, error);
    let mut options = tokio::net::unix::pipe::OpenOptions::new();
    // Also readable, so that one whose conmon is gone is no error that depends on luck.
    let mut fifo = options
        .read_write(true)
        .open_sender(&path)
        .map_err(failed)?;
    fifo.write_all(line.as_bytes()).await.map_err(failed)
}

/// Whether a conmon writes to the file that has this path now. It does not if that was renamed or
/// removed.
pub(crate) fn writes_to(conmon: Process, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(wanted) = fs::metadata(path) else {
        return false;
    };
    let open = fs::read_dir(format!("/proc/{}/fd", conmon.pid));
    let mut open = open.into_iter().flatten().flatten();
    open.any(|entry| {
        let is = fs::metadata(entry.path());
        is.is_ok_and(|is| (is.dev(), is.ino()) == (wanted.dev(), wanted.ino()))
    })
}

/// Waits until a process is gone; one that was never there is.
pub(crate) async fn gone(process: Process) {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::NONBLOCK) else {
        return;
    };
    // Looked at after we have hold of it, so that it is this one that we wait for.
    if !runs(process) {
        return;
    }
    let gone = async { Descriptor::with(fd, Interest::READABLE)?.readable().await };
    if let Err(error) = gone.await {
        tracing::warn!(pid = process.pid, %error, "cannot wait for a process");
    }
}

/// Whether a process is there.
pub(crate) fn runs(process: Process) -> bool {
    started(process.pid) == Some(process.started)
}

/// How a container ended, by what conmon left.
fn exit(bundle: &Path, path: &Path) -> Exit {
    let code = files::read(path, 32).ok().flatten();
    let code = code.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    let modified = modified
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let at = modified.and_then(|at| i64::try_from(at.as_nanos()).ok());
    Exit {
        code,
        at: at.unwrap_or_else(now),
        oom: bundle.join("oom").exists(),
    }
}

fn read_number(path: &Path) -> Result<u32> {
    let text = files::read(path, 32)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let number = text.trim().parse();
    number.map_err(|_| Error::file("read a process id from", path, format!("it says {text:?}")))
}

/// When a process was started, in clock ticks since the machine was; `None` if it is not there or
/// has ended.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have anything in it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[tokio::test]
    async fn a_process_is_waited_for_and_another_one_is_not() {
        let mut child = Command::new("sleep").arg("100000").spawn().unwrap();
        let process = Process {
            pid: child.id(),
            started: started(child.id()).unwrap(),
        };
        // One with its number that was started at another time is gone.
        gone(Process {
            started: process.started + 1,
            ..process
        })
        .await;
        gone(Process { pid: 0, started: 0 }).await;
        let waiting = tokio::spawn(gone(process));
        child.kill().unwrap();
        waiting.await.unwrap();
        child.wait().unwrap();
        gone(process).await;
        assert_eq!(started(process.pid), None);
    }

    #[test]
    fn an_exit_is_what_conmon_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let unknown = exit(dir.path(), &path);
        assert_eq!((unknown.code, unknown.oom), (None, false));
        fs::write(&path, "137").unwrap();
        fs::write(dir.path().join("oom"), "").unwrap();
        let exit = exit(dir.path(), &path);
        assert_eq!((exit.code, exit.oom), (Some(137), true));
        assert!(exit.at > 1_600_000_000_000_000_000);
    }

    #[test]
    fn a_log_that_was_renamed_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let own = Process {
            pid: std::process::id(),
            started: 0,
        };
        assert!(!writes_to(own, &path));
        let _file = fs::File::create(&path).unwrap();
        assert!(writes_to(own, &path));
        fs::rename(&path, dir.path().join("old")).unwrap();
        assert!(!writes_to(own, &path));
        fs::write(&path, "somebody else's").unwrap();
        assert!(!writes_to(own, &path));
    }

    #[tokio::test]
    async fn a_log_is_reopened_by_a_line_in_the_fifo() {
        let dir = tempfile::tempdir().unwrap();
        let error = reopen_log(dir.path()).await.unwrap_err().to_string();
        assert!(error.contains("ctl"), "{error}");
        let made = Command::new("mkfifo").arg(dir.path().join("ctl")).status();
        assert!(made.unwrap().success());
        let path = dir.path().join("ctl");
        let mut options = tokio::net::unix::pipe::OpenOptions::new();
        let mut conmon = options.read_write(true).open_receiver(&path).unwrap();
        reopen_log(dir.path()).await.unwrap();
        let mut line = [0; 6];
        conmon.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"2 0 0\n");
    }
}
