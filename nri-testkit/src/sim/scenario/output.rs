//! What a plugin prints: read from a pipe as it comes, written on to a file, and waited for. What
//! may not enter: who the plugin is and how it is started.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How much is read at a time.
const CHUNK: usize = 8192;
/// More than a pipe holds, in chunks: whoever asks for all that was printed so far has it then,
/// however much more is printed meanwhile.
const PIPE: usize = 32;

/// What a plugin prints.
#[derive(Debug)]
pub(super) struct Output {
    pipe: PathBuf,
    file: PathBuf,
    /// Changes when there is more in the file.
    written: watch::Receiver<u64>,
    caught_up: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Output {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Output {
    /// Makes a directory of this name, with the pipe and the file in it.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir(directory)?;
        let [pipe, file] = ["pipe", "text"].map(|name| directory.join(name));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        // For both directions: it is there for whoever writes, and has no end when they are gone.
        let from = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(&pipe)?;
        let at_once = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(&pipe)?;
        let (told, written) = watch::channel(0);
        let (caught_up, asked) = mpsc::channel(1);
        let writer = Writer {
            from,
            at_once,
            to: File::create(&file)?,
            told,
        };
        Ok(Self {
            pipe,
            file,
            written,
            caught_up,
            task: tokio::spawn(writer.write_on(asked)),
        })
    }

    /// Where the plugin is to print.
    pub(super) fn pipe(&self) -> &Path {
        &self.pipe
    }

    /// Returns when a line with a text in it was printed, before this or after.
    pub(super) async fn prints(&self, text: &str) -> io::Result<()> {
        let mut written = self.written.clone();
        let mut file = File::open(&self.file)?;
        let mut search = Search::new(text);
        loop {
            written.borrow_and_update();
            let mut chunk = [0; CHUNK];
            loop {
                match file.read(&mut chunk)? {
                    0 => break,
                    read if search.found_in(&chunk[..read]) => return Ok(()),
                    _ => {}
                }
            }
            let over = |_| io::Error::other("its output cannot be read any more");
            written.changed().await.map_err(over)?;
        }
    }

    /// At most so many bytes of the end of what was printed so far.
    pub(super) async fn tail(&self, most: usize) -> io::Result<Vec<u8>> {
        let (done, caught_up) = oneshot::channel();
        // If it reads no more, there is no more than there is.
        if self.caught_up.send(done).await.is_ok() {
            let _ = caught_up.await;
        }
        let mut file = File::open(&self.file)?;
        let length = file.metadata()?.len();
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut tail = Vec::new();
        file.take(most).read_to_end(&mut tail)?;
        Ok(tail)
    }
}

/// Writes on what comes out of the pipe.
struct Writer {
    from: pipe::Receiver,
    /// The same pipe, read without asking whether something was seen to be there.
    at_once: File,
    to: File,
    told: watch::Sender<u64>,
}

impl Writer {
    async fn write_on(mut self, mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
        loop {
            tokio::select! {
                biased;
                ask = asked.recv() => {
                    let Some(ask) = ask else { return };
                    for _ in 0..PIPE {
                        match self.step() {
                            Ok(()) => {}
                            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                            Err(_) => return,
                        }
                    }
                    // It fails if the one who asked is gone.
                    let _ = ask.send(());
                }
                went = self.next() => if went.is_err() { return },
            }
        }
    }

    /// One chunk, once there is one.
    async fn next(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        self.from.readable().await?;
        match self.from.try_read(&mut chunk) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
            Ok(read) => self.take(&chunk[..read]),
        }
    }

    /// One chunk, if there is one.
    fn step(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        let read = self.at_once.read(&mut chunk)?;
        self.take(&chunk[..read])
    }

    fn take(&mut self, printed: &[u8]) -> io::Result<()> {
        self.to.write_all(printed)?;
        self.told
            .send_modify(|bytes| *bytes += printed.len() as u64);
        Ok(())
    }
}

/// Looks for a text in what comes in pieces.
struct Search {
    wanted: Vec<u8>,
    /// The end of what was there before, in which the text may have begun.
    before: Vec<u8>,
}

impl Search {
    fn new(wanted: &str) -> Self {
        Self {
            wanted: wanted.as_bytes().to_vec(),
            before: Vec::new(),
        }
    }

    fn found_in(&mut self, piece: &[u8]) -> bool {
        if self.wanted.is_empty() {
            return !piece.is_empty();
        }
        let text = [&self.before, piece].concat();
        let found = text
            .windows(self.wanted.len())
            .any(|part| part == self.wanted);
        let kept = text.len().min(self.wanted.len() - 1);
        self.before = text[text.len() - kept..].to_vec();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_however_it_is_cut() {
        let text = "one two tow two\nthree";
        for cut in 0..text.len() {
            for (wanted, found) in [
                ("tow tw", true),
                ("three", true),
                ("", true),
                ("twu", false),
            ] {
                let mut search = Search::new(wanted);
                let (first, second) = text.as_bytes().split_at(cut);
                let found_first = search.found_in(first);
                assert_eq!(found_first || search.found_in(second), found, "{wanted}");
            }
        }
        assert!(!Search::new("").found_in(b""));
    }

    #[tokio::test]
    async fn what_is_printed_is_waited_for_and_kept_when_the_plugin_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let output = Output::open(&home.path().join("10-a")).unwrap();
        // More than a pipe holds, by one who does not wait for the reader.
        let pipe = output.pipe().to_owned();
        let plugin = std::thread::spawn(move || {
            let mut pipe = OpenOptions::new().write(true).open(pipe).unwrap();
            pipe.write_all(&b"x".repeat(1 << 20)).unwrap();
            pipe.write_all(b"\nlunch").unwrap();
        });
        output.prints("\nlunch").await.unwrap();
        plugin.join().unwrap();
        // Before, too; and another plugin of that name goes on.
        output.prints("xxx").await.unwrap();
        let mut pipe = OpenOptions::new().write(true).open(output.pipe()).unwrap();
        pipe.write_all(b" and dinner").unwrap();
        drop(pipe);
        // All of it, without a wait for the reader's turn.
        assert_eq!(output.tail(16).await.unwrap(), b"lunch and dinner");
        assert_eq!(output.tail(1 << 30).await.unwrap().len(), (1 << 20) + 17);
    }
}
