//! A plugin that is tested from outside: its process, where it connects, and the runtime's end of
//! its connection, with every message in our hands.
//!
//! What may not enter: what is expected of the plugin.

mod peer;
mod process;

pub(crate) use peer::{Fault, Manner, Peer};
pub(crate) use process::{Ended, Launched, Process};

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nri_core::PluginId;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

/// What in a command stands for the socket's path.
pub(crate) const SOCKET: &str = "{socket}";

/// How a plugin is had.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// How it is started, for a shell; absent if someone else starts it.
    pub(crate) command: Option<String>,
    /// How it is launched, if that is not how it is started.
    pub(crate) launch: Option<String>,
    /// Who it is told to be when it is launched; `10-checked` if absent.
    pub(crate) identity: Option<PluginId>,
    /// Where it connects; in a temporary directory if absent.
    pub(crate) socket: Option<PathBuf>,
    /// How long it may take to come, to come back, or to end.
    pub(crate) patience: Duration,
}

impl Subject {
    /// Whether it connects by itself: its command takes the path of a socket, or it has one of its
    /// own, which somebody has named.
    pub(crate) fn connects(&self) -> bool {
        let takes_path = |command: &String| command.contains(SOCKET);
        self.socket.is_some() || self.command.as_ref().is_none_or(takes_path)
    }
}

/// A plugin that runs, or is about to, and where it connects.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) subject: Subject,
    pub(crate) process: Option<Process>,
    listener: Option<UnixListener>,
    socket: PathBuf,
    _home: TempDir,
}

impl Bench {
    /// A place for a plugin.
    ///
    /// # Errors
    /// There is no place for the socket, or somebody listens there.
    pub(crate) fn new(subject: Subject) -> Result<Self, String> {
        let home = TempDir::with_prefix("nri-sim-")
            .map_err(|error| format!("cannot make a temporary directory: {error}"))?;
        let socket = match &subject.socket {
            Some(socket) => socket.clone(),
            None => home.path().join("nri.sock"),
        };
        if StdStream::connect(&socket).is_ok() {
            return Err(format!(
                "{}: somebody listens there, a runtime perhaps: take another --socket",
                socket.display()
            ));
        }
        Ok(Self {
            subject,
            process: None,
            listener: None,
            socket,
            _home: home,
        })
    }

    /// Opens the socket, a new one if there was one.
    pub(crate) fn listen(&mut self) -> Result<(), String> {
        self.stop_listening();
        let broken = |error: io::Error| format!("{}: {error}", self.socket.display());
        self.listener = Some(UnixListener::bind(&self.socket).map_err(broken)?);
        Ok(())
    }

    /// Opens the socket, if it is not open.
    pub(crate) fn go_on_listening(&mut self) -> Result<(), String> {
        match self.listener {
            Some(_) => Ok(()),
            None => self.listen(),
        }
    }

    /// Takes the socket away, as a runtime that ends.
    pub(crate) fn stop_listening(&mut self) {
        let ours = self.listener.take().is_some();
        // Ours, or one that was left behind. It fails if there is none.
        if ours || StdStream::connect(&self.socket).is_err() {
            let _ = std::fs::remove_file(&self.socket);
        }
    }

    /// Starts the plugin in the usual way, if it is ours to start, and waits for its connection.
    pub(crate) async fn connect(&mut self) -> Result<UnixStream, String> {
        match self.subject.connects() {
            true => self.by_socket().await,
            false => self.launch().await,
        }
    }

    /// Starts the plugin beside the runtime, and waits until it connects to the socket.
    pub(crate) async fn by_socket(&mut self) -> Result<UnixStream, String> {
        // One that was there before would come to the new socket too.
        self.process = None;
        self.listen()?;
        if let Some(command) = &self.subject.command {
            let command = with_socket(command, &self.socket);
            self.process = Some(Process::start(&command, None)?);
        }
        self.accept().await
    }

    /// Starts the plugin as a runtime launches one that is installed, with its connection at
    /// descriptor 3.
    pub(crate) async fn launch(&mut self) -> Result<UnixStream, String> {
        self.process = None;
        let subject = &self.subject;
        let command = subject.launch.as_ref().or(subject.command.as_ref());
        let command = command.cloned().unwrap_or_default();
        let command = with_socket(&command, &self.socket);
        let (ours, theirs) = StdStream::pair().map_err(|error| error.to_string())?;
        let (index, name) = match &self.subject.identity {
            Some(id) => (id.index().to_string(), id.name().as_str()),
            None => ("10".to_owned(), "checked"),
        };
        let given = Some(Launched {
            index: &index,
            name,
            socket: theirs.into(),
        });
        self.process = Some(Process::start(&command, given)?);
        let nonblocking = ours.set_nonblocking(true);
        nonblocking
            .and_then(|()| UnixStream::from_std(ours))
            .map_err(|error| error.to_string())
    }

    /// Waits for a connection to the socket.
    pub(crate) async fn accept(&mut self) -> Result<UnixStream, String> {
        let patience = self.subject.patience;
        let socket = self.socket.display();
        let Some(listener) = &self.listener else {
            return Err(format!("nobody listens at {socket}"));
        };
        let comes = tokio::time::timeout(patience, listener.accept());
        let came = match &mut self.process {
            None => comes.await,
            Some(process) => tokio::select! {
                came = comes => came,
                ended = process.ended() => {
                    return Err(format!("it ended before it connected to {socket}: {ended}"));
                }
            },
        };
        match came {
            Ok(Ok((stream, _))) => Ok(stream),
            Ok(Err(error)) => Err(format!("{socket}: {error}")),
            Err(_) => Err(format!(
                "it did not connect to {socket} within {patience:?}{}",
                self.printed()
            )),
        }
    }

    /// What it has printed in the end, for an error.
    pub(crate) fn printed(&self) -> String {
        match &self.process {
            Some(process) => format!("; {}", process.tail()),
            None => String::new(),
        }
    }

    /// Waits until the plugin's process has ended, and says how; `None` if it does not end in time,
    /// or is not ours.
    pub(crate) async fn ends(&mut self) -> Option<Ended> {
        let process = self.process.as_mut()?;
        tokio::time::timeout(self.subject.patience, process.ended())
            .await
            .ok()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

/// A command with the socket's path where that belongs.
fn with_socket(command: &str, socket: &Path) -> String {
    command.replace(SOCKET, &quoted(&socket.to_string_lossy()))
}

/// A text as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
