//! A plugin that does what it is told and reports what it hears: on the reference's library, or on
//! ours. Both take the same lines and write the same reports.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::go::Built;
use super::program::Program;
use super::scratch::{CaseDir, Scratch};

/// Which plugin library.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind<'a> {
    /// Ours, by [`super::scripted`]; what it knows of the protocol is what the newest release
    /// knows.
    Ours(&'a Built),
    /// The reference's.
    Go(&'a Built),
}

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(_) => f.write_str("ours"),
            Self::Go(built) => write!(f, "Go {}", built.version),
        }
    }
}

impl<'a> Kind<'a> {
    /// The release whose protocol it speaks.
    pub(super) fn level(&self) -> &'a Built {
        match self {
            Self::Ours(built) | Self::Go(built) => built,
        }
    }

    /// The program, and the arguments that make it this plugin.
    fn program(&self) -> (PathBuf, &'static [&'static str]) {
        match self {
            // Our own executable, even if somebody builds another meanwhile.
            Self::Ours(_) => ("/proc/self/exe".into(), &["--scripted-plugin"]),
            Self::Go(built) => (built.plugin(), &[]),
        }
    }
}

/// A plugin that was started by us.
#[derive(Debug)]
pub(super) struct Plugin {
    program: Program,
    report: Report,
    /// Its identity, `NN-name`.
    pub(super) id: String,
}

impl Plugin {
    /// Starts it; it does not connect yet.
    pub(super) fn start(
        scratch: &Scratch,
        kind: Kind<'_>,
        case_dir: &CaseDir,
        index: &str,
        name: &str,
    ) -> Result<Self, String> {
        Self::start_wishing(scratch, kind, case_dir, [index, name], None)
    }

    /// The same; it says what is to happen when it does not answer, in the words of the README of
    /// the Go peers.
    pub(super) fn start_wishing(
        scratch: &Scratch,
        kind: Kind<'_>,
        case_dir: &CaseDir,
        [index, name]: [&str; 2],
        failure_policy: Option<&str>,
    ) -> Result<Self, String> {
        let id = format!("{index}-{name}");
        let report = case_dir.file(&format!("report-{id}"));
        let (program, arguments) = kind.program();
        let mut command = Command::new(program);
        command.args(arguments).arg("--commands");
        command.args(["--idx", index, "--name", name]);
        command.arg("--socket").arg(case_dir.socket());
        command.arg("--report").arg(&report);
        if let Some(words) = failure_policy {
            command.args(["--failure-policy", words]);
        }
        Ok(Self {
            program: Program::start(scratch, &format!("plugin {id} ({kind})"), &mut command)?,
            report: Report::new(report),
            id,
        })
    }

    /// Gives a command that must work.
    fn done(&mut self, members: Value) -> Result<Value, String> {
        let answer = self.program.ask(&members)?;
        match answer["ok"] == true {
            true => Ok(answer),
            false => Err(format!("plugin {}: {}", self.id, answer["error"])),
        }
    }

    /// Makes it connect and register.
    pub(super) fn connect(&mut self) -> Result<(), String> {
        self.done(json!({"cmd": "connect"})).map(drop)
    }

    /// Replaces the rules by which it answers; see the README of the Go peers.
    pub(super) fn script(&mut self, rules: Vec<Value>) -> Result<(), String> {
        self.done(json!({"cmd": "script", "rules": rules}))
            .map(drop)
    }

