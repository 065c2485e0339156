//! Rounds of measurements: what each row took, medians, and ratios within a round.

use std::collections::BTreeMap;

use super::programs::{Programs, number};
use super::rows::{Ends, Load, ROWS, Row};

/// Callers at a time, where throughput is measured.
const CALLERS: usize = 8;

/// What is measured of a row, by name.
type Measured = BTreeMap<&'static str, f64>;

const CREATE: &str = "create p50";
const CREATE_P99: &str = "create p99";
const RUN: &str = "run p50";
const RATE: &str = "creations/s";
const AT_ONCE: &str = "all created";
const SYNCHRONISED: &str = "synchronised";
const RUNTIME: &str = "runtime MiB";
const PLUGIN: &str = "plugin MiB";

/// Measures a row once.
///
/// # Errors
/// A program does not do what it is told.
pub(super) fn measure(programs: &Programs, row: &Row, calls: usize) -> Result<Measured, String> {
    let of_row = |error: String| format!("{}: {error}", row.name());
    let mut pair = programs.start(row, [&[], &[]]).map_err(of_row)?;
    let mut measured = Measured::new();
    match row.load {
        Load::Calls { .. } => {
            pair.calls("create", 1, calls / 4).map_err(of_row)?;
            let alone = pair.calls("create", 1, calls).map_err(of_row)?;
            measured.insert(CREATE, number(&alone, "p50"));
            measured.insert(CREATE_P99, number(&alone, "p99"));
            let run = pair.calls("run", 1, calls).map_err(of_row)?;
            measured.insert(RUN, number(&run, "p50"));
            let together = pair.calls("create", CALLERS, calls * 2).map_err(of_row)?;
            let rate = number(&together, "calls") / number(&together, "elapsed") * 1e9;
            measured.insert(RATE, rate);
        }
        Load::AtOnce { creations } => {
            let all = pair.calls("create", creations, creations).map_err(of_row)?;
            measured.insert(AT_ONCE, number(&all, "elapsed"));
        }
        Load::Synchronise { .. } => {
            let last = pair.synchronised.iter().copied().fold(0.0, f64::max);
            measured.insert(SYNCHRONISED, last);
        }
    }
    let [runtime, plugin] = pair.peaks().map_err(of_row)?;
    measured.insert(RUNTIME, runtime);
    measured.insert(PLUGIN, plugin);
    pair.finish().map_err(of_row)?;
    Ok(measured)
}

/// What all rounds measured.
#[derive(Default)]
pub(super) struct Series {
    rounds: Vec<Round>,
}

struct Round {
    floor: [f64; 2],
    rows: BTreeMap<String, Measured>,
}

impl Series {
    /// A round begins, with this floor.
    pub(super) fn begin_round(&mut self, floor: [f64; 2]) {
        self.rounds.push(Round {
            floor,
            rows: BTreeMap::new(),
        });
    }

    /// A row was measured in it.
    pub(super) fn add(&mut self, row: &Row, measured: Measured) {
        if let Some(round) = self.rounds.last_mut() {
            round.rows.insert(row.name(), measured);
        }
    }

    /// What a row is of `base`, round by round.
    fn ratios(&self, row: &str, base: &str, name: &str) -> Vec<f64> {
        let ratio = |round: &Round| {
            Some(round.rows.get(row)?.get(name)? / round.rows.get(base)?.get(name)?)
        };
        self.rounds.iter().filter_map(ratio).collect()
    }

    fn values(&self, row: &str, name: &str) -> Vec<f64> {
        let value = |round: &Round| round.rows.get(row)?.get(name).copied();
        self.rounds.iter().filter_map(value).collect()
    }

    /// Prints what came of the rows: the median, and behind it what that is of Go's, with the
    /// lowest and the highest of the rounds.
    pub(super) fn print(&self, rows: &[&Row]) {
        let floor = |at: usize| median(self.rounds.iter().map(|round| round.floor[at]).collect());
        println!(
            "floor, bytes there and back: p50 {}, p99 {}",
            micros(floor(0)),
            micros(floor(1))
        );
        let columns = |load: Load| match load {
            Load::Calls { .. } => [CREATE, CREATE_P99, RUN, RATE].as_slice(),
            Load::AtOnce { .. } => &[AT_ONCE],
            Load::Synchronise { .. } => &[SYNCHRONISED, RUNTIME, PLUGIN],
        };
        let mut before: &[&str] = &[];
        for row in rows {
            let columns = columns(row.load);
            if columns != before {
                let titles = columns.iter().map(|name| format!("{name:>28}"));
                let calls = matches!(row.load, Load::Calls { .. });
                let more = if calls { "      p99/p50  to floor" } else { "" };
                println!("\n{:<22}{}{more}", "row", titles.collect::<String>());
                before = columns;
            }
            let base = ROWS
                .iter()
                .find(|base| base.ends == Ends::GO && row.is_beside(base))
                .map_or_else(String::new, Row::name);
            let name = row.name();
            let cells = columns.iter().map(|column| {
                let value = median(self.values(&name, column));
                let value = match *column {
                    RATE => format!("{value:.0}"),
                    RUNTIME | PLUGIN => format!("{value:.1}"),
                    _ => micros(value),
                };
                let ratios = self.ratios(&name, &base, column);
                format!("{:>28}", format!("{value} {}", spread(ratios)))
            });
            let mut line = format!("{name:<22}{}", cells.collect::<String>());
            if matches!(row.load, Load::Calls { .. }) {
                let p50 = median(self.values(&name, CREATE));
                let tail = median(self.values(&name, CREATE_P99)) / p50;
                line += &format!("{tail:>13.1}{:>10.1}", p50 / floor(0));
            }
            println!("{line}");
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Median, lowest and highest.
fn spread(ratios: Vec<f64>) -> String {
    let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = ratios.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({lowest:.2}-{highest:.2})", median(ratios))
}

fn micros(nanoseconds: f64) -> String {
    match nanoseconds / 1e3 {
        micros if micros < 10_000.0 => format!("{micros:.0} us"),
        micros => format!("{:.0} ms", micros / 1e3),
    }
}
