//! `cargo xtask ci`: everything that must hold, in the order in which a failure is cheapest. The
//! same commands as in the README; nothing is skipped.

use std::time::Instant;

use clap::Args;
use nri_dev::process;

use crate::packages::{CIRCLES, CODEGEN, DEMO, E2E, INTEROP, LOW_LEVEL, PUBLIC_API};
use crate::{bench, deny, fence, fuzz, page, soak, stress, wasm, weight, width};

type Step = (&'static str, fn() -> Result<(), String>);

const STEPS: &[Step] = &[
    ("formatting", || cargo(&["fmt", "--all", "--check"])),
    ("comments are as wide as they may be", width::run),
    ("generated code is current", || {
        CODEGEN.run(&["--check".into()])
    }),
    ("layers and MSRV", fence::run),
    ("no circles, layers inside crates", || CIRCLES.run(&[])),
    ("what the libraries bring", weight::run),
    ("licences, sources and crates", deny::run),
    ("clippy", || {
        cargo(&[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ])
    }),
    ("crates without their features", || {
        LIBRARIES.iter().try_for_each(|library| {
            cargo(&[
                "clippy",
                "--quiet",
                "--no-default-features",
                "--lib",
                "-p",
                library,
                "--",
                "-D",
                "warnings",
            ])
        })
    }),
    (
        "the lowest versions of what the libraries use",
        weight::floors,
    ),
    ("the core without an operating system", wasm::run),
    // A workspace of its own, and checked without the fuzzer: that would need a C++ compiler.
    ("fuzz targets", || {
        let of_fuzz = ["--manifest-path", "fuzz/Cargo.toml"];
        cargo(&[["fmt", "--check"], of_fuzz].concat())?;
        let clippy = ["clippy", "--quiet", "--locked", "--no-default-features"];
        // The directory of the workspace: most of what it needs has been checked there.
        let rest = ["--target-dir", "target", "--", "-D", "warnings"];
        cargo(&[&clippy[..], &of_fuzz, &rest].concat())
    }),
    ("rustdoc", || {
        process::run(
            process::cargo()
                .args([
                    "doc",
                    "--quiet",
                    "--workspace",
                    "--all-features",
                    "--no-deps",
                ])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    }),
    ("the public API is as written", || {
        PUBLIC_API.run(&["--check".into()])
    }),
    ("tests", || {
        cargo(&["test", "--workspace", "--all-features"])
    }),
    ("system calls of a call", bench::assert_system_calls),
    // Needs a C++ compiler, unlike all before.
    ("every reader fuzzed", || fuzz::run(&fuzz::Options::all(5))),
    // Half of what the command does by itself: all steps are to take forty minutes at most.
    ("a long time with many plugins", || {
        soak::run(&soak::Options::of_events(10_000))
    }),
    ("demo", || DEMO.run(&[])),
    // What of Debian's packages is missing is installed, here and below.
    ("values at a real runc", || {
        LOW_LEVEL.run(&["--install".into()])
    }),
    ("interoperability with Go", || INTEROP.run(&[])),
    ("nri-runtime with real containers", || {
        E2E.run(&["--install".into()])
    }),
    ("nri-hub's page and alert rules", || {
        page::run(&page::Options { install: true })
    }),
];

/// The crates that others depend on, piecemeal.
const LIBRARIES: [&str; 6] = [
    "nri-proto",
    "nri-core",
    "nri-adaptation",
    "nri-plugin",
    "nri-domain-cri",
    "nri-testkit",
];

#[derive(Args)]
pub(crate) struct Options {
    /// Instead of all that, run all tests so many times beside a busy load, and list those that
    /// fail.
    #[arg(long, value_name = "TIMES", num_args = 0..=1, default_missing_value = "20")]
    stress: Option<u32>,
}

/// Runs every step; the first failure ends it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    if let Some(times) = options.stress {
        return stress::run(times);
    }
    let all = Instant::now();
    for (number, (name, step)) in STEPS.iter().enumerate() {
        println!("== {}/{} {name}", number + 1, STEPS.len());
        let begun = Instant::now();
        step().map_err(|error| format!("{name}: {error}"))?;
        println!("== {name}: ok in {:.1} s", begun.elapsed().as_secs_f64());
    }
    println!(
        "== all {} steps passed in {:.0} s",
        STEPS.len(),
        all.elapsed().as_secs_f64()
    );
    Ok(())
}

fn cargo(args: &[&str]) -> Result<(), String> {
    process::run(process::cargo().args(args))
}
