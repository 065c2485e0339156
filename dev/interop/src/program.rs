//! A peer that runs beside us: it takes JSON lines and answers each with one. It is killed, with
//! all that it started, when its value is dropped.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::scratch::{Groups, Scratch};

/// How long anything may take that takes moments when it works.
pub(super) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How many lines of its log are kept, for the case that it goes wrong.
const LOG: usize = 40;

/// A running peer.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    log: Arc<Mutex<VecDeque<String>>>,
    logging: Option<JoinHandle<()>>,
    groups: Groups,
}

impl Program {
    /// Starts it in a process group of its own.
    pub(super) fn start(
        scratch: &Scratch,
        name: &str,
        command: &mut Command,
    ) -> Result<Self, String> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What the program itself keeps for a while goes where everything goes.
            .env("TMPDIR", scratch.path());
        let groups = scratch.groups().clone();
        let mut child = groups.start(command).map_err(|e| format!("{name}: {e}"))?;
        let (sender, lines) = channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                BufReader::new(output)
                    .lines()
                    .map_while(Result::ok)
                    .try_for_each(|line| sender.send(line))
            });
        }
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let logging = child.stderr.take().map(|errors| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    if log.len() == LOG {
                        log.pop_front();
                    }
                    log.push_back(line);
                }
            })
        });
        Ok(Self {
            name: name.to_owned(),
            input: child.stdin.take(),
            child,
            lines,
            log,
            logging,
            groups,
        })
    }

    /// Says a line and returns the answer.
    pub(super) fn ask(&mut self, line: &Value) -> Result<Value, String> {
        self.tell(line)?;
        self.answer(TEST_TIMEOUT)
    }

    /// Says a line.
    pub(super) fn tell(&mut self, line: &Value) -> Result<(), String> {
        self.say(&line.to_string())
    }

    /// Says a line that need not be JSON.
    pub(super) fn say(&mut self, line: &str) -> Result<(), String> {
        let written = match &mut self.input {
            Some(input) => writeln!(input, "{line}"),
            None => return Err(format!("{}: it is told nothing any more", self.name)),
        };
        written.map_err(|e| self.failed(&format!("it takes nothing any more: {e}")))
    }

    /// The next answer.
    pub(super) fn answer(&mut self, limit: Duration) -> Result<Value, String> {
        let line = self.line(limit)?;
        serde_json::from_str(&line).map_err(|e| self.failed(&format!("{line:?}: {e}")))
    }

    /// The next line.
    pub(super) fn line(&mut self, limit: Duration) -> Result<String, String> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Disconnected) => Err(self.failed("it ended early")),
            Err(RecvTimeoutError::Timeout) => {
                Err(self.failed(&format!("it said nothing for {limit:?}")))
            }
        }
    }

    /// Ends its input.
    pub(super) fn hang_up(&mut self) {
        self.input = None;
    }

    /// Waits until it has ended by itself; returns what it printed that was not read.
    pub(super) fn finish(self) -> Result<(Vec<String>, ExitStatus), String> {
        self.finish_within(TEST_TIMEOUT)
    }

    /// Waits so long for every further line, and the end.
    pub(super) fn finish_within(
        mut self,
        limit: Duration,
    ) -> Result<(Vec<String>, ExitStatus), String> {
        self.hang_up();
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(limit) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return Err(self.failed("it does not end")),
            }
        }
        let status = self
            .child
            .wait()
            .map_err(|e| format!("{}: {e}", self.name))?;
        Ok((lines, status))
    }

    /// Checks that it has not ended.
    pub(super) fn is_running(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(self.failed("it ended early")),
        }
    }

    /// Kills it and waits until it is dead.
    pub(super) fn kill(mut self) -> Result<(), String> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map_err(|e| format!("{}: {e}", self.name))?;
        Ok(())
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) -> Result<(), String> {
        self.signal(Signal::TERM)
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = Pid::from_raw(pid(&self.child)).ok_or("it has no pid")?;
        kill_process(pid, signal).map_err(|e| format!("{}: {e}", self.name))
    }

    /// Waits for a program that only has to succeed.
    pub(super) fn succeed_within(mut self, limit: Duration) -> Result<(), String> {
        let (name, log) = (self.name.clone(), Arc::clone(&self.log));
        let logging = self.logging.take();
        let (_, status) = self.finish_within(limit)?;
        if status.success() {
            return Ok(());
        }
        // It is dead, and so is all that it started.
        if let Some(logging) = logging {
            let _ = logging.join();
        }
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let log: Vec<&str> = log.iter().map(String::as_str).collect();
        Err(format!("{name}: {status}\n{}", log.join("\n")))
    }

    /// What it logged last.
    fn log(&self) -> Vec<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().cloned().collect()
    }

    /// What went wrong, with what it logged last.
    fn failed(&mut self, what: &str) -> String {
        self.groups.end(&self.child);
        let _ = self.child.wait();
        // It is dead, so its log is about to end, unless something that it started holds it open.
        if let Some(logging) = self.logging.take_if(|logging| logging.is_finished()) {
            let _ = logging.join();
        }
        let mut text = format!("{}: {what}", self.name);
        for line in self.log() {
            text.push_str("\n    ");
            text.push_str(&line);
        }
        text
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The whole group, even if the program itself has ended: it may have started others.
        self.groups.end(&self.child);
        let _ = self.child.wait();
    }
}

fn pid(child: &Child) -> i32 {
    // Linux has no larger pids.
    i32::try_from(child.id()).unwrap_or(i32::MAX)
}
