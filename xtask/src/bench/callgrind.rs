//! Counting instructions: a judge that other work on the machine does not disturb.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether a program can be run.
pub(super) fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The words before a command that have its instructions counted; only those of a function, and of
/// what it calls, if one is named.
pub(super) fn before(log: &Path, function: Option<&str>) -> Vec<String> {
    let mut words = vec![
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        "--callgrind-out-file=/dev/null".to_owned(),
        format!("--log-file={}", log.display()),
    ];
    words.extend(function.map(|name| format!("--toggle-collect=*{name}*")));
    words
}

/// How many instructions a command had that has ended.
///
/// # Errors
/// The log does not say.
pub(super) fn collected(log: &Path) -> Result<f64, String> {
    let text = fs::read_to_string(log).map_err(|e| format!("{}: {e}", log.display()))?;
    text.lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse().ok())
        .ok_or_else(|| format!("callgrind does not say what it collected: {text}"))
}
