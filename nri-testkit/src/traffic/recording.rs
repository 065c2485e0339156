//! Recordings: a header and one entry per line, written as they come and read as they are needed.
//! What may not enter: what is done with them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use nri_core::NRI_VERSION;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, Side, What};
use super::messages;
use crate::named_file;

/// The version of the format that is written, and the latest that is read.
pub const FORMAT_VERSION: u32 = 1;

/// The name of the format.
const FORMAT: &str = "nri-recording";
/// The longest line: a message of 4 MiB in base64, and what stands around it.
const LONGEST: u64 = 8 << 20;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is none.
    #[error(
        "{}: this is no recording: its first line is not the header that `nri-sim tap --record` writes",
        path.display()
    )]
    NoRecording {
        /// The file.
        path: PathBuf,
    },
    /// A newer program has written it.
    #[error(
        "{}: its format has version {version}, and this program reads up to {FORMAT_VERSION}: use a newer nri-sim",
        path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The version of its format.
        version: u32,
    },
    /// A line in its middle is damaged.
    #[error("{}, line {line}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// What is looked for is not in it.
    #[error("{}: {what}", path.display())]
    NotThere {
        /// The file.
        path: PathBuf,
        /// What there is not.
        what: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    #[serde(default)]
    nri: String,
    #[serde(default)]
    hidden: bool,
}

/// A line. What is not needed by a kind is not there.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Line {
    connection: u64,
    at_us: u64,
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    from: String,
    #[serde(skip_serializing_if = "is_zero")]
    stream: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    payload: String,
    #[serde(skip_serializing_if = "is_zero")]
    timeout_ns: i64,
    #[serde(skip_serializing_if = "is_zero")]
    code: i32,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<&Entry> for Line {
    fn from(entry: &Entry) -> Self {
        let line = Self {
            connection: entry.connection,
            at_us: entry.at_us,
            ..Self::default()
        };
        match &entry.what {
            What::Opened => Self {
                kind: "opened".to_owned(),
                ..line
            },
            What::Closed => Self {
                kind: "closed".to_owned(),
                ..line
            },
            What::Lost { why } => Self {
                kind: "lost".to_owned(),
                text: why.clone(),
                ..line
            },
            What::Request {
                from,
                stream,
                method,
                payload,
                timeout_ns,
            } => Self {
                kind: "request".to_owned(),
                from: from.word().to_owned(),
                stream: *stream,
                method: method.clone(),
                payload: STANDARD.encode(payload),
                timeout_ns: *timeout_ns,
                ..line
            },
            What::Answer {
                from,
                stream,
                method,
                payload,
                error,
            } => {
                let (code, text) = error.clone().unwrap_or_default();
                Self {
                    kind: "answer".to_owned(),
                    from: from.word().to_owned(),
                    stream: *stream,
                    method: method.clone(),
                    payload: STANDARD.encode(payload),
                    code,
                    text,
                    ..line
                }
            }
        }
    }
}

impl Line {
    fn entry(self) -> Result<Entry, String> {
        let from = || match &*self.from {
            "runtime" => Ok(Side::Runtime),
            "plugin" => Ok(Side::Plugin),
            other => Err(format!("`from` is {other:?}, and may be runtime or plugin")),
        };
        let payload = || {
            let decoded = STANDARD.decode(&self.payload);
            decoded
                .map(Bytes::from)
                .map_err(|error| format!("`payload`: {error}"))
        };
        let what = match &*self.kind {
            "opened" => What::Opened,
            "closed" => What::Closed,
            "request" => What::Request {
                from: from()?,
                stream: self.stream,
                payload: payload()?,
                method: self.method,
                timeout_ns: self.timeout_ns,
            },
            "answer" => What::Answer {
                from: from()?,
                stream: self.stream,
                payload: payload()?,
                method: self.method,
                error: (self.code != 0).then_some((self.code, self.text)),
            },
            "lost" => What::Lost { why: self.text },
            other => {
                return Err(format!(
                    "`kind` is {other:?}, which this version does not know"
                ));
            }
        };
        Ok(Entry {
            connection: self.connection,
            at_us: self.at_us,
            what,
        })
    }
}

/// Writes a recording. Each entry is written whole, so a program that is killed leaves at most its
/// last line torn.
#[derive(Debug)]
pub struct Recorder<W> {
    output: W,
    hide: bool,
}

impl Recorder<io::BufWriter<File>> {
    /// A recording in a new file, which only the own user may read.
    ///
    /// # Errors
    /// It is there already, or cannot be made.
    pub fn create(path: &Path, hide: bool) -> io::Result<Self> {
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Self::new(io::BufWriter::new(file), hide)
    }
}

impl<W: Write> Recorder<W> {
    /// A recording that is written there; `hide` leaves values out that may be secret.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(output: W, hide: bool) -> io::Result<Self> {
        let mut recorder = Self { output, hide };
        recorder.line(&Header {
            format: FORMAT.to_owned(),
            version: FORMAT_VERSION,
            nri: NRI_VERSION.to_owned(),
            hidden: hide,
        })?;
        recorder.flush()?;
        Ok(recorder)
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.output.write_all(&text)
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        match self.hide {
            false => self.line(&Line::from(entry)),
            true => {
                let what = messages::hidden(entry.what.clone());
                self.line(&Line::from(&Entry { what, ..*entry }))
            }
        }
    }

    /// Hands on what was written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Reads a recording, one entry after the other.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    input: BufReader<File>,
    /// The line that was read last.
    line: u64,
    /// Where the next line begins.
    position: u64,
    hidden: bool,
    is_torn: bool,
}

