//! `cargo xtask bench hostile`: runs the benchmark of `nri-testkit`, which prints its lines itself.

use nri_dev::process;

/// Runs it.
///
/// # Errors
/// It cannot be built, or does not run.
pub(super) fn run() -> Result<(), String> {
    process::run(process::cargo().args([
        "bench",
        "--quiet",
        "--package",
        "nri-testkit",
        "--bench",
        "hostile",
    ]))
}
