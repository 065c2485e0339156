//! One merge, to be run under a program that counts instructions: a judge that other work on the
//! machine does not disturb. See [`cases`] for what is merged; what is counted is what the
//! benchmark `merge` times.
//!
//! ```text
//! CARGO_PROFILE_BENCH_DEBUG=line-tables-only cargo bench -p nri-core --features oci --bench instructions --no-run
//! valgrind --tool=callgrind --toggle-collect='*measured*' target/release/deps/instructions-* plugins/10
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a benchmark is a program"
)]

mod cases;

use std::error::Error;

use cases::{Case, Input, Output};

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some(case) = cases::all()?.into_iter().find(|case| case.name == name) else {
        // `cargo test --all-targets` and `cargo bench` name none, and want no error.
        println!("no case is called {name:?}; those of the benchmark `merge` are there");
        return Ok(());
    };
    // As in a process that has run for a while: memory comes from what was given back before.
    for _ in 0..100 {
        drop(case.run(case.input()));
    }
    drop(measured(&case, case.input()));
    Ok(())
}

/// Only this counts; a function of its own, so that it is found by its name.
#[inline(never)]
fn measured(case: &Case, input: Input) -> Output {
    case.run(input)
}
