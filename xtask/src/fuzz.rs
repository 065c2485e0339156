//! `cargo xtask fuzz TARGET --seconds N`: coverage-guided fuzzing of a target in `fuzz/`, or of
//! all, from a corpus that starts with checked-in data.
//!
//! Needs a C++ compiler, for the fuzzer itself; `cargo-fuzz` is installed if it is missing. No
//! nightly toolchain: only sanitizers would need one, and they look for what `unsafe` code does.
//! Ours has none, and panics, overflows, hanging and growing are found without.

use std::collections::BTreeSet;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::Value;

use nri_dev::{process, workspace};

use crate::tools;

#[derive(Args)]
pub(crate) struct Options {
    /// What to fuzz: a target of fuzz/, or all.
    #[arg(value_parser = target)]
    target: String,
    /// For how long; with all, each.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Recorded requests and responses to start from.
    #[arg(long, default_value = VECTORS)]
    vectors: PathBuf,
}

const VECTORS: &str = "nri-testkit/data/vectors-merge.jsonl";
/// In place of a target.
const ALL: &str = "all";

/// Every target, what it is, and where there is more to start from than in `fuzz/seeds`.
const TARGETS: [(&str, &str, Option<&str>); 20] = [
    (
        "merge",
        "requests through plugins with any responses: creation, update, stop",
        None,
    ),
    (
        "frames",
        "the decoder of the frames that two connections share a socket by",
        None,
    ),
    ("annotations", "annotations that NRI reads itself", None),
    ("blockio", "files of block I/O classes", None),
    (
        "cdi",
        "CDI specification files",
        Some("nri-domain-cri/testdata/cdi-etc"),
    ),
    ("cgroup_paths", "cgroup paths", None),
    ("commands", "JSON lines of nri-sim", None),
    ("config_json", "configurations in JSON", None),
    (
        "config_toml",
        "configurations in TOML",
        Some("nri-adaptation/testdata/config"),
    ),
    ("cri_json", "CRI in JSON", None),
    ("cri_wire", "CRI in bytes of protobuf", None),
    ("cri_yaml", "CRI in YAML", None),
    ("durations", "durations", None),
    ("items", "counting what is in a message", None),
    ("messages_json", "messages in proto3 JSON", None),
    ("mount_table", "the host's mount table", None),
    ("oci_apply", "adjustments applied to OCI specs", None),
    ("oci_read", "OCI specs", None),
    ("policy", "policies in TOML, and judging by them", None),
    ("ttrpc", "connections whose peer sends anything", None),
];

fn target(name: &str) -> Result<String, String> {
    let known = TARGETS.iter().map(|(name, ..)| *name);
    if iter::once(ALL).chain(known).any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let list: Vec<String> = TARGETS
        .iter()
        .map(|(name, what, _)| format!("    {name}: {what}"))
        .collect();
    Err(format!(
        "no such target; there are {ALL} and\n{}",
        list.join("\n")
    ))
}

impl Options {
    /// Every target, for so many seconds each.
    pub(crate) fn all(seconds: u64) -> Self {
        Self {
            target: ALL.to_owned(),
            seconds,
            vectors: VECTORS.into(),
        }
    }
}

const REALISTIC: &str = "nri-core/testdata/realistic-create-request.b64";

