//! Lines in and out: read in a thread of their own, bounded in length and in how many wait; written
//! in another one.
//!
//! What may not enter: what a line means.

use std::io::{BufRead, BufReader, Read, Write};
use std::thread;

use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// The longest line that is read, in bytes.
pub(super) const LONGEST_LINE: usize = 8 * 1024 * 1024;
/// How many bytes of lines may wait. A driver that writes everything before it reads anything needs
/// no more patience of us.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// What a line costs beside its bytes.
const LINE_COST: usize = 64;
/// How many results may wait to be written.
const WAITING_RESULTS: usize = 64;

/// A line of the input.
#[derive(Debug)]
pub(super) struct Line {
    /// The line without its end, or what is wrong with it.
    pub(super) text: Result<String, String>,
    _waiting: OwnedSemaphorePermit,
}

/// Reads lines until the input ends. Dropping the receiver ends the reading with the line that is
/// being read.
pub(super) fn read(input: impl Read + Send + 'static) -> mpsc::UnboundedReceiver<Line> {
    // The semaphore is what bounds it.
    let (to, lines) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(WAITING_BYTES));
    let tokio = Handle::current();
    thread::spawn(move || {
        let mut input = BufReader::with_capacity(64 * 1024, input);
        while let Some(text) = next(&mut input) {
            let bytes = text.as_ref().map_or(0, String::len) + LINE_COST;
            let cost = u32::try_from(bytes).unwrap_or(u32::MAX);
            let Ok(waiting) = tokio.block_on(Arc::clone(&room).acquire_many_owned(cost)) else {
                return;
            };
            if to
                .send(Line {
                    text,
                    _waiting: waiting,
                })
                .is_err()
            {
                return;
            }
        }
    });
    lines
}

/// The next line, or what is wrong with it; `None` at the end of the input.
fn next(input: &mut impl BufRead) -> Option<Result<String, String>> {
    let mut line = Vec::new();
    let read = input
        .by_ref()
        .take(LONGEST_LINE as u64 + 1)
        .read_until(b'\n', &mut line);
    match read {
        Err(error) => {
            tracing::error!(%error, "the input cannot be read any further");
            None
        }
        Ok(0) => None,
        Ok(_) if line.len() > LONGEST_LINE && line.last() != Some(&b'\n') => {
            skip_line(input);
            Some(Err(format!(
                "this line has more than {LONGEST_LINE} bytes, which is the most that a line may have: write smaller messages"
            )))
        }
        Ok(_) => {
            while matches!(line.last(), Some(b'\n' | b'\r')) {
                line.pop();
            }
            Some(String::from_utf8(line).map_err(|error| {
                format!(
                    "this line is no UTF-8 (from byte {} on): write text",
                    error.utf8_error().valid_up_to()
                )
            }))
        }
    }
}

fn skip_line(input: &mut impl BufRead) {
    loop {
        let (used, end) = match input.fill_buf() {
            Ok([]) | Err(_) => return,
            Ok(bytes) => match bytes.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (bytes.len(), false),
            },
        };
        input.consume(used);
        if end {
            return;
        }
    }
}

/// Writes lines in the order in which they are sent.
#[derive(Debug, Clone)]
pub(super) struct Results(mpsc::Sender<String>);

impl Results {
    /// Begins to write. The receiver resolves when everything is written and all senders are gone,
    /// or with why that cannot be.
    pub(super) fn to(
        output: impl Write + Send + 'static,
    ) -> (Self, oneshot::Receiver<std::io::Result<()>>) {
        let (sender, lines) = mpsc::channel(WAITING_RESULTS);
        let (done, written) = oneshot::channel();
        thread::spawn(move || {
            // Nobody waits if the program is being ended.
            let _ = done.send(write(output, lines));
        });
        (Self(sender), written)
    }

    /// Sends a line; waits while too many wait to be written. `false` if nothing can be written any
    /// more.
    pub(super) async fn send(&self, line: String) -> bool {
        self.0.send(line).await.is_ok()
    }
}

fn write(output: impl Write, mut lines: mpsc::Receiver<String>) -> std::io::Result<()> {
    let mut output = std::io::BufWriter::new(output);
    while let Some(line) = lines.blocking_recv() {
        output.write_all(line.as_bytes())?;
        output.write_all(b"\n")?;
        // Whoever waits for a result gets it at once.
        if lines.is_empty() {
            output.flush()?;
        }
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_the_input_too_and_bad_ones_do_not_hide_the_next() {
        let long = "x".repeat(LONGEST_LINE + 10);
        let longest = "y".repeat(LONGEST_LINE);
        let mut input = format!("a\r\n\n{long}\n{longest}\nb\n").into_bytes();
        input.extend(b"\xff\xfe\nend");
        let mut input = BufReader::new(&input[..]);
        let mut lines = Vec::new();
        while let Some(line) = next(&mut input) {
            lines.push(line);
        }
        assert_eq!(lines[0], Ok("a".to_owned()));
        assert_eq!(lines[1], Ok(String::new()));
        assert!(lines[2].as_ref().unwrap_err().contains("8388608"));
        assert_eq!(lines[3].as_ref().map(String::len), Ok(LONGEST_LINE));
        assert_eq!(lines[4], Ok("b".to_owned()));
        assert!(lines[5].as_ref().unwrap_err().contains("UTF-8"));
        assert_eq!(lines[6], Ok("end".to_owned()));
        assert_eq!(lines.len(), 7);
    }
}
