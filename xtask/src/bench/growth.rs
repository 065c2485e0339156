//! `cargo xtask bench growth`: what an event costs as there is more and more beside it, in
//! instructions (needs valgrind). What is counted is described beside the benchmark of `nri-core`.

use std::process::Command;

use nri_dev::process;
use tempfile::TempDir;

use super::callgrind;

/// What the costliest event may cost, compared with the cheapest of its kind. Ordered tables grow
/// with the logarithm: from 10 to 100,000 it is four times as many steps in a part of the work.
const LARGEST_GROWTH: f64 = 2.5;

/// Counts, prints the table, and judges it.
///
/// # Errors
/// Something does not run, or an event costs more and more.
pub(super) fn run() -> Result<(), String> {
    if !callgrind::is_there("valgrind") {
        println!("growth is not counted: valgrind is not installed");
        return Ok(());
    }
    let built = process::build(&["--release", "--package", "nri-core", "--bench", "growth"])?;
    let program = built.get("growth").ok_or("`growth` was not built")?;
    let directory =
        TempDir::with_prefix("nri-growth-").map_err(|e| format!("a temporary directory: {e}"))?;
    let log = directory.path().join("callgrind");
    let before = callgrind::before(&log, Some("measured"));
    let (valgrind, words) = before.split_first().ok_or("there is no command")?;
    let mut broken = Vec::new();
    let mut least = f64::INFINITY;
    let mut last = String::new();
    println!("{:<20}{:>10}{:>30}", "beside", "", "instructions of a life");
    for line in process::capture(Command::new(program).arg("list"))?.lines() {
        let (dimension, count) = line
            .split_once('\t')
            .ok_or("the list has an unknown form")?;
        let mut counted = Command::new(valgrind);
        counted.args(words).arg(program).args([dimension, count]);
        let among = process::capture(&mut counted)?;
        let among: f64 = among.trim().parse().map_err(|_| "it printed no number")?;
        let each = callgrind::collected(&log)? / among;
        if dimension != last {
            least = f64::INFINITY;
            last = dimension.to_owned();
        }
        least = least.min(each);
        println!("{dimension:<20}{count:>10}{each:>30.0}");
        if each > least * LARGEST_GROWTH {
            broken.push(format!("{count} {dimension}"));
        }
    }
    match broken.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "an event costs too much beside {}",
            broken.join(", ")
        )),
    }
}
