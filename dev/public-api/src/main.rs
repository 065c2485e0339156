//! `cargo xtask public-api`: the public API of each library crate, all features on, as a text
//! beside its manifest. A change of the API is a change of that text, and so a reviewer sees it;
//! `--check` fails when a text is stale. Also checked: which crates' types public signatures may
//! name.
//!
//! The compiler writes the API as rustdoc's JSON, which only a nightly toolchain offers; the stable
//! compiler does it when it is told to behave like one.

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;

use clap::Parser;
use nri_dev::{process, workspace};
use public_api::PublicApi;
use similar::{ChangeTag, TextDiff};

#[derive(Parser)]
#[command(
    name = "cargo xtask public-api",
    about = "Write the public API of each crate to its public-api.txt.",
    version
)]
struct Options {
    /// Write nothing; fail when a text is stale.
    #[arg(long)]
    check: bool,
    /// One crate only.
    #[arg(long, value_name = "CRATE")]
    only: Option<String>,
}

/// The crates that others depend on, and the crates whose names their signatures may have in them,
/// beside the standard library's and those of our own that are below. All of these are promises: a
/// breaking release of one is a breaking release of ours.
const LIBRARIES: &[(&str, &[&str])] = &[
    (
        "nri-proto",
        &[
            "async_trait",
            "bytes",
            "prost",
            "serde",
            "serde_core",
            "tokio",
            "ttrpc",
        ],
    ),
    (
        "nri-core",
        // bytes: requests as they go over the wire, as in nri-proto.
        &[
            "async_trait",
            "bytes",
            "nri_proto",
            "prost",
            "proptest",
            "serde",
            "serde_core",
            "serde_json",
            "tracing",
        ],
    ),
    (
        "nri-adaptation",
        &[
            "metrics",
            "nri_core",
            "nri_proto",
            "serde",
            "serde_core",
            "serde_json",
            "tokio",
            "tracing",
        ],
    ),
    (
        "nri-plugin",
        // clap and serde by its features `cli` and `config`: options and configurations of a
        // plugin's own are types that derive their traits. serde_json by `json`: a request as a
        // value.
        &[
            "async_trait",
            "clap_builder",
            "nri_core",
            "nri_proto",
            "serde_core",
            "serde_json",
            "tokio",
        ],
    ),
    (
        "nri-domain-cri",
        &[
            "nri_core",
            "nri_proto",
            "nri_adaptation",
            "serde",
            "serde_core",
            "serde_json",
        ],
    ),
    (
        "nri-testkit",
        &[
            "nri_core",
            "nri_proto",
            "nri_adaptation",
            "nri_plugin",
            "base64",
            "bytes",
            "prost",
            "serde",
            "serde_core",
            "serde_json",
            "tokio",
            "clap",
            "tracing",
        ],
    ),
    (
        "nri-runtime",
        &[
            "nri_adaptation",
            "nri_domain_cri",
            "serde",
            "serde_core",
            "tonic",
        ],
    ),
    (
        "nri-hub",
        &[
            "nri_core",
            "nri_adaptation",
            "nri_plugin",
            "serde",
            "serde_core",
            "tokio",
        ],
    ),
];

/// What the standard library's paths begin with, its numbers included.
const STANDARD: &[&str] = &[
    "core", "alloc", "std", "bool", "char", "i32", "i64", "str", "u8", "u16", "u32", "u64", "usize",
];

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("public-api: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let mut broken = Vec::new();
    for (name, foreign) in LIBRARIES {
        if options.only.as_deref().is_some_and(|only| only != *name) {
            continue;
        }
        let text = text(name)?;
        broken.extend(strangers(name, &text, foreign));
        let path = workspace::root().join(name).join("public-api.txt");
        let old = fs::read_to_string(&path).unwrap_or_default();
        if old == text {
            continue;
        }
        if options.check {
            broken.push(format!(
                "{name}: the public API is not what public-api.txt says; if that is meant, run `cargo xtask \
                 public-api`, commit the text, and say it in CHANGELOG.md:\n{}",
                difference(&old, &text)
            ));
        } else {
            fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
            println!("wrote {}", path.display());
        }
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(broken.join("\n"))
    }
}

/// The public API of a crate, an item a line.
fn text(name: &str) -> Result<String, String> {
    let target = workspace::root().join("target/public-api");
    process::run(
        process::cargo()
            .args([
                "rustdoc",
                "--quiet",
                "--package",
                name,
                "--lib",
                "--all-features",
                "--target-dir",
            ])
            .arg(&target)
            .args(["--", "-Z", "unstable-options", "--output-format", "json"])
            .env("RUSTC_BOOTSTRAP", "1"),
    )?;
    let json = target
        .join("doc")
        .join(format!("{}.json", name.replace('-', "_")));
    let api: PublicApi = public_api::Builder::from_rustdoc_json(&json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .map_err(|e| format!("{}: {e}", json.display()))?;
    Ok(api.items().map(|item| format!("{item}\n")).collect())
}

/// Crates that are named in signatures and may not be.
fn strangers(name: &str, text: &str, allowed: &[&str]) -> Vec<String> {
    let own = name.replace('-', "_");
    let mut found = BTreeSet::new();
    for line in text.lines() {
        // The first name of every path: what stands before the first `::`, not behind another one.
        for (at, _) in line.match_indices("::") {
            let head = &line[..at];
            let start = head
                .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
                .map_or(0, |end| end + 1);
            let first = &head[start..];
            let known = first == own || STANDARD.contains(&first) || allowed.contains(&first);
            let is_crate = first.starts_with(|c: char| c.is_lowercase());
            if !head[..start].ends_with("::") && is_crate && !known {
                found.insert(first);
            }
        }
    }
    let say = |crate_name| {
        format!(
            "{name}: a public signature names a type of `{crate_name}`, which is not in the allow-list of \
             dev/public-api: keep it out of the API, or allow it there and say why"
        )
    };
    found.into_iter().map(say).collect()
}

/// The lines that differ.
fn difference(old: &str, new: &str) -> String {
    let diff = TextDiff::from_lines(old, new);
    let changes = diff
        .iter_all_changes()
        .filter_map(|change| match change.tag() {
            ChangeTag::Delete => Some(format!("  - {}", change.value().trim_end())),
            ChangeTag::Insert => Some(format!("  + {}", change.value().trim_end())),
            ChangeTag::Equal => None,
        });
    changes.take(60).collect::<Vec<_>>().join("\n")
}
