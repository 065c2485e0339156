//! A Go plugin driven through `nri-sim serve` from outside this workspace's code: by a shell, and
//! Python's standard library.

use std::path::Path;
use std::process::Command;

use super::go::Built;
use super::program::Program;
use super::scratch::Scratch;
use nri_dev::{process, workspace};

/// The examples of `nri-testkit`, with what runs them.
const EXAMPLES: [(&str, &str); 2] = [("sh", "serve.sh"), ("python3", "serve.py")];

/// Both play their session to its end, and every result is a good one.
pub(super) fn run(scratch: &Scratch, sim: &Path, peer: &Built) -> Result<String, String> {
    let directory = workspace::root().join("nri-testkit/examples");
    let mut results = Vec::new();
    for (interpreter, example) in EXAMPLES {
        process::capture(Command::new(interpreter).args(["-c", ""]))
            .map_err(|e| format!("{example} needs {interpreter}, to be installed first: {e}"))?;
        let mut command = Command::new(interpreter);
        command.arg(directory.join(example)).arg(sim);
        command
            .arg(peer.plugin())
            .args(["--name", "driven", "--idx", "10"]);
        let program = Program::start(scratch, example, &mut command)?;
        let (lines, status) = program.finish()?;
        let is_good = |line: &&String| line.replace(' ', "").starts_with("<{\"ok\":true");
        let good = lines.iter().filter(is_good).count();
        if !status.success() || good == 0 {
            return Err(format!("{example}: {status}: {}", lines.join("; ")));
        }
        results.push(format!("{good} results in {interpreter}"));
    }
    Ok(results.join(", "))
}
