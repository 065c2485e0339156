//! `cargo xtask ci --stress`: all tests many times, on a machine that does something else as well.
//! A test that depends on how busy it is shows itself.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use nri_dev::process;

/// How many tests of a program run at a time, from one time to the next.
const THREADS: [u32; 3] = [1, 2, 8];

/// Processes that keep the machine busy. They end with the value.
struct Load(Vec<Child>);

impl Load {
    /// Twice as many as there are processors.
    fn start() -> Result<Self, String> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut load = Self(Vec::new());
        for _ in 0..2 * processors {
            let busy = Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .map_err(|error| format!("sh: {error}"))?;
            load.0.push(busy);
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for busy in &mut self.0 {
            // It cannot have ended by itself.
            let _ = busy.kill();
            let _ = busy.wait();
        }
    }
}

/// Runs all tests so many times.
///
/// # Errors
/// A test failed, with how often; or the tests cannot be built.
pub(crate) fn run(times: u32) -> Result<(), String> {
    let tests = ["test", "--workspace", "--all-features", "--no-fail-fast"];
    process::run(process::cargo().args(tests).arg("--no-run"))?;
    let load = Load::start()?;
    let mut failures: BTreeMap<String, u32> = BTreeMap::new();
    for (number, threads) in (1..=times).zip(THREADS.into_iter().cycle()) {
        let output = process::cargo()
            .args(tests)
            .env("RUST_TEST_THREADS", threads.to_string())
            // Where a test is, and what it said, is told in one stream only.
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cargo: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let failed: Vec<&str> = failed(&text).collect();
        println!(
            "== {number}/{times}, {threads} at a time: {} failed",
            failed.len()
        );
        if !output.status.success() {
            println!("{text}");
        }
        for test in &failed {
            *failures.entry((*test).to_owned()).or_default() += 1;
        }
        if failed.is_empty() && !output.status.success() {
            *failures.entry(output.status.to_string()).or_default() += 1;
        }
    }
    drop(load);
    if failures.is_empty() {
        println!("== {times} times without a failure");
        return Ok(());
    }
    let list = failures
        .iter()
        .map(|(test, count)| format!("\n  {test}: {count} of {times}"));
    Err(format!(
        "tests fail now and then:{}",
        list.collect::<String>()
    ))
}

/// The names of the tests that failed.
fn failed(output: &str) -> impl Iterator<Item = &str> {
    output
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_that_failed_are_named() {
        let output = "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\ntest d - (line 3) ... FAILED\n";
        assert_eq!(failed(output).collect::<Vec<_>>(), ["a::c", "d - (line 3)"]);
    }
}
