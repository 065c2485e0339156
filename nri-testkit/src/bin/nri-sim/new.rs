//! `nri-sim new`: a crate of a plugin to begin with.

use std::path::PathBuf;

use clap::Args;
use nri_testkit::NewPlugin;

use crate::say::say;

/// What is made, and where.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct NewArgs {
    /// The plugin's name, and that of its crate: small letters, digits and `-`.
    name: String,
    /// Its place in the order, two digits.
    #[arg(long, value_name = "NN", default_value = "50")]
    index: String,
    /// Where the crate is made [default: a directory called like the plugin].
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// A checkout of NRI for Rust, whose crates are used in place of the published ones.
    #[arg(long, value_name = "DIR")]
    checkout: Option<PathBuf>,
}

/// Makes it.
pub(crate) fn run(arguments: NewArgs) -> Result<bool, String> {
    let directory = arguments
        .directory
        .unwrap_or_else(|| arguments.name.clone().into());
    let mut plugin = NewPlugin::named(arguments.name);
    plugin.index = arguments.index;
    plugin.checkout = arguments.checkout;
    plugin.make(&directory)?;
    say!("made {}; now: cd {0} && cargo test", directory.display());
    Ok(true)
}
