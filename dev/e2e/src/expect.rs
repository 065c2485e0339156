//! What must hold, now or in time.

use std::time::Duration;

use nri_dev::wait::within;

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Waits until something holds.
///
/// # Errors
/// It does not in time; what was waited for.
pub(crate) fn until(what: &str, holds: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    within(LIMIT, what, holds)
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
