//! The floor: as many bytes as a creation and its answer have, there and back between two
//! processes, with blocking reads and writes and nothing that looks at them.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use crate::{Failure, Options};

/// The request, and the answer with two annotations, with their envelopes.
const THERE: usize = 8045;
const BACK: usize = 120;

/// With a number of calls, the end that asks; else the end that answers.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    match options.calls {
        Some(calls) => ask(UnixListener::bind(&options.socket)?, calls),
        None => answer(UnixStream::connect(&options.socket)?),
    }
}

fn ask(listener: UnixListener, calls: usize) -> Result<(), Failure> {
    println!("{{\"event\":\"listening\"}}");
    let (mut stream, _) = listener.accept()?;
    let (there, mut back) = (vec![1; THERE], vec![0; BACK]);
    let mut took = Vec::new();
    for _ in 0..calls {
        let begun = Instant::now();
        stream.write_all(&there)?;
        stream.read_exact(&mut back)?;
        took.push(begun.elapsed().as_nanos());
    }
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len().saturating_sub(1) * percent / 100);
    let [p50, p99] = [50, 99].map(|percent| at(percent).copied().unwrap_or_default());
    println!("{{\"p50\":{p50},\"p99\":{p99}}}");
    Ok(())
}

fn answer(mut stream: UnixStream) -> Result<(), Failure> {
    let (mut there, back) = (vec![0; THERE], vec![1; BACK]);
    // The other end closes when it has enough.
    while stream.read_exact(&mut there).is_ok() {
        stream.write_all(&back)?;
    }
    Ok(())
}