    /// Makes it ask for updates; `Ok` has those that failed, the inner error is what the runtime
    /// says.
    pub(super) fn update(
        &mut self,
        updates: Vec<Value>,
    ) -> Result<Result<Vec<Value>, String>, String> {
        let answer = self
            .program
            .ask(&json!({"cmd": "update", "update": updates}))?;
        let failed = answer["failed"].as_array().cloned().unwrap_or_default();
        Ok(if answer["ok"] == true {
            Ok(failed)
        } else {
            Err(answer["error"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// Waits until the runtime has shown it what exists.
    pub(super) fn wait_for_synchronization(&mut self) -> Result<(), String> {
        self.done(json!({"cmd": "synchronized"})).map(drop)
    }

    /// Waits until its connection is closed.
    pub(super) fn wait_for_close(&mut self) -> Result<(), String> {
        self.done(json!({"cmd": "closed"})).map(drop)
    }

    /// What it heard since the last time.
    pub(super) fn heard(&mut self) -> Result<Vec<Value>, String> {
        self.report.more()
    }

    /// Waits until it is dead, as it was told in a rule.
    pub(super) fn wait_for_death(self) -> Result<(), String> {
        let (_, status) = self.program.finish()?;
        use std::os::unix::process::ExitStatusExt as _;
        match status.signal() {
            Some(9) => Ok(()),
            _ => Err(format!("the plugin ended with {status}, not by SIGKILL")),
        }
    }
}

/// Installs a plugin where the runtime finds and launches it.
pub(super) fn install(
    kind: Kind<'_>,
    case_dir: &CaseDir,
    id: &str,
    rules: &Value,
) -> Result<Report, String> {
    let report = case_dir.file(&format!("report-{id}"));
    let script = case_dir.file(&format!("script-{id}"));
    std::fs::write(&script, rules.to_string()).map_err(|e| format!("{}: {e}", script.display()))?;
    let (program, arguments) = match kind {
        // A launched plugin has another self than we have.
        Kind::Ours(_) => {
            let (_, arguments) = kind.program();
            (
                format!("/proc/{}/exe", std::process::id()).into(),
                arguments,
            )
        }
        Kind::Go(_) => kind.program(),
    };
    // A launched plugin gets no arguments, so these come from a script around it.
    let mut line = vec![quoted(program.as_os_str())];
    line.extend(arguments.iter().map(|a| quoted(OsStr::new(a))));
    for (option, path) in [("--report", &report), ("--script", &script)] {
        line.push(option.to_owned());
        line.push(quoted(path.as_os_str()));
    }
    let path = case_dir.plugins().join(id);
    write_executable(&path, &format!("#!/bin/sh\nexec {}\n", line.join(" ")))?;
    Ok(Report::new(report))
}

/// The command of a plugin that answers by rules and prints its report. Ours connects again by
/// itself; one on the reference's library ends with its connection.
pub(super) fn recording(
    kind: Kind<'_>,
    case_dir: &CaseDir,
    [index, name]: [&str; 2],
    rules: &Value,
) -> Result<Command, String> {
    let script = case_dir.file(&format!("script-{index}-{name}"));
    std::fs::write(&script, rules.to_string()).map_err(|e| format!("{}: {e}", script.display()))?;
    let (program, arguments) = kind.program();
    let mut command = Command::new(program);
    command.args(arguments);
    if let Kind::Ours(_) = kind {
        command.arg("--forever");
    }
    command.args(["--idx", index, "--name", name]);
    command.args(["--report", "/dev/stdout", "--script"]);
    command.arg(script).arg("--socket").arg(case_dir.socket());
    Ok(command)
}

/// A word for the shell.
fn quoted(text: &OsStr) -> String {
    format!("'{}'", text.to_string_lossy().replace('\'', r"'\''"))
}

fn write_executable(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// The report of a plugin: it writes a line before it answers.
#[derive(Debug)]
pub(super) struct Report {
    path: PathBuf,
    read: u64,
}

impl Report {
    fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// The lines since the last time.
    pub(super) fn more(&mut self) -> Result<Vec<Value>, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", self.path.display());
        let mut file = File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(self.read)).map_err(failed)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        // A line that is being written counts the next time.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        let lines = text[..whole].lines();
        lines
            .map(|line| serde_json::from_str(line).map_err(|e| format!("{line:?}: {e}")))
            .collect()
    }
}