/// Fuzzes, as many targets at a time as there are processors.
///
/// # Errors
/// A tool is missing, or the fuzzer found something; the text says how to see it again. Of all
/// targets, every one is run.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    prepare()?;
    let wanted: Vec<_> = TARGETS
        .iter()
        .filter(|(name, ..)| options.target == *name || options.target == ALL)
        .collect();
    // All are built at once: a fuzzer that ran meanwhile would lose its time to the compiler.
    let mut build = process::cargo();
    build.args(["fuzz", "build", "--sanitizer", "none"]);
    process::run(build.args((options.target != ALL).then_some(&options.target)))?;
    let at_a_time = thread::available_parallelism().map_or(1, usize::from);
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..at_a_time.min(wanted.len()) {
            scope.spawn(|| {
                while let Some((name, what, more)) = wanted.get(next.fetch_add(1, Relaxed)) {
                    println!("fuzzing {name}: {what}");
                    if let Err(error) = fuzz(options, name, *more) {
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        found.push(format!("{name}: {error}"));
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    match found.is_empty() {
        true => Ok(()),
        false => Err(found.join("\n")),
    }
}

fn fuzz(options: &Options, name: &str, more: Option<&str>) -> Result<(), String> {
    let root = workspace::root();
    let fuzz = root.join("fuzz");
    let corpus = fuzz.join("corpus").join(name);
    create(&corpus)?;
    seed(options, name, &corpus)?;
    // The fuzzer adds to the first, and only reads the others.
    let seeds = [
        Some(fuzz.join("seeds").join(name)),
        more.map(|more| root.join(more)),
    ];
    let seeds = seeds.into_iter().flatten().filter(|seeds| seeds.is_dir());

    let artifacts = fuzz.join("artifacts").join(name);
    create(&artifacts)?;
    let before = files(&artifacts)?;
    let result = process::run(
        process::cargo()
            .args(["fuzz", "run", "--sanitizer", "none", name])
            .arg(&corpus)
            .args(seeds)
            .arg("--")
            .arg(format!("-max_total_time={}", options.seconds))
            // Hanging and growing are findings too.
            .args(["-timeout=10", "-rss_limit_mb=2048"])
            .args(["-max_len=16384", "-print_final_stats=1"]),
    );
    let found: Vec<String> = files(&artifacts)?
        .difference(&before)
        .map(|file| {
            let file = file.display();
            format!(
                "found {file}; see it again with\n    cargo fuzz run --sanitizer none {name} {file}"
            )
        })
        .collect();
    result.map_err(|error| [vec![error], found].concat().join("\n"))
}

/// Sees to it that what a fuzzer is made with is there.
fn prepare() -> Result<(), String> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    if !tools::works(Command::new(&compiler).arg("--version")) {
        return Err(format!(
            "{compiler} does not run, and the fuzzer is made with a C++ compiler: install one, such as g++, or name it in CXX"
        ));
    }
    tools::provide("fuzz")
}

/// Puts inputs made of checked-in data into the corpus, where they are not checked in as they are.
fn seed(options: &Options, name: &str, corpus: &Path) -> Result<(), String> {
    let root = workspace::root();
    let realistic = || decode(&read(&root.join(REALISTIC))?, REALISTIC);
    match name {
        "merge" => {
            write(corpus, 0, &script(0, [realistic()?]))?;
            let text = read(&root.join(&options.vectors))?;
            for (number, line) in text.lines().enumerate() {
                let place = format!("{}:{}", options.vectors.display(), number + 1);
                write(corpus, number + 1, &vector(line, &place)?)?;
            }
            Ok(())
        }
        "frames" => {
            let realistic = realistic()?;
            let message = |id: u8, payload: &[u8]| {
                let mut frame = vec![0, 0, 0, id];
                frame.extend((payload.len() as u32).to_be_bytes());
                frame.extend(payload);
                frame
            };
            let (first, second) = realistic.split_at(realistic.len().min(4096));
            let seeds = [
                message(1, b"hello"),
                [message(1, b""), message(2, b"x")].concat(),
                [message(2, first), message(2, second)].concat(),
            ];
            (0..)
                .zip(&seeds)
                .try_for_each(|(at, seed)| write(corpus, at, seed))
        }
        _ => Ok(()),
    }
}

/// The input of the target `merge` for a recorded request.
fn vector(line: &str, place: &str) -> Result<Vec<u8>, String> {
    let vector: Value = serde_json::from_str(line).map_err(|e| format!("{place}: {e}"))?;
    let kind = match vector["kind"].as_str() {
        Some("create") => 0,
        Some("update") => 1,
        Some("stop") => 2,
        _ => return Err(format!("{place}: unknown kind {}", vector["kind"])),
    };
    let mut messages = vec![decode(vector["request_b64"].as_str().unwrap_or(""), place)?];
    for plugin in vector["plugins"].as_array().into_iter().flatten() {
        messages.push(decode(
            plugin["response_b64"].as_str().unwrap_or(""),
            place,
        )?);
    }
    Ok(script(kind, messages))
}

/// The form that the target `merge` reads: the kind of request, then every message after a byte
/// that says how the plugin behaves (0: it answers) and two with the message's length.
fn script(kind: u8, messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut script = vec![kind];
    for message in messages {
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        script.push(0);
        script.extend(length.to_le_bytes());
        script.extend(&message[..usize::from(length)]);
    }
    script
}

fn decode(text: &str, place: &str) -> Result<Vec<u8>, String> {
    STANDARD
        .decode(text.trim())
        .map_err(|e| format!("{place}: {e}"))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn write(corpus: &Path, number: usize, input: &[u8]) -> Result<(), String> {
    let path = corpus.join(format!("seed-{number:04}"));
    fs::write(&path, input).map_err(|e| format!("{}: {e}", path.display()))
}

fn create(directory: &Path) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))
}

fn files(directory: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", directory.display());
    fs::read_dir(directory)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
        .collect()
}
