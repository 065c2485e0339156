//! The runtime.

use std::io::BufRead as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nri_adaptation::RuntimeApi as _;
use serde::Deserialize;
use serde_json::json;

use crate::work::{Setup, What, Work};
use crate::{Failure, Options};

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

/// Listens, and carries out commands until there are no more.
pub(crate) fn serve(options: &Options) -> Result<(), Failure> {
    let tokio = match options.current_thread {
        true => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
        false => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?,
    };
    let setup = Setup {
        socket: options.socket.clone(),
        request: std::fs::read_to_string(&options.request)?,
        containers: options.containers,
        in_flight: options.in_flight,
    };
    let work = Arc::new(tokio.block_on(Work::start(setup))?);
    println!("{}", json!({"event": "listening"}));
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Command::Wait { plugins } => {
                tokio.block_on(work.wait(plugins))?;
                json!({"event": "wait"})
            }
            Command::Measure {
                what,
                callers,
                calls,
            } => tokio.block_on(measure(&work, what, callers, calls))?,
        };
        println!("{answer}");
    }
    tokio.block_on(work.nri.stop());
    Ok(())
}

/// Lets so many callers make so many calls together, each with a pod of its own.
async fn measure(
    work: &Arc<Work>,
    what: What,
    callers: usize,
    calls: usize,
) -> Result<serde_json::Value, Failure> {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let work = Arc::clone(work);
            tokio::spawn(async move { make(&work, what, caller, calls / callers).await })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    let elapsed = begun.elapsed().as_nanos() as u64;
    all.sort_unstable();
    let at = |percent: usize| {
        let there = all.get(all.len().saturating_sub(1) * percent / 100);
        there.copied().unwrap_or(Duration::ZERO).as_nanos() as u64
    };
    Ok(json!({
        "event": "measure", "calls": all.len(), "elapsed": elapsed, "p50": at(50), "p99": at(99),
    }))
}

/// Makes calls one after the other, and returns how long each took.
async fn make(
    work: &Work,
    what: What,
    caller: usize,
    calls: usize,
) -> Result<Vec<Duration>, Failure> {
    let mut took = Vec::with_capacity(calls);
    for number in 0..calls {
        let call = work.prepare(what, caller, number);
        let begun = Instant::now();
        let made = call.make(&work.nri).await?;
        took.push(begun.elapsed());
        call.end(&work.nri, made).await?;
    }
    Ok(took)
}
