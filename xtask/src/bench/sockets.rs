//! `cargo xtask bench sockets`: builds the plugin whose processes are measured, and runs the
//! benchmark of `nri-testkit`.

use nri_dev::process;

const PLUGIN: &str = "annotate";

/// Runs the benchmark, which prints its table itself.
///
/// # Errors
/// Something cannot be built, or the benchmark does not run.
pub(super) fn run() -> Result<(), String> {
    let built = process::build(&[
        "--release",
        "--package",
        "nri-plugin",
        "--all-features",
        "--example",
        PLUGIN,
    ])?;
    let plugin = built.get(PLUGIN).ok_or("the plugin was not built")?;
    process::run(
        process::cargo()
            .args([
                "bench",
                "--quiet",
                "--package",
                "nri-testkit",
                "--bench",
                "sockets",
                "--",
                "--plugin",
            ])
            .arg(plugin),
    )
}
