//! What an exec or attach is connected to: a command that is run in a container, or the container's
//! own process, which its conmon has.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::Interest;
use tokio::process::Command;
use tokio::sync::watch;

use super::channels::{self, Channels, Size, Wanted};
use super::spdy::{Output, Session};
use crate::conmon;
use crate::cri;
use crate::descriptor::Descriptor;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::files;
use crate::low_level::kill_exec;
use crate::record::Container;

/// The most that conmon takes at once.
const MOST_AT_ONCE: usize = 8 << 10;
/// What conmon puts in front of what a container says to standard error; it is 2 for all else.
const STDERR: u8 = 3;

/// Runs a command in a container, connected to the client. It is killed if the client leaves.
///
/// # Errors
/// The client does not open its streams. What happens to the command is told to the client.
pub(super) async fn exec(
    engine: &Engine,
    mut session: Session,
    request: &cri::ExecRequest,
) -> Result<()> {
    let wanted = Wanted {
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        tty: request.tty,
    };
    let mut channels = Channels::open(&mut session, wanted).await?;
    let ended = run(engine, &mut session, &mut channels, request, wanted).await;
    channels.finish(&ended).await;
    session.close().await;
    ended.map(drop)
}

/// Connects the client to what a container says and hears, until that has ended or the client
/// leaves.
///
/// # Errors
/// The client does not open its streams. What happens to the container is told to the client.
pub(super) async fn attach(
    engine: &Engine,
    mut session: Session,
    request: &cri::AttachRequest,
) -> Result<()> {
    let wanted = Wanted {
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        tty: request.tty,
    };
    let mut channels = Channels::open(&mut session, wanted).await?;
    let ended = converse(engine, &mut session, &mut channels, &request.container_id).await;
    channels.finish(&ended.clone().map(|()| None)).await;
    session.close().await;
    ended
}

/// Waits until the client has left.
async fn left(session: &mut Session) {
    while session.accept().await.is_some() {}
}

async fn converse(
    engine: &Engine,
    session: &mut Session,
    channels: &mut Channels,
    id: &str,
) -> Result<()> {
    let id = engine.running(id)?.id;
    let socket = engine.conmon.attach(&id)?;
    let dir = engine.store.dir::<Container>(&id);
    let (stdout, stderr) = (&channels.stdout, &channels.stderr);
    let outputs = async {
        let mut packet = vec![0; 64 << 10];
        let failed = |error| Error::internal(format!("what container {id} says: {error}"));
        loop {
            let length = socket.read(&mut packet).await.map_err(failed)?;
            let (to, said) = match packet[..length].split_first() {
                None => return Ok(()),
                Some((&STDERR, said)) => (stderr, said),
                Some((_, said)) => (stdout, said),
            };
            if let Some(to) = to {
                to.write(said).await?;
            }
        }
    };
    let (stdin, sizes) = (channels.stdin.take(), &mut channels.sizes);
    let input = async {
        if let Some(from) = stdin {
            channels::feed(from, &socket, MOST_AT_ONCE).await;
            // Whether the container sees an end is up to its conmon. One that is gone needs none.
            let _ = shutdown(socket.fd(), Shutdown::Write);
        }
        pending::<()>().await;
    };
    let resizes = async {
        loop {
            let Size { width, height } = sizes.next().await;
            if let Err(error) = conmon::resize(&dir, height, width).await {
                tracing::debug!(container = id, %error, "a terminal keeps its size");
            }
        }
    };
    tokio::select! {
        biased;
        done = outputs => done,
        () = left(session) => Ok(()),
        () = input => Ok(()),
        () = resizes => Ok(()),
    }
}

/// The ends of a command's input and outputs that are ours; those of a terminal are one.
#[derive(Default)]
struct Ends {
    stdin: Option<Arc<Descriptor>>,
    stdout: Option<Arc<Descriptor>>,
    stderr: Option<Arc<Descriptor>>,
    terminal: Option<Arc<Descriptor>>,
}

