//! What the program prints: to a reader that may have gone.

use std::fmt;
use std::io::{self, Write as _};

/// Prints a line, as `println!` does, but to a reader that has gone nothing: it wants no more, and
/// that is no failure.
macro_rules! say {
    ($($text:tt)*) => { crate::say::line(format_args!($($text)*)) };
}
pub(crate) use say;

pub(crate) fn line(text: fmt::Arguments<'_>) {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("nri-sim: this cannot be printed: {error}");
        }
        _ => {}
    }
}
