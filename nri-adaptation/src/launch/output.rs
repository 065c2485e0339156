//! What launched plugins print, in the log: read in blocks, cut into lines, and no more of it than
//! a plugin may have. It is always read, so that no plugin is held up by a full pipe. May not
//! enter: what else is known of the plugin.

use std::sync::Arc;
use std::time::Duration;

use nri_core::PluginId;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, sleep_until};

use crate::lock::Lock;
use crate::text::sanitized;

/// The longest line of output that is logged whole, in bytes.
const LONGEST_LINE: usize = 1024;
/// How many lines of one plugin are logged in a second.
const LINES: u64 = 1000;
/// How many bytes of one plugin are logged in a second.
const BYTES: u64 = 256 << 10;
/// How many bytes are read at once.
const BLOCK: usize = 16 << 10;
const SECOND: Duration = Duration::from_secs(1);

/// What was not logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct LeftOut {
    lines: u64,
    bytes: u64,
}

/// What a plugin may still print in the second that it is in. It is told the time.
#[derive(Debug, Default)]
struct Allowance {
    since: Duration,
    lines: u64,
    bytes: u64,
    left_out: LeftOut,
}

impl Allowance {
    /// Whether a line of so many bytes is logged.
    fn take(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let enough = self.lines < LINES && self.bytes + bytes <= BYTES;
        match enough {
            true => {
                self.lines += 1;
                self.bytes += bytes;
            }
            false => {
                self.left_out.lines += 1;
                self.left_out.bytes += bytes;
                // What comes after something that is left out is left out too, in the same second.
                self.lines = LINES;
            }
        }
        enough
    }

    /// When what was left out is told, if something was.
    fn due(&self) -> Option<Duration> {
        (self.left_out != LeftOut::default()).then_some(self.since + SECOND)
    }

    /// Begins another second, if it is time. What was left out in the one before is returned, once.
    fn turn(&mut self, now: Duration) -> Option<LeftOut> {
        if now.saturating_sub(self.since) < SECOND {
            return None;
        }
        let left_out = self.close();
        *self = Self {
            since: now,
            ..Self::default()
        };
        left_out
    }

    /// What was left out and not told.
    fn close(&mut self) -> Option<LeftOut> {
        let left_out = std::mem::take(&mut self.left_out);
        (left_out != LeftOut::default()).then_some(left_out)
    }
}

/// Cuts bytes into lines; one that is too long into pieces, between two characters.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn push(&mut self, mut block: &[u8], mut line: impl FnMut(&[u8])) {
        while !block.is_empty() {
            let room = block.len().min(LONGEST_LINE - self.begun.len());
            match block[..room].iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.begun.extend_from_slice(&block[..end]);
                    block = &block[end + 1..];
                    self.finish(&mut line);
                }
                None => {
                    self.begun.extend_from_slice(&block[..room]);
                    block = &block[room..];
                    if self.begun.len() == LONGEST_LINE {
                        let end = whole_characters(&self.begun);
                        line(&self.begun[..end]);
                        self.begun.drain(..end);
                    }
                }
            }
        }
    }

    /// What was begun is a line.
    fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            line(&self.begun);
            self.begun.clear();
        }
    }
}

/// How many bytes there are before a character that is cut off at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    let last = bytes.iter().rev().take(4);
    let continued = last.take_while(|byte| **byte & 0xc0 == 0x80).count();
    let Some(first) = bytes.len().checked_sub(continued + 1) else {
        return bytes.len();
    };
    let length = match bytes[first] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return bytes.len(),
    };
    match continued + 1 < length && first > 0 {
        true => first,
        false => bytes.len(),
    }
}

/// The output of one process, whichever stream it comes by.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    plugin: PluginId,
    begun: Instant,
    allowance: Arc<Lock<Allowance>>,
}

impl Output {
    pub(crate) fn of(plugin: PluginId) -> Self {
        Self {
            plugin,
            begun: Instant::now(),
            allowance: Arc::default(),
        }
    }

    fn allowance<T>(&self, act: impl FnOnce(&mut Allowance) -> T) -> T {
        act(&mut self.allowance.lock())
    }

    /// Logs what comes by a stream, to its end.
    pub(crate) async fn log(self, stream: &'static str, mut output: impl AsyncRead + Unpin) {
        let mut block = vec![0; BLOCK];
        let mut lines = Lines::default();
        loop {
            let due = self.allowance(|allowance| allowance.due());
            let read = tokio::select! {
                biased;
                read = output.read(&mut block) => Some(read),
                () = sleep_until(self.begun + due.unwrap_or_default()), if due.is_some() => None,
            };
            let now = self.begun.elapsed();
            self.tell(self.allowance(|allowance| allowance.turn(now)));
            match read {
                Some(Ok(count)) if count > 0 => {
                    lines.push(&block[..count], |line| self.line(stream, line));
                }
                Some(_) => break,
                None => {}
            }
        }
        lines.finish(|line| self.line(stream, line));
        self.tell(self.allowance(Allowance::close));
    }

