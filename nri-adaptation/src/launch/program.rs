//! What a file is that is to be executed: a program for this machine, or a script whose interpreter
//! is one. Anything else is refused, and nothing of it runs. May not enter: who the plugin is, and
//! how a process is begun.
//!
//! A launch executes the descriptor of the program that was judged. For a script that is its
//! interpreter's, with the arguments that the kernel would have put together; the script itself is
//! handed on by its path, since `$0` is how a script finds what is beside it. Nobody but root and
//! ourselves can have put another one there: its way was judged.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfsMountFlags, access, fstatvfs};
use rustix::io::fcntl_dupfd_cloexec;

use crate::text::{printable_path, sanitized};
use crate::way::{End, Kind, Obstacle, Trust, trusted};

/// How many bytes of a file the kernel looks at.
const START: usize = 256;
/// How many interpreters may stand one behind the other, as in the kernel.
const MOST_INTERPRETERS: usize = 4;
/// The longest table of segments that the kernel reads, in bytes.
const LONGEST_TABLE: usize = 64 << 10;
/// The longest path of a loader, in bytes, its end included.
const LONGEST_PATH: u64 = 4096;
/// Descriptors below are those of the child: its standard streams and its connection.
const FIRST_FREE_FD: i32 = 4;

const ELF: &[u8] = b"\x7fELF";
/// What the files of WebAssembly modules begin with.
const WASM: &[u8] = b"\0asm\x01\0\0\0";

/// What programs an ELF file is for, as its first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// 1: 32 bits, 2: 64 bits.
    class: u8,
    /// 1: little endian, 2: big endian.
    data: u8,
    number: u16,
}

impl Machine {
    /// The machine of an ELF file that begins like this.
    fn of(start: &[u8]) -> Option<Self> {
        let (class, data) = (*start.get(4)?, *start.get(5)?);
        let number = Fields {
            bytes: start,
            big: data == 2,
        }
        .u16(18)?;
        start.starts_with(ELF).then_some(Self {
            class,
            data,
            number,
        })
    }

    /// This machine, which is the one that this program itself is for.
    fn here() -> Result<Self, String> {
        if !Path::new("/proc/self/fd").exists() {
            return Err(
                "/proc is not mounted here, and it takes that to execute a file by its descriptor"
                    .to_owned(),
            );
        }
        let path = "/proc/self/exe";
        let file = File::open(path).map_err(|error| {
            format!("the program that runs cannot be looked at: {path}: {error}")
        })?;
        Self::of(&start_of(&file)).ok_or_else(|| format!("{path} is no ELF program"))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.number {
            3 => "i386",
            8 => "mips",
            20 => "powerpc",
            21 => "powerpc64",
            22 => "s390",
            40 => "arm",
            62 => "x86-64",
            183 => "aarch64",
            243 => "riscv",
            258 => "loongarch",
            number => return write!(f, "machine {number}, {}", self.form()),
        };
        write!(f, "{name}, {}", self.form())
    }
}

impl Machine {
    fn form(self) -> &'static str {
        match (self.class, self.data) {
            (1, 1) => "32 bits, little endian",
            (1, 2) => "32 bits, big endian",
            (2, 1) => "64 bits, little endian",
            (2, 2) => "64 bits, big endian",
            _ => "of no known form",
        }
    }
}

/// Numbers in a file; `None` beyond its end.
struct Fields<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let end = at.checked_add(N)?;
        let mut bytes: [u8; N] = self.bytes.get(at..end)?.try_into().ok()?;
        if self.big {
            bytes.reverse();
        }
        Some(bytes)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// An offset or a size, which is as wide as the class says.
    fn word(&self, class: u8, at: usize) -> Option<u64> {
        match class {
            2 => self.array(at).map(u64::from_le_bytes),
            _ => self.u32(at).map(u64::from),
        }
    }
}

/// What is at most `length` bytes at a place in a file; less at its end.
type Reader<'a> = &'a dyn Fn(u64, usize) -> Vec<u8>;

/// What can be executed.
#[derive(Debug, PartialEq, Eq)]
enum Image {
    /// A program for this machine, and the loader that it needs, if it does.
    Program { loader: Option<PathBuf> },
    /// A script, with what its first line says.
    Script {
        interpreter: PathBuf,
        argument: Option<OsString>,
    },
}

