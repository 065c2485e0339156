//! How long merging takes. See [`cases`] for what is merged; `cargo xtask bench` prints the results
//! as a table.
//!
//! The time is that of one whole flow: making it, every step and every answer, and the outcome with
//! its owners, plugins' answers used up. Not part of it is what the runtime does around it: making
//! the request and receiving the answers (decoding, copying), and giving back the request and the
//! outcome. Every run gets a fresh copy right before it, as a runtime has just built the
//! request and just received the answers.

mod cases;

use std::error::Error;
use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for case in cases::all()? {
        let (group, parameter) = case.name.rsplit_once('/').unwrap_or(("", &case.name));
        let mut group = criterion.benchmark_group(group);
        group.sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::Elements(case.items));
        group.bench_function(parameter, |bencher| {
            // One at a time: copies made ahead would be cold. The clock adds less than 0.1
            // microseconds.
            bencher.iter_batched(
                || case.input(),
                |input| case.run(input),
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
