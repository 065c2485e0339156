//! What must hold, now or in time.

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// How long nothing is looked at between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until something holds.
///
/// # Errors
/// It does not in time; what was waited for.
pub(crate) fn until(what: &str, holds: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    within(LIMIT, what, holds)
}

/// As [`until`], for what takes longer by itself.
///
/// # Errors
/// It does not in time; what was waited for.
pub(crate) fn within(
    limit: Duration,
    what: &str,
    mut holds: impl FnMut() -> Result<bool, String>,
) -> Result<(), String> {
    let begin = Instant::now();
    while !holds()? {
        if begin.elapsed() > limit {
            return Err(format!("not in time: {what}"));
        }
        // What is waited for needs the machine too.
        std::thread::sleep(PAUSE);
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

/// Whether an error says something.
///
/// # Errors
/// There is none, or it says something else.
pub(crate) fn says(what: &str, done: Result<String, String>, part: &str) -> Result<(), String> {
    let error = done.err().unwrap_or_default();
    is(
        &format!("{part:?} in {what} ({error})"),
        error.contains(part),
        true,
    )
}
