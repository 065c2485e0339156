//! Waiting for what tells nobody that it has come: a file, an answer of another program. What can
//! be waited for itself is.
//!
//! What may not enter: what is waited for.

use std::thread;
use std::time::{Duration, Instant};

/// How long nothing is looked at between two looks: what is waited for needs the machine too.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until something holds.
///
/// # Errors
/// It does not in time: what was waited for. Or what the look says.
pub fn within(
    limit: Duration,
    what: &str,
    mut holds: impl FnMut() -> Result<bool, String>,
) -> Result<(), String> {
    let begun = Instant::now();
    while !holds()? {
        if begun.elapsed() > limit {
            return Err(format!("not in time: {what}"));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}
