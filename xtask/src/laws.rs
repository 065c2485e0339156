//! `cargo xtask laws --cases N`: the properties of `nri-core` and the simulation of its scheduler,
//! for as long as one likes.
//!
//! `cargo test` runs the same with few cases. Here they are optimised, with the assertions and
//! overflow checks of a debug build.

use clap::Args;

use nri_dev::process;

#[derive(Args)]
pub(crate) struct Options {
    /// Cases per property.
    #[arg(long, default_value_t = 5000)]
    cases: u32,
    /// Runs of the scheduler's simulation, each from a seed of its own.
    #[arg(long, default_value_t = 1000)]
    runs: u32,
}

/// Runs them.
///
/// # Errors
/// Something does not hold; what was printed says how to see it again.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    println!(
        "{} cases per property, {} runs of the scheduler's simulation",
        options.cases, options.runs
    );
    process::run(
        process::cargo()
            .args(["test", "--release", "--package", "nri-core"])
            .args(["--all-features", "--lib", "--test", "schedule_simulation"])
            .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
            .env("PROPTEST_CASES", options.cases.to_string())
            .env("SCHEDULE_SIMULATION_RUNS", options.runs.to_string()),
    )
}
