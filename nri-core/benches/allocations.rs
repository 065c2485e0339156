//! How often merging allocates, and how much. See [`cases`] for what is merged; what is counted is
//! what the benchmark `merge` times. It is a program of its own because counting takes time.
//!
//! Prints a line per case: name, allocations, bytes, most bytes at once.

#![allow(clippy::disallowed_macros, reason = "a benchmark is a program")]

mod cases;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("case\tallocations\tbytes\tpeak");
    for case in cases::all()? {
        let input = case.input();
        let mut output = None;
        let counted = allocation_counter::measure(|| output = Some(case.run(input)));
        println!(
            "{}\t{}\t{}\t{}",
            case.name, counted.count_total, counted.bytes_total, counted.bytes_max
        );
    }
    Ok(())
}
