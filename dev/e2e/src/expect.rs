//! What must hold, now or in time.

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Waits until something holds.
///
/// # Errors
/// It does not in time; what was waited for.
pub(crate) fn until(
    what: &str,
    mut holds: impl FnMut() -> Result<bool, String>,
) -> Result<(), String> {
    let begin = Instant::now();
    while !holds()? {
        if begin.elapsed() > LIMIT {
            return Err(format!("not in time: {what}"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Compares.
///
/// # Errors
/// What it is and what it should be.
pub(crate) fn is<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    wanted: T,
) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{what} is {found:?}, and should be {wanted:?}")),
    }
}