    fn line(&self, stream: &str, line: &[u8]) {
        if self.allowance(|allowance| allowance.take(line.len())) {
            let line = sanitized(&String::from_utf8_lossy(line));
            tracing::info!(target: "nri_plugin_output", plugin = %self.plugin, stream, "{line}");
        }
    }

    fn tell(&self, left_out: Option<LeftOut>) {
        if let Some(LeftOut { lines, bytes }) = left_out {
            tracing::warn!(
                target: "nri_plugin_output", plugin = %self.plugin,
                "{lines} lines left out ({bytes} bytes): at most {LINES} lines and {BYTES} bytes of a plugin are logged in a second"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;
    use tracing::instrument::WithSubscriber as _;

    use std::sync::Mutex;

    use super::*;

    fn cut(blocks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        let mut take = |line: &[u8]| all.push(String::from_utf8_lossy(line).into_owned());
        for block in blocks {
            lines.push(block, &mut take);
        }
        lines.finish(&mut take);
        all
    }

    #[test]
    fn lines_are_put_together_from_blocks_and_long_ones_cut_between_characters() {
        assert_eq!(cut(&[b"a\nb", b"c\n\n", b"d"]), ["a", "bc", "d"]);
        let long = "x".repeat(LONGEST_LINE);
        let twice = format!("{long}{long}\ny");
        assert_eq!(cut(&[twice.as_bytes()]), [&long, &long, "y"]);
        for character in ["é", "€", "𝄞"] {
            let text = format!("{}{character}z", "x".repeat(LONGEST_LINE - 1));
            let pieces = cut(&[text.as_bytes()]);
            assert_eq!(pieces[0].len(), LONGEST_LINE - 1);
            assert_eq!(pieces[1], format!("{character}z"));
        }
        // What is no UTF-8 goes on all the same.
        for byte in [0x80, 0xc3, 0xff] {
            let garbage = vec![byte; 5 * LONGEST_LINE];
            let mut bytes = 0;
            let mut lines = Lines::default();
            lines.push(&garbage, |line| bytes += line.len());
            lines.finish(|line| bytes += line.len());
            assert_eq!(bytes, garbage.len());
        }
    }

    #[test]
    fn a_second_has_its_lines_and_bytes_and_one_summary() {
        let mut allowance = Allowance::default();
        let taken = (0..LINES * 3).filter(|_| allowance.take(1)).count();
        assert_eq!(taken as u64, LINES);
        assert_eq!(allowance.due(), Some(SECOND));
        assert_eq!(allowance.turn(SECOND / 2), None);
        let left_out = LeftOut {
            lines: LINES * 2,
            bytes: LINES * 2,
        };
        assert_eq!(allowance.turn(SECOND), Some(left_out));
        assert_eq!((allowance.turn(SECOND * 2), allowance.due()), (None, None));

        let taken = (0..BYTES).filter(|_| allowance.take(1024)).count();
        assert_eq!(taken as u64, BYTES / 1024);
        assert!(!allowance.take(0), "nothing passes what was left out");
        assert!(allowance.close().is_some() && allowance.close().is_none());
    }

    /// So many bytes, without a line's end, and how often it was read.
    struct Flood {
        left: usize,
        reads: usize,
    }

    impl AsyncRead for &mut Flood {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let count = self.left.min(buf.remaining());
            buf.put_slice(&vec![b'x'; count]);
            self.left -= count;
            self.reads += 1;
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_costs_few_reads_and_few_records() {
        let size = 64 << 20;
        let mut flood = Flood {
            left: size,
            reads: 0,
        };
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Output::of("10-flood".parse().unwrap())
            .log("stdout", &mut flood)
            .with_subscriber(subscriber)
            .await;
        assert!(flood.reads <= size / BLOCK + 1, "{}", flood.reads);
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let records: Vec<&str> = log.lines().collect();
        // Time stands still, so all of it comes in one second.
        let whole = BYTES as usize / LONGEST_LINE;
        assert_eq!(records.len(), whole + 1);
        let left_out = size / LONGEST_LINE - whole;
        let says = format!("{left_out} lines left out");
        assert!(records[whole].contains(&says), "{}", records[whole]);
    }
}