/// The rule: what a file is that can be read like this.
///
/// # Errors
/// It cannot be executed here: why.
fn look(read: Reader<'_>, here: Machine) -> Result<Image, String> {
    let start = read(0, START);
    if start.starts_with(b"#!") {
        return first_line(&start).map_err(|why| format!("cannot be executed here: {why}"));
    }
    if start.starts_with(WASM) {
        return Err("it is a WebAssembly plugin, and this build runs none".to_owned());
    }
    let Some(machine) = Machine::of(&start) else {
        let what = match start.is_empty() {
            true => "it is empty",
            false => {
                "it is neither a program for this machine (ELF) nor a script that begins with `#!`"
            }
        };
        return Err(format!("cannot be executed here: {what}"));
    };
    if machine != here {
        return Err(format!(
            "cannot be executed here: it is a program for another machine ({machine}; this is {here})"
        ));
    }
    match program(read, &start, machine) {
        Some(Ok(loader)) => Ok(Image::Program { loader }),
        Some(Err(why)) => Err(format!("cannot be executed here: {why}")),
        None => Err(
            "cannot be executed here: it is an ELF file that is damaged or cut short".to_owned(),
        ),
    }
}

/// The loader that a program of this machine names, if it names one. `None`: something is missing
/// from the file.
fn program(
    read: Reader<'_>,
    start: &[u8],
    machine: Machine,
) -> Option<Result<Option<PathBuf>, String>> {
    let (class, big) = (machine.class, machine.data == 2);
    let header = Fields { bytes: start, big };
    // Executable, or position-independent.
    if !matches!(header.u16(16)?, 2 | 3) {
        return Some(Err(
            "it is an ELF file, but no program: an object, a core dump or the like".to_owned(),
        ));
    }
    // Where header and segments have: the table of segments, the size and number of its entries; of
    // an entry the offset and the size in the file.
    let (table, entry_size, count, offset, size, expected) = match class {
        2 => (32, 54, 56, 8, 32, 56),
        _ => (28, 42, 44, 4, 16, 32),
    };
    let (table, count) = (header.word(class, table)?, usize::from(header.u16(count)?));
    let entry_size = usize::from(header.u16(entry_size)?);
    if entry_size != expected || count == 0 || count * entry_size > LONGEST_TABLE {
        return None;
    }
    let segments = read(table, count * entry_size);
    if segments.len() != count * entry_size {
        return None;
    }
    for segment in segments.chunks(entry_size) {
        let segment = Fields {
            bytes: segment,
            big,
        };
        // The loader; the first one counts.
        if segment.u32(0)? == 3 {
            let (at, length) = (segment.word(class, offset)?, segment.word(class, size)?);
            if !(2..=LONGEST_PATH).contains(&length) {
                return None;
            }
            let mut path = read(at, usize::try_from(length).ok()?);
            if path.len() as u64 != length || path.pop() != Some(0) {
                return None;
            }
            path.truncate(
                path.iter()
                    .position(|byte| *byte == 0)
                    .unwrap_or(path.len()),
            );
            return Some(Ok(Some(PathBuf::from(OsString::from_vec(path)))));
        }
    }
    Some(Ok(None))
}

/// The first line of a script, read as the kernel reads it.
fn first_line(start: &[u8]) -> Result<Image, String> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let rest = &start[2..];
    let end = rest.iter().position(|byte| matches!(byte, b'\n' | 0));
    let line = &rest[..end.unwrap_or(rest.len())];
    let line = trimmed(line);
    let (path, argument) = match line.iter().position(blank) {
        Some(at) => (&line[..at], trimmed(&line[at..])),
        None => (line, &[][..]),
    };
    if end.is_none() && start.len() >= START && argument.is_empty() {
        return Err(format!(
            "its first line is longer than the {START} bytes that the system looks at"
        ));
    }
    if path.is_empty() {
        return Err("its first line names no interpreter".to_owned());
    }
    let interpreter = PathBuf::from(OsString::from_vec(path.to_vec()));
    if !interpreter.is_absolute() {
        return Err(format!(
            "its interpreter `{}` is no absolute path",
            printable_path(&interpreter)
        ));
    }
    let argument = (!argument.is_empty()).then(|| OsString::from_vec(argument.to_vec()));
    Ok(Image::Script {
        interpreter,
        argument,
    })
}

