//! Fake plugins in processes of their own, so that their death is real: the script as a file, the
//! program that plays it, and a hand on such a process.

mod played;
mod script;

use std::fmt;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

pub use self::played::{Options, play};
pub use self::script::{Action, Rule, Script, ScriptError, Wish};
use crate::{Journal, TEST_TIMEOUT};

/// A process that plays a script over a runtime's socket. It dies when this is dropped.
///
/// The program is `nri-fake-plugin`; in tests of the package that has it, cargo says where it is:
/// `env!("CARGO_BIN_EXE_nri-fake-plugin")`.
///
/// ```no_run
/// use nri_testkit::{FakeProcess, TestRuntime};
///
/// # async fn example() -> std::io::Result<()> {
/// let runtime = TestRuntime::start().await;
/// let script = "identity = '10-real'\n[[rule]]\ncall = 'RunPodSandbox'\ndo = 'hang'";
/// let mut process = FakeProcess::spawn("target/debug/nri-fake-plugin".as_ref(), script, &runtime.socket())?;
/// runtime.wait_for_plugins(&["10-real"]).await;
/// process.kill().await;
/// runtime.watcher().wait_for("gone 10-real").await;
/// # Ok(())
/// # }
/// ```
pub struct FakeProcess {
    child: Child,
    output: Arc<Journal<String>>,
    _script: TempDir,
}

impl fmt::Debug for FakeProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeProcess")
            .field("pid", &self.child.id())
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

impl FakeProcess {
    /// Starts the program at `program` with a script in TOML, for a runtime's socket.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(program: &Path, script: &str, socket: &Path) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("script.toml");
        std::fs::write(&path, script)?;
        let mut child = Command::new(program)
            .arg("--script")
            .arg(&path)
            .arg("--socket")
            .arg(socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = Arc::new(Journal::default());
        if let Some(stdout) = child.stdout.take() {
            let output = Arc::clone(&output);
            tokio::spawn(async move {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    output.push(line);
                }
            });
        }
        Ok(Self {
            child,
            output,
            _script: directory,
        })
    }

    /// The lines that it has written; see [`play`].
    pub fn output(&self) -> &Journal<String> {
        &self.output
    }

    /// Waits until it was asked something, as `CreateContainer c1`.
    ///
    /// # Panics
    /// That did not happen within [`TEST_TIMEOUT`].
    pub async fn wait_for(&self, what: &str) {
        let line = format!("{{\"saw\":\"{what}\"}}");
        self.output
            .wait_for(&line, |lines| lines.contains(&line))
            .await;
    }

    /// Its number, until it was waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid as i32));
        if let Some(pid) = pid {
            // It may be dead already; it is not reaped, so nobody else has the number.
            let _ = kill_process(pid, signal);
        }
    }

    /// Stops the process, so that it does nothing at all until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Takes [`pause`](Self::pause) back.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it, and waits until it is dead.
    ///
    /// # Panics
    /// As [`ended`](Self::ended).
    pub async fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.ended().await
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// It has not within [`TEST_TIMEOUT`].
    pub async fn ended(&mut self) -> ExitStatus {
        match tokio::time::timeout(TEST_TIMEOUT, self.child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => panic!("a fake plugin's process cannot be waited for: {error}"),
            Err(_) => panic!("waited {TEST_TIMEOUT:?} in vain for the end of {self:?}"),
        }
    }
}
