//! What a measured runtime is told, one JSON object in a line of stdin each, and what it says.

use std::io::BufRead as _;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::Failure;
use crate::work::What;

/// A runtime that is measured.
pub(crate) trait Measured {
    /// Waits until so many more plugins are synchronised.
    fn wait(&mut self, plugins: usize) -> Result<(), Failure>;

    /// Lets so many callers make so many calls together, and returns how long each took.
    fn measure(
        &mut self,
        what: What,
        callers: usize,
        calls: usize,
    ) -> Result<Vec<Duration>, Failure>;
}

/// A line of stdin.
#[derive(Deserialize)]
#[serde(tag = "cmd", rename_all = "lowercase")]
enum Command {
    Wait {
        plugins: usize,
    },
    Measure {
        what: What,
        callers: usize,
        calls: usize,
    },
}

/// Says that the runtime listens, and carries out commands until there are no more.
pub(crate) fn carry_out(runtime: &mut impl Measured) -> Result<(), Failure> {
    println!("{}", json!({"event": "listening"}));
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Command::Wait { plugins } => {
                runtime.wait(plugins)?;
                json!({"event": "wait"})
            }
            Command::Measure {
                what,
                callers,
                calls,
            } => {
                let begun = Instant::now();
                let took = runtime.measure(what, callers, calls)?;
                summary(took, begun.elapsed())
            }
        };
        println!("{answer}");
    }
    Ok(())
}

/// What calls took, and all of them together.
fn summary(mut took: Vec<Duration>, elapsed: Duration) -> serde_json::Value {
    took.sort_unstable();
    let at = |percent: usize| {
        let there = took.get(took.len().saturating_sub(1) * percent / 100);
        there.copied().unwrap_or(Duration::ZERO).as_nanos() as u64
    };
    json!({
        "event": "measure", "calls": took.len(), "elapsed": elapsed.as_nanos() as u64,
        "p50": at(50), "p99": at(99),
    })
}
