//! Running other programs: with a limit of time, and of what they may say.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::{Error, Result};

/// More than any of our programs says; what exceeds it is read and forgotten.
const MOST_OUTPUT: u64 = 16 << 20;

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// A command of one of our programs: nothing of our environment but `PATH`, no standard input, and
/// it ends when we drop it.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    command.env_clear().env("PATH", path).kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started, or is not done in time.
pub(crate) async fn output(
    command: &mut Command,
    input: Option<&[u8]>,
    limit: Duration,
) -> Result<Output> {
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let name = name(command);
    let child = command
        .spawn()
        .map_err(|error| Error::internal(format!("cannot start {name}: {error}")))?;
    let late = |_| Error::deadline(format!("{name} is not done after {limit:?}"));
    timeout(limit, talk(child, input, &name))
        .await
        .map_err(late)?
}

/// Runs a command to its end, and takes a failure for an error.
///
/// # Errors
/// As [`output`]; and what it wrote to standard error if it fails.
pub(crate) async fn run(
    command: &mut Command,
    input: Option<&[u8]>,
    limit: Duration,
) -> Result<Vec<u8>> {
    let output = output(command, input, limit).await?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Error::internal(format!(
        "{} fails ({}): {}",
        name(command),
        output.status,
        last_words(&output.stderr)
    )))
}

/// The end of what a program said, which is where the reason is.
pub(crate) fn last_words(said: &[u8]) -> String {
    const MOST: usize = 1000;
    let said = String::from_utf8_lossy(said);
    let said = said.trim();
    let from = said.len().saturating_sub(MOST);
    let from = (from..=said.len()).find(|at| said.is_char_boundary(*at));
    said[from.unwrap_or(0)..].to_owned()
}

async fn talk(mut child: Child, input: Option<&[u8]>, name: &str) -> Result<Output> {
    let failed = |error| Error::internal(format!("{name}: {error}"));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program that does not read all of it says what it thinks of it by its end.
            let _ = stdin.write_all(input).await;
        }
    };
    let ((), stdout, stderr) = tokio::join!(write, read(stdout), read(stderr));
    Ok(Output {
        status: child.wait().await.map_err(failed)?,
        stdout: stdout.map_err(failed)?,
        stderr: stderr.map_err(failed)?,
    })
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut said = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(MOST_OUTPUT).read_to_end(&mut said).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(said)
}

fn name(command: &Command) -> String {
    let program = Path::new(command.as_std().get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn sh(script: &str) -> Command {
        let mut command = command(Path::new("/bin/sh"));
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn input_goes_in_and_output_comes_out() {
        let mut script = sh("cat; echo err >&2; exit 3");
        let output = output(&mut script, Some(b"in"), LONG).await.unwrap();
        assert_eq!(
            (&output.stdout[..], &output.stderr[..]),
            (&b"in"[..], &b"err\n"[..])
        );
        assert_eq!(output.status.code(), Some(3));
    }

    #[tokio::test]
    async fn a_failure_says_what_the_program_said() {
        let error = run(&mut sh("echo no such thing >&2; exit 1"), None, LONG).await;
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("sh fails") && error.ends_with("no such thing"),
            "{error}"
        );
        let error = run(&mut command(Path::new("/no/such")), None, LONG).await;
        assert!(
            error
                .unwrap_err()
                .to_string()
                .starts_with("cannot start such")
        );
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended() {
        let error = run(&mut sh("exec sleep 100000"), None, Duration::ZERO).await;
        assert_eq!(error.unwrap_err().code(), tonic::Code::DeadlineExceeded);
    }

    #[test]
    fn the_end_of_a_long_speech_is_kept() {
        let said = "ä".repeat(1000);
        assert!(last_words(said.as_bytes()).len() <= 1000);
        assert_eq!(last_words(b" why \n"), "why");
    }
}
