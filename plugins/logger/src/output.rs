//! Printing in a thread of its own: output may block, and no runtime is to wait for that. What may
//! not enter: what is printed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// How many lines may wait.
const WAITING: usize = 4096;

/// Where lines go. They are left out and counted where the output cannot keep up.
pub(crate) struct Output {
    orders: SyncSender<Order>,
    left_out: AtomicU64,
}

enum Order {
    Line(String),
    To(File),
}

/// Ends when nothing more can come and all is printed.
pub(crate) type Printer = JoinHandle<io::Result<()>>;

impl Output {
    /// To stdout at first. `failed` is called when the output is gone.
    pub(crate) fn start(failed: impl FnOnce() + Send + 'static) -> (Self, Printer) {
        let (orders, to_do) = sync_channel(WAITING);
        let printer = std::thread::spawn(move || {
            let printed = print(&to_do);
            if printed.is_err() {
                failed();
            }
            printed
        });
        let left_out = AtomicU64::new(0);
        (Self { orders, left_out }, printer)
    }

    /// Appends to a file from now on.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn append_to(&self, path: &Path) -> Result<(), String> {
        let opened = OpenOptions::new().append(true).create(true).open(path);
        let file = opened.map_err(|error| format!("logFile {}: {error}", path.display()))?;
        // It is gone with the printer, which has said so.
        let _ = self.orders.send(Order::To(file));
        Ok(())
    }

    /// Queues a line, made from how many were left out before it.
    pub(crate) fn line(&self, line: impl FnOnce(u64) -> String) {
        let before = self.left_out.swap(0, Ordering::Relaxed);
        if self.orders.try_send(Order::Line(line(before))).is_err() {
            self.left_out.fetch_add(before + 1, Ordering::Relaxed);
        }
    }
}

fn print(orders: &Receiver<Order>) -> io::Result<()> {
    let mut output: Box<dyn Write> = Box::new(io::stdout());
    for order in orders {
        match order {
            Order::Line(line) => writeln!(output, "{line}")?,
            Order::To(file) => output = Box::new(file),
        }
        output.flush()?;
    }
    Ok(())
}
