//! `cargo xtask bench merge`: what merging costs. The cases are described beside the benchmarks of
//! `nri-core`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clap::Args;
use serde_json::Value;
use tempfile::TempDir;

use nri_dev::process;

#[derive(Args, Default)]
pub(super) struct Options {
    /// Only cases whose name matches this regular expression, such as `plugins` or `env/1000$`.
    filter: Option<String>,
}

/// Ten times as many items may take this many times as long. In ordered maps and with cold caches
/// it is more than ten; a quadratic step makes it a hundred.
const LARGEST_GROWTH: f64 = 25.0;

/// How long one merge takes, in nanoseconds.
#[derive(Clone, Copy)]
struct Time {
    /// Median of the samples.
    median: f64,
    /// The fastest sample: what is left where other work on the machine disturbs the others.
    fastest: f64,
}

/// What is known of a case.
struct Row {
    name: String,
    time: Time,
    items: u64,
    allocations: u64,
    bytes: u64,
}

/// Runs the benchmarks and prints the table.
///
/// # Errors
/// A benchmark does not run, its results cannot be read, or cost grows faster than the number of
/// items.
pub(super) fn run(options: &Options) -> Result<(), String> {
    let allocations = allocations()?;
    println!(
        "measuring up to {} cases, about 3 s each",
        allocations.len()
    );
    let times = times(options.filter.as_deref())?;
    let rows: Vec<Row> = allocations
        .into_iter()
        .filter_map(|(name, [allocations, bytes])| {
            let &(time, items) = times.get(&name)?;
            Some(Row {
                name,
                time,
                items,
                allocations,
                bytes,
            })
        })
        .collect();
    if rows.is_empty() {
        return Err("no case has such a name".to_owned());
    }
    print(&rows)
}

/// Allocations and bytes of every case, in the order in which the cases are listed.
fn allocations() -> Result<Vec<(String, [u64; 2])>, String> {
    let text = process::capture(&mut bench("allocations"))?;
    text.lines()
        .skip(1)
        .map(|line| {
            let unknown = || format!("the allocation counter printed {line:?}");
            let mut parts = line.split('\t');
            let name = parts.next().ok_or_else(unknown)?;
            let mut number = || {
                let number = parts.next().ok_or_else(unknown)?;
                number.parse::<u64>().map_err(|_| unknown())
            };
            Ok((name.to_owned(), [number()?, number()?]))
        })
        .collect()
}

/// Time and number of items of every case that matches, by name.
fn times(filter: Option<&str>) -> Result<BTreeMap<String, (Time, u64)>, String> {
    // A directory of our own: results of earlier runs must not look like ours.
    let results =
        TempDir::with_prefix("nri-bench-").map_err(|e| format!("a temporary directory: {e}"))?;
    let mut command = bench("merge");
    command.arg("--").args(filter);
    process::capture(command.env("CRITERION_HOME", results.path()))?;
    let mut times = BTreeMap::new();
    collect(results.path(), &mut times)?;
    Ok(times)
}

fn bench(name: &str) -> std::process::Command {
    let mut command = process::cargo();
    command.args(["bench", "--quiet", "--package", "nri-core"]);
    command.args(["--features", "oci", "--bench", name]);
    command
}

/// Reads the results in a directory and below: criterion leaves its files on a case in a directory
/// `new`.
fn collect(directory: &Path, times: &mut BTreeMap<String, (Time, u64)>) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", directory.display());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().is_some_and(|name| name == "new") {
            let case = read(&path.join("benchmark.json"))?;
            let estimates = read(&path.join("estimates.json"))?;
            let samples = read(&path.join("sample.json"))?;
            let result = (|| {
                let name = case["full_id"].as_str()?.to_owned();
                let items = case["throughput"]["Elements"].as_u64()?;
                let median = estimates["median"]["point_estimate"].as_f64()?;
                let runs = samples["iters"].as_array()?.iter();
                let fastest = samples["times"]
                    .as_array()?
                    .iter()
                    .zip(runs)
                    .filter_map(|(time, runs)| Some(time.as_f64()? / runs.as_f64()?))
                    .reduce(f64::min)?;
                Some((name, (Time { median, fastest }, items)))
            })();
            let (name, result) = result
                .ok_or_else(|| format!("{}: the results have an unknown form", path.display()))?;
            times.insert(name, result);
        } else if path.is_dir() {
            collect(&path, times)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

fn print(rows: &[Row]) -> Result<(), String> {
    println!(
        "{:<24}{:>12}{:>12}{:>12}{:>12}{:>13}{:>10}   growth",
        "case", "median", "fastest", "merges/s", "items/s", "allocations", "KiB"
    );
    let mut too_much = Vec::new();
    let mut before: Option<&Row> = None;
    for row in rows {
        let growth = before
            .filter(|before| family(before) == family(row))
            .map(|before| Growth::new(before, row));
        println!(
            "{:<24}{:>12}{:>12}{:>12.0}{:>12.0}{:>13}{:>10.1}   {}",
            row.name,
            duration(row.time.median),
            duration(row.time.fastest),
            1e9 / row.time.median,
            1e9 / row.time.median * row.items as f64,
            row.allocations,
            row.bytes as f64 / 1024.0,
            growth.as_ref().map(Growth::to_string).unwrap_or_default(),
        );
        if growth.is_some_and(|growth| growth.is_too_much()) {
            too_much.push(row.name.as_str());
        }
        before = Some(row);
    }
    if too_much.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "cost grows faster than the number of items: {}",
            too_much.join(", ")
        ))
    }
}

/// A case's name without its size.
fn family(row: &Row) -> &str {
    row.name.rsplit_once('/').map_or("", |(family, _)| family)
}

/// How a case compares with the next smaller one of its family. The fastest samples are compared.
struct Growth {
    items: f64,
    time: f64,
    allocations: f64,
}

impl Growth {
    fn new(small: &Row, large: &Row) -> Self {
        Self {
            items: large.items as f64 / small.items as f64,
            time: large.time.fastest / small.time.fastest,
            allocations: large.allocations as f64 / small.allocations as f64,
        }
    }

    fn is_too_much(&self) -> bool {
        let allowed = self.items.powf(LARGEST_GROWTH.log10());
        self.items > 1.0 && (self.time > allowed || self.allocations > allowed)
    }
}

impl std::fmt::Display for Growth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1} times the items: {:.1} times the time, {:.1} times the allocations",
            self.items, self.time, self.allocations
        )
    }
}

fn duration(nanoseconds: f64) -> String {
    if nanoseconds < 1e6 {
        format!("{:.2} us", nanoseconds / 1e3)
    } else {
        format!("{:.2} ms", nanoseconds / 1e6)
    }
}