impl Recording {
    /// Opens a recording.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let unreadable = |source| RecordingError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut recording = Self {
            path: path.to_owned(),
            input: BufReader::new(named_file::open(path).map_err(unreadable)?),
            line: 0,
            position: 0,
            hidden: false,
            is_torn: false,
        };
        let no_recording = || RecordingError::NoRecording {
            path: path.to_owned(),
        };
        let first = recording.next_line()?.ok_or_else(no_recording)?;
        let header: Header = serde_json::from_slice(&first).map_err(|_| no_recording())?;
        if header.format != FORMAT {
            return Err(no_recording());
        }
        if header.version > FORMAT_VERSION {
            return Err(RecordingError::TooNew {
                path: path.to_owned(),
                version: header.version,
            });
        }
        recording.hidden = header.hidden;
        Ok(recording)
    }

    /// Whether values were hidden when it was made.
    pub fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// Whether its last line was torn, as a program that is killed leaves it. Known when all of it
    /// was read.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Where the next entry is.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Reads on from where an entry is.
    pub(super) fn seek(&mut self, position: u64) -> Result<(), RecordingError> {
        let unreadable = |source| RecordingError::Unreadable {
            path: self.path.clone(),
            source,
        };
        self.input
            .seek(SeekFrom::Start(position))
            .map_err(unreadable)?;
        self.position = position;
        Ok(())
    }

    pub(super) fn lacks(&self, what: impl Into<String>) -> RecordingError {
        RecordingError::NotThere {
            path: self.path.clone(),
            what: what.into(),
        }
    }

    fn damaged(&self, reason: impl Into<String>) -> RecordingError {
        RecordingError::Damaged {
            path: self.path.clone(),
            line: self.line,
            reason: reason.into(),
        }
    }

    /// A line without its end; `None` after the last whole one.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, RecordingError> {
        let mut line = Vec::new();
        let read = (&mut self.input).take(LONGEST).read_until(b'\n', &mut line);
        self.line += 1;
        match read {
            Err(source) => {
                return Err(RecordingError::Unreadable {
                    path: self.path.clone(),
                    source,
                });
            }
            Ok(read) => self.position += read as u64,
        }
        match line.pop() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            Some(_) if line.len() as u64 + 1 >= LONGEST => {
                Err(self.damaged(format!("the line is longer than {LONGEST} bytes")))
            }
            Some(_) => {
                self.is_torn = true;
                Ok(None)
            }
        }
    }

    /// The next entry; `None` after the last whole one.
    ///
    /// # Errors
    /// It cannot be read, or a line in its middle is damaged.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, RecordingError> {
        let Some(line) = self.next_line()? else {
            return Ok(None);
        };
        let line: Line =
            serde_json::from_slice(&line).map_err(|error| self.damaged(error.to_string()))?;
        let entry = line.entry().map_err(|reason| self.damaged(reason))?;
        Ok(Some(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let whats = vec![
            What::Opened,
            What::Request {
                from: Side::Runtime,
                stream: 1,
                method: "CreateContainer".to_owned(),
                payload: Bytes::from_static(&[0, 255, 1]),
                timeout_ns: 2_000_000_000,
            },
            What::Answer {
                from: Side::Plugin,
                stream: 1,
                method: "CreateContainer".to_owned(),
                payload: Bytes::new(),
                error: Some((2, "no".to_owned())),
            },
            What::Lost {
                why: "of it\nall".to_owned(),
            },
            What::Closed,
        ];
        let entries = (0..).zip(whats).map(|(at_us, what)| Entry {
            connection: 3,
            at_us,
            what,
        });
        entries.collect()
    }

    fn written() -> Vec<u8> {
        let mut text = Vec::new();
        let mut recorder = Recorder::new(&mut text, false).unwrap();
        for entry in entries() {
            recorder.write(&entry).unwrap();
        }
        text
    }

    fn read(text: &[u8]) -> Result<(Vec<Entry>, bool), RecordingError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut recording = Recording::open(file.path())?;
        let mut all = Vec::new();
        while let Some(entry) = recording.next_entry()? {
            all.push(entry);
        }
        Ok((all, recording.is_torn()))
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&written()).unwrap(), (entries(), false));
    }

    #[test]
    fn wherever_it_is_torn_all_that_was_whole_is_read() {
        let text = written();
        let header = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for end in header..text.len() {
            let whole = text[header..end]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            let (all, is_torn) = read(&text[..end]).unwrap();
            assert_eq!(all, entries()[..whole]);
            assert_eq!(is_torn, text[end - 1] != b'\n');
        }
    }

    #[test]
    fn what_is_no_recording_or_too_new_or_damaged_is_said() {
        for (text, says) in [
            ("", "this is no recording"),
            ("{}\n", "this is no recording"),
            (
                "{\"format\":\"nri-recording\",\"version\":2}\n",
                "use a newer nri-sim",
            ),
            (
                "{\"format\":\"nri-recording\",\"version\":1}\nx\n{}\n",
                "line 2",
            ),
            (
                "{\"format\":\"nri-recording\",\"version\":1}\n{\"kind\":\"dance\"}\n",
                "`kind` is \"dance\"",
            ),
            (
                "{\"format\":\"nri-recording\",\"version\":1}\n{\"kind\":\"answer\",\"from\":\"me\"}\n",
                "may be runtime or plugin",
            ),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
