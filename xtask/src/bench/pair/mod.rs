//! `cargo xtask bench pair`: ours beside the reference, as processes, alternating in one run. Only
//! the ratios within a round say something; the times are printed for whoever knows the machine.
//!
//! The programs are `nri-testkit/benches/pair` and `nri-testkit/interop/cmd/gopair`.

mod counts;
mod programs;
mod rows;
mod series;

use clap::Args;

use rows::{Ends, ROWS, Row};
use series::Series;

pub(super) use counts::assert_counts;
pub(crate) use counts::assert_system_calls;

#[derive(Args)]
pub(super) struct Options {
    /// How often each row is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only rows with one of these words in their names, and those that they are compared with.
    #[arg(long, value_delimiter = ',', value_name = "WORDS")]
    rows: Vec<String>,
    /// Calls per measurement.
    #[arg(long, default_value_t = 1000)]
    calls: usize,
    /// Instead of times, what does not depend on the machine: system calls (needs strace),
    /// instructions (needs valgrind), allocations.
    #[arg(long)]
    counts: bool,
    /// Without the reference, and so without Go. For counts only.
    #[arg(long, requires = "counts")]
    ours: bool,
}

/// Builds everything, measures, and prints the table.
///
/// # Errors
/// Something cannot be built, or a program does not do what it is told.
pub(super) fn run(options: &Options) -> Result<(), String> {
    if options.counts {
        return counts::run(!options.ours);
    }
    let wanted = |row: &Row| {
        let named = |word: &String| row.name().contains(word.as_str());
        options.rows.is_empty() || options.rows.iter().any(named)
    };
    let compared =
        |row: &Row| row.ends == Ends::GO && ROWS.iter().any(|w| wanted(w) && w.is_beside(row));
    let rows: Vec<&Row> = ROWS
        .iter()
        .filter(|row| wanted(row) || compared(row))
        .collect();
    if rows.is_empty() {
        return Err("no row has such a name".to_owned());
    }
    let programs = programs::build(true, rows.iter().any(|row| row.ends.hub))?;
    let mut series = Series::default();
    for round in 1..=options.rounds.max(1) {
        eprintln!("round {round} of {}", options.rounds.max(1));
        series.begin_round(programs.floor(options.calls * 4)?);
        for row in &rows {
            series.add(row, series::measure(&programs, row, options.calls)?);
        }
    }
    series.print(&rows);
    Ok(())
}
