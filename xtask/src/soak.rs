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
    /// With nri-hub between a runtime and plugins, all of which die now and then.
    #[arg(long, conflicts_with_all = ["events", "plugins"])]
    hub: bool,
    /// For how long, at least, with `--hub`.
    #[arg(long, requires = "hub", default_value_t = 60)]
    seconds: u64,
}

impl Options {
    /// So many events, with the usual plugins.
    pub(crate) fn of_events(events: u32) -> Self {
        Self {
            events,
            plugins: 200,
            seed: 1,
            hub: false,
            seconds: 60,
        }
    }
}

/// Runs it.
///
/// # Errors
/// An event was lost or doubled, or something is left behind or grows.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    if options.hub {
        return process::run(
            process::cargo()
                .args(["test", "--package", "nri-hub", "--all-features"])
                .args(["--test", "processes", "--", "--nocapture", "whoever_dies"])
                .env("NRI_HUB_SOAK_SECONDS", options.seconds.to_string())
                .env("NRI_HUB_SOAK_SEED", options.seed.to_string()),
        );
    }
    process::run(
        process::cargo()
            .args(["test", "--package", "nri-testkit", "--all-features"])
            .args(["--test", "soak", "--", "--nocapture"])
            .env("NRI_SOAK_EVENTS", options.events.to_string())
            .env("NRI_SOAK_PLUGINS", options.plugins.to_string())
            .env("NRI_SOAK_SEED", options.seed.to_string()),
    )
}
