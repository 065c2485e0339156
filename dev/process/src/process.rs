//! Running other programs: cargo above all, and peers that run beside us.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The cargo that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::workspace::root());
    command
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started, or it fails.
pub fn run(command: &mut Command) -> Result<(), String> {
    let name = describe(command);
    let status = command.status().map_err(|e| format!("{name}: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{name}: {status}"))
    }
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// It cannot be started, it fails, or it prints what is no text.
pub fn capture(command: &mut Command) -> Result<String, String> {
    let name = describe(command);
    let output = command.output().map_err(|e| format!("{name}: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name}: {}: {}", output.status, said.trim()));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{name}: {e}"))
}

/// Builds programs of the workspace, and returns where they are, by name.
pub fn build(what: &[&str]) -> Result<BTreeMap<String, PathBuf>, String> {
    let messages = capture(
        cargo()
            .args(["build", "--message-format", "json-render-diagnostics"])
            // Whoever watches a terminal sees how far it is; nobody else is told of locks and
            // crates.
            .args((!std::io::stderr().is_terminal()).then_some("--quiet"))
            .args(what)
            .stderr(Stdio::inherit()),
    )?;
    let built = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let name = message["target"]["name"].as_str()?;
        Some((
            name.to_owned(),
            PathBuf::from(message["executable"].as_str()?),
        ))
    });
    Ok(built.collect())
}

/// Builds a program of a package that has it with its feature `cli`, and returns where it is.
pub fn build_cli(package: &str, program: &str) -> Result<PathBuf, String> {
    let what = ["--package", package, "--features", "cli", "--bin", program];
    let built = build(&what)?.remove(program);
    built.ok_or_else(|| format!("{program} was not built"))
}

/// A program that runs beside us and prints lines. It is killed with the value, if it still runs.
pub struct ChildProcess {
    name: String,
    child: Child,
    lines: Receiver<String>,
}

impl ChildProcess {
    /// Starts a program; its errors go where ours go.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        let name = describe(command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{name}: {e}"))?;
        let (sender, lines) = channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                BufReader::new(output)
                    .lines()
                    .map_while(Result::ok)
                    .try_for_each(|line| sender.send(line))
            });
        }
        Ok(Self { name, child, lines })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes it a line.
    pub fn say(&mut self, line: &str) -> Result<(), String> {
        let input = self.child.stdin.as_mut();
        let input = input.ok_or_else(|| format!("{}: its input has ended", self.name))?;
        writeln!(input, "{line}").map_err(|e| format!("{}: {e}", self.name))
    }

    /// There is nothing more that it will be told.
    pub fn end_input(&mut self) {
        self.child.stdin = None;
    }

    /// The next line that it prints; `None` when there will be no more.
    pub fn line(&self, limit: Duration) -> Result<Option<String>, String> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("{}: it printed nothing for {limit:?}", self.name))
            }
        }
    }

    /// Waits until it has printed everything and ended by itself.
    pub fn finish(mut self, limit: Duration) -> Result<(Vec<String>, ExitStatus), String> {
        let end = Instant::now() + limit;
        let mut lines = Vec::new();
        while let Some(line) = self.line(end.saturating_duration_since(Instant::now()))? {
            lines.push(line);
        }
        let status = self
            .child
            .wait()
            .map_err(|e| format!("{}: {e}", self.name))?;
        Ok((lines, status))
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut words = vec![
        program
            .file_name()
            .unwrap_or(program.as_os_str())
            .to_string_lossy()
            .into_owned(),
    ];
    words.extend(
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    words.join(" ")
}
