//! The status as a live view of a terminal.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use nri_hub::ask_status;

use crate::Failure;

/// How often it is asked for.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows the status again and again; a hub that is not there is waited for.
pub(crate) async fn watch(socket: &Path) -> Result<(), Failure> {
    let mut period = tokio::time::interval(PERIOD);
    loop {
        period.tick().await;
        let text = match ask_status(socket).await {
            Ok(status) => status.to_string(),
            Err(error) => format!("{error}\n"),
        };
        // From the top: each line to its end, then what is below.
        let text = text.replace('\n', "\u{1b}[K\n");
        let mut out = io::stdout().lock();
        match write!(out, "\u{1b}[H{text}\u{1b}[J").and_then(|()| out.flush()) {
            // Whoever looked has left.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
}