/// Without the blanks around it.
fn trimmed(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

fn start_of(file: &File) -> Vec<u8> {
    read_at(file, 0, START)
}

/// As many bytes as there are and can be read.
fn read_at(file: &File, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut read = 0;
    while read < length {
        let Some(place) = at.checked_add(read as u64) else {
            break;
        };
        match file.read_at(&mut bytes[read..], place) {
            Ok(0) | Err(_) => break,
            Ok(more) => read += more,
        }
    }
    bytes.truncate(read);
    bytes
}

/// What a launch executes.
#[derive(Debug)]
pub(crate) struct Program {
    /// The program that was judged. Its number is none that the child has for itself.
    file: OwnedFd,
    /// Its arguments, the name it is called by first.
    pub(crate) arguments: Vec<OsString>,
}

impl Program {
    /// Looks at what is at a path, and at what it takes to execute it.
    ///
    /// # Errors
    /// It cannot be executed here, or others could change it: why.
    pub(crate) fn find(path: &Path, trust: Trust) -> Result<Self, String> {
        match trusted(path, trust) {
            Ok(end) => Self::of(path, &end, trust),
            Err(Obstacle::Absent) => {
                Err(format!("{} does not exist any more", printable_path(path)))
            }
            Err(Obstacle::Refused(reason)) => Err(reason),
        }
    }

    /// The same for a file that was judged already.
    pub(crate) fn of(path: &Path, end: &End, trust: Trust) -> Result<Self, String> {
        let here = Machine::here()?;
        let mut arguments = vec![path.as_os_str().to_owned()];
        let mut image = executable(end, here)?;
        let mut interpreted: Option<End> = None;
        for _ in 0..=MOST_INTERPRETERS {
            let (interpreter, argument) = match image {
                Image::Script {
                    interpreter,
                    argument,
                } => (interpreter, argument),
                Image::Program { loader } => {
                    let program = interpreted.as_ref().unwrap_or(end);
                    if let Some(loader) = loader {
                        needed("loader", &loader, trust)?;
                    }
                    let file = fcntl_dupfd_cloexec(&program.file, FIRST_FREE_FD)
                        .map_err(|error| error.to_string())?;
                    return Ok(Self { file, arguments });
                }
            };
            let next = needed("interpreter", &interpreter, trust)?;
            image = executable(&next, here)
                .map_err(|why| format!("its interpreter {} {why}", printable_path(&interpreter)))?;
            interpreted = Some(next);
            let before = [Some(interpreter.into_os_string()), argument];
            arguments.splice(0..0, before.into_iter().flatten());
        }
        Err(format!(
            "cannot be executed here: more than {MOST_INTERPRETERS} interpreters stand one behind the other"
        ))
    }

    /// The path under which the child, which has the same descriptors until then, executes what was
    /// judged.
    pub(crate) fn path(&self) -> PathBuf {
        path_of(&self.file)
    }
}

fn path_of(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Goes the way to what a program cannot run without.
fn needed(what: &str, path: &Path, trust: Trust) -> Result<End, String> {
    let end = trusted(path, trust).map_err(|obstacle| match obstacle {
        Obstacle::Absent => format!("its {what} {} does not exist", printable_path(path)),
        Obstacle::Refused(reason) => format!("its {what}: {reason}"),
    })?;
    match end.kind() {
        Kind::File => Ok(end),
        _ => Err(format!(
            "its {what} {} is not a regular file",
            printable_path(path)
        )),
    }
}

/// What a file is, if it may be executed.
fn executable(end: &End, here: Machine) -> Result<Image, String> {
    let refused = |why: &str| Err(format!("cannot be executed here: {why}"));
    if end.kind() != Kind::File {
        return refused("it is not a regular file");
    }
    if end.stat.st_mode & 0o111 == 0 {
        return refused("it is not executable: `chmod +x` makes it so");
    }
    let mount = fstatvfs(&end.file).map_err(|error| sanitized(&error.to_string()))?;
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return refused("its file system is mounted with `noexec`");
    }
    if access(path_of(&end.file), Access::EXEC_OK).is_err_and(|e| e == rustix::io::Errno::ACCESS) {
        return refused("its mode does not let our user execute it");
    }
    let file = end.open().map_err(|error| {
        format!(
            "cannot be executed here: it cannot be read, so nobody can tell what it is: {error}"
        )
    })?;
    look(&|at, length| read_at(&file, at, length), here)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Machine = Machine {
        class: 2,
        data: 1,
        number: 62,
    };

    fn judged(bytes: &[u8]) -> Result<Image, String> {
        let read = |at: u64, length: usize| {
            let at = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            bytes[at..bytes.len().min(at + length)].to_vec()
        };
        look(&read, HERE)
    }

    fn refusal(bytes: &[u8]) -> String {
        judged(bytes).unwrap_err()
    }

    /// A program of 64 bits, little endian, with one segment of this type and content.
    fn program(machine: u16, kind: u16, segment: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16..18].copy_from_slice(&kind.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&segment.to_le_bytes());
        bytes[72..80].copy_from_slice(&120u64.to_le_bytes());
        bytes[96..104].copy_from_slice(&(content.len() as u64).to_le_bytes());
        bytes.extend(content);
        bytes
    }

    #[test]
    fn programs_for_this_machine_are_executed_and_nothing_else() {
        let fixed = judged(&program(62, 2, 1, b"")).unwrap();
        assert_eq!(fixed, Image::Program { loader: None });
        let dynamic = judged(&program(62, 3, 3, b"/lib64/ld.so\0")).unwrap();
        let loader = Some("/lib64/ld.so".into());
        assert_eq!(dynamic, Image::Program { loader });

        let other = refusal(&program(183, 2, 1, b""));
        for says in [
            "cannot be executed here: ",
            "another machine",
            "aarch64",
            "x86-64",
        ] {
            assert!(other.contains(says), "{other}");
        }
        for (at, value, says) in [
            (4, 1, "32 bits"),
            (5, 2, "big endian"),
            (16, 1, "no program"),
            (16, 4, "no program"),
            (54, 55, "damaged"),
            (56, 0, "damaged"),
            (56, 9, "damaged"),
            (39, 0xff, "damaged"),
        ] {
            let mut bytes = program(62, 2, 1, b"");
            bytes[at] = value;
            let text = refusal(&bytes);
            assert!(text.contains(says), "{at}: {text}");
        }
        for (content, says) in [
            (&b"/lib/no-end"[..], "damaged"),
            (b"\0", "damaged"),
            (&[b'x'; 5000], "damaged"),
        ] {
            let text = refusal(&program(62, 2, 3, content));
            assert!(text.contains(says), "{text}");
        }
        for (bytes, says) in [
            (&b""[..], "it is empty"),
            (b"echo x", "neither a program"),
            (b"MZ\x90\0", "neither a program"),
            (b"\xff\xfe#!/bin/sh", "neither a program"),
            (b"\xef\xbb\xbf#!/bin/sh", "neither a program"),
            (b"\x7fELF", "neither a program"),
            (WASM, "WebAssembly"),
        ] {
            let text = refusal(bytes);
            assert!(text.contains(says), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_cut_short_anywhere_is_refused_or_read_as_before() {
        let whole = program(62, 3, 3, b"/lib64/ld.so\0");
        for length in 0..whole.len() {
            assert!(judged(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn the_first_line_of_a_script_is_read_as_the_kernel_reads_it() {
        let script = |interpreter: &str, argument: Option<&str>| {
            Ok(Image::Script {
                interpreter: interpreter.into(),
                argument: argument.map(OsString::from),
            })
        };
        for (text, interpreter, argument) in [
            ("#!/bin/sh\necho", "/bin/sh", None),
            ("#!/bin/sh", "/bin/sh", None),
            ("#! \t/bin/sh -e \n", "/bin/sh", Some("-e")),
            (
                "#!/usr/bin/env python3 -u\n",
                "/usr/bin/env",
                Some("python3 -u"),
            ),
            ("#!/bin/sh\r\necho", "/bin/sh\r", None),
        ] {
            let read = judged(text.as_bytes());
            assert_eq!(read, script(interpreter, argument), "{text:?}");
        }
        let long = format!("#!/bin/{}\n", "x".repeat(300));
        for (text, says) in [
            ("#!", "names no interpreter"),
            ("#! \n/bin/sh", "names no interpreter"),
            ("#!sh\n", "no absolute path"),
            (long.as_str(), "longer than the 256 bytes"),
        ] {
            let text = refusal(text.as_bytes());
            assert!(text.contains(says), "{text}");
        }
    }

    #[test]
    fn this_program_is_for_this_machine() {
        let here = Machine::here().unwrap();
        let file = File::open("/proc/self/exe").unwrap();
        let image = look(&|at, length| read_at(&file, at, length), here);
        assert!(matches!(image, Ok(Image::Program { .. })), "{image:?}");
    }
}
