//! Printing in a thread of its own: output may block, and what waits for it is the observer's
//! queue. What may not enter: what is printed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use nri_plugin::Observed;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// How many lines may wait for the output. Events wait in the observer's queue, which is larger.
const WAITING: usize = 16;

/// Where lines go.
pub(crate) struct Output {
    lines: Sender<String>,
    next: NextFile,
    /// Whose events are left out where the output cannot keep up.
    observed: OnceLock<Observed>,
    told: AtomicU64,
}

/// A file to go on with.
type NextFile = Arc<Mutex<Option<File>>>;

/// Ends when nothing more can come and all is printed.
pub(crate) type Printer = JoinHandle<io::Result<()>>;

impl Output {
    /// To stdout at first. `failed` is called when the output is gone.
    pub(crate) fn start(failed: impl FnOnce() + Send + 'static) -> (Self, Printer) {
        let (lines, to_print) = channel(WAITING);
        let next = NextFile::default();
        let files = Arc::clone(&next);
        let printer = std::thread::spawn(move || {
            let printed = print(to_print, &files);
            if printed.is_err() {
                failed();
            }
            printed
        });
        let output = Self {
            lines,
            next,
            observed: OnceLock::new(),
            told: AtomicU64::new(0),
        };
        (output, printer)
    }

    /// Has lines say how many events were left out before them.
    pub(crate) fn counts(&self, observed: Observed) {
        // There is one observer.
        let _ = self.observed.set(observed);
    }

    /// How many events were left out since this was last asked.
    pub(crate) fn left_out(&self) -> u64 {
        let dropped = self.observed.get().map_or(0, Observed::dropped);
        dropped - self.told.swap(dropped, Ordering::Relaxed).min(dropped)
    }

    /// Appends to a file from now on.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn append_to(&self, path: &Path) -> Result<(), String> {
        let opened = OpenOptions::new().append(true).create(true).open(path);
        let file = opened.map_err(|error| format!("logFile {}: {error}", path.display()))?;
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    /// Prints a line; waits where the output cannot keep up.
    pub(crate) async fn line(&self, line: String) {
        // The printer may be gone, and has said so.
        let _ = self.lines.send(line).await;
    }

    /// Prints a line for which nobody may wait.
    pub(crate) fn line_if_there_is_room(&self, line: String) {
        let _ = self.lines.try_send(line);
    }
}

fn print(mut lines: Receiver<String>, next: &Mutex<Option<File>>) -> io::Result<()> {
    let mut output: Box<dyn Write> = Box::new(io::stdout());
    while let Some(line) = lines.blocking_recv() {
        if let Some(file) = next.lock().unwrap_or_else(PoisonError::into_inner).take() {
            output = Box::new(file);
        }
        writeln!(output, "{line}")?;
        output.flush()?;
    }
    Ok(())
}
