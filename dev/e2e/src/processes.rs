//! The processes in our namespaces.

use std::fs;
use std::path::Path;
use std::process::Command;

use nri_dev::process;

use crate::directories::entries;

/// The processes of a program that have not ended, and whose command line has a text in it; any
/// program for an empty name.
pub(crate) fn pids(program: &str, text: &str) -> Vec<String> {
    let read = |path: &Path| fs::read(path).unwrap_or_default();
    let named = |path: &Path| {
        let name = read(&path.join("comm"));
        program.is_empty() || name.trim_ascii_end() == program.as_bytes()
    };
    // One that has ended has no command line any more.
    let said = |path: &Path| read(&path.join("cmdline"));
    let has = |line: &[u8]| !line.is_empty() && String::from_utf8_lossy(line).contains(text);
    entries(Path::new("/proc"))
        .filter(|path| named(path) && has(&said(path)))
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .collect()
}

/// Kills processes without a word.
///
/// # Errors
/// There is none, or one is not there any more.
pub(crate) fn kill(pids: &[String]) -> Result<(), String> {
    process::run(Command::new("kill").arg("-9").args(pids))
}
