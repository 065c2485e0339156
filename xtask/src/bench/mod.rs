//! `cargo xtask bench`: what things cost, as tables. The cases are described where they are made,
//! beside the benchmarks.
//!
//! Nothing here is a test: times depend on the machine. What is counted does not, and is judged.
//! `cargo xtask ci` judges system calls alone: instructions are those of a release, which it does
//! not build otherwise and which would take it longer than the tests of a library, and allocations
//! are in tests of their own (`counted_*` of `nri-testkit`).

mod callgrind;
mod growth;
mod hostile;
mod merge;
mod pair;
mod sizes;
mod sockets;

use clap::{Args, Subcommand};

pub(crate) use pair::assert_system_calls;

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// What merging costs in the core: time, allocations, growth.
    Merge(merge::Options),
    /// What a creation costs through plugin processes: latency, throughput, memory.
    Sockets,
    /// What hostile plugins cost the creation of an unrelated container.
    Hostile,
    /// Ours beside the reference, alternating (needs Go); or what does not depend on the machine.
    Pair(pair::Options),
    /// What an event costs as there is more and more beside it, in instructions (needs valgrind).
    Growth,
    /// Assert what is counted of a call between two processes, and of growth (needs strace and
    /// valgrind).
    Counted {
        /// Only what `cargo xtask ci` asserts: system calls that are the same on any machine.
        #[arg(long)]
        ci: bool,
    },
    /// How large programs are that are built for size, and what features bring to that.
    Sizes,
}

/// Runs what is asked for; without anything, all.
///
/// # Errors
/// A benchmark does not run, its results cannot be read, or cost grows faster than the number of
/// items.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    match &options.what {
        Some(What::Merge(options)) => merge::run(options),
        Some(What::Sockets) => sockets::run(),
        Some(What::Hostile) => hostile::run(),
        Some(What::Pair(options)) => pair::run(options),
        Some(What::Sizes) => sizes::run(),
        Some(What::Growth) => growth::run(),
        Some(What::Counted { ci: true }) => assert_system_calls(),
        Some(What::Counted { ci: false }) => assert_counts(),
        None => merge::run(&merge::Options::default())
            .and_then(|()| sockets::run())
            .and_then(|()| hostile::run()),
    }
}

/// Asserts what is counted of a call between two processes, where the machine has what counts.
///
/// # Errors
/// There is more of something than there may be.
fn assert_counts() -> Result<(), String> {
    pair::assert_counts()?;
    growth::run()
}