/// Gives a command, which is to be run in a container, what it reads and writes.
fn connect(command: &mut Command, wanted: Wanted) -> io::Result<Ends> {
    let mut ends = Ends::default();
    if wanted.tty {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        unlockpt(&ours)?;
        let theirs = || ioctl_tiocgptpeer(&ours, flags).map(Stdio::from);
        command.stdin(theirs()?).stdout(theirs()?).stderr(theirs()?);
        let terminal = Some(Arc::new(Descriptor::new(ours)?));
        ends.stdin = terminal.clone().filter(|_| wanted.stdin);
        ends.stdout = terminal.clone().filter(|_| wanted.stdout);
        ends.terminal = terminal;
        return Ok(ends);
    }
    let ours = |fd: OwnedFd, interest| Descriptor::with(fd, interest).map(|fd| Some(Arc::new(fd)));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if wanted.stdin {
        let (reader, writer) = io::pipe()?;
        command.stdin(reader);
        ends.stdin = ours(writer.into(), Interest::WRITABLE)?;
    }
    if wanted.stdout {
        let (reader, writer) = io::pipe()?;
        command.stdout(writer);
        ends.stdout = ours(reader.into(), Interest::READABLE)?;
    }
    if wanted.stderr {
        let (reader, writer) = io::pipe()?;
        command.stderr(writer);
        ends.stderr = ours(reader.into(), Interest::READABLE)?;
    }
    Ok(ends)
}

/// Runs a command in a container; how it ended.
async fn run(
    engine: &Engine,
    session: &mut Session,
    channels: &mut Channels,
    request: &cri::ExecRequest,
    wanted: Wanted,
) -> Result<Option<ExitStatus>> {
    let failed = |error| Error::internal(format!("a command cannot be run: {error}"));
    let id = engine.running(&request.container_id)?.id;
    let pid_file = engine.exec_pid_file()?;
    let mut command = engine
        .low
        .exec_command(&id, &request.cmd, wanted.tty, &pid_file);
    let ends = connect(&mut command, wanted).map_err(failed)?;
    let mut child = command.spawn().map_err(failed)?;
    // It has the ends that are not ours, and what is said ends only once nobody has them.
    drop(command);
    let pid = child.id();

    let (over, is_over) = watch::channel(false);
    let (stdout, stderr) = (&channels.stdout, &channels.stderr);
    let ended = async {
        let waited = async {
            let status = child.wait().await;
            over.send_replace(true);
            status
        };
        let outputs = (
            said(ends.stdout, stdout, &is_over),
            said(ends.stderr, stderr, &is_over),
        );
        let (status, stdout, stderr) = tokio::join!(waited, outputs.0, outputs.1);
        stdout.and(stderr)?;
        status.map(Some).map_err(failed)
    };
    let (stdin, sizes) = (channels.stdin.take(), &mut channels.sizes);
    let input = async {
        if let (Some(from), Some(to)) = (stdin, ends.stdin) {
            channels::feed(from, &to, MOST_AT_ONCE).await;
        }
        // A pipe is closed here, and the command sees the end.
        pending::<()>().await;
    };
    let resizes = async {
        loop {
            let size = sizes.next().await;
            if let (Some(terminal), Some(pid)) = (&ends.terminal, pid) {
                resize(terminal, pid, size);
            }
        }
    };
    let served = async {
        tokio::select! {
            () = left(session) => {}
            () = input => {}
            () = resizes => {}
        }
    };
    let mut ended = pin!(ended);
    let done = tokio::select! {
        biased;
        done = &mut ended => done,
        () = served => {
            kill_exec(&pid_file, ended).await;
            let why = "the client has left before the command was done";
            Err(Error::internal(why))
        }
    };
    files::remove_file(&pid_file)?;
    done
}

/// Sends what a command says.
async fn said(
    from: Option<Arc<Descriptor>>,
    to: &Option<Output>,
    over: &watch::Receiver<bool>,
) -> Result<()> {
    match (from, to) {
        (Some(from), Some(to)) => channels::drain(&from, to, over.clone()).await,
        _ => Ok(()),
    }
}

/// Gives a terminal another size, and has the one who copies it to the container's look at that.
fn resize(terminal: &Descriptor, pid: u32, Size { width, height }: Size) {
    let size = Winsize {
        ws_row: height,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let resized = tcsetwinsize(terminal.fd(), size);
    let told = pid.map_or(Ok(()), |pid| kill_process(pid, Signal::WINCH));
    if let Err(error) = resized.and(told) {
        tracing::debug!(%error, "a terminal keeps its size");
    }
}
