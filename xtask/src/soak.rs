//! `cargo xtask soak`: a long time with many plugins that come, crash and come again. `cargo test`
//! runs the same for a moment.

use clap::Args;

use nri_dev::process;

#[derive(Args)]
pub(crate) struct Options {
    /// Events in all.
    #[arg(long, default_value_t = 20_000)]
    events: u32,
    /// Plugins at a time.
    #[arg(long, default_value_t = 200)]
    plugins: u32,
    /// What happens to whom and when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            events: 20_000,
            plugins: 200,
            seed: 1,
        }
    }
}

/// Runs it.
///
/// # Errors
/// An event was lost or doubled, or something is left behind.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    process::run(
        process::cargo()
            .args(["test", "--package", "nri-testkit", "--all-features"])
            .args(["--test", "soak", "--", "--nocapture"])
            .env("NRI_SOAK_EVENTS", options.events.to_string())
            .env("NRI_SOAK_PLUGINS", options.plugins.to_string())
            .env("NRI_SOAK_SEED", options.seed.to_string()),
    )
}
