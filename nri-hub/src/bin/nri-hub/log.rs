//! Logs, written to stderr by a thread of their own: requests do not wait for whoever reads them.
//! Who does not read loses lines, and is told how many when there is room again.
//!
//! What may not enter: what is logged.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::Failure;
use crate::arguments::{LogFormat, Logs, filter};

/// How many lines may wait to be written.
const MOST: usize = 1024;
/// How long the end waits for what is not written.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the thread is told.
enum Told {
    Line(Vec<u8>),
    /// All that was logged before is to be written; said when it is.
    End(SyncSender<()>),
}

/// Hands lines to the thread that writes them.
#[derive(Debug, Clone)]
pub(crate) struct Aside {
    lines: SyncSender<Told>,
    lost: Arc<AtomicU64>,
}

impl Aside {
    /// Has a thread write to `to`.
    fn to(to: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, told) = sync_channel(MOST);
        let lost = Arc::new(AtomicU64::new(0));
        let of_thread = Arc::clone(&lost);
        let thread = thread::Builder::new().name("log".to_owned());
        thread.spawn(move || write(&told, to, &of_thread))?;
        Ok(Self { lines, lost })
    }

    /// Waits, for a while, until all that was logged is written.
    pub(crate) fn finish(&self) {
        let (written, is_written) = sync_channel(1);
        if self.lines.try_send(Told::End(written)).is_ok() {
            // Whoever reads has had its time.
            let _ = is_written.recv_timeout(PATIENCE);
        }
    }
}

/// Writes what it is told, until nobody can tell anything any more.
fn write(told: &Receiver<Told>, mut to: impl Write, lost: &AtomicU64) {
    for told in told {
        // A reader that has gone is nobody's trouble here.
        match told {
            Told::Line(line) => {
                let _ = to.write_all(&line);
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(
                        to,
                        "nri-hub: {lost} lines of the log are lost: stderr was not read in time"
                    );
                }
            }
            Told::End(written) => {
                let _ = written.send(());
            }
        }
    }
}

impl Write for Aside {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.lines.try_send(Told::Line(line.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Aside {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Begins to log as the command line says, or the variable `RUST_LOG`; what that says and cannot be
/// meant is told, and keeps nobody from running.
///
/// # Errors
/// There can be no thread.
pub(crate) fn begin(logs: &Logs) -> Result<Aside, Failure> {
    let (said, ignored) = match &logs.log_level {
        Some(level) => (level.clone(), None),
        None => from_environment(),
    };
    let aside = Aside::to(io::stderr())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(said).map_err(Failure::wrong)?)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(aside.clone());
    match logs.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    if let Some(error) = ignored {
        tracing::warn!("RUST_LOG is not as it should be, info is logged: {error}");
    }
    Ok(aside)
}

/// What `RUST_LOG` says, by the rules of `--log-level`, and why it does not count.
fn from_environment() -> (String, Option<String>) {
    let usual = || "info".to_owned();
    match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(said) if !said.trim().is_empty() => match filter(&said) {
            Ok(said) => (said, None),
            Err(error) => (usual(), Some(error)),
        },
        Err(error @ std::env::VarError::NotUnicode(_)) => (usual(), Some(error.to_string())),
        _ => (usual(), None),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A reader that reads only while it is let.
    #[derive(Clone, Default)]
    struct Reader(Arc<Mutex<Vec<u8>>>);

    impl Write for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Law: nobody waits for a reader; what is lost is counted, and told when it reads again.
    #[test]
    fn nobody_waits_for_who_reads_the_log() {
        let reader = Reader::default();
        let does_not_read = reader.0.lock().unwrap();
        let mut aside = Aside::to(reader.clone()).unwrap();
        for n in 0..MOST + 100 {
            aside.write_all(format!("{n}\n").as_bytes()).unwrap();
        }
        let lost = aside.lost.load(Ordering::Relaxed);
        assert!((99..=100).contains(&lost), "{lost}");
        drop(does_not_read);
        while aside.lost.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        // There is room now, or soon.
        while aside.lines.try_send(Told::Line(b"end\n".to_vec())).is_err() {
            thread::yield_now();
        }
        aside.finish();
        let text = String::from_utf8(reader.0.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("0\n"), "{text}");
        assert!(
            text.contains(&format!("{lost} lines of the log are lost")),
            "{text}"
        );
        assert!(text.ends_with("end\n"), "{text}");
    }
}
